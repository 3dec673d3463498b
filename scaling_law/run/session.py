"""Runs a sweep from a config's name to its end: device, data, plan, runs. It loads no torch."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from scaling_law.config.load import load_config
from scaling_law.config.schema import DEVICE_KINDS
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.config.written import begun_config_key
from scaling_law.data.access import DataOf, check_ready, known_components
from scaling_law.data.corpus import corpus_problem
from scaling_law.data.dataset import Dataset
from scaling_law.errors import ConfigError, DeviceError, PlanError, Preempted, SlawError, quoted
from scaling_law.experiment.analysis import named_by, report_command
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import LeaseLost, Leases, LeaseWatch, clear_leftovers, wait_for
from scaling_law.files.record import only_sweep
from scaling_law.plan.compiling import with_compiled
from scaling_law.plan.device_profile import DeviceProfile, shared_by
from scaling_law.plan.make import ComponentTokens, TrainTokens, make_plan, step_shapes
from scaling_law.plan.plan import Plan, read_plan
from scaling_law.plan.stacking import with_stacks
from scaling_law.plan.table import (
    arm_lines,
    early_stop_words,
    growth_words,
    mix_lines,
    render_plan,
)
from scaling_law.plan.weights import with_saved_weights
from scaling_law.run import engines, starts
from scaling_law.run.data_checks import check_data, unknown_yet
from scaling_law.run.signals import stop_caught
from scaling_law.spec.arms import arms_of, by_options, varying_keys
from scaling_law.spec.chosen import part_text
from scaling_law.spec.data import DataSpec
from scaling_law.units import count_of, format_seconds

if TYPE_CHECKING:
    from scaling_law.run.runner import SweepOutcome


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked ``slaw run`` or ``slaw plan`` for."""

    config: str  # a path or a shipped name
    device: str = "auto"
    overrides: tuple[str, ...] = field(default=())  # the texts of --set
    out: str | None = None  # the sweep's folder; None for results/<name>
    engine: str | None = None  # its name or its file's path; None for the config's
    # where corpora that are files were found before, by how the config spells them
    places: Mapping[str, str] = field(default_factory=dict)


_NO_DATA = "data: not read; every run has finished"
Say = Callable[[str], None]
Datasets = dict[DataOf, Dataset]
# How the kernels of new runs on a CPU are chosen: measured, or by the thresholds in train.kernels.
_KERNELS, _MEASURED, _THRESHOLDS = "SLAW_KERNELS", "measured", "thresholds"
# A shorter sweep gains less by measured kernels than measuring takes.
_LEAST_SECONDS = 60.0


def _config_and_profile(request: Request, say: Say) -> tuple[SweepConfig, DeviceProfile]:
    """Both; errors in the config are reported before a calibration that takes a while."""
    config = _config(request, "cpu" if request.device == "auto" else request.device)
    profile = engines.profile(config.choice("engine"), request.device, say)
    if profile.kind != config.device_kind:
        config = _config(request, profile.kind)
    return config, shared_by(profile, config.limits.slots, config.where("limits", "slots"))


def _config(request: Request, kind: str) -> SweepConfig:
    """The config on a kind of device and on the engine that was asked for.

    Its corpus must exist, unless the sweep has its tokens already. Raises ``DeviceError`` for a
    kind of device that there is not.
    """
    if kind not in DEVICE_KINDS:
        raise DeviceError(
            f"device {quoted(kind)}: expected one of {', '.join(('auto', *DEVICE_KINDS))}"
        )
    config = _config_with_corpus(request, kind)
    if request.engine in (None, config.choice("engine").spelled):
        return config
    choices = {**config.choices, "engine": (engines.engine_named(str(request.engine)),)}
    return dataclasses.replace(config, choices=choices)


def _config_with_corpus(request: Request, kind: str) -> SweepConfig:
    from scaling_law.run.pins import pinned_places

    read = functools.partial(
        load_config,
        request.config,
        overrides=request.overrides,
        device_kind=kind,
        beside=Path(request.out) if request.out is not None else None,
    )
    # a config with other mistakes is refused with all of them below
    with contextlib.suppress(ConfigError):
        sweep = (
            SweepDir(Path(request.out)) if request.out is not None else sweep_of(request, read())
        )
        read = functools.partial(read, begun={**request.places, **pinned_places(sweep)})
    return _with_starts(request, _readable(request, read))


