"""``slaw import``: from the files of another program to a table of runs, checked as a fit would."""

from __future__ import annotations

import csv
import io
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError, listed, one_line
from scaling_law.files.layout import atomic_write
from scaling_law.fit.points.loss_names import is_loss
from scaling_law.fit.points.numbers import is_missing
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.points.recipe_columns import NAMES as RECIPES
from scaling_law.fit.points.rows import cell_text
from scaling_law.fit.points.table import points_from_columns
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.points.text_of_losses import says_text
from scaling_law.tables.gather import Pool, gather
from scaling_law.tables.merge import merged
from scaling_law.tables.plain import FACTORS, PlainPool, PlainRun, plain_pool
from scaling_law.tables.propose import (
    Asked,
    Proposal,
    check_asked,
    column_names,
    is_number,
    is_reserved,
    propose,
)
from scaling_law.units import count_of

_ROLES = (
    "params", "tokens", "loss", "flops", "sem", "seed", "cluster", "size", "batch", "unique_tokens",
    "tokens_per_second",
)  # fmt: skip
_TEXT_ROLES = ("seed", "cluster", "size")
_PER_BYTE = "loss (bits per byte)"
_LONGEST_CELL = 60
_BESIDE_CURVES = ("lr", "learning_rate", "train/lr", "optim/lr", "train_loss", "train/loss")


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """How sources are read.

    ``asked``: what the user says of columns.
    ``units``: role -> the unit of its numbers; ``loss_unit``: that of the losses; "" by the names.
    ``bytes_per_token``: bytes of text a token, which make nats per token of bits per byte.
    ``tokens_per_step``: a number, or the columns whose product it is, as in ``batch*context``.
    ``format``: the format of all sources; None finds each one's.
    """

    asked: Asked = field(default_factory=Asked)
    units: Mapping[str, str] = field(default_factory=dict)
    loss_unit: str = ""
    bytes_per_token: float | None = None
    tokens_per_step: float | str | None = None
    format: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReadPool:
    """A pool of sources, and how its columns are taken.

    ``pool``: what was read; ``roles``: role -> its column and why; ``notes``: what was converted.
    """

    pool: Pool
    roles: Mapping[str, Proposal]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Runs as a table.

    ``read``: the sources, and how their columns are taken.
    ``points``: the usable runs, with reasons against the others and notes.
    ``rows``: a row a run for the table, column -> cell.
    ``curve_rows``: a row a point of a curve.
    ``left_out``: (run, reason) of each run that is not in the table.
    ``columns_left_out``: columns that neither have a role nor are carried along.
    ``notes``: what else was done.
    """

    read: tuple[ReadPool, ...]
    points: FitPoints
    rows: tuple[dict[str, Any], ...]
    curve_rows: tuple[dict[str, Any], ...]
    left_out: tuple[tuple[str, str], ...]
    columns_left_out: tuple[str, ...]
    notes: tuple[str, ...]


def import_runs(sources: Sequence[Path], settings: ImportSettings) -> Imported:
    """Read the runs of ``sources``; writes nothing.

    Raises ``ConfigError`` for a source that cannot be read, a role for which no column is there or
    several are, and losses that do not compare.
    """
    pools = gather(sources, settings.format)
    asked = settings.asked
    check_asked(asked, pools)
    proposals, problems = [], []
    for pool in pools:
        roles, more = propose(pool, asked)
        proposals.append(roles)
        problems += more
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    units = TableSettings(units=settings.units, loss_unit=settings.loss_unit)
    plain = [
        plain_pool(
            pool,
            roles,
            units,
            [n for n in column_names(pool) if n.lower() in _BESIDE_CURVES and not _has(roles, n)],
            settings.tokens_per_step,
        )
        for pool, roles in zip(pools, proposals, strict=True)
    ]
    unit, plain = _one_unit(pools, plain, settings.bytes_per_token)
    runs, notes = merged(plain)
    for run in runs:
        run.cells |= settings.asked.constants
    _check_roles(pools, runs, settings)
    points = _points(runs, unit)
    carried, others = _carried(runs, asked, {pool.run_column for pool in pools})
    of_name = {run.name: run for run in runs}
    rows = tuple(
        _row(of_name[name], carried, points, place, unit)
        for place, name in enumerate(points.run_id)
    )
    read = [
        ReadPool(pool=pool, roles=roles, notes=(*pool.notes, *one.notes))
        for pool, roles, one in zip(pools, proposals, plain, strict=True)
    ]
    return Imported(
        read=tuple(read),
        points=points,
        rows=rows,
        curve_rows=tuple(_curve_rows([of_name[name] for name in points.run_id], unit)),
        left_out=(*(row for pool in pools for row in pool.left_out), *points.dropped),
        columns_left_out=tuple(others),
        notes=tuple(notes),
    )


def read_curves(path: Path) -> list[PlainRun]:
    """The runs of one source with the losses along their training; no size or tokens is needed.

    Raises ``ConfigError`` for a source that cannot be read, or without a column of losses.
    """
    runs: list[PlainRun] = []
    for pool in gather([path], None):
        roles, problems = propose(pool, Asked())
        if "loss" not in roles:
            problems.append(f"{pool.origin}: no column for the loss")
        if problems:
            raise ConfigError(*problems)
        runs += plain_pool(pool, roles, TableSettings(), [], None).runs
    if not any(run.curve for run in runs):
        raise ConfigError(
            f"{path}: no curve, only ends of runs; expected rows of a run at growing steps"
        )
    return runs


def _has(roles: Mapping[str, Proposal], column: str) -> bool:
    return any(proposal.column == column for proposal in roles.values())


def _one_unit(
    pools: Sequence[Pool], plain: Sequence[PlainPool], bytes_per_token: float | None
) -> tuple[str, list[PlainPool]]:
    """The unit of all losses, nats per token where ``bytes_per_token`` says how."""
    known = ["nats" if one.loss_unit in ("bits", "perplexity") else one.loss_unit for one in plain]
    if bytes_per_token is not None:
        if "bits-per-byte" not in known:
            raise ConfigError("--bytes-per-token: no loss is in bits per byte")
        for one, unit in zip(plain, known, strict=True):
            for run in one.runs if unit == "bits-per-byte" else ():
                for cells in (run.cells, *run.curve):
                    for role in ("loss", "sem"):
                        if isinstance(cells.get(role), float):
                            cells[role] *= bytes_per_token
        known = ["nats" if unit == "bits-per-byte" else unit for unit in known]
    units = {unit: pool.origin for unit, pool in zip(known, pools, strict=True) if unit}
    if len(units) > 1:
        words = " and ".join(f"{unit} in {origin}" for unit, origin in units.items())
        raise ConfigError(
            f"losses in {words}, which do not compare; --bytes-per-token X makes nats per token of"
            " bits per byte, --loss names another column"
        )
    return next(iter(units), ""), list(plain)


def _check_roles(pools: Sequence[Pool], runs: Sequence[PlainRun], settings: ImportSettings) -> None:
    """Raises ``ConfigError`` for roles that no run has, a line each with what to do."""
    have = {role for run in runs for role, cell in run.cells.items() if cell != ""}
    problems = []
    missing = [role for role in ("loss", "params", "tokens") if role not in have]
    if settings.asked.from_flops in missing and "flops" in have:
        missing.remove(settings.asked.from_flops)
    names = [name for pool in pools for name, cell in column_names(pool).items()
             if is_number(cell, count=True)]  # fmt: skip
    for role in missing:
        hints = list(dict.fromkeys(p.missing[role] for p in pools if role in p.missing))
        remedy = "; ".join(hints) or _remedy(role, settings, names)
        where = pools[0].origin if len(pools) == 1 else f"{count_of(len(pools), 'source')}"
        problems.append(
            f"{where}: no column for the {role}; {remedy}; columns with numbers:"
            f" {one_line(listed(list(dict.fromkeys(names)), 12)) or 'none'}"
        )
    if problems:
        raise ConfigError(*problems)


def _remedy(role: str, settings: ImportSettings, names: Sequence[str]) -> str:
    if role == "loss":
        return "name it with --loss COLUMN"
    own = f"name it with --{role} COLUMN, give one number for all runs (--{role} 190M)"
    if role != settings.asked.from_flops:
        own += f", take it from FLOPs with --{role} 6nd"
    if role == "tokens" and settings.tokens_per_step is None:
        own += f", count steps with --tokens-per-step {_tokens_of_a_step(names)}"
    return f"{own}, or add a source with the same run names, as a CSV of run,{role}"


_BATCHES = re.compile(r"(?:.*[./])?(?:global_|train_)?(?:batch_?size|bs)", re.I)
_LENGTHS = re.compile(
    r"(?:.*[./])?(?:max_)?(?:seq_?len(?:gth)?|sequence_length|context(?:_length)?|block_size|n_ctx)",
    re.I,
)


def _tokens_of_a_step(names: Sequence[str]) -> str:
    """What to multiply for the tokens of a step, where columns say so; else a number."""
    batch = next((name for name in names if _BATCHES.fullmatch(name)), None)
    length = next((name for name in names if _LENGTHS.fullmatch(name)), None)
    if batch is None or length is None:
        return "N"
    return f"N, or the product of columns, as in {shlex.quote(f'{batch}{FACTORS}{length}')}"


def _points(runs: Sequence[PlainRun], unit: str) -> FitPoints:
    """The runs as a fit would read them from the written table."""
    roles = {role for run in runs for role, cell in run.cells.items() if cell != ""}
    columns: dict[str, list[Any]] = {
        role: [_cell(run, role) for run in runs] for role in (*_ROLES, "state") if role in roles
    }
    columns["run_id"] = [run.name for run in runs]
    for name in dict.fromkeys(name for run in runs for name in run.others):
        cells = [run.others.get(name, "") for run in runs]
        if name.strip().lower() in RECIPES and not any(isinstance(c, dict | list) for c in cells):
            columns[name] = cells
    settings = TableSettings(loss_unit="other" if unit == "other" else "nats")
    origin = "the imported runs"
    if unit == "bits-per-byte":
        settings = TableSettings(loss_unit="bits-per-byte")
        columns["loss"] = [_bits(cell) for cell in columns["loss"]]
        if "sem" in columns:
            columns["sem"] = [_bits(cell) for cell in columns["sem"]]
    return points_from_columns(columns, settings, origin=origin, least=1)


def _cell(run: PlainRun, role: str) -> Any:
    cell = run.cells.get(role, "")
    return "" if isinstance(cell, float) and math.isnan(cell) else cell


def _bits(cell: Any) -> Any:
    return cell / math.log(2) if isinstance(cell, float) else cell


def _row(
    run: PlainRun, carried: Mapping[str, str], points: FitPoints, place: int, unit: str
) -> dict[str, Any]:
    row: dict[str, Any] = {"run_id": run.name}
    numbers = {"params": points.params, "tokens": points.tokens, "loss": points.loss_nats}
    for role in _ROLES:
        cell = _cell(run, role)
        if role in numbers:
            cell = float(numbers[role][place])
        if cell == "":
            continue
        if unit == "bits-per-byte" and role in ("loss", "sem"):
            cell = _bits(cell)
        name = _PER_BYTE if role == "loss" and unit == "bits-per-byte" else role
        row[name] = cell if role in _TEXT_ROLES else _plain_number(cell)
    for name, column in carried.items():
        row[name] = run.others.get(column, "")
    return row


def _plain_number(value: Any) -> Any:
    """A whole number without a point, so that counts read as counts."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2.0**53:
        return int(value)
    return value


