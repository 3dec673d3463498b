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
from scaling_law.fit.points.points import FitPoints, Floats
from scaling_law.fit.points.quantities import (
    complete,
    errors_in_nats,
    in_plain_units,
    losses_in_nats,
    read_numbers,
)
from scaling_law.fit.points.roles import other_losses, roles_of, wanted_columns
from scaling_law.fit.points.rows import Rows, cell_text, check_column
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.points.where import filtered
from scaling_law.units import count_of, format_count

# A law needs far fewer points; the resamples of so many fill the memory of a laptop.
MOST_POINTS = 100_000


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


def points_from_columns(
    columns: Mapping[str, Iterable[Any]], settings: TableSettings, *, origin: str
) -> FitPoints:
    """The points of columns in memory, all of one length."""
    plain = {str(name): list(values) for name, values in columns.items()}
    counts = {name: len(values) for name, values in plain.items()}
    if len(set(counts.values())) > 1:
        words = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigError(f"{origin}: columns of different lengths: {words}")
    rows = Rows(plain, range(1, max(counts.values(), default=0) + 1))
    try:
        return _known_points(rows, settings, origin)
    except ConfigError as problem:
        raise ConfigError(one_line(str(problem))) from None


def _known_points(
    rows: Rows,
    settings: TableSettings,
    origin: str,
    keep: Collection[str] = (),
    convention: str = "matmul",
) -> FitPoints:
    """The points of a table; of a report's table without the runs that the report left out."""
    if not rows.columns.keys() >= exported.COLUMNS:
        return _points(rows, settings, origin)
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
    return dataclasses.replace(
        points,
        convention=counted,
        recipe=tuple(recipes[run_id] for run_id in points.run_id),
        annealed="not_annealed" not in keep,
        notes=(*notes, *points.notes),
    )