def _with_starts(request: Request, config: SweepConfig) -> SweepConfig:
    sweep = sweep_of(request, config)
    return config.each(lambda one: starts.looked_up(one, sweep))


def _readable(request: Request, read: Callable[..., SweepConfig]) -> SweepConfig:
    try:
        return read(corpus_problem=corpus_problem)
    except ConfigError as problem:
        try:
            config = read()
        except ConfigError:
            raise problem from None
        if sweep_of(request, config).data.is_file():
            return config
        raise


def sweep_of(request: Request, config: SweepConfig) -> SweepDir:
    """The folder of the sweep of ``config``; it may not exist yet."""
    return SweepDir(Path(request.out or f"results/{config.name}"))


def sweep_folder(request: Request) -> SweepDir:
    """The folder of the sweep that ``request`` names; it need not exist yet."""
    if request.out is not None:
        return SweepDir(Path(request.out))
    config = load_config(request.config, overrides=request.overrides, device_kind="cpu")
    return sweep_of(request, config)


def has_stages(request: Request) -> bool:
    """Whether the config names an experiment that decides its later runs by the earlier ones."""
    chosen = _config(request, "cpu" if request.device == "auto" else request.device).choices
    return any(choice.part.propose is not None for choice in chosen.get("experiment", ()))


def resumed(request: Request) -> Request:
    """``request``, or if it names a sweep's folder, the request that resumes that sweep.

    It resumes on the kind of device it began on. Raises ``ConfigError`` for a folder without
    exactly one sweep and its config, for a config that was changed there, and for a sweep started
    with ``--adaptive``.
    """
    folder = Path(request.config)
    try:
        if not folder.is_dir():
            return request
    except OSError:  # a name too long, say, which the reader of configs refuses
        return request
    sweep = SweepDir(folder)
    if not sweep.config.is_file():
        sweep = only_sweep(folder)
    if sweep.stages.is_file():
        device = request.device
        if device == "auto" and sweep.plan.is_file():
            device = read_plan(sweep.plan).device_kind
        first = str(sweep.round_config(1))
        return dataclasses.replace(request, config=first, device=device, out=str(sweep.path))
    if sweep.adaptive.is_file():
        raise ConfigError(
            f"{sweep.path}: started with --adaptive; run the command that started it"
            " again, with its config and target"
        )
    try:
        checksum.read_text(sweep.config, begun_config_key(sweep))
    except ConfigError as problem:
        raise ConfigError(
            f"{problem}; give the config that the sweep began with, or a changed one, with --out"
            f" {sweep.path}"
        ) from None
    device = request.device
    if device == "auto" and sweep.plan.is_file():
        device = read_plan(sweep.plan).device_kind
    return dataclasses.replace(
        request, config=str(sweep.config), device=device, out=request.out or str(sweep.path)
    )


def plan_only(request: Request, say: Say) -> tuple[SweepConfig, Plan]:
    """Config and plan; nothing is written and no data are prepared.

    Epochs, splits and the vocabulary in use are checked only if the data are already prepared.
    Raises ``ConfigError`` for a corpus that could not be prepared now.
    """
    config, profile = _config_and_profile(request, say)
    datasets = _known(request, config)
    tokens, components = _tokens(datasets), _components(config, datasets)
    profile = _with_steps(config, profile, tokens, components, say, request.device)
    plan = planned(config, profile, tokens, components)
    say_of_data(request, config, say)
    return config, plan


def say_of_data(request: Request, config: SweepConfig, say: Say) -> None:
    """Say what a user should know of the data, as far as they are prepared."""
    datasets = _begun_data(config, sweep_of(request, config))
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
    datasets = _begun_data(config, sweep)
    for spec, dataset in datasets.items():
        has_tokens = dataset is not None or sweep.data.is_file()
        if isinstance(spec, DataSpec) and not has_tokens:
            check_ready(spec)
    check_data(config, datasets)
    return datasets


