"""Turns a table of runs into points: CSV, TSV, JSON, JSONL, parquet; it guesses nothing silently.

The user states what the numbers count, or the points say that it is not stated. A row that cannot
be used is listed with its line and the reason. The steps are files of their own: ``cells`` reads
the file, ``roles`` finds the columns, ``where`` chooses rows, ``quantities`` makes numbers of the
cells, ``plausible``, ``flops`` and ``states`` refuse what cannot be, ``histories`` finds runs of
many rows, ``exported`` knows the tables of a report.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError, one_line
from scaling_law.fit.points import exported, flops, histories, plausible, states
from scaling_law.fit.points.cells import read_rows
from scaling_law.fit.points.column_units import loss_unit_in_name
from scaling_law.fit.points.numbers import number
from scaling_law.fit.points.points import NOT_STATED, FitPoints, Floats
from scaling_law.fit.points.quantities import (
    complete,
    errors_in_nats,
    in_plain_units,
    losses_in_nats,
    read_numbers,
)
from scaling_law.fit.points.recipe_columns import recipe_column
from scaling_law.fit.points.roles import other_losses, roles_of, wanted_columns
from scaling_law.fit.points.rows import Rows, cell_text, check_column
from scaling_law.fit.points.stated import with_stated
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.points.where import filtered
from scaling_law.units import count_of, format_count

# A law needs far fewer points; the resamples of so many fill the memory of a laptop.
MOST_POINTS = 100_000
NO_CLUSTERS = (
    "no cluster column: every row counts as an independent run; rows that share one make the"
    " intervals too narrow (--columns cluster=...)"
)


def read_table(
    path: Path,
    settings: TableSettings | None = None,
    *,
    keep: Collection[str] = (),
    convention: str = "matmul",
) -> FitPoints:
    """The points of a table of runs, one row each; unusable rows are in ``dropped``.

    For a report's ``runs.csv``, ``keep`` names rules that leave no run out and ``convention`` the
    parameters that count. Raises ``ConfigError``, naming file and line, for a table that cannot
    be read or has fewer than two usable rows.
    """
    try:
        rows = read_rows(path, wanted_columns(settings or TableSettings()))
        return _known_points(rows, settings or TableSettings(), str(path), keep, convention)
    except ConfigError as problem:
        # the message quotes paths, headers and cells: a newline in one would break the line
        raise ConfigError(one_line(str(problem))) from None


def read_table_by(
    path: Path,
    keys: Sequence[str],
    settings: TableSettings | None = None,
    *,
    keep: Collection[str] = (),
    convention: str = "matmul",
) -> list[tuple[tuple[str, ...], FitPoints | ConfigError]]:
    """The points of the rows of each combination of values of the columns ``keys``.

    Each comes with its values as text, in the order of the table; where its rows cannot be used,
    with the reason. Raises ``ConfigError`` for a table or a column that is not there.
    """
    settings = settings or TableSettings()
    wanted = wanted_columns(settings)
    try:
        rows = read_rows(path, lambda name: name in keys or wanted(name))
        rows, notes = filtered(rows, settings, str(path))
        for key in keys:
            check_column(key, rows, f"{path}: --by")
    except ConfigError as problem:
        raise ConfigError(one_line(str(problem))) from None
    rows = dataclasses.replace(rows, notes=(*rows.notes, *notes))
    plain = dataclasses.replace(settings, where=())
    of_values: dict[tuple[str, ...], list[int]] = {}
    for row in range(len(rows.lines)):
        values = tuple(one_line(cell_text(rows.columns[key][row])) or "empty" for key in keys)
        of_values.setdefault(values, []).append(row)
    several: list[tuple[tuple[str, ...], FitPoints | ConfigError]] = []
    for values, index in of_values.items():
        try:
            points = _known_points(rows.taken(index), plain, str(path), keep, convention)
            several.append((values, points))
        except ConfigError as problem:
            several.append((values, ConfigError(one_line(str(problem)))))
    return several


def read_table_with(
    path: Path, names: Sequence[str], settings: TableSettings | None = None
) -> tuple[FitPoints, dict[str, list[Any]]]:
    """The points of a table as ``read_table`` gives them, and their cells in further columns.

    Raises ``ConfigError``, also for a column that is not there.
    """
    settings = settings or TableSettings()
    wanted = wanted_columns(settings)
    try:
        rows = read_rows(path, lambda name: name in names or wanted(name))
        rows, notes = filtered(rows, settings, str(path))
        for name in names:
            check_column(name, rows, str(path))
        plain = dataclasses.replace(settings, where=())
        points = _known_points(rows, plain, str(path))
        roles = roles_of(rows, plain, str(path))
    except ConfigError as problem:
        raise ConfigError(one_line(str(problem))) from None
    ids = _run_ids(rows.columns.get(roles.get("run_id", "")), rows.lines)
    place = {run_id: i for i, run_id in enumerate(ids)}
    cells = {name: [rows.columns[name][place[one]] for one in points.run_id] for name in names}
    return dataclasses.replace(points, notes=(*notes, *points.notes)), cells


def points_from_columns(
    columns: Mapping[str, Iterable[Any]], settings: TableSettings, *, origin: str, least: int = 2
) -> FitPoints:
    """The points of columns in memory, all of one length; at least ``least`` of them."""
    plain = {str(name): list(values) for name, values in columns.items()}
    counts = {name: len(values) for name, values in plain.items()}
    if len(set(counts.values())) > 1:
        words = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigError(f"{origin}: columns of different lengths: {words}")
    rows = Rows(plain, range(1, max(counts.values(), default=0) + 1))
    try:
        return _known_points(rows, settings, origin, least=least)
    except ConfigError as problem:
        raise ConfigError(one_line(str(problem))) from None


def _known_points(
    rows: Rows,
    settings: TableSettings,
    origin: str,
    keep: Collection[str] = (),
    convention: str = "matmul",
    least: int = 2,
) -> FitPoints:
    """The points of a table; of a report's table without the runs that the report left out."""
    if not rows.columns.keys() >= exported.COLUMNS:
        return _points(rows, settings, origin, least=least)
    rows = exported.with_trunks(rows)
    columns, count = exported.columns_of(rows, settings.columns, settings.params_are, convention)
    settings = dataclasses.replace(settings, columns=columns, params_are=count)
    rows, notes = filtered(rows, settings, origin)
    settings = dataclasses.replace(settings, where=())
    points = _points(rows, settings, origin, exported.why_left_out(rows, keep))
    ids = _run_ids(rows.columns.get(roles_of(rows, settings, origin).get("run_id", "")), rows.lines)
    recipes = dict(zip(ids, exported.text_cells(rows, "recipe"), strict=True))
    counted = dict(points.convention)
    if columns.get("flops") == "flops_exact":
        counted["flops"] = "exact"
    stated = dict(zip(ids, exported.text_cells(rows, exported.STATED_COUNTS), strict=True))
    counted = with_stated(counted, [stated[run_id] for run_id in points.run_id])
    return dataclasses.replace(
        points,
        convention=counted,
        recipe=tuple(recipes[run_id] for run_id in points.run_id),
        recipe_column="recipe",
        annealed="not_annealed" not in keep,
        notes=(*notes, *points.notes),
    )


