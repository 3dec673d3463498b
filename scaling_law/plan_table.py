"""The dry run: every run of a plan, what it costs, and what was left out, as text."""

from __future__ import annotations

from collections.abc import Sequence

from scaling_law.counts import count_params
from scaling_law.plan import Plan, PlannedRun
from scaling_law.units import format_bytes, format_count, format_seconds

_HEAD = (
    ("run", "params", "params", "params", "tokens", "epochs", "batch", "steps", "warm", "FLOPs",
     "memory", "time"),
    ("", "non-emb", "matmul", "total", "", "", "tokens", "", "steps", "spent", "", "est."),
)  # fmt: skip


def render_plan(plan: Plan) -> str:
    """The plan as a table of about 120 columns, trunks above their branches, and its totals."""
    rows: list[Sequence[str]] = [*_HEAD]
    notes: dict[int, str] = {}
    optim = ""
    for run in plan.runs:
        said = _optim(run)
        if run.spec.branch is None and said != optim:
            optim = said
            notes[len(rows)] = said
        rows.append(_row(run))
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD[0]))]
    lines = []
    for number, row in enumerate(rows):
        if number in notes:
            lines.append(f"# {notes[number]}")
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, "", *_totals(plan), *_left_out(plan), "", *_CONVENTIONS]) + "\n"


_CONVENTIONS = (
    "params: non-emb = blocks and final norm; matmul = blocks' and head's matrices; total = all"
    " stored, a tied head once.",
    "FLOPs: exact, 6 params_matmul + 12 layers context width per token, forward and backward,"
    " causality not halved.",
    "tokens, epochs, steps: as if trained alone from step 0; FLOPs, time: of this run only, a"
    " branch from where it leaves its trunk.",
)


def _optim(run: PlannedRun) -> str:
    optim = run.spec.optim
    clip = "none" if optim.grad_clip is None else f"{optim.grad_clip:g}"
    return (
        f"lr {optim.lr:.4g}, beta2 {optim.beta2:g}, weight decay {optim.weight_decay:g},"
        f" clip {clip}, by {optim.rule}"
    )


def _row(run: PlannedRun) -> tuple[str, ...]:
    spec = run.spec
    params = count_params(spec.model)
    return (
        ("  " if spec.branch else "") + spec.label,
        format_count(params.non_embedding),
        format_count(params.matmul),
        format_count(params.total),
        format_count(spec.tokens),
        "?" if run.epochs is None else f"{run.epochs:.2g}",
        format_count(spec.batch_tokens),
        str(spec.total_steps) if spec.branch is None else f"{spec.start_step}..{spec.total_steps}",
        str(spec.schedule.warmup_steps),
        f"{run.flops_spent:.2e}",
        format_bytes(run.memory_bytes),
        format_seconds(run.seconds),
    )


def _totals(plan: Plan) -> list[str]:
    points = sum(run.spec.kind != "trunk" for run in plan.runs)
    trunks = len(plan.runs) - points
    limit = ""
    if plan.time_limit_seconds is not None:
        limit = f" (limit {format_seconds(plan.time_limit_seconds)})"
    corpus = "not prepared yet: epochs unknown"
    if plan.train_tokens is not None:
        corpus = f"{format_count(plan.train_tokens)} training tokens"
    return [
        f"{plan.name}: {len(plan.runs)} runs: {points} annealed points, {trunks} trunks; {corpus}",
        f"device: {plan.device_name} ({plan.device_kind}), {plan.slots} at once,"
        f" {plan.precision} ({plan.precision_reason})",
        f"compute: {plan.flops_total:.3g} FLOPs, against {plan.flops_if_from_scratch:.3g} with"
        f" each point trained from scratch: branching saves {plan.saving_frac:.0%}",
        f"time: about {format_seconds(plan.seconds_estimate)}{limit};"
        f" memory: at most {format_bytes(_peak_bytes(plan))}"
        f" (limit {format_bytes(plan.memory_limit_bytes)});"
        f" disk: {format_bytes(plan.disk_bytes)}",
    ]


def _peak_bytes(plan: Plan) -> int:
    """The largest runs, one on each slot."""
    return sum(sorted((run.memory_bytes for run in plan.runs), reverse=True)[: plan.slots])


def _left_out(plan: Plan) -> list[str]:
    if not plan.left_out:
        return ["left out: nothing"]
    return [
        f"left out: {len(plan.left_out)} points",
        *(f"  {item.label}: {item.reason}" for item in plan.left_out),
    ]
