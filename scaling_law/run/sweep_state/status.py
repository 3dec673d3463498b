"""How far a sweep is, once: what ``slaw status`` prints."""

from __future__ import annotations

from typing import Any

from scaling_law.files.layout import SweepDir
from scaling_law.run.sweep_state.snapshot import Watch
from scaling_law.run.sweep_state.text import state_words
from scaling_law.units import format_count, format_seconds


def sweep_status(sweep: SweepDir) -> dict[str, Any]:
    """The snapshot of a sweep as plain values (``snapshot.Snapshot``).

    Raises ``ConfigError`` or ``PlanError`` for a plan or record that cannot be read.
    """
    return Watch(sweep).read(strict=True, logs=False).to_json()


def format_status(status: dict[str, Any]) -> str:
    """The status for a terminal: a summary line, then every run that is not waiting."""
    counts = ", ".join(f"{n} {state_words(state)}" for state, n in status["counts"].items())
    share = 100 * status["flops_done_frac"]
    left = status["seconds_left"]
    words = f", about {format_seconds(left)} of work left" if left else ""
    lines = [f"{status['sweep']}: {counts}; {share:.0f}% of the FLOPs spent{words}"]
    if status["runs_beside"]:
        lines.append(
            f"beside them {status['runs_beside']} finished runs of earlier plans, which"
            " `slaw fit` takes as well"
        )
    if status["phase"] == "idle":
        lines.append("no `slaw run` is at work here; the same line goes on where it stopped")
    width = max(9, *(len(state_words(state)) + 1 for state in status["counts"]))
    shown = [run for run in status["runs"] if run["state"] != "waiting"]
    longest = max([32, *(len(run["label"]) for run in shown)])
    for run in shown:
        words = f"  {state_words(run['state']):<{width}}{run['label']:<{longest}}  "
        words += f"step {run['step']}/{run['total_steps']}"
        for name, kind in (
            ("val_loss_nats", ""),
            ("predicted_loss_nats", " predicted"),
            ("last_val_loss_nats", " so far"),
        ):
            if run[name] is not None:
                words += f"  {run[name]:.4f} nats/token{kind}"
        if run["tokens_per_second"] is not None:
            words += f"  {run['lr_phase']}  {format_count(run['tokens_per_second'])} tok/s"
        lines.append(words + (f"  {run['error']}" if run["error"] else ""))
    return "\n".join(lines)
