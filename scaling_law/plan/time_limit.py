"""Cut the points of a grid that would take longer than the time limit."""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias

from scaling_law.plan.arm_planner import FittedSize
from scaling_law.plan.growth import needed
from scaling_law.plan.packing import TimedTask, makespan_seconds
from scaling_law.plan.plan import LeftOut, PlannedRun
from scaling_law.plan.size_plan import Horizon
from scaling_law.spec.arms import Values
from scaling_law.units import format_seconds

# A worker process loads torch once (3.6 s on 2 cores).
WORKER_START_SECONDS = 4.0


def within_time(
    size_plans: Sequence[FittedSize], slots: int, limit: float | None
) -> tuple[list[PlannedRun], float, list[LeftOut]]:
    """Return the runs, their packed seconds, and the points cut to stay within the time limit.

    The points that take longest alone are cut first, so the cheap corner of the grid stays: small
    sizes keep their long horizons.
    """
    points = [
        (one.planner.seconds(one.size_plan, one.fit, 0, horizon.steps), number, horizon.index)
        for number, one in enumerate(size_plans)
        for horizon in one.size_plan.horizons
    ]
    points.sort()
    whole = _packed_seconds(size_plans, points, slots)
    count = len(points)
    if limit is not None and whole > limit:
        count = bisect.bisect_right(
            range(1, len(points) + 1),
            limit,
            key=lambda many: _packed_seconds(size_plans, points[:many], slots),
        )
    cut = [
        LeftOut(
            label=size_plans[number].planner.label(
                size_plans[number].size_plan, size_plans[number].size_plan.horizons[index]
            ),
            reason=f"the whole grid would take {format_seconds(whole)}, over limits.time"
            f" {format_seconds(limit or 0)}; the points that take longest alone are left out",
        )
        for _, number, index in points[count:]
    ]
    runs: dict[str, PlannedRun] = {}
    trunks: dict[_Start, PlannedRun] = {}
    for one, horizons, saved in _with_points(size_plans, points[:count]):
        parent = trunks.get(_start(one, one.size_plan.grow_from))
        made = one.planner.runs(one.size_plan, one.fit, horizons, saved, parent)
        trunks[_start(one, one.size_plan.size)] = made[0]
        for number, run in enumerate(made):
            # arms may have one trunk
            if not (number == 0 and saved and run.run_id in runs):
                assert run.run_id not in runs, f"{run.run_id} is planned twice"
                runs[run.run_id] = run
    seconds = whole if not cut else _packed_seconds(size_plans, points[:count], slots)
    return list(runs.values()), seconds, cut


# A trunk that others may grow from: its arm, size and seed.
_Start: TypeAlias = tuple[Values, str | None, int]


def _start(one: FittedSize, size: str | None) -> _Start:
    return one.planner.arm, size, one.size_plan.seed


def _with_points(
    size_plans: Sequence[FittedSize], points: Sequence[tuple[float, int, int]]
) -> list[tuple[FittedSize, list[Horizon], tuple[int, ...]]]:
    """Return the size plans with any of ``points``, and those that such a size plan grows from.

    Each has its horizons, and the steps that its trunk must save; () where there is no trunk.
    """
    horizons: list[list[Horizon]] = [[] for _ in size_plans]
    for _, number, index in sorted(points, key=lambda point: point[1:]):
        horizons[number].append(size_plans[number].size_plan.horizons[index])
    fitted = []
    pairs = zip(size_plans, horizons, strict=True)
    for _, arm in itertools.groupby(pairs, key=lambda pair: pair[0].planner.arm):
        ones, own = zip(*arm, strict=True)
        still = needed([one.size_plan for one in ones], [bool(some) for some in own])
        fitted += [
            (FittedSize(one.planner, size_plan, one.fit), some)
            for one, size_plan, some in zip(ones, still, own, strict=True)
            if size_plan is not None
        ]
    return [(*one, saved) for one, saved in zip(fitted, _trunk_steps(fitted), strict=True)]


def _trunk_steps(fitted: Sequence[tuple[FittedSize, list[Horizon]]]) -> list[tuple[int, ...]]:
    """Return the steps that each trunk must save for its horizons and for what grows from it.

    A trunk of several arms saves the steps of all. () where there is no trunk.
    """
    steps: dict[object, set[int]] = defaultdict(set)
    branches: dict[object, int] = defaultdict(int)
    for one, horizons in fitted:
        key = one.planner.trunk_key(one.size_plan)
        steps[key] |= {*(h.branch_step for h in horizons), *one.size_plan.grow_steps}
        branches[key] += len(horizons) + len(one.size_plan.grow_steps)
    saved = []
    for one, _ in fitted:
        key = one.planner.trunk_key(one.size_plan)
        has_trunk = one.planner.shares_trunk and branches[key] > 1
        saved.append(tuple(sorted(steps[key])) if has_trunk else one.size_plan.grow_steps)
    return saved


def _packed_seconds(
    size_plans: Sequence[FittedSize], points: Sequence[tuple[float, int, int]], slots: int
) -> float:
    tasks: list[TimedTask] = []
    trunks: dict[_Start, tuple[int, int]] = {}  # place and steps
    places: dict[object, int] = {}
    for one, horizons, saved in _with_points(size_plans, points):
        size_plan, first = one.size_plan, len(tasks)
        start: tuple[int | None, float] = (None, 0.0)
        if size_plan.grow_from is not None:
            place, steps = trunks[_start(one, size_plan.grow_from)]
            start = (place, size_plan.grow_step / steps * tasks[place].seconds)
        own = one.planner.tasks(size_plan, one.fit, horizons, saved)
        trunk = places.setdefault(one.planner.trunk_key(size_plan), first)
        if saved and trunk != first:  # another arm's, which this one branches from too
            own = own[1:]
        for task in own:
            parent = start if task.parent is None else (trunk, task.after_seconds)
            tasks.append(TimedTask(task.seconds, *parent, task.slots))
        if saved:
            trunks[_start(one, size_plan.size)] = (trunk, saved[-1])
    return WORKER_START_SECONDS + makespan_seconds(tasks, slots)
