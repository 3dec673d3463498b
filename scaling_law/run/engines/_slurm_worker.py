"""Trains the runs of one job: ``python -m ..._slurm_worker SWEEP BATCH INDEX``.

TERM and USR1, which SLURM sends before a time limit, a preemption or a cancellation, write a
checkpoint and end it with exit code 75. A job that was requeued begins again with what is left.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scaling_law.errors import EXIT_OK, EXIT_RUN_FAILED, EngineError, SlawError
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.lease import LeaseHolder, LeaseWatch
from scaling_law.run.engines._slurm_files import Files, Voice, runs_of
from scaling_law.run.signals import Stop

_LOOK_SECONDS = 0.5


def job_name() -> str:
    """The id of the job that this process runs in, as squeue shows it; "" outside of one."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")


def node_name() -> str:
    """The node, as SLURM calls it."""
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def wait_for_the_dead(run_dirs: Sequence[RunDir], stop: Callable[[], bool]) -> None:
    """Wait while a lease stands still whose holder may have died with its node.

    It returns when the runs are free, or a holder shows that it lives: then the run is its own.
    """
    watch = LeaseWatch(look_seconds=0.0)
    first: dict[Path, LeaseHolder] = {}
    while not stop():
        holders = {run_dir.lease: watch.holder(run_dir.lease) for run_dir in run_dirs}
        held = {path: holder for path, holder in holders.items() if holder is not None}
        alive = any(
            first.setdefault(path, holder) != holder
            or (holder.process is not None and holder.process.is_surely_alive())
            for path, holder in held.items()
        )
        if not held or alive:
            return
        time.sleep(_LOOK_SECONDS)


def work(sweep: SweepDir, name: str, element: int, stop: Callable[[], bool]) -> int:
    """Train the groups of a job that are left, in their order; 3 if one failed."""
    files = Files(sweep)
    voice = Voice(files.said(name, element))
    voice.say("started", host=node_name(), job=job_name(), pid=os.getpid())
    batch = files.read(name)
    if batch is None:
        raise EngineError(f"{files.batch(name)}: missing or damaged; run the same command again")
    # after the first word, because it loads torch
    from scaling_law.run import worker

    code, known = EXIT_OK, files.hear(name, element)
    for number, group in enumerate(runs_of(batch, element)):
        if number in known.ended:
            continue
        run_dirs = [sweep.run(run_id) for run_id in group]
        voice.say("begun", group=number)
        wait_for_the_dead(run_dirs, stop)
        if stop():
            break
        elsewhere: Sequence[RunDir] = ()
        try:
            elsewhere = worker.work_on(run_dirs, stop)
        except SlawError as problem:
            print(f"slaw worker: {problem}", file=sys.stderr, flush=True)
            code = EXIT_RUN_FAILED
        if stop() and not all(run_dir.record.is_file() for run_dir in run_dirs):
            break
        voice.say("ended", group=number, elsewhere=bool(elsewhere))
    return code


def main(arguments: list[str]) -> int:
    """Exit code: 0 all finished, 3 a run failed, 5 no such job, 75 stopped after a checkpoint."""
    stop = Stop()
    sweep, name, element = SweepDir(Path(arguments[0])), arguments[1], int(arguments[2])
    try:
        code = work(sweep, name, element, stop)
    except (SlawError, OSError) as problem:
        print(f"slaw worker: {problem}", file=sys.stderr)
        return EngineError.exit_code
    if not stop():
        return code
    if stop.signal is not None:
        Voice(Files(sweep).said(name, element)).say("stopped", signal=stop.signal)
    return stop.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
