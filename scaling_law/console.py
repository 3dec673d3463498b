"""The one place that prints: results on standard output, news and errors on standard error.

Names of folders and files, and whatever a file of the user's says, may hold escapes: nothing that
commands a terminal is printed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

from scaling_law.errors import one_line, visible

Say = Callable[[str], None]  # takes a line of news, as ``say`` does
_MOST_LINES = 30
_HEAD, _TAIL = 900, 300  # characters shown of a line that is longer
# Terminals that show text but cannot move the cursor; a scheduler starts jobs without TERM.
_DUMB = ("", "dumb", "unknown")
# A write to a pipe whose reader has left, or to a terminal that was closed.
_NO_READER = (errno.EPIPE, errno.EIO)


class _Loudness:
    """How much news this process prints; ``-q`` and ``-v`` set it."""

    quiet = False  # only errors and results
    verbose = False  # details as well


def set_loudness(*, quiet: bool, verbose: bool) -> None:
    """Print only errors and results (``quiet``), or details as well (``verbose``)."""
    _Loudness.quiet, _Loudness.verbose = quiet, verbose


def is_verbose() -> bool:
    """Whether details were asked for."""
    return _Loudness.verbose


def is_quiet() -> bool:
    """Whether only errors and results were asked for."""
    return _Loudness.quiet


def show(result: object, end: str = "\n") -> None:
    """Print a result, on standard output."""
    print(visible(str(result)), end=end)


def say(text: str) -> None:
    """Print news for a person on standard error; standard output is for results."""
    if not _Loudness.quiet:
        _to_stderr(visible(text))


def detail(text: str) -> None:
    """Print on standard error what only ``-v`` asks for."""
    if _Loudness.verbose:
        _to_stderr(visible(text))


def answer(text: str) -> None:
    """Show a result whose loss must not change the exit code: its reader may have left."""
    try:
        show(text)
        sys.stdout.flush()
    except OSError as problem:
        if problem.errno not in _NO_READER:
            raise
        silence(sys.stdout)


def _to_stderr(text: str) -> None:
    # a closed terminal or a full disk under the log must not end a sweep
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def complain(lines: Sequence[str]) -> None:
    """Print errors as plain lines, one line each and of limited length."""
    for line in lines[:_MOST_LINES]:
        plain = one_line(line)
        if len(plain) > _HEAD + _TAIL:  # a path of 5000 letters must not hide what is wrong with it
            plain = f"{plain[:_HEAD]} ... {plain[-_TAIL:]}"
        _to_stderr(f"slaw: {plain}")
    if len(lines) > _MOST_LINES:
        _to_stderr(f"slaw: and {len(lines) - _MOST_LINES} more problems")


def silence(stream: TextIO) -> None:
    """Let what is still written to ``stream`` vanish."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_screen(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that can move its cursor, for bars and live screens."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in _DUMB


def open_standard_streams() -> None:
    """Open the standard streams that this process was started without (``>&-``) on /dev/null.

    Else the next file that is opened takes a stream's place, and prints go into it. What standard
    output cannot encode is written as an escape.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            file = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            if file != number:
                os.dup2(file, number)
                os.close(file)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
