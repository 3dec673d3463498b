"""The errors a user may see, and the exit code each one ends the command with.

    SlawError                 base: one clear line, no traceback
    +-- ConfigError      2    bad YAML, bad flag, bad path, bad table
    +-- PlanError        2    a grid that cannot be run as asked
    +-- RunFailed        3    at least one run crashed (run the same command again to retry)
    +-- FitError         4    the data do not support what was asked
    +-- EngineError      5    a worker or scheduler could not be started
    +-- DeviceError      2    the device asked for is not there
    +-- Preempted       75    asked to stop before anything was trained

A message says what was found, what was expected and what to do.
Programming mistakes raise ``AssertionError``; nothing here is for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_RUN_FAILED = 3
EXIT_FIT = 4
EXIT_ENGINE = 5
EXIT_PREEMPTED = 75  # sysexits' EX_TEMPFAIL: checkpointed; run the same command again
EXIT_ELSEWHERE = 76  # of a worker: another process holds the lease of its run
EXIT_INTERRUPTED = 130


class SlawError(Exception):
    """Base of every error that is reported to the user as plain lines.

    ``lines`` holds one problem each; most errors have a single line.
    """

    exit_code = EXIT_USAGE

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class ConfigError(SlawError):
    """A config, flag, path or table that cannot be used as it is."""


class PlanError(SlawError):
    """A grid that cannot be run as asked."""


class DeviceError(SlawError):
    """A device that is not there or cannot do what was asked."""


class RunFailed(SlawError):  # noqa: N818 - an outcome of the sweep, not of a call
    """A run that crashed; its folder keeps ``failure.json`` and it can be retried."""

    exit_code = EXIT_RUN_FAILED


class FitError(SlawError):
    """Data that do not support the fit or forecast that was asked for."""

    exit_code = EXIT_FIT


class EngineError(SlawError):
    """A worker that could not be started or reached."""

    exit_code = EXIT_ENGINE


class Preempted(SlawError):  # noqa: N818 - not a mistake
    """A stop signal before there was anything to checkpoint."""

    exit_code = EXIT_PREEMPTED


_SHOWN = 60


def quoted(value: object) -> str:
    """``value`` as a message quotes it: its ``repr``, cut where it would bury the message."""
    if isinstance(value, str):
        value = value[: _SHOWN + 1]  # a megabyte need not be escaped to show its beginning
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a huge whole number"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def described(value: Any) -> str:
    """A value of a config as messages name it, in the words of YAML."""
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    return quoted(value)


def one_line(text: str) -> str:
    """``text`` with what would break a line, or command a terminal, written as an escape.

    Paths, keys, headers and cells are quoted in messages, and may hold anything.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def visible(text: str) -> str:
    """``text`` of several lines in which nothing commands a terminal; tabs stay."""
    if text.isprintable():
        return text
    return "\n".join("\t".join(map(one_line, line.split("\t"))) for line in text.split("\n"))


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return the names, those beyond the first ``most`` only counted: ``a, b and 3 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def by_reason(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the names of each reason, from (name, reason), in the order of the reasons."""
    reasons: dict[str, list[str]] = {}
    for name, reason in pairs:
        reasons.setdefault(reason, []).append(name)
    return reasons


def reason_lines(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each reason, after the names that it holds for: ``a, b: no loss``."""
    return [f"{listed(names)}: {reason}" for reason, names in by_reason(pairs).items()]


def nearest(word: str, known: Iterable[str]) -> str:
    """The one of ``known`` that is near ``word``, or begins nearly so; "" for none."""
    names = list(known)
    close = get_close_matches(word, names, 1)
    if not close and len(word) > 2:
        begins = {name[: len(word)]: name for name in reversed(names)}
        close = [begins[near] for near in get_close_matches(word, begins, 1, cutoff=0.7)]
    return close[0] if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean run?)`` where one of ``known`` is near ``word``; else ""."""
    near = nearest(word, known)
    return f" (did you mean {near}?)" if near else ""


def install_extra(extra: str) -> str:
    """The command that installs the packages of an optional ``extra`` of pyproject.toml."""
    return f"pip install 'slaw[{extra}]'"
