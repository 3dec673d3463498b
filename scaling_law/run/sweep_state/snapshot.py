"""A sweep at one moment, as one value: what status, monitor, its page and dashboard.json show."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from scaling_law.files.layer_metrics import (
    LayerMeasure,
    layer_measures,
    measure_units,
    summaries,
)
from scaling_law.files.record import (
    metric_label,
)
from scaling_law.run.sweep_state.warnings import RunWarning
from scaling_law.spec.to_json import to_json

SCHEMA_VERSION = 1
# In the order in which counts are shown.
STATES = (
    "done", "stopped_early", "diverged", "failed", "damaged", "blocked", "started", "stopped",
    "waiting",
)  # fmt: skip
ENDED = frozenset(("done", "stopped_early", "diverged", "failed", "damaged", "blocked"))


@dataclass(frozen=True, kw_only=True)
class RunState:
    """How far one planned run is.

    ``state`` is one of ``STATES``: ``damaged`` has a record that cannot be read, ``blocked`` a
    trunk that ended without the state it needs, ``started`` trains now, ``stopped`` has begun but
    no process trains it.
    """

    run_id: str
    label: str
    kind: str  # single, trunk or branch
    trunk_id: str | None  # of a branch
    params_matmul: int
    state: str
    step: int  # steps done, counted from the trunk's step 0
    start_step: int  # the step a branch trains from; 0 for other runs
    total_steps: int
    batch_tokens: int
    lr_phase: str | None = None  # warm-up, stable, decay; while it runs
    val_loss_nats: float | None = None  # final loss per token
    predicted_loss_nats: float | None = None  # final loss per token, of a run stopped early
    last_val_loss_nats: float | None = None  # newest of the curve, while it runs
    last_train_loss_nats: float | None = None  # newest of the curve, while it runs
    counted: str = "tokens"  # what its tokens are: tokens, or examples where inputs are numbers
    tokens_per_second: float | None = None  # while it runs
    seconds_left: float | None = None  # by its own speed, while it runs
    # what was measured beside the loss, by the names of ``RunRecord.metrics``: at the end, or the
    # newest of the curve while it runs; None: nothing
    metrics: dict[str, float] | None = None
    loss_unit: str | None = None  # of the losses above; None for nats per token
    annealed: bool = True  # whether its schedule ends decayed: its loss may be a point of a law
    stage: int | None = None  # of an experiment in stages, from 1; None in any other sweep
    arm: str = ""  # the values of the axes; "" in a sweep without axes
    error: str | None = None  # why it failed, diverged or is blocked
    note: str | None = None  # what a run reports that has not failed, as a probe that did
    ended_at: str | None = None  # UTC, ISO 8601
    queued: str | None = None  # its job in an engine's queue and how that is; None without one

    @property
    def share(self) -> float:
        """The fraction of its own steps that are done, 0 to 1."""
        own = max(self.total_steps - self.start_step, 1)
        return min(max(self.step - self.start_step, 0) / own, 1.0)


@dataclass(frozen=True, kw_only=True)
class ArmState:
    """How far the runs of one arm are."""

    name: str  # optim.weight_decay=0.3
    values: dict[str, str]  # of the axes, by key
    runs: int
    counts: dict[str, int]  # runs by state

    @property
    def n_done(self) -> int:
        """How many runs have ended well."""
        return self.counts.get("done", 0) + self.counts.get("stopped_early", 0)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A sweep at one moment."""

    sweep: str  # the folder
    name: str
    phase: str  # no_plan, running, idle (runs are left and no worker runs) or over
    at_work: bool  # whether a `slaw run` works on the folder, or jobs of it are in a queue
    note: str = ""  # what is missing, in phase no_plan
    queue: str = ""  # what an engine's queue holds of the sweep; "" for nothing
    device_kind: str = ""
    device_name: str = ""
    precision: str = ""
    slots: int = 0  # runs at once
    counts: dict[str, int] = dataclasses.field(default_factory=dict)  # runs by state
    arms: tuple[ArmState, ...] = ()  # in the plan's order; none in a sweep without axes
    flops_total: float = 0.0  # of the plan
    flops_done_frac: float = 0.0  # 0 to 1
    tokens_per_second: float = 0.0  # of all running runs
    seconds_planned: float = 0.0
    seconds_left: float | None = None  # at the pace so far, packed on the slots; None: nothing left
    pace: float | None = None  # measured over planned seconds of the work done so far
    warnings: tuple[RunWarning, ...] = ()  # the newest, oldest first
    # the unit of each metric that a record has one for; "A or B" where records differ
    metric_units: dict[str, str] = dataclasses.field(default_factory=dict)
    has_experiment: bool = False  # whether its config names an experiment, whose findings come next
    stage: int | None = None  # the newest of an experiment in stages; None in any other sweep
    runs: tuple[RunState, ...] = ()  # of earlier stages, then in the plan's order
    runs_beside: int = 0  # finished runs of earlier plans, which fits include
    read_at: str = ""  # UTC, ISO 8601
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """The JSON of ``dashboard.json``, ``slaw status --json`` and the monitor's /data.json."""
        plain: dict[str, Any] = to_json(dataclasses.replace(self, runs=()))
        return {**plain, "runs": [dict(vars(run)) for run in self.runs]}

    def in_state(self, *states: str) -> list[RunState]:
        """The runs in any of ``states``, in the plan's order."""
        return [run for run in self.runs if run.state in states]

    @property
    def metric_names(self) -> list[str]:
        """The metrics that any run has, in the order of their first appearance."""
        return list(dict.fromkeys(name for run in self.runs for name in run.metrics or ()))

    @functools.cached_property
    def measures(self) -> dict[str, LayerMeasure]:
        """The measures that runs have by layer, by name."""
        return {m.name: m for m in layer_measures(self.metric_names) if m.layers}

    @property
    def shown_names(self) -> list[str]:
        """``metric_names`` with one name for all layers of a measure."""
        return list(summaries(dict.fromkeys(self.metric_names, 0.0)))

    def metric_label(self, name: str) -> str:
        """A metric, or a measure by layer, with its unit where a record has one."""
        label = metric_label(name, measure_units(self.metric_units))
        return f"{label}, by layer" if name in self.measures else label

    @property
    def n_ended(self) -> int:
        """How many runs have ended, well or not."""
        return sum(self.counts.get(state, 0) for state in ENDED)
