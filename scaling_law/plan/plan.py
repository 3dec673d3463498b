"""Plan a sweep: its runs, their cost, and what does not fit; without torch or pydantic.

Each size and seed trains one trunk at a constant learning rate, and each horizon's cooldown
branches off it (WSD: arXiv 2404.06395, 2405.18392), so the tokens before the longest branch
point are trained once. A single horizon, or another schedule, is a single run.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from scaling_law import parts
from scaling_law.config.load import CONFIG_KEY, Arm, SweepConfig
from scaling_law.config.schema import DEVICE_KINDS
from scaling_law.decode import build
from scaling_law.errors import PlanError, quoted
from scaling_law.files import checksum
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.grid import Horizon, SizePlan, expand, refuse_too_many
from scaling_law.plan.growth import growth_from, linked, needed
from scaling_law.plan.memory import SlotFit, data_bytes, fit_slot
from scaling_law.plan.packing import Task, chain_seconds, makespan_seconds
from scaling_law.spec.arms import Values, arm_digest, arm_label, arm_name, arm_of, arm_tags
from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params, train_flops
from scaling_law.spec.run import (
    DEFAULT_OBJECTIVE,
    LEAST_SIBLINGS,
    MAX_LABEL,
    STAGE_TAG,
    Branch,
    DataSpec,
    EarlyStop,
    Growth,
    Resources,
    RunSpec,
    TaskSpec,
    resources_from_json,
    run_spec_from_json,
    to_json,
)
from scaling_law.units import format_seconds
from scaling_law.versions import PLAN, NewerVersion

# A worker process loads torch once (3.6 s on 2 cores); each run then opens its folder, builds
# its model and writes its files.
WORKER_START_SECONDS = 4.0
RUN_START_SECONDS = 0.5
CHECKPOINT_BYTES_PER_PARAM = 12  # fp32 weights and two moments
RUN_FILES_BYTES = 30_000
RECOMPUTE = 4 / 3  # gradient checkpointing runs the forward pass a second time


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run and its estimates.

    ``seconds`` is its time on one slot;
    ``memory_bytes`` is its peak memory, the runtime included;
    ``flops_spent`` are the exact FLOPs of this run only;
    ``flops_alone`` are its exact FLOPs as if it trained from step 0;
    ``epochs`` are its passes over the training split: None while the length of a text is unknown,
    0 where a task's examples have no end.
    """

    spec: RunSpec
    resources: Resources
    seconds: float
    memory_bytes: int
    flops_spent: float
    flops_alone: float
    epochs: float | None

    @property
    def run_id(self) -> str:
        """The id of its spec."""
        return self.spec.run_id


@dataclass(frozen=True, kw_only=True)
class PlannedArm:
    """The runs of one arm and their cost.

    ``values`` are the axes' values, by key;
    ``points`` counts the annealed runs;
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
    def flops_total(self) -> float:
        """Exact FLOPs the sweep spends."""
        return sum(run.flops_spent for run in self.runs)

    @property
    def flops_if_from_scratch(self) -> float:
        """Exact FLOPs of the same annealed points, each trained from step 0."""
        return sum(run.flops_alone for run in self.runs if run.spec.kind != "trunk")

    @property
    def saving_frac(self) -> float:
        """Share of the from-scratch FLOPs that branching saves."""
        return 1 - self.flops_total / self.flops_if_from_scratch

    def ready(
        self,
        done: Collection[str],
        saved: Mapping[str, Collection[int]],
        busy: Collection[str] = (),
    ) -> list[PlannedRun]:
        """Return the runs that can start now, longest remaining chain first.

        ``done`` are the ids of runs that have ended (finished, failed or given up); ``busy`` are
        the ids of runs that train now; ``saved`` holds the steps whose state each trunk has on
        disk. A branch or grown run is ready as soon as its step is saved, before its trunk ends,
        and once the siblings that its early stop learns from have ended, so that the order of the
        workers changes nothing.
        """
        startable = []
        for run in self.runs:
            parent = run.spec.parent
            if run.run_id in done or run.run_id in busy:
                continue
            if parent is not None and parent.at_step not in saved.get(parent.trunk_id, ()):
                continue
            stop = run.spec.early_stop
            if stop is None or all(sibling in done for sibling in stop.siblings):
                startable.append(run)
        return sorted(startable, key=lambda run: -self.priority[run.run_id])

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain values for ``plan.json``."""
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
        runs = []
        for run in fields["runs"]:
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


# The length of the training split, or that of each arm's data; None while unknown, or where a
# task's examples have no end.
TrainTokens: TypeAlias = int | Mapping[DataSpec | TaskSpec, int | None] | None


