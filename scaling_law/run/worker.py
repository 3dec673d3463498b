"""Trains runs in this process: ``python -m scaling_law.run.worker RUN_DIR...``, or
``--serve PARENT_PID``.

With ``--serve`` it reads a JSON list of run folders (one, or those of one stack) per line of
standard input and answers with one line when they have ended, so that torch is loaded once for
many short runs. The folders' files say what happened: ``record.json``, or ``failure.json``, or
neither when it was stopped. It trains a run only while it holds the lease; the answer names the
runs that another process holds or took meanwhile, and nothing is written to those.
"""

from __future__ import annotations

import contextlib
import dataclasses
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

from scaling_law import parts
from scaling_law.data.access import DataOf, open_data
from scaling_law.data.dataset import Dataset
from scaling_law.data.mixture import dataset_of
from scaling_law.errors import (
    EXIT_ELSEWHERE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PREEMPTED,
    EXIT_RUN_FAILED,
    ConfigError,
    RunFailed,
    SlawError,
    quoted,
)
from scaling_law.files import checksum, layout
from scaling_law.files import record as records
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.lease import (
    LeasedElsewhere,
    LeaseLost,
    Leases,
    clear_leftovers,
    hung_seconds,
)
from scaling_law.files.record import RunRecord
from scaling_law.run.cleanup import clean_up_run, temporary_files
from scaling_law.run.early_stop import known_enough
from scaling_law.run.engines import own_environment
from scaling_law.run.pins import pinned_data_of
from scaling_law.run.signals import catch_stop
from scaling_law.run.starts import start_file
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.resources import Resources, resources_from_json
from scaling_law.spec.run import RunSpec
from scaling_law.train.begin import Job
from scaling_law.train.loop import train_run
from scaling_law.train.stack_loop import train_stack

_PROGRESS_EVERY_SECONDS = 0.5
WRITTEN_AGAIN = "the next `slaw run` writes it again"


class _Stop:
    """Whether to stop: after a signal, or once the process that this worker serves has died."""

    def __init__(self, parent: int | None = None) -> None:
        self.signal: int | None = None
        self._parent = os.getppid() if parent is None else parent
        catch_stop(self._on_signal, signal.SIGINT)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = number

    def __call__(self) -> bool:
        return self.signal is not None or os.getppid() != self._parent

    @property
    def exit_code(self) -> int:
        return EXIT_INTERRUPTED if self.signal == signal.SIGINT else EXIT_PREEMPTED


@functools.lru_cache(maxsize=8)  # runs of one sweep may have several in turn
def _open_data(spec: DataOf, folder: Path | None) -> Dataset:
    dataset = open_data(spec, folder)
    dataset.check()  # once a worker, 0.6 s a gigabyte: never train on flipped bits
    return dataset