def _points(
    rows: Rows,
    settings: TableSettings,
    origin: str,
    known: Sequence[str] | None = None,
    least: int = 2,
) -> FitPoints:
    """The points of a table, at least ``least`` of them.

    Of a report's table, which was checked before, ``known`` has a reason against each row, or "".
    """
    rows, chosen = filtered(rows, settings, origin)
    reader = _Reader(rows, settings, origin, list(known or [""] * len(rows.lines)))
    reader.notes += [*rows.notes, *chosen]
    if known is None:
        reader.leave_out_unfinished()
    numbers = reader.numbers()
    runs: list[str] = []
    if known is None:
        reader.check(numbers)
        runs = reader.runs_of_histories(numbers)
    points = reader.points(numbers, runs, least)
    repeated = _repeats(points) if known is None else ()
    return dataclasses.replace(points, notes=(*reader.notes, *repeated))


class _Reader:
    """One table on its way to points.

    ``rows``: the rows that were chosen.
    ``settings``: how to read them.
    ``origin``: names the table in messages.
    ``reasons``: why each row is no point, "" for a point; they become more with every check.
    ``notes``: what a reader should know; they become more likewise.
    ``names``: role -> name of its column.
    ``columns``: role -> cells.
    ``loss_unit``: the unit of the losses.
    ``loss_shown``: the losses as the table has them.
    """

    def __init__(
        self, rows: Rows, settings: TableSettings, origin: str, reasons: list[str]
    ) -> None:
        self.rows, self.settings, self.origin, self.reasons = rows, settings, origin, reasons
        self.notes: list[str] = []
        self.names = roles_of(rows, settings, origin)
        self.columns = {role: rows.columns[name] for role, name in self.names.items()}
        self.loss_unit = ""
        self.loss_shown: Floats = np.empty(0)

    def leave_out_unfinished(self) -> None:
        """Give a reason to rows that sum up others, and to runs that did not finish."""
        self.reasons = states.summaries(self.rows)
        state = self.settings.columns.get("state")
        self.notes += states.leave_out_unfinished(self.rows, state, self.reasons)
        self.notes += other_losses(self.rows, self.names["loss"], self.settings)

    def numbers(self) -> dict[str, Floats]:
        """The columns in plain units, losses in nats; FLOPs or a count where it was not given."""
        numbers, read = read_numbers(self.columns, self.reasons, self.rows, self.origin)
        numbers, units, self.loss_unit = in_plain_units(numbers, self.names, self.settings)
        self.loss_shown = numbers["loss"]
        losses = losses_in_nats(numbers["loss"], self.loss_unit, self.reasons)
        with np.errstate(over="ignore"):
            filled, completed = complete(numbers)
        self.notes += [*read, *units, *completed]
        return {**filled, "loss": losses}

    def check(self, numbers: dict[str, Floats]) -> None:
        """Refuse or note columns that are not what they are called; give single rows a reason.

        FLOPs in a unit that they imply are converted. Raises ``ConfigError``.
        """
        reasons, origin, stated = self.reasons, self.origin, self.settings.units
        if {"params", "tokens", "flops"} <= self.names.keys() and not stated:
            flops.refuse_exchanged(numbers, reasons, self.names, origin)
        plausible.check_counts(
            numbers, reasons, origin=origin, stated=stated.keys(), given=self.names
        )
        if not {"params", "tokens"} & stated.keys():
            plausible.check_ratio(numbers, reasons, origin)
        plausible.check_losses(
            numbers["loss"], reasons, origin=origin, unit=self.loss_unit, shown=self.loss_shown
        )
        if self.loss_unit == "nats":
            plausible.refuse_perplexities(numbers["loss"], self._perplexities(), reasons, origin)
        self.notes += self._doubts(numbers)
        if "given" in numbers:
            unit = flops.flops_unit(numbers, reasons, origin=origin, stated="flops" in stated)
            if unit is not None:
                numbers["flops"] = numbers["flops"] * unit.factor
                self.notes.append(f"flops read in {unit.words}: so they are 6 * params * tokens")

    def _perplexities(self) -> dict[str, Floats]:
        """The columns beside the losses that are called perplexities."""
        return {
            name: np.array([math.nan if (x := number(cell)) is None else x for cell in cells])
            for name, cells in self.rows.columns.items()
            if name != self.names["loss"] and loss_unit_in_name(name) == "perplexity"
        }

    def _doubts(self, numbers: Mapping[str, Floats]) -> list[str]:
        """Notes on columns that may not be what they are called; none on what the user states."""
        notes = []
        if {"params", "tokens"} <= self.names.keys() - self.settings.columns.keys():
            notes += plausible.ratio_notes(numbers, self.reasons)
        stated = self.settings.loss_unit or loss_unit_in_name(self.names["loss"])
        if self.loss_unit == "nats" and not stated:
            notes += plausible.loss_notes(numbers["loss"], self.reasons)
        return notes

    def runs_of_histories(self, numbers: Mapping[str, Floats]) -> list[str]:
        """The run of each row where rows are the histories of runs, else empty."""
        clusters, which = self.columns.get("cluster"), self.settings.history
        runs, notes = histories.settle(
            self.rows, numbers, clusters, which, self.reasons, self.origin
        )
        self.notes += notes
        return runs

    def points(self, numbers: Mapping[str, Floats], runs: Sequence[str], least: int) -> FitPoints:
        """The points of the usable rows; the others are in ``dropped``."""
        ids = _run_ids(self.columns.get("run_id"), self.rows.lines)
        usable = np.array([not reason for reason in self.reasons], dtype=bool)
        for role in ("params", "tokens", "flops"):
            usable &= np.isfinite(numbers[role]) & (numbers[role] > 0)
        dropped = [
            (ids[i], self.reasons[i] or "params, tokens or FLOPs overflow")
            for i in np.flatnonzero(~usable)
            if self.reasons[i] != histories.EARLIER
        ]
        _check_number(int(usable.sum()), least, len(self.rows.lines), dropped, self.origin)
        index = np.flatnonzero(usable)
        points = _assemble(self.columns, numbers, index, ids, self.settings, self.loss_unit, runs)
        self.notes += _stated(self.columns, self.settings, self.loss_unit, bool(runs))
        column, recipes = recipe_column(self.rows, index.tolist(), points.params, points.tokens)
        return dataclasses.replace(
            points, dropped=tuple(dropped), recipe=tuple(recipes), recipe_column=column
        )


