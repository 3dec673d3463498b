"""Trains a plan: hands ready runs to an engine and reads their results from the disk.

A runner that was stopped is resumed by running the same command again.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from scaling_law.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PREEMPTED,
    EXIT_RUN_FAILED,
    ConfigError,
    RunFailed,
)
from scaling_law.files import checksum, layout
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.lease import LeasedElsewhere, Leases, wait_for
from scaling_law.files.record import RunRecord, read_failure, read_record, record_if_there
from scaling_law.plan.plan import Plan, PlannedRun
from scaling_law.run.cleanup import clean_up_run
from scaling_law.run.engines import (
    Executor,
    Handle,
    SubmissionState,
    has,
    last_words,
    leave,
    logs_of,
    news,
    resubmissions,
    slots_of,
)
from scaling_law.run.peers import Peers
from scaling_law.run.signals import stop_caught
from scaling_law.run.sweep_state.dashboard import Dashboard
from scaling_law.run.sweep_state.progress import SweepProgress, describe_end
from scaling_law.run.sweep_state.text import news_line
from scaling_law.spec.to_json import to_json
from scaling_law.units import count_of
from scaling_law.versions import RESOURCES, SPEC

_POLL_SECONDS = 0.1
_CANCEL_LOOK_SECONDS = 1.0
# At most this fraction of the time goes into looking for runs that can start, while none ends.
_SUBMIT_FRAC = 0.05
# How long workers may take to finish a step and write a checkpoint once asked to stop.
_STOP_SECONDS = 300.0
# A run whose jobs end this often without a further checkpoint (at a time limit, say) has failed.
_MOST_STOPS = 3
_LEAST_FREE_BYTES = 2**16  # failure.json and its folder need more than this


_TIMES = {1: "once", 2: "twice", 3: "three times"}


@dataclass(kw_only=True)
class SweepOutcome:
    """How a sweep ended: run ids by result, most with the reason."""

    done: list[str] = field(default_factory=list)
    stopped_early: dict[str, str] = field(default_factory=dict)  # these are in ``done`` as well
    diverged: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(
        default_factory=dict
    )  # their trunk did not reach the branch point
    done_before: int = 0  # runs that were done or diverged when this ``slaw run`` began
    stopped_by: int | None = None  # the number of the signal
    seconds: float = 0.0  # of this ``slaw run``

    def is_without_a_loss(self, plan: Plan) -> bool:
        """Whether runs diverged, and no point of the plan ended with a loss."""
        done = set(self.done)
        points = (run.run_id for run in plan.runs if run.spec.kind != "trunk")
        return bool(self.diverged) and done.isdisjoint(points)

    @property
    def exit_code(self) -> int:
        """0 all finished (diverged runs are results), 3 a run failed, 75 or 130 stopped."""
        if self.stopped_by is not None:
            return EXIT_INTERRUPTED if self.stopped_by == signal.SIGINT else EXIT_PREEMPTED
        return EXIT_RUN_FAILED if self.failed else EXIT_OK


@contextlib.contextmanager
def _signals() -> Iterator[dict[str, int]]:
    """Catch stop signals; the number of the first is stored under ``"signal"``."""
    caught: dict[str, int] = {}

    def note(number: int, frame: FrameType | None) -> None:
        caught.setdefault("signal", number)

    with stop_caught(note, signal.SIGINT):
        yield caught


class Runner:
    """Trains one plan on one engine to its end."""

    def __init__(
        self, plan: Plan, sweep: SweepDir, executor: Executor, *, hands_over: bool = False
    ) -> None:
        """``hands_over``: workers go on when this process is asked to stop; another will watch."""
        self.hands_over = hands_over
        self.plan = plan
        self.sweep = sweep
        self.executor = executor
        self.outcome = SweepOutcome()
        self.dashboard = Dashboard(sweep)
        self._busy: dict[str, Handle] = {}  # by run id; the runs of a stack share one
        self._slots: dict[int, int] = {}  # how many a submission takes, by its handle's id
        self._deaths: dict[str, int] = {}  # how often a run's worker died or hung
        self._stops: dict[str, list[int]] = {}  # the newest checkpoint whenever a run's job ended
        self._words: dict[str, str] = {}  # what a run's worker wrote last if it died
        self._together: dict[str, int] = {}  # how many runs a run was last submitted with
        self._has_stacks = any(run.resources.stack for run in plan.runs)
        self._alone: set[str] = set()  # runs whose stack failed: each is tried on its own
        self._peers = Peers(sweep)
        self._cancelled, self._looked = False, -1e9
        self._next_submit = 0.0
        self._saved: dict[str, set[int]] = {}  # by trunk: the states for branches on the disk
        self._states: dict[str, list[tuple[int, Path]]] = {}  # by trunk: those, and their files
        self._branches: dict[str, list[PlannedRun]] = {}  # by trunk: its branches, grown runs
        self._reopened: dict[str, int] = {}  # how often a trunk was, for a damaged state
        for run in plan.runs:
            if run.spec.parent:
                self._branches.setdefault(run.spec.parent.trunk_id, []).append(run)

    def run(self) -> SweepOutcome:
        """Train what is left of the plan; returns when all runs have ended or a signal stops it."""
        began = time.monotonic()
        with Leases() as leases:
            wait_for(self.sweep.lease, leases, lambda holder: None)
            self._reconcile()
        flops = {run.run_id: run.flops_spent for run in self.plan.runs}
        finished = {*self.outcome.done, *self.outcome.diverged}
        progress = SweepProgress(
            flops,
            finished,
            min(self.executor.slots, self.plan.slots),
            news=self._news,
            seconds_left=self.dashboard.seconds_left,
            loss=self.dashboard.loss,
        )
        self.outcome.done_before = len(finished)
        if finished:
            progress.say(f"{len(finished)} of {count_of(len(flops), 'run')} had already finished")
        try:
            with _signals() as caught:
                self._loop(progress, caught)
        finally:
            progress.close()
            if self.hands_over and self.outcome.stopped_by is not None:
                leave(self.executor)
            else:
                self.executor.close()
        self._block_the_rest()
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def _news(self) -> str | None:
        snapshot = self.dashboard.snapshot()
        return None if snapshot is None else news_line(snapshot)

    def _reconcile(self) -> None:
        """Read from the disk which runs have ended, and write the folders of the others."""
        for run in self.plan.runs:
            run_dir = self.sweep.run(run.run_id)
            if run_dir.record.exists():
                record = read_record(run_dir.record)
                if self._has_what_branches_need(run, record) or not self._reopen(run):
                    self._note_record(record)
                    continue
            spec = SPEC.stamp(to_json(run.spec))
            resources = {**RESOURCES.stamp(to_json(run.resources)), "run_id": run.run_id}
            _write_if_new(run_dir.spec, spec, layout.read_json, layout.write_json)
            _write_if_new(run_dir.resources, resources, _read_checked, checksum.write)
        for run_id in self._ended():
            self._clean_up(run_id)
        self._peers.note_failures(run.run_id for run in self.plan.runs)

    def _reopen(self, run: PlannedRun) -> bool:
        """Remove the record of a trunk that lacks a state which an unfinished branch needs.

        The trunk resumes from an older state, or from the start. False if another process holds
        it, or the branch has finished meanwhile.
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
        return {step for step, path in self._states_of(trunk_id) if path.is_file()}

    def _states_of(self, trunk_id: str) -> list[tuple[int, Path]]:
        """The steps that branches of a trunk start from, in order, with the states' files."""
        if trunk_id not in self._states:
            trunk = self.sweep.run(trunk_id)
            parents = [run.spec.parent for run in self._branches.get(trunk_id, [])]
            steps = sorted({parent.at_step for parent in parents if parent})
            self._states[trunk_id] = [(step, trunk.checkpoint(step)) for step in steps]
        return self._states[trunk_id]

    def _saved_for_branches(self, trunk_id: str) -> set[int]:
        """``_saved_steps``; of a trunk that trains, only the next is looked for again."""
        if trunk_id not in self._saved:
            self._saved[trunk_id] = self._saved_steps(trunk_id)
        elif trunk_id in self._busy:
            saved = self._saved[trunk_id]
            for step, path in self._states_of(trunk_id):
                if step not in saved:
                    if not path.is_file():
                        break
                    saved.add(step)
        return self._saved[trunk_id]

    def _note_record(self, record: RunRecord) -> None:
        if record.status == "diverged":
            self.outcome.diverged[record.run_id] = record.message
        else:
            self.outcome.done.append(record.run_id)
            if record.status == "stopped_early":
                self.outcome.stopped_early[record.run_id] = record.message

    def _loop(self, progress: SweepProgress, caught: dict[str, int]) -> None:
        place = _place(self.sweep)
        while "signal" not in caught and not self._is_cancelled():
            if place is None or _place(self.sweep) != place:
                raise RunFailed(
                    f"{self.sweep.path}: moved or removed while its runs trained; resume from the"
                    " checkpoints where it is now: slaw run FOLDER"
                )
            self._collect(progress)
            for line in news(self.executor):
                progress.say(line)
            self._look_around(progress)
            ended = len(self._ended())
            self._submit(progress)
            if not self._busy:
                if self._peers.held:
                    self._peers.report_waiting(progress.say)
                elif len(self._ended()) == ended and not self._notice_changes(progress):
                    return
            progress.refresh()
            self.dashboard.refresh()
            time.sleep(_POLL_SECONDS)
        cancelled = self.sweep.cancelled.is_file()
        self.outcome.stopped_by = caught.get("signal", signal.SIGTERM)
        if self.hands_over and not cancelled:
            progress.say("asked to stop: the runs go on, and the next `slaw run` here watches them")
            return
        self.hands_over = False
        why = "cancelled by `slaw cancel`" if cancelled else "stopping"
        progress.say(f"{why}: each worker finishes its step and writes a checkpoint")
        for handle in self._handles():
            self.executor.cancel(handle)
        deadline = time.monotonic() + _STOP_SECONDS
        while self._busy and time.monotonic() < deadline:
            self._collect(progress)
            time.sleep(_POLL_SECONDS)

    def _is_cancelled(self) -> bool:
        """Whether ``slaw cancel`` asks to stop; looked at once a second."""
        if time.monotonic() - self._looked >= _CANCEL_LOOK_SECONDS:
            self._looked = time.monotonic()
            self._cancelled = self.sweep.cancelled.is_file()
        return self._cancelled

    def _look_around(self, progress: SweepProgress) -> None:
        """Note which runs other ``slaw run``s have finished, or failed, in the meantime."""
        if not self._peers.is_time_to_look():
            return
        self._notice_changes(progress)
        for run_id, reason in self._peers.failed(self._waiting()).items():
            self.outcome.failed[run_id] = reason
            progress.ended(run_id, f"{self.plan.by_id[run_id].spec.label}: FAILED: {reason}")

    def _waiting(self) -> set[str]:
        return {run.run_id for run in self.plan.runs} - self._ended() - set(self._busy)

    def _notice_changes(self, progress: SweepProgress) -> bool:
        """Read from the disk what other ``slaw run``s changed; whether they changed anything.

        They finish runs, whose states may be gone before the record is seen, and reopen trunks.
        """
        self._saved.clear()
        finished = self._peers.finished(self._waiting())
        for run_id in finished:
            self._note_finished(run_id, progress)
        waiting = [self.plan.by_id[run_id].spec.branch for run_id in self._waiting()]
        trunks = {branch.trunk_id for branch in waiting if branch is not None}
        reopened = [
            run_id
            for run_id in trunks.intersection(self.outcome.done)
            if not self.sweep.run(run_id).record.is_file()
        ]
        for run_id in reopened:
            self.outcome.done.remove(run_id)
        return bool(finished or reopened)

    def _note_finished(self, run_id: str, progress: SweepProgress) -> None:
        """Note a run's record, and remove the files that no run needs any more."""
        self._saved.pop(run_id, None)
        record = read_record(self.sweep.run(run_id).record)
        self._note_record(record)
        self._clean_up(run_id)
        progress.ended(run_id, describe_end(record))

    def _ended(self) -> set[str]:
        outcome = self.outcome
        return {*outcome.done, *outcome.diverged, *outcome.failed}

    def _submit(self, progress: SweepProgress) -> None:
        free = self.executor.slots - sum(self._slots.get(id(h), 1) for h in self._handles())
        # with no run under way this look decides whether the sweep has ended
        if free <= 0 or (self._busy and time.monotonic() < self._next_submit):
            return
        began = time.monotonic()
        try:
            self._submit_ready(free, progress)
        finally:
            now = time.monotonic()
            self._next_submit = now + (now - began) / _SUBMIT_FRAC

    def _submit_ready(self, free: int, progress: SweepProgress) -> None:
        """Submit runs that can start now, at most ``free`` runs or stacks."""
        self._peers.held.clear()
        saved = functools.cache(self._saved_for_branches)
        for group in self._groups(self.plan.ready(self._ended(), saved, self._busy)):
            runs = [run for run in group if self._is_free(run.run_id, progress)]
            if len(runs) < len(group) and self._takes_over(group):
                runs = group
            if not runs:
                continue
            slots = slots_of(self.executor, runs)
            if slots > free:  # it waits for its turn, and no shorter run goes before it
                return
            run_dirs = [self.sweep.run(run.run_id) for run in runs]
            for run_dir in run_dirs:
                run_dir.failure.unlink(missing_ok=True)
            handle = self.executor.submit(runs)
            self._slots[id(handle)] = slots
            for run, run_dir in zip(runs, run_dirs, strict=True):
                self._busy[run.run_id] = handle
                self._together[run.run_id] = len(runs)
                progress.started(run.spec, run_dir)
            free -= slots
            if free <= 0:
                return

    def _takes_over(self, group: Sequence[PlannedRun]) -> bool:
        """Whether the engine takes over the worker that holds a group of runs."""
        ids = [run.run_id for run in group]
        if self._ended().intersection(ids) or not has(self.executor, ids):
            return False
        for run_id in ids:
            self._peers.held.pop(run_id, None)
        return True

    def _is_free(self, run_id: str, progress: SweepProgress) -> bool:
        """Whether no other process trains a run, or has finished it."""
        holder = self._peers.holder(run_id)
        if holder is not None:
            self._peers.held[run_id] = holder
            return False
        if not self.sweep.run(run_id).record.is_file():
            return True
        self._note_finished(run_id, progress)
        return False

    def _handles(self) -> list[Handle]:
        """Each submission that has not ended, once; the runs of a stack share one."""
        return list({id(handle): handle for handle in self._busy.values()}.values())

    def _groups(self, startable: Iterator[PlannedRun]) -> Iterable[list[PlannedRun]]:
        """What to submit together: single runs, and stacks whose members are all ready."""
        if not self._has_stacks:
            return ([run] for run in startable)
        ready = list(startable)
        groups: dict[str, list[PlannedRun]] = {}
        for run in ready:
            alone = run.run_id in self._alone
            name = run.run_id if alone else run.resources.stack or run.run_id
            groups.setdefault(name, []).append(run)
        ended = self._ended()
        settled = {*ended, *self._busy, *(run.run_id for run in ready)}
        lost: set[str] = set()  # runs whose trunk ended before their branch point
        late: set[str | None] = set()  # stacks with a member whose trunk is still under way
        for run in self.plan.runs:
            if run.run_id in settled:
                continue
            parent = run.spec.parent
            if parent and (parent.trunk_id in ended or parent.trunk_id in lost):
                lost.add(run.run_id)
            elif run.resources.stack in groups:
                late.add(run.resources.stack)
        return [runs for name, runs in groups.items() if name not in late]

    def _collect(self, progress: SweepProgress) -> None:
        states: dict[int, SubmissionState] = {}  # the engine is asked once for all of a stack
        for run_id, handle in list(self._busy.items()):
            if id(handle) not in states:
                states[id(handle)] = self.executor.state(handle)
            if states[id(handle)] != "running":
                del self._busy[run_id]
                self._next_submit = 0.0
                parent = self.plan.by_id[run_id].spec.parent
                for family in (run_id, parent.trunk_id if parent else run_id):
                    self._saved.pop(family, None)  # a worker removes a damaged state
                self._words[run_id] = last_words(self.executor, handle)
                self._settle(run_id, states[id(handle)], progress)

    def _settle(self, run_id: str, state: SubmissionState, progress: SweepProgress) -> None:
        """Read from its folder the result of a run whose submission has ended."""
        run_dir = self.sweep.run(run_id)
        label = self.plan.by_id[run_id].spec.label
        if self._trains_trunk_again(run_id, progress):
            run_dir.failure.unlink(missing_ok=True)
        elif run_dir.record.is_file():
            self._note_finished(run_id, progress)
        elif not run_dir.path.is_dir():
            reason = f"{run_dir.path}: moved or removed while the run trained; bring it back"
            self.outcome.failed[run_id] = reason
            progress.ended(run_id, f"{label}: FAILED: {reason}")
        elif state == "elsewhere" and not run_dir.failure.is_file():
            pass  # the process that holds it finishes it, or leaves it to this one
        elif state == "stopped" and not run_dir.failure.is_file():
            self._note_stop(run_id, progress)
        elif state == "cancelled" and not run_dir.failure.is_file():
            reason = f"{self._words[run_id] or 'cancelled'}; run the same command again to resume"
            self.outcome.failed[run_id] = reason
            progress.ended(run_id, f"{label}: CANCELLED: {reason}")
        elif self._together.get(run_id, 1) > 1 and self.outcome.stopped_by is None:
            # trained alone, each shows whether it was the cause; its bits stay the same
            self._alone.add(run_id)
            progress.say(f"{label}: its stack failed or died; it is trained alone now")
        elif run_dir.failure.is_file():
            self.outcome.failed[run_id] = read_failure(run_dir)
            progress.ended(run_id, f"{label}: FAILED: {self.outcome.failed[run_id]}")
        elif self.outcome.stopped_by is None:
            self._deaths[run_id] = self._deaths.get(run_id, 0) + 1
            if self._deaths[run_id] > resubmissions(self.executor):
                reason = _no_space(run_dir) or self._why_dead(run_id, state)
                self.outcome.failed[run_id] = reason
                progress.ended(run_id, f"{label}: FAILED: {self.outcome.failed[run_id]}")
            else:
                how = "hung and was killed" if state == "hung" else "died"
                progress.say(f"{label}: its worker {how}; trying once more")

    def _note_stop(self, run_id: str, progress: SweepProgress) -> None:
        """Let a run be submitted again that its scheduler stopped, unless it gets no further."""
        if self.outcome.stopped_by is not None:
            return
        label, words = self.plan.by_id[run_id].spec.label, self._words[run_id]
        saved = next(iter(self.sweep.run(run_id).checkpoint_steps()), 0)
        stops = self._stops.setdefault(run_id, [])
        stops.append(saved)
        if stops[-_MOST_STOPS:] != [saved] * _MOST_STOPS:
            progress.say(f"{label}: {words or 'stopped'}; submitting it again from step {saved}")
            return
        reason = (
            f"its last {_MOST_STOPS} jobs all ended with a checkpoint of step {saved}: {words};"
            " give them more time, or write checkpoints more often (checkpoints.every)"
        )
        self.outcome.failed[run_id] = reason
        progress.ended(run_id, f"{label}: FAILED: {reason}")

    def _why_dead(self, run_id: str, state: SubmissionState) -> str:
        """Why a run failed whose worker died, or hung, every time."""
        deaths = self._deaths[run_id]
        words, times = self._words.get(run_id), _TIMES.get(deaths, f"{deaths} times")
        if state == "hung":
            return f"its worker hung {times}; if one step may take so long, raise SLAW_HUNG_SECONDS"
        if not words:
            return f"its worker died {times} without giving a reason"
        logs = logs_of(self.executor) or self.sweep.workers_log
        return f"its worker died {times}; it wrote last: {words} (all of it: {logs})"

    def _trains_trunk_again(self, run_id: str, progress: SweepProgress) -> bool:
        """Whether a branch-point checkpoint is missing and its trunk trains again to write it.

        The worker of a branch removes a damaged checkpoint. A finished trunk is reopened, a
        running one when it ends: it resumes from before the checkpoint and writes the same bits
        again. It is reopened once for each of its branches, so that this ends even on a disk that
        damages every file.
        """
        run, has_record = self.plan.by_id[run_id], self.sweep.run(run_id).record.is_file()
        parent = run.spec.parent
        if parent is not None and not has_record:
            trunk_id = parent.trunk_id
            lost = parent.at_step not in self._saved_steps(trunk_id)
        else:
            trunk_id, record = run_id, self.sweep.run(run_id).record
            lost = has_record and not self._has_what_branches_need(run, read_record(record))
        if not lost or trunk_id in self._busy or trunk_id in self.outcome.failed:
            return lost
        self._reopened[trunk_id] = self._reopened.get(trunk_id, 0) + 1
        if self._reopened[trunk_id] > len(self._branches[trunk_id]):
            return False
        if not self._reopen(self.plan.by_id[trunk_id]):
            return trunk_id != run_id
        if trunk_id in self.outcome.done:
            self.outcome.done.remove(trunk_id)
        label = self.plan.by_id[trunk_id].spec.label
        progress.say(f"{label}: a branch-point checkpoint is damaged; training to it again")
        return True

    def _clean_up(self, run_id: str) -> None:
        """Remove from a finished run's folder all but results and states that runs still need.

        A run that another process holds is cleaned up by that process.
        """
        run = self.plan.by_id[run_id]
        keep = () if self._is_spent(run_id) else run.resources.save_steps
        if self._peers.holder(run_id) is None:
            clean_up_run(self.sweep.run(run_id), keep)
        parent = run.spec.parent
        if parent and self._is_spent(parent.trunk_id):
            clean_up_run(self.sweep.run(parent.trunk_id))

    def _is_spent(self, run_id: str) -> bool:
        """Whether a run and all runs that start from its states have finished."""
        family = [run_id, *(run.run_id for run in self._branches.get(run_id, []))]
        return all(self.sweep.run(member).record.is_file() for member in family)

    def _block_the_rest(self) -> None:
        if self.outcome.stopped_by is not None:
            return
        for run in self.plan.runs:
            if run.run_id not in self._ended():
                assert run.spec.parent is not None, "only a run with a parent can be left waiting"
                trunk = run.spec.parent.trunk_id
                reason = self.outcome.diverged.get(trunk) or self.outcome.failed.get(trunk)
                reason = reason or self.outcome.blocked.get(trunk, "")
                self.outcome.blocked[run.run_id] = (
                    f"its trunk did not reach the branch point: {reason}"
                )


def _place(sweep: SweepDir) -> tuple[int, int] | None:
    """What tells the sweep's folder from another one at its path; None if there is none."""
    try:
        stat = sweep.path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _read_checked(path: Path) -> Any:
    return checksum.read(path, "")


def _write_if_new(
    path: Path,
    value: Any,
    read: Callable[[Path], Any],
    write: Callable[[Path, Any], None],
) -> None:
    """Write ``value`` unless it is there already: another ``slaw run`` may be using the file."""
    with contextlib.suppress(ConfigError):
        if path.is_file() and read(path) == value:
            return
    write(path, value)


def _no_space(run_dir: RunDir) -> str:
    """Why a worker could not write why it failed; "" if the disk has space."""
    if shutil.disk_usage(run_dir.path).free >= _LEAST_FREE_BYTES:
        return ""
    return "No space left on device; free some and run the same command again"
