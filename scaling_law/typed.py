"""Values read from a file held against their dataclass: the file may be anybody's, or damaged.

The same holds for what JSON itself cannot say no to: ``json_problem`` puts it in words.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from scaling_law.errors import quoted

T = TypeVar("T")
_LARGEST = 1e300
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def build(kind: type[T], data: Any) -> T:
    """``kind(**data)`` with every key known and every value of its field's type.

    Raises ``ValueError`` naming the first key that is not.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"found {quoted(data)}, expected keys and values")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := [key for key in data if key not in fields]:
        raise ValueError(f"unknown key {quoted(unknown[0])}")
    for name, field in fields.items():
        needed = field.default is field.default_factory is dataclasses.MISSING
        if needed and name not in data:
            raise ValueError(f"no {name}")
    for name, hint in _hints(kind).items():  # type: ignore[arg-type]
        if name in data and not _fits(data[name], hint):
            raise ValueError(f"{name} is {quoted(data[name])}, expected {_words(hint)}")
    return kind(**data)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _fits(value: Any, hint: Any) -> bool:
    origin, within = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, member) for member in within)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if within[-1] is Ellipsis:
            return all(_fits(item, within[0]) for item in value)
        return len(value) == len(within) and all(map(_fits, value, within))
    if origin is dict:
        pairs = value.items() if isinstance(value, dict) else ((None, None),)
        return all(_fits(key, within[0]) and _fits(item, within[1]) for key, item in pairs)
    if hint in (int, float):
        # True is an int to Python; a whole number may be too large for any float
        number = isinstance(value, int if hint is int else int | float)
        return number and not isinstance(value, bool) and not abs(value) > _LARGEST
    return isinstance(value, hint)


def _words(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_words(member) for member in get_args(hint))
    return "null" if hint is type(None) else _WORDS.get(hint, "keys and values or a list")


def json_problem(problem: Exception) -> str:
    """Why JSON could not be read, without Python's advice to Python programmers."""
    if isinstance(problem, RecursionError):
        return "nested too deep"
    text = str(problem)
    return "a number of too many digits" if "integer string conversion" in text else text
