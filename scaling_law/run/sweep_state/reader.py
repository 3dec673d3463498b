"""Read a sweep's folder as a ``Snapshot``; it may be in any state, half-written as well."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import difflib
import functools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError, PlanError, one_line
from scaling_law.experiment.analysis import named_by
from scaling_law.files.layer_metrics import without_maps
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.lease import LeaseWatch, who_has
from scaling_law.files.record import (
    CurvePoint,
    find_sweeps,
    measured_metrics,
    read_curve,
    read_failure,
    read_record,
)
from scaling_law.plan.plan import Plan, PlannedRun, read_plan
from scaling_law.run.engines import Queue, queues
from scaling_law.run.sweep_state.eta import SweepPace, flops_done, measure_pace
from scaling_law.run.sweep_state.progress import read_heartbeat
from scaling_law.run.sweep_state.snapshot import ENDED, STATES, ArmState, RunState, Snapshot
from scaling_law.run.sweep_state.warnings import RunWarning, log_warnings, newest, not_measured
from scaling_law.spec.arms import Values, arm_name, arm_of
from scaling_law.spec.counts import params_if_known
from scaling_law.spec.model import counted_as
from scaling_law.spec.run import RunSpec, stage_of
from scaling_law.spec.schedule import lr_phase

_MOST_WARNINGS = 20
# Between two questions to an engine's queue, which many people may watch.
_ASK_SECONDS = 10.0
_FileVersion = tuple[int, int, int]  # changes when the file does


def is_at_work(sweep: SweepDir) -> bool:
    """Whether a ``slaw run`` works on the folder.

    One reading cannot tell whether a process on another machine still lives: it counts as alive.
    """
    return bool(who_has(sweep.runner_leases()))


def _version_of(path: Path | str) -> _FileVersion | None:
    """A value that changes when the file does; None if there is no file."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - making 10,000 Paths costs more than the calls
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


@dataclass(frozen=True, kw_only=True)
class _Constant:
    """What never changes about a planned run, computed once."""

    spec: RunSpec
    run_id: str
    run_dir: RunDir
    fields: dict[str, Any]
    arm: Values
    record: str  # a plain path: each of 10,000 runs is looked up at every reading


@dataclass(frozen=True)
class _Ended:
    """The part of a record that is cached: 10,000 whole records take too much memory."""

    version: _FileVersion
    state: RunState
    seconds: float
    flops_spent: float
    metric_units: dict[str, str]


