"""Ready runs -> engine -> what the disk says: the same line again goes on where it stopped."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from scaling_law import layout, sealed
from scaling_law.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_PREEMPTED, EXIT_RUN_FAILED
from scaling_law.layout import RunDir, SweepDir
from scaling_law.plan import Plan, PlannedRun
from scaling_law.record import RunRecord, read_failure, read_record
from scaling_law.run.progress import SweepProgress, describe_end
from scaling_law.spec import Resources, to_json

_POLL_SECONDS = 0.1
# How long workers may take to finish their step and write a checkpoint when asked to stop.
_STOP_SECONDS = 300.0
# A worker that dies without a word (killed for memory, say) gets one more try.
_MAX_DEATHS = 2
_LEAST_FREE_BYTES = 2**16  # less than a failure and its folder take


class Engine(Protocol):
    """Where runs are executed; success is never its to decide."""

    slots: int

    def submit(self, run_dirs: Sequence[RunDir], resources: Resources) -> Any: ...

    def state(self, handle: Any) -> str: ...

    def cancel(self, handle: Any) -> None: ...

    def close(self, seconds: float = ...) -> None: ...


@dataclass(kw_only=True)
class SweepOutcome:
    """How a sweep ended: run ids by fate, and for those that did not finish the reason."""

    done: list[str] = field(default_factory=list)
    stopped_early: dict[str, str] = field(default_factory=dict)  # among the done
    diverged: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    stopped_by: int | None = None
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 all over (diverged runs are results), 3 a run failed, 75 or 130 stopped."""
        if self.stopped_by is not None:
            return EXIT_INTERRUPTED if self.stopped_by == signal.SIGINT else EXIT_PREEMPTED
        return EXIT_RUN_FAILED if self.failed else EXIT_OK