def make_plan(config: SweepConfig, profile: DeviceProfile, *, train_tokens: TrainTokens) -> Plan:
    """Expand the grid, fit it to the device and the limits, and estimate its cost.

    Raises ``PlanError`` when the grid cannot run as the config asks, or when no point fits.
    """
    refuse_too_many(config)
    limit_bytes = min(config.limits.memory or profile.memory_bytes, profile.memory_bytes)
    slot_bytes = limit_bytes // profile.slots
    planners = [
        _Planner(arm, profile, slot_bytes, _tokens_of(arm, train_tokens)) for arm in config.arms
    ]
    left_out: list[LeftOut] = []
    size_plans: list[_Fitted] = []
    problems: dict[str, None] = {}
    for planner in planners:
        try:
            of_arm = planner.size_plans()
        except PlanError as refused:
            problems.update(dict.fromkeys(refused.lines))
            continue
        for size_plan in of_arm:
            fit = planner.fit(size_plan)
            if isinstance(fit, str):
                left_out += [
                    LeftOut(label=planner.label(size_plan, h), reason=fit)
                    for h in size_plan.horizons
                ]
            else:
                size_plans.append(_Fitted(planner, size_plan, fit))
    if problems:
        raise PlanError(*problems)
    runs, seconds, cut = _within_time(size_plans, profile.slots, config.limits.time)
    left_out += cut
    if not runs:
        raise PlanError(f"nothing of the grid fits: {left_out[0].label}: {left_out[0].reason}")
    _refuse_same_arms(config, runs)
    return Plan(
        name=config.name,
        device_kind=profile.kind,
        device_name=profile.name,
        slots=profile.slots,
        precision=_joined(planner.precision for planner in planners),
        precision_reason=_joined(planner.precision_reason for planner in planners),
        runs=tuple(runs),
        left_out=tuple(left_out),
        seconds_estimate=seconds,
        disk_bytes=_disk_bytes(runs, profile.slots),
        train_tokens=_only(planner.train_tokens for planner in planners),
        time_limit_seconds=config.limits.time,
        memory_limit_bytes=limit_bytes,
    )


def _tokens_of(arm: Arm, train_tokens: TrainTokens) -> int | None:
    if isinstance(train_tokens, Mapping):
        return train_tokens[arm.config.data_spec]
    return train_tokens


def _only(numbers: Iterable[int | None]) -> int | None:
    """Return the number that all are; None where they differ."""
    different = set(numbers)
    return different.pop() if len(different) == 1 else None


