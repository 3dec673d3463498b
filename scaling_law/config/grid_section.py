"""The section ``grid`` of a config: sizes, horizons and seeds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from scaling_law import parts
from scaling_law.config.part_settings import FORBID, read_settings, settings_adapter
from scaling_law.errors import did_you_mean, quoted
from scaling_law.parts import Reference
from scaling_law.spec.architectures import Architecture
from scaling_law.spec.counts import CONVENTIONS
from scaling_law.spec.values import MAX_PARAMS, Described, Either, EmptyListError, Number, Text
from scaling_law.units import parse_count


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
        count = "parameters as in 100k, or " if part.shape_for else ""
        raise ValueError(
            f"found {quoted(value)}{did_you_mean(str(value), part.scales)}; expected {count}one of"
            f" {', '.join(part.scales)}"
        )

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
    """Another run's final weights, to start from or to read losses of.

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
    reference: StartSection | None = None

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
            raise EmptyListError(given[0])
        for name in ("sizes", "seeds"):
            if not getattr(self, name):
                raise EmptyListError(name)
