"""A sweep's folder as one value: what status, monitor, its page and dashboard.json all show.

Everything is read from the folder, in any state of it: not begun, at work, torn, over.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError, PlanError, one_line
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.lease import who_has
from scaling_law.files.record import CurvePoint, find_sweeps, read_curve, read_failure, read_record
from scaling_law.plan.plan import Plan, PlannedRun, read_plan
from scaling_law.run.sweep_state.eta import Pace, flops_done, measure_pace
from scaling_law.run.sweep_state.progress import read_heartbeat
from scaling_law.run.sweep_state.warnings import Warned, log_warnings, newest
from scaling_law.spec.counts import count_params
from scaling_law.spec.run import to_json
from scaling_law.spec.schedule import lr_phase

SCHEMA_VERSION = 1
# In the order in which people are told their numbers.
STATES = (
    "done", "stopped_early", "diverged", "failed", "damaged", "blocked", "started", "stopped",
    "waiting",
)  # fmt: skip
OVER = frozenset(("done", "stopped_early", "diverged", "failed", "damaged", "blocked"))
_MOST_WARNINGS = 20

Mark = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class RunState:
    """How far one planned run is.

    ``state``: done, stopped_early, diverged, failed, damaged (a record that cannot be read),
    blocked (its trunk ended without the state it needs), started (at work now), stopped (begun,
    but nobody is at work on it), waiting. ``step`` of ``total_steps`` counts from the trunk's
    step 0; a branch trains from ``start_step``. ``val_loss_nats`` is the final loss, the
    ``last_*`` are the newest of the curve of a run at work; ``seconds_left`` by its own speed;
    ``ended_at`` in UTC (ISO 8601).
    """

    run_id: str
    label: str
    kind: str
    trunk_id: str | None
    params_matmul: int
    state: str
    step: int
    start_step: int
    total_steps: int
    batch_tokens: int
    lr_phase: str | None = None
    val_loss_nats: float | None = None
    predicted_loss_nats: float | None = None
    last_val_loss_nats: float | None = None
    last_train_loss_nats: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    error: str | None = None
    ended_at: str | None = None

    @property
    def share(self) -> float:
        """Of its own steps, how many are done, 0 to 1."""
        own = max(self.total_steps - self.start_step, 1)
        return min(max(self.step - self.start_step, 0) / own, 1.0)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A sweep at one moment.

    ``phase``: no_plan (``note`` says what is missing), running, idle (runs are left and nobody
    is at work), over. ``counts`` of runs by state. ``pace`` is measured over planned seconds of
    the work done so far, None before there is any; ``seconds_left`` the plan's estimate of what
    is left at that pace, packed on the slots, None where nothing is left. ``runs_beside``: how
    many finished runs the folder has of earlier plans; fits take them as well.
    """

    sweep: str
    name: str
    phase: str
    at_work: bool
    note: str = ""
    device_kind: str = ""
    device_name: str = ""
    precision: str = ""
    slots: int = 0
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    flops_total: float = 0.0
    flops_done_frac: float = 0.0
    tokens_per_second: float = 0.0
    seconds_planned: float = 0.0
    seconds_left: float | None = None
    pace: float | None = None
    warnings: tuple[Warned, ...] = ()
    runs: tuple[RunState, ...] = ()
    runs_beside: int = 0
    read_at: str = ""
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain values: ``dashboard.json``, ``slaw status --json``, the monitor's /data.json."""
        plain: dict[str, Any] = to_json(dataclasses.replace(self, runs=()))
        return {**plain, "runs": [dict(vars(run)) for run in self.runs]}

    def in_state(self, *states: str) -> list[RunState]:
        """The runs in any of ``states``, as planned."""
        return [run for run in self.runs if run.state in states]

    @property
    def n_over(self) -> int:
        """Runs of which nothing more is to come."""
        return sum(self.counts.get(state, 0) for state in OVER)


def is_at_work(sweep: SweepDir) -> bool:
    """Whether a ``slaw run`` is at work on the folder; the one place that knows.

    Whether one on another machine still lives cannot be known from one look: it is taken to.
    """
    return bool(who_has(sweep.runner_claims()))


