"""Axes of a config: keys that are crossed with the grid; a combination of values is an arm.

``axes: {optim.weight_decay: [0, .1]}`` stands at the top, for the whole grid, or in a grid entry,
for that entry. An arm is the config with its values set, as ``--set`` sets them.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scaling_law.config.key_names import config_keys, key_called, sections
from scaling_law.config.schema import OUTSIDE_RECIPE
from scaling_law.config.slots import SLOTS
from scaling_law.config.strict_yaml import Mark, Path_, YamlDocument, deep_copy
from scaling_law.errors import ConfigError, described, did_you_mean
from scaling_law.spec.arms import value_text

AXES = "axes"
MAX_ARMS = 256


@dataclass(frozen=True, kw_only=True)
class ConfigAxis:
    """One key and the values it takes.

    ``key`` is the config key, dotted;
    ``values`` are plain, as they were read;
    ``written`` is the path of the axis in the document.
    """

    key: str
    values: tuple[Any, ...]
    written: Path_


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One value of each axis, for some entries of the grid.

    ``document`` is the config with the values set and only those entries in its grid;
    ``chosen`` are the values by axis;
    ``entries`` are the numbers of the grid entries that are trained so.
    """

    document: YamlDocument
    chosen: tuple[tuple[ConfigAxis, Any], ...]
    entries: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Crossed:
    """A config's axes, crossed.

    ``document`` is the config with each axis of the whole grid at its first value;
    ``combinations`` are what becomes arms, none without axes.
    """

    document: YamlDocument
    combinations: tuple[Combination, ...] = ()


def keys_of(text: str) -> list[str]:
    """Split a dotted key; the key that an axis varies stays whole."""
    keys = text.split(".")
    head = 1 if keys[0] == AXES else 3 if keys[0] == "grid" and keys[2:3] == [AXES] else 0
    return [*keys[:head], ".".join(keys[head:])] if head and len(keys) > head else keys


def cross(document: YamlDocument) -> Crossed:
    """Return every combination of the values of a config's axes.

    Raises ``ConfigError`` with a line for each invalid axis.
    """
    problems: list[str] = []
    whole = _axes_at(document, (AXES,), problems)
    entries = range(len(_entries(document.data)))
    own = [_axes_at(document, ("grid", number, AXES), problems) for number in entries] or [[]]
    for axes in own:
        _refuse_overlaps(document, [*whole, *axes], problems)
    groups = _alike(own)
    arms = _count(whole) * sum(_count(own[numbers[0]]) for numbers in groups)
    if arms > MAX_ARMS and not problems:
        problems.append(
            f"{document.mark((AXES,))}: {arms} arms (combinations of values), expected at most"
            f" {MAX_ARMS}; shorten the lists, or make several sweeps of them"
        )
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    if not (whole or any(own)):
        return Crossed(document=document)
    first = [(axis, axis.values[0]) for axis in whole]
    return Crossed(
        document=_set_all(document.copied(), first),
        combinations=tuple(_combinations(document, whole, own, groups)),
    )


def without_axes(document: YamlDocument) -> YamlDocument:
    """Return the config without its axes."""
    plain = document.copied()
    plain.data.pop(AXES, None)
    for entry in _entries(plain.data):
        entry.pop(AXES, None)
    return plain


def text_of(key: str, chosen: Mapping[str, Any], written: Mapping[str, Any]) -> str:
    """The value of an axis as text: as an arm's config has it, where it is one value there.

    Parts are as the axis writes them: a setting that comes later changes no arm's name.

    ``chosen`` are the arm's values by key, without those of axes of other grid entries.
    """
    value: Any = written
    for word in key.split("."):
        if isinstance(value, list):
            value = value[int(word)]
        else:
            value = value.get(word, _usual(key)) if isinstance(value, dict) else None
    lists_parts = any(key == f"{s.section}.{s.key}" for s in SLOTS if s.several and s.key)
    # a setting at its default may not be written
    if key in chosen and (value is None or isinstance(value, dict) or lists_parts):
        value = chosen[key]
    return value_text(value)


def _usual(key: str) -> str | None:
    """The part that a config has at ``key`` if it names none."""
    slots = {f"{s.section}.{s.key}" if s.key else s.section: s.default for s in SLOTS}
    return slots.get(key)


def same_twice(document: YamlDocument, one: Combination, other: Combination) -> str:
    """Return the message for two combinations that give the same config."""
    for (axis, value), (_, again) in zip(one.chosen, other.chosen, strict=True):
        if value != again or type(value) is not type(again):
            spelled = dict.fromkeys((json.dumps(value), json.dumps(again)))
            return (
                f"{document.mark(axis.written)}: {' and '.join(spelled)} give one arm twice;"
                " leave one out"
            )
    axis, value = one.chosen[-1]
    return f"{document.mark(axis.written)}: {json.dumps(value)} is there twice; leave one out"


