"""What the user asked for: a config on a device, and the folder of its sweep."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scaling_law.config.load import load_config
from scaling_law.config.schema import DEVICE_KINDS
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.config.written import begun_config_key
from scaling_law.console import Say
from scaling_law.data.corpus import corpus_problem
from scaling_law.errors import ConfigError, DeviceError, quoted
from scaling_law.files import checksum
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import only_sweep
from scaling_law.plan.device_profile import DeviceProfile, shared_by
from scaling_law.plan.parallel import refuse_engine
from scaling_law.plan.plan import read_plan
from scaling_law.run import engines, starts


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked ``slaw run`` or ``slaw plan`` for."""

    config: str  # a path or a shipped name
    device: str = "auto"
    overrides: tuple[str, ...] = field(default=())  # the texts of --set
    out: str | None = None  # the sweep's folder; None for results/<name>
    engine: str | None = None  # its name or its file's path; None for the config's
    # whether this runs in a job that `--detach` submitted: its workers go on when it is stopped
    detached: bool = False
    # where corpora that are files were found before, by how the config spells them
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> tuple[str, ...]:
        """``overrides``, after the name of ``engine`` where they set keys of it and no name."""
        keys = {text.partition("=")[0] for text in self.overrides}
        is_named = bool(keys & {"engine", "engine.name"})
        own = any(key.startswith("engine.") for key in keys)
        # a file's path is not the config's, and a file without defaults is refused by itself
        if self.engine is None or self.engine.endswith(".py") or is_named or not own:
            return self.overrides
        return (f"engine.name={self.engine}", *self.overrides)


def config_and_profile(request: Request, say: Say) -> tuple[SweepConfig, DeviceProfile]:
    """Both; errors in the config are reported before a calibration that takes a while."""
    config = config_of(request, "cpu" if request.device == "auto" else request.device)
    refuse_engine(config)
    engine = config.choice("engine")
    with config.placing():
        profile = engines.profile(engine, request.device, say)
    if profile.kind != config.device_kind:
        config = config_of(request, profile.kind)
    slots = config.limits.slots
    is_shared = engine.part.shares_gpus and profile.kind != "cpu"
    if engine.part.own_devices and not (is_shared and (slots or 0) > profile.slots):
        return config, _fewer(profile, slots)
    return config, shared_by(profile, slots, config.where("limits", "slots"))


def _fewer(profile: DeviceProfile, slots: int | None) -> DeviceProfile:
    """``profile`` with at most ``slots`` runs at once, each on a device of its own."""
    if slots is None or slots >= profile.slots:
        return profile
    memory = profile.memory_bytes * slots // profile.slots
    return dataclasses.replace(profile, slots=slots, memory_bytes=memory)


def config_of(request: Request, kind: str) -> SweepConfig:
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
        overrides=request.settings,
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
    config = load_config(request.config, overrides=request.settings, device_kind="cpu")
    return sweep_of(request, config)


def has_stages(request: Request) -> bool:
    """Whether the config names an experiment that decides its later runs by the earlier ones."""
    chosen = config_of(request, "cpu" if request.device == "auto" else request.device).choices
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
