"""Choose the planned runs that train in step as one program, and estimate the gain.

Seeds of one size, and their cooldowns, run the same program. On a CPU the gain falls with the
width, the tokens of a step and the vocabulary: at a width of 64 and 512 tokens it was a sixth of
the time, at a width of 96, or at 4,096 tokens, nothing or a loss (benchmarks/stack.py). Where the
step of a shape was measured on this machine, so was its gain, which then counts instead. A stack
occupies one slot, so it pays only where the sweep as a whole ends sooner.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from scaling_law import parts
from scaling_law.plan.packing import makespan_seconds
from scaling_law.plan.plan import Plan, PlannedRun, tasks_of
from scaling_law.plan.steps import MeasuredStep, StepShape, measured_model
from scaling_law.plan.time_limit import WORKER_START_SECONDS
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.counts import count_params, memory_bytes
from scaling_law.spec.data import DataSpec
from scaling_law.spec.model import Model
from scaling_law.spec.run import RunSpec

Steps: TypeAlias = Mapping[StepShape, MeasuredStep]
NO_STEPS: Steps = {}
# On a GPU, kernel launches dominate models below this; the gain is unmeasured and not estimated.
GPU_PARAMS_MATMUL = 15_000_000
MOST_MEMBERS = {"cpu": 16}
MOST_MEMBERS_ON_GPU = 128
# A stack rounds differently; it must take less than this share of the time to be worth that.
_WORTHWHILE = 0.98


def has_fast_loss(spec: RunSpec) -> bool:
    """Say whether a model may compute the run's loss itself, in a stack or compiled."""
    objective = parts.load("objective", spec.objective_component.reference)
    # a task may weight its targets, or have fewer targets than positions
    is_plain = objective.fast and objective.weigher is None
    return bool(is_plain) and isinstance(spec.data, DataSpec)


def gain(model: Model, batch_tokens: int, device_kind: str) -> float:
    """Return how many times as fast a stack is as its members one after the other.

    1 where that is not known, 0 where the model's architecture cannot be stacked.
    """
    stack_gain = architecture_of(model).stack_gain
    return stack_gain(model, batch_tokens, device_kind) if stack_gain else 0.0


def _optimizer_stacks(spec: RunSpec) -> bool:
    """Say whether the run's optimizer supports stacks."""
    optimizer = parts.load("optimizer", spec.optim.component.reference)
    return bool(optimizer.stacks)


def _gain_of(run: PlannedRun, device_kind: str, steps: Steps) -> float:
    """Return ``gain`` of a run's step, as measured where it was."""
    spec = run.spec
    expected = gain(spec.model, spec.batch_tokens, device_kind)
    model = measured_model(spec.model) if steps and expected > 1 else None
    if model is None:
        return expected
    shape = StepShape(model=model, seqs=spec.batch_seqs, precision=spec.precision)
    step = steps.get(shape)
    return expected if step is None or step.stack_gain is None else step.stack_gain


def stackable(run: PlannedRun, device_kind: str, steps: Steps = NO_STEPS) -> bool:
    """Say whether ``run`` can share a program with others."""
    if run.resources.gradient_checkpointing or run.resources.micro_seqs is not None:
        return False  # it hardly fits a slot alone
    if run.resources.devices_of(run.spec).devices > 1:
        return False
    if run.spec.number_format is not None:
        return False  # a stack's products are not those of its members' modules
    if not (has_fast_loss(run.spec) and _optimizer_stacks(run.spec)):
        return False
    faster = _gain_of(run, device_kind, steps)
    if device_kind == "cpu":
        return faster > 1
    return faster > 0 and count_params(run.spec.model).matmul < GPU_PARAMS_MATMUL


def with_stacks(plan: Plan, steps: Steps = NO_STEPS) -> Plan:
    """Return the plan with runs stacked where the sweep is estimated to end sooner.

    All runs of a shape share one stack, or one stack a slot: the faster of the two. Run ids do not
    change. ``steps`` are those that were measured on the device.
    """
    if plan.device_kind != "cpu":
        # the gain is not measured, so each requested slot gets a stack
        return _stacked(plan, plan.slots, steps)
    best = min((_stacked(plan, parts, steps) for parts in (1, plan.slots)), key=_seconds)
    return best if _seconds(best) <= _WORTHWHILE * plan.seconds_estimate else plan


