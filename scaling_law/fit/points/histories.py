"""Finds tables whose rows are the training histories of runs, not runs.

Rows of one run are not independent: the user says which of them count.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError
from scaling_law.fit.points.numbers import is_missing, number
from scaling_law.fit.points.points import Floats
from scaling_law.fit.points.rows import Rows, cell_text
from scaling_law.fit.points.states import RUN_NAMES
from scaling_law.units import count_of

STEPS = ("step", "_step", "steps", "global_step", "trainer/global_step", "iteration", "iter",
         "iterations", "iters", "epoch")  # fmt: skip
HISTORIES = ("last", "all")
EARLIER = "an earlier row of its run"
# Rows of one size in equal steps are the log of one run from this many on, and from fewer where a
# column counts steps; horizons are few, and grow by factors.
_LEAST_LOGGED, _LEAST_LOGGED_STEPS = 8, 4
_EQUAL_STEPS = 0.02


def histories(
    rows: Rows, numbers: Mapping[str, Floats], clusters: Sequence[str] | None
) -> list[list[int]]:
    """The rows of each run that has several, in order; empty where every row is a run.

    A run is what a column names; without one, rows of one size in equal steps.
    """
    steps = [
        [math.nan if (value := number(cell)) is None else value for cell in cells]
        for name, cells in rows.columns.items()
        if name.strip().lower() in STEPS
    ]
    progress = [numbers["tokens"], *map(np.array, steps)]
    count = len(rows.lines)
    for name, cells in rows.columns.items():
        if name.strip().lower() not in RUN_NAMES:
            continue
        names = {str(cell) for cell in cells if not is_missing(cell)}
        if len(names) == count and any(number(cell) is None for cell in cells):
            return []  # every row has a name of its own; numbers may only count the rows
        if 0 < len(names) < count:
            groups = _groups(numbers["params"], [_run_name(cell, row) for row, cell in
                             enumerate(cells)], progress)  # fmt: skip
            logged = [group for group in groups if _differ(progress, group)]
            if sum(map(len, logged)) > count / 2:
                return groups
    least = _LEAST_LOGGED_STEPS if steps else _LEAST_LOGGED
    groups = _groups(numbers["params"], list(clusters or [""] * count), progress)
    logged = [group for group in groups if _in_equal_steps(progress, group, least)]
    return groups if sum(map(len, logged)) > count / 2 else []


def _run_name(cell: Any, row: int) -> str:
    return f"row {row}" if is_missing(cell) else str(cell)


def _groups(params: Floats, names: Sequence[str], progress: Sequence[Floats]) -> list[list[int]]:
    """The rows of each name and size, in the order of their progress."""
    groups: dict[tuple[str, float], list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        groups[name, float(params[row])].append(row)
    return [
        sorted(group, key=lambda row: [x for x in (float(p[row]) for p in progress) if x == x])
        for group in groups.values()
    ]


def _differ(progress: Sequence[Floats], group: Sequence[int]) -> bool:
    """Whether the rows of one run stand at different places of it."""
    if len(group) < 2:
        return False
    return any(len(set(values[list(group)].tolist())) == len(group) for values in progress)


def _in_equal_steps(progress: Sequence[Floats], group: Sequence[int], least: int) -> bool:
    if len(group) < least:
        return False
    for values in progress:
        steps = np.diff(values[list(group)])[:-1]  # the last may be cut short
        middle = float(np.median(steps))
        if middle > 0 and bool((np.abs(steps / middle - 1) < _EQUAL_STEPS).all()):
            return True
    return False


def settle(
    rows: Rows,
    numbers: Mapping[str, Floats],
    clusters: Sequence[Any] | None,
    which: str,
    reasons: list[str],
    origin: str,
) -> tuple[list[str], list[str]]:
    """The run of each row where rows are the histories of runs (else empty), and what was done.

    ``clusters`` are the cells of their column; ``which`` rows count is one of ``HISTORIES``. Raises
    ``ConfigError`` for histories where ``which`` does not say.
    """
    names = None if clusters is None else [cell_text(cell) for cell in clusters]
    groups = histories(rows, numbers, names)
    if not groups:
        return [], []
    if not which:
        _refuse(origin, groups, len(rows.lines))
    runs = [""] * len(rows.lines)
    left = 0
    for place, group in enumerate(groups, 1):
        usable = [row for row in group if not reasons[row]]
        for row in group:
            runs[row] = f"run {place}"
            if which == "last" and row in usable[:-1]:
                reasons[row] = EARLIER
                left += 1
    if which == "last":
        return [], [f"the last usable row of each of {len(groups)} runs; {left} earlier left out"]
    return runs, [f"every row of {len(groups)} training histories; a trunk a run"]


def _refuse(origin: str, groups: Sequence[Sequence[int]], count: int) -> None:
    """Raises ``ConfigError``: the rows are histories of runs, and no option says which count."""
    longest = max(map(len, groups))
    raise ConfigError(
        f"{origin}: {count_of(count, 'row')} of {count_of(len(groups), 'run')}, up to {longest}"
        " a run in growing tokens: training histories, whose rows are not independent; --history"
        " last fits the last row of each run, --history all every row, a trunk a run"
    )