def _carried(
    runs: Sequence[PlainRun], asked: Asked, run_columns: set[str]
) -> tuple[dict[str, str], list[str]]:
    """Name -> column of what is carried along, and the columns that are not.

    Carried are the metrics that the user names, other losses, what differs between runs, and the
    text that losses are on.
    """
    columns = dict.fromkeys(name for run in runs for name in run.others if name not in run_columns)
    chosen = dict(asked.metrics)
    for column in columns:
        if column in chosen.values():
            continue
        cells = [run.others.get(column) for run in runs]
        texts = {cell_text(cell) for cell in cells if not is_missing(cell)}
        scalar = all(not isinstance(cell, dict | list) for cell in cells)
        short = max(map(len, texts), default=0) <= _LONGEST_CELL
        varies = len(texts) > 1 and scalar and short and not column.strip().startswith("_")
        named = bool(column.strip()) and not column.startswith("Unnamed:")
        of_losses = bool(texts) and scalar and short and says_text(column)
        if is_loss(column) or of_losses or (varies and named):
            name = one_line(column)
            taken = is_reserved(name) or name in chosen
            chosen[f"given {name}" if taken else name] = column
    others = [one_line(name) or "(no name)" for name in columns if name not in chosen.values()]
    return chosen, others


def _curve_rows(runs: Iterable[PlainRun], unit: str) -> Iterable[dict[str, Any]]:
    for run in runs:
        for point in run.curve:
            if "loss" not in point and not any("train" in name for name in point):
                continue
            row: dict[str, Any] = {"run": run.name}
            for name, value in point.items():
                bits = unit == "bits-per-byte" and name == "loss"
                row[_PER_BYTE if bits else name] = _plain_number(_bits(value) if bits else value)
            params = run.cells.get("params")
            yield row | ({"params": _plain_number(params)} if isinstance(params, float) else {})


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as CSV, with the columns of all of them."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n", restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _written(cell) for name, cell in row.items()})
    atomic_write(path, buffer.getvalue())


def _written(cell: Any) -> Any:
    if isinstance(cell, np.floating):
        return repr(float(cell))
    return one_line(cell) if isinstance(cell, str) else cell


def refuse_source_as_out(sources: Sequence[Path], written: Sequence[Path]) -> None:
    """Raises ``ConfigError`` where a table would replace a source, or is no CSV file."""
    for path in written:
        if path.suffix.lower() != ".csv":
            raise ConfigError(f"{path}: expected a name that ends in .csv")
        if any(path.resolve() == source.resolve() for source in sources):
            raise ConfigError(f"{path}: is one of the sources; name another file")
    if len({path.resolve() for path in written}) < len(written):
        raise ConfigError(f"{written[0]}: is for the table and for the curves; name two files")
