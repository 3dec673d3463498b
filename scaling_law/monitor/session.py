"""What ``slaw monitor`` does: find the sweep, then show it until it is over."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_law.errors import ConfigError
from scaling_law.files.layout import RESULTS, SweepDir
from scaling_law.files.record import find_sweeps
from scaling_law.monitor.host import HostMeter
from scaling_law.run.sweep_state.snapshot import Snapshot, Watch, is_at_work

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SCREEN_SECONDS, LINE_SECONDS = 2.0, 30.0
_LOOK_SECONDS = 2.0  # between lines, so that the end is not missed


def sweep_to_watch(folder: Path, *, once: bool) -> SweepDir:
    """The sweep in ``folder``, or the one at work among several.

    A folder that is not there yet, or empty, is a sweep to come, unless ``once`` asks for what
    is there now. Raises ``ConfigError`` for a file, for several sweeps of which not one is at
    work, and for a folder to come whose parent is not there either, but for ``results``, which the
    first sweep makes.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: a file, expected a results folder")
    if not (folder.exists() or folder.parent.is_dir() or str(folder.parent) == RESULTS):
        raise ConfigError(
            f"{folder}: no such folder, nor {folder.parent}; name the sweep's folder, or the --out"
            " of a `slaw run` to come"
        )
    sweep = SweepDir(folder)
    if sweep.plan.exists() or is_at_work(sweep):
        return sweep
    try:
        found = find_sweeps(folder)
    except ConfigError:
        if once:
            raise
        return sweep
    if len(found) > 1:
        busy = [sweep for sweep in found if is_at_work(sweep)]
        if len(busy) != 1:
            names = ", ".join(str(sweep.path) for sweep in found)
            raise ConfigError(f"{folder}: {len(found)} sweeps there; name one: {names}")
        return busy[0]
    return found[0]


def watch(folder: Path, *, once: bool = False, interval: float | None = None) -> None:
    """Show the sweep in ``folder`` until it is over, or ``once``.

    On a terminal a screen, drawn anew every ``interval`` seconds (2); elsewhere a line of it
    every ``interval`` (30), and one for each run that ends and each warning.
    """
    from rich.console import Console

    reader = Watch(sweep_to_watch(folder, once=once))
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal or console.is_dumb_terminal:
        _lines(reader, once, interval or LINE_SECONDS, _say)
    elif once:
        console.print(_Screen(reader, console).draw()[1])
    else:
        _live(_Screen(reader, console), interval or SCREEN_SECONDS)


def _say(line: str) -> None:
    print(line, flush=True)


def _over(snapshot: Snapshot) -> bool:
    return snapshot.phase == "over"


def _lines(
    reader: Watch,
    once: bool,
    interval: float,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    from scaling_law.monitor.terminal import news, plain_line

    before: Snapshot | None = None
    told, due = "", 0.0
    while True:
        now = reader.read()
        clock = time.strftime("%H:%M:%S")
        for line in news(before, now):
            say(f"{clock} {line}")
        line, over = plain_line(now), _over(now)
        # nothing new is not said twice
        if (time.monotonic() >= due or over) and line != told:
            say(f"{clock} {line}")
            told, due = line, time.monotonic() + interval
        if once or over:
            return
        before = now
        sleep(min(interval, _LOOK_SECONDS))


class _Screen:
    """Draws the folder as it is now, in the size that the terminal has now."""

    def __init__(self, reader: Watch, console: Console) -> None:
        self.reader, self.console, self.meter = reader, console, HostMeter()

    def draw(self) -> tuple[Snapshot, RenderableType]:
        """The snapshot and its picture."""
        from scaling_law.monitor.terminal import Size, screen

        snapshot = self.reader.read()
        size = Size(
            width=self.console.width,
            height=self.console.height,
            unicode="utf" in (self.console.encoding or "").lower(),
        )
        host = None if _over(snapshot) else self.meter.read()
        return snapshot, screen(snapshot, self.reader.curve, host, size)


def _live(view: _Screen, interval: float) -> None:
    from rich.live import Live

    with (
        _ended_by_term(),
        Live(console=view.console, auto_refresh=False, vertical_overflow="crop") as live,
    ):
        while True:
            snapshot, picture = view.draw()
            live.update(picture, refresh=True)
            if _over(snapshot):
                return
            time.sleep(interval)


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """SIGTERM as an exception, so that the cursor comes back."""
    import signal

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
