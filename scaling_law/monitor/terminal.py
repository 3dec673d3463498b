"""Draws a snapshot as a screen: what fits the terminal's size, the most important first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scaling_law.errors import one_line
from scaling_law.files.record import CurvePoint
from scaling_law.run.sweep_state.host import Host, host_text
from scaling_law.run.sweep_state.snapshot import ENDED, RunState, Snapshot
from scaling_law.run.sweep_state.text import (
    arms_text,
    count_text,
    counted_text,
    device_text,
    end_text,
    left_text,
    loss_text,
    loss_unit_text,
    metric_words,
    metrics_text,
    phase_text,
    run_left_text,
    speed_text,
    stage_text,
    state_text,
    step_text,
    throughput_text,
)

# Bold as well as colour: many people cannot tell red from green.
_STYLES = {
    "done": "green", "stopped early": "green", "diverged": "yellow", "failed": "bold red",
    "damaged": "bold red", "blocked": "yellow", "running": "bold cyan", "stopped": "magenta",
    "waiting": "dim",
}  # fmt: skip
_NUMBERS = frozenset(("loss", "train", "step", "done", "left"))
_WIDE, _MIDDLE, _NARROW = 100, 70, 56
_MOST_WARNINGS, _MOST_ENDED = 5, 6
_MOST_MEASURED = 4  # runs whose metrics one line names
_LABEL, _NOTE, _VALUE = 38, 24, 8  # columns of a run's label, of its loss and note, of a number
_FRAME_ROWS = 8  # head, bar, counts, headings and blanks

BLOCKS, ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"

Curve = Callable[[str], Sequence[CurvePoint]]


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a terminal can show."""

    width: int  # columns
    height: int  # rows
    unicode: bool = True  # whether it shows more than ASCII


