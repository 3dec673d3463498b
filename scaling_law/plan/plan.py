"""Describe a planned sweep: its runs with their cost, and the points that are left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from scaling_law.config.schema import DEVICE_KINDS
from scaling_law.config.written import CONFIG_KEY
from scaling_law.decode import build
from scaling_law.errors import PlanError, quoted
from scaling_law.files import checksum
from scaling_law.plan.packing import TimedTask, chain_seconds
from scaling_law.plan.shared import with_shared, without_shared
from scaling_law.spec.arms import Values, arm_of
from scaling_law.spec.fields import OMIT_EMPTY
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.resources import Resources, resources_from_json
from scaling_law.spec.run import RunSpec
from scaling_law.spec.to_json import to_json
from scaling_law.units import count_of
from scaling_law.versions import PLAN, NewerVersion

SHARED = "shared"  # the key of what all runs have in common, in a stored plan


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run and its estimates.

    ``seconds`` is its time on one slot, in a stack its share of the stack's;
    ``memory_bytes`` is its peak memory, the runtime included;
    ``flops_spent`` are the exact FLOPs of this run only;
    ``flops_alone`` are its exact FLOPs as if it trained from step 0;
    ``epochs`` are its passes over the training split: None while the length of a text is unknown,
    0 where a task's examples have no end; in a mixture, those over the component that it repeats
    most;
    ``component_epochs`` are its passes over each component of a mixture, by name; {} without one or
    while the components' lengths are unknown;
    ``speedup`` is how much faster its devices are than one, as measured; None for one device, and
    where ``seconds`` assumes ideal scaling;
    ``slots`` are those that it takes at once, None for one.
    """

    spec: RunSpec
    resources: Resources
    seconds: float
    memory_bytes: int
    flops_spent: float
    flops_alone: float
    epochs: float | None
    component_epochs: dict[str, float] = field(default_factory=dict, metadata=OMIT_EMPTY)
    speedup: float | None = field(default=None, metadata=OMIT_EMPTY)
    slots: int | None = field(default=None, metadata=OMIT_EMPTY)

    @cached_property
    def run_id(self) -> str:
        """The id of its spec."""
        return self.spec.run_id


