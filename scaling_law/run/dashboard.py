"""Keeps ``dashboard.json`` current while a sweep runs, for tools other than our own."""

from __future__ import annotations

import contextlib
import json
import time

from scaling_law.errors import SlawError
from scaling_law.layout import SweepDir, atomic_write
from scaling_law.run.snapshot import Snapshot, Watch

_EVERY_SECONDS = 5.0
_MOST_SHARE = 0.02  # of the runner's time that may go into it: a sweep of 10,000 runs is told less


class Dashboard:
    """Writes the sweep's ``Snapshot`` as JSON every few seconds."""

    def __init__(self, sweep: SweepDir) -> None:
        self._watch = Watch(sweep)
        self._next = 0.0

    def snapshot(self) -> Snapshot | None:
        """The sweep as it is now; None where it cannot be read, or has no plan."""
        with contextlib.suppress(OSError, SlawError):
            found = self._watch.read(logs=False)
            return None if found.phase == "no_plan" else found
        return None

    def refresh(self) -> None:
        """Write it if it is time to."""
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write it now. What only shows a sweep must not end it: no error comes out."""
        began = time.monotonic()
        with contextlib.suppress(OSError, SlawError):
            content = self._watch.read().to_json()
            atomic_write(self._watch.sweep.dashboard, json.dumps(content, allow_nan=False) + "\n")
        took = time.monotonic() - began
        self._next = time.monotonic() + max(_EVERY_SECONDS, took / _MOST_SHARE)