def _logger(run_dir: RunDir) -> Callable[[str], None]:
    def log(line: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        # a full disk must neither end a run for its log nor hide why it ended
        with contextlib.suppress(OSError), run_dir.log.open("a") as file:
            file.write(f"{now} {line}\n")

    return log


def _reporter(run_dir: RunDir, spec: RunSpec) -> Callable[[int, float], None]:
    def report(step: int, tokens_per_second: float) -> None:
        # not fsynced: losing a heartbeat costs nothing, waiting for the disk does
        temporary = layout.temporary_sibling(run_dir.progress)
        state = {"step": step, "tokens_per_second": tokens_per_second, "time": time.time()}
        with contextlib.suppress(OSError):
            temporary.write_text(checksum.line(state))
            temporary.replace(run_dir.progress)

    return report


def work_on(run_dirs: Sequence[RunDir], stop: Callable[[], bool]) -> list[RunDir]:
    """Train the run folders of one stack, or a single one; when stopped, write checkpoints.

    Returns those that another process holds or took meanwhile. Raises ``SlawError``, and writes
    ``failure.json`` to each unfinished one, when training fails.
    """
    elsewhere: list[RunDir] = []
    with Leases(hung_seconds()) as leases:

        def should_stop() -> bool:
            leases.alive()
            return stop()

        mine = _leased(leases, run_dirs, elsewhere)
        waiting = [run_dir for run_dir in mine if not run_dir.record.is_file()]
        try:
            for run_dir in waiting:
                run_dir.failure.unlink(missing_ok=True)
            elsewhere += _train([_job(run_dir, should_stop) for run_dir in waiting])
        except Exception as problem:
            for run_dir in waiting:
                if not run_dir.record.is_file():
                    _write_failure(run_dir, problem)
                    _logger(run_dir)(f"failed: {problem}")
            if isinstance(problem, SlawError):
                raise
            name = run_dirs[0].path.name
            raise RunFailed(f"{name}: {type(problem).__name__}: {problem}") from None
    return elsewhere


def _leased(leases: Leases, run_dirs: Sequence[RunDir], elsewhere: list[RunDir]) -> list[RunDir]:
    """The runs of ``run_dirs`` that this process could lease; the others go to ``elsewhere``."""
    mine = []
    for run_dir in run_dirs:
        try:
            lease = leases.take(run_dir.lease, new_folder=False)
            # before anything is read: an earlier holder that was only slow must not finish a write
            clear_leftovers(lease, temporary_files(run_dir))
        except (LeasedElsewhere, LeaseLost):
            elsewhere.append(run_dir)
            continue
        except OSError as problem:
            raise RunFailed(f"{run_dir.lease}: cannot be written ({problem.strerror})") from None
        mine.append(RunDir(run_dir.path, guard=lease.check))
    return mine


def _job(run_dir: RunDir, stop: Callable[[], bool]) -> Job:
    sweep = SweepDir(run_dir.path.parent.parent)
    parts.read_copies(sweep.path)
    _environment()  # cached: an engine that cannot say it fails before training, not after
    spec = _spec_of(run_dir)
    log = _logger(run_dir)
    log(f"started by pid {os.getpid()}")
    return Job(
        spec=spec,
        resources=_resources_of(run_dir),
        run_dir=run_dir,
        dataset=dataset_of(spec, pinned_data_of(spec.data, sweep, WRITTEN_AGAIN, _open_data)),
        trunk=sweep.run(spec.parent.trunk_id) if spec.parent else None,
        first_weights=start_file(spec, sweep),
        should_stop=stop,
        progress=_reporter(run_dir, spec),
        log=log,
        known_enough=functools.partial(known_enough, sweep, run_dir, spec),
    )


def _spec_of(run_dir: RunDir) -> RunSpec:
    """The spec, whose hash is in the folder's name. Raises ``ConfigError`` if it is damaged."""
    data = layout.read_json(run_dir.spec)
    try:
        spec = run_spec_from_json(data)
        if spec.run_id != run_dir.path.name:
            raise ValueError(f"it is that of {quoted(spec.run_id)}")
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ConfigError(f"{run_dir.spec}: damaged ({problem!r}); {WRITTEN_AGAIN}") from None
    return spec


def _resources_of(run_dir: RunDir) -> Resources:
    data = checksum.read(run_dir.resources, WRITTEN_AGAIN)
    try:
        if "run_id" in data:  # absent from older files
            records.check_owner(data.pop("run_id"), run_dir)
        return resources_from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ConfigError(f"{run_dir.resources}: damaged ({problem!r}); {WRITTEN_AGAIN}") from None


def _train(jobs: Sequence[Job]) -> list[RunDir]:
    """Train ``jobs``, as one program if they were planned as a stack (even when one is left).

    Returns those whose leases were lost.
    """
    settled: set[str] = set()

    def settle(job: Job, record: RunRecord | None) -> None:
        _settle(job, record)
        settled.add(job.spec.run_id)

    if jobs and jobs[0].resources.stack is not None:
        jobs[0].log(f"trained in one program with {len(jobs) - 1} others")
        train_stack(jobs, settle)
    else:
        for job in jobs:
            try:
                settle(job, train_run(job))
            except LeaseLost as lost:
                job.log(f"stopped without writing: {lost}")
    return [job.run_dir for job in jobs if job.spec.run_id not in settled]


def _settle(job: Job, record: RunRecord | None) -> None:
    """Write a run's record; None means that it was asked to stop."""
    if record is None:
        job.log("stopped after a checkpoint; run the same command again to resume")
        return
    records.write_record(job.run_dir, dataclasses.replace(record, environment=_environment()))
    # a trunk keeps the states that its branches start from
    clean_up_run(job.run_dir, job.resources.save_steps if job.spec.kind == "trunk" else ())
    job.log(f"ended: {record.status} {record.message}".rstrip())


def _environment() -> dict[str, str] | None:
    """Where this worker runs, for records; None if no engine started it."""
    return own_environment() or None


def _write_failure(run_dir: RunDir, problem: Exception) -> None:
    lines = traceback.format_exception(problem)
    try:
        checksum.write(
            run_dir.failure,
            {"error": f"{type(problem).__name__}: {problem}", "traceback": "".join(lines)[-4000:]},
            run_dir.guard,
        )
    except LeaseLost:
        pass  # the process that holds it now will see for itself
    except OSError as full:  # the disk may be too full to write failure.json
        print(f"{run_dir.failure}: cannot be written ({full})", file=sys.stderr)


def _serve(stop: _Stop) -> int:
    """Answer each list of run folders from standard input with one line once they have ended."""
    while not stop():
        line = sys.stdin.readline()
        if not line:
            break
        problem, elsewhere = "", []
        try:
            elsewhere = work_on([RunDir(Path(path)) for path in json.loads(line)], stop)
        except SlawError as error:
            problem = str(error)
        answer = {"problem": problem, "elsewhere": [run_dir.path.name for run_dir in elsewhere]}
        print(json.dumps(answer), flush=True)
    return stop.exit_code if stop.signal is not None else EXIT_OK


def main(arguments: list[str]) -> int:
    """Exit code: 0 all finished, 3 a run failed, 75 preempted after a checkpoint, 76 another
    process holds a run, 130 interrupted.
    """
    if arguments[:1] == ["--serve"]:
        return _serve(_Stop(int(arguments[1])))
    stop = _Stop()
    if not arguments or arguments[0].startswith("-"):
        print("usage: python -m scaling_law.run.worker RUN_DIR...", file=sys.stderr)
        return ConfigError.exit_code
    code = EXIT_OK
    for name in arguments:
        try:
            if work_on([RunDir(Path(name))], stop):
                code = code or EXIT_ELSEWHERE
        except SlawError as problem:
            print(f"slaw worker: {problem}", file=sys.stderr)
            code = EXIT_RUN_FAILED
        if stop():
            return stop.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
