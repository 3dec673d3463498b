"""Write a spec as plain values and as canonical JSON, which names a run."""

from __future__ import annotations

import dataclasses
import json
from functools import cache, cached_property
from typing import Any

from scaling_law.spec.component import Component
from scaling_law.spec.mix import Mix

_SCALARS = frozenset((str, int, float, bool, type(None)))


class SpecPart:
    """A part of a ``RunSpec``, which thousands of runs of a plan may share."""

    def json_fields(self) -> dict[str, Any]:
        """The part's fields as JSON values."""
        return json_fields_of(self)

    @cached_property
    def canonical(self) -> str:
        """The part's canonical JSON."""
        return canonical_json(to_json(self))


@cache
def fields_of(kind: type) -> tuple[tuple[str, bool], ...]:
    """Return each written field's name, and whether it is left out while None or empty."""
    return tuple(
        (f.name, "omit_empty" in f.metadata)
        for f in dataclasses.fields(kind)
        if "unwritten" not in f.metadata
    )


def to_json(value: Any) -> Any:
    """Return a frozen spec (or tuple, dict, scalar) as plain JSON values."""
    if type(value) in _SCALARS:  # most values are, and this is the cheapest question
        return value
    if isinstance(value, (Component, Mix)):
        return value.plain()
    if isinstance(value, SpecPart):
        return value.json_fields()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return json_fields_of(value)
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    return value


def json_fields_of(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as plain JSON values."""
    return {
        name: to_json(field_value)
        for name, omit in fields_of(value.__class__)
        if ((field_value := getattr(value, name)) is not None and field_value != {}) or not omit
    }


def canonical_json(value: Any) -> str:
    """Return the canonical JSON of a value: sorted keys, no spaces, no NaN."""
    return _encode(value)


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