def _joined(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def _refuse_same_arms(config: SweepConfig, runs: Sequence[PlannedRun]) -> None:
    """Raise ``PlanError`` for arms with the same runs: their axis changes nothing that trains."""
    by_arm: dict[Values, set[RunSpec]] = defaultdict(set)
    for run in runs if config.crossed else ():
        plain = dataclasses.replace(
            run.spec, label="run", tags=(), branch=None, growth=None, early_stop=None
        )
        by_arm[arm_of(run.spec)].add(plain)
    first: dict[frozenset[RunSpec], Values] = {}
    for values, specs in by_arm.items():
        other = first.setdefault(frozenset(specs), values)
        if other is values:
            continue
        key = next(key for key, value in values if dict(other)[key] != value)
        where = next(
            config.where(*path, "axes", key)
            for path in ((), *(("grid", number) for number in range(len(config.grid))))
            if (*path, "axes", key) in config.marks
        )
        raise PlanError(
            f"{where}: {arm_name(other)} and {arm_name(values)} are the same runs: this varies"
            " nothing that training depends on; leave the axis out"
        )


@dataclass(frozen=True)
class _Fitted:
    """A size plan of an arm, and the micro-batch that fits a slot."""

    planner: _Planner
    size_plan: SizePlan
    fit: SlotFit


class _Planner:
    """Turn size plans into runs for one arm of a config and a device."""

    def __init__(
        self,
        arm: Arm,
        profile: DeviceProfile,
        slot_bytes: int,
        train_tokens: int | None,
    ) -> None:
        self.arm, self.config = arm.values, arm.config
        asked = arm.config.precision
        self.precision = profile.precision if asked == "auto" else asked
        self.precision_reason = profile.precision_reason if asked == "auto" else "asked for"
        self.profile = profile.at(self.precision)
        self.slot_bytes = slot_bytes
        self.train_tokens = train_tokens
        self.data, self.eval = self.config.data_spec, self.config.eval.spec()
        objective = self.config.choice("objective").component
        self.objective = None if objective == Component(name=DEFAULT_OBJECTIVE) else objective
        self.probes = tuple(choice.component for choice in self.config.choices["probe"]) or None

    def size_plans(self) -> list[SizePlan]:
        """Return the grid's size plans, parents first. Raises ``PlanError``."""
        shares_trunk = self.config.choice("schedule").part.shares_trunk
        return linked(expand(self.config, self.train_tokens), shares_trunk)

    def label(self, size_plan: SizePlan, horizon: Horizon | None) -> str:
        """Return a run's label, unique within a sweep.

        For example ``nano55k-seed0-h4.19M`` or ``nano55k-seed0-trunk``; the arm comes after the
        size: ``nano55k-weight_decay0.3-seed0-h4.19M``.
        """
        last = "trunk" if horizon is None else size_plan.horizon_names[horizon.index]
        stage = f"-stage{self.config.stage}" if self.config.stage is not None else ""
        tail = f"seed{size_plan.seed}-{last}{stage}"
        if not self.arm:
            return f"{size_plan.size}-{tail}"
        label = f"{size_plan.size}-{arm_label(self.arm)}-{tail}"
        if len(label) <= MAX_LABEL:
            return label
        return f"{size_plan.size}-{arm_digest(self.arm)}-{tail}"

    @property
    def stage_tag(self) -> tuple[tuple[str, str], ...]:
        """The tag of runs of a later stage; those of the first stage have none."""
        stage = self.config.stage
        return () if stage is None else ((STAGE_TAG, str(stage)),)

    def fit(self, size_plan: SizePlan) -> SlotFit | str:
        """Return the largest micro-batch that fits a slot, or the reason why none does."""
        return fit_slot(
            size_plan.model,
            size_plan.batch_tokens // size_plan.model.n_ctx,
            self.precision,
            gradient_checkpointing=self.config.model.gradient_checkpointing,
            fixed_bytes=self.profile.runtime_bytes + data_bytes(size_plan.model, self.train_tokens),
            slot_bytes=self.slot_bytes,
        )

    def seconds(self, size_plan: SizePlan, fit: SlotFit, start: int, stop: int) -> float:
        """Estimate the seconds of training from ``start`` to ``stop`` and of the evaluations."""
        training = self.profile.seconds(size_plan.model, size_plan.batch_tokens * (stop - start))
        training *= RECOMPUTE if fit.gradient_checkpointing else 1
        # a branch has a quarter of the curve's points, as in train.loop
        points = self.eval.curve_points // (4 if start else 1)
        scored = self.eval.val_tokens + points * self.eval.curve_tokens
        # a forward pass is a third of a training step
        return RUN_START_SECONDS + training + self.profile.seconds(size_plan.model, scored) / 3

    def tasks(self, size_plan: SizePlan, fit: SlotFit, horizons: Sequence[Horizon]) -> list[Task]:
        """Return ``tasks_of(self.runs(...))`` without making the runs; a branch's parent is 0."""
        saved = self.trunk_steps(size_plan, horizons)
        if not saved:
            return [Task(self.seconds(size_plan, fit, 0, h.steps)) for h in horizons]
        last = saved[-1]
        trunk = self.seconds(size_plan, fit, 0, last)
        branches = [
            Task(
                self.seconds(size_plan, fit, h.branch_step, h.steps),
                0,
                h.branch_step / last * trunk,
            )
            for h in horizons
        ]
        return [Task(trunk), *branches]

    def trunk_steps(self, size_plan: SizePlan, horizons: Sequence[Horizon]) -> tuple[int, ...]:
        """Return the steps that the trunk must save for these horizons and for what grows from it.

        () where there is no trunk.
        """
        shares_trunk = self.config.choice("schedule").part.shares_trunk
        if not shares_trunk or len(horizons) + len(size_plan.grow_steps) < 2:
            return size_plan.grow_steps
        return tuple(sorted({*(h.branch_step for h in horizons), *size_plan.grow_steps}))

    def run(
        self,
        size_plan: SizePlan,
        fit: SlotFit,
        horizon: Horizon | None,
        total_steps: int,
        branch: Branch | None = None,
        save_steps: tuple[int, ...] = (),
        early_stop: EarlyStop | None = None,
        growth: Growth | None = None,
    ) -> PlannedRun:
        """Return one run of a size plan; ``horizon`` None for its trunk."""
        spec = _checked_spec(
            label=self.label(size_plan, horizon),
            model=size_plan.model,
            data=self.data,
            schedule=size_plan.schedule(self.config, horizon.decay_steps if horizon else None),
            optim=size_plan.optim,
            eval=self.eval,
            batch_tokens=size_plan.batch_tokens,
            total_steps=total_steps,
            precision=self.precision,
            seed=size_plan.seed,
            branch=branch,
            tags=(*_tags(size_plan, horizon), *self.stage_tag, *arm_tags(self.arm)),
            early_stop=early_stop,
            growth=growth,
            spikes=self.config.spike_spec(),
            start_from=size_plan.start_from,
            objective=self.objective,
            probes=self.probes,
        )
        resources = Resources(
            device=self.profile.kind,
            micro_seqs=fit.micro_seqs,
            gradient_checkpointing=fit.gradient_checkpointing,
            save_steps=save_steps,
            **self.config.checkpoints.resources(),
        )
        own_tokens = spec.batch_tokens * (total_steps - spec.start_step)
        return PlannedRun(
            spec=spec,
            resources=resources,
            seconds=self.seconds(size_plan, fit, spec.start_step, total_steps),
            memory_bytes=fit.memory_bytes,
            flops_spent=train_flops(size_plan.model, own_tokens),
            flops_alone=train_flops(size_plan.model, spec.tokens),
            epochs=self.epochs(spec.tokens),
        )

    def epochs(self, tokens: int) -> float | None:
        """Return the passes over the training split.

        0 where a task's examples have no end, None where the length of the text is not known yet.
        """
        if self.train_tokens:
            return tokens / self.train_tokens
        return 0.0 if isinstance(self.data, TaskSpec) else None

    def runs(
        self,
        size_plan: SizePlan,
        fit: SlotFit,
        horizons: Sequence[Horizon],
        parent: PlannedRun | None = None,
    ) -> list[PlannedRun]:
        """Return the trunk and a branch per horizon, or one run per horizon without a trunk.

        ``parent`` is the trunk that a grown size plan starts from.
        """
        growth = growth_from(parent.spec, size_plan.grow_step) if parent else None
        saved = self.trunk_steps(size_plan, horizons)
        if not saved:
            return [self.run(size_plan, fit, h, h.steps, growth=growth) for h in horizons]
        trunk = self.run(size_plan, fit, None, saved[-1], save_steps=saved, growth=growth)
        branches: list[PlannedRun] = []
        for h in horizons:
            branch = Branch(trunk_id=trunk.run_id, at_step=h.branch_step)
            stop = self.early_stop(h, branches)
            branches.append(
                self.run(size_plan, fit, h, h.steps, branch, early_stop=stop, growth=growth)
            )
        return [trunk, *branches]

    def early_stop(self, horizon: Horizon, before: Sequence[PlannedRun]) -> EarlyStop | None:
        """Return the rule that may end a branch early.

        None for a branch with too few shorter ones: it is then the same run as in a sweep without
        early stopping.
        """
        within = self.config.early_stop
        shorter = tuple(r.run_id for r in before if r.spec.total_steps < horizon.steps)
        if within is None or len(shorter) < LEAST_SIBLINGS:
            return None
        return EarlyStop(within=within, siblings=shorter)


def has_fast_loss(spec: RunSpec) -> bool:
    """Say whether a model may compute the run's loss itself, in a stack or compiled."""
    objective = parts.load("objective", spec.objective_component.reference)
    # a task may weight its targets, or have fewer targets than positions
    return bool(objective.fast) and isinstance(spec.data, DataSpec)


def _tags(size_plan: SizePlan, horizon: Horizon | None) -> tuple[tuple[str, str], ...]:
    tags = [("size", size_plan.size), ("seed", str(size_plan.seed))]
    tags += [("root", size_plan.root)] if size_plan.root else []
    if horizon is not None:
        tags.append(("horizon", str(horizon.index)))
        tags += [("cell", f"{horizon.cell:.6g}")] if horizon.cell is not None else []
    return tuple(tags)


def _checked_spec(**fields: Any) -> RunSpec:
    """Build the spec. What it refuses (a label too long, say) is an error of the grid."""
    try:
        return RunSpec(**fields)
    except ValueError as problem:
        raise PlanError(f"{fields['label']}: {problem}") from None


def tasks_of(runs: Sequence[PlannedRun]) -> tuple[list[Task], dict[str, int]]:
    """Return a task per run or stack of runs, for ``packing``, and each run's index in them."""
    index: dict[str, int] = {}  # of a task, by its run or stack
    seconds: list[float] = []
    for run in runs:
        place = index.setdefault(run.resources.stack or run.run_id, len(seconds))
        if place == len(seconds):
            seconds.append(0.0)
        seconds[place] += run.seconds
        index[run.run_id] = place
    steps = {run.run_id: run.spec.total_steps for run in runs}
    tasks = [Task(each) for each in seconds]
    for run in runs:
        start = run.spec.parent
        if start is not None:
            parent, place = index[start.trunk_id], index[run.run_id]
            after = start.at_step / steps[start.trunk_id] * seconds[parent]
            tasks[place] = Task(seconds[place], parent, after)
    return tasks, {run.run_id: index[run.run_id] for run in runs}


def _within_time(
    size_plans: Sequence[_Fitted], slots: int, limit: float | None
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
    keep = len(points)
    if limit is not None and whole > limit:
        keep = bisect.bisect_right(
            range(1, len(points) + 1),
            limit,
            key=lambda count: _packed_seconds(size_plans, points[:count], slots),
        )
    cut = [
        LeftOut(
            label=size_plans[number].planner.label(
                size_plans[number].size_plan, size_plans[number].size_plan.horizons[index]
            ),
            reason=f"the whole grid would take {format_seconds(whole)}, over limits.time"
            f" {format_seconds(limit or 0)}; the points that take longest alone are left out",
        )
        for _, number, index in points[keep:]
    ]
    runs: list[PlannedRun] = []
    trunks: dict[_Start, PlannedRun] = {}
    for one, horizons in _kept(size_plans, points[:keep]):
        parent = trunks.get(_start(one, one.size_plan.grow_from))
        made = one.planner.runs(one.size_plan, one.fit, horizons, parent)
        trunks[_start(one, one.size_plan.size)] = made[0]
        runs += made
    seconds = whole if not cut else _packed_seconds(size_plans, points[:keep], slots)
    return runs, seconds, cut


# A trunk that others may grow from: its arm, size and seed.
_Start: TypeAlias = tuple[Values, str | None, int]


def _start(one: _Fitted, size: str | None) -> _Start:
    return one.planner.arm, size, one.size_plan.seed


def _kept(
    size_plans: Sequence[_Fitted], points: Sequence[tuple[float, int, int]]
) -> list[tuple[_Fitted, list[Horizon]]]:
    """Return the size plans with any of ``points``, and those that such a size plan grows from."""
    horizons: list[list[Horizon]] = [[] for _ in size_plans]
    for _, number, index in sorted(points, key=lambda point: point[1:]):
        horizons[number].append(size_plans[number].size_plan.horizons[index])
    kept = []
    pairs = zip(size_plans, horizons, strict=True)
    for _, arm in itertools.groupby(pairs, key=lambda pair: pair[0].planner.arm):
        ones, own = zip(*arm, strict=True)
        still = needed([one.size_plan for one in ones], [bool(some) for some in own])
        kept += [
            (_Fitted(one.planner, size_plan, one.fit), some)
            for one, size_plan, some in zip(ones, still, own, strict=True)
            if size_plan is not None
        ]
    return kept


def _packed_seconds(
    size_plans: Sequence[_Fitted], points: Sequence[tuple[float, int, int]], slots: int
) -> float:
    tasks: list[Task] = []
    trunks: dict[_Start, tuple[int, int]] = {}  # place and steps
    for one, horizons in _kept(size_plans, points):
        size_plan, first = one.size_plan, len(tasks)
        start: tuple[int | None, float] = (None, 0.0)
        if size_plan.grow_from is not None:
            place, steps = trunks[_start(one, size_plan.grow_from)]
            start = (place, size_plan.grow_step / steps * tasks[place].seconds)
        for task in one.planner.tasks(size_plan, one.fit, horizons):
            parent = start if task.parent is None else (first + task.parent, task.after_seconds)
            tasks.append(Task(task.seconds, *parent))
        if saved := one.planner.trunk_steps(size_plan, horizons):
            trunks[_start(one, size_plan.size)] = (first, saved[-1])
    return WORKER_START_SECONDS + makespan_seconds(tasks, slots)


def _disk_bytes(runs: Sequence[PlannedRun], slots: int) -> int:
    """Estimate the bytes of the trunks' saved states, of the running ones and of small files."""
    states = [count_params(r.spec.model).total * CHECKPOINT_BYTES_PER_PARAM for r in runs]
    kept = sum(size * len(r.resources.save_steps) for size, r in zip(states, runs, strict=True))
    flying = 1 + max(run.resources.keep_checkpoints for run in runs)
    # two more states to go back to after a loss spike
    flying *= 3 if any(run.spec.spikes for run in runs) else 1
    return kept + slots * flying * max(states) + RUN_FILES_BYTES * len(runs)
