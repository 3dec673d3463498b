"""Start a larger model from a smaller trained one: which sizes can, and from which trunk.

A grid entry with ``grow_from`` makes size plans whose first weights are those of a smaller size's
trunk, of the same seed, enlarged so that the model computes the same (``train.grow``). A fit
leaves such runs out by default, because their own tokens are not all that they have seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from scaling_law.errors import PlanError
from scaling_law.plan.size_plan import SizePlan
from scaling_law.spec.architectures import why_not_grown
from scaling_law.spec.counts import train_flops
from scaling_law.spec.run import RunSpec
from scaling_law.spec.start import Growth
from scaling_law.units import format_count


def linked(size_plans: Sequence[SizePlan], shares_trunk: bool) -> list[SizePlan]:
    """Return the size plans with the step of the parent's trunk that each grows from.

    Parents come first. ``shares_trunk`` says whether the schedule has trunks. Raises ``PlanError``
    with a line for each size plan that cannot grow as the config asks.
    """
    by_name = {(size_plan.size, size_plan.seed): size_plan for size_plan in size_plans}
    problems: dict[str, None] = {}
    plans: list[SizePlan] = []
    for size_plan in size_plans:
        if size_plan.grow_from is None:
            plans.append(size_plan)
            continue
        parent = by_name.get((size_plan.grow_from, size_plan.seed))
        problem = _problem(size_plan, parent, size_plans, shares_trunk)
        if problem or parent is None:
            problems[f"{size_plan.where}: size {size_plan.size}: {problem}"] = None
        else:
            grown = dataclasses.replace(
                size_plan, grow_step=_step(size_plan, parent), root=parent.root or parent.size
            )
            by_name[size_plan.size, size_plan.seed] = grown
            plans.append(grown)
    if problems:
        raise PlanError(*problems)
    return plans


def _step(size_plan: SizePlan, parent: SizePlan) -> int:
    """Return the step of the parent's trunk to grow from: the config's, by default the last."""
    if size_plan.grow_tokens is None:
        return parent.horizons[-1].branch_step
    return round(size_plan.grow_tokens / parent.batch_tokens)


def _problem(
    size_plan: SizePlan, parent: SizePlan | None, size_plans: Sequence[SizePlan], shares_trunk: bool
) -> str:
    """Say why a size plan cannot grow as the config asks; "" when it can."""
    if parent is None:
        names = {
            c.size: None
            for c in size_plans
            if c.seed == size_plan.seed and c.size != size_plan.size
        }
        return (
            f"no size {size_plan.grow_from} with seed {size_plan.seed} in the grid; it has"
            f" {', '.join(names) or 'no other'}"
        )
    if not shares_trunk:
        return "growing needs a schedule whose horizons share a trunk, such as schedule.shape wsd"
    if problem := why_not_grown(parent.model, size_plan.model):
        return f"cannot start as {parent.size}: {problem}"
    step, last = _step(size_plan, parent), parent.horizons[-1].branch_step
    if not 0 < step <= last:
        return (
            f"grow_at {format_count(size_plan.grow_tokens or 0)} tokens is outside {parent.size}'s"
            f" trunk of {format_count(last * parent.batch_tokens)}"
        )
    return ""


def needed(size_plans: Sequence[SizePlan], has_points: Sequence[bool]) -> list[SizePlan | None]:
    """Return the size plans with the steps that others grow from; None for one not needed.

    ``has_points`` says which still have points of their own. Parents come before the size plans
    that grow from them.
    """
    steps: dict[tuple[str, int], set[int]] = {}
    still: list[SizePlan | None] = []
    for size_plan, own in zip(reversed(size_plans), reversed(has_points), strict=True):
        grow_steps = tuple(sorted(steps.get((size_plan.size, size_plan.seed), ())))
        if not own and not grow_steps:
            still.append(None)
            continue
        same = grow_steps == size_plan.grow_steps
        still.append(size_plan if same else dataclasses.replace(size_plan, grow_steps=grow_steps))
        if size_plan.grow_from is not None:
            steps.setdefault((size_plan.grow_from, size_plan.seed), set()).add(size_plan.grow_step)
    return still[::-1]


def growth_from(trunk: RunSpec, step: int) -> Growth:
    """Return the growth of a run that starts from ``trunk``, enlarged, after ``step`` steps."""
    before = trunk.growth.parent_flops if trunk.growth else 0.0
    return Growth(
        trunk_id=trunk.run_id,
        at_step=step,
        model=trunk.model,
        parent_tokens=(trunk.data_step + step) * trunk.batch_tokens,
        parent_flops=before + train_flops(trunk.model, step * trunk.batch_tokens),
    )
