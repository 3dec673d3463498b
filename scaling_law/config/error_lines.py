"""Pydantic's errors as lines with file, line and key."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from scaling_law import parts
from scaling_law.config import strict_yaml
from scaling_law.config.compose import keys_of
from scaling_law.config.grid_section import ShapeKeys
from scaling_law.config.key_names import key_called
from scaling_law.config.schema import SweepFile
from scaling_law.config.slots import PART_SECTIONS, SLOTS
from scaling_law.config.strict_yaml import Mark, Path_, YamlDocument
from scaling_law.errors import described, did_you_mean, listed, nearest
from scaling_law.spec.values import Either, EmptyListError, optional

Known = Mapping[str, tuple[Any, ...]]
"""The exports of the files of a config's parts, by kind."""


def line_number(mark: Mark) -> int:
    """Return the line of a mark in its file; 0 for a mark without a place."""
    number = mark.place.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def error_line(document: YamlDocument, error: Mapping[str, Any], known: Known) -> tuple[int, str]:
    """Return the error as one line, and the line number that it sorts by."""
    location: Path_ = error["loc"]
    path = tuple(part for part in location if not _is_member(part))
    if isinstance(empty := error.get("ctx", {}).get("error"), EmptyListError):
        path = (*path, empty.key)
    if error["type"] == "missing":
        place = document.mark(path[:-1]).place
        mark = Mark(place, strict_yaml.dotted(path))
        said = "missing"
        if len(path) > 1:
            said += _needs(document, path)
        if len(path) == 1:
            said += "; slaw config --mode quick prints a whole config to start from"
    else:
        mark = document.mark(path)
        said = _said(error, location, known)
        if error["type"] == "unexpected_keyword_argument" and (place := document.elsewhere(path)):
            said = f"unknown key{place}"
    return line_number(mark), f"{mark}: {said}"


def _needs(document: YamlDocument, path: Path_) -> str:
    """Which settings of a part ask for its missing name, and the names that there are."""
    at: Any = document.data
    for part in path[:-1]:
        if isinstance(at, list) and isinstance(part, int):
            at = at[part]
        else:
            at = at.get(part) if isinstance(at, dict) else None
    slots = [slot for slot in SLOTS if slot.section == path[0] and path[-1] == "name"]
    if not (slots and isinstance(at, dict) and at):
        return ""
    given = [strict_yaml.dotted((*path[:-1], key)) for key in at]
    return f"; {listed(given)} needs it: one of {listed(parts.names(slots[0].word), 9)}"


def _is_member(part: str | int) -> bool:
    """Say whether a part of pydantic's path is none of the document's."""
    if part == "[key]":
        return True
    return isinstance(part, str) and part.startswith("<") and part.endswith(">")


_PLAINER = {
    "bool_type": "expected true or false",
    "dataclass_type": "expected keys and values",
    "dict_type": "expected keys and values",
    "string_pattern_mismatch": "expected letters, digits, . _ and - (at most 61; . _ - not first)",
    "string_type": "expected text",
    "tuple_type": "expected a list",
}


def _said(error: Mapping[str, Any], location: Path_, parts_known: Known) -> str:
    kind, value = error["type"], error["input"]
    if kind == "unexpected_keyword_argument":
        keys = _keys_at(location[:-1], parts_known)
        hint = _belongs(location, keys, parts_known)
        hint = hint or (_hint(str(location[-1]), keys) if keys else "; this part has no settings")
        return f"unknown key{hint}"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    said = _PLAINER.get(kind) or str(error["msg"]).replace("Input should be", "expected")
    if kind == "literal_error":
        expected = error["ctx"]["expected"].replace(" or ", ", ")
        known = [part.strip("' ") for part in expected.split(",")]
        return f"found {described(value)}" + _hint(str(value), known)
    return f"{said}, found {described(value)}"


def _belongs(location: Path_, here: Sequence[str], known: Known) -> str:
    """Where a key that is none of ``here`` belongs: another section, a size; "" if nowhere."""
    word = str(location[-1])
    meant = key_called(word)
    if meant and meant != f"{location[0]}.{word}":
        return f" (did you mean {meant}?)"
    shapes = [part.shape for part in known.get("architecture", ())]
    of_size = nearest(word, [field.name for shape in shapes for field in dataclasses.fields(shape)])
    if of_size and not did_you_mean(word, here):
        return f" (did you mean a size of the grid, as in sizes: [{{{of_size}: ...}}]?)"
    return ""


def _hint(word: str, known: Sequence[str]) -> str:
    return did_you_mean(word, known) or (f"; known: {', '.join(known)}" if known else "")


def _keys_at(location: Path_, known: Known) -> list[str]:
    """The keys of the section at a path of pydantic's, by walking the dataclasses."""
    of_parts = keys_of(str(location[0]), known) if location else []
    if of_item := location[1:2] and keys_of(str(location[0]), known, location[1]):
        return of_item
    if location and location[0] in PART_SECTIONS:
        return of_parts
    if not location:
        of_parts = list(PART_SECTIONS)
    at: Any = SweepFile
    for part in location:
        annotations = get_args(at)[1:] if get_origin(at) is Annotated else ()
        bare = optional(get_args(at)[0] if annotations else at)[0]
        either = next((item for item in annotations if isinstance(item, Either)), None)
        if either is not None:
            at = either.members(bare)[str(part)]
        elif dataclasses.is_dataclass(bare):
            at = typing.get_type_hints(bare, include_extras=True)[str(part)]
        else:  # a tuple's item, or a mapping's value
            at = get_args(bare)[1 if get_origin(bare) is dict else 0]
        if any(isinstance(item, ShapeKeys) for item in getattr(at, "__metadata__", ())):
            at = known["architecture"][0].shape
    bare = optional(get_args(at)[0] if get_origin(at) is Annotated else at)[0]
    depth = sum(not _is_member(part) for part in location)
    of_group = depth == 3 and any(slot.group in location for slot in SLOTS if slot.group)
    own = of_parts if depth < 2 or of_group else []
    return [f.name for f in dataclasses.fields(bare)] + own
