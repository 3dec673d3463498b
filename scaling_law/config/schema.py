"""The sections of a config as frozen dataclasses: one definition for the values, their checks
and the JSON schema.

Pydantic validates them (``config.load.load_config``) but is not needed to import or use them: the
annotations of ``spec.values`` load it only when a schema is built.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from scaling_law.config.data_section import NAME, DataSection, SourcesSection, TaskSection
from scaling_law.config.grid_section import Axes, GridEntry
from scaling_law.config.part_settings import FORBID, Refused
from scaling_law.spec.architectures import Architecture
from scaling_law.spec.parallel import MOST_DEVICES, STAGES, Parallel
from scaling_law.spec.run import EvalSpec, SpikeSpec
from scaling_law.spec.trainer import METRICS, TrainerSpec
from scaling_law.spec.values import (
    MAX_TABLE,
    ByKey,
    Described,
    EmptyListError,
    Number,
    NumberOr,
    Switch,
    Text,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter

DEVICE_KINDS = ("cpu", "mps", "cuda")
KEEP_WORDS = ("auto", "all", "largest", "none")
# Keys that do not change a run's recipe, so that no axis varies them.
OUTSIDE_RECIPE = (
    "name", "question", "grid", "axes", "eval", "keep_weights", "stacking", "compile", "trackers",
    "limits", "checkpoints", "early_stop", "engine", "probes", "experiment", "stage", "parallel",
)  # fmt: skip
# About twice the seed noise of small models; a tighter interval is rare before the end of a run.
EARLY_STOP_WITHIN = 0.005
SPIKE_SIGMAS = 6.0
# Tokens of context where a config of text names none.
TEXT_N_CTX = 256


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """What every model of the grid shares.

    The settings of the architecture and of the parametrisation stand beside these
    (``config.compose``).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    n_ctx: Annotated[
        int | None,
        Number(
            f"tokens of context: {TEXT_N_CTX} for text, a task's own",
            "count",
            low=1,
            high=MAX_TABLE,
        ),
    ] = None
    architecture: Annotated[str, Text("the model, see `slaw parts architecture`")] = "gpt"
    parametrisation: Annotated[
        str, Text("initial scales and multipliers, see `slaw parts parametrisation`")
    ] = "standard"
    gradient_checkpointing: bool = False


@dataclass(frozen=True, kw_only=True)
class ScheduleSection:
    """Shape of the learning rate; warm-up belongs to the rule in ``optim``.

    The settings of the schedule and of the cooldown stand beside these (``config.compose``).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    shape: Annotated[str, Text("learning rate over steps, see `slaw parts schedule`")] = "wsd"
    cooldown: Annotated[str, Text("shape of the decay, see `slaw parts cooldown`")] = "1-sqrt"
    decay_frac: Annotated[float, Number("share of steps in the cooldown", above=0, below=1)] = 0.2
    final_frac: Annotated[float, Number("end of the decay over peak", low=0, high=1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class OptimSection:
    """The rule that sets LR, batch, beta2 and warm-up, what overrides it, and the optimizer.

    The optimizer's own settings stand beside these (``config.compose``).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    name: Annotated[str, Text("the optimizer, see `slaw parts optimizer`")] = "adamw"
    rule: Annotated[str, Text("for LR and batch, see `slaw parts rule`")] = "slaw_small"
    lr_mult: Annotated[float, Number("factor on the rule's LR", low=1e-6, high=1e6)] = 1.0
    lr: Annotated[float | None, Number("peak LR instead of the rule's", low=1e-12, high=1e3)] = None
    batch_tokens: Annotated[int | None, Number("tokens per step instead", "count")] = None
    batch_examples: Annotated[
        int | str | None,
        NumberOr("sequences per step instead; all: a task's whole training split", "count",
                 words=("all",)),
    ] = None  # fmt: skip
    warmup_tokens: Annotated[int | None, Number("warm-up instead", "count")] = None
    weight_decay: Annotated[float, Number("on matrices only", low=0, high=1e3)] = 0.1
    grad_clip: Annotated[float | None, Number("norm; null for none", above=0, high=1e6)] = 1.0

    def __post_init__(self) -> None:
        if self.batch_tokens is not None and self.batch_examples is not None:
            raise ValueError("expected one of batch_tokens and batch_examples; found both")


