"""The dry run: every run of a plan, what it costs, and what was left out, as text."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from scaling_law import text_columns
from scaling_law.plan.compiling import compiled_words
from scaling_law.plan.plan import Plan, PlannedRun
from scaling_law.plan.weights import kept_words
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.counts import count_params
from scaling_law.spec.run import Model, TaskSpec
from scaling_law.units import count_of, format_bytes, format_count, format_seconds

_HEAD = (
    ("run", "params", "params", "params", "tokens", "epochs", "batch", "steps", "LR", "beta2",
     "warm-up", "FLOPs", "memory", "time"),
    ("", "non-emb", "matmul", "total", "", "", "tokens", "", "peak", "", "steps", "spent", "", ""),
)  # fmt: skip
_WIDTH = 120


def render_plan(plan: Plan) -> str:
    """The plan as a table of 120 to 140 columns, trunks above their branches, and its totals."""
    rows: list[Sequence[str]] = [*_HEAD, *(_row(run) for run in plan.runs)]
    return (
        "\n".join(
            [*text_columns.numbers(rows), "", *_totals(plan), *_left_out(plan), "", *_notes(plan)]
        )
        + "\n"
    )


def _notes(plan: Plan) -> list[str]:
    """How the table counts: what the architectures say of it, and what holds for all."""
    models = dict.fromkeys(run.spec.model for run in plan.runs)
    notes = (line for model in models for line in architecture_of(model).notes)
    return [*dict.fromkeys(notes), *_CONVENTIONS]


_CONVENTIONS = (
    "a branch's tokens, epochs and steps count from its trunk's step 0; its FLOPs and time only"
    " what it adds",
)


@lru_cache(maxsize=4096)
def _params(model: Model) -> tuple[str, str, str]:
    params = count_params(model)
    return (
        format_count(params.non_embedding),
        format_count(params.matmul),
        format_count(params.total),
    )


def _row(run: PlannedRun) -> tuple[str, ...]:
    spec = run.spec
    return (
        ("  " if spec.branch else "") + spec.label,
        *_params(spec.model),
        format_count(spec.tokens),
        "?" if run.epochs is None else _epochs(run.epochs),
        format_count(spec.batch_tokens),
        str(spec.total_steps) if spec.branch is None else f"{spec.start_step}..{spec.total_steps}",
        f"{spec.optim.lr:.3g}",
        "-" if spec.optim.beta2 is None else f"{spec.optim.beta2:g}",
        str(spec.schedule.warmup_steps),
        f"{run.flops_spent:.2e}",
        format_bytes(run.memory_bytes),
        format_seconds(run.seconds),
    )


def _epochs(epochs: float) -> str:
    return f"{epochs:.0f}" if epochs >= 100 else f"{epochs:.2g}"


def _totals(plan: Plan) -> list[str]:
    points = sum(run.spec.kind != "trunk" for run in plan.runs)
    trunks = len(plan.runs) - points
    limit = ""
    if plan.time_limit_seconds is not None:
        limit = f" (limit {format_seconds(plan.time_limit_seconds)})"
    return [
        f"{plan.name}: {count_of(len(plan.runs), 'run')}: {count_of(points, 'annealed point')},"
        f" {count_of(trunks, 'trunk')}; {_train_split(plan)}",
        f"device: {plan.device_name} ({plan.device_kind}), {plan.slots} at once,"
        f" {plan.precision} ({plan.precision_reason})",
        _optim(plan),
        *early_stop_words(plan),
        f"compute: {plan.flops_total:.3g} FLOPs, against {plan.flops_if_from_scratch:.3g} with"
        f" each point trained from scratch: branching saves {plan.saving_frac:.0%}",
        *growth_words(plan),
        *_stacks(plan),
        *compiled_words(plan),
        f"time: about {format_seconds(plan.seconds_estimate)}{limit};"
        f" memory: at most {format_bytes(_peak_bytes(plan))}"
        f" (limit {format_bytes(plan.memory_limit_bytes)});"
        f" disk: {format_bytes(plan.disk_bytes)}",
        kept_words(plan),
    ]


def _train_split(plan: Plan) -> str:
    """What there is to train on."""
    first = plan.runs[0].spec
    if not isinstance(first.data, TaskSpec):
        if plan.train_tokens is None:
            return "not prepared yet: epochs unknown"
        return f"{format_count(plan.train_tokens)} training tokens"
    n_ctx = first.model.n_ctx
    if plan.train_tokens is None:
        return f"{first.data.name}: every training example, {count_of(n_ctx, 'token')} each, is new"
    examples = plan.train_tokens // n_ctx
    return (
        f"{first.data.name}: {examples:,} training examples of {count_of(n_ctx, 'token')}, repeated"
        " as often as the horizons say"
    )


def _stacks(plan: Plan) -> list[str]:
    stacks = Counter(run.resources.stack for run in plan.runs if run.resources.stack)
    if not stacks:
        return []
    largest = max(stacks.values())
    return [
        f"stacking: {stacks.total()} runs of one shape each as {len(stacks)} programs, at most"
        f" {largest} together (stacking: off trains each alone)"
    ]


def early_stop_words(plan: Plan) -> list[str]:
    """How many runs may end early, on a line; none where none may."""
    stops = [run.spec.early_stop for run in plan.runs if run.spec.early_stop]
    if not stops:
        return []
    return [
        f"early stop: allowed to {len(stops)} of the points, once their loss is predicted within"
        f" {100 * stops[0].within:g}% at 90%; cost and time are without it"
    ]


def growth_words(plan: Plan) -> list[str]:
    """How many runs start from a smaller model's weights, on a line; none where none does."""
    grown = [run.spec for run in plan.runs if run.spec.growth]
    if not grown:
        return []
    points = sum(spec.kind != "trunk" for spec in grown)
    return [
        f"growth: {points} of the points start from a smaller size's trunk, whose tokens and FLOPs"
        " their own do not count; fits leave them out (--keep grown)"
    ]


def _peak_bytes(plan: Plan) -> int:
    """The largest runs or stacks of runs, one on each slot."""
    needed = {run.resources.stack or run.run_id: run.memory_bytes for run in plan.runs}
    return sum(sorted(needed.values(), reverse=True)[: plan.slots])


def _left_out(plan: Plan) -> list[str]:
    if not plan.left_out:
        return ["left out: nothing"]
    lines = [f"left out: {len(plan.left_out)} points"]
    reasons: dict[str, list[str]] = {}
    for item in plan.left_out:
        reasons.setdefault(item.reason, []).append(item.label)
    for reason, labels in reasons.items():
        lines.append(f"  {reason}:")
        listed = textwrap.wrap(" ".join(labels), _WIDTH, break_on_hyphens=False)
        lines += [f"    {line}" for line in listed]
    return lines


def _optim(plan: Plan) -> str:
    """What the rule of the runs was, and the settings that all share."""
    optims = [run.spec.optim for run in plan.runs]
    rules = ", ".join(dict.fromkeys(optim.rule_text for optim in optims))
    clip = "none" if optims[0].grad_clip is None else f"{optims[0].grad_clip:g}"
    schedule = plan.runs[0].spec.schedule
    cools_down = any(run.spec.schedule.decay_steps is not None for run in plan.runs)
    decay = f", {schedule.cooldown} cooldown" if cools_down else ""
    return (
        f"optimiser: LR, beta2, warm-up by {rules}; weight decay {optims[0].weight_decay:g},"
        f" clip {clip}; schedule {schedule.shape}{decay}"
    )
