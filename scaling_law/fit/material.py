"""What is fitted, whatever it came from: points, counted in every way the source allows."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling_law.counts import CONVENTIONS
from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.points import FitPoints, points_from_records
from scaling_law.fit.screen import screen
from scaling_law.fit.table import TableSettings, read_table
from scaling_law.record import RunRecord, find_sweeps, load_records


@dataclass(frozen=True, kw_only=True)
class Material:
    """Screened points, and the same runs under each way of counting parameters.

    ``counted`` maps a convention to its points (the main one among them); ``repeated`` are the
    points with runs of more than four epochs left in, None where there are none; ``key``
    identifies the runs and their losses; ``origin`` names the source.
    """

    points: FitPoints
    counted: dict[str, FitPoints]
    repeated: FitPoints | None
    key: str
    origin: str


def from_records(
    records: Sequence[RunRecord],
    *,
    convention: str,
    flops: str,
    keep: Collection[str] = (),
    origin: str = "records",
) -> Material:
    """The annealed runs of one tokenizer. Raises ``FitError`` when none can be fitted."""
    _refuse_mixtures(records)
    whole = points_from_records(records, convention=convention, flops=flops, keep=keep)
    points = screen(whole, keep=keep)
    counted = {convention: points}
    for other in CONVENTIONS:
        if other != convention:
            again = points_from_records(records, convention=other, flops=flops, keep=keep)
            counted[other] = _same_runs(again, points)
    return Material(
        points=points,
        counted=counted,
        repeated=_repeated(whole, keep),
        key=source_key((r.run_id, r.val_loss_nats) for r in records),
        origin=origin,
    )


def from_points(
    points: FitPoints, *, keep: Collection[str] = (), origin: str = "columns"
) -> Material:
    """Points that were given. Raises ``FitError`` when none can be fitted."""
    screened = screen(points, keep=keep)
    return Material(
        points=screened,
        counted={points.convention["params"]: screened},
        repeated=_repeated(points, keep),
        key=source_key(zip(points.run_id, points.loss_nats.tolist(), strict=True)),
        origin=origin,
    )


def gather_material(
    sources: Sequence[Path],
    *,
    table: TableSettings | None = None,
    convention: str = "matmul",
    flops: str = "exact",
    keep: Collection[str] = (),
) -> Material:
    """One table, or one or several results folders.

    Raises ``ConfigError`` for a source that cannot be read or a table among other sources,
    ``FitError`` when nothing can be fitted.
    """
    tables = [path for path in sources if path.is_file()]
    origin = ", ".join(str(path) for path in sources)
    if not tables:
        refuse_table_settings(origin, table)
        records = gather(sources)
        return from_records(records, convention=convention, flops=flops, keep=keep, origin=origin)
    if len(sources) > 1:
        raise ConfigError(f"{tables[0]}: a table is fitted alone; give one table, or folders")
    return from_points(read_table(tables[0], table), keep=keep, origin=origin)


def refuse_table_settings(origin: str, table: TableSettings | None) -> None:
    """Raises ``ConfigError`` for settings of a table where ``origin`` is a results folder."""
    if table not in (None, TableSettings()):
        raise ConfigError(
            f"{origin}: --columns, --params-are, --loss-unit and --where are for tables"
        )


def gather(folders: Sequence[Path]) -> list[RunRecord]:
    """Every finished run of the sweeps at or below ``folders``, once each.

    Raises ``ConfigError`` naming a folder without records.
    """
    found: dict[str, RunRecord] = {}
    for folder in folders:
        for sweep in find_sweeps(folder):
            found |= {record.run_id: record for record in load_records(sweep)}
    return list(found.values())


def source_key(runs: Iterable[tuple[str, float | None]]) -> str:
    """Identifies finished runs and their losses, to know a stored fit from a stale one."""
    lines = sorted(f"{run_id} {loss!r}" for run_id, loss in runs)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _refuse_mixtures(records: Sequence[RunRecord]) -> None:
    """Losses of different token alphabets are different quantities: never one fit."""
    kinds = {(r.spec.data.tokenizer, r.spec.model.vocab_size) for r in records}
    if len(kinds) > 1:
        names = ", ".join(sorted(f"{name} {size}" for name, size in kinds))
        raise FitError(
            f"the runs use different tokenizers ({names}); nats per token do not compare: "
            "fit one sweep at a time"
        )


def _same_runs(points: FitPoints, like: FitPoints) -> FitPoints:
    kept = set(like.run_id)
    mask = np.array([run_id in kept for run_id in points.run_id])
    return dataclasses.replace(points.take(mask), dropped=like.dropped, notes=like.notes)


def _repeated(points: FitPoints, keep: Collection[str]) -> FitPoints | None:
    """All points where some were seen at least twice: for laws of repeated data."""
    if float((points.tokens / points.tokens_unique).max()) < 2:
        return None
    return screen(points, keep=[*keep, "repeats"])