def _begun_data(config: SweepConfig, sweep: SweepDir) -> dict[DataOf, Dataset | None]:
    """The data that the sweep began with, else those of this machine; nothing is prepared."""
    from scaling_law.run.pins import begun_data

    return {spec: begun_data(spec, sweep) for spec in config.data_specs}


def _tokens(datasets: Mapping[DataOf, Dataset | None]) -> dict[DataOf, int | None]:
    return {
        spec: _cap(spec) if dataset is None else dataset.train_tokens
        for spec, dataset in datasets.items()
    }


def _cap(spec: DataOf) -> int | None:
    """The training tokens of text that is not prepared, as far as its spec says."""
    return spec.unique_tokens if isinstance(spec, DataSpec) else None


def inputs(request: Request, say: Say) -> tuple[SweepConfig, DeviceProfile, int | None]:
    """The inputs of a plan: config, device, and training tokens if they are known."""
    config, profile = _config_and_profile(request, say)
    return config, profile, _tokens(_known(request, config))[config.data_spec]


def _components(config: SweepConfig, datasets: Mapping[DataOf, Dataset | None]) -> ComponentTokens:
    """The training tokens of each component of the texts that are read in a mixture."""
    mixed = dict.fromkeys(arm.config.data_spec for arm in config.arms if arm.config.mix)
    return {spec: known_components(datasets[spec]) for spec in mixed}