def _seconds(plan: Plan) -> float:
    return plan.seconds_estimate


def _stacked(plan: Plan, parts: int, steps: Steps) -> Plan:
    """Return the plan with every shape's runs in at least ``parts`` stacks."""
    groups = _groups(plan, parts, steps)
    changed = {run.run_id: run for group in groups for run in _stack(group, plan, steps)}
    runs = tuple(changed.get(run.run_id, run) for run in plan.runs)
    seconds = WORKER_START_SECONDS + makespan_seconds(tasks_of(runs)[0], plan.slots)
    return dataclasses.replace(plan, runs=runs, seconds_estimate=seconds)


def _groups(plan: Plan, parts: int, measured: Steps) -> list[list[PlannedRun]]:
    """Group runs of one shape over the same steps, as many together as a slot's memory holds."""
    alike: dict[tuple[object, ...], list[PlannedRun]] = {}
    for run in plan.runs:
        spec = run.spec
        if stackable(run, plan.device_kind, measured):
            shape = (spec.model, spec.data, spec.batch_tokens, spec.precision, spec.eval)
            steps = (spec.start_step, spec.total_steps)
            start = spec.parent.at_step if spec.parent else None
            alike.setdefault((shape, steps, spec.kind, start), []).append(run)
    trunks_first = sorted(alike.items(), key=lambda item: item[0][-1] is not None)
    groups: list[list[PlannedRun]] = []
    stack_of: dict[str, int] = {}
    for _, every in trunks_first:
        # runs whose trunks share a stack go together, because they are ready at the same time
        families: dict[object, list[PlannedRun]] = {}
        for run in every:
            trunk = run.spec.parent.trunk_id if run.spec.parent else ""
            families.setdefault(stack_of.get(trunk, trunk), []).append(run)
        for runs in families.values():
            # runs with a trunk are already split by their trunks' stacks
            for group in _cut(runs, plan, 1 if runs[0].spec.parent else parts):
                stack_of.update(dict.fromkeys((run.run_id for run in group), len(groups)))
                groups.append(group)
    return groups


def _cut(runs: list[PlannedRun], plan: Plan, parts: int) -> list[list[PlannedRun]]:
    """Split runs of one shape into at least ``parts`` stacks, each within a slot's memory."""
    slot_bytes = plan.memory_limit_bytes // plan.slots
    most = MOST_MEMBERS.get(plan.device_kind, MOST_MEMBERS_ON_GPU)
    room = 1 + max(0, slot_bytes - runs[0].memory_bytes) // _member_bytes(runs[0], plan)
    most = min(most, room, -(-len(runs) // parts))
    cut = [runs[i : i + most] for i in range(0, len(runs), most)]
    # on CUDA a stack of one pays too: its whole step is recorded (train.static_step)
    least = 1 if plan.device_kind == "cuda" else 2
    return [part for part in cut if len(part) >= least]


def _member_bytes(run: PlannedRun, plan: Plan) -> int:
    """Estimate the bytes of one more member: its state, its activations, its order of the data."""
    spec = run.spec
    order = (plan.train_tokens or 0) // spec.model.n_ctx * 2 * 4  # of two epochs, int32
    return memory_bytes(spec.model, spec.batch_seqs, spec.precision) + order


def _stack(group: Sequence[PlannedRun], plan: Plan, steps: Steps) -> list[PlannedRun]:
    faster = _gain_of(group[0], plan.device_kind, steps)
    shared = (len(group) - 1) * _member_bytes(group[0], plan)
    return [
        dataclasses.replace(
            run,
            resources=dataclasses.replace(run.resources, stack=group[0].run_id),
            seconds=run.seconds / faster,
            memory_bytes=run.memory_bytes + shared,
        )
        for run in group
    ]
