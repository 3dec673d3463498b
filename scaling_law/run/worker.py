"""Train runs in this process: ``python -m scaling_law.run.worker RUN_DIR...`` or ``--serve``.

With ``--serve`` a JSON list of run folders (one, or those of one stack) is read per line of
standard input and one line is answered when they are over, so that torch is loaded once for
many short runs. What happened is told by the folders' files alone: ``record.json``, or
``failure.json``, or neither when stopped.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from scaling_law import layout, sealed
from scaling_law import record as records
from scaling_law.data.dataset import Dataset, open_dataset
from scaling_law.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PREEMPTED,
    EXIT_RUN_FAILED,
    ConfigError,
    RunFailed,
    SlawError,
    quoted,
)
from scaling_law.layout import RunDir, SweepDir
from scaling_law.record import RunRecord
from scaling_law.run.early_stop import known_enough
from scaling_law.run.lock import folder_lock
from scaling_law.spec import Resources, RunSpec, resources_from_json, run_spec_from_json
from scaling_law.train import checkpoint
from scaling_law.train.loop import Job, train_run
from scaling_law.train.stack_loop import train_stack

_PROGRESS_EVERY_SECONDS = 0.5
# An orphan of a killed runner lets go within a training step; long steps need patience.
_LOCK_WAIT_SECONDS = 60.0
WRITTEN_ANEW = "the next `slaw run` writes it anew"


class _Stop:
    """Set by a signal, or by the death of the process that started this worker."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._parent = os.getppid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = number

    def __call__(self) -> bool:
        return self.signal is not None or os.getppid() != self._parent

    @property
    def exit_code(self) -> int:
        return EXIT_INTERRUPTED if self.signal == signal.SIGINT else EXIT_PREEMPTED


@functools.lru_cache(maxsize=2)
def _open_data(folder: str) -> Dataset:
    dataset = open_dataset(Path(folder))
    dataset.check()  # once a worker: 0.6 s a gigabyte, against training on flipped bits
    return dataset


