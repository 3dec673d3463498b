"""The signals that stop a sweep after a checkpoint."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

# What schedulers and terminals send: Slurm is asked for USR1 or USR2, a closed terminal sends HUP.
_STOP = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


def catch_stop(
    handler: Callable[[int, FrameType | None], None], *others: signal.Signals
) -> dict[int, object]:
    """Call ``handler`` for every stop signal and for ``others``; returns the handlers before.

    A hang-up that ``nohup`` makes this process ignore stays ignored.
    """
    numbers = [
        number
        for number in (*_STOP, *others)
        if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN)
    ]
    return {number: signal.signal(number, handler) for number in numbers}


@contextlib.contextmanager
def stop_caught(
    handler: Callable[[int, FrameType | None], None], *others: signal.Signals
) -> Iterator[None]:
    """Do as ``catch_stop`` until the block ends."""
    before = catch_stop(handler, *others)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)  # type: ignore[arg-type]
