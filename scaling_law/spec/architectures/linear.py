"""A linear model of the first numbers of an input, trained by gradient descent: its counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.architectures import Architecture, Template, counted, other_model
from scaling_law.spec.counts import ParamCounts, count_params
from scaling_law.spec.model import OtherModel
from scaling_law.spec.values import MAX_TABLE, Number


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One size.

    ``inputs``: how many of an input's first numbers the model reads.
    """

    inputs: Annotated[int, Number("numbers of an input that are read", low=1, high=MAX_TABLE)]


def make(template: Template, shape: Shape) -> OtherModel:
    """Return the model. Raises ``ValueError`` where an input has fewer numbers."""
    if shape.inputs > template.features:
        raise ValueError(f"inputs is {shape.inputs}, and an input has {template.features} numbers")
    return other_model(template, shape)


def counts(model: OtherModel) -> ParamCounts:
    """One weight for each number read and each output; there is no bias."""
    total = model.values_as(Shape).inputs * model.answers
    return ParamCounts(groups={"readout": total}, non_embedding=total, matmul=total)


def flops_per_token(model: OtherModel) -> float:
    """A product forward, and one backward: no gradient of the inputs is needed."""
    return 4 * count_params(model).matmul / model.n_ctx


def activation_bytes(
    model: OtherModel, micro_seqs: int, precision: str, gradient_checkpointing: bool
) -> int:
    """Inputs and outputs in fp32. Gradient checkpointing has nothing to recompute."""
    return micro_seqs * 4 * (model.features + 3 * model.answers)


def size_name(model: OtherModel) -> str:
    """``lin200-200``: numbers read and parameters."""
    return f"lin{model.values_as(Shape).inputs}-{counted(model)}"


ARCHITECTURE = Architecture(
    shape=Shape,
    inputs="numbers",
    one_output=True,
    make=make,
    count_params=counts,
    flops_per_token=flops_per_token,
    activation_bytes=activation_bytes,
    size_name=size_name,
    notes=(
        "params: non-emb = matmul = total: one weight an input and output",
        "FLOPs: exact = 4 params per example, forward and backward",
    ),
)
