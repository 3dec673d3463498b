"""What a plan says that its table does not show: each remark is a line, said before training."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable

from scaling_law.config.sweep_config import SweepConfig
from scaling_law.errors import PlanError
from scaling_law.plan.plan import Plan, PlannedRun
from scaling_law.plan.sizes import counted_sizes, size_name
from scaling_law.spec.arms import Values, arm_name
from scaling_law.spec.counts import count_params
from scaling_law.spec.data import DataSpec
from scaling_law.spec.model import Model
from scaling_law.units import count_of, format_count

# A shape this near to the count that was asked for needs no word.
_NEAR_FRAC = 0.005
# Fewer training tokens than this a parameter: laws were fitted to points from about one upward,
# and compute-optimal text models have about 20 (Hoffmann 2022, arXiv 2203.15556).
_FEW_TOKENS_PER_PARAM = 0.1


def remarks(config: SweepConfig, plan: Plan) -> list[str]:
    """The remarks on a plan, a line each.

    An experiment has a question of its own, for which such runs may be meant.
    """
    lines = _rounded_sizes(config)
    if config.choices.get("experiment"):
        return lines
    points = [run for run in plan.runs if run.spec.kind != "trunk" and not run.spec.is_solved]
    return [*lines, *_one_rate(points), *_few_tokens(points)]


def _rounded_sizes(config: SweepConfig) -> list[str]:
    """The sizes written as a count of parameters that no shape has."""
    with contextlib.suppress(PlanError):  # refused where the sizes are made
        # arms may have shapes of their own for a count: the values of those are named
        changed: dict[str, list[Values]] = defaultdict(list)
        for arm in config.arms:
            for text, wanted, model in counted_sizes(arm.config):
                params = count_params(model).non_embedding
                if abs(params / wanted - 1) > _NEAR_FRAC:
                    changed[f"{text} is {size_name(model)}, of {params:,}"].append(arm.values)
        if changed:
            said = "; ".join(
                text + (f" ({_arms_text(own)})" if len(own) < len(config.arms) else "")
                for text, own in changed.items()
            )
            return [f"sizes: the nearest shapes in non-embedding parameters: {said}"]
    return []


def _arms_text(arms: list[Values]) -> str:
    """``model.norm=layer``, or how many further arms there are beside the first."""
    more = len(arms) - 1
    return arm_name(arms[0]) + (f" and {count_of(more, 'further arm')}" if more else "")


def _one_rate(points: Iterable[PlannedRun]) -> list[str]:
    """A rule whose learning rate does not follow the batches that a size is trained with."""
    rates: dict[tuple[Model, str], dict[float, set[int]]] = defaultdict(lambda: defaultdict(set))
    for run in points:
        spec = run.spec
        if spec.optim.overrides.lr is None:
            of_size = rates[spec.model, spec.optim.rule]
            of_size[spec.optim.lr].add(spec.batch_tokens)
    alike: dict[str, set[int]] = defaultdict(set)
    for (_, rule), by_rate in rates.items():
        batches = set().union(*by_rate.values())
        if len(batches) > 1 and len(by_rate) == 1:
            alike[rule] |= batches
    return [
        f"learning rate: rule {rule} gives a size one rate at every batch"
        f" ({format_count(min(batches))} to {format_count(max(batches))} tokens), and the best rate"
        " moves with the batch: add an axis optim.lr_mult, as in [0.5, 1, 2], or see slaw tune"
        for rule, batches in alike.items()
    ]


def _few_tokens(points: Iterable[PlannedRun]) -> list[str]:
    """Runs on so little text that they say nothing of models trained on enough."""
    ratios = {
        run.spec.label: run.spec.tokens / count_params(run.spec.model).matmul
        for run in points
        if isinstance(run.spec.data, DataSpec)
    }
    few = sum(ratio < _FEW_TOKENS_PER_PARAM for ratio in ratios.values())
    if not few:
        return []
    least = min(ratios, key=lambda label: ratios[label])
    return [
        f"tokens: {few} of {count_of(len(ratios), 'point')} have fewer than"
        f" {_FEW_TOKENS_PER_PARAM:g} tokens a parameter (matmul), down to {ratios[least]:.2g}"
        f" ({least}): they show the first steps of training, and say nothing of models trained on"
        " enough; about 20 are compute-optimal (Hoffmann 2022): take smaller sizes or more tokens"
    ]
