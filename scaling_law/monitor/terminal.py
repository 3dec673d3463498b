"""A snapshot as a screen: what fits the terminal's width and height, the most telling first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scaling_law.errors import one_line
from scaling_law.files.record import CurvePoint
from scaling_law.monitor.host import Host
from scaling_law.monitor.text import (
    ASCII_BLOCKS,
    BLOCKS,
    device_words,
    end_words,
    host_words,
    phase_words,
    sparkline,
    speed_words,
)
from scaling_law.run.sweep_state.snapshot import RunState, Snapshot
from scaling_law.run.sweep_state.text import count_words, left_words, loss_words, state_words
from scaling_law.units import format_seconds

# Bold or plain beside the colour: red and green alone are one to many.
_STYLES = {
    "done": "green", "stopped early": "green", "diverged": "yellow", "failed": "bold red",
    "damaged": "bold red", "blocked": "yellow", "at work": "bold cyan", "stopped": "magenta",
    "waiting": "dim",
}  # fmt: skip
_WIDE, _MIDDLE, _NARROW = 100, 70, 56
_MOST_WARNINGS, _MOST_ENDED = 5, 6
_FRAME_ROWS = 8  # head, bar, counts, headings and blanks

Curve = Callable[[str], Sequence[CurvePoint]]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Columns and rows of a terminal, and whether it shows more than ASCII."""

    width: int
    height: int
    unicode: bool = True