class SweepReader:
    """Reads a sweep's folder again and again, and each file only when it has changed."""

    def __init__(self, sweep: SweepDir) -> None:
        self.sweep = sweep
        self._runners = LeaseWatch(removes=False)
        self._plan: tuple[_FileVersion, Plan, list[_Constant], list[_Constant]] | None = None
        self._experiment = False
        self._asked, self._queue = -1e9, list[Queue]()
        self._ends: dict[str, _Ended] = {}
        self._curves: dict[str, tuple[_FileVersion, list[CurvePoint]]] = {}
        self._logs: dict[str, tuple[_FileVersion, list[RunWarning]]] = {}

    def read(self, *, strict: bool = False, logs: bool = True) -> Snapshot:
        """The folder as it is now.

        With ``logs`` the runs' logs are searched for warnings. With ``strict`` a plan or record
        that is missing or cannot be read raises ``ConfigError`` or ``PlanError``; without it, and
        where a sweep is only starting, the snapshot says so.
        """
        # all are looked at each time: how long one has stood still shows over several readings
        holders = [self._runners.holder(path) for path in self.sweep.runner_leases()]
        has_runner = any(holder is not None for holder in holders)
        queues = self._queues()
        at_work = has_runner or any(queue.runs or queue.has_controller for queue in queues)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        head: dict[str, Any] = {
            "sweep": str(self.sweep.path), "at_work": at_work, "read_at": now,
            "queue": one_line("; ".join(queue.text for queue in queues)),
        }  # fmt: skip
        try:
            plan, constants, earlier = self._read_plan()
        except (ConfigError, PlanError) as problem:
            if strict and (self.sweep.plan.exists() or self.sweep.runs.exists()):
                raise
            at_work = at_work or bool(who_has([self.sweep.lease]))
            note = self._nothing_yet(at_work, problem)
            head["at_work"] = at_work
            return Snapshot(name=self.sweep.path.name, phase="no_plan", note=note, **head)
        states_of = functools.partial(self._state, at_work=has_runner, strict=strict)
        queued = {run_id: words for queue in queues for run_id, words in queue.runs.items()}
        working = {run_id for queue in queues for run_id in queue.working}
        runs = self._blocked(
            constants,
            [
                states_of(one)
                if one.run_id not in queued
                else _queued(self._state(one, one.run_id in working, strict), queued[one.run_id])
                for one in constants
            ],
        )
        before = [states_of(one) for one in earlier]
        seconds = {run.run_id: self._ends[run.run_id].seconds for run in runs if _has_record(run)}
        pace = measure_pace(plan, runs, seconds)
        flops_before = sum(self._ends[run.run_id].flops_spent for run in before if _has_record(run))
        flops_total = plan.flops_total + flops_before
        flops_now = flops_done(plan, runs) * plan.flops_total + flops_before
        everyone = [*earlier, *constants]
        runs = self._with_time_left(runs, pace)
        states = [run.state for run in (*before, *runs)]
        arms = [constant.arm for constant in everyone]
        left = len(states) - sum(state in ENDED for state in states)
        return Snapshot(
            name=plan.name,
            phase="running" if at_work else "idle" if left else "over",
            device_kind=plan.device_kind,
            device_name=plan.device_name,
            precision=plan.precision,
            slots=plan.slots,
            counts=_counts(states),
            arms=tuple(_arms(arms, states)),
            flops_total=flops_total,
            flops_done_frac=flops_now / flops_total,
            tokens_per_second=sum(run.tokens_per_second or 0.0 for run in runs),
            seconds_planned=plan.seconds_estimate,
            seconds_left=pace.seconds_left,
            pace=pace.ratio,
            warnings=newest(self._warnings(constants, runs), _MOST_WARNINGS) if logs else (),
            metric_units=self._metric_units(),
            has_experiment=self._experiment,
            stage=max((run.stage for run in runs if run.stage is not None), default=None),
            runs=(*before, *runs),
            runs_beside=self._beside(everyone),
            **head,
        )

    def _queues(self) -> list[Queue]:
        """What engines' queues hold of the sweep; they are asked every few seconds."""
        if time.monotonic() - self._asked >= _ASK_SECONDS:
            self._asked, self._queue = time.monotonic(), queues(self.sweep)
        return self._queue

    def _metric_units(self) -> dict[str, str]:
        units: dict[str, dict[str, None]] = {}
        for end in self._ends.values():
            for name, unit in end.metric_units.items():
                units.setdefault(name, {})[unit] = None
        return {name: " or ".join(own) for name, own in units.items()}

    def curve(self, run_id: str) -> list[CurvePoint]:
        """The curve of a run so far; empty if there is none or it cannot be read."""
        run_dir = self.sweep.run(run_id)
        version = _version_of(run_dir.curve)
        if version is None:
            return []
        cached = self._curves.get(run_id)
        if cached is None or cached[0] != version:
            try:
                cached = version, read_curve(run_dir)
            except (ConfigError, OSError):
                cached = version, []
            self._curves[run_id] = cached
        return cached[1]

    def _read_plan(self) -> tuple[Plan, list[_Constant], list[_Constant]]:
        """The plan, and what never changes about each of its runs and of earlier stages'."""
        version = _version_of(self.sweep.plan)
        if self._plan is None or version is None or self._plan[0] != version:
            plan = read_plan(self.sweep.plan)
            staged = self.sweep.stages.is_file()
            constants = [
                _constant(run.spec, _params_matmul(run), self.sweep.run(run.run_id), staged=staged)
                for run in plan.runs
            ]
            earlier = self._earlier_stages(plan) if staged else []
            with contextlib.suppress(ConfigError, OSError):  # the config may be damaged
                self._experiment = named_by(self.sweep) is not None
            self._plan = version or (0, 0, 0), plan, constants, earlier
        return self._plan[1:]

    def _earlier_stages(self, plan: Plan) -> list[_Constant]:
        """The finished runs of the stages before the plan's, by stage and label."""
        constants = []
        for run_dir in self.sweep.run_dirs():
            if run_dir.path.name in plan.by_id or not run_dir.record.is_file():
                continue
            with contextlib.suppress(ConfigError):  # damaged: its stage is not known
                record = read_record(run_dir.record)
                constants.append(_constant(record.spec, record.params_matmul, run_dir, staged=True))
        return sorted(constants, key=lambda one: (one.fields["stage"], one.spec.label))

    def _nothing_yet(self, at_work: bool, problem: Exception) -> str:
        if self.sweep.plan.exists():
            return one_line(str(problem))
        if at_work:
            if self.sweep.data.exists():
                return "the sweep is starting: `slaw run` has its data and makes its plan"
            return "the sweep is starting: `slaw run` is preparing data"
        if not self.sweep.path.exists():
            near = _near(self.sweep.path)
            return "no such folder yet; a `slaw run` with this --out makes it" + (
                f" (or did you mean {near}?)" if near else ""
            )
        if self.sweep.data.exists() or self.sweep.lease.exists():
            return "a `slaw run` ended before its plan; the same command begins again"
        return "no plan yet; `slaw run` makes it"

    def _state(self, one: _Constant, at_work: bool, strict: bool) -> RunState:
        run_id, run_dir, spec = one.run_id, one.run_dir, one.spec
        version = _version_of(one.record)
        if version is not None:
            try:
                return self._end(one, version).state
            except ConfigError as problem:
                if _version_of(one.record) is not None:  # else its trunk was reopened meanwhile
                    if strict:
                        raise
                    reason = one_line(str(problem))
                    return RunState(**one.fields, state="damaged", step=0, error=reason)
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
            metrics=next((_plain(p.metrics) for p in reversed(points) if p.metrics), None),
            # the objective's file, which may be a user's own, is not executed here
            loss_unit=f"(objective {spec.objective.name})" if spec.objective else None,
            note=not_measured(run_dir.log) if spec.probes else None,
        )

    def _end(self, one: _Constant, version: _FileVersion) -> _Ended:
        """The end of a run with a record. Raises ``ConfigError`` if it cannot be read."""
        cached = self._ends.get(one.run_id)
        if cached is None or cached.version != version:
            record = read_record(one.run_dir.record)
            state = RunState(
                **one.fields,
                state=record.status,
                step=record.tokens // one.spec.batch_tokens,
                val_loss_nats=record.val_loss_nats,
                predicted_loss_nats=record.metrics.get("predicted_loss_nats"),
                metrics=_plain(record.metrics),
                loss_unit=one_line(record.loss_unit) if record.loss_unit else None,
                error=one_line(record.message) if record.status == "diverged" else None,
                note=one_line(record.message) if record.note else None,
                ended_at=one_line(record.finished_at),
            )
            cached = self._ends[one.run_id] = _Ended(
                version,
                state,
                record.seconds,
                record.flops_spent,
                {one_line(name): one_line(unit) for name, unit in record.metric_units.items()},
            )
        return cached

    def _blocked(self, constants: list[_Constant], runs: list[RunState]) -> list[RunState]:
        """``runs``, with those marked that wait for a state their trunk will never save."""
        lost = {run.run_id: run for run in runs if run.state in ("diverged", "failed", "damaged")}
        if not lost:
            return runs
        marked = []
        for one, run in zip(constants, runs, strict=True):
            parent = one.spec.parent
            if run.state == "waiting" and parent is not None and parent.trunk_id in lost:
                saved = self.sweep.run(parent.trunk_id).checkpoint(parent.at_step)
                if not saved.is_file():
                    trunk = lost[parent.trunk_id]
                    reason = f"its trunk {trunk.state}: {trunk.error or ''}"
                    run = dataclasses.replace(run, state="blocked", error=reason)
            marked.append(run)
        return marked

    def _beside(self, constants: list[_Constant]) -> int:
        """How many finished runs are neither in the plan nor of an earlier stage."""
        try:
            there = set(os.listdir(self.sweep.runs))  # noqa: PTH208 - 10,000 Paths cost more
        except OSError:
            return 0
        others = there.difference(one.run_id for one in constants)
        return sum(self.sweep.run(name).record.is_file() for name in others)

    @staticmethod
    def _with_time_left(runs: list[RunState], pace: SweepPace) -> list[RunState]:
        return [
            dataclasses.replace(run, seconds_left=pace.of_runs[run.run_id])
            if run.run_id in pace.of_runs
            else run
            for run in runs
        ]

    def _warnings(self, constants: list[_Constant], runs: list[RunState]) -> list[RunWarning]:
        warnings = []
        for one, run in zip(constants, runs, strict=True):
            if run.state in ("failed", "diverged", "damaged"):
                path = one.run_dir.failure if run.state == "failed" else one.run_dir.record
                text = f"{run.state}: {run.error or 'no reason given'}"
                warnings.append(RunWarning.at_file(path, run.label, text))
            warnings += self._of_log(one.run_dir, run)
        return warnings

    def _of_log(self, run_dir: RunDir, run: RunState) -> list[RunWarning]:
        cached = self._logs.get(run.run_id)
        if run.state == "waiting" or (cached is not None and run.state in ENDED):
            return cached[1] if cached else []
        version = _version_of(run_dir.log)
        if version is None:
            return []
        if cached is None or cached[0] != version:
            cached = self._logs[run.run_id] = version, log_warnings(run_dir.log, run.label)
        return cached[1]


