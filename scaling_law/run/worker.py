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
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scaling_law import parts
from scaling_law.data.access import DataOf, open_data
from scaling_law.data.dataset import Dataset
from scaling_law.data.mixture import dataset_of
from scaling_law.errors import (
    EXIT_ELSEWHERE,
    EXIT_OK,
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
from scaling_law.run import launch
from scaling_law.run.cleanup import clean_up_run, temporary_files
from scaling_law.run.command import CommandJob, run_command
from scaling_law.run.early_stop import known_enough
from scaling_law.run.engines import own_environment
from scaling_law.run.launch import Failure
from scaling_law.run.pins import pinned_data_of
from scaling_law.run.signals import Stop
from scaling_law.run.starts import start_file
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.resources import Resources, resources_from_json
from scaling_law.spec.run import RunSpec
from scaling_law.train.begin import Job
from scaling_law.train.group import ALONE, Group
from scaling_law.train.loop import train_run
from scaling_law.train.stack_loop import train_stack

_PROGRESS_EVERY_SECONDS = 0.5
WRITTEN_AGAIN = "the next `slaw run` writes it again"


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

    A run of several devices is trained by processes of its own, one a device. Returns those that
    another process holds or took meanwhile. Raises ``SlawError``, and writes ``failure.json`` to
    each unfinished one, when training fails.
    """
    devices = _devices(run_dirs)
    if devices > 1:
        return _train_together(run_dirs[0], devices, stop)
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
                    _note_failure(run_dir, described(problem))
            if isinstance(problem, SlawError):
                raise
            name = run_dirs[0].path.name
            raise RunFailed(f"{name}: {type(problem).__name__}: {problem}") from None
    return elsewhere


def _devices(run_dirs: Sequence[RunDir]) -> int:
    """How many devices train a run; 1 for a stack, and for a run whose files are damaged."""
    if len(run_dirs) != 1:
        return 1
    try:
        return _resources_of(run_dirs[0]).devices_of(_spec_of(run_dirs[0])).devices
    except (SlawError, OSError):
        return 1  # its job finds the damage again, and says so in the run's folder


def _train_together(run_dir: RunDir, devices: int, stop: Callable[[], bool]) -> list[RunDir]:
    """Train a run in one process a device, as ``work_on`` does.

    Raises ``EngineError``, and writes no failure, where a process of the group died.
    """
    ended = launch.train_together(run_dir, devices, stop)
    if ended.failure is not None:
        with Leases() as leases:
            for mine in _leased(leases, [run_dir], []):
                if not mine.record.is_file():
                    _note_failure(mine, ended.failure)
        raise RunFailed(f"{run_dir.path.name}: {ended.failure.error}")
    return [run_dir] if ended.is_elsewhere else []


def work_as_one_of(group: Group, run_dir: RunDir, stop: Callable[[], bool]) -> bool:
    """Train ``run_dir`` as one process of its group, of which the first one writes.

    Returns false where another process holds the run, or took it meanwhile.
    """
    with Leases(hung_seconds()) as leases:

        def should_stop() -> bool:
            leases.alive()
            return group.any(stop())

        mine = _leased(leases, [run_dir], []) if group.is_first else []
        if not group.any(bool(mine)):
            return False
        (own,) = mine or [RunDir(run_dir.path, writes=False)]
        if group.any(own.record.is_file()):
            return True
        if own.writes:
            own.failure.unlink(missing_ok=True)
        job = _job(own, should_stop, group)
        try:
            record = train_run(job)
        except LeaseLost as lost:
            job.log(f"stopped without writing: {lost}")
            return False
        if own.writes:
            _settle(job, record)
        group.any(False)  # the others wait until everything is on the disk
    return True


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


def _job(run_dir: RunDir, stop: Callable[[], bool], group: Group = ALONE) -> Job:
    sweep = SweepDir(run_dir.path.parent.parent)
    parts.read_copies(sweep.path)
    _environment()  # cached: an engine that cannot say it fails before training, not after
    spec = _spec_of(run_dir)
    log = _logger(run_dir) if run_dir.writes else _nothing
    log(f"started by pid {os.getpid()}")
    return Job(
        spec=spec,
        resources=_resources_of(run_dir),
        run_dir=run_dir,
        dataset=dataset_of(spec, pinned_data_of(spec.data, sweep, WRITTEN_AGAIN, _open_data)),
        trunk=sweep.run(spec.parent.trunk_id) if spec.parent else None,
        first_weights=start_file(spec.start_from, sweep),
        reference_weights=start_file(spec.reference, sweep),
        should_stop=stop,
        progress=_reporter(run_dir, spec) if run_dir.writes else _nothing,
        log=log,
        known_enough=functools.partial(known_enough, sweep, run_dir, spec),
        group=group,
    )


def _nothing(*said: Any) -> None:
    """What a process reports of which another one writes the run's files."""


def device_kind(run_dir: RunDir) -> str:
    """The kind of device that a run trains on."""
    return _resources_of(run_dir).device


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
                settle(job, train_run(job) if job.spec.trainer is None else _by_command(job))
            except LeaseLost as lost:
                job.log(f"stopped without writing: {lost}")
    return [job.run_dir for job in jobs if job.spec.run_id not in settled]


def _by_command(job: Job) -> RunRecord | None:
    """Train a run by the user's own command, in a process of its own."""
    return run_command(
        CommandJob(
            spec=job.spec,
            resources=job.resources,
            run_dir=job.run_dir,
            dataset=job.dataset,
            should_stop=job.should_stop,
            progress=job.progress,
            log=job.log,
        )
    )


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


def described(problem: Exception) -> Failure:
    return Failure(
        error=f"{type(problem).__name__}: {problem}",
        traceback="".join(traceback.format_exception(problem))[-4000:],
    )


def _note_failure(run_dir: RunDir, failure: Failure) -> None:
    """Write ``failure.json`` and a line of the log."""
    _logger(run_dir)(f"failed: {failure.error.partition(': ')[2]}")
    try:
        checksum.write(run_dir.failure, dataclasses.asdict(failure), run_dir.guard)
    except LeaseLost:
        pass  # the process that holds it now will see for itself
    except OSError as full:  # the disk may be too full to write failure.json
        print(f"{run_dir.failure}: cannot be written ({full})", file=sys.stderr)


def _serve(stop: Stop) -> int:
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
        return _serve(Stop(int(arguments[1])))
    stop = Stop()
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
