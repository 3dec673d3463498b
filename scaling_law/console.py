"""The one place that prints: results on standard output, lines for a person on standard error.

Names of folders and files, and whatever a file of the user's says, may hold escapes: nothing that
commands a terminal is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scaling_law.errors import one_line, visible

_MOST_LINES = 30
_HEAD, _TAIL = 900, 300  # characters kept of a line that is longer


def show(result: object, end: str = "\n") -> None:
    """Print a result, on standard output."""
    print(visible(str(result)), end=end)


def say(text: str) -> None:
    """Print news for a person, on standard error."""
    print(visible(text), file=sys.stderr, flush=True)


def complain(lines: Sequence[str]) -> None:
    """Errors as plain lines: whatever they quote, one a line and not without end."""
    for line in lines[:_MOST_LINES]:
        plain = one_line(line)
        if len(plain) > _HEAD + _TAIL:  # a path of 5000 letters must not hide what ails it
            plain = f"{plain[:_HEAD]} ... {plain[-_TAIL:]}"
        say(f"slaw: {plain}")
    if len(lines) > _MOST_LINES:
        say(f"slaw: and {len(lines) - _MOST_LINES} more problems")
