"""Runs ``slaw monitor``: finds the sweep and shows it until it has finished."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_law.console import is_screen
from scaling_law.errors import ConfigError, did_you_mean, quoted, visible
from scaling_law.files.layout import RESULTS, SweepDir
from scaling_law.files.lease import who_has
from scaling_law.files.record import find_sweeps, sweeps_begun
from scaling_law.run.sweep_state.host import HostMeter
from scaling_law.run.sweep_state.reader import SweepReader, is_at_work
from scaling_law.run.sweep_state.snapshot import Snapshot

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SCREEN_SECONDS, LINE_SECONDS = 2.0, 30.0
_READ_SECONDS = 2.0  # between readings, so that the end shows soon
# How long nothing may work on the folder before lines end: a `slaw run` of the same script has time
# to begin.
_PATIENCE_SECONDS = 10.0


def sweep_to_watch(folder: Path, *, once: bool) -> SweepDir:
    """The sweep in ``folder``, or the running one among several.

    A missing or empty folder is one that a sweep will fill, unless ``once`` is set. Raises
    ``ConfigError`` for a file, for several sweeps unless exactly one is running, and for a missing
    folder whose parent is missing as well (unless the parent is ``results``).
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: a file, expected a results folder")
    if not (folder.exists() or folder.parent.is_dir() or str(folder.parent) == RESULTS):
        raise ConfigError(
            f"{folder}: no such folder, nor {folder.parent}; name the sweep's folder, or the --out"
            " of a later `slaw run`"
        )
    sweep = SweepDir(folder)
    if sweep.plan.exists() or is_at_work(sweep):
        return sweep
    try:
        sweeps = sweeps_begun(folder) or find_sweeps(folder)
    except ConfigError:
        if once:
            raise
        return sweep
    if len(sweeps) > 1:
        running = [sweep for sweep in sweeps if is_at_work(sweep)]
        if len(running) != 1:
            names = ", ".join(str(sweep.path) for sweep in sweeps)
            raise ConfigError(f"{folder}: {len(sweeps)} sweeps there; name one: {names}")
        return running[0]
    return sweeps[0]


def check_metric(snapshot: Snapshot, metric: str | None, *, must: bool) -> None:
    """Raise ``ConfigError`` for a metric that no run has; before any is known only if it ``must``.

    It names those that there are.
    """
    names = snapshot.shown_names
    if metric is None or metric in (*names, *snapshot.metric_names) or not (names or must):
        return
    there = f"expected one of {', '.join(names)}" if names else "they have no metrics"
    raise ConfigError(
        f"--metric {quoted(metric)}: no run has it{did_you_mean(metric, names)}; {there}"
    )


def watch(
    folder: Path,
    *,
    once: bool = False,
    interval: float | None = None,
    metric: str | None = None,
) -> None:
    """Show the sweep in ``folder`` until it has finished, or ``once``.

    Of what the runs measured it shows ``metric``, or all that fits.

    On a terminal it redraws a screen every ``interval`` seconds (2). Elsewhere it prints a line
    every ``interval`` seconds (30), and one for each run that ends and each warning; there it also
    ends once no ``slaw run`` has worked on the folder for a while, since nobody is there to end it.
    """
    from rich.console import Console

    reader = SweepReader(sweep_to_watch(folder, once=once))
    check_metric(reader.read(logs=False), metric, must=once)
    console = Console(highlight=False, markup=False, emoji=False)
    if not is_screen(sys.stdout):
        _lines(reader, once, interval or LINE_SECONDS, _say, metric=metric)
    elif once:
        console.print(_Screen(reader, console, metric).draw()[1])
    else:
        _live(_Screen(reader, console, metric), interval or SCREEN_SECONDS)


def _say(line: str) -> None:
    print(visible(line), flush=True)


def _finished(snapshot: Snapshot) -> bool:
    return snapshot.phase == "over"


def _lines(
    reader: SweepReader,
    once: bool,
    interval: float,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    metric: str | None = None,
) -> None:
    from scaling_law.monitor.terminal import metric_line, news, plain_line

    before: Snapshot | None = None
    last, due, idle_seconds = "", 0.0, 0.0
    rest = min(interval, _READ_SECONDS)
    while True:
        now = reader.read()
        clock = time.strftime("%H:%M:%S")
        for line in news(before, now, metric):
            say(f"{clock} {line}")
        line, finished = plain_line(now), _finished(now)
        working = now.at_work or bool(who_has([reader.sweep.lease]))  # it runs, or is planned
        idle_seconds = 0.0 if working else idle_seconds + rest
        left_alone = not finished and idle_seconds > _PATIENCE_SECONDS + rest
        # an unchanged line is not repeated
        if (time.monotonic() >= due or finished or left_alone) and line != last:
            say(f"{clock} {line}")
            if measured := metric_line(now, metric):
                say(f"{clock} {measured}")
            last, due = line, time.monotonic() + interval
        if once or finished:
            return
        if left_alone:
            say(f"{clock} {now.name}: no process works on {now.sweep}; no longer watching it")
            return
        before = now
        sleep(rest)


class _Screen:
    """Draws the folder in the terminal's current size."""

    def __init__(self, reader: SweepReader, console: Console, metric: str | None = None) -> None:
        self.reader, self.console, self.meter = reader, console, HostMeter()
        self.metric = metric

    def draw(self) -> tuple[Snapshot, RenderableType]:
        """The snapshot and its picture."""
        from scaling_law.monitor.terminal import Size, screen

        snapshot = self.reader.read()
        size = Size(
            width=self.console.width,
            height=self.console.height,
            unicode="utf" in (self.console.encoding or "").lower(),
        )
        host = None if _finished(snapshot) else self.meter.read()
        return snapshot, screen(snapshot, self.reader.curve, host, size, self.metric)


def _live(view: _Screen, interval: float) -> None:
    from rich.live import Live

    with (
        _ended_by_term(),
        Live(console=view.console, auto_refresh=False, vertical_overflow="crop") as live,
    ):
        while True:
            snapshot, picture = view.draw()
            live.update(picture, refresh=True)
            if _finished(snapshot):
                return
            time.sleep(interval)


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that the cursor is restored."""
    import signal

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
