"""Make arms of the configs that the values of a config's axes give."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from scaling_law.config import axes
from scaling_law.config.grid_section import GridEntry
from scaling_law.config.strict_yaml import YamlDocument
from scaling_law.config.sweep_config import Arm, SweepConfig
from scaling_law.config.written import written
from scaling_law.errors import ConfigError


def whole_grid(
    grid: Sequence[GridEntry], read: Sequence[tuple[axes.Combination, SweepConfig]]
) -> tuple[GridEntry, ...]:
    """The grid with the sizes of each entry as the first arm that trains it has them."""
    whole = list(grid)
    for combination, config in reversed(read):
        for number, entry in zip(combination.entries, config.grid, strict=True):
            whole[number] = dataclasses.replace(entry, axes=grid[number].axes)
    return tuple(whole)


def arms_from(
    document: YamlDocument, read: Sequence[tuple[axes.Combination, SweepConfig]]
) -> tuple[Arm, ...]:
    """An arm for each config that differs from the others, with the grid entries it is for.

    Raises ``ConfigError`` for values of an axis that give the same arm.
    """
    keys = sorted({axis.key for combination, _ in read for axis, _ in combination.chosen})
    alike: dict[str, list[tuple[axes.Combination, SweepConfig]]] = {}
    problems: dict[str, None] = {}
    for combination, config in read:
        parts = [choice.component.plain() for choice in config.all_choices]
        identity = json.dumps([{**written(config), "grid": None}, parts])
        same = alike.setdefault(identity, [])
        for other, _ in same:
            if set(other.entries) & set(combination.entries):
                problems[axes.same_twice(document, other, combination)] = None
        same.append((combination, config))
    if problems:
        raise ConfigError(*problems)
    arms = []
    for same in alike.values():
        chosen = {axis.key: value for combination, _ in same for axis, value in combination.chosen}
        config = _joined(same)
        values = tuple((key, axes.text_of(key, chosen, written(config))) for key in keys)
        arms.append(Arm(values=values, config=config))
    return tuple(arms)


def _joined(same: Sequence[tuple[axes.Combination, SweepConfig]]) -> SweepConfig:
    """The config of combinations that are one arm, with the grid entries of all of them."""
    first = same[0][1]
    if len(same) == 1:
        return first
    entries = sorted(
        (
            (number, place, config)
            for combination, config in same
            for place, number in enumerate(combination.entries)
        ),
        key=lambda entry: entry[0],
    )
    marks = {path: mark for path, mark in first.marks.items() if path[:1] != ("grid",)}
    for position, (_, place, config) in enumerate(entries):
        marks.update(axes.entry_marks(config.marks, place, position))
    grid = tuple(config.grid[place] for _, place, config in entries)
    return dataclasses.replace(first, grid=grid, marks=marks)
