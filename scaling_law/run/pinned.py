"""Keeps what a sweep began with: its config, its plan and its prepared text.

A package upgrade between two calls changes the installed corpus, and a later calibration may cut
the grid differently; all runs of one sweep must share both.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scaling_law.config.compose import own_files
from scaling_law.config.load import (
    CONFIG_KEY,
    SweepConfig,
    begun_config_key,
    config_key,
    config_yaml,
    load_config,
)
from scaling_law.data.dataset import Dataset, open_dataset
from scaling_law.data.prepare import dataset_folder, prepare
from scaling_law.errors import ConfigError
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import read_record, record_if_there
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.plan import Plan, read_plan
from scaling_law.spec.arms import arm_of, arms_of
from scaling_law.spec.recipe import keys_that_differ, recipe_differences
from scaling_law.spec.run import DataSpec, RunSpec, to_json

Say = Callable[[str], None]


def keep_plan(plan: Plan, config: SweepConfig, sweep: SweepDir) -> None:
    """Write the plan, the config it is made for, and the user's own files that it names."""
    checksum.write(sweep.plan, {**plan.to_json(), CONFIG_KEY: config_key(config)})
    _write_config(config, sweep)


def _write_config(config: SweepConfig, sweep: SweepDir) -> None:
    if sweep.config.is_dir() and not sweep.config.is_symlink():
        raise ConfigError(f"{sweep.config}: a folder, expected the sweep's config; move it away")
    for place, source in own_files(config.all_choices).items():
        copy = sweep.path / place
        if not (copy.is_file() and copy.samefile(source)):
            copy.parent.mkdir(parents=True, exist_ok=True)
            layout.atomic_write(copy, source.read_text())
    layout.atomic_write(sweep.config, checksum.text(config_yaml(config)))


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


def refuse_other_recipe(plan: Plan, sweep: SweepDir) -> None:
    """Raise ``ConfigError`` if finished runs of the sweep are of another recipe than ``plan``.

    No law describes two recipes; other sizes, horizons and seeds may be added, and arms of the
    config's axes.
    """
    records = [record_if_there(run_dir) for run_dir in sweep.run_dirs()]
    specs = [record.spec for record in records if record is not None]
    if not specs:
        return
    phrases = _differences([run.spec for run in plan.runs], specs)
    if phrases:
        raise ConfigError(
            f"{sweep.path}: {len(specs)} finished runs of another recipe are there:"
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
    return _what_is_trained(begun) == _what_is_trained(config)


def _what_is_trained(config: SweepConfig) -> SweepConfig:
    """The config without where its runs are executed and where their curves are shown."""
    choices = {
        word: chosen for word, chosen in config.choices.items() if word not in ("engine", "tracker")
    }
    arms = tuple(
        dataclasses.replace(arm, config=_what_is_trained(arm.config)) for arm in config.crossed
    )
    return dataclasses.replace(config, choices=choices, crossed=arms)


def pinned_data(config: SweepConfig, sweep: SweepDir, say: Say) -> Dataset:
    """The dataset this sweep began with, every token checked; prepared on the first call.

    Damaged tokens are prepared again. Raises ``ConfigError`` if the pinned text is no longer
    available.
    """
    _refuse_several_texts(config, sweep)
    spec = config.data.spec()
    pin = _read_pin(sweep, spec, say)
    if pin is not None and pin["spec"] != to_json(spec):
        pin = None
    folder = Path(pin["folder"]) if pin else dataset_folder(spec)
    dataset = _sound(folder, say) if (folder / "meta.json").is_file() else None
    if dataset is None:
        fresh = dataset_folder(spec)
        if fresh == folder and folder.is_dir():
            shutil.rmtree(folder)
        dataset = _sound(prepare(spec, progress=say), say)
        if dataset is None:  # prepared earlier from another corpus state, and damaged too
            shutil.rmtree(fresh)
            dataset = open_dataset(prepare(spec, progress=say))
    if pin is not None:
        _check_same_text(sweep, pin, dataset)
    now = {
        "spec": to_json(spec),
        "folder": str(dataset.folder),
        "fingerprint": dataset.fingerprint,
        "tokens_sha256": dataset.token_hashes,
    }
    # the folder may differ on another machine that works on the sweep
    if pin is None or {**pin, "folder": now["folder"]} != now:
        checksum.write(sweep.data, now)
    return dataset


def _refuse_several_texts(config: SweepConfig, sweep: SweepDir) -> None:
    if any(arm.config.data.spec() != config.data.spec() for arm in config.arms):
        raise ConfigError(
            f"{sweep.path}: its arms learn from several texts, and a folder holds runs of one;"
            " make a sweep of each"
        )


def _sound(folder: Path, say: Say) -> Dataset | None:
    """The dataset in ``folder``; None, with a message, if one of its files is damaged."""
    try:
        dataset = open_dataset(folder)
        dataset.check()
    except ConfigError as damage:
        say(f"{damage.lines[0].partition(';')[0]}; preparing the text again")
        return None
    return dataset


def _check_same_text(sweep: SweepDir, pin: dict[str, Any], dataset: Dataset) -> None:
    if pin["fingerprint"] != dataset.fingerprint:
        raise ConfigError(
            f"{sweep.path}: began on corpus {pin['fingerprint']}, which is no longer cached, and"
            f" the text here is now {dataset.fingerprint}; start a new sweep with --out"
        )
    if pin.get("tokens_sha256", dataset.token_hashes) != dataset.token_hashes:
        raise ConfigError(
            f"{sweep.path}: its text is there, but the installed versions cut it into other tokens;"
            " install those that its records name, or start a new sweep with --out"
        )


def _read_pin(sweep: SweepDir, spec: DataSpec, say: Say) -> dict[str, Any] | None:
    """``data.json``; if it is damaged, the text that the sweep's records name.

    None if nothing is pinned: checkpoints name their text themselves.
    """
    if not sweep.data.exists():
        return None
    try:
        pin = checksum.read(sweep.data, "")
        known = {"spec": dict, "folder": str, "fingerprint": str}
        if any(type(pin.get(name)) is not kind for name, kind in known.items()):
            raise ConfigError(f"{sweep.data}: damaged (it names no text)")
        return pin
    except ConfigError as problem:
        damage = problem.lines[0].rstrip("; ")
    records = [read_record(d.record) for d in sweep.run_dirs() if d.record.is_file()]
    texts = {r.corpus_fingerprint for r in records if r.spec.data == spec}
    if records and len(texts) != 1:
        raise ConfigError(
            f"{sweep.data}: damaged, and no record says which text the runs began with; delete it"
            " if nothing here has been trained yet, else start a new sweep with --out"
        )
    say(f"{damage}; written again")
    if not records:
        return None
    folder = str(dataset_folder(spec))
    return {"spec": to_json(spec), "folder": folder, "fingerprint": texts.pop()}