def _count(axes: Sequence[ConfigAxis]) -> int:
    return math.prod(len(axis.values) for axis in axes)


def _alike(own: Sequence[Sequence[ConfigAxis]]) -> list[list[int]]:
    """Group the numbers of the grid entries by equal axes."""
    alike: dict[str, list[int]] = {}
    for number, axes in enumerate(own):
        name = json.dumps([(axis.key, axis.values) for axis in axes])
        alike.setdefault(name, []).append(number)
    return list(alike.values())


def _combinations(
    document: YamlDocument,
    whole: Sequence[ConfigAxis],
    own: Sequence[Sequence[ConfigAxis]],
    groups: Sequence[Sequence[int]],
) -> Iterator[Combination]:
    plain = without_axes(document)
    for chosen in _product(whole):
        for entries in groups:
            for more in _product(own[entries[0]]):
                yield Combination(
                    document=_set_all(_cut(plain, entries), [*chosen, *more]),
                    chosen=(*chosen, *more),
                    entries=tuple(entries),
                )


def _product(axes: Sequence[ConfigAxis]) -> Iterator[tuple[tuple[ConfigAxis, Any], ...]]:
    return itertools.product(*([(axis, value) for value in axis.values] for axis in axes))


def _cut(document: YamlDocument, entries: Sequence[int]) -> YamlDocument:
    """Return a copy with these entries of the grid; their marks keep the place in the file."""
    cut = document.copied()
    grid = _entries(cut.data)
    if len(entries) >= len(grid):
        return cut
    cut.data["grid"] = [grid[number] for number in entries]
    cut.forget(("grid",))
    cut.marks.update({path: m for path, m in document.marks.items() if path == ("grid",)})
    for place, number in enumerate(entries):
        cut.marks.update(entry_marks(document.marks, number, place))
    return cut


def entry_marks(marks: Mapping[Path_, Mark], number: int, place: int) -> dict[Path_, Mark]:
    """The marks of grid entry ``number`` as those of the entry at ``place`` of another grid."""
    entry = ("grid", number)
    return {
        (*entry[:1], place, *path[2:]): mark for path, mark in marks.items() if path[:2] == entry
    }


def _set_all(document: YamlDocument, chosen: Sequence[tuple[ConfigAxis, Any]]) -> YamlDocument:
    for axis, value in chosen:
        written = document.mark(axis.written)
        under = written.key.removesuffix(axis.key).removesuffix(".")
        try:
            document.set(axis.key.split("."), deep_copy(value), written.place, under)
        except ConfigError as problem:
            raise ConfigError(*(f"{written}: {line}" for line in problem.lines)) from None
    return document


def _axes_at(document: YamlDocument, path: Path_, problems: list[str]) -> list[ConfigAxis]:
    """Read the axes at a path; add their errors to ``problems``."""
    section: Any = document.data
    for key in path:
        section = section.get(key, {}) if isinstance(section, dict) else section[key]
    if not isinstance(section, dict):
        problems.append(
            f"{document.mark(path)}: expected config keys with lists of values, found"
            f" {described(section)}"
        )
        return []
    axes = []
    for key, values in section.items():
        written = (*path, key)
        if why := _refused(key, values):
            problems.append(f"{document.mark(written)}: {why}")
        else:
            axes.append(ConfigAxis(key=key, values=tuple(values), written=written))
    return axes


def _refused(key: str, values: Any) -> str:
    """Say why a key cannot be an axis, or cannot take these values; "" where it can."""
    head = key.split(".")[0]
    if head in OUTSIDE_RECIPE:
        return (
            f"{head} is no part of a run's recipe: its arms would be the same runs; expected a"
            " key of data, model, schedule, optim or another that training depends on"
        )
    if head not in sections():
        known = [name for name in config_keys() if name.split(".")[0] not in OUTSIDE_RECIPE]
        meant = key_called(key.split(".")[-1])
        hint = f" (did you mean {meant}?)" if meant in known else did_you_mean(key, known)
        return f"the config has no such key{hint}"
    if not isinstance(values, list):
        return f"expected a list of values, as in [a, b], found {described(values)}"
    return "" if values else "the list is empty; expected at least one value"


def _refuse_overlaps(
    document: YamlDocument, axes: Sequence[ConfigAxis], problems: list[str]
) -> None:
    """Note keys that two axes set: the same one, or a section and a key of it."""
    for first, second in itertools.combinations(axes, 2):
        short, long = sorted((first.key, second.key), key=len)
        if short == long or long.startswith(f"{short}."):
            problems.append(
                f"{document.mark(second.written)}: {document.mark(first.written).key} sets it as"
                " well; a key has one axis"
            )


def _entries(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The grid's entries; none where the grid is not what it should be."""
    grid = data.get("grid")
    if not isinstance(grid, list) or not all(isinstance(entry, dict) for entry in grid):
        return []
    return grid
