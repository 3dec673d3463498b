"""Keeps ``dashboard.json`` current while a sweep runs, for tools other than our own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time

from scaling_law.errors import SlawError
from scaling_law.files.layout import SweepDir, atomic_write
from scaling_law.run.sweep_state.host import HostMeter
from scaling_law.run.sweep_state.reader import SweepReader
from scaling_law.run.sweep_state.snapshot import Snapshot

_EVERY_SECONDS = 5.0
_MOST_FRAC = 0.02  # of the runner's time: a sweep of 10,000 runs is written less often


class Dashboard:
    """Writes the sweep's ``Snapshot``, and how busy this machine is, as JSON every few seconds."""

    def __init__(self, sweep: SweepDir) -> None:
        self._reader = SweepReader(sweep)
        self._next = 0.0
        self._last: Snapshot | None = None
        self._read_at = 0.0  # on the monotonic clock, in seconds
        self._meter = HostMeter()

    def snapshot(self) -> Snapshot | None:
        """The sweep as it is now; None if it has no plan or cannot be read."""
        with contextlib.suppress(OSError, SlawError):
            snapshot = self._reader.read(logs=False)
            return None if snapshot.phase == "no_plan" else snapshot
        return None

    def seconds_left(self) -> float | None:
        """The sweep's seconds left by now; None before it was first read, and if nothing is left.

        The last reading counts down until the next.
        """
        if self._last is None or self._last.seconds_left is None:
            return None
        return max(self._last.seconds_left - (time.monotonic() - self._read_at), 0.0)

    def loss(self, run_id: str) -> str:
        """The newest validation loss of a running run; "" before the first."""
        points = self._reader.curve(run_id)
        losses = [point.val_loss_nats for point in points if point.val_loss_nats is not None]
        return f"{losses[-1]:.4f}" if losses else ""

    def refresh(self) -> None:
        """Write it if it is due."""
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write it now. It raises nothing: a failed display must not end the sweep."""
        began = time.monotonic()
        with contextlib.suppress(OSError, SlawError):
            if not self._reader.sweep.path.is_dir():  # moved: nothing is made at its old path
                return
            self._last, self._read_at = self._reader.read(), time.monotonic()
            document = {**self._last.to_json(), "host": dataclasses.asdict(self._meter.read())}
            content = json.dumps(document, allow_nan=False)
            atomic_write(self._reader.sweep.dashboard, content + "\n")
        took = time.monotonic() - began
        self._next = time.monotonic() + max(_EVERY_SECONDS, took / _MOST_FRAC)
