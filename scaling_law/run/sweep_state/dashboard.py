"""Keeps ``dashboard.json`` current while a sweep runs, for tools other than our own."""

from __future__ import annotations

import contextlib
import json
import time

from scaling_law.errors import SlawError
from scaling_law.files.layout import SweepDir, atomic_write
from scaling_law.run.sweep_state.snapshot import Snapshot, Watch

_EVERY_SECONDS = 5.0
_MOST_SHARE = 0.02  # of the runner's time that may go into it: a sweep of 10,000 runs is told less


class Dashboard:
    """Writes the sweep's ``Snapshot`` as JSON every few seconds."""

    def __init__(self, sweep: SweepDir) -> None:
        self._watch = Watch(sweep)
        self._next = 0.0
        self._last: Snapshot | None = None

    def snapshot(self) -> Snapshot | None:
        """The sweep as it is now; None where it cannot be read, or has no plan."""
        with contextlib.suppress(OSError, SlawError):
            found = self._watch.read(logs=False)
            return None if found.phase == "no_plan" else found
        return None

    def seconds_left(self) -> float | None:
        """Of the sweep, as last written; None before, and where there is nothing to tell."""
        return None if self._last is None else self._last.seconds_left

    def refresh(self) -> None:
        """Write it if it is time to."""
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write it now. What only shows a sweep must not end it: no error comes out."""
        began = time.monotonic()
        with contextlib.suppress(OSError, SlawError):
            self._last = self._watch.read()
            content = json.dumps(self._last.to_json(), allow_nan=False)
            atomic_write(self._watch.sweep.dashboard, content + "\n")
        took = time.monotonic() - began
        self._next = time.monotonic() + max(_EVERY_SECONDS, took / _MOST_SHARE)
