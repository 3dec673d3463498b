"""Lines for a person, on standard error; standard output is for results."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scaling_law.errors import one_line

_MOST_LINES = 30
_HEAD, _TAIL = 900, 300  # characters kept of a line that is longer


def say(text: str) -> None:
    """News for a person, on standard error; standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def complain(lines: Sequence[str]) -> None:
    """Errors as plain lines: whatever they quote, one a line and not without end."""
    for line in lines[:_MOST_LINES]:
        plain = one_line(line)
        if len(plain) > _HEAD + _TAIL:  # a path of 5000 letters must not hide what ails it
            plain = f"{plain[:_HEAD]} ... {plain[-_TAIL:]}"
        say(f"slaw: {plain}")
    if len(lines) > _MOST_LINES:
        say(f"slaw: and {len(lines) - _MOST_LINES} more problems")
