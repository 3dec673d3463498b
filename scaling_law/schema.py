"""The sections of a config as frozen dataclasses: one definition for the values, their checks
and the JSON schema.

Pydantic validates them (``config.load_config``) but is not needed to import or use them: the
annotations ``Text``, ``Number`` and ``Either`` load it only when a schema is built.
"""

from __future__ import annotations

import json
import types
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from scaling_law import units
from scaling_law.counts import CONVENTIONS
from scaling_law.errors import quoted
from scaling_law.scales import DATA_SCALES, MODEL_SCALES
from scaling_law.spec import (
    ACTIVATIONS,
    COOLDOWNS,
    NORMS,
    POSITIONS,
    SCHEDULES,
    TOKENIZERS,
    DataSpec,
    EvalSpec,
)

DEVICE_KINDS = ("cpu", "mps", "cuda")
RULES = ("slaw_small", "olmo_ladder", "steplaw")
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$"
FORBID = {"extra": "forbid"}
MAX_COUNT = 1e40  # tokens, FLOPs: more than anything can be, and far from overflowing
# No model has been as large in any dimension; products of these stay within floats.
MAX_LAYERS, MAX_WIDTH, MAX_TABLE, MAX_PARAMS = 10_000, 1_000_000, 100_000_000, 1e15
# About twice the seed noise of small models: a tighter interval is seldom had before the end.
EARLY_STOP_WITHIN = 0.005


def optional(source: Any) -> tuple[Any, bool]:
    """The type without ``| None``, and whether it had it."""
    if get_origin(source) in (Union, types.UnionType):
        rest = [arg for arg in get_args(source) if arg is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return source, False


@dataclass(frozen=True)
class Text:
    """A text, one of ``choices`` or matching ``pattern`` where given.

    ``doc`` is its line in the JSON schema.
    """

    doc: str
    choices: tuple[str, ...] = ()
    pattern: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        nullable = optional(source)[1]
        if self.choices:
            schema: Any = core_schema.literal_schema(list(self.choices))
        else:
            schema = core_schema.str_schema(pattern=self.pattern, strict=True)
        return core_schema.nullable_schema(schema) if nullable else schema

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "description": self.doc}


@dataclass(frozen=True)
class Number:
    """A number within bounds, read as ``unit`` says.

    ``count`` takes ``5M``; ``tokens`` also the named data scales; ``seconds`` takes ``2h``;
    ``bytes`` takes ``4GB``, and ``gigabytes`` a bare number of them as well; None a plain number.
    Counts are at least 1 and at most ``MAX_COUNT`` unless bounded closer: products of them must
    stay within floats.
    """

    doc: str
    unit: Literal["count", "tokens", "seconds", "bytes", "gigabytes"] | None = None
    low: float | None = None
    above: float | None = None
    below: float | None = None
    high: float | None = None

    def read(self, value: Any, whole: bool) -> float:
        """``value`` as a number. Raises ``ValueError`` with what was expected."""
        if self.unit is None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"expected a {'whole ' * whole}number, found {quoted(value)}")
            number: float = value
        elif isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"expected {self.forms()}, found {quoted(value)}")
        elif self.unit == "seconds":
            number = units.parse_seconds(value)
        elif self.unit in ("bytes", "gigabytes"):
            number = units.parse_bytes(value, "B" if self.unit == "bytes" else "GB")
        elif self.unit == "tokens" and value in DATA_SCALES:
            number = DATA_SCALES[str(value)]
        else:
            number = units.parse_count(value)
        if whole and number != int(number):
            raise ValueError(f"expected a whole number, found {quoted(value)}")
        # 0 and 0.0 are one value but two texts in the JSON that names a run
        number = int(number) if whole else float(number)
        self._check(number, value)
        return number

    def forms(self) -> str:
        """How the value may be written."""
        return {
            "count": "a count such as 5M or 1e18",
            "tokens": f"tokens such as 5M, or {', '.join(DATA_SCALES)}",
            "seconds": "a duration such as 2h or 90m",
            "bytes": "a size such as 4GB",
            "gigabytes": "a size such as 4GB",
        }.get(self.unit or "", "a number")

    def _check(self, number: float, value: Any) -> None:
        counted = self.unit in ("count", "tokens")
        if counted and self.high is None and number > MAX_COUNT:
            raise ValueError(f"expected at most {MAX_COUNT:g}, found {quoted(value)}")
        if counted and self.low is None and number < 1:
            raise ValueError(f"expected at least 1, found {quoted(value)}")
        if self.low is not None and number < self.low:
            raise ValueError(f"expected at least {self.low:g}, found {quoted(value)}")
        if self.above is not None and number <= self.above:
            raise ValueError(f"expected above {self.above:g}, found {quoted(value)}")
        if self.high is not None and number > self.high:
            raise ValueError(f"expected at most {self.high:g}, found {quoted(value)}")
        if self.below is not None and number >= self.below:
            raise ValueError(f"expected below {self.below:g}, found {quoted(value)}")

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        inner, nullable = optional(source)
        whole = inner is int
        schema: Any = core_schema.no_info_plain_validator_function(
            lambda value: self.read(value, whole), metadata={"whole": whole}
        )
        return core_schema.nullable_schema(schema) if nullable else schema

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        nullable = schema["type"] == "nullable"
        whole = (schema["schema"] if nullable else schema)["metadata"]["whole"]
        kinds = ["integer" if whole and self.unit is None else "number"]
        kinds += ["string"] if self.unit else []
        kinds += ["null"] if nullable else []
        bounds = {
            "minimum": self.low,
            "exclusiveMinimum": self.above,
            "maximum": self.high,
            "exclusiveMaximum": self.below,
        }
        known = {key: bound for key, bound in bounds.items() if bound is not None}
        doc = self.doc if self.unit is None else f"{self.doc} ({self.forms()})"
        return {"type": kinds if len(kinds) > 1 else kinds[0], "description": doc, **known}


