"""The GPT with its norms after the residual sums instead of before the branches: its counts.

The first Transformers were built so (Vaswani 2017, arXiv 1706.03762); Xiong 2020 (arXiv 2002.04745)
compares both. Parameters, FLOPs, settings and shapes are the GPT's.
"""

from __future__ import annotations

from scaling_law.spec.architectures import Architecture, Template, gpt, other_model
from scaling_law.spec.counts import ParamCounts, count_params
from scaling_law.spec.model import OtherModel


def make(template: Template, shape: gpt.Shape) -> OtherModel:
    """The model of a shape. Raises ``ValueError`` for one that no GPT can have."""
    gpt.make(template, shape)
    return other_model(template, shape)


def counts(model: OtherModel) -> ParamCounts:
    """Those of the GPT."""
    return count_params(gpt.gpt_of(model))


def activation_bytes(
    model: OtherModel, micro_seqs: int, precision: str, gradient_checkpointing: bool
) -> int:
    """As many tensors as the GPT's."""
    return gpt.activation_bytes(gpt.gpt_of(model), micro_seqs, precision, gradient_checkpointing)


def size_name(model: OtherModel) -> str:
    """``2x24post-13.9k``: the GPT's name, with a word for the norms."""
    return "post-".join(gpt.size_name(gpt.gpt_of(model)).rsplit("-", 1))


def shape_for(
    params: float, convention: str, template: Template, aspect_ratio: float | None
) -> gpt.Shape:
    """The shape whose parameters are nearest, by the GPT's rule."""
    return gpt.shape_for(params, convention, template, aspect_ratio, make)


ARCHITECTURE = Architecture(
    shape=gpt.Shape,
    settings=gpt.Settings,
    make=make,
    count_params=counts,
    flops_per_token=lambda model: gpt.flops_per_token(gpt.gpt_of(model)),
    activation_bytes=activation_bytes,
    width=lambda model: model.dimensions["d_model"],
    size_name=size_name,
    shards=True,
    shape_text=lambda model: gpt.shape_text(gpt.gpt_of(model)),
    scales=gpt.MODEL_SCALES,
    shape_for=shape_for,
    inside=("stream", "attention", "units"),
    attentions=("causal", "full", "prefix"),
    dispatch_frac=gpt.ARCHITECTURE.dispatch_frac,
    cache_numbers=lambda model: gpt.cache_numbers(gpt.gpt_of(model)),
    notes=gpt.ARCHITECTURE.notes,
)
