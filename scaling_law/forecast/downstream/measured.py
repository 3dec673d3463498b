"""Read runs with the metrics of tasks beside their loss, from a sweep or a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError, FitError, did_you_mean, one_line
from scaling_law.files.record import RunRecord, measured_metrics
from scaling_law.fit.arms import ABSENT, split_by
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.cells import read_rows
from scaling_law.fit.points.dataset import chosen_records, gather, refuse_table_settings
from scaling_law.fit.points.numbers import number
from scaling_law.fit.points.points import FitPoints, points_from_records
from scaling_law.fit.points.roles import roles_of
from scaling_law.fit.points.rows import cell_text
from scaling_law.fit.points.table import read_table_with
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.units import count_of

LEAST_RUNS = 2  # of a recipe
_CHANCE, _NATS = "chance", "nats"  # what a probe of questions calls its floor and its loss


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the runs are read.

    ``metric`` is the task's metric; ``loss`` is the metric that takes the loss's place, None for
    the metric's own loss where it has one, else the validation loss;
    ``floor`` is the metric's value by chance, None for what the runs record, else 0;
    ``by`` are keys that set recipes apart; ``convention`` is the count of parameters, of a sweep;
    ``table`` is how a table is read, and which rows or runs are taken.
    """

    metric: str
    loss: str | None = None
    floor: float | None = None
    by: tuple[str, ...] = ()
    convention: str = "matmul"
    table: TableSettings = dataclasses.field(default_factory=TableSettings)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Runs with a metric.

    ``name`` is that of the recipe, "" of all runs together;
    ``points`` have params, tokens and the loss; ``values`` is the metric of each;
    ``floor`` is its value by chance, and ``floor_from`` says where that is known from;
    ``loss_name`` says which loss stands between;
    ``left_out`` are (run, reason) of the runs of the source that are not among the points.
    """

    name: str
    points: FitPoints
    values: Floats
    floor: float
    floor_from: str
    loss_name: str
    left_out: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.values)

    def chosen(self, rows: Any) -> Measured:
        """Only some of the runs."""
        return dataclasses.replace(self, points=self.points.take(rows), values=self.values[rows])


def metrics_of(source: Path, reading: Reading) -> list[str]:
    """Return the metrics of a sweep's runs, or the columns of a table that have no role."""
    if source.is_dir():
        return _metric_names(gather([source])[0])
    rows = read_rows(source, lambda _: True)
    known = roles_of(rows, reading.table, str(source)).values()
    return [one_line(name) for name in rows.columns if name not in known]


def read_measured(source: Path, reading: Reading) -> list[Measured]:
    """The runs of a source, or with ``by`` of each recipe in it. Raises ``ConfigError``."""
    every = _of_table(source, reading) if source.is_file() else _of_sweep(source, reading)
    few = [one for one in every if len(one) < LEAST_RUNS]
    if few and not reading.by:
        raise FitError(
            f"{source}: {count_of(len(few[0]), 'run')} with {reading.metric}; expected"
            f" {LEAST_RUNS} or more"
        )
    return every


def _of_table(path: Path, reading: Reading) -> list[Measured]:
    if reading.loss is not None:
        raise ConfigError(
            f"--loss {reading.loss}: is for sweeps; of a table choose the column with --columns"
            " loss=COLUMN"
        )
    points, cells = read_table_with(path, [reading.metric, *reading.by], reading.table)
    values = np.array([_value(cell) for cell in cells[reading.metric]])
    names = [
        ", ".join(f"{key}={one_line(cell_text(cells[key][i])) or 'empty'}" for key in reading.by)
        for i in range(len(points))
    ]
    loss = reading.table.columns.get("loss", "loss")
    return [
        _measured(
            name, points, values, np.array([one == name for one in names]), reading,
            (reading.floor, "--floor") if reading.floor is not None else (0.0, "not stated"),
            f"{loss} ({points.loss_unit})",
        )
        for name in dict.fromkeys(names)
    ]  # fmt: skip


def _value(cell: Any) -> float:
    value = number(cell)
    return math.nan if value is None else value


def _measured(
    name: str,
    points: FitPoints,
    values: Floats,
    mine: Any,
    reading: Reading,
    floor: tuple[float, str],
    loss_name: str,
) -> Measured:
    rows = mine & np.isfinite(values)
    without = [points.run_id[row] for row in np.flatnonzero(mine & ~rows)]
    return Measured(
        name=name,
        points=points.take(rows),
        values=values[rows],
        floor=floor[0],
        floor_from=floor[1],
        loss_name=loss_name,
        left_out=(*points.dropped, *((run, f"no {reading.metric}") for run in without)),
    )


def _of_sweep(source: Path, reading: Reading) -> list[Measured]:
    refuse_table_settings(str(source), reading.table)
    records, _ = gather([source])
    records = chosen_records(records, reading.table.where, str(source))
    names = _metric_names(records)
    for name in (reading.metric, *([reading.loss] if reading.loss else [])):
        if name not in names:
            there = f"expected one of {', '.join(names)}" if names else "they have no metrics"
            raise ConfigError(
                f"{source}: {name}: no run has it{did_you_mean(name, names)}; {there}"
            )
    if not reading.by:
        return [_of_records("", records, reading)]
    arms, absent = [], []
    for arm in split_by(records, reading.by, str(source)):
        if any(value == ABSENT for _, value in arm.values):
            absent += [(record.run_id, f"no {', '.join(reading.by)}") for record in arm.records]
        else:
            arms.append(_of_records(arm.name, list(arm.records), reading))
    return [dataclasses.replace(one, left_out=(*one.left_out, *absent)) for one in arms]


def _metric_names(records: Sequence[RunRecord]) -> list[str]:
    return sorted({name for one in records for name in measured_metrics(one.metrics)})


def _of_records(name: str, records: Sequence[RunRecord], reading: Reading) -> Measured:
    known: Mapping[str, RunRecord] = {one.run_id: one for one in records}
    base = reading.metric.rpartition(".")[0]
    own = f"{base}.{_NATS}"
    has_own = any(own in one.metrics for one in records)
    loss = reading.loss or (own if has_own and reading.metric != own else None)
    points = points_from_records(records, convention=reading.convention, metric=loss)
    metrics = [known[run_id].metrics for run_id in points.run_id]
    values = np.array([one.get(reading.metric, math.nan) for one in metrics])
    chances = {one[f"{base}.{_CHANCE}"] for one in metrics if f"{base}.{_CHANCE}" in one}
    floor = (0.0, "not stated")
    if reading.floor is not None:
        floor = (reading.floor, "--floor")
    elif len(chances) == 1:
        floor = (chances.pop(), f"{base}.{_CHANCE} of the runs")
    every = np.ones(len(points), dtype=bool)
    return _measured(name, points, values, every, reading, floor, loss or "validation loss")
