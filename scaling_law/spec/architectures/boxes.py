"""Means over boxes: the cube [-1, 1] of all inputs is cut into equal boxes: its counts.

A box predicts the mean target of the training examples in it; an empty one that of all examples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.architectures import Architecture, Template, counted, other_model
from scaling_law.spec.counts import ParamCounts, count_params
from scaling_law.spec.model import OtherModel
from scaling_law.spec.values import MAX_TABLE, Number


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One size.

    ``per_side``: boxes along each input.
    """

    per_side: Annotated[int, Number("boxes along each input", low=1, high=100_000)]


def make(template: Template, shape: Shape) -> OtherModel:
    """Return the model. Raises ``ValueError`` where it would have too many boxes."""
    digits = template.features * math.log10(shape.per_side)  # the boxes may be beyond floats
    if digits > math.log10(MAX_TABLE):
        raise ValueError(
            f"per_side is {shape.per_side}, which makes 10^{digits:.1f} boxes of"
            f" {template.features} inputs; expected at most {MAX_TABLE:,}"
        )
    return other_model(template, shape)


def boxes_of(model: OtherModel) -> int:
    """How many boxes a model has."""
    per_side: int = model.values_as(Shape).per_side
    return int(per_side**model.features)


def counts(model: OtherModel) -> ParamCounts:
    """A number for each box and output."""
    total = boxes_of(model) * model.outputs
    return ParamCounts(groups={"boxes": total}, non_embedding=total, matmul=total)


def flops_per_token(model: OtherModel) -> float:
    """Three times finding the box: a product, a sum and a rounding for each input."""
    return 3 * 3 * model.features / model.n_ctx


def solve_flops(model: OtherModel, examples: float) -> float:
    """Finding the box of each example, and summing its targets."""
    return examples * (3 * model.features + model.outputs)


def activation_bytes(
    model: OtherModel, micro_seqs: int, precision: str, gradient_checkpointing: bool
) -> int:
    """Sums, counts and means of all boxes, in float64."""
    return 8 * (2 * count_params(model).total + boxes_of(model))


def size_name(model: OtherModel) -> str:
    """``boxes8-64``: boxes along an input, and parameters."""
    return f"boxes{model.values_as(Shape).per_side}-{counted(model)}"


ARCHITECTURE = Architecture(
    shape=Shape,
    inputs="numbers",
    one_output=True,
    make=make,
    count_params=counts,
    flops_per_token=flops_per_token,
    activation_bytes=activation_bytes,
    size_name=size_name,
    solves="squared_error",
    solve_flops=solve_flops,
    notes=(
        "params: non-emb = matmul = total: a number for each box and output",
        "FLOPs: exact = finding each example's box and adding its target; solved in closed form:"
        " optim, schedule, precision and spikes do not apply, and a step is an example",
    ),
)
