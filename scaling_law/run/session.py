"""Runs a sweep from what was asked to its end: data, plan, runs. It loads no torch."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from scaling_law.config.sweep_config import SweepConfig
from scaling_law.console import Say
from scaling_law.errors import ConfigError, Preempted, SlawError
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import LeaseLost, Leases, LeaseWatch, clear_leftovers, wait_for
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.run import engines
from scaling_law.run.data_checks import check_data
from scaling_law.run.planning import (
    Datasets,
    component_tokens_of,
    data_begun_with,
    planned,
    train_tokens_of,
    with_steps,
)
from scaling_law.run.request import Request, config_and_profile, sweep_of
from scaling_law.run.signals import stop_caught
from scaling_law.run.text import opening

if TYPE_CHECKING:
    from scaling_law.run.runner import SweepOutcome


def run_sweep(request: Request, say: Say) -> tuple[SweepDir, Plan, SweepOutcome]:
    """Start, resume or join a sweep; return when it has ended or was stopped.

    Raises ``SlawError`` before anything is written if the sweep cannot be run as asked.
    """
    # imported here: a dry run does not train
    from scaling_law.run.runner import Runner
    from scaling_law.run.tracking import HURRY_SECONDS, chosen_trackers, tracked

    with _stoppable(), Leases() as leases:
        begun = _begun(request, leases, say)
        sweep, plan = begun.sweep, begun.plan
        executor = engines.start(begun.config.choice("engine"), sweep, plan.slots)
        runner = Runner(plan, sweep, executor, hands_over=request.detached)
        trackers = chosen_trackers(begun.config.choices["tracker"])
        with tracked(sweep, plan.name, trackers, say) as patience:
            outcome = runner.run()
            if outcome.stopped_by is not None:
                patience.seconds = HURRY_SECONDS
    runner.dashboard.write()  # again, because this process no longer works on the sweep
    _remove_empty(sweep, begun.made)
    return sweep, plan, outcome


def begin_sweep(request: Request, say: Say) -> tuple[SweepConfig, SweepDir, Plan]:
    """Prepare data and plan of a sweep and train nothing. Raises as ``run_sweep``."""
    with _stoppable(), Leases() as leases:
        begun = _begun(request, leases, say)
    return begun.config, begun.sweep, begun.plan


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A sweep before its first run; ``made`` are the folders that were made for it."""

    config: SweepConfig
    sweep: SweepDir
    plan: Plan
    made: Sequence[Path]


def _begun(request: Request, leases: Leases, say: Say) -> _Begun:
    config, profile = config_and_profile(request, say)
    sweep = sweep_of(request, config)
    if request.detached and sweep.cancelled.is_file():
        raise Preempted(f"{sweep.path}: cancelled by `slaw cancel`")
    with contextlib.suppress(NotADirectoryError):  # said with what to do, where it is written
        sweep.cancelled.unlink(missing_ok=True)
    if not sweep.plan.exists():  # report a grid that cannot be run before preparing data
        with config.placing():
            known = data_begun_with(config, sweep)
        check_data(config, known)
        make_plan(
            config,
            profile,
            train_tokens=train_tokens_of(known),
            component_tokens=component_tokens_of(config, known),
        )
    made = [folder for folder in (sweep.path, *sweep.path.parents) if not folder.exists()]
    _check_writable(sweep.path)
    try:
        datasets, plan = _agreed(config, profile, sweep, leases, say, request.device)
    except SlawError:
        if made:
            _remove_empty(sweep, made)
        raise
    say(opening(config, plan, datasets, sweep))
    return _Begun(config=config, sweep=sweep, plan=plan, made=made)


