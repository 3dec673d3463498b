"""Plan a sweep: its runs, their cost, and what does not fit; without torch or pydantic."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from scaling_law.config.sweep_config import Arm, SweepConfig
from scaling_law.errors import PlanError
from scaling_law.plan.arm_planner import ArmPlanner, FittedSize
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.grid import refuse_too_many
from scaling_law.plan.plan import LeftOut, Plan, PlannedRun
from scaling_law.plan.size_plan import SizePlan
from scaling_law.plan.steps import JointShape, StepShape
from scaling_law.plan.time_limit import within_time
from scaling_law.spec.arms import Values, arm_name, arm_of
from scaling_law.spec.counts import count_params
from scaling_law.spec.data import DataSpec, TaskSpec
from scaling_law.spec.optim import RuleOverrides
from scaling_law.spec.run import RunSpec
from scaling_law.spec.schedule import lr_factor
from scaling_law.units import count_of

CHECKPOINT_BYTES_PER_PARAM = 12  # fp32 weights and two moments
RUN_FILES_BYTES = 30_000
_MOST_ARMS = 3  # arms that a message names
# The length of the training split, or that of each arm's data; None while unknown, or where a
# task's examples have no end.
TrainTokens: TypeAlias = int | Mapping[DataSpec | TaskSpec, int | None] | None

# The training tokens of each component, by the data; None while unknown.
ComponentTokens: TypeAlias = Mapping[DataSpec | TaskSpec, Mapping[str, int] | None]


def make_plan(
    config: SweepConfig,
    profile: DeviceProfile,
    *,
    train_tokens: TrainTokens,
    component_tokens: ComponentTokens | None = None,
) -> Plan:
    """Expand the grid, fit it to the device and the limits, and estimate its cost.

    ``component_tokens`` are asked for data that arms read in a mixture. Raises ``PlanError`` when
    the grid cannot run as the config asks, or when no point fits.
    """
    refuse_too_many(config)
    limit_bytes = _limit_bytes(config, profile)
    planners = _planners(config, profile, train_tokens, component_tokens)
    left_out: list[LeftOut] = []
    size_plans: list[FittedSize] = []
    for planner, of_arm in _expanded(planners):
        for size_plan in of_arm:
            fit = planner.fit(size_plan)
            if isinstance(fit, str):
                fewer = _fewer_slots(planner, size_plan, profile.slots, limit_bytes)
                left_out += [
                    LeftOut(label=planner.label(size_plan, h), reason=fit + fewer)
                    for h in size_plan.horizons
                ]
            else:
                size_plans.append(FittedSize(planner, size_plan, fit))
    runs, seconds, cut = within_time(size_plans, profile.slots, config.limits.time)
    left_out += cut
    if not runs:
        first = left_out[0]
        raise PlanError(
            f"{config.where('grid')}: nothing of the grid fits: {first.label}: {first.reason}"
        )
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


def step_shapes(
    config: SweepConfig,
    profile: DeviceProfile,
    *,
    train_tokens: TrainTokens,
    component_tokens: ComponentTokens | None = None,
) -> tuple[StepShape, ...]:
    """Return the shapes of the grid's training steps that can be measured, each once.

    Raises ``PlanError`` as ``make_plan`` does.
    """
    sizes = _fitted(config, profile, train_tokens, component_tokens)
    shapes = (one.planner.shape(one.size_plan, one.fit) for one in sizes)
    return tuple(dict.fromkeys(shape for shape in shapes if shape is not None))


def joint_shapes(
    config: SweepConfig,
    profile: DeviceProfile,
    *,
    train_tokens: TrainTokens,
    component_tokens: ComponentTokens | None = None,
) -> tuple[JointShape, ...]:
    """Return likewise the shapes of steps of several devices together."""
    sizes = _fitted(config, profile, train_tokens, component_tokens)
    shapes = (one.planner.joint_shape(one.size_plan, one.fit) for one in sizes)
    return tuple(dict.fromkeys(shape for shape in shapes if shape is not None))


def _fitted(
    config: SweepConfig,
    profile: DeviceProfile,
    train_tokens: TrainTokens,
    component_tokens: ComponentTokens | None,
) -> Iterator[FittedSize]:
    """Yield the size plans of all arms that fit."""
    refuse_too_many(config)
    planners = _planners(config, profile, train_tokens, component_tokens)
    for planner, size_plans in _expanded(planners):
        for size_plan in size_plans:
            fit = planner.fit(size_plan)
            if not isinstance(fit, str):
                yield FittedSize(planner, size_plan, fit)


def _limit_bytes(config: SweepConfig, profile: DeviceProfile) -> int:
    return min(config.limits.memory or profile.memory_bytes, profile.memory_bytes)


def _planners(
    config: SweepConfig,
    profile: DeviceProfile,
    train_tokens: TrainTokens,
    component_tokens: ComponentTokens | None,
) -> list[ArmPlanner]:
    slot_bytes = _limit_bytes(config, profile) // profile.slots
    return [
        ArmPlanner(
            arm,
            profile,
            slot_bytes,
            _tokens_of(arm, train_tokens),
            (component_tokens or {}).get(arm.config.data_spec),
        )
        for arm in config.arms
    ]


def _expanded(planners: Sequence[ArmPlanner]) -> list[tuple[ArmPlanner, list[SizePlan]]]:
    """Return the size plans of every arm.

    Raises ``PlanError`` with each problem once; one that not all arms have names those that do.
    """
    expanded: list[tuple[ArmPlanner, list[SizePlan]]] = []
    problems: dict[str, list[str]] = defaultdict(list)
    for planner in planners:
        try:
            expanded.append((planner, planner.size_plans()))
        except PlanError as refused:
            for line in refused.lines:
                problems[line].append(arm_name(planner.arm))
    if problems:
        lines = (
            line if len(arms) == len(planners) else f"{line} ({_arms_words(arms)})"
            for line, arms in problems.items()
        )
        raise PlanError(*lines)
    return expanded


def _arms_words(arms: Sequence[str]) -> str:
    more = f"; and {len(arms) - _MOST_ARMS} more" if len(arms) > _MOST_ARMS else ""
    return f"{'arm' if len(arms) == 1 else 'arms'} {'; '.join(arms[:_MOST_ARMS])}{more}"


def _fewer_slots(planner: ArmPlanner, size_plan: SizePlan, slots: int, limit_bytes: int) -> str:
    """Name the most slots at which a size fits that does not fit now; "" where none is enough."""
    for fewer in range(slots - 1, 0, -1):
        if not isinstance(planner.fit(size_plan, limit_bytes // fewer), str):
            return f"; it fits with limits.slots: {fewer} ({count_of(fewer, 'run')} at once)"
    return ""


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
    by_arm: dict[Values, set[tuple[RunSpec, tuple[float, ...]]]] = defaultdict(set)
    for run in runs if config.crossed else ():
        by_arm[arm_of(run.spec)].add(_as_trained(run.spec))
    first: dict[frozenset[tuple[RunSpec, tuple[float, ...]]], Values] = {}
    for values, specs in by_arm.items():
        other = first.setdefault(frozenset(specs), values)
        if other is values:
            continue
        key = next(key for key, value in values if dict(other)[key] != value)
        places = [
            (*path, "axes", key)
            for path in ((), *(("grid", number) for number in range(len(config.grid))))
            if (*path, "axes", key) in config.marks
        ]
        where = config.where(*(places[0] if places else ("axes", key)))  # from --set axes={...}
        raise PlanError(
            f"{where}: {arm_name(other)} and {arm_name(values)} are the same runs: this varies"
            " nothing that training depends on; leave the axis out"
        )


def _disk_bytes(runs: Sequence[PlannedRun], slots: int) -> int:
    """Estimate the bytes of the trunks' saved states, of the running ones and of small files."""
    states = [count_params(r.spec.model).total * CHECKPOINT_BYTES_PER_PARAM for r in runs]
    saved = sum(size * len(r.resources.save_steps) for size, r in zip(states, runs, strict=True))
    flying = 1 + max(run.resources.keep_checkpoints for run in runs)
    # two more states to go back to after a loss spike
    flying *= 3 if any(run.spec.spikes for run in runs) else 1
    return saved + slots * flying * max(states) + RUN_FILES_BYTES * len(runs)


_COMPARED_STEPS = 64


def _as_trained(spec: RunSpec) -> tuple[RunSpec, tuple[float, ...]]:
    """What training depends on: the spec without its names, and its learning rate by step.

    The rule is a name for the values that the spec holds, and a schedule may leave a setting out of
    account, such as its cooldown.
    """
    last = spec.total_steps - 1
    # whole numbers: a quotient of floats can round past the last step of an absurdly long run
    steps = sorted({last * i // _COMPARED_STEPS for i in range(_COMPARED_STEPS + 1)})
    rates = tuple(lr_factor(spec.schedule, step, spec.total_steps) for step in steps)
    schedule = dataclasses.replace(
        spec.schedule,
        shape="constant",
        shape_part=None,
        cooldown="linear",
        cooldown_part=None,
        final_frac=0.0,
        recorded_end=spec.schedule.end,
    )
    optim = dataclasses.replace(spec.optim, rule="", overrides=RuleOverrides(), rule_part=None)
    plain = dataclasses.replace(
        spec,
        label="run",
        tags=(),
        branch=None,
        growth=None,
        early_stop=None,
        schedule=schedule,
        optim=optim,
    )
    return plain, rates
