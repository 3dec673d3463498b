"""Joins the runs of several sources by their names: one may have sizes, another losses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from scaling_law.errors import ConfigError, one_line, quoted
from scaling_law.fit.points.rows import cell_text
from scaling_law.tables.plain import PlainPool, PlainRun, one_point_a_step, replaced
from scaling_law.units import count_of

_SAME_FRAC = 1e-9


def merged(pools: Sequence[PlainPool]) -> tuple[list[PlainRun], list[str]]:
    """The runs of all pools, those of one name joined, and what was joined.

    Of a column without a role that two sources give different values, the first is taken and the
    notes say so. Raises ``ConfigError`` where two sources give one run different values of a role.
    """
    runs: dict[str, PlainRun] = {}
    joined: set[str] = set()
    differing: Counter[tuple[str, str, str]] = Counter()
    repeated = 0
    for pool in pools:
        for run in pool.runs:
            if run.name not in runs:
                runs[run.name] = run
                continue
            first = runs[run.name]
            names = _differing(first, run)
            differing.update((name, first.origin, run.origin) for name in names)
            repeated += _join(first, run)
            joined.add(run.name)
    notes = (
        [f"{count_of(len(joined), 'run')} joined from several sources by name"] if joined else []
    )
    notes += [replaced(repeated)] if repeated else []
    notes += [
        f"{count_of(number, 'run')} with another {one_line(name)} in {origin} than in {first}: that"
        f" of {first} is taken"
        for (name, first, origin), number in differing.items()
    ]
    return list(runs.values()), notes


def _differing(run: PlainRun, other: PlainRun) -> list[str]:
    """The columns without a role in which the two have different values."""
    return [
        name
        for name, cell in other.others.items()
        if name in run.others and cell_text(cell) != cell_text(run.others[name])
    ]


def _join(run: PlainRun, other: PlainRun) -> int:
    """Join the other into the run; returns how many points of its curve the other's replace."""
    repeated = 0
    for role, value in other.cells.items():
        before = run.cells.get(role, "")
        if _missing(before):
            run.cells[role] = value
        elif not _missing(value) and not _same(before, value) and role != "step":
            raise ConfigError(
                f"run {quoted(run.name)} has {role} {before} in {run.origin} and {value} in"
                f" {other.origin}: two runs of one name, or one run counted in two ways; import the"
                f" sources one at a time, or leave one column out (--columns {role}=COLUMN)"
            )
    for name, cell in other.others.items():
        run.others.setdefault(name, cell)
    if other.curve:
        run.curve, repeated = one_point_a_step([*run.curve, *other.curve])
    run.origin = f"{run.origin}, {other.origin}"
    return repeated


def _missing(value: Any) -> bool:
    return value == "" or (isinstance(value, float) and math.isnan(value))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= _SAME_FRAC * max(abs(one), abs(other))
    return bool(one == other)