def screen(snapshot: Snapshot, curve: Curve, host: Host | None, size: Size) -> RenderableType:
    """The whole view."""
    parts: list[RenderableType] = [_line(f"{snapshot.name}: {snapshot.sweep}", "bold")]
    if snapshot.phase == "no_plan":
        return Group(*parts, Text(one_line(phase_words(snapshot))))
    if size.width >= _MIDDLE:
        parts.append(_line(device_words(snapshot), "dim"))
    parts += [_bar(snapshot, size), _counts(snapshot)]
    if words := phase_words(snapshot):
        parts.append(Text(one_line(words), style="bold"))
    room = max(size.height - _FRAME_ROWS, 4)
    warnings = _warnings(snapshot, size, room)
    room -= sum(-(-len(line) // size.width) for line in warnings)
    working = snapshot.in_state("started")
    if working:
        parts += [Text(), _working(working[: max(room, 1)], curve, size)]
        if len(working) > room:
            parts.append(_line(f"and {len(working) - room} more at work", "dim"))
        room -= len(working) + 2
    ended = snapshot.in_state("done", "stopped_early")
    ended.sort(key=lambda run: run.ended_at or "")
    if ended and room > 2:
        parts += [Text(), _ended(ended[-min(_MOST_ENDED, room - 2) :], size)]
    if warnings:
        parts += [Text(), *warnings]
    if host is not None and (words := host_words(host)):
        parts += [Text(), _line(words, "dim")]
    return Group(*parts)


def _warnings(snapshot: Snapshot, size: Size, room: int) -> list[Text]:
    """The last ones under a heading, cut to a line each, or fewer in full on a narrow screen."""
    narrow = size.width < _MIDDLE
    most = 2 if narrow else min(_MOST_WARNINGS, room // 3)
    lines = [
        one_line(f"{warned.time[11:19]} {warned.label}: {warned.text}")
        for warned in snapshot.warnings[-most:]
    ]
    if not lines:
        return []
    found = [_line("last warnings (UTC)", "bold yellow")]
    if narrow:
        return [*found, *(Text(line[: 3 * size.width], style="yellow") for line in lines)]
    return [*found, *(_line(line, "yellow") for line in lines)]


def _line(words: str, style: str = "") -> Text:
    """One line of plain text, cut where the screen ends: no markup, no control codes."""
    return Text(one_line(words), style=style, no_wrap=True, overflow="ellipsis")


def _bar(snapshot: Snapshot, size: Size) -> RenderableType:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, min_width=6)
    share = snapshot.flops_done_frac
    words = left_words(snapshot)
    if size.width < _MIDDLE:
        words = words.partition(" (")[0]
    bar = ProgressBar(total=1.0, completed=share, complete_style="cyan", finished_style="green")
    cells: list[RenderableType] = [Text(f"{share:4.0%}"), bar]
    if words:
        table.add_column(no_wrap=True)
        cells.append(Text(words))
    table.add_row(*cells)
    return table


def _counts(snapshot: Snapshot) -> Text:
    words = Text(overflow="fold")
    for index, (state, number) in enumerate(snapshot.counts.items()):
        name = state_words(state)
        words.append("  " if index else "").append(f"{number} {name}", style=_STYLES[name])
    if snapshot.tokens_per_second:
        words.append(f"  {speed_words(snapshot.tokens_per_second)[:-2]} tokens/s")
    return words


def _working(runs: Sequence[RunState], curve: Curve, size: Size) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", expand=False)
    table.add_column("at work", no_wrap=True, overflow="ellipsis", min_width=8, ratio=1)
    columns = [("loss", 0), ("train", _MIDDLE), ("curve", _MIDDLE), ("step", _NARROW),
               ("phase", _MIDDLE), ("tokens", _MIDDLE), ("left", 0)]  # fmt: skip
    shown = [name for name, least in columns if size.width >= least]
    if not _NARROW <= size.width < _WIDE:  # the steps tell it as well
        shown.insert(-1, "done")
    for name in shown:
        left = name in ("curve", "phase")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for run in runs:
        cells = _cells(run, curve, size)
        table.add_row(Text(run.label), *(Text(cells[name]) for name in shown))
    return table


def _cells(run: RunState, curve: Curve, size: Size) -> dict[str, str]:
    losses = [point.val_loss_nats for point in curve(run.run_id)]
    train = run.last_train_loss_nats
    return {
        "loss": loss_words(run) or "-",
        "train": "-" if train is None else f"{train:.4f}",
        "curve": sparkline(
            [loss for loss in losses if loss is not None],
            16 if size.width >= _WIDE else 8,
            BLOCKS if size.unicode else ASCII_BLOCKS,
        ),
        "step": f"{run.step}/{run.total_steps}",
        "done": f"{run.share:.0%}",
        "phase": run.lr_phase or "",
        "tokens": speed_words(run.tokens_per_second),
        "left": "" if run.seconds_left is None else format_seconds(run.seconds_left),
    }


def _ended(runs: Sequence[RunState], size: Size) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("last done", no_wrap=True, overflow="ellipsis", min_width=8)
    table.add_column("nats/token", justify="right", no_wrap=True)
    if size.width >= _MIDDLE:
        table.add_column("", no_wrap=True)
    for run in runs:
        words = "stopped early" if run.state == "stopped_early" else ""
        cells = [Text(run.label), Text(loss_words(run))]
        if size.width >= _MIDDLE:
            cells.append(Text(words or ("not annealed" if run.kind == "trunk" else "")))
        table.add_row(*cells)
    return table


def plain_line(snapshot: Snapshot) -> str:
    """The state in one line, for logs and pipes."""
    if snapshot.phase == "no_plan":
        return one_line(f"{snapshot.name}: {phase_words(snapshot)}")
    words = [count_words(snapshot), f"{snapshot.flops_done_frac:.0%} of the FLOPs"]
    if snapshot.tokens_per_second:
        words.append(f"{speed_words(snapshot.tokens_per_second)[:-2]} tokens/s")
    words += [word for word in (left_words(snapshot), phase_words(snapshot)) if word]
    return one_line(f"{snapshot.name}: {'; '.join(words)}")


def news(before: Snapshot | None, now: Snapshot) -> list[str]:
    """What ended and what was warned of since, a line each; nothing on the first reading."""
    if before is None:
        return []
    known = {run.run_id: run.state for run in before.runs}
    over = ("done", "stopped_early", "diverged", "failed", "damaged", "blocked")
    lines = [
        f"{run.label}: {end_words(run)}"
        for run in now.runs
        if run.state in over and known.get(run.run_id) != run.state
    ]
    told = {(warned.label, warned.text) for warned in before.warnings}
    lines += [
        f"{warned.label}: {warned.text}"
        for warned in now.warnings
        if (warned.label, warned.text) not in told and f"{warned.label}: {warned.text}" not in lines
    ]
    return [one_line(line) for line in lines]