@dataclass(frozen=True)
class Switch(Number):
    """``true`` for ``on``, ``false`` for off (None), or a number of one's own."""

    on: float = 1.0

    def read(self, value: Any, whole: bool) -> Any:
        if isinstance(value, bool):
            return self.on if value else None
        if not isinstance(value, int | float):
            raise ValueError(f"expected true, false or a number, found {value!r}")
        return super().read(value, whole)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        found = super().__get_pydantic_json_schema__(schema, handler)
        return {**found, "type": ["boolean", *found["type"]]}


def kind_of(value: Any) -> str | None:
    """Which member of an ``Either`` a value picks; in error paths it is skipped."""
    kinds: dict[type, str] = {dict: "<mapping>", list: "<list>", str: "<text>"}
    return kinds.get(type(value))


@dataclass(frozen=True)
class Either:
    """A union told apart by the YAML kind of the value, so that one member's errors show."""

    doc: str

    def members(self, source: Any) -> dict[str, Any]:
        """The union's members by ``kind_of``."""
        found = {}
        for member in get_args(source):
            bare = get_args(member)[0] if get_origin(member) is Annotated else member
            origin = get_origin(bare) or bare
            kind = "<list>" if origin is tuple else "<text>" if origin is str else "<mapping>"
            found[kind] = member
        return found

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        inner = self.members(source)
        names = " or a ".join(kind.strip("<>") for kind in inner)
        return core_schema.tagged_union_schema(
            {kind: handler.generate_schema(member) for kind, member in inner.items()},
            discriminator=kind_of,
            custom_error_type="either",
            custom_error_message=f"expected a {names}",
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "description": self.doc}


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Which text, cut into tokens how."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    corpus: Annotated[str, Text("a named corpus or a path to files")]
    tokenizer: Annotated[str, Text("how text is cut into tokens", TOKENIZERS)] = "bpe"
    vocab_size: Annotated[
        int, Number("tokens in the vocabulary", "count", low=257, high=MAX_TABLE)
    ] = 1024
    domains: tuple[Annotated[str, Text("a domain of the corpus")], ...] = ()
    max_bytes: Annotated[int | None, Number("bytes of text to read", "bytes")] = None
    val_fraction: Annotated[float, Number("share of documents held out", above=0, below=1)] = 0.02
    max_epochs: Annotated[
        float, Number("times the training text may be read", above=0, high=1e6)
    ] = 4.0

    def __post_init__(self) -> None:
        self.spec()

    def spec(self) -> DataSpec:
        """What a run records of this section."""
        return DataSpec(
            corpus=self.corpus,
            tokenizer=self.tokenizer,
            vocab_size=self.vocab_size,
            domains=self.domains,
            max_bytes=self.max_bytes,
            val_fraction=self.val_fraction,
        )


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """What every model of the grid shares."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    n_ctx: Annotated[int, Number("tokens of context", "count", low=1, high=MAX_TABLE)] = 256
    norm: Annotated[str, Text("normalisation", NORMS)] = "rmsnorm"
    position: Annotated[str, Text("position encoding", POSITIONS)] = "rotary"
    activation: Annotated[str, Text("MLP activation", ACTIVATIONS)] = "relu2"
    qk_norm: bool = True
    tied: bool = False
    gradient_checkpointing: bool = False


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One explicit shape; ``d_ff`` and ``n_kv_head`` follow from the width and heads if absent."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    n_layer: Annotated[int, Number("blocks", low=1, high=MAX_LAYERS)]
    d_model: Annotated[int, Number("width", low=2, high=MAX_WIDTH)]
    n_head: Annotated[int, Number("query heads", low=1, high=MAX_WIDTH)]
    n_kv_head: Annotated[int | None, Number("key/value heads", low=1, high=MAX_WIDTH)] = None
    d_ff: Annotated[int | None, Number("hidden width of the MLP", low=1, high=MAX_TABLE)] = None

    def __post_init__(self) -> None:
        if self.d_model % self.n_head:
            raise ValueError(f"d_model {self.d_model} is not a multiple of n_head {self.n_head}")
        if self.n_kv_head is not None and self.n_head % self.n_kv_head:
            raise ValueError(
                f"n_head {self.n_head} is not a multiple of n_kv_head {self.n_kv_head}"
            )


@dataclass(frozen=True, kw_only=True)
class SizeRange:
    """``count`` sizes between two parameter counts, log-spaced, shaped by a rule.

    The depth follows the named scales, or ``d_model / aspect_ratio``; heads are 64 wide or less.
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


