"""Refuse, when a sweep is planned, what several devices cannot train together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scaling_law.config.sweep_config import SweepConfig
from scaling_law.errors import PlanError, listed
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.size_plan import SizePlan
from scaling_law.units import count_of


def refuse_engine(config: SweepConfig) -> None:
    """Raise ``PlanError`` where the engine cannot train runs of so many devices."""
    engine = config.choice("engine")
    refusal = engine.part.refusal
    why = refusal(engine.settings, config.devices.devices) if refusal is not None else ""
    if why:
        raise PlanError(f"{config.where('engine')}: {why}")


def refuse_parallel(
    config: SweepConfig, profile: DeviceProfile, precision: str, size_plans: Sequence[SizePlan]
) -> None:
    """Raise ``PlanError`` with everything in a config that its devices cannot train together.

    ``precision`` is that of the runs.
    """
    too_many = [*_too_many(config, profile)]
    problems = [
        *too_many,
        *_not_together(config),
        *(_not_sharded(config, precision, size_plans) if config.devices.shards else ()),
        *(() if too_many else _uneven(config, size_plans)),
    ]
    if problems:
        raise PlanError(*dict.fromkeys(problems))


def _where(config: SweepConfig, key: str) -> str:
    assert config.parallel is not None, "several devices are asked for there"
    resumes = key == "devices" and config.parallel.resume_on is not None
    return config.where("parallel", "resume_on" if resumes else key)


def _too_many(config: SweepConfig, profile: DeviceProfile) -> Iterator[str]:
    asked = config.devices.devices
    if profile.kind == "mps":
        yield f"{_where(config, 'devices')}: {asked}, and a Mac has one GPU; leave parallel out"
    engine = config.choice("engine").part
    # a run's devices are on one machine, the largest node of a cluster, or in one job
    counts_slots = profile.kind == "cpu" and not engine.own_devices
    there = profile.slots if counts_slots else profile.devices
    of_cluster = "on one node of the cluster" if engine.slot_is_device else "by one job"
    place = of_cluster if engine.own_devices else "here"
    if there is not None and asked > there:
        unit = "core" if profile.kind == "cpu" else "GPU"
        yield (
            f"{_where(config, 'devices')}: {asked}, and {count_of(there, unit)} may be used"
            f" {place}, one a device; ask for at most {there}"
        )


def _not_together(config: SweepConfig) -> Iterator[str]:
    if config.solves:
        name = config.choice("architecture").spelled
        yield (
            f"{_where(config, 'devices')}: {name} is solved in closed form, on one device; leave"
            " parallel out"
        )


def _not_sharded(
    config: SweepConfig, precision: str, size_plans: Sequence[SizePlan]
) -> Iterator[str]:
    """What needs whole weights or gradients, which no device has."""
    where = _where(config, "kind")
    remedy = "take kind: ddp"
    if probes := [choice.spelled for choice in config.choices["probe"]]:
        yield (
            f"{where}: a device has a share of the model, and probes ({listed(probes)}) read all of"
            f" it; {remedy}, or leave probes out"
        )
    optimizer, architecture = config.choice("optimizer"), config.choice("architecture")
    if not optimizer.part.stacks:
        yield (
            f"{where}: the optimizer {optimizer.spelled} is not known to be elementwise, which a"
            f" share of a weight needs; {remedy}, or optim.name: adamw"
        )
    if not architecture.part.shards:
        yield f"{where}: the architecture {architecture.spelled} cannot be shared out; {remedy}"
    if config.choice("number_format").part.round is not None:
        name = config.choice("number_format").spelled
        yield f"{where}: the number format {name} rounds whole weights; {remedy}"
    if config.spikes is not None:
        yield f"{where}: spikes keeps whole states to go back to; {remedy}, or leave spikes out"
    if any(size_plan.grow_from is not None for size_plan in size_plans):
        yield f"{where}: grow_from enlarges whole weights; {remedy}, or leave grow_from out"
    if precision == "fp16":
        yield f"{where}: fp16's loss scale is not shared by devices; {remedy}, or precision: bf16"


def _uneven(config: SweepConfig, size_plans: Sequence[SizePlan]) -> Iterator[str]:
    devices = config.devices.devices
    for size_plan in size_plans:
        seqs = size_plan.batch_tokens // size_plan.model.n_ctx
        if seqs % devices:
            near = max(devices, round(seqs / devices) * devices)
            yield (
                f"{_where(config, 'devices')}: the batch of size {size_plan.size} is"
                f" {count_of(seqs, 'sequence')}, which {devices} devices cannot share evenly; set"
                f" optim.batch_tokens: {near * size_plan.model.n_ctx} ({near} sequences)"
            )
