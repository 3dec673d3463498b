"""Ridge regression on random features: its counts (Rahimi and Recht 2007; Bach 2017).

A fixed random matrix and an activation make the features; only the readout is learned, in closed
form. With as many features as examples or more, the dual system is solved instead of the primal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.architectures import Architecture, by_one_number, counted
from scaling_law.spec.counts import ParamCounts
from scaling_law.spec.model import OtherModel
from scaling_law.spec.values import Number, Text

ACTIVATIONS = ("relu", "linear", "tanh")
# Examples whose features are in memory at a time, as `train.evaluate.SOLVE_SEQS`.
_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all sizes of a config share.

    ``ridge``: the factor on the squared norm of the readout, beside the sum of squared errors.
    ``activation``: of the features; ``linear`` has none.
    """

    ridge: Annotated[
        float, Number("on the squared norm of the readout, beside the summed squares", above=0)
    ] = 1e-6
    activation: Annotated[str, Text("activation of the features", ACTIVATIONS)] = "relu"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One size.

    ``features``: random features, of which each has a weight in the readout.
    """

    features: Annotated[int, Number("random features", low=1, high=100_000)]


def counts(model: OtherModel) -> ParamCounts:
    """The readout alone: the random matrix is not learned."""
    total = model.values_as(Shape).features * model.outputs
    return ParamCounts(groups={"readout": total}, non_embedding=total, matmul=total)


def flops_per_token(model: OtherModel) -> float:
    """Three forward passes: features and readout, for the one position of an example."""
    width = model.values_as(Shape).features
    return 3 * 2 * width * (model.features + model.outputs) / model.n_ctx


def solve_flops(model: OtherModel, examples: float) -> float:
    """Features, Gram matrix, its Cholesky factor, two triangular solves and two products.

    The Gram matrix is of the smaller of features and examples; terms of lower order, such as the
    activation, are left out.
    """
    width = model.values_as(Shape).features
    small, large = min(width, examples), max(width, examples)
    features = 2 * model.features * width * examples
    gram, factor = 2 * small**2 * large, small**3 / 3
    solves = 2 * small**2 * model.outputs
    product = 2 * width * examples * model.outputs
    return features + gram + factor + solves + product


def activation_bytes(
    model: OtherModel, micro_seqs: int, precision: str, gradient_checkpointing: bool
) -> int:
    """The random matrix, the Gram matrix, its factor, and features of a batch, all in float64.

    The dual system has fewer examples than features, so that all their features are no more than
    another Gram matrix.
    """
    width = model.values_as(Shape).features
    return 8 * width * (3 * width + model.features + _AT_ONCE)


def size_name(model: OtherModel) -> str:
    """``rf128-128``: features and parameters."""
    return f"rf{model.values_as(Shape).features}-{counted(model)}"


ARCHITECTURE = Architecture(
    shape=Shape,
    settings=Settings,
    inputs="numbers",
    one_output=True,
    count_params=counts,
    flops_per_token=flops_per_token,
    activation_bytes=activation_bytes,
    size_name=size_name,
    shape_for=by_one_number(lambda features: Shape(features=features), "number of features"),
    solves="squared_error",
    solve_flops=solve_flops,
    notes=(
        "params: non-emb = matmul = total: the readout; the random matrix is not learned",
        "FLOPs: exact = features, Gram matrix, Cholesky factor, solves; solved in closed form:"
        " optim, schedule, precision and spikes do not apply, and a step is an example",
    ),
)
