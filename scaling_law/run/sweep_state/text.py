"""What log lines, ``slaw status`` and ``slaw monitor`` say of runs in the same words."""

from __future__ import annotations

from scaling_law.run.sweep_state.snapshot import RunState, Snapshot
from scaling_law.units import format_seconds

_COUNT_WORDS = {"started": "at work", "stopped_early": "stopped early"}
# How many runs at work a log line names.
_MOST_NAMED = 4


def state_words(state: str) -> str:
    """A state as people say it."""
    return _COUNT_WORDS.get(state, state)


def count_words(snapshot: Snapshot) -> str:
    """How many runs are in which state: ``12 done, 1 diverged, 2 at work, 25 waiting``."""
    found = [f"{number} {state_words(state)}" for state, number in snapshot.counts.items()]
    return ", ".join(found) or "no runs"


def left_words(snapshot: Snapshot) -> str:
    """How long it will take: by the plan's costs at the pace measured so far."""
    if snapshot.seconds_left is None:
        return ""
    words = f"about {format_seconds(snapshot.seconds_left)}"
    words += " left" if snapshot.at_work else " of work left"
    if snapshot.pace is not None:
        words += f" ({snapshot.pace:.2g}x the planned time)"
    return words


def loss_words(run: RunState) -> str:
    """The final loss, or the newest of the curve, or what an early stop predicts."""
    loss = run.val_loss_nats if run.val_loss_nats is not None else run.last_val_loss_nats
    if loss is None and run.predicted_loss_nats is not None:
        return f"~{run.predicted_loss_nats:.4f}"
    return "" if loss is None else f"{loss:.4f}"


def news_line(snapshot: Snapshot) -> str:
    """The sweep in a line of a log: how much is done, how long the rest takes, what is at work."""
    words = f"{snapshot.n_over} of {len(snapshot.runs)} runs over,"
    words += f" {snapshot.flops_done_frac:.0%} of the FLOPs done"
    if left := left_words(snapshot):
        words += f", {left}"
    runs = snapshot.in_state("started")
    named = [
        f"{run.label} step {run.step}/{run.total_steps}, "
        + (f"loss {loss} nats/token" if (loss := loss_words(run)) else "no loss yet")
        for run in runs[:_MOST_NAMED]
    ]
    if len(runs) > _MOST_NAMED:
        named.append(f"and {len(runs) - _MOST_NAMED} more")
    return f"{words}; at work: {'; '.join(named) or 'none has begun a step'}"
