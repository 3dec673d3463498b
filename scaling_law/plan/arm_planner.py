"""Turn the size plans of one arm into runs: trunks, branches and single runs, with their cost.

Each size and seed trains one trunk at a constant learning rate, and each horizon's cooldown
branches off it (WSD: arXiv 2404.06395, 2405.18392), so the tokens before the longest branch
point are trained once. A single horizon, or another schedule, is a single run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scaling_law import parts
from scaling_law.config.sweep_config import Arm
from scaling_law.errors import ConfigError, PlanError
from scaling_law.parts import Reference
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.grid import expand
from scaling_law.plan.growth import growth_from, linked
from scaling_law.plan.memory import SlotFit, data_bytes, fit_slot
from scaling_law.plan.packing import TimedTask
from scaling_law.plan.parallel import refuse_engine, refuse_parallel
from scaling_law.plan.plan import PlannedRun
from scaling_law.plan.size_plan import Horizon, SizePlan
from scaling_law.plan.steps import (
    JointShape,
    MeasuredStep,
    StepShape,
    joint_shape,
    measured_model,
    measured_part,
)
from scaling_law.spec.arms import Values, arm_digest, arm_label, arm_tags
from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params, train_flops
from scaling_law.spec.data import DataSpec, TaskSpec
from scaling_law.spec.mix import Mix
from scaling_law.spec.model import Model
from scaling_law.spec.optim import DEFAULT_OPTIMIZER
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import (
    DEFAULT_OBJECTIVE,
    LEAST_SIBLINGS,
    MAX_LABEL,
    STAGE_TAG,
    EarlyStop,
    RunSpec,
)
from scaling_law.spec.start import Branch, Growth
from scaling_law.spec.work import Measured, Work
from scaling_law.units import format_count

RUN_START_SECONDS = 0.5  # to open the run's folder, build its model and write its files
# The keys of a config that say in what mixture the text is read.
_MIX_KEYS = ("data.mix", "data.phases")
RECOMPUTE = 4 / 3  # gradient checkpointing runs the forward pass a second time


@dataclass(frozen=True)
class FittedSize:
    """A size plan of an arm, and the micro-batch that fits a slot."""

    planner: ArmPlanner
    size_plan: SizePlan
    fit: SlotFit


class ArmPlanner:
    """Turn size plans into runs for one arm of a config and a device."""

    def __init__(
        self,
        arm: Arm,
        profile: DeviceProfile,
        slot_bytes: int,
        train_tokens: int | None,
        component_tokens: Mapping[str, int] | None,
    ) -> None:
        self.arm, self.config = arm.values, arm.config
        self.mix, self.component_tokens = arm.config.mix, component_tokens
        asked, self.device_kind = arm.config.precision, profile.kind
        self.precision = profile.precision if asked == "auto" else asked
        self.precision_reason = profile.precision_reason if asked == "auto" else "asked for"
        if arm.config.solves:
            self.precision, self.device_kind = "fp32", "cpu"
            self.precision_reason = "solved in closed form, in float64 on the CPU"
        self.profile = profile.at(self.precision)
        self.slot_bytes = slot_bytes
        self.train_tokens = train_tokens
        self.data, self.eval = self.config.data_spec, self.config.eval.spec()
        objective = self.config.choice("objective")
        usual = objective.component == Component(name=DEFAULT_OBJECTIVE)
        self.objective = None if usual else objective.component
        self.reads_reference: bool = objective.part.reads_reference
        number_format = self.config.choice("number_format")
        rounds = number_format.part.round is not None
        self.number_format = number_format.component if rounds else None
        self.slowdown: float = number_format.part.slowdown * objective.part.slowdown
        self.devices, section = arm.config.devices, arm.config.parallel
        self.n_devices = self.devices.devices
        self.parallel = section.spec() if section else None
        self.resume_on = section.resuming() if section else None
        # where a slot is a job with devices of its own, a run takes one, however many it has
        engine = arm.config.choice("engine").part
        is_job = engine.own_devices and not engine.slot_is_device
        self.slots = 1 if is_job else min(self.devices.devices, profile.slots)
        self.probes = tuple(choice.component for choice in self.config.choices["probe"]) or None
        sizes = self.config.task_sizes
        # the tokens of each split: of a text's as many as are asked for
        self.split_tokens = (
            {"train": None, "val": None}
            if sizes is None
            else {name: count and count * sizes.n_ctx for name, count in sizes.splits.items()}
        )
        self._measuring: dict[tuple[Model, bool], Work] = {}
        if self.mix is not None:  # each component is scored as well
            components = self.component_tokens or self.config.components
            self.split_tokens |= {f"val:{name}": None for name in components}

    def size_plans(self) -> list[SizePlan]:
        """Return the grid's size plans, parents first. Raises ``PlanError``."""
        size_plans = linked(expand(self.config, self.train_tokens), self.shares_trunk)
        if self.mix is not None:
            problems = (self.mix_problem(size_plan) for size_plan in size_plans)
            if lines := list(dict.fromkeys(filter(None, problems))):
                raise PlanError(lines[0])
        refused = (line for size_plan in size_plans for line in self.refused_probes(size_plan))
        if lines := list(dict.fromkeys(refused)):
            raise PlanError(*lines)
        refuse_engine(self.config)
        if self.n_devices > 1:
            refuse_parallel(self.config, self.profile, self.precision, size_plans)
        return size_plans

    @property
    def shares_trunk(self) -> bool:
        """Say whether the horizons of a size may branch from one trunk."""
        if self.mix is not None and not self.mix.shares_trunk:
            return False
        return self.config.shares_trunk

    def refused_probes(self, size_plan: SizePlan) -> list[str]:
        """Say which probes cannot measure a size, a line each.

        Raises ``PlanError`` where a user's own probe fails.
        """
        lines = []
        where = self.config.where("probes")
        for choice in self.config.choices["probe"]:
            on_curve = choice.part.when == "curve" and self.eval.curve_points > 0
            for final in (False, True) if on_curve else (True,):
                measured = self.measurement(size_plan.model, final=final)
                try:
                    with parts.users_code(choice.word, choice.reference):
                        why = choice.part.refused(measured, choice.settings)
                except ConfigError as problem:
                    raise PlanError(f"{where}: {problem}") from None
                if why:
                    lines.append(f"{where}: {choice.spelled}: {why}")
                    break
        return lines

    def mix_problem(self, size_plan: SizePlan) -> str:
        """Say why a size cannot be trained in the mixture; "" where it can."""
        assert self.mix is not None
        where = f"{self.config.mix_place}: size {size_plan.size}"
        known = self.component_tokens or {}
        for horizon in size_plan.horizons:
            tokens = format_count(horizon.steps * size_plan.batch_tokens)
            try:
                epochs = self.component_epochs(
                    self.mix, size_plan.batch_tokens, horizon.steps, horizon.decay_steps
                )
            except ValueError as problem:
                return f"{where}: the horizon of {tokens} tokens: {problem}"
            allowed = self.config.data.max_epochs
            most = max(epochs, key=lambda name: epochs[name], default="")
            if most and allowed is not None and epochs[most] > allowed:
                each = ", ".join(f"{name} {count:.3g}" for name, count in epochs.items())
                return (
                    f"{where}: the horizon of {tokens} tokens reads the"
                    f" {format_count(known[most])} training tokens of {most} {epochs[most]:.3g}"
                    f" times, more than data.max_epochs {allowed:g} (epochs: {each}); shorten the"
                    f" horizon, give {most} a smaller share, or raise data.max_epochs"
                )
        return ""

    def component_epochs(
        self, mix: Mix, batch_tokens: int, steps: int, decay_steps: int | None
    ) -> dict[str, float]:
        """Return the passes over each component in a run of so many steps; {} while unknown.

        Raises ``ValueError`` where a phase has no step, or a component no tokens.
        """
        if self.component_tokens is None:
            mix.first_steps(steps, decay_steps)
            return {}
        return mix.epochs(self.component_tokens, batch_tokens, steps, decay_steps)

    def label(self, size_plan: SizePlan, horizon: Horizon | None) -> str:
        """Return a run's label, unique within a sweep.

        For example ``nano55k-seed0-h4.19M`` or ``nano55k-seed0-trunk``; the arm comes after the
        size: ``nano55k-weight_decay0.3-seed0-h4.19M``.
        """
        last = "trunk" if horizon is None else size_plan.horizon_names[horizon.index]
        last = last.replace("+", "")  # of 1e+32: a label is a name of a file
        stage = f"-stage{self.config.stage}" if self.config.stage is not None else ""
        tail = f"seed{size_plan.seed}-{last}{stage}"
        arm = self.trunks_arm if horizon is None else self.arm
        if not arm:
            return f"{size_plan.size}-{tail}"
        label = f"{size_plan.size}-{arm_label(arm)}-{tail}"
        if len(label) <= MAX_LABEL:
            return label
        return f"{size_plan.size}-{arm_digest(arm)}-{tail}"

    @property
    def switches_at_cooldown(self) -> bool:
        """Say whether arms that differ in the mixture of the cooldown have one trunk."""
        return bool(self.arm) and self.mix is not None and self.mix.of_trunk != self.mix

    @property
    def trunks_arm(self) -> Values:
        """The values that a trunk's label has: those of its arm, but only its own mixture.

        They do not say how the mixture changes at the cooldown, which arms with this trunk vary.
        """
        if not self.switches_at_cooldown:
            return self.arm
        assert self.mix is not None
        own = tuple(pair for pair in self.arm if not pair[0].startswith(_MIX_KEYS))
        return (*own, ("data.mix", self.mix.of_trunk.text))

    def trunk_key(self, size_plan: SizePlan) -> object:
        """Return what size plans with one trunk have in common."""
        if not (self.switches_at_cooldown and self.shares_trunk):
            return self, size_plan.size, size_plan.seed
        return self.label(size_plan, None), size_plan.model, size_plan.seed

    @property
    def stage_tag(self) -> tuple[tuple[str, str], ...]:
        """The tag of runs of a later stage; those of the first stage have none."""
        stage = self.config.stage
        return () if stage is None else ((STAGE_TAG, str(stage)),)

    def fit(self, size_plan: SizePlan, slot_bytes: int | None = None) -> SlotFit | str:
        """Return the largest micro-batch that fits a slot, or the reason why none does.

        ``slot_bytes`` is the memory of another slot than the plan's.
        """
        return fit_slot(
            size_plan.model,
            size_plan.batch_tokens // size_plan.model.n_ctx // self.n_devices,
            self.precision,
            parallel=self.devices,
            gradient_checkpointing=self.config.model.gradient_checkpointing,
            fixed_bytes=self.profile.runtime_bytes
            + data_bytes(size_plan.model, self.train_tokens)
            + self._further_state_bytes(size_plan.model)
            + self._rounded_bytes(size_plan.model)
            + self._reference_bytes(size_plan.model),
            slot_bytes=self.slot_bytes if slot_bytes is None else slot_bytes,
        )

    def _further_state_bytes(self, model: Model) -> int:
        """The optimizer's state beyond AdamW's, which the estimate of a model's memory includes."""
        own = self.config.choice("optimizer").part
        usual = parts.load("optimizer", Reference(name=DEFAULT_OPTIMIZER))
        further: float = own.state_bytes_per_param - usual.state_bytes_per_param
        shares = self.n_devices if self.devices.stage else 1
        return round(further * count_params(model).total / shares)

    def _rounded_bytes(self, model: Model) -> int:
        """The rounded copies of the weights, which the backward pass reads."""
        return 4 * count_params(model).matmul if self.number_format is not None else 0

    def _reference_bytes(self, model: Model) -> int:
        """The weights of the model whose losses the objective reads."""
        return 4 * count_params(model).total if self.reads_reference else 0

    def shape(self, size_plan: SizePlan, fit: SlotFit) -> StepShape | None:
        """Return the shape of the size plan's step; None where it cannot be measured beforehand.

        That is so for data, objectives, number formats and optimizers other than the default
        ones, and where the architecture names no step to measure: the thresholds choose the
        kernels.
        """
        is_usual = isinstance(self.data, DataSpec) and self.objective is None
        is_usual = is_usual and self.number_format is None
        if self.profile.kind != "cpu" or not is_usual or size_plan.optim.optimizer is not None:
            return None
        model = measured_model(size_plan.model)
        if model is None:
            return None
        shape = StepShape(
            model=model,
            seqs=fit.micro_seqs or size_plan.batch_tokens // model.n_ctx // self.n_devices,
            precision=self.precision,
            recompute=fit.gradient_checkpointing,
        )
        return None if measured_part(shape) is None else shape

    def measured(self, size_plan: SizePlan, fit: SlotFit) -> MeasuredStep | None:
        """Return the size plan's step as measured; None where it was not."""
        if not self.profile.steps:
            return None
        shape = self.shape(size_plan, fit)
        return None if shape is None else self.profile.step_of.get(shape)

    def joint_shape(self, size_plan: SizePlan, fit: SlotFit) -> JointShape | None:
        """Return the shape of the step of several devices; None where it is not measured.

        That is so for one device, and for data, objectives, number formats and optimizers other
        than the default ones.
        """
        if self.n_devices == 1 or self.objective is not None:
            return None
        if not isinstance(self.data, DataSpec) or self.number_format is not None:
            return None
        model = size_plan.model
        if size_plan.optim.optimizer is not None or model.architecture.source_sha256 is not None:
            return None
        seqs = (fit.micro_seqs or size_plan.batch_tokens // model.n_ctx) * (
            self.n_devices if fit.micro_seqs else 1
        )
        recompute = fit.gradient_checkpointing
        kind = self.device_kind
        return joint_shape(model, seqs, self.precision, recompute, kind, self.devices)

    def speedup(self, size_plan: SizePlan, fit: SlotFit) -> float | None:
        """Return how much faster the devices are than one, as measured; None where it was not."""
        if not self.profile.joint_steps:
            return None
        shape = self.joint_shape(size_plan, fit)
        return None if shape is None else self.profile.speedup_of.get(shape)

    def seconds(self, size_plan: SizePlan, fit: SlotFit, start: int, stop: int) -> float:
        """Estimate the seconds of training from ``start`` to ``stop`` and of the evaluations.

        By the measured step where there is one, else by the speeds that the device has for models
        of other sizes.
        """
        tokens = size_plan.batch_tokens * (stop - start)
        if self.config.trainer is not None:
            # how a command starts and evaluates is not known; its time goes by its steps
            return self.profile.training_seconds(size_plan.model, tokens, stop - start)
        # a branch has a quarter of the curve's points, as in train.loop
        points = self.eval.curve_points // (4 if start else 1)
        model = size_plan.model
        last, of_curve = self.measuring(model, final=True), self.measuring(model, final=False)
        speedup: float = self.n_devices
        if speedup > 1:
            speedup = self.speedup(size_plan, fit) or speedup
        step = self.measured(size_plan, fit)
        if step is not None and step.seconds is not None and step.eval_seconds is not None:
            training = tokens / step.shape.tokens * step.seconds / speedup
            read = last.read_tokens + points * of_curve.read_tokens
            beside = (dataclasses.replace(work, read_tokens=0.0) for work in (last, of_curve))
            at_end, at_point = (self.profile.work_seconds(model, work) for work in beside)
            measuring = read * step.eval_seconds + at_end + points * at_point
            return RUN_START_SECONDS + training + measuring
        training = self.profile.training_seconds(model, tokens, stop - start)
        training *= self.slowdown * (RECOMPUTE if fit.gradient_checkpointing else 1)
        training /= speedup
        at_end, at_point = (self.profile.work_seconds(model, work) for work in (last, of_curve))
        return RUN_START_SECONDS + training + at_end + points * at_point

    def measuring(self, model: Model, *, final: bool) -> Work:
        """Return what a measurement takes: the loss on every validation split, and the probes.

        Raises ``ConfigError`` where a user's own probe fails.
        """
        known = self._measuring.get((model, final))
        if known is None:
            known = self._measuring[model, final] = self._measuring_of(model, final)
        return known

    def measurement(self, model: Model, *, final: bool) -> Measured:
        """What a measurement reads: the last one of a run, or one of a point of its curve."""
        max_tokens = self.eval.val_tokens if final else self.eval.curve_tokens
        sizes = self.config.task_sizes
        return Measured(
            model=model,
            split_tokens={
                name: max_tokens if own is None else min(max_tokens, own)
                for name, own in self.split_tokens.items()
            },
            n_targets=(sizes.n_targets if sizes is not None else 0) or model.n_ctx,
            inputs=sizes.inputs if sizes is not None else "ids",
            targets="numbers" if sizes is not None and sizes.outputs else "ids",
            infills=self.config.choice("objective").part.infill is not None,
        )

    def _measuring_of(self, model: Model, final: bool) -> Work:
        measured = self.measurement(model, final=final)
        total = Work(read_tokens=sum(measured.validation.values()))
        for choice in self.config.choices["probe"]:
            if final or choice.part.when == "curve":
                with parts.users_code(choice.word, choice.reference):
                    total += choice.part.work_of(measured, choice.settings)
        return total

    def tasks(
        self,
        size_plan: SizePlan,
        fit: SlotFit,
        horizons: Sequence[Horizon],
        saved: tuple[int, ...],
    ) -> list[TimedTask]:
        """Return ``tasks_of(self.runs(...))`` without making the runs; a branch's parent is 0."""
        if not saved:
            return [
                TimedTask(self.seconds(size_plan, fit, 0, h.steps), slots=self.slots)
                for h in horizons
            ]
        last = saved[-1]
        trunk = self.seconds(size_plan, fit, 0, last)
        branches = [
            TimedTask(
                self.seconds(size_plan, fit, h.branch_step, h.steps),
                0,
                h.branch_step / last * trunk,
                self.slots,
            )
            for h in horizons
        ]
        return [TimedTask(trunk, slots=self.slots), *branches]

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
        mix, arm = self.mix, self.arm
        if horizon is None and mix is not None:
            mix, arm = mix.of_trunk, () if self.switches_at_cooldown else arm
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
            tags=(*_tags(size_plan, horizon), *self.stage_tag, *arm_tags(arm)),
            early_stop=early_stop,
            growth=growth,
            spikes=None if self.config.solves else self.config.spike_spec(),
            start_from=size_plan.start_from,
            reference=size_plan.reference,
            objective=self.objective,
            probes=self.probes,
            mix=mix,
            number_format=self.number_format,
            trainer=self.config.trainer.spec() if self.config.trainer is not None else None,
            parallel=self.parallel,
        )
        step = self.measured(size_plan, fit)
        resources = Resources(
            device=self.device_kind,
            kernels=step.kernels if step else None,
            micro_seqs=fit.micro_seqs,
            gradient_checkpointing=fit.gradient_checkpointing,
            save_steps=save_steps,
            resume_on=self.resume_on,
            **self.config.checkpoints.resources(),
            **(self.config.trainer.resources() if self.config.trainer is not None else {}),
        )
        own_tokens = spec.batch_tokens * (total_steps - spec.start_step)
        by_component = {}
        if mix is not None:
            by_component = self.component_epochs(
                mix, spec.batch_tokens, total_steps, spec.schedule.decay_steps
            )
        return PlannedRun(
            spec=spec,
            resources=resources,
            seconds=self.seconds(size_plan, fit, spec.start_step, total_steps),
            memory_bytes=fit.memory_bytes,
            flops_spent=train_flops(size_plan.model, own_tokens),
            flops_alone=train_flops(size_plan.model, spec.tokens),
            epochs=max(by_component.values()) if by_component else self.epochs(spec),
            component_epochs=by_component,
            speedup=self.speedup(size_plan, fit) if self.n_devices > 1 else None,
            slots=None if self.slots == 1 else self.slots,
        )

    def epochs(self, spec: RunSpec) -> float | None:
        """Return the passes over the training split.

        0 where a task's examples have no end, None where the length of the text, or of the
        components of a mixture, is not known yet.
        """
        if self.train_tokens and spec.mix is None:
            return spec.tokens / self.train_tokens
        return 0.0 if isinstance(self.data, TaskSpec) else None

    def runs(
        self,
        size_plan: SizePlan,
        fit: SlotFit,
        horizons: Sequence[Horizon],
        saved: tuple[int, ...],
        parent: PlannedRun | None = None,
    ) -> list[PlannedRun]:
        """Return the trunk and a branch per horizon, or one run per horizon without a trunk.

        ``saved`` are the steps that the trunk saves, () for no trunk; ``parent`` is the trunk that
        a grown size plan starts from.
        """
        growth = growth_from(parent.spec, size_plan.grow_step) if parent else None
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
