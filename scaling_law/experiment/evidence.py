"""What an experiment's analysis reads: records, curves, the config, and which runs are missing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scaling_law.config import strict_yaml
from scaling_law.config.written import begun_config_key
from scaling_law.files import checksum
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import (
    CurvePoint,
    RunRecord,
    read_curve,
    read_failure,
    record_if_there,
)
from scaling_law.parts import NoSettings
from scaling_law.plan.plan import Plan, read_plan
from scaling_law.spec.arms import arm_of
from scaling_law.spec.run import RunSpec, stage_of


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run.

    ``record`` says how it ended; ``curve`` are its points, by step.
    """

    record: RunRecord
    curve: tuple[CurvePoint, ...]

    @property
    def spec(self) -> RunSpec:
        """What was run."""
        return self.record.spec

    @property
    def lost(self) -> bool:
        """Whether it should have ended with a loss and did not: it diverged, or stopped early."""
        return self.record.kind != "trunk" and self.record.val_loss_nats is None

    @property
    def lowest(self) -> CurvePoint | None:
        """The trained point of its curve with the lowest validation loss; None without one."""
        points = [p for p in self.curve if p.step > 0 and p.val_loss_nats is not None]
        return min(points, key=lambda point: point.val_loss_nats or 0.0, default=None)

    @property
    def arm(self) -> dict[str, str]:
        """The values of the config's axes, by key, as text; {} in a sweep without axes."""
        return dict(arm_of(self.spec))

    @property
    def stage(self) -> int:
        """The stage it belongs to, from 1."""
        return stage_of(self.spec)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that an analysis may rest on.

    ``runs`` are the finished ones, by run id, trunks among them;
    ``config`` is the sweep's config as plain values, every key written;
    ``settings`` are the experiment's own, as the config sets them;
    ``missing`` are the labels of runs without a record or without a loss, and of points that the
    plan left out, each with the reason;
    ``sweep`` is their folder, None for invented runs;
    ``unfinished`` counts the runs that ``slaw run`` can still train there.
    """

    runs: tuple[Run, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    settings: Any = field(default_factory=NoSettings)
    missing: tuple[tuple[str, str], ...] = ()
    sweep: SweepDir | None = None
    unfinished: int = 0

    @property
    def ended(self) -> tuple[Run, ...]:
        """The runs that ended with a loss, trunks left out."""
        return tuple(run for run in self.runs if run.record.kind != "trunk" and not run.lost)

    @property
    def remedy(self) -> str:
        """How to train the runs that an analysis lacks, as a sentence."""
        if self.sweep is None:
            return "slaw run trains those that are missing"
        if self.unfinished:
            return f"{train_command(self.sweep)} trains those that are missing"
        words = f"all runs of {self.sweep.path} have finished"
        if count := sum(run.record.status == "diverged" for run in self.runs):
            return f"{words}, {count} of {len(self.runs)} diverged: lower learning rates (optim.lr)"
        return f"{words}, so its config must plan more"

    @property
    def stage(self) -> int:
        """The latest stage that has a finished run; 0 for none."""
        return max((run.stage for run in self.runs), default=0)


def train_command(sweep: SweepDir) -> str:
    """The command that trains the runs of a sweep's folder that have not finished."""
    return f"slaw run {shlex.quote(str(sweep.path))}"


def gather(sweep: SweepDir, settings: Any) -> Evidence:
    """Read a sweep's folder; no file of its user is executed.

    Raises ``ConfigError`` when a file of it is damaged.
    """
    plan = read_plan(sweep.plan) if sweep.plan.is_file() else None
    records = [record_if_there(run_dir) for run_dir in sweep.run_dirs()]
    runs = tuple(
        Run(record=record, curve=tuple(read_curve(sweep.run(record.run_id), record)))
        for record in records
        if record is not None
    )
    labels = {run.run_id: run.spec.label for run in plan.runs} if plan else {}
    left = unfinished(sweep, plan)
    missing = [(labels.get(run_id, run_id), why) for run_id, why in left]
    missing += [(run.spec.label, f"no loss: {run.record.status}") for run in runs if run.lost]
    missing += [(point.label, point.reason) for point in plan.left_out] if plan else []
    return Evidence(
        runs=runs,
        config=written_config(sweep),
        settings=settings,
        missing=tuple(missing),
        sweep=sweep,
        unfinished=len(left),
    )


def written_config(sweep: SweepDir) -> dict[str, Any]:
    """``sweep.yaml`` as plain values; {} where there is none."""
    if not sweep.config.is_file():
        return {}
    text = checksum.read_text(sweep.config, begun_config_key(sweep))
    values = strict_yaml.read_document(text, str(sweep.config)).data
    return values if isinstance(values, dict) else {}


def unfinished(sweep: SweepDir, plan: Plan | None) -> list[tuple[str, str]]:
    """(run id, why) of runs that were started or planned and have no record."""
    reasons = {}
    for run in plan.runs if plan else ():
        if not sweep.run(run.run_id).record.is_file():
            reasons[run.run_id] = "planned, not finished"
    for run_dir in sweep.run_dirs():
        if run_dir.record.is_file():
            continue
        reasons[run_dir.path.name] = "not finished"
        if run_dir.failure.is_file():
            reasons[run_dir.path.name] = f"failed: {read_failure(run_dir)}"
    return sorted(reasons.items())