@dataclass(frozen=True, kw_only=True)
class PlannedArm:
    """The runs of one arm and their cost.

    ``values`` are the axes' values, by key;
    ``points`` counts the runs that are not trunks;
    ``trunks`` counts the trunks;
    ``flops_spent`` are the exact FLOPs of all its runs;
    ``seconds`` is the time of all its runs on one slot.
    """

    values: dict[str, str]
    points: int
    trunks: int
    flops_spent: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A point of the grid that will not run, and why."""

    label: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of a sweep on a measured device, and the points that are left out.

    ``slots`` are the runs at once;
    ``precision`` is that of the runs, and ``precision_reason`` says why;
    ``runs`` have parents first;
    ``left_out`` are the points of the grid that do not run;
    ``seconds_estimate`` is the time of all the runs, packed on ``slots``;
    ``disk_bytes`` is the disk space that the runs need;
    ``train_tokens`` are the tokens of the training split, None where arms differ or none is known;
    ``time_limit_seconds`` is the limit of ``seconds_estimate``, None for no limit;
    ``memory_limit_bytes`` is the memory of all slots together.
    """

    name: str
    device_kind: str
    device_name: str
    slots: int
    precision: str
    precision_reason: str
    runs: tuple[PlannedRun, ...]
    left_out: tuple[LeftOut, ...]
    seconds_estimate: float
    disk_bytes: int
    train_tokens: int | None
    time_limit_seconds: float | None
    memory_limit_bytes: int

    @cached_property
    def by_id(self) -> dict[str, PlannedRun]:
        """The runs by ``run_id``."""
        return {run.run_id: run for run in self.runs}

    @cached_property
    def priority(self) -> dict[str, float]:
        """Seconds from each run's start to the end of the last that depends on it, by run id."""
        tasks, index = tasks_of(self.runs)
        chains = chain_seconds(tasks)
        return {run_id: chains[place] for run_id, place in index.items()}

    @cached_property
    def arms(self) -> tuple[PlannedArm, ...]:
        """The arms in the order of their runs; none in a plan without axes."""
        runs: dict[Values, list[PlannedRun]] = defaultdict(list)
        for run in self.runs:
            runs[arm_of(run.spec)].append(run)
        return tuple(
            PlannedArm(
                values=dict(values),
                points=sum(run.spec.kind != "trunk" for run in own),
                trunks=sum(run.spec.kind == "trunk" for run in own),
                flops_spent=sum(run.flops_spent for run in own),
                seconds=sum(run.seconds for run in own),
            )
            for values, own in runs.items()
            if values
        )

    @property
    def points_words(self) -> str:
        """The runs that are not trunks, by how their schedules end: ``18 annealed points``."""
        ends = [run.spec.schedule.end for run in self.runs if run.spec.kind != "trunk"]
        return points_words(ends)

    @property
    def flops_total(self) -> float:
        """Exact FLOPs the sweep spends."""
        return sum(run.flops_spent for run in self.runs)

    @property
    def flops_if_from_scratch(self) -> float:
        """Exact FLOPs of the same points, each trained from step 0."""
        return sum(run.flops_alone for run in self.runs if run.spec.kind != "trunk")

    @property
    def saving_frac(self) -> float:
        """Share of the from-scratch FLOPs that branching saves."""
        return 1 - self.flops_total / self.flops_if_from_scratch

    def ready(
        self,
        done: Collection[str],
        saved: Callable[[str], Collection[int]],
        busy: Collection[str] = (),
    ) -> Iterator[PlannedRun]:
        """Yield the runs that can start now, longest remaining chain first.

        ``done`` are the ids of runs that have ended (finished, failed or given up); ``busy`` are
        the ids of runs that train now; ``saved`` gives the steps whose state a trunk has on
        disk. A branch or grown run is ready as soon as its step is saved, before its trunk ends,
        and once the siblings that its early stop learns from have ended, so that the order of the
        workers changes nothing.
        """
        for run_id, run, trunk_id, at_step, siblings in self._by_priority:
            if run_id in done or run_id in busy:
                continue
            if trunk_id is not None and at_step not in saved(trunk_id):
                continue
            if not siblings or all(sibling in done for sibling in siblings):
                yield run

    @cached_property
    def _by_priority(self) -> list[tuple[str, PlannedRun, str | None, int, tuple[str, ...]]]:
        """The runs, longest chain first, with their id, parent, its step, and awaited siblings."""
        rows = []
        for run in sorted(self.runs, key=lambda run: -self.priority[run.run_id]):
            parent, stop = run.spec.parent, run.spec.early_stop
            trunk_id, at_step = (parent.trunk_id, parent.at_step) if parent else (None, 0)
            rows.append((run.run_id, run, trunk_id, at_step, stop.siblings if stop else ()))
        return rows

    def stored(self) -> dict[str, Any]:
        """Return the plan as plain values for ``plan.json``, what all runs share written once."""
        plain = self.to_json()
        shared, plain["runs"] = without_shared(plain["runs"])
        return {**plain, SHARED: shared}

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain values, every run spelled out."""
        plain = to_json(self)
        if self.arms:  # for readers of the file; reading a plan ignores it
            plain["arms"] = to_json(self.arms)
        return PLAN.stamp(plain)


def plan_from_json(data: Mapping[str, Any]) -> Plan:
    """Build a plan from its JSON. Raises ``PlanError`` for another version or shape."""
    try:
        fields = {**data}
        PLAN.check(fields.pop("schema_version", None))
        fields.pop(CONFIG_KEY, None)
        fields.pop("arms", None)
        runs, shared = [], fields.pop(SHARED, {})
        for row in fields["runs"]:
            run = with_shared(shared, row)
            spec, resources = run_spec_from_json(run["spec"]), resources_from_json(run["resources"])
            runs.append(build(PlannedRun, {**run, "spec": spec, "resources": resources}))
        if not runs:
            raise ValueError("no runs")
        if fields["device_kind"] not in DEVICE_KINDS:
            raise ValueError(
                f"device_kind is {quoted(fields['device_kind'])}, expected"
                f" {' or '.join(DEVICE_KINDS)}"
            )
        fields["runs"] = tuple(runs)
        fields["left_out"] = tuple(build(LeftOut, item) for item in fields["left_out"])
        return build(Plan, fields)
    except NewerVersion as problem:
        raise PlanError(str(problem)) from None
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        why = problem if isinstance(problem, ValueError) else repr(problem)
        raise PlanError(f"not a plan ({why}); delete it to plan the sweep again") from None


def read_plan(path: Path) -> Plan:
    """Read the plan in ``path``. Raises ``ConfigError`` or ``PlanError``, which name the file."""
    data = checksum.read(path, "delete it to plan the sweep again")
    try:
        return plan_from_json(data)
    except PlanError as problem:
        raise PlanError(f"{path}: {problem}") from None


def points_words(ends: Sequence[str]) -> str:
    """Say how many points there are and how their learning rates end, from ``ScheduleSpec.end``.

    Only an annealed point is one of a law.
    """
    annealed = sum(end == "annealed" for end in ends)
    hot = len(ends) - annealed
    if not hot:
        return count_of(annealed, "annealed point")
    words = f"{count_of(hot, 'point')} that {'does' if hot == 1 else 'do'} not anneal"
    return f"{count_of(annealed, 'annealed point')}, {words}" if annealed else words


def tasks_of(runs: Sequence[PlannedRun]) -> tuple[list[TimedTask], dict[str, int]]:
    """Return a task per run or stack of runs, for ``packing``, and each run's index in them."""
    index: dict[str, int] = {}  # of a task, by its run or stack
    seconds: list[float] = []
    slots: list[int] = []
    for run in runs:
        place = index.setdefault(run.resources.stack or run.run_id, len(seconds))
        if place == len(seconds):
            seconds.append(0.0)
            slots.append(run.slots or 1)
        seconds[place] += run.seconds
        index[run.run_id] = place
    steps = {run.run_id: run.spec.total_steps for run in runs}
    tasks = [TimedTask(each, slots=own) for each, own in zip(seconds, slots, strict=True)]
    for run in runs:
        start = run.spec.parent
        if start is not None:
            parent, place = index[start.trunk_id], index[run.run_id]
            after = start.at_step / steps[start.trunk_id] * seconds[parent]
            tasks[place] = TimedTask(seconds[place], parent, after, slots[place])
    return tasks, {run.run_id: index[run.run_id] for run in runs}