def _mark(path: Path | str) -> Mark | None:
    """What changes when a file does; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path of each of 10,000 costs more than asking
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True, kw_only=True)
class _Fixed:
    """What never changes of a planned run, worked out once."""

    run: PlannedRun
    run_dir: RunDir
    fields: dict[str, Any]
    record: str  # a plain path: of 10,000 runs each is asked for at every reading


@dataclass(frozen=True)
class _Ended:
    """What is kept of a record that was read: 10,000 whole ones would be much."""

    mark: Mark
    state: RunState
    seconds: float


class Watch:
    """Reads a sweep's folder again and again; what did not change is not read twice."""

    def __init__(self, sweep: SweepDir) -> None:
        self.sweep = sweep
        self._plan: tuple[Mark, Plan, list[_Fixed]] | None = None
        self._ends: dict[str, _Ended] = {}
        self._curves: dict[str, tuple[Mark, list[CurvePoint]]] = {}
        self._logs: dict[str, tuple[Mark, list[Warned]]] = {}

    def read(self, *, strict: bool = False, logs: bool = True) -> Snapshot:
        """The folder as it is now.

        ``logs``: look for warnings in the runs' logs as well. With ``strict`` a plan or record
        that is not there or cannot be read raises ``ConfigError`` or ``PlanError``; else the
        snapshot says so.
        """
        at_work = is_at_work(self.sweep)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        head: dict[str, Any] = {"sweep": str(self.sweep.path), "at_work": at_work, "read_at": now}
        try:
            plan, fixed = self._read_plan()
        except (ConfigError, PlanError) as problem:
            if strict:
                raise
            note = self._nothing_yet(at_work, problem)
            return Snapshot(name=self.sweep.path.name, phase="no_plan", note=note, **head)
        runs = self._blocked(fixed, [self._state(one, at_work, strict) for one in fixed])
        seconds = {run_id: end.seconds for run_id, end in self._ends.items()}
        pace = measure_pace(plan, runs, seconds)
        states = [run.state for run in runs]
        left = len(states) - sum(state in OVER for state in states)
        return Snapshot(
            name=plan.name,
            phase="running" if at_work else "idle" if left else "over",
            device_kind=plan.device_kind,
            device_name=plan.device_name,
            precision=plan.precision,
            slots=plan.slots,
            counts={state: states.count(state) for state in STATES if state in states},
            flops_total=plan.flops_total,
            flops_done_frac=flops_done(plan, runs),
            tokens_per_second=sum(run.tokens_per_second or 0.0 for run in runs),
            seconds_planned=plan.seconds_estimate,
            seconds_left=pace.seconds_left,
            pace=pace.ratio,
            warnings=newest(self._warnings(fixed, runs), _MOST_WARNINGS) if logs else (),
            runs=tuple(self._with_time_left(runs, pace)),
            runs_beside=self._beside(fixed),
            **head,
        )

    def curve(self, run_id: str) -> list[CurvePoint]:
        """The curve of a run so far; empty where there is none or it cannot be read."""
        run_dir = self.sweep.run(run_id)
        mark = _mark(run_dir.curve)
        if mark is None:
            return []
        known = self._curves.get(run_id)
        if known is None or known[0] != mark:
            try:
                known = mark, read_curve(run_dir)
            except (ConfigError, OSError):
                known = mark, []
            self._curves[run_id] = known
        return known[1]

    def _read_plan(self) -> tuple[Plan, list[_Fixed]]:
        """The plan, and of each run what never changes."""
        mark = _mark(self.sweep.plan)
        if self._plan is None or mark is None or self._plan[0] != mark:
            plan = read_plan(self.sweep.plan)
            fixed = [_fixed(run, self.sweep.run(run.run_id)) for run in plan.runs]
            self._plan = mark or (0, 0, 0), plan, fixed
        return self._plan[1], self._plan[2]

    def _nothing_yet(self, at_work: bool, problem: Exception) -> str:
        if self.sweep.plan.exists():
            return one_line(str(problem))
        if at_work:
            return "no plan yet: `slaw run` is preparing data"
        if not self.sweep.path.exists():
            near = _near(self.sweep.path)
            return "no such folder yet; a `slaw run` with this --out makes it" + (
                f" (or did you mean {near}?)" if near else ""
            )
        return "no plan yet; `slaw run` makes it"

    def _state(self, one: _Fixed, at_work: bool, strict: bool) -> RunState:
        run_id, run_dir, spec = one.run.run_id, one.run_dir, one.run.spec
        mark = _mark(one.record)
        if mark is not None:
            try:
                return self._end(one, mark)
            except ConfigError as problem:
                if _mark(one.record) is not None:  # else it was taken back as we looked
                    if strict:
                        raise
                    words = one_line(str(problem))
                    return RunState(**one.fields, state="damaged", step=0, error=words)
        self._ends.pop(run_id, None)
        if run_dir.failure.is_file():
            return RunState(**one.fields, state="failed", step=0, error=read_failure(run_dir))
        beat = read_heartbeat(run_dir)
        if beat is None:
            return RunState(**one.fields, state="waiting", step=0)
        if not at_work:
            return RunState(**one.fields, state="stopped", step=beat.step)
        points = self.curve(run_id)
        return RunState(
            **one.fields,
            state="started",
            step=beat.step,
            lr_phase=lr_phase(spec.schedule, beat.step, spec.total_steps),
            tokens_per_second=beat.tokens_per_second,
            last_val_loss_nats=points[-1].val_loss_nats if points else None,
            last_train_loss_nats=points[-1].train_loss_nats if points else None,
        )

    def _end(self, one: _Fixed, mark: Mark) -> RunState:
        """Of a run with a record. Raises ``ConfigError`` when it cannot be read."""
        known = self._ends.get(one.run.run_id)
        if known is None or known.mark != mark:
            record = read_record(one.run_dir.record)
            state = RunState(
                **one.fields,
                state=record.status,
                step=record.tokens // one.run.spec.batch_tokens,
                val_loss_nats=record.val_loss_nats,
                predicted_loss_nats=record.metrics.get("predicted_loss_nats"),
                error=one_line(record.message) if record.status == "diverged" else None,
                ended_at=one_line(record.finished_at),
            )
            known = self._ends[one.run.run_id] = _Ended(mark, state, record.seconds)
        return known.state

    def _blocked(self, fixed: list[_Fixed], runs: list[RunState]) -> list[RunState]:
        """Runs that wait for a state their trunk will not save any more."""
        lost = {run.run_id: run for run in runs if run.state in ("diverged", "failed", "damaged")}
        if not lost:
            return runs
        found = []
        for one, run in zip(fixed, runs, strict=True):
            parent = one.run.spec.parent
            if run.state == "waiting" and parent is not None and parent.trunk_id in lost:
                saved = self.sweep.run(parent.trunk_id).checkpoint(parent.at_step)
                if not saved.is_file():
                    trunk = lost[parent.trunk_id]
                    words = f"its trunk {trunk.state}: {trunk.error or ''}"
                    run = dataclasses.replace(run, state="blocked", error=words)
            found.append(run)
        return found

    def _beside(self, fixed: list[_Fixed]) -> int:
        """Finished runs that are none of the plan's."""
        try:
            there = set(os.listdir(self.sweep.runs))  # noqa: PTH208 - a Path of each costs more
        except OSError:
            return 0
        others = there.difference(one.run.run_id for one in fixed)
        return sum(self.sweep.run(name).record.is_file() for name in others)

    @staticmethod
    def _with_time_left(runs: list[RunState], pace: Pace) -> list[RunState]:
        return [
            dataclasses.replace(run, seconds_left=pace.of_runs[run.run_id])
            if run.run_id in pace.of_runs
            else run
            for run in runs
        ]

    def _warnings(self, fixed: list[_Fixed], runs: list[RunState]) -> list[Warned]:
        found = []
        for one, run in zip(fixed, runs, strict=True):
            if run.state in ("failed", "diverged", "damaged"):
                path = one.run_dir.failure if run.state == "failed" else one.run_dir.record
                words = f"{run.state}: {run.error or 'no reason given'}"
                found.append(Warned.at_file(path, run.label, words))
            found += self._of_log(one.run_dir, run)
        return found

    def _of_log(self, run_dir: RunDir, run: RunState) -> list[Warned]:
        known = self._logs.get(run.run_id)
        if run.state == "waiting" or (known is not None and run.state in OVER):
            return known[1] if known else []
        mark = _mark(run_dir.log)
        if mark is None:
            return []
        if known is None or known[0] != mark:
            known = self._logs[run.run_id] = mark, log_warnings(run_dir.log, run.label)
        return known[1]


def _near(folder: Path) -> str:
    """The sweep beside ``folder`` whose name is nearest to its; "" for none."""
    try:
        there = {sweep.path.name: sweep.path for sweep in find_sweeps(folder.parent)}
    except (ConfigError, OSError):
        return ""
    close = difflib.get_close_matches(folder.name, there, n=1, cutoff=0.6)
    return one_line(str(there[close[0]])) if close else ""


def _fixed(run: PlannedRun, run_dir: RunDir) -> _Fixed:
    spec = run.spec
    fields = {
        "run_id": spec.run_id,
        "label": spec.label,
        "kind": spec.kind,
        "trunk_id": spec.branch.trunk_id if spec.branch else None,
        "params_matmul": count_params(spec.model).matmul,
        "start_step": spec.start_step,
        "total_steps": spec.total_steps,
        "batch_tokens": spec.batch_tokens,
    }
    return _Fixed(run=run, run_dir=run_dir, fields=fields, record=str(run_dir.record))
