"""Sweeps that nobody's session has to watch: ``slaw run --detach``, and ``slaw cancel``."""

from __future__ import annotations

import time
from collections.abc import Callable

from scaling_law.config.slots import Choice
from scaling_law.console import Say
from scaling_law.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PREEMPTED,
    ConfigError,
    EngineError,
    Preempted,
)
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import LeaseWatch
from scaling_law.run import engines
from scaling_law.run.request import Request, config_of, has_stages, sweep_of
from scaling_law.run.session import begin_sweep
from scaling_law.units import count_of

_LOOK_SECONDS = 0.5
# How long a `slaw run` may take to end its workers after a checkpoint.
_END_SECONDS = 330.0


def _engine_of(request: Request) -> tuple[Choice, SweepDir]:
    config = config_of(request, "cpu" if request.device == "auto" else request.device)
    engine = config.choice("engine")
    if engine.part.detach is None:
        raise ConfigError(
            f"--detach: engine {engine.spelled} has no queue that works without this session;"
            " expected one that has, such as --engine slurm"
        )
    return engine, sweep_of(request, config)


def _command(request: Request) -> list[str]:
    """The command line of the same ``slaw run`` in a job."""
    words = ["run", request.config, "--device", request.device, "--detached"]
    for override in request.overrides:
        words += ["--set", override]
    words += ["--out", request.out] if request.out is not None else []
    return [*words, *(["--engine", request.engine] if request.engine is not None else [])]


def detach(request: Request, say: Say) -> SweepDir:
    """Prepare a sweep here and let a job run it to its end.

    A sweep in stages is prepared in the job, because later stages are too. Raises ``ConfigError``
    for an engine that cannot, and as ``run_sweep``.
    """
    engine, sweep = _engine_of(request)
    sweep.cancelled.unlink(missing_ok=True)  # of a `slaw cancel` that was stopped itself
    if not has_stages(request):
        _, sweep, plan = begin_sweep(request, say)
        if all(sweep.run(run.run_id).record.is_file() for run in plan.runs):
            say("all runs have already finished; nothing to do")
            return sweep
    engines.detach(engine, sweep, _command(request), say)
    # a sweep whose job waits all day is one for `slaw status` and `slaw cancel` already
    sweep.runs.mkdir(parents=True, exist_ok=True)
    return sweep


def watched(request: Request, train: Callable[[], int], say: Say) -> int:
    """Run ``train`` in a job that ``detach`` submitted; the exit code.

    When the job is stopped before the sweep has ended, its successor goes on.
    """
    engine, sweep = _engine_of(request)
    with engines.watch(engine, sweep, _command(request), say) as hand_over:
        try:
            code = train()
        except Preempted as stopped:
            say(str(stopped))
            code = EXIT_PREEMPTED
        if code in (EXIT_PREEMPTED, EXIT_INTERRUPTED) and not sweep.cancelled.is_file():
            hand_over()
    return code


def cancel(sweep: SweepDir, say: Say) -> int:
    """Stop all that works on a sweep, after checkpoints; the exit code.

    Raises ``EngineError`` where something has not ended after some minutes, or the queue that has
    it cannot be asked from this machine.
    """
    watch = LeaseWatch(removes=False)
    runners = [path for path in sweep.runner_leases() if watch.is_alive(path)]
    # not engines.queues: what cannot be asked from here may train on all night
    queues = [part.queue(sweep) for part in engines.parts_at_work(sweep) if part.queue is not None]
    queued = any(queue.runs or queue.has_controller or not queue.is_known for queue in queues)
    if not (runners or queued):
        say(f"{sweep.path}: nothing works on it")
        return EXIT_OK
    layout.write_json(sweep.cancelled, {"time": time.time()})
    if runners:
        say(f"asking {count_of(len(runners), '`slaw run`')} to stop after checkpoints")
    for part in engines.parts_at_work(sweep):
        if part.cancel is not None:
            part.cancel(sweep, say)
    deadline = time.monotonic() + _END_SECONDS
    while any(watch.holder(path) is not None for path in runners):
        if time.monotonic() > deadline:
            raise EngineError(f"{sweep.path}: a `slaw run` has not ended after {_END_SECONDS:.0f}s")
        time.sleep(_LOOK_SECONDS)
    sweep.cancelled.unlink(missing_ok=True)
    return EXIT_OK
