"""Runs on this machine: one long-lived worker process per slot, which loads torch once."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from scaling_law.console import Say
from scaling_law.errors import ConfigError, DeviceError, EngineError, one_line
from scaling_law.files import layout
from scaling_law.files.layout import RunDir
from scaling_law.files.lease import Stillness, hung_seconds, read_lease, stale_seconds
from scaling_law.files.process import module_command
from scaling_law.parts import NoSettings
from scaling_law.plan.device_profile import (
    DeviceProfile,
    load_profile,
    profile_from_json,
    refreshed,
    save_profile,
)
from scaling_law.plan.plan import PlannedRun
from scaling_law.plan.steps import JointShape, StepShape, step_from_json
from scaling_law.run.engines import (
    EnginePart,
    SubmissionState,
    Workplace,
    _joint_steps,
    worker_environment,
)
from scaling_law.spec.to_json import to_json
from scaling_law.units import count_of

# The pid of the process that the worker serves follows.
WORKER = tuple(module_command("scaling_law.run.worker", "--serve"))
# The pause between two looks at a running worker's leases.
_LOOK_SECONDS = 1.0
# How much of the end of a worker's log is read, in bytes.
_MOST_WORDS = 4096
# How long close() waits for each worker to end before it kills it.
_CLOSE_SECONDS = 10.0
# The most shapes that are measured for one plan, and the most that are saved.
_MOST_SHAPES, _MOST_STEPS = 40, 400


def profile(settings: NoSettings, device: str, say: Say) -> DeviceProfile:
    """The device of this machine: from the cache, or measured now in a separate process.

    Raises ``DeviceError`` when the device is not there, ``EngineError`` when measuring fails.
    """
    cached = load_profile(device)
    if cached is not None and cached.torch_version == importlib.metadata.version("torch"):
        return refreshed(cached)
    code, document, lines = _measure(
        module_command("scaling_law.train.calibrate", device, str(os.getpid())), say
    )
    last = lines[-1] if lines else "no message"
    if code == DeviceError.exit_code:
        raise DeviceError(last)
    if code:
        raise EngineError(f"measuring device {device!r} failed: {last}")
    if lines:
        say("\n".join(lines))
    measured = profile_from_json(json.loads(document))
    _save(measured, device, say)
    return measured


def _save(measured: DeviceProfile, device: str, say: Say) -> None:
    """Save a measurement in the cache; say so where that is not possible."""
    try:
        save_profile(measured, device)
    except (OSError, ConfigError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "no home folder is known"
        say(
            f"the measurement is used now and not saved ({reason}); to save it,"
            f" {layout.CACHE_REMEDY}"
        )


def _measure(command: list[str], say: Say) -> tuple[int, str, list[str]]:
    """Exit code, standard output and standard error of a measurement.

    The first line of its standard error is shown as it begins.
    """
    lines: list[str] = []
    environment = worker_environment()
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdout is not None and process.stderr is not None, "asked for"
        try:
            for line in map(str.rstrip, process.stderr):
                if line.startswith("calibrating"):
                    say(line)
                else:
                    lines.append(line)
            document = process.stdout.read()
        except BaseException:
            process.kill()  # a sweep that is stopped does not wait for it
            raise
    return process.returncode, document, lines


def measure_steps(
    settings: NoSettings,
    device: str,
    known: DeviceProfile,
    shapes: Sequence[StepShape],
    say: Say,
) -> DeviceProfile:
    """The profile with steps of ``shapes`` measured in a process of their own, and cached.

    Where measuring fails, the runs take the kernels of the thresholds; a line says so.
    """
    missing = [shape for shape in shapes if shape not in known.step_of]
    if not missing:
        return known
    most = missing[:_MOST_SHAPES]
    rest = f"; {len(missing) - len(most)} more are planned without" if most != missing else ""
    say(
        f"measuring the training steps of {count_of(len(most), 'shape')} to choose their kernels,"
        f" a few seconds each; saved for the next time{rest}"
    )
    done = subprocess.run(
        module_command("scaling_law.train.step_speed", str(known.slots), str(os.getpid())),
        input=json.dumps([to_json(shape) for shape in most]),
        capture_output=True,
        text=True,
        check=False,
        env=worker_environment(),
    )
    steps = tuple(step_from_json(json.loads(line)) for line in done.stdout.splitlines())
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        say(f"{len(most) - len(steps)} of them could not be measured ({last}); planned without")
    cached = load_profile(device) or known
    others = tuple(step for step in cached.steps if step.shape not in missing)
    if steps:
        saved = dataclasses.replace(cached, steps=(*others, *steps)[-_MOST_STEPS:])
        _save(saved, device, say)
    return dataclasses.replace(known, steps=(*known.steps, *steps))


def measure_joint_steps(
    settings: NoSettings,
    device: str,
    known: DeviceProfile,
    shapes: Sequence[JointShape],
    say: Say,
) -> DeviceProfile:
    """The profile with steps of several devices measured against one's, by groups of processes.

    Where measuring fails, the plan assumes ideal scaling; a line says so.
    """
    missing = _joint_steps.missing_of(known, shapes)
    if not missing:
        return known
    say(_joint_steps.announced(missing))
    steps, why = _joint_steps.all_measured(missing, _joint_steps.alone_command)
    _joint_steps.say_results(steps, why, say)
    if steps:
        cached = load_profile(device) or known
        _save(_joint_steps.with_steps(cached, steps), device, say)
    return _joint_steps.with_steps(known, steps)


def environment() -> dict[str, str]:
    """The name of this machine."""
    return {"host": platform.node()}


@dataclass(frozen=True)
class _Submission:
    """Submitted runs, the slot of the worker that has them, and all slots that they take."""

    run_dirs: tuple[RunDir, ...]
    slot: int
    slots: tuple[int, ...]


class _Worker:
    """A worker process and the thread that reads its answers."""

    def __init__(self, log: Path, variables: Mapping[str, str]) -> None:
        self.log: IO[bytes] = log.open("ab")
        self._log_path, self._log_start = log, self.log.seek(0, os.SEEK_END)
        self.stillness = Stillness()
        self.is_ending = False  # asked to end: it takes no further runs
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            self.process = subprocess.Popen(
                [*WORKER, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                env={**os.environ, **variables},
                text=True,
                # Ctrl-C in a terminal reaches the runner only, which asks workers to checkpoint
                start_new_session=True,
            )
        except OSError as problem:
            self.log.close()
            raise EngineError(f"a worker could not be started: {problem}") from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as answers:
            for line in answers:
                self.answers.put(line)

    def send(self, run_dirs: Sequence[RunDir]) -> None:
        assert self.process.stdin is not None
        self.stillness = Stillness()
        with contextlib.suppress(BrokenPipeError):  # the next state() sees that it is dead
            self.process.stdin.write(json.dumps([str(run_dir.path) for run_dir in run_dirs]) + "\n")
            self.process.stdin.flush()

    def is_hung(self, run_dirs: Sequence[RunDir]) -> bool:
        """Whether the counters of its leases have stood still for too long.

        Before it has a lease (while it loads torch, say) it may take as long as a step.
        """
        holders = [read_lease(run_dir.lease) for run_dir in run_dirs]
        own = [h for h in holders if h and h.process and self._has_started(h.process.pid)]
        limit_seconds = stale_seconds() if own else hung_seconds()
        return self.stillness.seconds(own) > limit_seconds

    def _has_started(self, pid: int) -> bool:
        """Whether a process is this worker, or one of those by which it trains a run."""
        if pid == self.process.pid:
            return True
        import psutil  # only for runs of several devices

        with contextlib.suppress(psutil.Error):
            return self.process.pid in [parent.pid for parent in psutil.Process(pid).parents()]
        return False

    def last_words(self) -> str:
        """The last line that was written to the log since this worker began, "" for none."""
        with contextlib.suppress(OSError), self._log_path.open("rb") as log:
            start = max(self._log_start, log.seek(0, os.SEEK_END) - _MOST_WORDS)
            log.seek(start)
            lines = log.read().decode(errors="replace").split("\n")
            return next((one_line(line.strip()) for line in reversed(lines) if line.strip()), "")
        return ""

    def close(self, seconds: float) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()


class LocalExecutor:
    """Single-thread workers. A submission ends when its worker answers or dies."""

    def __init__(self, settings: NoSettings, workplace: Workplace, log: Path | None = None) -> None:
        """``log`` takes the workers' standard error; None for the sweep's ``workers.log``."""
        self.slots = workplace.slots
        self._sweep = workplace.sweep
        self._log = log or workplace.sweep.workers_log
        self._variables = workplace.variables
        self._workers: dict[int, _Worker] = {}
        self._busy: dict[int, _Submission] = {}
        self._looked: dict[int, float] = {}
        self._problems: dict[int, str] = {}  # what the worker of a slot said last

    def submit(self, runs: Sequence[PlannedRun]) -> _Submission:
        """Hand ``runs`` to the worker of a free slot, and start one if it has none."""
        return self.train([run.run_id for run in runs], self.slots_of(runs))

    def train(self, run_ids: Sequence[str], taken: int = 1) -> _Submission:
        """``submit``, of runs that are named by their ids and take so many slots."""
        free = [slot for slot in range(self.slots) if slot not in self._busy]
        if len(free) < taken:
            raise EngineError(f"no free slot: {self.slots - len(free)} of {self.slots} are busy")
        slot = next((slot for slot in free if slot in self._workers), free[0])
        worker = self._workers.get(slot)
        if worker is None or worker.is_ending or worker.process.poll() is not None:
            if worker is not None:
                del self._workers[slot]
                worker.close(_CLOSE_SECONDS)
            self._workers[slot] = worker = _Worker(self._log, self._variables)
        others = [other for other in free if other != slot][: taken - 1]
        run_dirs = tuple(map(self._sweep.run, run_ids))
        submission = _Submission(run_dirs, slot, (slot, *others))
        self._busy |= dict.fromkeys(submission.slots, submission)
        self._problems.pop(slot, None)
        worker.send(submission.run_dirs)
        return submission

    def slots_of(self, runs: Sequence[PlannedRun]) -> int:
        """One, or one a device for a run of several; a GPU's slots all belong to such a run."""
        run = runs[0]
        return min(run.resources.devices_of(run.spec).devices, self.slots)

    def state(self, submission: _Submission) -> SubmissionState:
        """``ended`` once the worker has answered or died."""
        if self._busy.get(submission.slot) is not submission:
            return "ended"
        worker = self._workers[submission.slot]
        is_dead = worker.process.poll() is not None
        state: SubmissionState
        try:
            answer = json.loads(worker.answers.get_nowait())
            state = "elsewhere" if answer["elsewhere"] else "ended"
            self._problems[submission.slot] = answer["problem"]
        except queue.Empty:
            if not is_dead and not self._kill_if_hung(worker, submission):
                return "running"
            state = "ended" if is_dead else "hung"
        for slot in submission.slots:
            del self._busy[slot]
        return state

    def _kill_if_hung(self, worker: _Worker, submission: _Submission) -> bool:
        now = time.monotonic()
        if now - self._looked.get(submission.slot, 0.0) < _LOOK_SECONDS:
            return False
        self._looked[submission.slot] = now
        if not worker.is_hung(submission.run_dirs):
            return False
        worker.process.kill()
        worker.process.wait()
        return True

    def last_words(self, submission: _Submission) -> str:
        """The problem of which the worker that had the runs spoke, or its last line of error."""
        worker = self._workers.get(submission.slot)
        if worker is None or worker.process.poll() is None:
            return self._problems.get(submission.slot, "")
        return worker.last_words()

    def cancel(self, submission: _Submission) -> None:
        """Send the worker SIGTERM: it writes a checkpoint and ends."""
        worker = self._workers.get(submission.slot)
        is_at_work = self._busy.get(submission.slot) is submission
        if is_at_work and worker is not None and worker.process.poll() is None:
            worker.is_ending = True
            worker.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """End every worker; kill one that does not end in time."""
        for worker in self._workers.values():
            worker.close(_CLOSE_SECONDS)
        self._workers.clear()
        self._busy.clear()


ENGINE = EnginePart(
    start=LocalExecutor,
    profile=profile,
    environment=environment,
    measure_steps=measure_steps,
    measure_joint_steps=measure_joint_steps,
)
