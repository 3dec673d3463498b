"""The runs that exist now in a sweep or a table, as registered forecasts are held against them."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from scaling_law.errors import ConfigError, SlawError
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import RunRecord, load_records, only_sweep
from scaling_law.fit.points.dataset import chosen_records, refuse_table_settings
from scaling_law.fit.points.points import FLOPS_COUNTS, FitPoints, points_from_records
from scaling_law.fit.points.table import read_table
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.spec.counts import CONVENTIONS, params_if_known
from scaling_law.spec.from_json import run_spec_from_json

# A run is at a target where its size and its tokens are the target's, but for this share.
SAME_FRAC = 1e-3


@dataclass(frozen=True, kw_only=True)
class StandingRuns:
    """The runs of a sweep or table.

    ``source``: the sweep's folder, or the table.
    ``points``: the ends of runs that have a loss, none screened out for it; the others are in
        ``dropped``.
    ``losses``: each run's loss by run id, None without one; those of a sweep whatever was chosen.
    ``records``: a sweep's records by run id; empty for a table.
    """

    source: Path
    points: FitPoints
    losses: dict[str, float | None]
    records: dict[str, RunRecord]

    def at(self, params: float, tokens: float) -> list[int]:
        """The rows of the points at this size and these tokens."""
        points = self.points
        off = np.abs(np.log([points.params / params, points.tokens / tokens]))
        return [int(row) for row in np.flatnonzero((off <= SAME_FRAC).all(axis=0))]

    @cached_property
    def begun(self) -> dict[str, tuple[float, float]]:
        """(params, tokens) of the sweep's runs that have a curve and no record, trunks left out."""
        if not self.records:
            return {}
        return dict(_begun(SweepDir(self.source), self.points.convention["params"]))

    def under_way(self, params: float, tokens: float) -> list[str]:
        """The runs that have begun at this size and these tokens."""
        target = params, tokens
        return [run_id for run_id, pair in self.begun.items() if same_place(pair, target)]


def same_place(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether (params, tokens) are those of one run, to ``SAME_FRAC``."""
    return all(abs(math.log(x / y)) <= SAME_FRAC for x, y in zip(one, other, strict=True))


def _begun(sweep: SweepDir, convention: str) -> Iterator[tuple[str, tuple[float, float]]]:
    """The run id, and (params, tokens), of each run that has begun."""
    for run_dir in sweep.run_dirs():
        if run_dir.record.exists() or not run_dir.curve.exists():
            continue
        # a damaged spec is the runner's to report
        with contextlib.suppress(SlawError, KeyError, TypeError, ValueError, AttributeError):
            spec = run_spec_from_json(layout.read_json(run_dir.spec))
            counts = params_if_known(spec.model)
            if counts is not None and spec.kind != "trunk":
                yield run_dir.run_id, (counts.by(convention), spec.tokens)


def standing_runs(
    source: Path, counted: Mapping[str, str], table: TableSettings | None = None
) -> StandingRuns:
    """The runs of a sweep or table, with params and FLOPs as ``counted`` says.

    ``counted`` is the convention of a fit. Raises ``ConfigError`` where they cannot be read or
    cannot be counted so, or where two runs have one name.
    """
    if source.is_file():
        count = counted["params"]
        points = read_table(source, table, convention=count if count in CONVENTIONS else "matmul")
        twice = [name for name, times in Counter(points.run_id).items() if times > 1]
        if twice:
            raise ConfigError(
                f"{source}: {twice[0]!r} names several rows, and a registered forecast tells runs"
                " by their names; name each row with --columns run_id=COLUMN"
            )
        losses: dict[str, float | None] = dict.fromkeys(name for name, _ in points.dropped)
        losses |= zip(points.run_id, points.loss_nats.tolist(), strict=True)
        return StandingRuns(source=source, points=points, losses=losses, records={})
    refuse_table_settings(str(source), table)
    sweep = only_sweep(source, "name one with --results")
    if counted["params"] not in CONVENTIONS:
        raise ConfigError(
            f"{sweep.path}: the forecast counts params as {counted['params']!r}, a sweep's are"
            f" {', '.join(CONVENTIONS)}; score it with the table that it was made from"
        )
    records = load_records(sweep)
    chosen = chosen_records(records, table.where if table else (), str(sweep.path))
    flops = counted.get("flops", "exact")
    points = points_from_records(
        chosen,
        convention=counted["params"],
        flops=flops if flops in FLOPS_COUNTS else "exact",
    )
    return StandingRuns(
        source=sweep.path,
        points=points,
        losses={record.run_id: record.val_loss_nats for record in records},
        records={record.run_id: record for record in chosen},
    )