def _repeats(points: FitPoints) -> tuple[str, ...]:
    """A note on rows that have the params, tokens and loss of an earlier one."""
    keys = list(zip(*(x.tolist() for x in (points.params, points.tokens, points.loss_nats)),
                    strict=True))  # fmt: skip
    first: dict[tuple[float, ...], int] = {}
    again = [row for row, key in enumerate(keys) if first.setdefault(key, row) != row]
    if not again:
        return ()
    earlier = points.run_id[first[keys[again[0]]]]
    return (
        f"{count_of(len(again), 'row')} with the params, tokens and loss of an earlier one"
        f" ({points.run_id[again[0]]} is as {earlier}): remove repeated rows, which make the"
        " intervals too narrow",
    )


def _check_number(
    usable: int, least: int, count: int, dropped: Sequence[tuple[str, str]], origin: str
) -> None:
    """Raises ``ConfigError`` for too few or too many points."""
    if usable < least:
        first = f"; first: {dropped[0][0]}: {dropped[0][1]}" if dropped else ""
        raise ConfigError(
            f"{origin}: {usable} of {count} rows can be used, expected at least {least}{first}"
        )
    if usable > MOST_POINTS:
        raise ConfigError(
            f"{origin}: {usable:,} runs; at most {MOST_POINTS:,} are fitted: choose some with"
            " --where"
        )


