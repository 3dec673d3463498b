"""Other ``slaw run``s on the same folder: what they have, and what they have ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import LeaseHolder, LeaseWatch
from scaling_law.files.process import this_process
from scaling_law.files.record import read_failure

_LOOK_SECONDS = 1.0
# looking at thousands of runs takes a while, on a network the more: at most this share of the time
_LOOK_SHARE = 0.02


class Peers:
    """What the folder says about those who share it.

    ``held``: who has what could be trained now, by run id; the runner's to keep.
    """

    def __init__(self, sweep: SweepDir) -> None:
        self.held: dict[str, LeaseHolder] = {}
        self._sweep = sweep
        self._watch = LeaseWatch()
        self._next_look = 0.0
        self._reported: set[str] = set()
        self._old_failures: set[str] = set()

    def holder(self, run_id: str) -> LeaseHolder | None:
        """Who has ``run_id``, None where nobody has."""
        return self._watch.holder(self._sweep.run(run_id).lease)

    def is_time_to_look(self) -> bool:
        """Whether there are others, and a while has gone since the last look."""
        if time.monotonic() < self._next_look:
            return False
        self._next_look = time.monotonic() + _LOOK_SECONDS
        seen = [self._watch.holder(path) for path in self._sweep.runner_leases()]
        return any(holder is not None and holder.process != this_process() for holder in seen)

    def finished(self, waiting: Iterable[str]) -> list[str]:
        """Those of ``waiting`` that have a record by now."""
        began = time.monotonic()
        found = [run_id for run_id in waiting if self._sweep.run(run_id).record.is_file()]
        took_seconds = time.monotonic() - began
        self._next_look = max(self._next_look, began + took_seconds / _LOOK_SHARE)
        return found

    def note_failures(self, run_ids: Iterable[str]) -> None:
        """Failures there are before this ``slaw run`` begins: those runs are tried again."""
        run_dirs = ((run_id, self._sweep.run(run_id)) for run_id in run_ids)
        self._old_failures = {run_id for run_id, run_dir in run_dirs if run_dir.failure.is_file()}

    def failed(self, waiting: Iterable[str]) -> dict[str, str]:
        """Those of ``waiting`` that failed elsewhere since, and why: one try is enough."""
        found = {}
        for run_id in waiting:
            run_dir = self._sweep.run(run_id)
            fresh = run_id not in self._old_failures and run_dir.failure.is_file()
            if fresh and self.holder(run_id) is None:
                found[run_id] = read_failure(run_dir)
        return found

    def report_waiting(self, say: Callable[[str], None]) -> None:
        """Who has what is left; said once of each."""
        who = Counter(seen.description for seen in self.held.values())
        if set(who) - self._reported:
            self._reported |= set(who)
            words = ", ".join(f"{count} by {name}" for name, count in sorted(who.items()))
            say(f"waiting for runs that are trained elsewhere: {words}")
