"""Values read from a file held against their dataclass: the file may be anybody's, or damaged.

The same holds for what JSON itself cannot say no to: ``json_problem`` puts it in words.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from scaling_law.errors import quoted

T = TypeVar("T")
Fits = Callable[[Any], bool]
_LARGEST = 1e300
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def build(kind: type[T], data: Any) -> T:
    """``kind(**data)`` with every key known and every value of its field's type.

    Raises ``ValueError`` naming the first key that is not.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"found {quoted(data)}, expected keys and values")
    shape = _shape(kind)  # type: ignore[arg-type]
    if unknown := [key for key in data if key not in shape.names]:
        raise ValueError(f"unknown key {quoted(unknown[0])}")
    for name in shape.needed:
        if name not in data:
            raise ValueError(f"no {name}")
    for name, fits in shape.checks:
        if name in data and not fits(data[name]):
            hint = _hints(kind)[name]  # type: ignore[arg-type]
            raise ValueError(f"{name} is {quoted(data[name])}, expected {_words(hint)}")
    return kind(**data)


@dataclasses.dataclass(frozen=True)
class _Shape:
    """What ``build`` asks of a dataclass, worked out once: 10,000 records ask it of each key."""

    names: frozenset[str]
    needed: tuple[str, ...]
    checks: tuple[tuple[str, Fits], ...]


@functools.cache
def _shape(kind: Any) -> _Shape:
    fields = dataclasses.fields(kind)
    return _Shape(
        names=frozenset(field.name for field in fields),
        needed=tuple(
            field.name
            for field in fields
            if field.default is field.default_factory is dataclasses.MISSING
        ),
        checks=tuple((name, _fits(hint)) for name, hint in _hints(kind).items()),
    )


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _fits(hint: Any) -> Fits:
    """Whether a value is of the type ``hint``."""
    origin, within = get_origin(hint), [*map(_unless_dots, get_args(hint))]
    if origin in (Union, types.UnionType):
        return lambda value: any(fits(value) for fits in within)
    if origin is tuple:
        return _fits_tuple(within, get_args(hint)[-1] is Ellipsis)
    if origin is dict:
        key_fits, item_fits = within
        return lambda value: (
            isinstance(value, dict)
            and all(map(key_fits, value))
            and all(map(item_fits, value.values()))
        )
    if hint in (int, float):
        kinds = (int,) if hint is int else (int, float)
        # True is an int to Python; a whole number may be too large for any float
        return lambda value: (
            isinstance(value, kinds) and not isinstance(value, bool) and not abs(value) > _LARGEST
        )
    return lambda value: isinstance(value, hint)


def _unless_dots(hint: Any) -> Fits:
    return (lambda _: True) if hint is Ellipsis else _fits(hint)


def _fits_tuple(within: list[Fits], is_open: bool) -> Fits:
    if is_open:
        return lambda value: isinstance(value, tuple) and all(map(within[0], value))
    return lambda value: (
        isinstance(value, tuple)
        and len(value) == len(within)
        and all(fits(item) for fits, item in zip(within, value, strict=True))
    )


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
