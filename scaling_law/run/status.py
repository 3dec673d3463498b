"""How far a sweep is, read from its folder alone; safe while it runs."""

from __future__ import annotations

from typing import Any

from scaling_law.layout import SweepDir
from scaling_law.plan import Plan, read_plan
from scaling_law.record import read_failure, read_record
from scaling_law.run.lock import is_held
from scaling_law.run.progress import read_heartbeat
from scaling_law.units import format_count


def sweep_status(sweep: SweepDir) -> dict[str, Any]:
    """Counts and one entry per planned run, with its state and step.

    States: done, stopped_early, diverged, failed, started (a heartbeat is there), stopped (the
    same, but no ``slaw run`` is at work on the folder), waiting.
    """
    at_work = is_held(sweep.lock)
    plan: Plan = read_plan(sweep.plan)
    runs = []
    for run in plan.runs:
        run_dir = sweep.run(run.run_id)
        entry: dict[str, Any] = {
            "run_id": run.run_id,
            "label": run.spec.label,
            "state": "waiting",
            "step": 0,
            "total_steps": run.spec.total_steps,
            "val_loss_nats": None,
        }
        if run_dir.record.exists():
            record = read_record(run_dir.record)
            entry.update(
                state=record.status,
                step=record.tokens // run.spec.batch_tokens,
                val_loss_nats=record.val_loss_nats,
            )
            if record.status == "stopped_early":
                entry["predicted_loss_nats"] = record.metrics["predicted_loss_nats"]
        elif run_dir.failure.is_file():
            entry.update(state="failed", error=read_failure(run_dir))
        elif (beat := read_heartbeat(run_dir)) is not None:
            entry.update(state="started" if at_work else "stopped", step=beat.step)
            if at_work:
                entry.update(tokens_per_second=beat.tokens_per_second)
        runs.append(entry)
    states = [entry["state"] for entry in runs]
    return {
        "sweep": str(sweep.path),
        "at_work": at_work,
        "counts": {state: states.count(state) for state in sorted(set(states))},
        "flops_done_frac": _flops_done_frac(plan, runs),
        "runs": runs,
    }


def _flops_done_frac(plan: Plan, entries: list[dict[str, Any]]) -> float:
    spent, total = 0.0, plan.flops_total
    for run, entry in zip(plan.runs, entries, strict=True):
        start = run.spec.start_step
        trained = max(entry["step"] - start, 0) / max(run.spec.total_steps - start, 1)
        over = entry["state"] in ("done", "diverged")
        spent += run.flops_spent * (1.0 if over else min(trained, 1.0))
        if entry["state"] == "stopped_early":  # what it saved is no longer to be spent
            total -= run.flops_spent * (1.0 - trained)
    return spent / total


def format_status(status: dict[str, Any]) -> str:
    """The status for a terminal: a summary line, then every run that is not waiting."""
    counts = ", ".join(f"{n} {state}" for state, n in status["counts"].items())
    share = 100 * status["flops_done_frac"]
    lines = [f"{status['sweep']}: {counts}; {share:.0f}% of the FLOPs spent"]
    if not status["at_work"] and status["flops_done_frac"] < 1:
        lines.append("no `slaw run` is at work here; the same line goes on where it stopped")
    width = max(9, *(len(state) + 1 for state in status["counts"]))
    for entry in status["runs"]:
        if entry["state"] == "waiting":
            continue
        words = f"  {entry['state']:<{width}}{entry['label']:<34}"
        words += f"step {entry['step']}/{entry['total_steps']}"
        if entry["val_loss_nats"] is not None:
            words += f"  {entry['val_loss_nats']:.4f} nats/token"
        if "predicted_loss_nats" in entry:
            words += f"  {entry['predicted_loss_nats']:.4f} nats/token predicted"
        if "tokens_per_second" in entry:
            words += f"  {format_count(entry['tokens_per_second'])} tok/s"
        lines.append(words + (f"  {entry['error']}" if "error" in entry else ""))
    return "\n".join(lines)
