"""Ready runs -> engine -> what the disk says: the same line again goes on where it stopped."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from scaling_law.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PREEMPTED,
    EXIT_RUN_FAILED,
    ConfigError,
)
from scaling_law.files import checksum, layout
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.lease import LeasedElsewhere, Leases, wait_for
from scaling_law.files.record import RunRecord, read_failure, read_record, record_if_there
from scaling_law.plan.plan import Plan, PlannedRun
from scaling_law.run.cleanup import clean_up_run
from scaling_law.run.peers import Peers
from scaling_law.run.sweep_state.dashboard import Dashboard
from scaling_law.run.sweep_state.progress import SweepProgress, describe_end
from scaling_law.run.sweep_state.text import news_line
from scaling_law.spec.run import Resources, to_json
from scaling_law.versions import RESOURCES, SPEC

_POLL_SECONDS = 0.1
# How long workers may take to finish their step and write a checkpoint when asked to stop.
_STOP_SECONDS = 300.0
# A worker that dies without a word (killed for memory, say), or hangs, gets one more try.
_MAX_DEATHS = 2
_LEAST_FREE_BYTES = 2**16  # less than a failure and its folder take


# What a run fails with whose worker died, or hung, every time.
_DEATHS = {
    False: "its worker died twice without a word",
    True: "its worker hung twice; if one step may take so long, raise SLAW_HUNG_SECONDS",
}


class Engine(Protocol):
    """Where runs are executed; success is never its to decide.

    ``state`` is ``running``, ``over``, ``elsewhere`` (over, and others have or took what has no
    record) or ``hung`` (over, killed for giving no sign of life).
    """

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
    done_before: int = 0  # over, well or diverged, when this ``slaw run`` began
    stopped_by: int | None = None
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 all over (diverged runs are results), 3 a run failed, 75 or 130 stopped."""
        if self.stopped_by is not None:
            return EXIT_INTERRUPTED if self.stopped_by == signal.SIGINT else EXIT_PREEMPTED
        return EXIT_RUN_FAILED if self.failed else EXIT_OK