def sweep_status(sweep: SweepDir) -> dict[str, Any]:
    """The snapshot of a sweep as JSON values, which ``slaw status`` prints.

    Raises ``ConfigError`` or ``PlanError`` for a plan or record that cannot be read.
    """
    return SweepReader(sweep).read(strict=True, logs=False).to_json()


def _queued(run: RunState, words: str) -> RunState:
    """A run with its job in a queue; one that has ended has none."""
    return run if run.state in ENDED else dataclasses.replace(run, queued=one_line(words))


def _has_record(run: RunState) -> bool:
    return run.state in ("done", "stopped_early", "diverged")


def _counts(states: Sequence[str]) -> dict[str, int]:
    return {state: states.count(state) for state in STATES if state in states}


def _arms(arms: Sequence[Values], states: Sequence[str]) -> Iterator[ArmState]:
    by_arm: dict[Values, list[str]] = {}
    for arm, state in zip(arms, states, strict=True):
        by_arm.setdefault(arm, []).append(state)
    for arm, own in by_arm.items():
        if arm:
            yield ArmState(name=arm_name(arm), values=dict(arm), runs=len(own), counts=_counts(own))


def _near(folder: Path) -> str:
    """The sweep beside ``folder`` with the most similar name; "" if there is none."""
    try:
        there = {sweep.path.name: sweep.path for sweep in find_sweeps(folder.parent)}
    except (ConfigError, OSError):
        return ""
    close = difflib.get_close_matches(folder.name, there, n=1, cutoff=0.6)
    return one_line(str(there[close[0]])) if close else ""