def _run_ids(cells: list[Any] | None, lines: Sequence[int]) -> list[str]:
    plain = [f"row {line}" for line in lines]
    if cells is None:
        return plain
    # one line each: they may be printed to a terminal
    names = [one_line(cell_text(cell)) or own for cell, own in zip(cells, plain, strict=True)]
    times = Counter(names)
    ids = [n if times[n] == 1 else f"{n} ({own})" for n, own in zip(names, plain, strict=True)]
    if len(set(ids)) < len(ids):  # a name already ends in the number of another row
        ids = [f"{name} ({own})" for name, own in zip(names, plain, strict=True)]
    return ids


def _assemble(
    columns: Mapping[str, list[Any]],
    numbers: Mapping[str, Floats],
    index: np.typing.NDArray[np.int64],
    ids: Sequence[str],
    settings: TableSettings,
    loss_unit: str,
    runs: Sequence[str],
) -> FitPoints:

    def text(role: str, otherwise: Sequence[str]) -> tuple[str, ...]:
        if role not in columns:
            return tuple(otherwise)
        cells = (one_line(cell_text(columns[role][i])) for i in index)
        return tuple(cell or other for cell, other in zip(cells, otherwise, strict=True))

    names = tuple(ids[i] for i in index)
    tokens, params = numbers["tokens"][index], numbers["params"][index]
    unique = numbers["unique_tokens"][index] if "unique_tokens" in numbers else tokens
    unique = np.where(np.isfinite(unique), np.minimum(unique, tokens), tokens)
    trunks = text("cluster", names)
    if runs and "cluster" not in columns:
        trunks = tuple(runs[i] for i in index)
    points = FitPoints(
        params=params,
        tokens=tokens,
        flops=numbers["flops"][index],
        loss_nats=numbers["loss"][index],
        loss_sem_nats=errors_in_nats(numbers, loss_unit)[index],
        tokens_unique=unique,
        run_id=names,
        # a row without a trunk's name is its own trunk: rows without one do not share it
        cluster=trunks,
        size=text("size", [format_count(count) for count in params]),
        seed=_seeds(text("seed", [""] * len(index))) if "seed" in columns else (0,) * len(index),
        convention={
            "params": settings.params_are or NOT_STATED,
            "flops": "as given" if "given" in numbers else "6nd",
            "loss": _LOSS_IN_WORDS.get(loss_unit, "nats per token"),
        },
        batch_tokens=numbers["batch"][index] if "batch" in numbers else None,
        tokens_per_second=(
            numbers["tokens_per_second"][index] if "tokens_per_second" in numbers else None
        ),
    )
    return points


_LOSS_IN_WORDS = {"bits-per-byte": "nats per byte", "other": "as given, in a unit not stated"}


def _stated(
    columns: Mapping[str, list[Any]], settings: TableSettings, loss_unit: str, of_runs: bool
) -> list[str]:
    """What was assumed or converted, in words."""
    stated = []
    if not settings.params_are:
        stated.append(
            "which parameters were counted is not stated: where the table is fitted, say"
            " --params-are total, non_embedding or matmul"
        )
    if loss_unit == "perplexity":
        stated.append("losses are the natural logarithms of the perplexities, nats per token")
    elif loss_unit in ("bits", "bits-per-byte"):
        stated.append(f"losses converted from {loss_unit} to nats by ln 2")
    if "cluster" not in columns and not of_runs:
        stated.append(NO_CLUSTERS)
    return stated


def _seeds(cells: Sequence[str]) -> tuple[int, ...]:
    order = {name: i for i, name in enumerate(dict.fromkeys(cells))}
    return tuple(int(cell) if re.fullmatch(r"-?\d{1,18}", cell) else order[cell] for cell in cells)
