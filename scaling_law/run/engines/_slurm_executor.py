"""Submits ready runs as arrays of jobs, and follows them to their end."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scaling_law.errors import EngineError
from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import Stillness, hung_seconds, read_lease, stale_seconds
from scaling_law.files.process import module_command
from scaling_law.plan.plan import PlannedRun
from scaling_law.run.engines import SubmissionState, Workplace
from scaling_law.run.engines import _slurm_client as client
from scaling_law.run.engines._slurm_client import Away, Full, JobState
from scaling_law.run.engines._slurm_files import Batch, Files, Group, Said, new_name
from scaling_law.run.engines._slurm_nodes import most_seconds
from scaling_law.run.engines._slurm_scripts import (
    common_words,
    limit_seconds,
    packed,
    quoted,
    script,
)
from scaling_law.units import count_of

if TYPE_CHECKING:
    from scaling_law.run.engines.slurm import Settings

WORKER = tuple(module_command("scaling_law.run.engines._slurm_worker"))
# Between two looks at the files of the workers, and between two questions to a controller that has
# just been given something to do; the pause doubles up to ``poll``.
_LOOK_SECONDS, _FIRST_SECONDS = 0.5, 1.0
# Between two looks for jobs that another `slaw run` of the sweep has submitted.
_SCAN_SECONDS = 10.0
# Between two submissions: what becomes ready meanwhile shares an array.
_GATHER_SECONDS = 2.0
# How long a network may take to show a node's first file to this machine.
_SHARED_SECONDS = 60.0
# How long a job that was asked to end may take before it is asked again, and before close kills it.
_AGAIN_SECONDS, _CLOSE_SECONDS = 10.0, 45.0
# A lease of a running job that stands still this many times as long as a stale one has hung.
_HUNG_TIMES = 2.0
# The most elements of an array that a cluster takes by default (MaxArraySize).
_MOST_ELEMENTS = 1000
# A job that asks for much less time than the longest of its array starts later than it could.
_SHORTER = 4.0
# SLURM's words for an end that the runs are not to blame for.
_GOES_ON = frozenset(("BOOT_FAIL", "DEADLINE", "NODE_FAIL", "PREEMPTED", "REVOKED", "TIMEOUT"))
_UNKNOWN = JobState(name="", state="", reason="", node="")


@dataclass(eq=False, kw_only=True)
class _Submission:
    """A group of runs on its way through a job.

    ``seconds`` is the planned time;
    ``devices`` are those that train each run together, ``on_gpus`` says whether they are GPUs;
    ``words`` says why it ended, "" for none;
    ``is_cancelled`` says that the runner wants it no more.
    """

    group: Group
    seconds: float
    devices: int = 1
    on_gpus: bool = False
    state: SubmissionState = "running"
    words: str = ""
    is_cancelled: bool = False


@dataclass(eq=False, kw_only=True)
class _Job:
    """A job in the queue.

    ``batch`` and ``element`` say which;
    ``submissions`` are those of its groups that this process waits for, by their number;
    ``seen`` is what SLURM last said of it;
    ``said`` is what its worker has said, ``read`` how long that file was then;
    ``over_at`` is when it was first seen ended without a word, None before;
    ``asked_at`` is when it was last asked to end, None before;
    ``is_hung`` says that it was killed because it gave no sign of life;
    ``stillness`` measures for how long it has given none.
    """

    batch: Batch
    element: int
    submissions: dict[int, _Submission] = field(default_factory=dict)
    seen: JobState = _UNKNOWN
    said: Said = field(default_factory=Said)
    read: int = -1
    over_at: float | None = None
    asked_at: float | None = None
    is_hung: bool = False
    stillness: Stillness = field(default_factory=Stillness)

    @property
    def id(self) -> str:
        """Its id in the queue."""
        return self.batch.id_of(self.element)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The runs that it trains, in this order."""
        return self.batch.elements[self.element]

    @property
    def open(self) -> dict[int, _Submission]:
        """The submissions that have not ended."""
        return {
            number: submission
            for number, submission in self.submissions.items()
            if submission.state == "running"
        }