def _points(
    rows: Rows, settings: TableSettings, origin: str, known: Sequence[str] | None = None
) -> FitPoints:
    """The points of a table.

    Of a report's table, which was checked before, ``known`` has a reason against each row, or "".
    """
    rows, notes = filtered(rows, settings, origin)
    names = roles_of(rows, settings, origin)
    columns = {role: rows.columns[name] for role, name in names.items()}
    ids = _run_ids(columns.get("run_id"), rows.lines)
    reasons = list(known or [""] * len(rows.lines))
    if known is None:
        reasons = states.summaries(rows)
        notes += states.leave_out_unfinished(rows, settings.columns.get("state"), reasons)
        notes += other_losses(rows, names["loss"], settings)
    numbers, more = read_numbers(columns, reasons, rows, origin)
    numbers, units, loss_unit = in_plain_units(numbers, names, settings)
    losses = losses_in_nats(numbers["loss"], loss_unit, reasons)
    with np.errstate(over="ignore"):
        filled, filled_notes = complete(numbers)
    if known is None:
        _refuse_implausible(rows, filled, losses, loss_unit, reasons, settings, names, origin)
        units += _doubts(filled, losses, loss_unit, reasons, settings, names)
        if "given" in filled:
            unit = flops.flops_unit(
                filled, reasons, origin=origin, stated="flops" in settings.units
            )
            if unit is not None:
                filled["flops"] = filled["flops"] * unit.factor
                units.append(f"flops read in {unit.words}: so they are 6 * params * tokens")
    names_of_runs: list[str] = []
    history: list[str] = []
    if known is None:
        names_of_runs, history = histories.settle(
            rows, filled, columns.get("cluster"), settings.history, reasons, origin
        )
    usable = np.array([not reason for reason in reasons], dtype=bool)
    for role in ("params", "tokens", "flops"):
        usable &= np.isfinite(filled[role]) & (filled[role] > 0)
    dropped = [
        (ids[i], reasons[i] or "params, tokens or FLOPs overflow")
        for i in np.flatnonzero(~usable)
        if reasons[i] != histories.EARLIER
    ]
    _check_number(int(usable.sum()), len(rows.lines), dropped, origin)
    filled["loss"] = losses
    points = _assemble(
        columns, filled, np.flatnonzero(usable), ids, settings, loss_unit, names_of_runs
    )
    stated = _stated(columns, settings, loss_unit, bool(names_of_runs))
    if known is None:
        stated += _repeats(points)
    return dataclasses.replace(
        points,
        dropped=tuple(dropped),
        notes=(*rows.notes, *notes, *more, *filled_notes, *units, *history, *stated),
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


def _doubts(
    numbers: Mapping[str, Floats],
    losses: Floats,
    loss_unit: str,
    reasons: Sequence[str],
    settings: TableSettings,
    names: Mapping[str, str],
) -> list[str]:
    """Notes on columns that may not be what they are called; none on what the user states."""
    notes = []
    if {"params", "tokens"} <= names.keys() - settings.columns.keys():
        notes += plausible.ratio_notes(numbers, reasons)
    if loss_unit == "nats" and not settings.loss_unit and not loss_unit_in_name(names["loss"]):
        notes += plausible.loss_notes(losses, reasons)
    return notes


def _refuse_implausible(
    rows: Rows,
    numbers: Mapping[str, Floats],
    losses: Floats,
    loss_unit: str,
    reasons: list[str],
    settings: TableSettings,
    names: Mapping[str, str],
    origin: str,
) -> None:
    """Raises ``ConfigError`` for columns that cannot be what they are called.

    Single rows get a reason. ``names``: role -> its column.
    """
    if {"params", "tokens", "flops"} <= names.keys() and not settings.units:
        flops.refuse_exchanged(numbers, reasons, names, origin)
    plausible.check_counts(
        numbers, reasons, origin=origin, stated=settings.units.keys(), given=names
    )
    if not {"params", "tokens"} & settings.units.keys():
        plausible.check_ratio(numbers, reasons, origin)
    plausible.check_losses(losses, reasons, origin=origin, unit=loss_unit, shown=numbers["loss"])
    if loss_unit == "nats":
        plausible.refuse_perplexities(losses, _perplexities(rows, names["loss"]), reasons, origin)


def _perplexities(rows: Rows, loss: str) -> dict[str, Floats]:
    """The columns beside the losses that are called perplexities."""
    return {
        name: np.array([math.nan if (x := number(cell)) is None else x for cell in cells])
        for name, cells in rows.columns.items()
        if name != loss and loss_unit_in_name(name) == "perplexity"
    }


def _check_number(usable: int, count: int, dropped: Sequence[tuple[str, str]], origin: str) -> None:
    """Raises ``ConfigError`` for too few or too many points."""
    if usable < 2:
        first = f"; first: {dropped[0][0]}: {dropped[0][1]}" if dropped else ""
        raise ConfigError(
            f"{origin}: {usable} of {count} rows can be used, expected at least 2{first}"
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
            "params": settings.params_are or "not stated",
            "flops": "as given" if "given" in numbers else "6nd",
            "loss": _LOSS_IN_WORDS.get(loss_unit, "nats per token"),
        },
        batch_tokens=numbers["batch"][index] if "batch" in numbers else None,
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
            "which parameters were counted is not stated: say --params-are total, non_embedding"
            " or matmul"
        )
    if loss_unit == "perplexity":
        stated.append("losses are the natural logarithms of the perplexities, nats per token")
    elif loss_unit in ("bits", "bits-per-byte"):
        stated.append(f"losses converted from {loss_unit} to nats by ln 2")
    if "cluster" not in columns and not of_runs:
        stated.append(
            "no cluster column: every row counts as an independent run; rows that share one"
            " make the intervals too narrow (--columns cluster=...)"
        )
    return stated


def _seeds(cells: Sequence[str]) -> tuple[int, ...]:
    order = {name: i for i, name in enumerate(dict.fromkeys(cells))}
    return tuple(int(cell) if re.fullmatch(r"-?\d{1,18}", cell) else order[cell] for cell in cells)
