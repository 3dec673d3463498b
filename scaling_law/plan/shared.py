"""Write what all runs of a plan have in common once, and put it back.

    shared, rows = without_shared(runs)      # {"spec": {"seed": ...}}, what is left of each run
    runs == [with_shared(shared, row) for row in rows]

The runs of a sweep differ in a few values each. A plan of 500 runs that spells all of them has over
a megabyte, of which two thirds repeat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def without_shared(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the values that all rows have in common, and the rows without these.

    A value is shared where every row has its key with an equal value of the same type; mappings are
    compared key by key, at any depth. Of no rows and of one nothing is shared.
    """
    shared: dict[str, Any] = {}
    rests: list[dict[str, Any]] = [dict(row) for row in rows]
    if len(rows) < 2:
        return shared, rests
    for key, first in rows[0].items():
        if not all(key in row for row in rows):
            continue
        values = [row[key] for row in rows]
        if all(isinstance(value, dict) and value for value in values):
            inner, left = without_shared(values)
            if not inner:
                continue
            shared[key] = inner
            for rest, own in zip(rests, left, strict=True):
                rest[key] = own
                if not own:
                    del rest[key]
        elif all(_same(value, first) for value in values):
            shared[key] = first
            for rest in rests:
                del rest[key]
    return shared, rests


def _same(value: Any, other: Any) -> bool:
    """Whether both are written alike: 1, 1.0 and True are equal, but not in a file."""
    return type(value) is type(other) and repr(value) == repr(other)


def with_shared(shared: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with the shared values: its own come first where it has both."""
    whole = {**shared, **row}
    for key, value in row.items():
        if isinstance(value, dict) and isinstance(shared.get(key), dict):
            whole[key] = with_shared(shared[key], value)
    return whole