@dataclass(frozen=True, kw_only=True)
class EvalSection:
    """Validation at the end of a run, and smaller ones on the way."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    val_tokens: Annotated[int, Number("scored at the end", "count", low=1)] = 131_072
    curve_tokens: Annotated[int, Number("scored on the way", "count", low=1)] = 16_384
    curve_points: Annotated[int, Number("evaluations on the way", low=0, high=10_000)] = 20

    def spec(self) -> EvalSpec:
        """What a run records of this section."""
        return EvalSpec(
            val_tokens=self.val_tokens,
            curve_tokens=self.curve_tokens,
            curve_points=self.curve_points,
        )


@dataclass(frozen=True, kw_only=True)
class CheckpointSection:
    """How often a run saves its state: what a kill may cost, never what is trained."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    every: Annotated[float, Number("seconds between two saves", "seconds")] = 60.0
    every_steps: Annotated[int | None, Number("steps between two, as well", low=1)] = None
    keep: Annotated[
        int, Number("newest states that stay on the disk; one is a spare", low=1, high=1000)
    ] = 2

    def resources(self) -> dict[str, Any]:
        """The fields of ``Resources`` that this section sets."""
        return {
            "checkpoint_every_seconds": self.every,
            "checkpoint_every_steps": self.every_steps,
            "keep_checkpoints": self.keep,
        }


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the sweep may use; what does not fit is left out, with its reason."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    time: Annotated[float | None, Number("estimated seconds of the sweep", "seconds")] = None
    memory: Annotated[int | None, Number("bytes, all runs at once", "gigabytes")] = None
    slots: Annotated[
        int | None, Number("runs at once; null for one a core, or one a GPU", low=1, high=1000)
    ] = None