def _logger(run_dir: RunDir) -> Callable[[str], None]:
    def log(line: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        # a full disk must not end a run for its diary, nor hide why it ended
        with contextlib.suppress(OSError), run_dir.log.open("a") as file:
            file.write(f"{now} {line}\n")

    return log


def _reporter(run_dir: RunDir, spec: RunSpec) -> Callable[[int, float], None]:
    def report(step: int, tokens_per_second: float) -> None:
        # not fsynced: a heartbeat may be lost, the disk's time may not
        temporary = run_dir.progress.with_suffix(".part")
        state = {"step": step, "tokens_per_second": tokens_per_second, "time": time.time()}
        with contextlib.suppress(OSError):
            temporary.write_text(sealed.line(state))
            temporary.replace(run_dir.progress)

    return report


def work_on(run_dirs: Sequence[RunDir], stop: Callable[[], bool]) -> None:
    """Train run folders of one stack, or a single one, to records, or to checkpoints when stopped.

    Raises ``SlawError`` (and leaves ``failure.json`` in each that is not over) when they cannot
    go on.
    """
    with contextlib.ExitStack() as locks:
        for run_dir in run_dirs:
            what = f"run {run_dir.path.name}"
            locks.enter_context(folder_lock(run_dir.lock, what, _LOCK_WAIT_SECONDS))
        waiting = [run_dir for run_dir in run_dirs if not run_dir.record.is_file()]
        try:
            for run_dir in waiting:
                run_dir.failure.unlink(missing_ok=True)
            _train([_job(run_dir, stop) for run_dir in waiting])
        except Exception as problem:
            for run_dir in waiting:
                if not run_dir.record.is_file():
                    _write_failure(run_dir, problem)
                    _logger(run_dir)(f"failed: {problem}")
            if isinstance(problem, SlawError):
                raise
            name = run_dirs[0].path.name
            raise RunFailed(f"{name}: {type(problem).__name__}: {problem}") from None


def _job(run_dir: RunDir, stop: Callable[[], bool]) -> Job:
    sweep = SweepDir(run_dir.path.parent.parent)
    spec = _spec_of(run_dir)
    log = _logger(run_dir)
    log(f"started by pid {os.getpid()}")
    return Job(
        spec=spec,
        resources=_resources_of(run_dir),
        run_dir=run_dir,
        dataset=_open_data(sealed.read(sweep.data, WRITTEN_ANEW)["folder"]),
        trunk=sweep.run(spec.branch.trunk_id) if spec.branch else None,
        should_stop=stop,
        progress=_reporter(run_dir, spec),
        log=log,
        known_enough=functools.partial(known_enough, sweep, run_dir, spec),
    )


def _spec_of(run_dir: RunDir) -> RunSpec:
    """The spec, whose hash is in the folder's name. Raises ``ConfigError`` when it is damaged."""
    data = layout.read_json(run_dir.spec)
    try:
        spec = run_spec_from_json(data)
        if spec.run_id != run_dir.path.name:
            raise ValueError(f"it is that of {quoted(spec.run_id)}")
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ConfigError(f"{run_dir.spec}: damaged ({problem!r}); {WRITTEN_ANEW}") from None
    return spec


def _resources_of(run_dir: RunDir) -> Resources:
    data = sealed.read(run_dir.resources, WRITTEN_ANEW)
    try:
        return resources_from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ConfigError(f"{run_dir.resources}: damaged ({problem!r}); {WRITTEN_ANEW}") from None


def _train(jobs: Sequence[Job]) -> None:
    """By one program where they were planned so, even if one alone is left: same bits."""
    if not jobs:
        return
    if jobs[0].resources.stack is not None:
        jobs[0].log(f"in one program with {len(jobs) - 1} others")
        train_stack(jobs, _settle)
    for job in jobs if jobs[0].resources.stack is None else ():
        _settle(job, train_run(job))


def _settle(job: Job, record: RunRecord | None) -> None:
    """Write what came of a run; None when it was asked to stop."""
    if record is None:
        job.log("stopped after a checkpoint; run the same line again to go on")
        return
    records.write_record(job.run_dir, record)
    _tidy(job)
    job.log(f"ended: {record.status} {record.message}".rstrip())


def _tidy(job: Job) -> None:
    """Drop what a finished run no longer needs; a trunk keeps the states of its branches."""
    job.run_dir.progress.unlink(missing_ok=True)
    if job.spec.kind == "trunk":
        checkpoint.prune_checkpoints(job.run_dir, keep=set(job.resources.save_steps), last=0)
    else:
        checkpoint.remove_checkpoints(job.run_dir)


def _write_failure(run_dir: RunDir, problem: Exception) -> None:
    lines = traceback.format_exception(problem)
    try:
        sealed.write(
            run_dir.failure,
            {"error": f"{type(problem).__name__}: {problem}", "traceback": "".join(lines)[-4000:]},
        )
    except OSError as full:  # the disk that failed the run may refuse its obituary too
        print(f"{run_dir.failure}: cannot be written ({full})", file=sys.stderr)


def _serve(stop: _Stop) -> int:
    """Answer each list of run folders from standard input with one line when they are over."""
    while not stop():
        line = sys.stdin.readline()
        if not line:
            break
        problem = ""
        try:
            work_on([RunDir(Path(path)) for path in json.loads(line)], stop)
        except SlawError as error:
            problem = str(error)
        print(json.dumps({"run_dirs": json.loads(line), "problem": problem}), flush=True)
    return stop.exit_code if stop.signal is not None else EXIT_OK


def main(arguments: list[str]) -> int:
    """Exit code: 0 all over, 3 a run failed, 75 preempted after a checkpoint, 130 interrupted."""
    stop = _Stop()
    if arguments == ["--serve"]:
        return _serve(stop)
    if not arguments or arguments[0].startswith("-"):
        print("usage: python -m scaling_law.run.worker (RUN_DIR... | --serve)", file=sys.stderr)
        return ConfigError.exit_code
    code = EXIT_OK
    for name in arguments:
        try:
            work_on([RunDir(Path(name))], stop)
        except SlawError as problem:
            print(f"slaw worker: {problem}", file=sys.stderr)
            code = EXIT_RUN_FAILED
        if stop():
            return stop.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