@contextlib.contextmanager
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
        self.dashboard = Dashboard(sweep)
        self._busy: dict[str, Any] = {}
        self._deaths: dict[str, int] = {}
        self._together: dict[str, int] = {}  # how many a run was last submitted with
        self._alone: set[str] = set()  # what failed in a stack is tried on its own
        self._peers = Peers(sweep)
        self._branches: dict[str, list[PlannedRun]] = {}  # of a trunk; what grows from it as well
        self._taken_back: dict[str, int] = {}  # how often a trunk was, for a damaged state
        for run in plan.runs:
            if run.spec.parent:
                self._branches.setdefault(run.spec.parent.trunk_id, []).append(run)

    def run(self) -> SweepOutcome:
        """Train what is left of the plan; returns when all is over or a signal stopped it."""
        began = time.monotonic()
        with Leases() as leases:
            wait_for(self.sweep.lease, leases, lambda holder: None)
            self._reconcile()
        flops = {run.run_id: run.flops_spent for run in self.plan.runs}
        over = {*self.outcome.done, *self.outcome.diverged}
        progress = SweepProgress(
            flops,
            over,
            self.engine.slots,
            news=self._news,
            seconds_left=self.dashboard.seconds_left,
        )
        self.outcome.done_before = len(over)
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

    def _news(self) -> str | None:
        snapshot = self.dashboard.snapshot()
        return None if snapshot is None else news_line(snapshot)

    def _reconcile(self) -> None:
        """Take the disk's word for what is over, and write the folders of what is not."""
        for run in self.plan.runs:
            run_dir = self.sweep.run(run.run_id)
            if run_dir.record.exists():
                record = read_record(run_dir.record)
                if self._has_what_branches_need(run, record) or not self._take_back(run):
                    self._note_record(record)
                    continue
            spec, resources = SPEC.stamp(to_json(run.spec)), RESOURCES.stamp(to_json(run.resources))
            _keep(run_dir.spec, spec, layout.read_json, layout.write_json)
            _keep(run_dir.resources, resources, _read_sealed, checksum.write)
        for run_id in self._over():
            self._clean_up(run_id)
        self._peers.note_failures(run.run_id for run in self.plan.runs)

    def _take_back(self, run: PlannedRun) -> bool:
        """Forget a trunk's record: it is over, but a state that an unfinished branch needs is gone.

        It goes on from an older one, or from the start. False where somebody else is at it, or
        has done what needed the state.
        """
        run_dir = self.sweep.run(run.run_id)
        try:
            with Leases() as leases:
                leases.take(run_dir.lease)
                record = record_if_there(run_dir)
                if record is not None and self._has_what_branches_need(run, record):
                    return False
                run_dir.record.unlink(missing_ok=True)
        except LeasedElsewhere:
            return False
        return True

    def _has_what_branches_need(self, run: PlannedRun, record: RunRecord) -> bool:
        saved = self._saved_steps(run.run_id)
        return record.status == "diverged" or all(
            branch.spec.parent is None
            or branch.spec.parent.at_step in saved
            or self.sweep.run(branch.run_id).record.is_file()
            for branch in self._branches.get(run.run_id, [])
        )

    def _saved_steps(self, trunk_id: str) -> set[int]:
        trunk = self.sweep.run(trunk_id)
        branches = self._branches.get(trunk_id, [])
        steps = {run.spec.parent.at_step for run in branches if run.spec.parent}
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
            self._look_around(progress)
            over = len(self._over())
            self._submit(progress)
            if not self._busy:
                if self._peers.held:
                    self._peers.report_waiting(progress.say)
                elif len(self._over()) == over and not self._looked_again(progress):
                    return
            progress.refresh()
            self.dashboard.refresh()
            time.sleep(_POLL_SECONDS)
        self.outcome.stopped_by = caught["signal"]
        progress.say("stopping: each worker finishes its step and writes a checkpoint")
        for handle in {id(handle): handle for handle in self._busy.values()}.values():
            self.engine.cancel(handle)
        deadline = time.monotonic() + _STOP_SECONDS
        while self._busy and time.monotonic() < deadline:
            self._collect(progress)
            time.sleep(_POLL_SECONDS)

    def _look_around(self, progress: SweepProgress) -> None:
        """Take note of what other ``slaw run``s have finished or failed meanwhile."""
        if not self._peers.is_time_to_look():
            return
        self._looked_again(progress)
        for run_id, reason in self._peers.failed(self._waiting()).items():
            self.outcome.failed[run_id] = reason
            progress.ended(run_id, f"{self.plan.by_id[run_id].spec.label}: FAILED: {reason}")

    def _waiting(self) -> set[str]:
        return {run.run_id for run in self.plan.runs} - self._over() - set(self._busy)

    def _looked_again(self, progress: SweepProgress) -> bool:
        """Whether more was over, or less, than was thought.

        The states of a branch that others ended may be gone before its record is seen, and a
        trunk may have been taken back.
        """
        found = self._peers.finished(self._waiting())
        for run_id in found:
            self._found(run_id, progress)
        waiting = [self.plan.by_id[run_id].spec.branch for run_id in self._waiting()]
        trunks = {branch.trunk_id for branch in waiting if branch is not None}
        again = [
            run_id
            for run_id in trunks.intersection(self.outcome.done)
            if not self.sweep.run(run_id).record.is_file()
        ]
        for run_id in again:
            self.outcome.done.remove(run_id)
        return bool(found or again)

    def _found(self, run_id: str, progress: SweepProgress) -> None:
        """A run is over: note its record, and drop what nobody needs any more."""
        record = read_record(self.sweep.run(run_id).record)
        self._note_record(record)
        self._clean_up(run_id)
        progress.ended(run_id, describe_end(record))

    def _over(self) -> set[str]:
        out = self.outcome
        return {*out.done, *out.diverged, *out.failed}

    def _submit(self, progress: SweepProgress) -> None:
        free = self.engine.slots - len(set(map(id, self._busy.values())))
        if free <= 0:
            return
        self._peers.held.clear()
        saved = {trunk_id: self._saved_steps(trunk_id) for trunk_id in self._branches}
        for group in self._groups(self.plan.ready(self._over(), saved, self._busy)):
            runs = [run for run in group if self._is_free(run.run_id, progress)]
            if not runs:
                continue
            run_dirs = [self.sweep.run(run.run_id) for run in runs]
            for run_dir in run_dirs:
                run_dir.failure.unlink(missing_ok=True)
            handle = self.engine.submit(run_dirs, runs[0].resources)
            for run, run_dir in zip(runs, run_dirs, strict=True):
                self._busy[run.run_id] = handle
                self._together[run.run_id] = len(runs)
                progress.started(run.spec, run_dir)
            free -= 1
            if not free:
                return

    def _is_free(self, run_id: str, progress: SweepProgress) -> bool:
        """Whether nobody else is at a run, or has finished it."""
        holder = self._peers.holder(run_id)
        if holder is not None:
            self._peers.held[run_id] = holder
            return False
        if not self.sweep.run(run_id).record.is_file():
            return True
        self._found(run_id, progress)
        return False

    def _groups(self, ready: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
        """Single runs, and stacks none of whose members' trunks is still to get there."""
        groups: dict[str, list[PlannedRun]] = {}
        for run in ready:
            alone = run.run_id in self._alone
            name = run.run_id if alone else run.resources.stack or run.run_id
            groups.setdefault(name, []).append(run)
        over, able = self._over(), {run.run_id for run in ready}
        lost: set[str] = set()  # what starts from a run that is over without having got there
        late: set[str | None] = set()
        for run in self.plan.runs:
            if run.run_id in {*over, *able, *self._busy}:
                continue
            if run.spec.parent and run.spec.parent.trunk_id in {*over, *lost}:
                lost.add(run.run_id)
            elif run.resources.stack in groups:
                late.add(run.resources.stack)
        return [runs for name, runs in groups.items() if name not in late]

    def _collect(self, progress: SweepProgress) -> None:
        words: dict[int, str] = {}  # asked once for all the runs of a stack
        for run_id, handle in list(self._busy.items()):
            if id(handle) not in words:
                words[id(handle)] = self.engine.state(handle)
            if words[id(handle)] != "running":
                del self._busy[run_id]
                self._settle(run_id, words[id(handle)], progress)

    def _settle(self, run_id: str, word: str, progress: SweepProgress) -> None:
        """Read from the folder what became of a run whose worker has let go of it."""
        run_dir = self.sweep.run(run_id)
        label = self.plan.by_id[run_id].spec.label
        if self._trains_trunk_again(run_id, progress):
            run_dir.failure.unlink(missing_ok=True)
        elif run_dir.record.is_file():
            self._found(run_id, progress)
        elif word == "elsewhere" and not run_dir.failure.is_file():
            pass  # whoever has it will end it, or leave it for us
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
                reason = _no_space(run_dir) or _DEATHS[word == "hung"]
                self.outcome.failed[run_id] = reason
                progress.ended(run_id, f"{label}: FAILED: {self.outcome.failed[run_id]}")
            else:
                how = "hung and was killed" if word == "hung" else "died"
                progress.say(f"{label}: its worker {how}; trying once more")

    def _trains_trunk_again(self, run_id: str, progress: SweepProgress) -> bool:
        """Whether a state that branches start from turned out to be damaged, and is come by again.

        The worker of a branch removes such a state. A trunk that is over is taken back, one under
        way at its end: it goes on from its newest older state, to the same bits. As often as it
        has branches, lest a disk that damages whatever it is given be written to for ever.
        """
        run, is_over = self.plan.by_id[run_id], self.sweep.run(run_id).record.is_file()
        parent = run.spec.parent
        if parent is not None and not is_over:
            trunk_id = parent.trunk_id
            lost = parent.at_step not in self._saved_steps(trunk_id)
        else:
            trunk_id, record = run_id, self.sweep.run(run_id).record
            lost = is_over and not self._has_what_branches_need(run, read_record(record))
        if not lost or trunk_id in self._busy or trunk_id in self.outcome.failed:
            return lost
        self._taken_back[trunk_id] = self._taken_back.get(trunk_id, 0) + 1
        if self._taken_back[trunk_id] > len(self._branches[trunk_id]):
            return False
        if not self._take_back(self.plan.by_id[trunk_id]):
            return trunk_id != run_id
        if trunk_id in self.outcome.done:
            self.outcome.done.remove(trunk_id)
        label = self.plan.by_id[trunk_id].spec.label
        progress.say(f"{label}: a state that branches need is damaged; trained to it again")
        return True

    def _clean_up(self, run_id: str) -> None:
        """Leave only results of a finished run, and a trunk's states until all that starts from
        it is over.

        While somebody has a run it is his to tidy.
        """
        run = self.plan.by_id[run_id]
        keep = () if self._is_spent(run_id) else run.resources.save_steps
        if self._peers.holder(run_id) is None:
            clean_up_run(self.sweep.run(run_id), keep)
        parent = run.spec.parent
        if parent and self._is_spent(parent.trunk_id):
            clean_up_run(self.sweep.run(parent.trunk_id))

    def _is_spent(self, run_id: str) -> bool:
        """Whether a run and all that starts from its states are over."""
        family = [run_id, *(run.run_id for run in self._branches.get(run_id, []))]
        return all(self.sweep.run(member).record.is_file() for member in family)

    def _block_the_rest(self) -> None:
        if self.outcome.stopped_by is not None:
            return
        for run in self.plan.runs:
            if run.run_id not in self._over():
                assert run.spec.parent is not None, "only runs with a parent can be left waiting"
                trunk = run.spec.parent.trunk_id
                reason = self.outcome.diverged.get(trunk) or self.outcome.failed.get(trunk)
                reason = reason or self.outcome.blocked.get(trunk, "")
                self.outcome.blocked[run.run_id] = f"its trunk did not get there: {reason}"


def _read_sealed(path: Path) -> Any:
    return checksum.read(path, "")


def _keep(
    path: Path,
    value: Any,
    read: Callable[[Path], Any],
    write: Callable[[Path, Any], None],
) -> None:
    """Write what is not there yet: others may be at work by the same file."""
    with contextlib.suppress(ConfigError):
        if path.is_file() and read(path) == value:
            return
    write(path, value)


def _no_space(run_dir: RunDir) -> str:
    """Why a worker could not even say why it failed; "" where the disk has space."""
    if shutil.disk_usage(run_dir.path).free >= _LEAST_FREE_BYTES:
        return ""
    return "No space left on device; free some and type the same line again"


def engine_log(sweep: SweepDir) -> Path:
    """Where workers' own standard error goes."""
    return sweep.path / "workers.log"
