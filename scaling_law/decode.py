"""Check values read from a file against their dataclass: the file may be damaged or foreign.

``json_problem`` gives Python's message about unreadable JSON in plain words.
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
_MOST_SHARED, _LONGEST_SHARED = 5000, 2000
_shared: dict[tuple[type, str], Any] = {}
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def build(kind: type[T], data: Any) -> T:
    """``kind(**data)`` with every key known and every value of its field's type.

    Raises ``ValueError`` naming the first key that is not.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"found {quoted(data)}, expected keys and values")
    shape = _shape(kind)  # type: ignore[arg-type]
    if not shape.names.issuperset(data):
        unknown = next(key for key in data if key not in shape.names)
        raise ValueError(f"unknown key {quoted(unknown)}")
    for name in shape.needed:
        if name not in data:
            raise ValueError(f"no {name}")
    for name, plain, numeric, fits in shape.checks:
        if name in data:
            value = data[name]
            its_type = type(value)
            # most values are of a type that needs no call to be sure of
            if its_type in plain or (its_type in numeric and -_LARGEST <= value <= _LARGEST):
                continue
            if not fits(value):
                hint = _hints(kind)[name]  # type: ignore[arg-type]
                raise ValueError(f"{name} is {quoted(value)}, expected {_words(hint)}")
    return kind(**data)


def build_shared(kind: type[T], data: Any, decode: Callable[[Any], T] | None = None) -> T:
    """``build``, one object for all data of one spelling; ``kind`` must be frozen.

    ``decode`` builds in place of ``build`` where the file spells a value in another way than the
    class holds it. The runs of a plan, and their records, have few models, data and optimisers
    among them. Objects are shared by spelling, because 1, 1.0 and True are equal but neither the
    same JSON nor all allowed.
    """
    try:
        key = kind, repr(data)
    except (RecursionError, ValueError):  # nested too deep, too many digits
        return decode(data) if decode else build(kind, data)
    shared: T | None = _shared.get(key)
    if shared is None:
        shared = decode(data) if decode else build(kind, data)
        if len(_shared) >= _MOST_SHARED:
            _shared.clear()
        if len(key[1]) <= _LONGEST_SHARED:  # a longer one is damaged or foreign
            _shared[key] = shared
    return shared


@dataclasses.dataclass(frozen=True)
class _Shape:
    """What ``build`` asks of a dataclass, worked out once: 10,000 records ask it of each key.

    ``checks``: a field's name, the types that always fit it, those that do up to ``_LARGEST``, and
    the whole question.
    """

    names: frozenset[str]
    needed: tuple[str, ...]
    checks: tuple[tuple[str, frozenset[type], frozenset[type], Fits], ...]


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
        checks=tuple(
            (name, _plain(hint), _numeric(hint), _fits(hint)) for name, hint in _hints(kind).items()
        ),
    )


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _classes(hint: Any) -> frozenset[type]:
    """The types of ``hint``, one or a union of several, that are nothing but classes."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return frozenset(kind for kind in members if isinstance(kind, type) and not get_args(kind))


def _plain(hint: Any) -> frozenset[type]:
    return _classes(hint) - {int, float}


def _numeric(hint: Any) -> frozenset[type]:
    classes = _classes(hint) & {int, float}
    return classes | {int} if float in classes else classes


def _fits(hint: Any) -> Fits:
    """Whether a value is of the type ``hint``."""
    if hint is Any:
        return lambda _: True
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
        isinstance(value, tuple) and len(value) == len(within) and all(map(_asked, within, value))
    )


def _asked(fits: Fits, value: Any) -> bool:
    return fits(value)


def _words(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_words(member) for member in get_args(hint))
    return "null" if hint is type(None) else _WORDS.get(hint, "keys and values or a list")


def json_problem(problem: Exception) -> str:
    """Why JSON could not be read, without Python's advice to Python programmers."""
    if isinstance(problem, RecursionError):
        return "nested too deep"
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    text = str(problem)
    return "a number of too many digits" if "integer string conversion" in text else text
