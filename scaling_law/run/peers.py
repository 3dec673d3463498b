"""Watches other ``slaw run``s on the same folder: the runs they train and have finished."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import LeaseHolder, LeaseWatch
from scaling_law.files.process import this_process
from scaling_law.files.record import read_failure

_LOOK_SECONDS = 1.0
# Looking at thousands of runs takes a while, most of all over a network; at most this fraction of
# the time goes into it.
_LOOK_FRAC = 0.02


class Peers:
    """The other processes that work on a sweep, as its folder shows them."""

    def __init__(self, sweep: SweepDir) -> None:
        # who holds the runs that are ready to train, by run id; the runner fills it
        self.held: dict[str, LeaseHolder] = {}
        self._sweep = sweep
        self._watch = LeaseWatch()
        self._next_look = 0.0
        self._reported: set[str] = set()
        self._old_failures: set[str] = set()

    def holder(self, run_id: str) -> LeaseHolder | None:
        """The process that holds ``run_id``; None if no process does."""
        return self._watch.holder(self._sweep.run(run_id).lease)

    def is_time_to_look(self) -> bool:
        """Whether there are other processes, and the last look is long enough ago."""
        if time.monotonic() < self._next_look:
            return False
        self._next_look = time.monotonic() + _LOOK_SECONDS
        holders = [self._watch.holder(path) for path in self._sweep.runner_leases()]
        return any(h is not None and h.process != this_process() for h in holders)

    def finished(self, waiting: Iterable[str]) -> list[str]:
        """The runs of ``waiting`` that have a record now."""
        began = time.monotonic()
        finished = [run_id for run_id in waiting if self._sweep.run(run_id).record.is_file()]
        took_seconds = time.monotonic() - began
        self._next_look = max(self._next_look, began + took_seconds / _LOOK_FRAC)
        return finished

    def note_failures(self, run_ids: Iterable[str]) -> None:
        """Note the failures from before this ``slaw run``: those runs are tried again."""
        run_dirs = ((run_id, self._sweep.run(run_id)) for run_id in run_ids)
        self._old_failures = {run_id for run_id, run_dir in run_dirs if run_dir.failure.is_file()}

    def failed(self, waiting: Iterable[str]) -> dict[str, str]:
        """The runs of ``waiting`` that failed elsewhere since, and why: they are not tried
        again."""
        reasons = {}
        for run_id in waiting:
            run_dir = self._sweep.run(run_id)
            fresh = run_id not in self._old_failures and run_dir.failure.is_file()
            if fresh and self.holder(run_id) is None:
                reasons[run_id] = read_failure(run_dir)
        return reasons

    def report_waiting(self, say: Callable[[str], None]) -> None:
        """Say which processes hold the runs that are left, once for each process."""
        counts = Counter(holder.description for holder in self.held.values())
        if set(counts) - self._reported:
            self._reported |= set(counts)
            text = ", ".join(f"{count} by {name}" for name, count in sorted(counts.items()))
            say(f"waiting for runs that are trained elsewhere: {text}")
