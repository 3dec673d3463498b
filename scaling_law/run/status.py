"""How far a sweep is, read from its folder alone; safe while it runs."""

from __future__ import annotations

from typing import Any

from scaling_law import layout
from scaling_law.layout import SweepDir
from scaling_law.plan import Plan, plan_from_json
from scaling_law.record import read_record
from scaling_law.run.progress import read_heartbeat
from scaling_law.units import format_count


def sweep_status(sweep: SweepDir) -> dict[str, Any]:
    """Counts and one entry per planned run, with its state and step.

    States: done, diverged, failed, started (a heartbeat is there), waiting.
    """
    plan: Plan = plan_from_json(layout.read_json(sweep.plan))
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
        if run_dir.record.is_file():
            record = read_record(run_dir.record)
            entry.update(
                state=record.status,
                step=record.tokens // run.spec.batch_tokens,
                val_loss_nats=record.val_loss_nats,
            )
        elif run_dir.failure.is_file():
            entry.update(state="failed", error=layout.read_json(run_dir.failure)["error"])
        elif (beat := read_heartbeat(run_dir)) is not None:
            entry.update(state="started", step=beat.step, tokens_per_second=beat.tokens_per_second)
        runs.append(entry)
    states = [entry["state"] for entry in runs]
    spent = sum(
        run.flops_spent
        for run, state in zip(plan.runs, states, strict=True)
        if state in ("done", "diverged")
    )
    return {
        "sweep": str(sweep.path),
        "counts": {state: states.count(state) for state in sorted(set(states))},
        "flops_done_frac": spent / plan.flops_total,
        "runs": runs,
    }


def format_status(status: dict[str, Any]) -> str:
    """The status for a terminal: a summary line, then every run that is not waiting."""
    counts = ", ".join(f"{n} {state}" for state, n in status["counts"].items())
    share = 100 * status["flops_done_frac"]
    lines = [f"{status['sweep']}: {counts}; {share:.0f}% of the FLOPs in finished runs"]
    for entry in status["runs"]:
        if entry["state"] == "waiting":
            continue
        words = f"  {entry['state']:<9}{entry['label']:<34}"
        words += f"step {entry['step']}/{entry['total_steps']}"
        if entry["val_loss_nats"] is not None:
            words += f"  {entry['val_loss_nats']:.4f} nats/token"
        if "tokens_per_second" in entry:
            words += f"  {format_count(entry['tokens_per_second'])} tok/s"
        lines.append(words + (f"  {entry['error']}" if "error" in entry else ""))
    return "\n".join(lines)