def _with_steps(
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
    if all(shape in profile.step_of for shape in shapes):
        return profile
    if make_plan(config, profile, **known).seconds_estimate < _LEAST_SECONDS:
        return profile
    return engines.with_steps(config.choice("engine"), device, profile, shapes, say)


def planned(
    config: SweepConfig,
    profile: DeviceProfile,
    train_tokens: TrainTokens,
    component_tokens: ComponentTokens | None = None,
) -> Plan:
    """The plan of a config on a device: stacks, compilation and saved weights decided as well."""
    plan = make_plan(config, profile, train_tokens=train_tokens, component_tokens=component_tokens)
    plan = with_stacks(plan, profile.step_of) if config.stacking == "auto" else plan
    plan = with_compiled(plan, config.compile)
    return with_saved_weights(plan, config.keep_weights)


def run_sweep(request: Request, say: Say) -> tuple[SweepDir, Plan, SweepOutcome]:
    """Start, resume or join a sweep; return when it has ended or was stopped.

    Raises ``SlawError`` before anything is written if the sweep cannot be run as asked.
    """
    # imported here: a dry run does not train
    from scaling_law.run.runner import Runner
    from scaling_law.run.tracking import HURRY_SECONDS, chosen_trackers, tracked

    with _stoppable(), Leases() as leases:
        config, profile = _config_and_profile(request, say)
        sweep = sweep_of(request, config)
        if not sweep.plan.exists():  # report a grid that cannot be run before preparing data
            known = _begun_data(config, sweep)
            check_data(config, known)
            make_plan(
                config,
                profile,
                train_tokens=_tokens(known),
                component_tokens=_components(config, known),
            )
        made = [folder for folder in (sweep.path, *sweep.path.parents) if not folder.exists()]
        _check_writable(sweep.path)
        try:
            datasets, plan = _agreed(config, profile, sweep, leases, say, request.device)
        except SlawError:
            if made:
                _remove_empty(sweep, made)
            raise
        say(_opening(config, plan, datasets, sweep))
        executor = engines.start(config.choice("engine"), sweep, plan.slots)
        runner = Runner(plan, sweep, executor)
        trackers = chosen_trackers(config.choices["tracker"])
        with tracked(sweep, plan.name, trackers, say) as patience:
            outcome = runner.run()
            if outcome.stopped_by is not None:
                patience.seconds = HURRY_SECONDS
    runner.dashboard.write()  # again, because this process no longer works on the sweep
    _remove_empty(sweep, made)
    return sweep, plan, outcome


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
        known = _tokens(_begun_data(config, sweep))
        refuse_other_recipe(planned(config, profile, known), sweep)
    elif all(sweep.run(run.run_id).record.is_file() for run in plan.runs):
        mend_pins(config.data_specs, sweep, say)
        return {}, plan  # the text may be gone
    datasets = pinned_datasets(config.data_specs, sweep, say)
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
        tokens = _tokens(datasets)
        measured = _with_steps(config, profile, tokens, components, say, device)
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


def _opening(config: SweepConfig, plan: Plan, datasets: Datasets, sweep: SweepDir) -> str:
    """The sweep's plan in a few lines."""
    trunks = sum(run.spec.kind == "trunk" for run in plan.runs)
    lines = [
        f"sweep {plan.name} -> {sweep.path}",
        f"device: {plan.device_kind} ({plan.device_name}), {count_of(plan.slots, 'run')} at once",
        engine_words(config),
        f"precision: {plan.precision} ({plan.precision_reason})",
        *([f"data: {dataset.summary}" for dataset in datasets.values()] or [_NO_DATA]),
        *(f"  {line}" for line in _data_lines(config, datasets)),
        f"plan: {plan.points_words} from {count_of(trunks, 'trunk')},"
        f" {plan.flops_total:.3g} FLOPs"
        f" (exact; {100 * plan.saving_frac:.0f}% saved by branching),"
        f" about {format_seconds(plan.seconds_estimate)}",
    ]
    lines += [*arm_lines(plan), *mix_lines(plan), *early_stop_words(plan), *growth_words(plan)]
    lines += [f"left out: {item.label}: {item.reason}" for item in plan.left_out]
    return "\n".join(lines)


def _data_lines(config: SweepConfig, datasets: Datasets) -> list[str]:
    """Notes on the data for the user; nothing that a started sweep would be refused for now."""
    try:
        return check_data(config, datasets)
    except PlanError:
        return []


def closing(sweep: SweepDir, plan: Plan, outcome: SweepOutcome, *, last: bool = True) -> str:
    """The outcome and, after the ``last`` round, the command to run next."""
    by_id = plan.by_id
    counts = [f"{len(outcome.done)} of {count_of(len(plan.runs), 'run')} done"]
    for name, runs in (
        ("of them stopped early (loss predicted)", outcome.stopped_early),
        ("diverged", outcome.diverged),
        ("failed", outcome.failed),
        ("not run", outcome.blocked),
    ):
        if runs:
            counts.append(f"{len(runs)} {name}")
    end = f" in {format_seconds(outcome.seconds)}"
    if outcome.done_before == len(plan.runs):
        end = "; all runs had already finished" + ("; nothing to do" if last else "")
    lines = [", ".join(counts) + end]
    reasons = {**outcome.diverged, **outcome.failed, **outcome.blocked}
    lines += [f"  {by_id[run_id].spec.label}: {reason}" for run_id, reason in reasons.items()]
    if outcome.stopped_by is not None:
        lines.append("stopped; run the same command again to resume from the checkpoints")
    elif outcome.failed:
        lines.append(f"logs: {sweep.runs}/<run>/log.txt; run the same command again to retry")
    elif last:
        by = by_options(varying_keys(arms_of([run.spec for run in plan.runs])))
        fit = f"slaw fit {sweep.path}{by}"
        lines.append(f"next: {fit if named_by(sweep) is None else report_command(sweep)}")
        if outcome.stopped_early:
            lines.append("      with --keep stopped_early to fit the predicted losses as well")
    return "\n".join(lines)


def dry_run_text(config: SweepConfig, plan: Plan, note: str = "") -> str:
    """The plan's table under the config's name and a ``note``."""
    head = f"sweep {config.name} (dry run: nothing is written)" + (f"\n{note}" if note else "")
    return f"{head}\n\n{render_plan(plan, [engine_words(config)])}"


def engine_words(config: SweepConfig) -> str:
    """Where the runs are executed, and where their curves are shown besides."""
    trackers = ", ".join(part_text(choice.component) for choice in config.choices["tracker"])
    engine = part_text(config.choice("engine").component)
    return f"engine: {engine}; trackers: {trackers or 'none'}"


def plan_json(config: SweepConfig, plan: Plan) -> dict[str, Any]:
    """The document of ``slaw plan --json``: plan.json, and what no run's identity depends on."""
    return {
        **plan.to_json(),
        "engine": part_text(config.choice("engine").component),
        "trackers": [part_text(choice.component) for choice in config.choices["tracker"]],
    }