@dataclass(frozen=True, kw_only=True)
class TrainerSection:
    """A command of the user's own that trains every run, with data: {source: external}."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    command: Annotated[
        str, Text("program and arguments, with placeholders as {n_layer}, {lr} and {run_dir}")
    ]
    metrics: Annotated[
        str, Text("file that the command writes below {run_dir}, a JSON line a point")
    ] = METRICS
    resume: Annotated[
        str | None, Text("arguments that resume a run; absent where the command cannot")
    ] = None
    silent_for: Annotated[
        float | None,
        Number(
            "seconds without a line printed or a point written, after which a run is ended as hung;"
            " null waits for ever",
            "seconds",
        ),
    ] = 7200.0

    def __post_init__(self) -> None:
        self.spec()

    def resources(self) -> dict[str, Any]:
        """The fields of ``Resources`` that this section sets."""
        return {"silent_seconds": self.silent_for}

    def spec(self) -> TrainerSpec:
        """What a run records of this section."""
        return TrainerSpec(
            command=self.command,
            resume=self.resume,
            metrics=None if self.metrics == METRICS else self.metrics,
        )


@dataclass(frozen=True, kw_only=True)
class ParallelSection:
    """The devices that train each run together."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    kind: Annotated[
        str,
        Text("ddp: each device has the whole model; fsdp: a share of it (ZeRO-3)", tuple(STAGES)),
    ] = "ddp"
    devices: Annotated[int | None, Number("devices of each run", low=1, high=MOST_DEVICES)] = None
    resume_on: Annotated[
        int | None,
        Number(
            "train on so many devices instead; the bits are then no longer those of `devices`",
            low=1,
            high=MOST_DEVICES,
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.devices is None and self.resume_on is None:
            raise ValueError("devices: missing; expected how many train each run")

    def spec(self) -> Parallel | None:
        """What a run records of this section; None for one device."""
        devices = self.devices or 1
        return Parallel(kind=self.kind, devices=devices) if devices > 1 else None

    def resuming(self) -> Parallel | None:
        """The devices instead of those of ``spec``."""
        if self.resume_on is None:
            return None
        return Parallel(kind=self.kind, devices=self.resume_on)


@dataclass(frozen=True, kw_only=True)
class SweepFile:
    """A sweep of training runs for `slaw run`."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    name: Annotated[str, Text("names the results folder", pattern=NAME)]
    question: Annotated[str, Text("what the sweep is to answer")] = ""
    data: Annotated[
        DataSection | SourcesSection | TaskSection,
        ByKey(
            "text, text from several sources, or a task",
            keys=(("corpus", "text"), ("sources", "several texts"), ("source", "a task")),
        ),
    ]
    model: ModelSection = field(default_factory=ModelSection)
    grid: tuple[GridEntry, ...]
    axes: Annotated[
        Axes | None, Described("config keys with lists of values, crossed with the grid")
    ] = None
    schedule: ScheduleSection = field(default_factory=ScheduleSection)
    optim: OptimSection = field(default_factory=OptimSection)
    eval: EvalSection = field(default_factory=EvalSection)
    precision: Annotated[
        str, Text("auto takes the measured best of the device", ("auto", "fp32", "bf16", "fp16"))
    ] = "auto"
    keep_weights: Annotated[
        str,
        Text("final weights to keep; auto: all while below 1 GB, else the largest", KEEP_WORDS),
    ] = "auto"
    stacking: Annotated[
        str, Text("auto trains small models of one shape as one program", ("auto", "off"))
    ] = "auto"
    compile: Annotated[
        str, Text("auto trains long runs on CUDA through torch.compile", ("off", "auto"))
    ] = "off"
    limits: Limits = field(default_factory=Limits)
    checkpoints: CheckpointSection = field(default_factory=CheckpointSection)
    early_stop: Annotated[
        float | None,
        Switch(
            "end branches whose final loss is predicted to this share of it, at 90%"
            f" (true: {EARLY_STOP_WITHIN:g})",
            above=0,
            high=0.1,
            on=EARLY_STOP_WITHIN,
        ),
    ] = None

    spikes: Annotated[
        float | None,
        Switch(
            "skip a batch whose loss is so many standard deviations above the recent steps'"
            f" (true: {SPIKE_SIGMAS:g})",
            low=2,
            high=1000,
            on=SPIKE_SIGMAS,
        ),
    ] = None

    trainer: Annotated[
        TrainerSection | None, Described("a command of your own that trains the runs")
    ] = None

    parallel: Annotated[
        ParallelSection | None, Described("several devices for each run, in step")
    ] = None

    stage: Annotated[
        int | None, Number("of an experiment in stages: its number, from 2", low=2, high=1000)
    ] = None

    def __post_init__(self) -> None:
        if not self.grid:
            raise EmptyListError("grid")

    def spike_spec(self) -> SpikeSpec | None:
        """What a run records of ``spikes``."""
        return SpikeSpec(sigmas=self.spikes) if self.spikes is not None else None


def validate(data: Any, architecture: Architecture | None) -> SweepFile:
    """The sections from plain values. Raises ``Refused`` with every error at once.

    Sizes are checked against the ``architecture``; None where it is not known.
    """
    from pydantic import ValidationError

    try:
        # JSON mode is the strict mode in which lists may become tuples
        return _adapter().validate_json(json.dumps(data), strict=True, context=architecture)
    except ValidationError as problem:
        raise Refused([dict(error) for error in problem.errors(include_url=False)]) from None


def sweep_schema() -> dict[str, Any]:
    """The JSON schema of the sections."""
    return _adapter().json_schema()


@functools.cache
def _adapter() -> TypeAdapter[SweepFile]:
    """Made once a process: that takes a quarter of the CPU time of starting up."""
    from pydantic import TypeAdapter

    return TypeAdapter(SweepFile)
