"""The runs of a pool as plain numbers: counts, FLOPs and losses in nats, under their roles.

What ``fit.points`` knows of cells (decimal commas, digit groups, suffixes, units in names) is used
on all rows of a pool together, so that one column is read in one way.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError, listed, one_line, quoted
from scaling_law.fit.points.numbers import decimal_marks, is_missing, number
from scaling_law.fit.points.points import Floats
from scaling_law.fit.points.quantities import (
    NUMERIC,
    errors_in_nats,
    in_plain_units,
    losses_in_nats,
    read_numbers,
)
from scaling_law.fit.points.rows import Rows, cell_text
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.tables.formats import SourceRun
from scaling_law.tables.gather import Pool
from scaling_law.tables.propose import Proposal
from scaling_law.units import count_of

# What a curve's point has beside its loss, and is taken from the row of the last loss.
_PROGRESS = ("tokens", "flops", "step")
# What is between the factors of the tokens of a step, as in batch_size*seq_len.
FACTORS = "*"


@dataclass
class PlainRun:
    """A run with plain numbers.

    ``name``: its name.
    ``origin``: the sources that it comes from.
    ``cells``: role -> its value at the end: a number, or the text of a cell that is none.
    ``others``: column -> cell, of columns without a role.
    ``curve``: points, role -> number: step, tokens, loss, and others by their columns.
    """

    name: str
    origin: str
    cells: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class PlainPool:
    """The runs of a pool, what was converted in reading, and the unit of the losses.

    ``runs``, ``notes``: likewise.
    ``loss_unit``: one of ``column_units.LOSS_UNITS``; "" for a pool without losses.
    """

    runs: list[PlainRun]
    notes: list[str]
    loss_unit: str


def plain_pool(
    pool: Pool,
    roles: Mapping[str, Proposal],
    settings: TableSettings,
    beside: Sequence[str],
    tokens_per_step: float | str | None,
) -> PlainPool:
    """Read a pool's cells as numbers.

    ``settings`` have what the user says of units. ``beside`` are columns of numbers that curves
    keep. ``tokens_per_step`` is a number, or the columns whose product it is, where tokens are
    counted in steps. Raises ``ConfigError`` for a column that is read in no way or in several.
    """
    rows: list[Mapping[str, Any]] = [row for run in pool.runs for row in (*run.curve, run.values)]
    names = {role: proposal.column for role, proposal in roles.items()}
    numeric = {role: name for role, name in names.items() if role in NUMERIC}
    reasons = [""] * len(rows)
    cells = {role: [row.get(name) for row in rows] for role, name in numeric.items()}
    lines = Rows({}, range(1, len(rows) + 1))
    numbers, notes = read_numbers(cells, reasons, lines, pool.origin)
    stated = settings if "loss" in names else dataclasses.replace(settings, loss_unit="nats")
    numbers, units, loss_unit = in_plain_units(numbers, names, stated)
    if "loss" in numbers:
        numbers["loss"] = losses_in_nats(numbers["loss"], loss_unit, reasons)
        if "sem" in numbers:
            numbers["sem"] = errors_in_nats(numbers, loss_unit)
    for role in _PROGRESS[:2]:  # a curve may begin at 0, which is no end of a run
        if role in cells:
            zero = np.array([number(cell) == 0 for cell in cells[role]])
            numbers[role] = np.where(zero, 0.0, numbers[role])
    columns = {name: [row.get(name) for row in rows] for name in beside}
    marks = decimal_marks(columns, pool.origin)
    step = [number(row.get(names["step"])) if "step" in names else None for row in rows]
    numbers["step"] = np.array([math.nan if value is None else value for value in step])
    if tokens_per_step is not None and "tokens" not in names:
        numbers["tokens"] = numbers["step"] * _each(tokens_per_step, rows, pool)
    read: dict[str, Sequence[float | None]] = {
        name: [number(cell, mark=marks[name]) for cell in own] for name, own in columns.items()
    }
    beside_it = {
        name: [math.nan if x is None else x for x in values] for name, values in read.items()
    }
    runs = []
    place = repeated = 0
    for run, origin in zip(pool.runs, pool.sources, strict=True):
        own = slice(place, place + len(run.curve))
        place = own.stop + 1
        plain, again = _plain_run(run, origin, names, numbers, own, beside_it)
        repeated += again
        runs.append(plain)
    units += _with_points(runs, cells, pool.origin)
    if repeated:
        units.append(replaced(repeated))
    read |= {names[role]: numbers[role].tolist() for role in (*cells, "step") if role in names}
    units += _unread(pool, read)
    return PlainPool(runs, [*notes, *units], loss_unit if "loss" in names else "")


def _plain_run(
    run: SourceRun,
    origin: str,
    names: Mapping[str, str],
    numbers: Mapping[str, Floats],
    rows: slice,
    beside: Mapping[str, Sequence[float]],
) -> tuple[PlainRun, int]:
    """Read a run whose curve has these rows of the pool; its end is the row after them.

    ``numbers`` are by role, ``beside`` by column, both by row and NaN where a cell has none. Return
    the points that were left out, too, because another is at their step.
    """
    plain = PlainRun(one_line(run.name.strip()) or "run", origin, others=_others(run, names))
    plain.cells = {
        role: _end(role, run, names.get(role), numbers, rows)
        for role in (*numbers, *(r for r in names if r not in numbers))
    }
    if _has_diverged(run, names.get("loss")):
        plain.cells["state"] = "diverged"
    for row in range(rows.start, rows.stop):
        point = {role: float(values[row]) for role, values in numbers.items()}
        point |= {name: values[row] for name, values in beside.items()}
        plain.curve.append({name: x for name, x in point.items() if not math.isnan(x)})
    plain.curve, again = one_point_a_step(plain.curve)
    return plain, again


def _with_points(
    runs: Sequence[PlainRun], cells: Mapping[str, Sequence[Any]], origin: str
) -> list[str]:
    """Write the numbers of columns without a role plainly where the table has decimal commas.

    ``cells`` are those of the roles. Returns a note on the columns. One with any other text stays.
    """
    if "," not in decimal_marks(cells, origin).values():
        return []
    read = []
    for name in dict.fromkeys(name for run in runs for name in run.others):
        own = {place: run.others[name] for place, run in enumerate(runs) if name in run.others}
        try:
            mark = decimal_marks({**cells, name: list(own.values())}, origin)[name]
        except ConfigError:
            continue
        values = {place: number(cell, mark=mark) for place, cell in own.items()}
        commas = any(isinstance(cell, str) and {",", "."} & {*cell} for cell in own.values())
        if mark != "," or not commas or None in values.values():
            continue
        for place, value in values.items():
            runs[place].others[name] = value
        read.append(one_line(name))
    return [f"decimal commas read in {listed(read, 6)}, too"] if read else []


def _unread(pool: Pool, columns: Mapping[str, Sequence[float | None]]) -> list[str]:
    """A note for each column with cells in curves that are no usable number: how many, and which.

    ``columns`` has the number of each row, NaN or None where the cell is none.
    """
    notes = []
    for name, numbers in columns.items():
        place = count = 0
        shown = ""
        for run in pool.runs:
            own = numbers[place : place + len(run.curve)]
            place += len(run.curve) + 1
            for row, value in zip(run.curve, own, strict=True):
                cell = row.get(name)
                if is_missing(cell) or (value is not None and math.isfinite(value)):
                    continue
                count += 1
                shown = shown or f"{quoted(cell_text(cell)[:20])} of {run.name}"
        if count:
            notes.append(
                f"{count_of(count, 'cell')} of {one_line(name)} in curves cannot be used, as"
                f" {one_line(shown)}: these points have none"
            )
    return notes


def one_point_a_step(points: Sequence[dict[str, float]]) -> tuple[list[dict[str, float]], int]:
    """The points with the rows of one step together, and how many losses a later one replaces.

    A resumed run measures some steps again; training and validation may have rows of their own.
    """
    steps: dict[float, dict[str, float]] = {}
    repeated = 0
    for place, point in enumerate(points):
        known = steps.setdefault(point.get("step", -1.0 - place), {})
        repeated += "loss" in known and "loss" in point
        known |= point
    return sorted(steps.values(), key=lambda point: point.get("step", 0.0)), repeated


def replaced(points: int) -> str:
    """What is said of points whose loss a later one replaces."""
    return f"{count_of(points, 'point')} of a step that a curve has twice: the later loss counts"


def _each(tokens_per_step: float | str, rows: Sequence[Mapping[str, Any]], pool: Pool) -> Floats:
    """The tokens of a step, for each row: a number, a column, or several with * between.

    A column's value holds for all rows of its run.
    """
    if not isinstance(tokens_per_step, str):
        return np.full(len(rows), tokens_per_step)
    each = np.ones(len(rows))
    for factor in map(str.strip, tokens_per_step.split(FACTORS)):
        values: list[float] = []
        for run in pool.runs:
            cells = [factor, *(row.get(factor) for row in (*run.curve, run.values))]
            known = [x for cell in cells if (x := number(cell, count=True)) is not None]
            values += [known[-1] if known else math.nan] * (len(run.curve) + 1)
        if all(map(math.isnan, values)):
            raise ConfigError(
                f"--tokens-per-step {quoted(tokens_per_step)}: {pool.origin} has no column"
                f" {quoted(factor)} of numbers"
            )
        each *= np.array(values)
    return each


def _end(
    role: str, run: SourceRun, name: str | None, numbers: Mapping[str, Floats], own: slice
) -> Any:
    """A role's value at the end of a run; the text of the last cell where that is no number."""
    if role not in numbers:
        assert name is not None
        cells = [row.get(name) for row in (*run.curve, run.values)]
        return next((text for cell in reversed(cells) if (text := cell_text(cell))), "")
    values, stated = numbers[role][own], float(numbers[role][own.stop])
    losses = numbers["loss"][own] if "loss" in numbers else np.empty(0)
    at = np.flatnonzero(np.isfinite(losses))
    last = float(numbers["loss"][own.stop]) if len(at) else math.nan
    # what is stated for the whole run belongs to its stated loss, if that is not the curve's last
    if role in _PROGRESS and len(at) and (math.isnan(last) or last == losses[at[-1]]):
        known = np.flatnonzero(np.isfinite(values[: at[-1] + 1]))
        if len(known):
            return float(values[known[-1]])
    if math.isfinite(stated):
        return stated
    known = np.flatnonzero(np.isfinite(values))
    if len(known):
        return float(values[known[-1]])
    texts = [row.get(name) for row in (*run.curve, run.values)] if name else []
    return next((one_line(cell_text(cell)) for cell in reversed(texts) if cell_text(cell)), "")


def _has_diverged(run: SourceRun, loss: str | None) -> bool:
    """Whether a curve's last loss is NaN or infinite.

    A word for a missing value, as tables have them, is no loss.
    """
    cells = [cell for row in run.curve if loss is not None and not _absent(cell := row.get(loss))]
    last = cells[-1] if cells else None
    value = last if isinstance(last, float) else number(last)
    return value is not None and not math.isfinite(value)


def _absent(cell: Any) -> bool:
    return is_missing(cell) and not isinstance(cell, float)


def _others(run: SourceRun, names: Mapping[str, str]) -> dict[str, Any]:
    """The last cell of each column without a role."""
    others: dict[str, Any] = {}
    for row in (*run.curve, run.values):
        others |= {name: cell for name, cell in row.items() if not is_missing(cell)}
    return {name: cell for name, cell in others.items() if name not in names.values()}