def screen(
    snapshot: Snapshot, curve: Curve, host: Host | None, size: Size, metric: str | None = None
) -> RenderableType:
    """The whole screen; of the metrics, ``metric`` alone where one is chosen."""
    parts: list[RenderableType] = [_line(one_line(f"{snapshot.name}: {snapshot.sweep}"), "bold")]
    if snapshot.phase == "no_plan":
        return Group(*parts, Text(one_line(phase_text(snapshot))))
    if size.width >= _MIDDLE:
        parts.append(_line(device_text(snapshot), "dim"))
    parts += [_bar(snapshot, size), _counts(snapshot)]
    if snapshot.arms:
        parts.append(_line(f"arms done: {arms_text(snapshot)}"))
    if phase := phase_text(snapshot):
        parts.append(Text(one_line(phase), style="bold"))
    room = max(size.height - _FRAME_ROWS - bool(snapshot.arms), 4)
    warnings = _warnings(snapshot, size, room)
    room -= sum(-(-len(line) // size.width) for line in warnings)
    running = snapshot.in_state("started")
    if running:
        parts += [Text(), _running(running[: max(room, 1)], curve, size)]
        if len(running) > room:
            parts.append(_line(f"and {len(running) - room} more running", "dim"))
        room -= len(running) + 2
        measured = [run for run in running if run.metrics]
        if measured and room > len(measured) + 2:
            names = _columns(snapshot, metric, size.width - _LABEL)
            parts += [Text(), _measured(measured, names)]
            room -= len(measured) + 2
    ended = snapshot.in_state("done", "stopped_early")
    ended.sort(key=lambda run: run.ended_at or "")
    if ended and room > 2:
        parts += [
            Text(),
            _ended(ended[-min(_MOST_ENDED, room - 2) :], size, snapshot, metric),
        ]
    if warnings:
        parts += [Text(), *warnings]
    if host is not None and (load := host_text(host)):
        parts += [Text(), _line(load, "dim")]
    return Group(*parts)


def _warnings(snapshot: Snapshot, size: Size, room: int) -> list[Text]:
    """The newest under a heading, cut to one line each; on a narrow screen fewer, in full."""
    narrow = size.width < _MIDDLE
    most = 2 if narrow else min(_MOST_WARNINGS, room // 3)
    lines = [
        one_line(f"{warning.time[11:19]} {warning.label}: {warning.text}")
        for warning in snapshot.warnings[-most:]
    ]
    if not lines:
        return []
    heading = _line("last warnings (UTC)", "bold yellow")
    if narrow:
        return [heading, *(Text(line[: 3 * size.width], style="yellow") for line in lines)]
    return [heading, *(_line(line, "yellow") for line in lines)]


def _line(text: str, style: str = "") -> Text:
    """One line of plain text without markup or control codes, cut where the screen ends."""
    return Text(one_line(text), style=style, no_wrap=True, overflow="ellipsis")


def _bar(snapshot: Snapshot, size: Size) -> RenderableType:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, min_width=6)
    share = snapshot.flops_done_frac
    left = left_text(snapshot)
    if size.width < _MIDDLE:
        left = left.partition(" (")[0]
    bar = ProgressBar(total=1.0, completed=share, complete_style="cyan", finished_style="green")
    cells: list[RenderableType] = [Text(f"{share:4.0%}"), bar]
    if left:
        table.add_column(no_wrap=True)
        cells.append(Text(left))
    table.add_row(*cells)
    return table


def _counts(snapshot: Snapshot) -> Text:
    line = Text(overflow="fold")
    for index, (state, number) in enumerate(snapshot.counts.items()):
        name = state_text(state)
        line.append("  " if index else "").append(f"{number} {name}", style=_STYLES[name])
    for words in (throughput_text(snapshot), stage_text(snapshot)):
        line.append(f"  {words}" if words else "")
    return line


def _running(runs: Sequence[RunState], curve: Curve, size: Size) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", expand=False)
    table.add_column("running", no_wrap=True, overflow="ellipsis", min_width=8, ratio=1)
    columns = [("loss", 0), ("train", _MIDDLE), ("curve", _MIDDLE), ("step", _NARROW),
               ("phase", _MIDDLE), ("tokens", _MIDDLE), ("left", 0)]  # fmt: skip
    shown = [name for name, least in columns if size.width >= least]
    if not _NARROW <= size.width < _WIDE:  # else the step column shows it
        shown.insert(-1, "done")
    cells_of = [_cells(run, curve, size) for run in runs]
    for name in shown:
        left = name in ("curve", "phase")
        # a number is never cut, a label may be
        least = max(len(row[name]) for row in cells_of) if name in _NUMBERS else None
        head = counted_text(runs) if name == "tokens" else name
        table.add_column(head, justify="left" if left else "right", no_wrap=True, min_width=least)
    for run, cells in zip(runs, cells_of, strict=True):
        table.add_row(Text(run.label), *(Text(cells[name]) for name in shown))
    return table


def _cells(run: RunState, curve: Curve, size: Size) -> dict[str, str]:
    losses = [point.val_loss_nats for point in curve(run.run_id)]
    train = run.last_train_loss_nats
    return {
        "loss": loss_text(run) or "-",
        "train": "-" if train is None else f"{train:.4f}",
        "curve": sparkline(
            [loss for loss in losses if loss is not None],
            16 if size.width >= _WIDE else 8,
            BLOCKS if size.unicode else ASCII_BLOCKS,
        ),
        "step": step_text(run),
        "done": f"{run.share:.0%}",
        "phase": run.lr_phase or "",
        "tokens": speed_text(run.tokens_per_second),
        "left": run_left_text(run),
    }


def _columns(snapshot: Snapshot, metric: str | None, room: int) -> dict[str, str]:
    """The metrics that fit into ``room`` columns, by name with their heads: with units if so."""
    names = snapshot.shown_names if metric is None else [metric]
    for head in (snapshot.metric_label, str):
        heads = {name: head(name) for name in names}
        if sum(max(len(words), _VALUE) + 1 for words in heads.values()) <= room:
            return heads
    fitting: dict[str, str] = {}
    for name in names:
        room -= max(len(name), _VALUE) + 1
        if room < 0 and fitting:
            break
        fitting[name] = name
    return fitting


def _measured(runs: Sequence[RunState], heads: Mapping[str, str]) -> Table:
    """The newest metrics of the running runs."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("measured", no_wrap=True, overflow="ellipsis", min_width=8)
    for head in heads.values():
        table.add_column(head, justify="right", no_wrap=True)
    for run in runs:
        table.add_row(Text(run.label), *_values(run, heads))
    return table


def _values(run: RunState, heads: Mapping[str, str]) -> list[Text]:
    return [Text(metric_words(run, name) or "-") for name in heads]


def _ended(runs: Sequence[RunState], size: Size, snapshot: Snapshot, metric: str | None) -> Table:
    unit = loss_unit_text(snapshot)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("last done", no_wrap=True, overflow="ellipsis", min_width=8)
    table.add_column(unit, justify="right", no_wrap=True)
    heads: dict[str, str] = {}
    if size.width >= _MIDDLE and any(run.metrics for run in runs):
        heads = _columns(snapshot, metric, size.width - _LABEL - _NOTE)
    for head in heads.values():
        table.add_column(head, justify="right", no_wrap=True)
    if size.width >= _MIDDLE:
        table.add_column("", no_wrap=True)
    for run in runs:
        note = "stopped early" if run.state == "stopped_early" else ""
        cells = [Text(run.label), Text(loss_text(run)), *_values(run, heads)]
        if size.width >= _MIDDLE:
            cells.append(Text(note or ("" if run.annealed else "not annealed")))
        table.add_row(*cells)
    return table


def sparkline(values: Sequence[float], width: int, blocks: str = BLOCKS) -> str:
    """The curve of a loss as ``width`` small blocks, on a logarithmic scale."""
    logs = [math.log(value) for value in values if value > 0 and math.isfinite(value)]
    if len(logs) < 2 or width < 2:
        return ""
    count = min(width, len(logs))
    shown = [logs[round(i * (len(logs) - 1) / (count - 1))] for i in range(count)]
    low, high = min(shown), max(shown)
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((value - low) * scale)] for value in shown)


def metric_line(snapshot: Snapshot, metric: str | None) -> str:
    """The newest values of the running runs, "" without any; only ``metric`` where one is
    chosen."""
    runs = [run for run in snapshot.in_state("started") if metrics_text(run, metric)]
    said = [f"{run.label} {metrics_text(run, metric)}" for run in runs[:_MOST_MEASURED]]
    if len(runs) > _MOST_MEASURED:
        said.append(f"and {len(runs) - _MOST_MEASURED} more")
    return one_line(f"measured: {'; '.join(said)}") if said else ""


def plain_line(snapshot: Snapshot) -> str:
    """The sweep in one line, for logs and pipes."""
    if snapshot.phase == "no_plan":
        return one_line(f"{snapshot.name}: {phase_text(snapshot)}")
    parts = [stage_text(snapshot)] if snapshot.stage is not None else []
    parts += [count_text(snapshot), f"{snapshot.flops_done_frac:.0%} of the FLOPs"]
    if snapshot.arms:
        parts.append(f"arms done: {arms_text(snapshot)}")
    parts += [throughput_text(snapshot), left_text(snapshot), phase_text(snapshot)]
    return one_line(f"{snapshot.name}: {'; '.join(filter(None, parts))}")


def news(before: Snapshot | None, now: Snapshot, metric: str | None = None) -> list[str]:
    """A line for each run that ended and each warning since ``before``; none on first reading.

    Of what the runs measured, ``metric`` alone where one is chosen.
    """
    if before is None:
        return []
    known = {run.run_id: run.state for run in before.runs}
    lines = [
        f"{run.label}: {end_text(run)}"
        + (f", {said}" if (said := metrics_text(run, metric)) else "")
        for run in now.runs
        if run.state in ENDED and known.get(run.run_id) != run.state
    ]
    old = {(warning.label, warning.text) for warning in before.warnings}
    new = [warning for warning in now.warnings if (warning.label, warning.text) not in old]
    texts = [f"{warning.label}: {warning.text}" for warning in new]
    lines += [text for text in texts if not any(line.startswith(text) for line in lines)]
    return [one_line(line) for line in lines]
