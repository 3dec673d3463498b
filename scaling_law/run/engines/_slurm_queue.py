"""What of a sweep is in SLURM's queue, for displays, and ``slaw cancel``."""

from __future__ import annotations

import time
from collections import Counter

from scaling_law.console import Say
from scaling_law.errors import ConfigError, EngineError
from scaling_law.files import checksum
from scaling_law.files.layout import SweepDir
from scaling_law.run.engines import Queue
from scaling_law.run.engines import _slurm_client as client
from scaling_law.run.engines._slurm_client import Away, JobState
from scaling_law.run.engines._slurm_executor import end_after_checkpoint
from scaling_law.run.engines._slurm_files import Files
from scaling_law.units import count_of

_LOOK_SECONDS = 1.0
# A display in the process that watches the jobs needs no question of its own.
_RECENT_SECONDS = 20.0
_AGAIN_SECONDS = 10.0
# How long jobs may take to finish a step and write a checkpoint.
_END_SECONDS = 300.0


def live_controllers(files: Files, known: dict[str, JobState]) -> list[str]:
    """The jobs in the queue that run a detached ``slaw run``: the present one and its successor."""
    try:
        content = checksum.read(files.controller, "")
    except ConfigError:
        return []
    ids = [str(content.get(key) or "") for key in ("job", "next")]
    return [job for job in ids if job in known and not known[job].is_over]


def queue(sweep: SweepDir) -> Queue:
    """What the queue holds of a sweep. Raises ``EngineError`` where it cannot be asked."""
    files = Files(sweep)
    names = files.names()
    if not names and not files.controller.is_file():
        return Queue()
    try:
        known = client.recent_jobs(_RECENT_SECONDS)
    except Away:
        return Queue(text="SLURM: its controller does not answer now", is_known=False)
    runs: dict[str, str] = {}
    working: set[str] = set()
    waiting: Counter[str] = Counter()
    n_running = 0
    for name in names:
        batch = files.read(name)
        for element, groups in enumerate(batch.elements if batch is not None else ()):
            assert batch is not None, "it has elements"
            job = batch.id_of(element)
            state = known.get(job)
            if state is None or state.is_over:
                continue
            said = files.hear(name, element)
            left = [number for number in range(len(groups)) if number not in said.ended]
            for number in left:
                runs |= dict.fromkeys(groups[number], f"job {job} {state.words}")
            if state.is_running:
                n_running += 1
                now = said.begun if said.begun in left else None
                working |= set(groups[now]) if now is not None else set()
            else:
                waiting[state.reason or "no reason given"] += 1
    controllers = live_controllers(files, known)
    if not controllers and files.controller.is_file() and not sweep.cancelled.is_file():
        # it is removed with the end of the sweep
        lost = f"no job watches this sweep any more, its log says why: {files.controller_log}"
    elif not runs and not controllers:
        return Queue()
    else:
        lost = ""
    parts = [f"{count_of(n_running, 'job')} running"]
    if waiting:
        why = ", ".join(f"{count} {reason}" for reason, count in waiting.most_common())
        parts.append(f"{sum(waiting.values())} pending ({why})")
    if lost:
        parts = [*(parts if runs else []), lost]
    if controllers:
        first = controllers[0]
        parts.append(f"detached: job {first} watches ({known[first].words})")
    return Queue(
        text=f"SLURM: {', '.join(parts)}",
        has_controller=bool(controllers),
        runs=runs,
        working=frozenset(working),
    )


def cancel(sweep: SweepDir, say: Say) -> None:
    """End the jobs of a sweep, those that run after a checkpoint, and wait until they are gone.

    Raises ``EngineError`` where some are still there after five minutes.
    """
    files = Files(sweep)
    deadline, asked_at, said = time.monotonic() + _END_SECONDS, -1e9, False
    while True:
        try:
            known = client.jobs()
            controllers = live_controllers(files, known)
            live = [job for job in _jobs(files, known) if not known[job].is_over]
            if not live and not controllers:
                for batch in filter(None, map(files.read, files.names())):
                    files.forget(batch)
                files.controller.unlink(missing_ok=True)
                return
            if not said:
                said = True
                watches = " and the job that watches them" if controllers else ""
                say(f"ending {count_of(len(live), 'job')}{watches} in SLURM's queue")
            if time.monotonic() - asked_at > _AGAIN_SECONDS:
                asked_at = time.monotonic()
                # the successor first, so that it does not start when the present one ends
                client.cancel(reversed(controllers))
                if live:
                    end_after_checkpoint(live)
        except Away:
            pass  # waited out
        if time.monotonic() > deadline:
            raise EngineError(
                f"{sweep.path}: its jobs have not ended after {_END_SECONDS:.0f}s; see squeue --me"
            )
        time.sleep(_LOOK_SECONDS)


def _jobs(files: Files, known: dict[str, JobState]) -> list[str]:
    """The ids of the sweep's jobs that SLURM remembers."""
    names = set(files.names())
    return [job for job, state in known.items() if state.name in names]
