"""A network on numbers, with one hidden layer and biases: its counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.architectures import Architecture, Template, counted, nearest_shape
from scaling_law.spec.counts import ParamCounts
from scaling_law.spec.model import OtherModel
from scaling_law.spec.values import MAX_TABLE, Number, Text

ACTIVATIONS = ("relu", "tanh")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all sizes of a config share.

    ``activation``: of the hidden layer.
    """

    activation: Annotated[str, Text("activation of the hidden layer", ACTIVATIONS)] = "relu"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One size.

    ``width``: hidden units.
    """

    width: Annotated[int, Number("hidden units", low=1, high=MAX_TABLE)]


def counts(model: OtherModel) -> ParamCounts:
    """Both matrices and both biases; ``matmul`` has the matrices alone."""
    width = model.values_as(Shape).width
    groups = {
        "hidden": model.features * width,
        "output": width * model.outputs,
        "biases": width + model.outputs,
    }
    total = sum(groups.values())
    return ParamCounts(groups=groups, non_embedding=total, matmul=total - groups["biases"])


def flops_per_token(model: OtherModel) -> float:
    """Both matrices forward and their gradients, and the hidden layer's gradient."""
    width = model.values_as(Shape).width
    hidden, output = model.features * width, width * model.outputs
    return (4 * hidden + 6 * output) / model.n_ctx


def activation_bytes(
    model: OtherModel, micro_seqs: int, precision: str, gradient_checkpointing: bool
) -> int:
    """Inputs, the hidden layer before and after its activation with gradients, and outputs.

    Gradient checkpointing has nothing to recompute.
    """
    number = 2 if precision in ("bf16", "fp16") else 4
    stored = (model.features + 4 * model.values_as(Shape).width) * number
    return micro_seqs * (stored + 4 * (model.features + 3 * model.outputs))


def size_name(model: OtherModel) -> str:
    """``dense64-2.2k``: width and parameters."""
    return f"dense{model.values_as(Shape).width}-{counted(model)}"


def shape_for(
    params: float, convention: str, template: Template, aspect_ratio: float | None
) -> Shape:
    """The width whose parameters are nearest. Raises ``ValueError`` as ``nearest_shape``."""

    def make(width: int) -> Shape:
        return Shape(width=width)

    nearest: Shape = nearest_shape(params, convention, template, aspect_ratio, make, "width")
    return nearest


ARCHITECTURE = Architecture(
    shape=Shape,
    settings=Settings,
    inputs="numbers",
    one_output=True,
    count_params=counts,
    flops_per_token=flops_per_token,
    activation_bytes=activation_bytes,
    size_name=size_name,
    shape_for=shape_for,
    notes=(
        "params: non-emb = total: matrices and biases; matmul: the matrices",
        "FLOPs: exact = 4 for each weight of the first matrix and 6 for each of the second, per"
        " example, forward and backward",
    ),
)
