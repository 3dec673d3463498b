"""The sections of a config as frozen dataclasses: one definition for the values, their checks
and the JSON schema.

Pydantic validates them (``config.load.load_config``) but is not needed to import or use them: the
annotations of ``spec.values`` load it only when a schema is built.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from scaling_law import parts
from scaling_law.config.compose import FORBID, Refused, read_settings, settings_adapter
from scaling_law.errors import quoted
from scaling_law.parts import Reference
from scaling_law.spec.architectures import Architecture
from scaling_law.spec.component import Component
from scaling_law.spec.counts import CONVENTIONS
from scaling_law.spec.data import TOKENIZERS, DataSpec, SourceSpec, joined
from scaling_law.spec.mix import COOLDOWN, NATURAL, Mix, Phase, shares_from
from scaling_law.spec.run import EvalSpec, SpikeSpec
from scaling_law.spec.values import (
    MAX_PARAMS,
    MAX_TABLE,
    ByKey,
    Described,
    Either,
    Number,
    NumberOr,
    Switch,
    Text,
)
from scaling_law.units import parse_count

if TYPE_CHECKING:
    from pydantic import TypeAdapter

DEVICE_KINDS = ("cpu", "mps", "cuda")
KEPT = ("auto", "all", "largest", "none")
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$"
# Keys that do not change a run's recipe, so that no axis varies them.
OUTSIDE_RECIPE = (
    "name", "question", "grid", "axes", "eval", "keep_weights", "stacking", "compile", "trackers",
    "limits", "checkpoints", "early_stop", "engine", "probes", "experiment", "stage",
)  # fmt: skip
# About twice the seed noise of small models; a tighter interval is rare before the end of a run.
EARLY_STOP_WITHIN = 0.005
SPIKE_SIGMAS = 6.0
# Tokens of context where a config of text names none.
TEXT_N_CTX = 256


Weights = Annotated[
    dict[str, Annotated[float, Number("the component's share", low=0, high=1)]]
    | Annotated[str, Text("the shares that the text has", (NATURAL,))],
    Either("shares by component, which sum to 1, or natural"),
]


TextKey = Annotated[
    str | None, Text("key of JSON rows or column of parquet with the text; a.b for b under a")
]


@dataclass(frozen=True, kw_only=True)
class PhaseSection:
    """A part of a run with one mixture."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    mix: Weights
    until: Annotated[
        float | str | None,
        NumberOr(
            "where the phase ends: a share of the run's steps, or the start of the cooldown",
            above=0, below=1, words=(COOLDOWN,), whole=False,
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TextSection:
    """A text and its tokenizer, and the mixture in which its components are read."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    corpus: Annotated[str | None, Text("a named corpus, a path to files, or a corpus's own .py")]
    tokenizer: Annotated[str, Text("how text is cut into tokens", TOKENIZERS)] = "bpe"
    vocab_size: Annotated[
        int, Number("tokens in the vocabulary", "count", low=257, high=MAX_TABLE)
    ] = 1024
    domains: tuple[Annotated[str, Text("a domain of the corpus, or a source")], ...] = ()
    max_bytes: Annotated[int | None, Number("bytes of text to read", "bytes")] = None
    val_fraction: Annotated[float, Number("share of documents held out", above=0, below=1)] = 0.02
    max_epochs: Annotated[
        float,
        Number("times the training text, or a component of a mix, may be read", above=0, high=1e6),
    ] = 4.0
    unique_tokens: Annotated[
        int | None,
        Number("tokens of the training text to use; validation text stays", "count", low=2),
    ] = None
    mix: Weights | None = None
    mix_temperature: Annotated[
        float | None,
        Number("T of natural shares n^(1/T); 1 keeps the text's own", low=0.01, high=1e6),
    ] = None
    phases: tuple[PhaseSection, ...] | None = None

    def __post_init__(self) -> None:
        self.spec({})
        if self.mix is not None and self.phases is not None:
            raise ValueError("expected one of mix and phases; found both")
        weights: list[Any] = [phase.mix for phase in self.phases or ()] or [self.mix or NATURAL]
        if self.mix_temperature is not None and NATURAL not in weights:
            raise ValueError("mix_temperature flattens natural shares; expected mix: natural")
        if self.unique_tokens is not None and self.mix_spec() is not None:
            raise ValueError(
                "unique_tokens cuts the training text as a whole, and a mix reads it by component;"
                " leave one of them out, or cap a component by its source's max_bytes"
            )

    def spec(self, parts_of: Mapping[str, Component]) -> DataSpec:
        """What a run records of this section.

        ``parts_of`` are the corpora that a name alone does not describe, by source; "" for the
        corpus of the section.
        """
        return DataSpec(
            corpus=parts_of[""].name if "" in parts_of else self.corpus or "",
            tokenizer=self.tokenizer,
            vocab_size=self.vocab_size,
            domains=self.domains,
            max_bytes=self.max_bytes,
            val_fraction=self.val_fraction,
            unique_tokens=self.unique_tokens,
            corpus_part=parts_of.get(""),
        )

    def mix_spec(self) -> Mix | None:
        """What a run records of its mixture; None without one."""
        temperature = 1.0 if self.mix_temperature is None else self.mix_temperature
        if self.phases is not None:
            phases = tuple(
                Phase(shares=shares_from(phase.mix), until=phase.until) for phase in self.phases
            )
            return Mix(phases=phases, temperature=temperature)
        if self.mix is None and self.mix_temperature is None:
            return None
        return Mix(phases=(Phase(shares=shares_from(self.mix or NATURAL)),),
                   temperature=temperature)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DataSection(TextSection):
    """The text of one corpus, whose domains are its components.

    The corpus's own settings stand beside these (``config.compose``).
    """

    corpus: Annotated[str, Text("a named corpus, a path to files, or a corpus's own .py")]
    text_key: TextKey = None

    def spec(self, parts_of: Mapping[str, Component]) -> DataSpec:
        """What a run records of this section."""
        return dataclasses.replace(super().spec(parts_of), text_key=self.text_key)


@dataclass(frozen=True, kw_only=True)
class SourceSection:
    """One of several sources of a text.

    The corpus's own settings stand beside these (``config.compose``).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    corpus: Annotated[str, Text("a named corpus, a path to files, or a corpus's own .py")]
    domains: tuple[Annotated[str, Text("a domain of the corpus")], ...] = ()
    max_bytes: Annotated[int | None, Number("bytes of text to read", "bytes")] = None
    text_key: TextKey = None


@dataclass(frozen=True, kw_only=True)
class SourcesSection(TextSection):
    """The text of several sources, each of which is a component; one tokenizer serves all."""

    corpus: None = None
    sources: dict[Annotated[str, Text("a component", pattern=NAME)], SourceSection]

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources is empty; expected corpora by name")
        super().__post_init__()

    def spec(self, parts_of: Mapping[str, Component]) -> DataSpec:
        """What a run records of this section."""
        sources = tuple(
            SourceSpec(
                name=name,
                corpus=parts_of[name].name if name in parts_of else section.corpus,
                domains=section.domains,
                max_bytes=section.max_bytes,
                text_key=section.text_key,
                corpus_part=parts_of.get(name),
            )
            for name, section in sorted(self.sources.items())
        )
        return dataclasses.replace(super().spec({}), corpus=joined(sources), sources=sources)


@dataclass(frozen=True, kw_only=True)
class TaskSection:
    """A task that makes its own examples, in place of text.

    The task's own settings stand beside these (``config.compose``).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    source: Annotated[str, Text("the task, see `slaw parts source`")]
    max_epochs: Annotated[
        float | None,
        Number("times the training examples may be seen; without limit", above=0, high=1e9),
    ] = None


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


@dataclass(frozen=True)
class ScaleName:
    """The name of one of the architecture's scales, or a parameter count such as 1M.

    ``doc`` is its line in the JSON schema. The architecture is the context of the validation, None
    where it is not known.
    """

    doc: str

    def read(self, value: Any, info: Any) -> str:
        """``value``, refused unless it is a count or the architecture has a scale of that name."""
        part: Architecture | None = info.context
        if part is None or value in part.scales or (part.shape_for and is_count(value)):
            return value if isinstance(value, str) else f"{value:.15g}"
        if not part.scales:
            keys = ", ".join(f.name for f in dataclasses.fields(part.shape))
            raise ValueError(f"found {quoted(value)}; this architecture has sizes by {keys} only")
        from pydantic_core import PydanticKnownError

        expected = ", ".join(f"'{name}'" for name in part.scales)
        raise PydanticKnownError("literal_error", {"expected": expected})

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.with_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        names = [name for part in _architectures().values() for name in part.scales]
        count = {"type": "string", "pattern": r"^[0-9._eE+]+ *[KMBGTkmbgt]?$"}
        named = {"enum": names, "type": "string"}
        return {"anyOf": [named, count, {"type": "number"}], "description": self.doc}


def is_count(value: Any) -> bool:
    """Whether ``value`` is a parameter count, such as 1M."""
    try:
        return isinstance(value, str | int | float) and 1 <= parse_count(value) <= MAX_PARAMS
    except ValueError:
        return False


@dataclass(frozen=True)
class ShapeKeys:
    """A size by the keys of the architecture's ``shape``; see ``ScaleName``."""

    doc: str

    def read(self, value: Any, info: Any) -> Any:
        """``value`` as an instance of the architecture's ``shape``."""
        part: Architecture | None = info.context
        return value if part is None else read_settings(part.shape, value)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.with_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        shapes = [
            {**settings_adapter(part.shape).json_schema(), "title": name}
            for name, part in _architectures().items()
        ]
        return {"anyOf": shapes, "description": self.doc}


def _architectures() -> dict[str, Architecture]:
    names = parts.names("architecture")
    return {name: parts.load("architecture", Reference(name=name)) for name in names}


@dataclass(frozen=True, kw_only=True)
class SizeRange:
    """``count`` sizes between two parameter counts, log-spaced, shaped by the architecture's rule.

    A GPT's depth follows the named scales, or ``d_model / aspect_ratio``; its heads are 64 wide or
    less.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    params: tuple[
        Annotated[float, Number("fewest parameters", "count", low=1, high=MAX_PARAMS)],
        Annotated[float, Number("most parameters", "count", low=1, high=MAX_PARAMS)],
    ]
    count: Annotated[int, Number("how many sizes", low=1, high=200)]
    convention: Annotated[str, Text("what params counts", CONVENTIONS)] = "non_embedding"
    aspect_ratio: Annotated[float | None, Number("d_model / n_layer", low=0.1, high=1e6)] = None

    def __post_init__(self) -> None:
        if self.params[0] > self.params[1] or (self.count > 1 and self.params[0] == self.params[1]):
            raise ValueError(f"params runs from {self.params[0]:g} to {self.params[1]:g}")


@dataclass(frozen=True, kw_only=True)
class FlopsLadder:
    """Equal-compute cells ``base_flops * ratio^i``: ``count`` consecutive ones for every size.

    Each size starts at the cell that gives it the horizon nearest to ``tokens_near``, so that
    sizes and horizons line up in IsoFLOP cells whatever the sizes are.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    base_flops: Annotated[float, Number("exact training FLOPs of cell 0", "count")]
    tokens_near: Annotated[float, Number("first horizon of every size", "tokens")]
    count: Annotated[int, Number("horizons per size", low=1, high=64)] = 4
    ratio: Annotated[float, Number("from one cell to the next", above=1, high=100)] = 2.0


Size = (
    Annotated[str, ScaleName("a named model scale, or non-embedding parameters, as in 1M")]
    | Annotated[Any, ShapeKeys("the keys of the architecture's shape")]
)
SizeList = tuple[Annotated[Size, Either("a named scale, a count or a shape", numbers=True)], ...]
Axes = dict[str, tuple[Any, ...]]
Seed = Annotated[int, Number("seed of initial weights and data order", low=0, high=10**9)]
HORIZONS = (
    "tokens", "tokens_per_param", "flops", "flops_ladder", "examples", "epochs", "steps",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StartSection:
    """Another run's final weights, to start from.

    ``weights_sha256`` is filled in when the weights are looked up.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    run: Annotated[str, Text("the folder of a finished run, or the id of one of this sweep")]
    weights_sha256: Annotated[
        str | None, Text("the hash of its weights", pattern=r"^[0-9a-f]{64}$")
    ] = None


@dataclass(frozen=True, kw_only=True)
class GridEntry:
    """Sizes, one way of giving horizons, and seeds."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    sizes: Annotated[SizeList | SizeRange, Either("sizes by name or shape, or a range of them")]
    tokens: tuple[Annotated[float, Number("a horizon", "tokens")], ...] | None = None
    tokens_per_param: (
        tuple[Annotated[float, Number("tokens / N", above=0, high=1e12)], ...] | None
    ) = None
    flops: tuple[Annotated[float, Number("an IsoFLOP budget", "count")], ...] | None = None
    flops_ladder: FlopsLadder | None = None
    examples: tuple[Annotated[float, Number("a horizon in sequences", "count")], ...] | None = None
    epochs: (
        tuple[Annotated[float, Number("passes over the training split", above=0, high=1e9)], ...]
        | None
    ) = None
    steps: tuple[Annotated[int, Number("a horizon in steps", "count")], ...] | None = None
    convention: Annotated[str, Text("what tokens_per_param divides by", CONVENTIONS)] = "matmul"
    seeds: Annotated[
        tuple[Seed, ...] | dict[str, tuple[Seed, ...]],
        Either("seeds of every size, or by the name of a size (others: 0)"),
    ] = (0,)
    grow_from: Annotated[
        str | None, Text("start as this smaller size of the grid, enlarged (its name in the plan)")
    ] = None
    grow_at: Annotated[float | None, Number("of its trunk; null for the whole trunk", "tokens")] = (
        None
    )
    axes: Annotated[
        Axes | None, Described("config keys with lists of values, crossed with this entry")
    ] = None

    start_from: StartSection | None = None

    def __post_init__(self) -> None:
        if self.start_from is not None and self.grow_from is not None:
            raise ValueError("start_from and grow_from: a run starts from one of them")
        if self.grow_at is not None and self.grow_from is None:
            raise ValueError("grow_at says where in grow_from's trunk; grow_from is missing")
        given = [name for name in HORIZONS if getattr(self, name) is not None]
        if len(given) != 1:
            named = " and ".join(given) or "none"
            raise ValueError(f"expected exactly one of {', '.join(HORIZONS)}; found {named}")
        if not getattr(self, given[0]):
            raise ValueError(f"{given[0]} is empty")
        if not self.sizes or not self.seeds:
            raise ValueError("sizes or seeds is empty")


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
        str, Text("final weights to keep; auto: all while below 1 GB, else the largest", KEPT)
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

    stage: Annotated[
        int | None, Number("of an experiment in stages: its number, from 2", low=2, high=1000)
    ] = None

    def __post_init__(self) -> None:
        if not self.grid:
            raise ValueError("grid is empty")

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
