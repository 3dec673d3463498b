"""What ``slaw run`` and ``slaw plan`` print of a sweep, its plan and its outcome."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scaling_law.config.sweep_config import SweepConfig
from scaling_law.errors import PlanError, by_reason
from scaling_law.experiment.analysis import named_by, report_command
from scaling_law.files.layout import SweepDir
from scaling_law.plan.plan import Plan
from scaling_law.plan.remarks import remarks
from scaling_law.plan.table import arm_lines, early_stop_words, growth_words, mix_lines, render_plan
from scaling_law.run.data_checks import check_data
from scaling_law.run.planning import Datasets
from scaling_law.spec.arms import Values, arm_name, arm_of, arms_of, by_options, varying_keys
from scaling_law.spec.chosen import part_text
from scaling_law.spec.counts import count_params
from scaling_law.spec.enough import too_few_for_a_law
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of, format_seconds

if TYPE_CHECKING:
    from scaling_law.run.runner import SweepOutcome


_NO_DATA = "data: not read; every run has finished"

_NO_LOSS = (
    "no point ended with a loss, so there is nothing to fit: diverged runs are not trained again;"
    " lower the learning rate (optim.lr_mult) or, with a trainer of your own, look at the losses"
    " that it writes, and run into another folder (--out)"
)


def opening(config: SweepConfig, plan: Plan, datasets: Datasets, sweep: SweepDir) -> str:
    """The sweep's plan in a few lines."""
    trunks = sum(run.spec.kind == "trunk" for run in plan.runs)
    counted = "by the architecture" if config.trainer else "exact"
    lines = [
        f"sweep {plan.name} -> {sweep.path}",
        f"device: {plan.device_kind} ({plan.device_name}), {count_of(plan.slots, 'run')} at once",
        engine_words(config),
        "precision: as the command chooses"
        if config.trainer
        else f"precision: {plan.precision} ({plan.precision_reason})",
        *([f"data: {dataset.summary}" for dataset in datasets.values()] or [_NO_DATA]),
        *(f"  {line}" for line in _data_lines(config, datasets)),
        f"plan: {plan.points_words} from {count_of(trunks, 'trunk')},"
        f" {plan.flops_total:.3g} FLOPs"
        f" ({counted}; {100 * plan.saving_frac:.0f}% saved by branching),"
        f" about {format_seconds(plan.seconds_estimate)}",
    ]
    lines += [*arm_lines(plan), *mix_lines(plan), *early_stop_words(plan), *growth_words(plan)]
    lines += [*remarks(config, plan), *too_few_words(config, plan)]
    lines += [f"left out: {item.label}: {item.reason}" for item in plan.left_out]
    return "\n".join(lines)


def _data_lines(config: SweepConfig, datasets: Datasets) -> list[str]:
    """Notes on the data for the user; nothing that a started sweep would be refused for now."""
    try:
        return check_data(config, datasets)
    except PlanError:
        return []


def closing(sweep: SweepDir, plan: Plan, outcome: SweepOutcome, *, last: bool = True) -> str:
    """The outcome and, after the ``last`` round, the command to run next."""
    by_id = plan.by_id
    counts = [f"{len(outcome.done)} of {count_of(len(plan.runs), 'run')} done"]
    for name, runs in (
        ("of them stopped early (loss predicted)", outcome.stopped_early),
        ("diverged", outcome.diverged),
        ("failed", outcome.failed),
        ("not run", outcome.blocked),
    ):
        if runs:
            counts.append(f"{len(runs)} {name}")
    end = f" in {format_seconds(outcome.seconds)}"
    if outcome.done_before == len(plan.runs):
        end = "; all runs had already finished" + ("; nothing to do" if last else "")
    lines = [", ".join(counts) + end]
    reasons = {**outcome.diverged, **outcome.failed, **outcome.blocked}
    lines += [f"  {by_id[run_id].spec.label}: {reason}" for run_id, reason in reasons.items()]
    if outcome.stopped_by is not None:
        lines.append("stopped; run the same command again to resume from the checkpoints")
    elif outcome.failed:
        lines.append(f"logs: {sweep.runs}/<run>/log.txt; run the same command again to retry")
    elif outcome.is_without_a_loss(plan):
        lines.append(_NO_LOSS)
    elif last:
        varying = varying_keys(arms_of([run.spec for run in plan.runs]))
        by = by_options(varying)
        fit = f"slaw fit {sweep.path}{by}"
        lines.append(f"next: {fit if named_by(sweep) is None else report_command(sweep)}")
        if "data.mix" in varying:
            lines.append(f"      slaw mix {sweep.path} proposes the next mixture")
        if outcome.stopped_early:
            lines.append("      with --keep stopped_early to fit the predicted losses as well")
    return "\n".join(lines)


def dry_run_text(config: SweepConfig, plan: Plan, note: str = "") -> str:
    """The plan's table under the config's name and a ``note``."""
    head = f"sweep {config.name} (dry run: nothing is written)" + (f"\n{note}" if note else "")
    beside = [engine_words(config), *remarks(config, plan), *too_few_words(config, plan)]
    return f"{head}\n\n{render_plan(plan, beside)}"


def too_few_words(config: SweepConfig, plan: Plan) -> list[str]:
    """Say what a plan lacks for ``slaw fit``, for each arm; nothing where it lacks nothing.

    An experiment has an analysis of its own, and needs no law.
    """
    if config.choices.get("experiment"):
        return []
    of_arms: dict[Values, list[RunSpec]] = defaultdict(list)
    for run in plan.runs:
        if run.spec.kind != "trunk" and run.spec.schedule.end == "annealed":
            of_arms[arm_of(run.spec)].append(run.spec)
    if not of_arms:
        return ["fit: no run of these anneals, and a law is fitted to annealed runs"]
    few = by_reason((arm_name(arm), _too_few(specs)) for arm, specs in of_arms.items())
    few.pop("", None)
    arms = count_of(len(of_arms), "arm")
    return [
        f"fit: these runs alone{f' in {len(names)} of {arms}' if plan.arms else ''} are {why}"
        for why, names in few.items()
    ]


def _too_few(specs: Sequence[RunSpec]) -> str:
    sizes = {count_params(spec.model).matmul for spec in specs}
    return too_few_for_a_law(len(sizes), len({spec.tokens for spec in specs}), len(specs))


def engine_words(config: SweepConfig) -> str:
    """Where the runs are executed, and where their curves are shown besides."""
    trackers = ", ".join(part_text(choice.component) for choice in config.choices["tracker"])
    engine = part_text(config.choice("engine").component)
    return f"engine: {engine}; trackers: {trackers or 'none'}"


def plan_json(config: SweepConfig, plan: Plan) -> dict[str, Any]:
    """The document of ``slaw plan --json``: plan.json, and what no run's identity depends on."""
    return {
        **plan.to_json(),
        "engine": part_text(config.choice("engine").component),
        "trackers": [part_text(choice.component) for choice in config.choices["tracker"]],
    }
