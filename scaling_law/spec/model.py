"""Specify a model: the GPT, or one of another architecture."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from scaling_law.decode import build
from scaling_law.spec.component import Component
from scaling_law.spec.fields import OMIT_EMPTY, at_least, chosen_by, of_axis, one_of
from scaling_law.spec.to_json import SpecPart, to_json

NORMS = ("rmsnorm", "layernorm")
POSITIONS = ("rotary", "learned", "alibi", "none")
DOCUMENTS = ("masked",)
ACTIVATIONS = ("gelu", "swiglu", "relu2")
# The parts of runs whose JSON has none.
DEFAULT_ARCHITECTURE = "gpt"
DEFAULT_PARAMETRISATION = "standard"
_GPT_DIMENSIONS = ("n_layer", "d_model", "n_head", "n_kv_head", "d_ff")
S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class ModelSpec(SpecPart):
    """Shape of a GPT decoder.

    ``vocab_size``: tokens of the vocabulary.
    ``n_ctx``: tokens of context.
    ``n_layer``: blocks.
    ``d_model``: width.
    ``n_head``: query heads, each of width ``d_model / n_head``.
    ``n_kv_head``: key/value heads; fewer than query heads make grouped-query attention.
    ``d_ff``: hidden width of the MLP.
    ``norm``, ``position``, ``activation``: names of the kinds used.
    ``qk_norm``: whether queries and keys are normalised.
    ``tied``: whether the output head shares the embedding's weights.
    ``documents``: ``masked`` where attention does not cross the borders of documents; None where
    it does.
    ``parametrisation``: the part, None for ``standard``.
    """

    vocab_size: int
    n_ctx: int
    n_layer: int = field(metadata=of_axis("size"))
    d_model: int = field(metadata=of_axis("size"))
    n_head: int = field(metadata=of_axis("size"))
    n_kv_head: int = field(metadata=of_axis("size"))
    d_ff: int = field(metadata=of_axis("size"))
    norm: str = "rmsnorm"
    position: str = "rotary"
    activation: str = "relu2"
    qk_norm: bool = True
    tied: bool = False
    documents: str | None = field(default=None, metadata=OMIT_EMPTY)
    parametrisation: Component | None = field(
        default=None, metadata=chosen_by("model.parametrisation", DEFAULT_PARAMETRISATION)
    )

    def __post_init__(self) -> None:
        one_of("norm", self.norm, NORMS)
        one_of("position", self.position, POSITIONS)
        one_of("activation", self.activation, ACTIVATIONS)
        if self.documents is not None:
            one_of("documents", self.documents, DOCUMENTS)
        at_least(1, n_layer=self.n_layer, d_model=self.d_model, n_head=self.n_head)
        at_least(1, n_kv_head=self.n_kv_head, d_ff=self.d_ff, n_ctx=self.n_ctx)
        at_least(2, vocab_size=self.vocab_size)
        if self.d_model % self.n_head:
            raise ValueError(f"d_model {self.d_model} is not a multiple of n_head {self.n_head}")
        if self.n_head % self.n_kv_head:
            raise ValueError(
                f"n_head {self.n_head} is not a multiple of n_kv_head {self.n_kv_head}"
            )
        if self.position == "rotary" and self.head_size % 2:
            raise ValueError(f"rotary positions need an even head size, found {self.head_size}")

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_head

    @property
    def architecture(self) -> Component:
        """The architecture: the GPT, whose settings are fields of this class."""
        return Component(name=DEFAULT_ARCHITECTURE)

    def values_as(self, kind: type[S]) -> S:
        """The fields that ``kind`` has too, as an instance of it."""
        names = (f.name for f in dataclasses.fields(kind))  # type: ignore[arg-type]
        return kind(**{name: getattr(self, name) for name in names})

    @property
    def dimensions(self) -> dict[str, Any]:
        """The keys and values of its shape."""
        return {name: getattr(self, name) for name in _GPT_DIMENSIONS}


@dataclass(frozen=True, kw_only=True)
class OtherModel(SpecPart):
    """A model of another architecture than the GPT.

    ``architecture``: the part, with its settings that are not at their default.
    ``shape``: the dimensions of one size, (key, value) pairs by key.
    ``vocab_size``: tokens of the vocabulary; 0 where examples have none.
    ``n_ctx``: tokens of an example, 1 where it is not a sequence.
    ``parametrisation``: the part, None for ``standard``.
    ``features``: numbers of an example's inputs, 0 where they are ids.
    ``outputs``: numbers of an example's targets, 0 where they are ids.
    """

    architecture: Component = field(metadata=chosen_by("model.architecture", DEFAULT_ARCHITECTURE))
    shape: tuple[tuple[str, Any], ...] = field(metadata=of_axis("size"))
    vocab_size: int
    n_ctx: int
    parametrisation: Component | None = field(
        default=None, metadata=chosen_by("model.parametrisation", DEFAULT_PARAMETRISATION)
    )
    features: int = 0
    outputs: int = 0

    def __post_init__(self) -> None:
        at_least(1, n_ctx=self.n_ctx)
        at_least(0, vocab_size=self.vocab_size, features=self.features, outputs=self.outputs)

    def values_as(self, kind: type[S]) -> S:
        """The settings and sizes that ``kind`` has fields for, as an instance of it.

        Raises ``ValueError`` naming one that is missing or has another type.
        """
        names = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
        given = {**dict(self.architecture.settings), **dict(self.shape)}
        return build(kind, {key: value for key, value in given.items() if key in names})

    @property
    def dimensions(self) -> dict[str, Any]:
        """The keys and values of its shape."""
        return dict(self.shape)

    @property
    def answers(self) -> int:
        """Numbers that a model with one output gives for an example.

        They are the numbers of its targets, or a logit for each id where its target is an id.
        """
        return self.outputs or self.vocab_size

    def json_fields(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = {"architecture": self.architecture.plain(), "shape": to_json(self.dimensions)}
        plain |= {"vocab_size": self.vocab_size, "n_ctx": self.n_ctx}
        if self.parametrisation is not None:
            plain["parametrisation"] = self.parametrisation.plain()
        numbers = {"features": self.features, "outputs": self.outputs}
        return plain | {name: count for name, count in numbers.items() if count}


Model: TypeAlias = ModelSpec | OtherModel


def counted_as(model: Model) -> str:
    """What a run's tokens are: ``examples`` where inputs are numbers, one place each."""
    return "examples" if isinstance(model, OtherModel) and model.features else "tokens"