@contextmanager
def _signals() -> Iterator[dict[str, int]]:
    """Collects the first stop signal under ``"signal"`` instead of dying of it."""
    caught: dict[str, int] = {}

    def note(number: int, frame: FrameType | None) -> None:
        caught.setdefault("signal", number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Runner:
    """Drives one plan on one engine to its end."""

    def __init__(self, plan: Plan, sweep: SweepDir, engine: Engine) -> None:
        self.plan = plan
        self.sweep = sweep
        self.engine = engine
        self.outcome = SweepOutcome()
        self._busy: dict[str, Any] = {}
        self._deaths: dict[str, int] = {}
        self._together: dict[str, int] = {}  # how many a run was last submitted with
        self._alone: set[str] = set()  # what failed in a stack is tried on its own
        self._taken_back: dict[str, int] = {}  # how often a trunk was, for a damaged state
        self._branches: dict[str, list[PlannedRun]] = {}
        for run in plan.runs:
            if run.spec.branch:
                self._branches.setdefault(run.spec.branch.trunk_id, []).append(run)

    def run(self) -> SweepOutcome:
        """Train what is left of the plan; returns when all is over or a signal stopped it."""
        began = time.monotonic()
        self._reconcile()
        flops = {run.run_id: run.flops_spent for run in self.plan.runs}
        over = {*self.outcome.done, *self.outcome.diverged}
        progress = SweepProgress(flops, over, self.engine.slots)
        if over:
            progress.say(f"{len(over)} of {len(flops)} runs were finished before")
        try:
            with _signals() as caught:
                self._loop(progress, caught)
        finally:
            progress.close()
            self.engine.close()
        self._block_the_rest()
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def _reconcile(self) -> None:
        """Take the disk's word for what is over, and write the folders of what is not."""
        for run in self.plan.runs:
            run_dir = self.sweep.run(run.run_id)
            if run_dir.record.exists():
                record = read_record(run_dir.record)
                if self._has_what_branches_need(run, record):
                    self._note_record(record)
                    continue
                # the trunk is over, but a state that an unfinished branch needs is gone; it goes
                # on from an older one, or from the start
                run_dir.record.unlink()
            layout.write_json(run_dir.spec, to_json(run.spec))
            sealed.write(run_dir.resources, to_json(run.resources))

    def _has_what_branches_need(self, run: PlannedRun, record: RunRecord) -> bool:
        saved = self._saved_steps(run.run_id)
        return record.status == "diverged" or all(
            branch.spec.start_step in saved or self.sweep.run(branch.run_id).record.is_file()
            for branch in self._branches.get(run.run_id, [])
        )

    def _saved_steps(self, trunk_id: str) -> set[int]:
        trunk = self.sweep.run(trunk_id)
        branches = self._branches.get(trunk_id, [])
        steps = {run.spec.start_step for run in branches}
        return {step for step in steps if trunk.checkpoint(step).is_file()}

    def _note_record(self, record: RunRecord) -> None:
        if record.status == "diverged":
            self.outcome.diverged[record.run_id] = record.message
        else:
            self.outcome.done.append(record.run_id)
            if record.status == "stopped_early":
                self.outcome.stopped_early[record.run_id] = record.message

    def _loop(self, progress: SweepProgress, caught: dict[str, int]) -> None:
        while "signal" not in caught:
            self._collect(progress)
            self._submit(progress)
            if not self._busy:
                return
            progress.refresh()
            time.sleep(_POLL_SECONDS)
        self.outcome.stopped_by = caught["signal"]
        progress.say("stopping: each worker finishes its step and writes a checkpoint")
        for handle in {id(handle): handle for handle in self._busy.values()}.values():
            self.engine.cancel(handle)
        deadline = time.monotonic() + _STOP_SECONDS
        while self._busy and time.monotonic() < deadline:
            self._collect(progress)
            time.sleep(_POLL_SECONDS)

    def _over(self) -> set[str]:
        out = self.outcome
        return {*out.done, *out.diverged, *out.failed}

    def _submit(self, progress: SweepProgress) -> None:
        free = self.engine.slots - len(set(map(id, self._busy.values())))
        if free <= 0:
            return
        saved = {trunk_id: self._saved_steps(trunk_id) for trunk_id in self._branches}
        for runs in self._groups(self.plan.ready(self._over(), saved, self._busy))[:free]:
            run_dirs = [self.sweep.run(run.run_id) for run in runs]
            for run_dir in run_dirs:
                run_dir.failure.unlink(missing_ok=True)
            handle = self.engine.submit(run_dirs, runs[0].resources)
            for run, run_dir in zip(runs, run_dirs, strict=True):
                self._busy[run.run_id] = handle
                self._together[run.run_id] = len(runs)
                progress.started(run.spec, run_dir)

    def _groups(self, ready: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
        """Single runs, and stacks none of whose members' trunks is still to get there."""
        groups: dict[str, list[PlannedRun]] = {}
        for run in ready:
            alone = run.run_id in self._alone
            name = run.run_id if alone else run.resources.stack or run.run_id
            groups.setdefault(name, []).append(run)
        over, able = self._over(), {run.run_id for run in ready}
        late = {
            run.resources.stack
            for run in self.plan.runs
            if run.resources.stack in groups
            and run.run_id not in {*over, *able, *self._busy}
            and not (run.spec.branch and run.spec.branch.trunk_id in over)
        }
        return [runs for name, runs in groups.items() if name not in late]

    def _collect(self, progress: SweepProgress) -> None:
        for run_id, handle in list(self._busy.items()):
            if self.engine.state(handle) == "running":
                continue
            del self._busy[run_id]
            self._settle(run_id, progress)

    def _settle(self, run_id: str, progress: SweepProgress) -> None:
        """Read from the folder what became of a run whose worker has let go of it."""
        run_dir = self.sweep.run(run_id)
        label = self.plan.by_id[run_id].spec.label
        if self._trains_trunk_again(run_id, progress):
            run_dir.failure.unlink(missing_ok=True)
        elif run_dir.record.is_file():
            record = read_record(run_dir.record)
            self._note_record(record)
            self._drop_spent_states(run_id)
            progress.ended(run_id, describe_end(record))
        elif self._together.get(run_id, 1) > 1 and self.outcome.stopped_by is None:
            # whose fault it was shows when each is on its own: bits do not depend on company
            self._alone.add(run_id)
            progress.say(f"{label}: its stack failed or died; it goes on alone")
        elif run_dir.failure.is_file():
            self.outcome.failed[run_id] = read_failure(run_dir)
            progress.ended(run_id, f"{label}: FAILED: {self.outcome.failed[run_id]}")
        elif self.outcome.stopped_by is None:
            self._deaths[run_id] = self._deaths.get(run_id, 0) + 1
            if self._deaths[run_id] >= _MAX_DEATHS:
                reason = _no_space(run_dir) or "its worker died twice without a word"
                self.outcome.failed[run_id] = reason
                progress.ended(run_id, f"{label}: FAILED: {self.outcome.failed[run_id]}")
            else:
                progress.say(f"{label}: its worker died; trying once more")

    def _trains_trunk_again(self, run_id: str, progress: SweepProgress) -> bool:
        """Whether a state that branches start from turned out to be damaged, and is come by again.

        The worker of a branch removes such a state. A trunk that is over is taken back, one under
        way at its end: it goes on from its newest older state, to the same bits. As often as it
        has branches, lest a disk that damages whatever it is given be written to for ever.
        """
        run, is_over = self.plan.by_id[run_id], self.sweep.run(run_id).record.is_file()
        if run.spec.branch is not None:
            trunk_id = run.spec.branch.trunk_id
            lost = not is_over and run.spec.branch.at_step not in self._saved_steps(trunk_id)
        else:
            trunk_id, record = run_id, self.sweep.run(run_id).record
            lost = is_over and not self._has_what_branches_need(run, read_record(record))
        if not lost or trunk_id in self._busy or trunk_id in self.outcome.failed:
            return lost
        self._taken_back[trunk_id] = self._taken_back.get(trunk_id, 0) + 1
        if self._taken_back[trunk_id] > len(self._branches[trunk_id]):
            return False
        if trunk_id in self.outcome.done:
            self.outcome.done.remove(trunk_id)
        self.sweep.run(trunk_id).record.unlink(missing_ok=True)
        label = self.plan.by_id[trunk_id].spec.label
        progress.say(f"{label}: a state that branches need is damaged; trained to it again")
        return True

    def _drop_spent_states(self, run_id: str) -> None:
        """Remove a trunk's saved states once every branch of it is over."""
        branch = self.plan.by_id[run_id].spec.branch
        trunk_id = branch.trunk_id if branch else run_id
        if trunk_id not in self._branches:
            return
        family = [trunk_id, *(run.run_id for run in self._branches[trunk_id])]
        if all(self.sweep.run(member).record.is_file() for member in family):
            for path in self.sweep.run(trunk_id).checkpoints.glob("*.pt"):
                path.unlink()

    def _block_the_rest(self) -> None:
        if self.outcome.stopped_by is not None:
            return
        for run in self.plan.runs:
            if run.run_id not in self._over():
                assert run.spec.branch is not None, "only branches can be left waiting"
                trunk = run.spec.branch.trunk_id
                reason = self.outcome.diverged.get(trunk) or self.outcome.failed.get(trunk, "")
                self.outcome.blocked[run.run_id] = f"its trunk did not get there: {reason}"


def _no_space(run_dir: RunDir) -> str:
    """Why a worker could not even say why it failed; "" where the disk has space."""
    if shutil.disk_usage(run_dir.path).free >= _LEAST_FREE_BYTES:
        return ""
    return "No space left on device; free some and type the same line again"


def engine_log(sweep: SweepDir) -> Path:
    """Where workers' own standard error goes."""
    return sweep.path / "workers.log"