def _params_matmul(run: PlannedRun) -> int:
    """The parameters of matrices.

    A user's own architecture is not executed here: of its model, those that its planned FLOPs
    stand for, a sixth of the FLOPs a token.
    """
    params = params_if_known(run.spec.model)
    return params.matmul if params else round(run.flops_alone / run.spec.tokens / 6)


def _plain(metrics: Mapping[str, float]) -> dict[str, float] | None:
    """What was measured but maps, with names that a terminal may show; None for nothing."""
    numbers = without_maps(measured_metrics(metrics))
    return {one_line(name): value for name, value in numbers.items()} or None


def _constant(spec: RunSpec, params_matmul: int, run_dir: RunDir, *, staged: bool) -> _Constant:
    arm = arm_of(spec)
    fields = {
        "run_id": spec.run_id,
        "label": spec.label,
        "kind": spec.kind,
        "trunk_id": spec.branch.trunk_id if spec.branch else None,
        "params_matmul": params_matmul,
        "start_step": spec.start_step,
        "total_steps": spec.total_steps,
        "batch_tokens": spec.batch_tokens,
        "counted": counted_as(spec.model),
        "annealed": spec.schedule.end == "annealed",
        "stage": stage_of(spec) if staged else None,
        "arm": one_line(arm_name(arm)),
    }
    return _Constant(
        spec=spec,
        run_id=spec.run_id,
        run_dir=run_dir,
        fields=fields,
        arm=arm,
        record=str(run_dir.record),
    )
