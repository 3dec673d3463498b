"""Plan a sweep with what is known of its data; nothing is written."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaling_law.config.sweep_config import SweepConfig
from scaling_law.console import Say
from scaling_law.data.access import DataOf, check_ready, known_components, prepared_data
from scaling_law.data.dataset import Dataset
from scaling_law.errors import ConfigError, quoted
from scaling_law.files.layout import SweepDir
from scaling_law.plan.compiling import with_compiled
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.make import (
    ComponentTokens,
    TrainTokens,
    joint_shapes,
    make_plan,
    step_shapes,
)
from scaling_law.plan.plan import Plan
from scaling_law.plan.stacking import with_stacks
from scaling_law.plan.weights import with_saved_weights
from scaling_law.run import engines
from scaling_law.run.data_checks import check_data, unknown_yet
from scaling_law.run.request import Request, config_and_profile, sweep_of
from scaling_law.spec.data import DataSpec

Datasets = dict[DataOf, Dataset]
# How the kernels of new runs on a CPU are chosen: measured, or by the thresholds in train.kernels.
_KERNELS, _MEASURED, _THRESHOLDS = "SLAW_KERNELS", "measured", "thresholds"
# A shorter sweep gains less by measured kernels than measuring takes.
_LEAST_SECONDS = 60.0


def plan_only(request: Request, say: Say) -> tuple[SweepConfig, Plan]:
    """Config and plan; nothing is written and no data are prepared.

    Epochs, splits and the vocabulary in use are checked only if the data are already prepared.
    Raises ``ConfigError`` for a corpus that could not be prepared now.
    """
    config, profile = config_and_profile(request, say)
    with config.placing():
        datasets = _known(request, config)
    tokens, components = train_tokens_of(datasets), component_tokens_of(config, datasets)
    profile = with_steps(config, profile, tokens, components, say, request.device)
    plan = planned(config, profile, tokens, components)
    say_of_data(request, config, say)
    return config, plan


def say_of_data(request: Request, config: SweepConfig, say: Say) -> None:
    """Say what a user should know of the data, as far as they are prepared."""
    datasets = data_begun_with(config, sweep_of(request, config))
    for line in check_data(config, datasets):
        say(line)
    if unknown_yet(config, datasets):
        say(
            "data not prepared yet: epochs, the size of the splits and the ids in use are unknown"
            " until `slaw data prepare` or `slaw run`"
        )


def _known(request: Request, config: SweepConfig) -> dict[DataOf, Dataset | None]:
    """The data as far as they are prepared.

    Raises ``ConfigError`` for a corpus that could not be prepared now, unless the sweep has its
    tokens already, and ``PlanError`` as ``check_data``.
    """
    sweep = sweep_of(request, config)
    datasets = data_begun_with(config, sweep)
    for spec, dataset in datasets.items():
        has_tokens = dataset is not None or sweep.data.is_file()
        if isinstance(spec, DataSpec) and not has_tokens:
            check_ready(spec)
    check_data(config, datasets)
    return datasets


def data_begun_with(config: SweepConfig, sweep: SweepDir) -> dict[DataOf, Dataset | None]:
    """The data that the sweep began with, else those of this machine; nothing is prepared."""
    from scaling_law.run.pins import begun_data

    return {spec: begun_data(spec, sweep) for spec in config.data_specs}


def train_tokens_of(datasets: Mapping[DataOf, Dataset | None]) -> dict[DataOf, int | None]:
    """The training tokens of each text or task; None while they are not known."""
    return {
        spec: _cap(spec) if dataset is None else dataset.train_tokens
        for spec, dataset in datasets.items()
    }


def _cap(spec: DataOf) -> int | None:
    """The training tokens of text that is not prepared, as far as its spec says."""
    return spec.unique_tokens if isinstance(spec, DataSpec) else None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of a plan of one recipe.

    ``config``: what the runs share;
    ``profile``: the device;
    ``train_tokens``: tokens of the training text, None while unknown and where each arm has a text
    of its own;
    ``component_tokens``: those of each of its components, None while unknown and where the text is
    not read in a mixture.
    """

    config: SweepConfig
    profile: DeviceProfile
    train_tokens: int | None
    component_tokens: Mapping[str, int] | None


def inputs(request: Request, say: Say, *, prepare: bool = False) -> Inputs:
    """The inputs of a plan; ``prepare``: the text is prepared first, so that its size is known."""
    config, profile = config_and_profile(request, say)
    with config.placing():
        datasets = _known(request, config)
        if prepare and unknown_yet(config, datasets):
            datasets = {spec: prepared_data(spec, say) for spec in config.data_specs}
            check_data(config, datasets)
    return Inputs(
        config=config,
        profile=profile,
        train_tokens=train_tokens_of(datasets).get(config.data_spec),
        component_tokens=component_tokens_of(config, datasets).get(config.data_spec),
    )


def component_tokens_of(
    config: SweepConfig, datasets: Mapping[DataOf, Dataset | None]
) -> ComponentTokens:
    """The training tokens of each component of the texts that are read in a mixture."""
    return {spec: known_components(datasets[spec]) for spec in config.mixed_specs}


def with_steps(
    config: SweepConfig,
    profile: DeviceProfile,
    tokens: TrainTokens,
    components: ComponentTokens,
    say: Say,
    device: str,
) -> DeviceProfile:
    """``profile`` with the training steps of the grid, measured on first use.

    Not for a sweep so short that measuring would take longer than it saves, nor where
    ``SLAW_KERNELS`` is ``thresholds``.
    """
    policy = os.environ.get(_KERNELS) or _MEASURED
    if policy not in (_MEASURED, _THRESHOLDS):
        raise ConfigError(f"{_KERNELS} is {quoted(policy)}, expected {_MEASURED} or {_THRESHOLDS}")
    if policy == _THRESHOLDS:
        return dataclasses.replace(profile, steps=())
    known: dict[str, Any] = {"train_tokens": tokens, "component_tokens": components}
    shapes = step_shapes(config, profile, **known)
    joint = joint_shapes(config, profile, **known) if config.devices.devices > 1 else ()
    missing = [shape for shape in shapes if shape not in profile.step_of]
    if not missing and all(shape in profile.speedup_of for shape in joint):
        return profile
    if make_plan(config, profile, **known).seconds_estimate < _LEAST_SECONDS:
        return profile
    engine = config.choice("engine")
    if missing:
        profile = engines.with_steps(engine, device, profile, shapes, say)
    return engines.with_joint_steps(engine, device, profile, joint, say)


def planned(
    config: SweepConfig,
    profile: DeviceProfile,
    train_tokens: TrainTokens,
    component_tokens: ComponentTokens | None = None,
) -> Plan:
    """The plan of a config on a device: stacks, compilation and saved weights decided as well.

    Raises ``ConfigError`` for an optimizer whose library is not installed.
    """
    for arm in config.arms:
        optimizer = arm.config.choice("optimizer")
        if lacking := optimizer.part.missing():
            where = arm.config.where("optim", "name")
            raise ConfigError(f"{where}: {optimizer.spelled}: {lacking}")
    plan = make_plan(config, profile, train_tokens=train_tokens, component_tokens=component_tokens)
    plan = with_stacks(plan, profile.step_of) if config.stacking == "auto" else plan
    plan = with_compiled(plan, config.compile)
    # a command of the user's own keeps its weights itself
    return with_saved_weights(plan, "none" if config.trainer else config.keep_weights)
