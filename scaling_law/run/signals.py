"""The signals that stop a sweep after a checkpoint."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from scaling_law.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED

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


class Stop:
    """Whether to stop: after a signal, or once the process that this worker serves has died.

    That is ``parent``, by default the process that started this one.
    """

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
        """Of a worker that was stopped: 130 by Ctrl-C, else 75."""
        return EXIT_INTERRUPTED if self.signal == signal.SIGINT else EXIT_PREEMPTED
