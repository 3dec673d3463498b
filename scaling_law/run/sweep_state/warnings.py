"""What went wrong on the way and was dealt with: the lines of runs' logs that say so."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scaling_law.errors import one_line

# How the lines begin or end that workers log of memory, checkpoints and failures.
_TELLING = ("out of memory:", "; using an older one", " failed: ")
_TAIL_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class Warned:
    """One warning: when (UTC, ISO 8601), of which run, in words."""

    time: str
    label: str
    text: str

    @classmethod
    def at_file(cls, path: Path, label: str, text: str) -> Warned:
        """A warning that is as old as a file."""
        try:
            when = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
        except OSError:
            when = datetime.datetime.now(datetime.UTC)
        return cls(time=when.isoformat(timespec="seconds"), label=label, text=text)


def log_warnings(log: Path, label: str) -> list[Warned]:
    """The telling lines at the end of a run's log; none where it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - _TAIL_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        if any(piece in line for piece in _TELLING):
            when, _, words = line.partition(" ")
            found.append(Warned(time=one_line(when), label=label, text=one_line(words)))
    return found


def newest(found: Iterable[Warned], most: int) -> tuple[Warned, ...]:
    """The last ``most``, oldest first, each said once."""
    once = {(warned.label, warned.text): warned for warned in found}
    return tuple(sorted(once.values(), key=lambda warned: warned.time)[-most:])
