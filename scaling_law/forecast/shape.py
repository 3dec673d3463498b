"""Turns a parameter count into a concrete model: for a GPT its layers, width and heads."""

from __future__ import annotations

import math
from typing import Any

from scaling_law.errors import ConfigError
from scaling_law.spec.architectures import architecture_of, sized_beyond, template_of
from scaling_law.spec.counts import CONVENTIONS, count_params
from scaling_law.spec.model import Model, ModelSpec

# Ten thousand GPT-3s; the search over widths grows with the square root of the parameters.
_MOST_PARAMS = 2e15
# Vocabulary and context of GPT-2's and GPT-3's size, in tokens; untied head.
LARGE_MODEL = ModelSpec(
    vocab_size=50304, n_ctx=2048, n_layer=1, d_model=64, n_head=1, n_kv_head=1, d_ff=256
)


def concrete_model(
    params: float, convention: str = "total", template: Model | None = None
) -> Model:
    """The model nearest to ``params`` parameters, counted as ``convention`` says.

    Its shape follows the rule that the architecture has for sizes beyond a grid's. ``template``
    gives architecture, vocabulary, context and the rest (None: ``LARGE_MODEL``). Raises
    ``ConfigError`` when no shape comes near, or the architecture has no such rule.
    """
    if convention not in CONVENTIONS:
        raise ConfigError(f"convention {convention!r}: expected {', '.join(CONVENTIONS)}")
    if not (math.isfinite(params) and 1 <= params <= _MOST_PARAMS):
        raise ConfigError(f"params is {params:.3g}, expected 1 to {_MOST_PARAMS:.0e} for a shape")
    try:
        return sized_beyond(params, convention, template_of(template or LARGE_MODEL))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def concrete_shape(
    params: float, convention: str = "total", template: Model | None = None
) -> dict[str, Any]:
    """``shape_facts`` of ``concrete_model``."""
    return shape_facts(concrete_model(params, convention, template))


def shape_facts(model: Model) -> dict[str, Any]:
    """A model's shape and counts.

    The keys of its shape (of a GPT ``n_layer``, ``d_model``, ``n_head``, ``n_kv_head``, ``d_ff``),
    ``vocab_size``, ``n_ctx``, ``params_total``, ``params_non_embedding``, ``params_matmul``, and
    ``text``, the shape in words.
    """
    counts = count_params(model)
    return {
        **model.dimensions,
        "vocab_size": model.vocab_size,
        "n_ctx": model.n_ctx,
        **{f"params_{name}": counts.by(name) for name in CONVENTIONS},
        "text": architecture_of(model).shape_text(model),
    }
