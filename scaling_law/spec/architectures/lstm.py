"""A recurrent network of LSTM layers that predicts the next token: its counts.

Hochreiter and Schmidhuber 1997 (Neural Computation 9), with the forget gate of Gers 2000, as
``torch.nn.LSTM`` has them: an embedding, layers of one width, and a linear head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.architectures import Architecture, by_one_number, counted
from scaling_law.spec.counts import ParamCounts, count_params
from scaling_law.spec.model import OtherModel
from scaling_law.spec.values import MAX_WIDTH, Number

GATES = 4  # input, forget, cell, output
# What oneDNN's kernel saves for the backward pass, measured at widths 1 to 128: so many numbers a
# token for each unit, as many for each unit of whole rows, and so many bytes a layer (7 pages on
# an Intel Xeon with AVX-512, 4 on an AMD EPYC).
_STORED, _ROW, _PAGES_BYTES = 9, 16, 28_672


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One size.

    ``d_model``: width of the embedding and of every layer.
    ``n_layer``: layers.
    """

    d_model: Annotated[int, Number("width", low=1, high=MAX_WIDTH)]
    n_layer: Annotated[int, Number("layers", low=1, high=1000)] = 1


def counts(model: OtherModel) -> ParamCounts:
    """Parameters of the layers, the embedding and the head.

    Each layer has a matrix for its input and one for its state, and a bias for each of the two.
    """
    shape = model.values_as(Shape)
    matrices = shape.n_layer * GATES * 2 * shape.d_model**2
    biases = shape.n_layer * GATES * 2 * shape.d_model
    table = model.vocab_size * shape.d_model
    groups = {"embedding": table, "lstm": matrices + biases, "head": table}
    return ParamCounts(
        groups=groups, non_embedding=matrices + biases, matmul=matrices + groups["head"]
    )


def flops_per_token(model: OtherModel) -> int:
    """Every matrix multiplies once for each token; nothing grows with the context."""
    return 6 * count_params(model).matmul


def activation_bytes(
    model: OtherModel, micro_seqs: int, precision: str, gradient_checkpointing: bool
) -> int:
    """Count what a layer stores for each token, and the logits and their gradient in fp32.

    A layer stores its input, the products of its input, its gates, its cell and its state, in a
    CPU's kernel more than once. Gradient checkpointing does not apply.
    """
    number = 2 if precision in ("bf16", "fp16") else 4
    shape, tokens = model.values_as(Shape), micro_seqs * model.n_ctx
    rows = -(-shape.d_model // _ROW) * _ROW
    stored = shape.n_layer * _STORED * (shape.d_model + rows)
    return tokens * (number * stored + 4 * 3 * model.vocab_size) + shape.n_layer * _PAGES_BYTES


def cache_numbers(model: OtherModel) -> int:
    """Cell and state of every layer, however long the sequence."""
    shape = model.values_as(Shape)
    return 2 * shape.n_layer * shape.d_model


def size_name(model: OtherModel) -> str:
    """``lstm1x64-33k``: layers, width and non-embedding parameters."""
    shape = model.values_as(Shape)
    return f"lstm{shape.n_layer}x{shape.d_model}-{counted(model)}"


ARCHITECTURE = Architecture(
    shape=Shape,
    count_params=counts,
    flops_per_token=flops_per_token,
    activation_bytes=activation_bytes,
    width=lambda model: model.dimensions["d_model"],
    size_name=size_name,
    shape_for=by_one_number(lambda width: Shape(d_model=width), "width"),
    cache_numbers=cache_numbers,
    attentions=("causal",),
    dispatch_frac=0.2,
    notes=(
        "params: non-emb = LSTM layers with their biases; matmul = matrices of layers and head;"
        " total = all stored",
        "FLOPs: exact = 6 params_matmul per token, forward and backward, whatever the context",
    ),
)