SizeName = Annotated[str, Text("a named model scale", tuple(MODEL_SCALES))]
SizeList = tuple[Annotated[SizeName | Shape, Either("a named scale or a shape")], ...]
Seed = Annotated[int, Number("seed of initial weights and data order", low=0, high=10**9)]
HORIZONS = ("tokens", "tokens_per_param", "flops", "flops_ladder")


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

    def __post_init__(self) -> None:
        if self.grow_at is not None and self.grow_from is None:
            raise ValueError("grow_at says where in grow_from's trunk; grow_from is missing")
        given = [name for name in HORIZONS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"expected exactly one of {', '.join(HORIZONS)}; found {found}")
        if not getattr(self, given[0]):
            raise ValueError(f"{given[0]} is empty")
        if not self.sizes or not self.seeds:
            raise ValueError("sizes or seeds is empty")


@dataclass(frozen=True, kw_only=True)
class ScheduleSection:
    """Shape of the learning rate; warm-up belongs to the rule in ``optim``."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    shape: Annotated[str, Text("learning rate over steps", SCHEDULES)] = "wsd"
    cooldown: Annotated[str, Text("shape of WSD's decay", COOLDOWNS)] = "1-sqrt"
    decay_frac: Annotated[float, Number("share of steps WSD decays", above=0, below=1)] = 0.2
    final_frac: Annotated[float, Number("end of the decay over peak", low=0, high=1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class OptimSection:
    """The rule that sets LR, batch, beta2 and warm-up, and what overrides it."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    rule: Annotated[str, Text("named rule, see scaling_law/rules.py", RULES)] = "slaw_small"
    lr_mult: Annotated[float, Number("factor on the rule's LR", low=1e-6, high=1e6)] = 1.0
    lr: Annotated[float | None, Number("peak LR instead of the rule's", low=1e-12, high=1e3)] = None
    batch_tokens: Annotated[int | None, Number("tokens per step instead", "count")] = None
    warmup_tokens: Annotated[int | None, Number("warm-up instead", "count")] = None
    beta1: Annotated[float, Number("AdamW's beta1", low=0, below=1)] = 0.9
    beta2: Annotated[float | None, Number("instead of the rule's", low=0, below=1)] = None
    eps: Annotated[float, Number("AdamW's epsilon", above=0, high=1)] = 1e-8
    weight_decay: Annotated[float, Number("on matrices only", low=0, high=1e3)] = 0.1
    grad_clip: Annotated[float | None, Number("norm; null for none", above=0, high=1e6)] = 1.0


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
class Limits:
    """What the sweep may take; what does not fit is left out, with its reason."""

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
    data: DataSection
    model: ModelSection = field(default_factory=ModelSection)
    grid: tuple[GridEntry, ...]
    schedule: ScheduleSection = field(default_factory=ScheduleSection)
    optim: OptimSection = field(default_factory=OptimSection)
    eval: EvalSection = field(default_factory=EvalSection)
    precision: Annotated[
        str, Text("auto takes the measured best of the device", ("auto", "fp32", "bf16", "fp16"))
    ] = "auto"
    stacking: Annotated[
        str, Text("auto trains small models of one shape as one program", ("auto", "off"))
    ] = "auto"
    limits: Limits = field(default_factory=Limits)
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

    def __post_init__(self) -> None:
        if not self.grid:
            raise ValueError("grid is empty")


class Invalid(Exception):  # noqa: N818 - the list of errors, not an error of its own
    """What pydantic found wrong, as it reports it (``loc``, ``type``, ``msg``, ``input``)."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors


def validate(data: Any) -> SweepFile:
    """The sections from plain values. Raises ``Invalid`` with every error at once."""
    from pydantic import TypeAdapter, ValidationError

    try:
        # JSON mode is the strict mode in which lists may become tuples
        return TypeAdapter(SweepFile).validate_json(json.dumps(data), strict=True)
    except ValidationError as problem:
        raise Invalid([dict(error) for error in problem.errors(include_url=False)]) from None


def sweep_schema() -> dict[str, Any]:
    """The JSON schema of the sections."""
    from pydantic import TypeAdapter

    return TypeAdapter(SweepFile).json_schema()