class SlurmExecutor:
    """Jobs of one sweep. What waits is gathered into arrays; jobs of an earlier run are adopted."""

    resubmissions = 2

    def __init__(self, settings: Settings, workplace: Workplace) -> None:
        client.require()
        self.slots = max(settings.queued, 1)
        self._settings, self._workplace = settings, workplace
        self._at_once = workplace.slots
        self._files = Files(workplace.sweep)
        self.logs = self._files.folder
        self._waiting: list[_Submission] = []
        self._jobs: dict[tuple[str, int], _Job] = {}  # those that may still be in the queue
        self._known: set[str] = set()  # names of batches that were read or submitted
        self._unsure: Batch | None = None  # submitted, and the controller did not answer
        self._busy = 0  # submissions that have not ended
        self._most = _MOST_ELEMENTS  # of an array, fewer where the site takes no larger one
        self._has_submitted = False  # whether the site has taken an array
        self._widens = True  # whether the site lets more jobs of an array run at once
        self._looked = self._submitted = self._asked = self._scanned = -1e9
        self._pause = _FIRST_SECONDS
        self._away_since: float | None = None
        self._good: set[str] = set()  # nodes where a worker has begun
        self._bad: set[str] = set()  # nodes where none begins, though it does on others
        self._news: list[str] = []
        self._reported: set[str] = set()

    def submit(self, runs: Sequence[PlannedRun]) -> _Submission:
        """Let ``runs`` wait for the next array, or for the job of an earlier run that has them."""
        if self._busy >= self.slots:
            raise EngineError(f"no free slot: all {self.slots} are busy (engine.queued)")
        resources = runs[0].resources
        devices = resources.devices_of(runs[0].spec).devices
        submission = _Submission(
            group=tuple(run.run_id for run in runs),
            seconds=sum(run.seconds for run in runs),
            devices=devices,
            on_gpus=resources.device == "cuda",
        )
        self._busy += 1
        self._waiting.append(submission)
        return submission

    def state(self, submission: _Submission) -> SubmissionState:
        """How far a submission is. All of them share one look at the files and the queue."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._look()
            self._looked = time.monotonic()
        return submission.state

    def last_words(self, submission: _Submission) -> str:
        """Why a submission ended, as SLURM and its worker say it."""
        return submission.words

    def news(self) -> list[str]:
        """Lines about the queue since the last call."""
        lines, self._news = self._news, []
        return lines

    def cancel(self, submission: _Submission) -> None:
        """Ask the job to write a checkpoint and end; what waits for none ends at once."""
        submission.is_cancelled = True
        if submission in self._waiting:
            self._waiting.remove(submission)
            self._end(submission, "ended", "")
        self._looked = -1e9

    def leave(self) -> None:
        """Leave the jobs in the queue; the next executor on the folder adopts them."""
        self._waiting.clear()
        self._jobs.clear()

    def close(self) -> None:
        """End every job of the sweep that this process knows, and wait until it is gone.

        A job that has let go of its runs is about to end by itself. Raises ``EngineError`` where
        the controller cannot be asked to end the others.
        """
        self._waiting.clear()
        for job in list(self._jobs.values()):
            self._hear(job)
            if len(job.said.ended) == len(job.groups):
                self._drop(job)
        deadline, asked_at = time.monotonic() + _CLOSE_SECONDS, -1e9
        while self._jobs or self._unsure is not None:
            with contextlib.suppress(Away):
                self._ask_queue()
                if time.monotonic() - asked_at > _AGAIN_SECONDS:
                    client.cancel(job.id for job in self._jobs.values() if not job.seen.is_over)
                    asked_at = time.monotonic()
                for job in [job for job in self._jobs.values() if job.seen.is_over]:
                    self._hear(job)
                    self._drop(job)
            if time.monotonic() > deadline:
                if asked_at < 0:
                    raise EngineError(
                        "engine slurm: its controller does not answer, so that jobs of this sweep"
                        f" may go on; slaw cancel {self._workplace.sweep.path} ends them later"
                    )
                break
            if self._jobs or self._unsure is not None:
                time.sleep(_LOOK_SECONDS)

    # looking

    def _look(self) -> None:
        # a network's file system is not asked for the files of thousands of jobs that wait
        for job in [job for job in self._jobs.values() if job.seen.is_running]:
            self._hear(job)
        self._stop_cancelled()
        try:
            if self._is_time_to_ask():
                self._ask_queue()
                self._settle_jobs()
            self._adopt()
            self._flush()
            self._widen()
        except Away as away:
            self._note_away(str(away))

    def _is_time_to_ask(self) -> bool:
        has_jobs = bool(self._jobs) or self._unsure is not None
        return has_jobs and time.monotonic() - self._asked >= self._pause

    def _ask_queue(self) -> None:
        """Ask once for all jobs. Raises ``Away``, and asks less and less often then."""
        self._asked = time.monotonic()
        self._pause = min(2 * self._pause, self._settings.poll)
        known = client.jobs()
        if self._away_since is not None:
            away = time.monotonic() - self._away_since
            self._news.append(f"SLURM's controller answers again after {away:.0f}s")
            self._away_since = None
        self._find_unsure(known)
        for job in self._jobs.values():
            # of an array that ended before any job of it began, squeue knows the whole alone
            seen = known.get(job.id) or known.get(job.batch.job)
            before, job.seen = job.seen, seen or _UNKNOWN
            if seen is None:
                # SLURM forgets jobs some minutes after their end
                job.seen = dataclasses.replace(before, state="COMPLETED", reason="")
            if job.seen.is_over != before.is_over:
                self._pause = min(_FIRST_SECONDS, self._settings.poll)
        self._report_pending()

    def _note_away(self, why: str) -> None:
        self._asked = time.monotonic()
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._news.append(
                f"SLURM's controller does not answer{f' ({why})' * bool(why)}; jobs go on without"
                " it, and it is asked again"
            )

    def _find_unsure(self, known: dict[str, JobState]) -> None:
        """Look by its name for an array whose submission was not answered."""
        batch = self._unsure
        if batch is None:
            return
        self._unsure = None
        ids = [job for job, state in known.items() if state.name == batch.name]
        if ids:
            self._accept(batch, ids[0].partition("_")[0])
        else:
            self._release(batch)

    def _report_pending(self) -> None:
        """Say once for each reason that jobs will not start by themselves."""
        for job in self._jobs.values():
            reason = job.seen.reason
            stuck = job.seen.state == "PENDING" and reason.startswith(_STUCK)
            if stuck and reason not in self._reported:
                self._reported.add(reason)
                self._news.append(f"job {job.id} does not start: {reason}")

    def _hear(self, job: _Job) -> None:
        """Read what the worker says, and end the submissions that it let go of."""
        path = self._files.said(job.batch.name, job.element)
        try:
            size = path.stat().st_size
        except OSError:
            size = -1
        # a network's file system may give an old size, but not an old file to one that opens it
        if size == job.read and not job.seen.is_over:
            return
        said = self._files.hear(job.batch.name, job.element)
        if said.starts < job.said.starts:
            return  # another `slaw run` of this sweep has removed it
        job.read, job.said = size, said
        self._good |= {said.host} if said.host else set()
        for number, elsewhere in job.said.ended.items():
            submission = job.open.get(number)
            if submission is not None:
                self._end(submission, "elsewhere" if elsewhere else "ended", "")

    # ending

    def _end(self, submission: _Submission, state: SubmissionState, words: str) -> None:
        submission.state, submission.words = state, words
        self._busy -= 1
        for run_id in submission.group:
            # a network's file system may have remembered that there is no record
            with contextlib.suppress(OSError):
                os.listdir(self._workplace.sweep.run(run_id).path)  # noqa: PTH208 - for its effect

    def _settle_jobs(self) -> None:
        for job in [job for job in self._jobs.values() if job.seen.is_running or job.seen.is_over]:
            self._hear(job)
            if job.seen.is_over:
                self._settle(job)
            elif job.seen.state == "RUNNING":
                self._kill_if_hung(job)

    def _settle(self, job: _Job) -> None:
        """End the submissions of a job that SLURM says has ended."""
        state = job.seen.state
        is_asked = job.asked_at is not None
        if not (job.said.starts or is_asked) and state in ("COMPLETED", "FAILED") and job.open:
            job.over_at = job.over_at or time.monotonic()
            if not self._may_settle(job):
                return
            self._leave_out(job)
            self._refuse_setup(job)
        how = self._how(job)
        words = self._words(job)
        for number, submission in job.open.items():
            if submission.is_cancelled:
                self._end(submission, "ended", words)
            elif how != "cancelled" and job.said.begun is not None and number > job.said.begun:
                self._waiting.append(submission)  # it was in the line behind
            else:
                self._end(submission, how, words)
        self._drop(job)

    def _may_settle(self, job: _Job) -> bool:
        """Whether a job that ended without a word may be settled. Raises ``EngineError``.

        It may have said something that this machine does not see yet, or never will.
        """
        batch = job.batch
        if not self._files.batch(batch.name).is_file():
            return True  # another `slaw run` of this sweep has read it and tidied up
        with contextlib.suppress(OSError):
            os.listdir(self._files.folder)  # noqa: PTH208 - a network's file system looks again
        if self._files.log(batch.name, job.element).is_file():
            return True  # it failed before the worker began, and the log says why
        assert job.over_at is not None
        if time.monotonic() - job.over_at < _SHARED_SECONDS:
            return False
        if self._good:
            return True  # others have left theirs: it is one node that does not see the folder
        node = f"node {job.seen.node}" if job.seen.node else "its node"
        raise EngineError(
            f"{self._workplace.sweep.path}: job {job.id} ran on {node} and left no file here; the"
            " folder must be on a file system that this machine and the nodes share: choose one"
            " with --out"
        )

    def _leave_out(self, job: _Job) -> None:
        """Submit no more jobs to a node where no worker begins, while workers begin on others.

        It is free again at once, and would fail run after run.
        """
        node = job.seen.node
        if node and self._good and node not in self._good | self._bad:
            self._bad.add(node)
            self._news.append(
                f"job {job.id} ended on {node} before its worker began; no further job goes there"
            )

    def _refuse_setup(self, job: _Job) -> None:
        """Raise ``EngineError`` where a job's script failed by itself and no worker has begun yet.

        The next job would fail alike.
        """
        why = self._files.setup_failure(job.batch.name, job.element)
        if why and not self._good:
            node = f" on {job.seen.node}" if job.seen.node else ""
            raise EngineError(
                f"engine slurm: job {job.id}{node} trained nothing, and others would fail alike:"
                f" {why}; mend engine.setup; its log is"
                f" {self._files.log(job.batch.name, job.element)}"
            )

    def _how(self, job: _Job) -> SubmissionState:
        if job.is_hung:
            return "hung"
        if job.seen.state == "CANCELLED" and job.asked_at is None:
            return "cancelled"
        if job.said.stopped_by is not None or job.seen.state in _GOES_ON:
            return "stopped"
        return "ended"

    def _words(self, job: _Job) -> str:
        state, last = job.seen.state, self._files.last_line(job.batch.name, job.element)
        if state == "OUT_OF_MEMORY":
            return f"job {job.id} ran out of memory; ask for more, as in engine.sbatch: [--mem=8G]"
        ends = {
            "CANCELLED": "was cancelled in the queue", "TIMEOUT": "reached its time limit",
            "NODE_FAIL": "lost its node", "PREEMPTED": "was preempted",
        }  # fmt: skip
        how = ends.get(state) or ("stopped after a checkpoint" if job.said.stopped_by else "")
        node = f" on {job.seen.node}" if job.seen.node else ""
        if how:
            return f"job {job.id}{node} {how}"
        return f"job {job.id}{node} ended ({state.lower()})" + (f": {last}" if last else "")

    def _kill_if_hung(self, job: _Job) -> None:
        """End a running job whose leases have stood still for too long."""
        group = job.groups[job.said.begun] if job.said.begun is not None else ()
        holders = [read_lease(self._workplace.sweep.run(run_id).lease) for run_id in group]
        own = [holder for holder in holders if holder is not None]
        # a worker waits as long itself for the lease of one that died before it
        limit = _HUNG_TIMES * stale_seconds() if own else hung_seconds()
        sign = (job.said.starts, job.said.begun, own)
        if job.stillness.seconds(sign) > limit:
            job.is_hung, job.asked_at = True, time.monotonic()
            client.cancel([job.id], "--signal=KILL", "--full")

    def _drop(self, job: _Job) -> None:
        """Forget a job, and the files of its batch with the last of them."""
        del self._jobs[job.batch.name, job.element]
        if not any(name == job.batch.name for name, _ in self._jobs):
            self._files.forget(job.batch)

    def _stop_cancelled(self) -> None:
        """Ask jobs to end whose runs are wanted no more, all by one command."""
        now = time.monotonic()
        asked = [
            job
            for job in self._jobs.values()
            if any(submission.is_cancelled for submission in job.open.values())
            and (job.asked_at is None or now - job.asked_at > _AGAIN_SECONDS)
        ]
        if not asked:
            return
        for job in asked:
            job.asked_at = now
        with contextlib.suppress(Away):
            end_after_checkpoint([job.id for job in asked])
        self._pause = min(_FIRST_SECONDS, self._settings.poll)

    # submitting

    def has(self, run_ids: Sequence[str]) -> bool:
        """Whether a job that another process submitted has these runs, and may be taken over."""
        with contextlib.suppress(Away):
            self._scan()
        return tuple(run_ids) in self._adoptable()

    def _scan(self) -> None:
        """Read which jobs of this sweep another process has submitted. Raises ``Away``."""
        if time.monotonic() - self._scanned < _SCAN_SECONDS:
            return
        self._scanned = time.monotonic()
        unknown = [name for name in self._files.names() if name not in self._known]
        if unknown:
            known = client.jobs()
            for name in unknown:
                batch = self._files.read(name)
                if batch is None or self._adopt_batch(batch, known):
                    self._known.add(name)

    def _adoptable(self) -> dict[Group, tuple[_Job, int]]:
        """The groups of jobs that this process does not wait for, with their number in the job."""
        return {
            group: (job, number)
            for job in self._jobs.values()
            for number, group in enumerate(job.groups)
            if number not in job.submissions and number not in job.said.ended
        }

    def _adopt(self) -> None:
        """Take over jobs of this sweep that another process submitted."""
        if not self._waiting:
            return
        self._scan()
        held = self._adoptable()
        for submission in [one for one in self._waiting if one.group in held]:
            job, number = held[submission.group]
            job.submissions[number] = submission
            self._waiting.remove(submission)

    def _adopt_batch(self, batch: Batch, known: dict[str, JobState]) -> bool:
        """Take over the jobs of a batch; False where sbatch may be about to be asked for them."""
        if not batch.job:
            ids = [job for job, state in known.items() if state.name == batch.name]
            batch = dataclasses.replace(batch, job=ids[0].partition("_")[0] if ids else "")
        live = 0
        for element in range(len(batch.elements)):
            seen = known.get(batch.id_of(element))
            if seen is not None and not seen.is_over:
                job = _Job(batch=batch, element=element, seen=seen)
                self._jobs[batch.name, element] = job
                self._hear(job)
                live += 1
        if live:
            words = count_of(live, "job")
            self._news.append(
                f"{words} of an earlier `slaw run` {'is' if live == 1 else 'are'} in"
                " the queue; adopted"
            )
        elif not (batch.job or self._files.is_old(batch.name)):
            return False
        else:
            self._files.forget(batch)
        return True

    def _flush(self) -> None:
        """Submit what waits, in arrays, as far as ``concurrent`` allows. Raises ``Away``."""
        while self._waiting and self._unsure is None:
            since = time.monotonic() - self._submitted
            room = self._at_once - self._running_at_once()
            if room <= 0 or since < _GATHER_SECONDS:
                return
            most = most_seconds(self._settings)  # before anything is written
            chosen = self._next_array()
            elements = tuple(tuple(one.group for one in element) for element in chosen)
            batch = Batch(
                name=new_name(self._workplace.sweep),
                elements=elements,
                at_once=min(room, len(elements)),
            )
            if not self._submit_array(batch, chosen, most):
                return

    def _running_at_once(self) -> int:
        """How many of the jobs in the queue may run at once."""
        live: dict[str, int] = {}
        most = {job.batch.name: job.batch.at_once for job in self._jobs.values()}
        for job in self._jobs.values():
            live[job.batch.name] = live.get(job.batch.name, 0) + 1
        return sum(min(count, most[name]) for name, count in live.items())

    def _next_array(self) -> list[list[_Submission]]:
        """The jobs of the next array, the most urgent first, of not too different lengths."""
        # the jobs of an array have the same devices
        first = self._waiting[0]
        tasks = [(one, one.seconds) for one in self._waiting if one.devices == first.devices]
        jobs = packed(tasks, self._at_once, self._settings.pack)
        seconds = [sum(one.seconds for one in job) for job in jobs]
        longest = max(seconds)
        alike = [
            job
            for job, own in zip(jobs, seconds, strict=True)
            if own * _SHORTER >= longest or own <= self._settings.pack
        ]
        return alike[: self._most]

    def _widen(self) -> None:
        """Give jobs in the line of an array the room that nothing else waits for. Raises ``Away``.

        An array is submitted with the room of that moment, and keeps its limit by itself.
        """
        room = self._at_once - self._running_at_once()
        if not self._widens or self._waiting or self._unsure is not None or room <= 0:
            return
        live = Counter(name for name, _ in self._jobs)
        for batch in {job.batch.name: job.batch for job in self._jobs.values()}.values():
            more = min(room, live[batch.name] - batch.at_once)
            if more <= 0:
                continue
            try:
                client.widen(batch.job, batch.at_once + more)
            except EngineError as problem:
                self._widens = False  # they run, only fewer at once
                self._news.append(f"{problem}; array {batch.job} stays at {batch.at_once} at once")
                return
            room -= more
            self._accept(dataclasses.replace(batch, at_once=batch.at_once + more), batch.job)

    def _submit_array(
        self, batch: Batch, chosen: Sequence[Sequence[_Submission]], most: float | None
    ) -> bool:
        """Submit one array, of jobs of ``most`` seconds.

        False where the site takes none now; where it takes no array as large as this, the next
        has half the jobs.

        Raises ``Away``.
        """
        self._files.folder.mkdir(parents=True, exist_ok=True)
        self._files.write(batch)
        self._known.add(batch.name)
        taken = [one for element in chosen for one in element]
        self._waiting = [one for one in self._waiting if one not in taken]
        for element, submissions in enumerate(chosen):
            self._jobs[batch.name, element] = _Job(
                batch=batch, element=element, submissions=dict(enumerate(submissions))
            )
        planned = max(sum(one.seconds for one in element) for element in chosen)
        try:
            limit = limit_seconds(planned, most, self._settings)
            words = self._options(batch, limit, chosen[0][0])
            job = client.submit(self._script(batch), words)
        except Away:
            self._unsure = batch  # it may have been accepted: the queue will say
            raise
        except Full as full:
            self._release(batch)
            if len(chosen) > 1:
                self._most = len(chosen) // 2
                return True
            if not (self._jobs or self._has_submitted):
                raise EngineError(
                    "engine slurm: the cluster takes no more jobs of yours now, and none of this"
                    f" sweep's is in the queue (sbatch: {full}); wait for others to end"
                ) from None
            if "full" not in self._reported:
                self._reported.add("full")
                self._news.append(
                    f"the cluster takes no more jobs of yours now (sbatch: {full}); it is asked"
                    " again and again"
                )
            self._submitted = time.monotonic() + self._settings.poll
            return False
        except BaseException:
            self._release(batch)
            raise
        self._accept(batch, job)
        self._has_submitted = True
        self._reported.discard("full")
        self._most = min(2 * self._most, _MOST_ELEMENTS)
        self._submitted = time.monotonic()
        self._pause = min(_FIRST_SECONDS, self._settings.poll)
        self._asked = time.monotonic()
        return True

    def _accept(self, batch: Batch, job: str) -> None:
        """Note the number that SLURM gave an array."""
        known = dataclasses.replace(batch, job=job)
        self._files.write(known)
        for (name, _), one in self._jobs.items():
            if name == batch.name:
                one.batch = known

    def _release(self, batch: Batch) -> None:
        """Let the runs of an array wait again that was never submitted."""
        released: list[_Submission] = []
        for key in [key for key in self._jobs if key[0] == batch.name]:
            released += self._jobs.pop(key).open.values()
        self._waiting = released + self._waiting  # the most urgent first, as they were chosen
        self._files.forget(batch)

    def _options(self, batch: Batch, limit: float, one: _Submission) -> list[str]:
        array = f"--array=0-{len(batch.elements) - 1}%{batch.at_once}"
        words = [*common_words(batch.name, self._settings, limit), array]
        words += [f"--exclude={','.join(sorted(self._bad))}"] if self._bad else []
        return [*words, *self._settings.place_of(one.devices, on_gpus=one.on_gpus)]

    def _script(self, batch: Batch) -> str:
        sweep = SweepDir(self._workplace.sweep.path.absolute())
        index = '"$SLURM_ARRAY_TASK_ID"'
        stem = quoted(Files(sweep).log(batch.name, "").with_suffix(""))
        command = [*map(shlex.quote, WORKER), quoted(sweep.path), batch.name, index]
        return script(command, f"{stem}{index}.log", self._settings, self._workplace.variables)


# Why a job waits that will not start unless a person does something.
_STUCK = (
    "AccountNotAllowed", "Assoc", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount",
    "InvalidQOS", "JobHeldAdmin", "JobHeldUser", "launch failed", "NodeDown", "PartitionDown",
    "PartitionInactive", "PartitionNodeLimit", "PartitionTimeLimit", "QOS", "ReqNodeNotAvail",
    "Reservation", "user env",
)  # fmt: skip


def end_after_checkpoint(ids: Sequence[str]) -> None:
    """End jobs: those that wait at once, those that run after a checkpoint. Raises ``Away``."""
    client.cancel(ids, "--state=PENDING")
    client.cancel(ids, "--batch", "--signal=USR1")
