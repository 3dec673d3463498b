"""Turns a parameter count into a concrete transformer: layers, width, heads."""

from __future__ import annotations

import math

from scaling_law.errors import ConfigError
from scaling_law.spec.counts import CONVENTIONS, count_params
from scaling_law.spec.run import ModelSpec
from scaling_law.spec.scales import model_of, shape_for

# d_model / n_layer of GPT-3 175B (12288 / 96; Brown 2020, arXiv 2005.14165, table 2.1) and of
# LLaMA 7B and 13B (4096 / 32, 5120 / 40; Touvron 2023, arXiv 2302.13971, table 2).
LARGE_ASPECT_RATIO = 128.0
# Ten thousand GPT-3s; the search over widths grows with the square root of the parameters.
_MOST_PARAMS = 2e15
# Vocabulary and context of GPT-2's and GPT-3's size, in tokens; untied head.
LARGE_MODEL = ModelSpec(
    vocab_size=50304, n_ctx=2048, n_layer=1, d_model=64, n_head=1, n_kv_head=1, d_ff=256
)


def concrete_model(
    params: float, convention: str = "total", template: ModelSpec | None = None
) -> ModelSpec:
    """The model nearest to ``params`` parameters, counted as ``convention`` says.

    It follows the named scales (``shape_for``'s rule ``ladder``). The deepest of those has 32
    layers, so that larger models would only get wider: where the ladder is wider than
    ``LARGE_ASPECT_RATIO`` times its depth (from about 7e9 parameters) the shape has that ratio
    instead, and 175e9 gives GPT-3's 96 layers of 12288. Heads are at most 64 wide, as
    everywhere here. ``template`` gives vocabulary, context and the rest (None: ``LARGE_MODEL``).
    Raises ``ConfigError`` when no shape comes within 25%.
    """
    if convention not in CONVENTIONS:
        raise ConfigError(f"convention {convention!r}: expected {', '.join(CONVENTIONS)}")
    if not (math.isfinite(params) and 1 <= params <= _MOST_PARAMS):
        raise ConfigError(f"params is {params:.3g}, expected 1 to {_MOST_PARAMS:.0e} for a shape")
    template = template or LARGE_MODEL
    try:
        scale = shape_for(params, convention, template)
        if scale.d_model > LARGE_ASPECT_RATIO * scale.n_layer:
            scale = shape_for(params, convention, template, LARGE_ASPECT_RATIO)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return model_of(scale, template)


def concrete_shape(
    params: float, convention: str = "total", template: ModelSpec | None = None
) -> dict[str, int]:
    """``concrete_model`` as ``n_layer``, ``d_model``, ``n_head``, ``d_ff``, ``vocab_size``,
    ``n_ctx`` and its counts ``params_total``, ``params_non_embedding``, ``params_matmul``."""
    model = concrete_model(params, convention, template)
    counts = count_params(model)
    return {
        "n_layer": model.n_layer,
        "d_model": model.d_model,
        "n_head": model.n_head,
        "d_ff": model.d_ff,
        "vocab_size": model.vocab_size,
        "n_ctx": model.n_ctx,
        **{f"params_{name}": counts.by(name) for name in CONVENTIONS},
    }
