"""Measures the speed of a sweep against its plan, and the time left at that pace."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scaling_law.plan.packing import TimedTask, makespan_seconds
from scaling_law.plan.plan import Plan, PlannedRun

# A ratio of fewer seconds of finished work, planned and measured, is noise.
_LEAST_SECONDS = 2.0


class RunProgress(Protocol):
    """The part of a ``snapshot.RunState`` that the estimate reads."""

    @property
    def run_id(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def step(self) -> int: ...

    @property
    def share(self) -> float: ...

    @property
    def tokens_per_second(self) -> float | None: ...


@dataclass(frozen=True, kw_only=True)
class SweepPace:
    """How fast a sweep runs, and how long the rest takes."""

    ratio: float | None  # measured over planned seconds of the work done so far
    seconds_left: float | None  # of the whole sweep; None if nothing is left
    of_runs: dict[str, float]  # seconds left of each running run, by its own speed


class _Measured:
    """Measured beside planned seconds of the work done so far, by size of model.

    A plan may be off by another factor at each size: always where it knows nothing of a user's own
    command.
    """

    def __init__(self) -> None:
        self._by_size: dict[float, tuple[float, float]] = {}

    def add(self, planned: PlannedRun, seconds: float, share: float) -> None:
        """Count ``seconds`` of work, which was the ``share`` of a run that is done."""
        size = _flops_per_token(planned)
        measured, expected = self._by_size.get(size, (0.0, 0.0))
        self._by_size[size] = measured + seconds, expected + planned.seconds * share

    @property
    def ratio(self) -> float | None:
        """Measured over planned seconds of all work; None where too little is done."""
        pairs = self._by_size.values()
        return _ratio(sum(one for one, _ in pairs), sum(one for _, one in pairs))

    @property
    def by_size(self) -> dict[float, float]:
        """The same ratio at each size with enough work done."""
        ratios = {size: _ratio(*both) for size, both in self._by_size.items()}
        return {size: ratio for size, ratio in ratios.items() if ratio is not None}


def _ratio(measured: float, planned: float) -> float | None:
    # a plan of milliseconds may be of a command that takes minutes
    known = planned > 0 and max(planned, measured) >= _LEAST_SECONDS
    return measured / planned if known else None


def _flops_per_token(planned: PlannedRun) -> float:
    return planned.flops_alone / planned.spec.tokens


def _ratio_for(planned: PlannedRun, by_size: Mapping[float, float]) -> float:
    """The ratio at the size nearest to a run's; 1 where none is known."""
    size = _flops_per_token(planned)
    if size in by_size:
        return by_size[size]
    nearest = min(by_size, key=lambda other: abs(math.log(other / size)), default=None)
    return 1.0 if nearest is None else by_size[nearest]


def flops_done(plan: Plan, runs: Sequence[RunProgress]) -> float:
    """The fraction of the plan's FLOPs that is spent, without what early stops saved."""
    spent, total = 0.0, plan.flops_total
    for planned, run in zip(plan.runs, runs, strict=True):
        finished = run.state in ("done", "diverged")
        spent += planned.flops_spent * (1.0 if finished else run.share)
        if run.state == "stopped_early":
            total -= planned.flops_spent * (1.0 - run.share)
    return spent / total


def measure_pace(
    plan: Plan, runs: Sequence[RunProgress], seconds: Mapping[str, float]
) -> SweepPace:
    """The pace of ``runs`` (in the plan's order); ``seconds`` holds those of finished runs."""
    together = Counter(run.resources.stack for run in plan.runs if run.resources.stack)
    measured = _Measured()
    of_runs: dict[str, float] = {}
    for planned, run in zip(plan.runs, runs, strict=True):
        if run.run_id in seconds and run.share > 0:
            measured.add(planned, seconds[run.run_id], run.share)
        elif run.state == "started" and run.tokens_per_second:
            alone = _own_tokens(planned) / run.tokens_per_second
            # all members of a stack share one clock
            members = together.get(planned.resources.stack or "", 1)
            measured.add(planned, alone * run.share / members, run.share)
            of_runs[run.run_id] = alone * (1 - run.share)
    return SweepPace(
        ratio=measured.ratio,
        seconds_left=_seconds_left(plan, runs, measured.by_size, of_runs),
        of_runs=of_runs,
    )


def _own_tokens(planned: PlannedRun) -> int:
    spec = planned.spec
    return (spec.total_steps - spec.start_step) * spec.batch_tokens


def _seconds_left(
    plan: Plan,
    runs: Sequence[RunProgress],
    by_size: Mapping[float, float],
    of_runs: Mapping[str, float],
) -> float | None:
    """The time left, with the rest packed on the slots like the plan.

    ``by_size`` are the ratios of measured to planned seconds.
    """
    left: dict[str, float] = {}  # seconds by task: a run, or a stack of runs
    members: dict[str, list[tuple[PlannedRun, RunProgress]]] = {}
    for planned, run in zip(plan.runs, runs, strict=True):
        if run.state in ("started", "stopped", "waiting"):
            name = planned.resources.stack or run.run_id
            members.setdefault(name, []).append((planned, run))
            if run.run_id in of_runs:
                left[name] = max(left.get(name, 0.0), of_runs[run.run_id])
    if not members:
        return None
    tasks: list[TimedTask] = []
    place: dict[str, int] = {}  # run id -> index of its task
    at = {run.run_id: run for run in runs}
    busy = sum(any(run.state == "started" for _, run in group) for group in members.values())
    for name, group in members.items():
        rest = sum(
            planned.seconds * (1 - run.share) * _ratio_for(planned, by_size)
            for planned, run in group
        )
        seconds = left.get(name, rest)
        place |= {run.run_id: len(tasks) for _, run in group}
        tasks.append(_task(plan, group[0][0], seconds, tasks, place, at))
    return makespan_seconds(tasks, max(plan.slots, busy))


def _task(
    plan: Plan,
    planned: PlannedRun,
    seconds: float,
    tasks: Sequence[TimedTask],
    place: Mapping[str, int],
    at: Mapping[str, RunProgress],
) -> TimedTask:
    """A task of ``seconds`` that waits until its trunk has reached the branch point."""
    start, slots = planned.spec.parent, planned.slots or 1
    if start is None or start.trunk_id not in place:
        return TimedTask(seconds, slots=slots)
    where, trunk = place[start.trunk_id], at[start.trunk_id]
    total = plan.by_id[start.trunk_id].spec.total_steps
    if trunk.step >= start.at_step or where == len(tasks):
        return TimedTask(seconds, slots=slots)
    to_go = (start.at_step - trunk.step) / max(total - trunk.step, 1)
    return TimedTask(seconds, where, to_go * tasks[where].seconds, slots)
