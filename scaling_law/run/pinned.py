"""Stores the config and the plan that a sweep started with.

A later calibration may cut the grid differently; all runs of one sweep must share the plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from scaling_law.config.load import load_config
from scaling_law.config.slots import own_files
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.config.written import CONFIG_KEY, begun_config_key, config_key, config_yaml
from scaling_law.console import Say
from scaling_law.errors import ConfigError
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import record_if_there, specs_of
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.plan import Plan, PlannedRun, read_plan
from scaling_law.run.starts import keep_starts
from scaling_law.spec.arms import arm_of, arms_of
from scaling_law.spec.recipe import keys_that_differ, recipe_differences
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of

# Parts that a config chooses and that change no run of it.
NOT_TRAINED = ("engine", "tracker", "experiment")


def keep_plan(plan: Plan, config: SweepConfig, sweep: SweepDir) -> None:
    """Write the plan, the config it is made for, and the user's own files that it names."""
    checksum.write(sweep.plan, {**plan.stored(), CONFIG_KEY: config_key(config)})
    _write_config(config, sweep)


def _write_config(config: SweepConfig, sweep: SweepDir) -> None:
    if sweep.config.is_dir() and not sweep.config.is_symlink():
        raise ConfigError(f"{sweep.config}: a folder, expected the sweep's config; move it away")
    keep_own_files(own_files(config.all_choices), sweep)
    keep_starts(config, sweep)
    layout.atomic_write(sweep.config, checksum.text(config_yaml(config)))


def keep_own_files(files: Mapping[Path, bytes], sweep: SweepDir) -> None:
    """Copy a user's own files into the sweep's folder; ``files`` are contents by place."""
    for place, content in files.items():
        copy = sweep.path / place
        if not (copy.is_file() and copy.read_bytes() == content):
            copy.parent.mkdir(parents=True, exist_ok=True)
            layout.atomic_write(copy, content)


def begun_plan(
    config: SweepConfig, profile: DeviceProfile, sweep: SweepDir, say: Say
) -> Plan | None:
    """The plan this sweep began with, if the config and the kind of device are the same.

    A damaged ``sweep.yaml`` is written again if the plan names the config. Raises ``SlawError``
    if ``plan.json`` is damaged.
    """
    if not sweep.plan.is_file():
        return None
    plan = read_plan(sweep.plan)
    known = begun_config_key(sweep)
    if known != config_key(config) and not _means_the_same(config, sweep, known):
        return None
    if plan.device_kind != profile.kind:
        return None
    try:
        checksum.read_text(sweep.config, known)
    except ConfigError as damage:
        say(f"{damage}; written again")
        _write_config(config, sweep)
    return dataclasses.replace(plan, slots=profile.slots)


def with_begun_kernels(plan: Plan, sweep: SweepDir) -> Plan:
    """``plan`` with the kernels that a begun sweep has, shape by shape.

    A sweep that began without measured kernels goes on without; shapes that are new to one that
    began with them take those that were measured.
    """
    if sweep.plan.is_file():
        begun = [(run.spec, run.resources.kernels) for run in read_plan(sweep.plan).runs]
    else:
        records = [record_if_there(run_dir) for run_dir in sweep.run_dirs()]
        begun = [(record.spec, record.kernels) for record in records if record is not None]
    if not begun:
        return plan
    is_measured = any(kernels is not None for _, kernels in begun)
    known = {_step_of(spec): kernels for spec, kernels in begun}

    def as_begun(run: PlannedRun) -> PlannedRun:
        own = known.get(_step_of(run.spec), run.resources.kernels if is_measured else None)
        resources = dataclasses.replace(run.resources, kernels=own)
        return dataclasses.replace(run, resources=resources)

    return dataclasses.replace(plan, runs=tuple(map(as_begun, plan.runs)))


def _step_of(spec: RunSpec) -> tuple[object, ...]:
    return spec.model, spec.batch_tokens, spec.precision


def refuse_other_recipe(plan: Plan, sweep: SweepDir) -> None:
    """Raise ``ConfigError`` if finished runs of the sweep are of another recipe than ``plan``.

    No law describes two recipes; other sizes, horizons and seeds may be added, and arms of the
    config's axes.
    """
    records = [record_if_there(run_dir) for run_dir in sweep.run_dirs()]
    specs = specs_of(record for record in records if record is not None)
    if not specs or sweep.stages.is_file():  # stages may vary any key
        return
    phrases = _differences([run.spec for run in plan.runs], specs)
    if phrases:
        raise ConfigError(
            f"{sweep.path}: {count_of(len(specs), 'finished run')} of another recipe:"
            f" {'; '.join(phrases)}; a law is fitted to one recipe: choose another folder with"
            " --out, or change the config to theirs"
        )


def _differences(new: Sequence[RunSpec], old: Sequence[RunSpec]) -> list[str]:
    """How new runs differ from the old, arm by arm; what the axes vary may differ between arms."""
    axes = {key for values in arms_of(new) for key, _ in values}
    if not axes:
        return recipe_differences(new, old)
    tagged = [spec for spec in old if {key for key, _ in arm_of(spec)} == axes]
    varied = axes | keys_that_differ(new) | (keys_that_differ(tagged) if tagged else set())
    phrases = dict.fromkeys(recipe_differences(new, old, varied))
    for values in arms_of(tagged):
        here, there = ([spec for spec in side if arm_of(spec) == values] for side in (new, tagged))
        if here:
            phrases.update(dict.fromkeys(recipe_differences(here, there)))
    return list(phrases)


def _means_the_same(config: SweepConfig, sweep: SweepDir, known: str | None) -> bool:
    """Whether ``sweep.yaml`` plans the same runs; another version may write other keys."""
    try:
        checksum.read_text(sweep.config, known)
        begun = load_config(sweep.config, device_kind=config.device_kind)
    except ConfigError:
        return False
    return begun.each(what_is_trained) == config.each(what_is_trained)


def what_is_trained(config: SweepConfig) -> SweepConfig:
    """The config without its engine, trackers and experiment."""
    choices = {word: chosen for word, chosen in config.choices.items() if word not in NOT_TRAINED}
    return dataclasses.replace(config, choices=choices)
