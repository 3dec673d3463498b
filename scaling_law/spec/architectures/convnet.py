"""A small convolutional network on square grey images: its counts.

Two convolutions of 3 x 3, the second with twice as many channels, each with a ReLU and a maximum
over squares of 2 x 2; then one linear layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.architectures import Architecture, Template, counted, other_model
from scaling_law.spec.counts import ParamCounts, count_params
from scaling_law.spec.model import OtherModel
from scaling_law.spec.values import MAX_WIDTH, Number

KERNEL = 3 * 3


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One size.

    ``channels``: of the first convolution; the second has twice as many.
    """

    channels: Annotated[int, Number("channels of the first convolution", low=1, high=MAX_WIDTH)]


def side(features: int) -> int:
    """The side of a square image of so many numbers.

    Raises ``ValueError`` where they are no square, or too few to halve the side twice.
    """
    length = math.isqrt(features)
    if length**2 != features or length < 4:
        raise ValueError(
            f"an input has {features} numbers, and a convnet reads square images of at least"
            " 4 x 4 numbers"
        )
    return length


def make(template: Template, shape: Shape) -> OtherModel:
    """Return the model. Raises ``ValueError`` where inputs are no square images."""
    side(template.features)
    return other_model(template, shape)


def counts(model: OtherModel) -> ParamCounts:
    """Kernels, the linear layer and biases; ``matmul`` is without biases."""
    channels, last = model.values_as(Shape).channels, side(model.features) // 4
    groups = {
        "convolutions": KERNEL * channels + KERNEL * 2 * channels**2,
        "output": 2 * channels * last**2 * model.answers,
        "biases": 3 * channels + model.answers,
    }
    total = sum(groups.values())
    return ParamCounts(groups=groups, non_embedding=total, matmul=total - groups["biases"])


def flops_per_token(model: OtherModel) -> float:
    """Every kernel at every place of its images; only the first layer has no inputs' gradient."""
    channels, length = model.values_as(Shape).channels, side(model.features)
    first = KERNEL * channels * length**2
    second = KERNEL * 2 * channels**2 * (length // 2) ** 2
    return (4 * first + 6 * (second + count_params(model).groups["output"])) / model.n_ctx


def activation_bytes(
    model: OtherModel, micro_seqs: int, precision: str, gradient_checkpointing: bool
) -> int:
    """The image, and both layers before and after activation and maximum, with gradients.

    Gradient checkpointing is not used.
    """
    number = 2 if precision in ("bf16", "fp16") else 4
    channels, length = model.values_as(Shape).channels, side(model.features)
    stored = 5 * channels * (length**2 + 2 * (length // 2) ** 2)
    return micro_seqs * (stored * number + 4 * (model.features + 3 * model.answers))


def size_name(model: OtherModel) -> str:
    """``conv8-2.6k``: channels and parameters."""
    return f"conv{model.values_as(Shape).channels}-{counted(model)}"


ARCHITECTURE = Architecture(
    shape=Shape,
    inputs="numbers",
    one_output=True,
    make=make,
    count_params=counts,
    rounds=True,
    flops_per_token=flops_per_token,
    activation_bytes=activation_bytes,
    width=lambda model: model.dimensions["channels"],
    size_name=size_name,
    notes=(
        "params: non-emb = total: kernels, the linear layer and biases; matmul: without biases",
        "FLOPs: exact = each kernel at every place, 4 for the first convolution's and 6 for the"
        " others', per example, forward and backward",
    ),
)
