"""A network on numbers, with hidden layers of one width and biases: its counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.architectures import Architecture, by_one_number, counted
from scaling_law.spec.counts import ParamCounts
from scaling_law.spec.model import OtherModel
from scaling_law.spec.values import MAX_TABLE, Number, Text

ACTIVATIONS = ("relu", "tanh")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all sizes of a config share.

    ``activation``: of the hidden layers;
    ``depth``: hidden layers.
    """

    activation: Annotated[str, Text("activation of the hidden layers", ACTIVATIONS)] = "relu"
    depth: Annotated[int, Number("hidden layers", low=1, high=100)] = 1


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One size.

    ``width``: units of each hidden layer.
    """

    width: Annotated[int, Number("units of a hidden layer", low=1, high=MAX_TABLE)]


def counts(model: OtherModel) -> ParamCounts:
    """All matrices and biases; ``matmul`` has the matrices alone."""
    width, between = model.values_as(Shape).width, model.values_as(Settings).depth - 1
    groups = {
        "hidden": model.features * width + between * width**2,
        "output": width * model.answers,
        "biases": (1 + between) * width + model.answers,
    }
    total = sum(groups.values())
    return ParamCounts(groups=groups, non_embedding=total, matmul=total - groups["biases"])


def flops_per_token(model: OtherModel) -> float:
    """All matrices forward and their gradients, and the gradients of the hidden layers."""
    width, between = model.values_as(Shape).width, model.values_as(Settings).depth - 1
    first, others = model.features * width, between * width**2 + width * model.answers
    return (4 * first + 6 * others) / model.n_ctx


def activation_bytes(
    model: OtherModel, micro_seqs: int, precision: str, gradient_checkpointing: bool
) -> int:
    """Inputs, hidden layers before and after their activation with gradients, and outputs.

    Gradient checkpointing has nothing to recompute.
    """
    number = 2 if precision in ("bf16", "fp16") else 4
    hidden = model.values_as(Settings).depth * model.values_as(Shape).width
    stored = (model.features + 4 * hidden) * number
    return micro_seqs * (stored + 4 * (model.features + 3 * model.answers))


def size_name(model: OtherModel) -> str:
    """``dense64-2.2k``: width and parameters."""
    return f"dense{model.values_as(Shape).width}-{counted(model)}"


ARCHITECTURE = Architecture(
    shape=Shape,
    settings=Settings,
    inputs="numbers",
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
        "params: non-emb = total: matrices and biases; matmul: the matrices",
        "FLOPs: exact = 4 for each weight of the first matrix and 6 for each of the others, per"
        " example, forward and backward",
    ),
)
