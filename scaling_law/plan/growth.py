"""Starting a larger model from a smaller trained one: what can be, and who grows from whom.

A grid entry with ``grow_from`` makes courses whose first weights are those of a smaller size's
trunk, of the same seed, enlarged so that the model computes the same (``train.grow``). Such runs
are no points of a law unless asked for: their tokens do not tell what they have seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from scaling_law.errors import PlanError
from scaling_law.plan.grid import Course
from scaling_law.spec.architectures import why_not_grown
from scaling_law.spec.counts import train_flops
from scaling_law.spec.run import Growth, RunSpec
from scaling_law.units import format_count


def linked(courses: Sequence[Course], shares_trunk: bool) -> list[Course]:
    """The courses with each grown one's step of its parent's trunk, parents first.

    ``shares_trunk`` says whether the schedule has trunks.
    Raises ``PlanError`` with a line for each that cannot grow as asked.
    """
    by_name = {(course.size, course.seed): course for course in courses}
    problems: dict[str, None] = {}
    found: list[Course] = []
    for course in courses:
        if course.grow_from is None:
            found.append(course)
            continue
        parent = by_name.get((course.grow_from, course.seed))
        problem = _problem(course, parent, courses, shares_trunk)
        if problem or parent is None:
            problems[f"{course.where}: size {course.size}: {problem}"] = None
        else:
            grown = dataclasses.replace(
                course, grow_step=_step(course, parent), root=parent.root or parent.size
            )
            by_name[course.size, course.seed] = grown
            found.append(grown)
    if problems:
        raise PlanError(*problems)
    return found


def _step(course: Course, parent: Course) -> int:
    """The step of the parent's trunk that was asked for; by default its last."""
    if course.grow_tokens is None:
        return parent.horizons[-1].branch_step
    return round(course.grow_tokens / parent.batch_tokens)


def _problem(
    course: Course, parent: Course | None, courses: Sequence[Course], shares_trunk: bool
) -> str:
    """Why a course cannot grow as asked; "" when it can."""
    if parent is None:
        names = {c.size: None for c in courses if c.seed == course.seed and c.size != course.size}
        return (
            f"no size {course.grow_from} with seed {course.seed} in the grid; it has"
            f" {', '.join(names) or 'no other'}"
        )
    if not shares_trunk:
        return "growing needs a schedule whose horizons share a trunk, such as schedule.shape wsd"
    if problem := why_not_grown(parent.model, course.model):
        return f"cannot start as {parent.size}: {problem}"
    step, last = _step(course, parent), parent.horizons[-1].branch_step
    if not 0 < step <= last:
        return (
            f"grow_at {format_count(course.grow_tokens or 0)} tokens is outside {parent.size}'s"
            f" trunk of {format_count(last * parent.batch_tokens)}"
        )
    return ""


def needed(courses: Sequence[Course], has_points: Sequence[bool]) -> list[Course | None]:
    """The courses with the steps that others grow from; None for one that nothing needs.

    ``has_points`` says which still have points of their own; parents come before what grows.
    """
    steps: dict[tuple[str, int], set[int]] = {}
    found: list[Course | None] = []
    for course, own in zip(reversed(courses), reversed(has_points), strict=True):
        grow_steps = tuple(sorted(steps.get((course.size, course.seed), ())))
        if not own and not grow_steps:
            found.append(None)
            continue
        same = grow_steps == course.grow_steps
        found.append(course if same else dataclasses.replace(course, grow_steps=grow_steps))
        if course.grow_from is not None:
            steps.setdefault((course.grow_from, course.seed), set()).add(course.grow_step)
    return found[::-1]


def growth_from(trunk: RunSpec, step: int) -> Growth:
    """What a run has to know that starts as ``trunk`` enlarged, after ``step`` steps of it."""
    before = trunk.growth.parent_flops if trunk.growth else 0.0
    return Growth(
        trunk_id=trunk.run_id,
        at_step=step,
        model=trunk.model,
        parent_tokens=(trunk.data_step + step) * trunk.batch_tokens,
        parent_flops=before + train_flops(trunk.model, step * trunk.batch_tokens),
    )