def _agreed(
    config: SweepConfig,
    profile: DeviceProfile,
    sweep: SweepDir,
    leases: Leases,
    say: Say,
    device: str,
) -> tuple[Datasets, Plan]:
    """Data and plan of the sweep; one ``slaw run`` at a time decides on them.

    From then on ``leases`` shows other processes that this one works on the sweep.
    """
    with Leases() as planning:
        lease = wait_for(
            sweep.lease,
            planning,
            lambda holder: say(
                f"{sweep.path}: waiting for {holder.description}, which is planning it"
            ),
        )
        written = layout.leftovers(sweep.plan, sweep.config, sweep.data, sweep.dashboard)
        try:
            clear_leftovers(lease, [*written, *sweep.runners.glob(".*.tmp")])
        except LeaseLost as lost:
            raise Preempted(f"{lost}; run the same command again") from None
        began = sweep.data.exists()
        try:
            with config.placing():
                agreed = _prepared(config, profile, sweep, say, device)
        except SlawError:
            if not (began or sweep.plan.exists()):
                sweep.data.unlink(missing_ok=True)
            raise
        leases.take(sweep.runners / f"{os.getpid()}-{secrets.token_hex(4)}")
    return agreed


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Stop signals raise ``Preempted``; a running runner stops its runs first."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Preempted("stopped; run the same command again to resume")

    with stop_caught(stop):
        yield


def _prepared(
    config: SweepConfig, profile: DeviceProfile, sweep: SweepDir, say: Say, device: str = "auto"
) -> tuple[Datasets, Plan]:
    """Data and plan of a leased sweep folder: those it began with, or new ones.

    No data where every run has finished.
    """
    from scaling_law.run.components import components_of
    from scaling_law.run.pinned import (
        begun_plan,
        keep_plan,
        refuse_other_recipe,
        with_begun_kernels,
    )
    from scaling_law.run.pins import mend_pins, pinned_datasets, spelled_as_begun

    config = spelled_as_begun(config, sweep, say)
    plan = begun_plan(config, profile, sweep, say)  # report a damaged one before preparing data
    if plan is None:
        _refuse_beside_others(sweep)
        known = train_tokens_of(data_begun_with(config, sweep))
        refuse_other_recipe(planned(config, profile, known), sweep)
    elif all(sweep.run(run.run_id).record.is_file() for run in plan.runs):
        mend_pins(config.data_specs, sweep, say)
        return {}, plan  # the text may be gone
    datasets = pinned_datasets(config.data_specs, sweep, say, mixed=config.mixed_specs)
    components = components_of(config, datasets, say)
    if plan is None:
        if sweep.plan.is_file() and sweep.config.is_file():
            news = "the config differs from the one its runs began with; adding new runs"
            if sweep.adaptive.is_file():
                news = "a further round of its adaptive loop; adding new runs"
            if sweep.stages.is_file():
                news = "a further stage of its experiment; adding new runs"
            say(f"{sweep.path}: {news}")
        check_data(config, datasets)
        tokens = train_tokens_of(datasets)
        measured = with_steps(config, profile, tokens, components, say, device)
        plan = with_begun_kernels(planned(config, measured, tokens, components), sweep)
        keep_plan(plan, config, sweep)
    return datasets, plan


def _refuse_beside_others(sweep: SweepDir) -> None:
    """Raise ``ConfigError`` if a ``slaw run`` of another config works on the same folder."""
    watch = LeaseWatch()
    for path in sweep.runner_leases():
        holder = watch.holder(path)
        if holder is not None and watch.is_alive(path):
            raise ConfigError(
                f"{sweep.path}: in use by {holder.description} with another config or kind of"
                " device; wait for it to end, stop it, or choose another folder with --out"
            )


def _remove_empty(sweep: SweepDir, made: Sequence[Path]) -> None:
    """Remove what is empty of ``sweep.runners`` and the folders that were made for the sweep."""
    for folder in (sweep.runners, *made):
        with contextlib.suppress(OSError):  # not empty: other files are there
            folder.rmdir()


def _check_writable(folder: Path) -> None:
    """Raise ``ConfigError`` before any work if ``folder`` cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise ConfigError(
            f"{folder}: cannot be written ({problem.strerror}); choose a folder with --out"
        ) from None
