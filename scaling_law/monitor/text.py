"""What terminal, lines and page say in the same words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scaling_law.monitor.host import Host
from scaling_law.run.sweep_state.snapshot import RunState, Snapshot
from scaling_law.run.sweep_state.text import loss_words, state_words
from scaling_law.units import format_bytes, format_count

BLOCKS, ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"


def phase_words(snapshot: Snapshot) -> str:
    """What is going on, in a sentence."""
    if snapshot.phase == "no_plan":
        return f"waiting: {snapshot.note}"
    if snapshot.phase == "idle":
        return "nobody is at work here; `slaw run`, the same line again, goes on where it stopped"
    if snapshot.phase == "over":
        if bad := snapshot.counts.get("failed", 0) + snapshot.counts.get("damaged", 0):
            return f"over, but {bad} failed; the same `slaw run` line tries them again"
        return f"over; next: slaw fit {snapshot.sweep}"
    return ""


def device_words(snapshot: Snapshot) -> str:
    """What it runs on."""
    return (
        f"{snapshot.slots} at once on {snapshot.device_kind} ({snapshot.device_name}),"
        f" {snapshot.precision}"
    )


def host_words(host: Host) -> str:
    """How busy the machine is; only what is known."""
    words = []
    if host.cpu_busy_frac is not None:
        words.append(f"CPU {host.cpu_busy_frac:.0%} of {host.cpus}")
    if host.load is not None:
        words.append(f"load {host.load:.1f}")
    if host.memory_used_bytes is not None and host.memory_total_bytes is not None:
        used, total = format_bytes(host.memory_used_bytes), format_bytes(host.memory_total_bytes)
        words.append(f"memory {used} of {total}")
    for gpu in host.gpus:
        line = gpu.name
        if gpu.busy_frac is not None:
            line += f" {gpu.busy_frac:.0%}"
        if gpu.used_bytes is not None and gpu.total_bytes is not None:
            line += f", {format_bytes(gpu.used_bytes)} of {format_bytes(gpu.total_bytes)}"
        words.append(line)
    return "; ".join(words)


def end_words(run: RunState) -> str:
    """One line on a run of which nothing more is to come."""
    if run.state in ("done", "stopped_early"):
        kind = ", not annealed" if run.kind == "trunk" else ""
        return f"{state_words(run.state)}, {loss_words(run)} nats/token{kind}"
    return f"{state_words(run.state)}: {run.error or 'no reason given'}"


def speed_words(tokens_per_second: float | None) -> str:
    """Tokens per second, short."""
    return "" if tokens_per_second is None else f"{format_count(tokens_per_second)}/s"


def sparkline(values: Sequence[float], width: int, blocks: str = BLOCKS) -> str:
    """The course of a loss as ``width`` small blocks, on a logarithmic scale."""
    found = [math.log(value) for value in values if value > 0 and math.isfinite(value)]
    if len(found) < 2 or width < 2:
        return ""
    count = min(width, len(found))
    chosen = [found[round(i * (len(found) - 1) / (count - 1))] for i in range(count)]
    low, high = min(chosen), max(chosen)
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((value - low) * scale)] for value in chosen)
