"""Collects problems that runs recovered from: the lines of their logs that report them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scaling_law.errors import one_line

# Parts of the lines that workers log about memory, checkpoints, failures, probes and losses.
_NOT_MEASURED = " is not measured at step "
LOSS_TOO_HIGH = "loss too high: "
_MARKERS = ("out of memory:", "; using an older one", " failed: ", _NOT_MEASURED, LOSS_TOO_HIGH)
_TAIL_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class RunWarning:
    """One warning about a run."""

    time: str  # UTC, ISO 8601
    label: str  # of the run
    text: str

    @classmethod
    def at_file(cls, path: Path, label: str, text: str) -> RunWarning:
        """A warning with the time at which a file was last written."""
        try:
            when = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
        except OSError:
            when = datetime.datetime.now(datetime.UTC)
        return cls(time=when.isoformat(timespec="seconds"), label=label, text=text)


def log_warnings(log: Path, label: str) -> list[RunWarning]:
    """The warnings at the end of a run's log; none if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - _TAIL_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    warnings = []
    for line in lines:
        if any(piece in line for piece in _MARKERS):
            when, _, text = line.partition(" ")
            warnings.append(RunWarning(time=one_line(when), label=label, text=one_line(text)))
    return warnings


def not_measured(log: Path) -> str | None:
    """The probes that failed in a run, by the end of its log; None if all gave their metrics."""
    texts = (warning.text for warning in log_warnings(log, ""))
    return "; ".join(dict.fromkeys(text for text in texts if _NOT_MEASURED in text)) or None


def newest(warnings: Iterable[RunWarning], most: int) -> tuple[RunWarning, ...]:
    """The last ``most`` warnings, oldest first, without repetitions."""
    once = {(warning.label, warning.text): warning for warning in warnings}
    return tuple(sorted(once.values(), key=lambda warning: warning.time)[-most:])
