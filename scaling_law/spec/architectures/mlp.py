"""A two-layer MLP on the token ids of a short example: its counts (Gromov 2023, arXiv 2301.02679).

The ids are one-hot, side by side; one hidden layer without biases gives the logits of the one
token that follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.architectures import Architecture, by_one_number, counted
from scaling_law.spec.counts import ParamCounts, count_params
from scaling_law.spec.model import OtherModel
from scaling_law.spec.values import MAX_TABLE, Number, Text

ACTIVATIONS = ("quadratic", "relu", "gelu")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all sizes of a config share.

    ``activation``: of the hidden layer; ``quadratic`` squares it.
    """

    activation: Annotated[str, Text("activation of the hidden layer", ACTIVATIONS)] = "quadratic"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One size.

    ``width``: hidden units.
    """

    width: Annotated[int, Number("hidden units", low=1, high=MAX_TABLE)]


def counts(model: OtherModel) -> ParamCounts:
    """Both layers are matrices: there is no look-up table to leave out."""
    width = model.values_as(Shape).width
    groups = {
        "hidden": model.n_ctx * model.vocab_size * width,
        "output": width * model.vocab_size,
    }
    total = sum(groups.values())
    return ParamCounts(groups=groups, non_embedding=total, matmul=total)


def flops_per_token(model: OtherModel) -> float:
    """Both matrices multiply once for the ``n_ctx`` tokens of an example."""
    return 6 * count_params(model).matmul / model.n_ctx


def activation_bytes(
    model: OtherModel, micro_seqs: int, precision: str, gradient_checkpointing: bool
) -> int:
    """One-hot inputs, the hidden layer before and after its activation, and fp32 logits.

    Gradient checkpointing has nothing to recompute.
    """
    number = 2 if precision in ("bf16", "fp16") else 4
    inputs = model.n_ctx * model.vocab_size
    stored = (inputs + 3 * model.values_as(Shape).width) * number
    return micro_seqs * (stored + model.vocab_size * 4 * 3 + inputs * 8)


def size_name(model: OtherModel) -> str:
    """``w128-23k``: width and parameters."""
    return f"w{model.values_as(Shape).width}-{counted(model)}"


ARCHITECTURE = Architecture(
    shape=Shape,
    settings=Settings,
    one_output=True,
    count_params=counts,
    rounds=True,
    flops_per_token=flops_per_token,
    activation_bytes=activation_bytes,
    width=lambda model: model.dimensions["width"],
    size_name=size_name,
    shape_for=by_one_number(lambda width: Shape(width=width), "width"),
    inside=("units",),
    notes=(
        "params: non-emb = matmul = total: both matrices",
        "FLOPs: exact = 6 params / inputs of an example, per token, forward and backward",
    ),
)
