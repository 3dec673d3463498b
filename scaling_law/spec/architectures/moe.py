"""A GPT whose MLPs are mixtures of experts: its counts.

A router sends each token to the ``n_active`` likeliest of ``n_expert`` MLPs (Shazeer 2017, arXiv
1701.06538); with one, this is a Switch Transformer (Fedus 2021, arXiv 2101.03961). Everything else
is the GPT's, its settings and shapes too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.architectures import (
    Architecture,
    Template,
    counted,
    gpt,
    other_model,
)
from scaling_law.spec.counts import ParamCounts, count_params
from scaling_law.spec.model import OtherModel
from scaling_law.spec.values import Number


@dataclass(frozen=True, kw_only=True)
class Settings(gpt.Settings):
    """What all sizes of a config share: the GPT's settings, and those of its experts.

    ``n_expert``: MLPs of a block.
    ``n_active``: MLPs of a block that each token goes through.
    ``balance``: the load-balancing loss's share of the training loss.
    """

    n_expert: Annotated[int, Number("experts of a block", low=2, high=1024)] = 4
    n_active: Annotated[int, Number("experts that a token goes through", low=1, high=1024)] = 1
    balance: Annotated[float, Number("load-balancing coefficient", low=0, high=10)] = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_active > self.n_expert:
            raise ValueError(
                f"n_active is {self.n_active}, expected at most n_expert, {self.n_expert}"
            )


def make(template: Template, shape: gpt.Shape) -> OtherModel:
    """The model of a shape. Raises ``ValueError`` for one that no GPT can have."""
    gpt.make(template, shape)
    return other_model(template, shape)


def counts(model: OtherModel) -> ParamCounts:
    """Parameters of blocks, routers, experts, tables and head.

    ``total`` and ``non_embedding`` count every expert, ``matmul`` those that a token goes through.
    """
    settings, dense = model.values_as(Settings), gpt.gpt_of(model)
    plain = count_params(dense)
    expert = plain.groups["mlp"]  # one of each block
    router = dense.n_layer * dense.d_model * settings.n_expert
    groups = {name: count for name, count in plain.groups.items() if name != "mlp"}
    groups |= {"router": router, "experts": settings.n_expert * expert}
    return ParamCounts(
        groups=groups,
        non_embedding=plain.non_embedding - expert + groups["experts"] + router,
        matmul=plain.matmul - expert + settings.n_active * expert + router,
    )


def flops_per_token(model: OtherModel) -> int:
    """The GPT's formula with the active parameters; choosing experts is not counted."""
    dense = gpt.gpt_of(model)
    return 6 * count_params(model).matmul + gpt.attention_flops(dense)


def activation_bytes(
    model: OtherModel, micro_seqs: int, precision: str, gradient_checkpointing: bool
) -> int:
    """Count the GPT's tensors, and for each active expert its rows, hidden layers and answers."""
    settings, dense = model.values_as(Settings), gpt.gpt_of(model)
    number = 2 if precision in ("bf16", "fp16") else 4
    layers = 1 if gradient_checkpointing else dense.n_layer
    rows = micro_seqs * model.n_ctx * layers
    more = settings.n_active * 3 * dense.d_model + (settings.n_active - 1) * 3 * dense.d_ff
    routed = rows * (number * more + 4 * 4 * settings.n_expert)
    return gpt.activation_bytes(dense, micro_seqs, precision, gradient_checkpointing) + routed


def size_name(model: OtherModel) -> str:
    """``4x96e4a1-1.1m``: the GPT's name with experts and active ones, and all of its parameters."""
    settings = model.values_as(Settings)
    shape = gpt.size_name(gpt.gpt_of(model)).rpartition("-")[0]
    return f"{shape}e{settings.n_expert}a{settings.n_active}-{counted(model)}"


def shape_for(
    params: float, convention: str, template: Template, aspect_ratio: float | None
) -> gpt.Shape:
    """The shape whose parameters are nearest, as the GPT's rule; ``matmul`` are the active ones."""
    return gpt.shape_for(params, convention, template, aspect_ratio, make)


ARCHITECTURE = Architecture(
    shape=gpt.Shape,
    settings=Settings,
    make=make,
    count_params=counts,
    rounds=True,
    flops_per_token=flops_per_token,
    activation_bytes=activation_bytes,
    width=lambda model: model.dimensions["d_model"],
    size_name=size_name,
    shape_text=lambda model: gpt.shape_text(gpt.gpt_of(model)),
    scales=gpt.MODEL_SCALES,
    shape_for=shape_for,
    inside=("stream", "attention", "experts"),
    attentions=("causal", "full", "prefix"),
    # of 4 experts: 2.3 times as long as a GPT's
    dispatch_frac=1.4,
    cache_numbers=lambda model: gpt.cache_numbers(gpt.gpt_of(model)),
    notes=(
        "params: non-emb = blocks with all experts, and final norm; matmul = matrices that a token"
        " goes through (active experts, routers, head); total = all stored, a tied head once",
        "FLOPs: exact = 6 params_matmul + 12 layers context width per token, forward and backward,"
        " causality not halved",
    ),
)
