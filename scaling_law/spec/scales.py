"""Named model scales and data scales, and the rule that gives a parameter count its shape."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from scaling_law.spec.counts import count_params
from scaling_law.spec.run import ModelSpec

DATA_SCALES: dict[str, int] = {
    "xs": 1_000_000,
    "sm": 5_000_000,
    "md": 20_000_000,
    "lg": 100_000_000,
    "xl": 500_000_000,
}
"""Tokens."""

MAX_HEAD_SIZE = 64
DEPTH_WEIGHT = 0.2


@dataclass(frozen=True, kw_only=True)
class Scale:
    """``n_layer`` blocks, ``d_model`` width, ``n_head`` heads."""

    n_layer: int
    d_model: int
    n_head: int


# Depth stays at 2 up to nano440k: with 3 and 4 layers at the top, the two largest sizes beat
# the others' trend by 1.3% at long horizons (measured), so depth would enter the law unseen.
# The nano scales carry their non-embedding parameters (12 * n_layer * d_model^2) in the name.
MODEL_SCALES: dict[str, Scale] = {
    "nano14k": Scale(n_layer=2, d_model=24, n_head=2),
    "nano25k": Scale(n_layer=2, d_model=32, n_head=2),
    "nano55k": Scale(n_layer=2, d_model=48, n_head=2),
    "nano98k": Scale(n_layer=2, d_model=64, n_head=2),
    "nano220k": Scale(n_layer=2, d_model=96, n_head=3),
    "nano440k": Scale(n_layer=2, d_model=136, n_head=4),
    "nano750k": Scale(n_layer=3, d_model=144, n_head=6),
    "nano1.8m": Scale(n_layer=4, d_model=192, n_head=6),
    "tiny": Scale(n_layer=4, d_model=256, n_head=4),
    "small": Scale(n_layer=6, d_model=512, n_head=8),
    "medium": Scale(n_layer=8, d_model=768, n_head=12),
    "base": Scale(n_layer=12, d_model=1024, n_head=16),
    "large": Scale(n_layer=16, d_model=1280, n_head=20),
    "xlarge": Scale(n_layer=24, d_model=1536, n_head=24),
    "xxl": Scale(n_layer=32, d_model=2048, n_head=32),
}


def default_d_ff(d_model: int, activation: str) -> int:
    """Hidden width of the MLP: ``4 * d_model``; for SwiGLU, with its third matrix, 8/3.

    The 8/3 keeps the parameters equal (Shazeer 2020, arXiv 2002.05202), rounded to a multiple
    of 8.
    """
    if activation != "swiglu":
        return 4 * d_model
    return max(8, round(d_model * 8 / 3 / 8) * 8)


def heads_for(d_model: int) -> int:
    """The fewest heads, but two, of an even size of at most 64 (32 up to a width of 192).

    Small models keep several heads by making them narrower. Raises ``ValueError`` when no
    even head size divides ``d_model``.
    """
    widest = min(d_model // 2, 32 if d_model <= 192 else MAX_HEAD_SIZE)
    for size in range(widest, 1, -1):
        if size % 2 == 0 and d_model % size == 0:
            return d_model // size
    raise ValueError(f"d_model {d_model} has no even head size of at most {widest}")


def _ladder_depth(params_non_embedding: float) -> float:
    """Depth of the named scales, log-linear in parameters between them."""
    points = sorted(
        (math.log(12 * s.n_layer * s.d_model**2), s.n_layer) for s in MODEL_SCALES.values()
    )
    size = math.log(params_non_embedding)
    if size <= points[0][0]:
        return points[0][1]
    for (low, shallow), (high, deep) in itertools.pairwise(points):
        if size <= high:
            return shallow + (deep - shallow) * (size - low) / (high - low)
    return points[-1][1]


def shape_for(
    params: float,
    convention: str,
    template: ModelSpec,
    aspect_ratio: float | None = None,
) -> Scale:
    """The shape whose ``params`` under ``convention`` is nearest in ratio.

    The rule ``ladder`` (``aspect_ratio`` None) takes the depth of the named scales at that
    size; a number takes ``d_model / n_layer`` as given. The heads are ``heads_for`` the
    width. ``template`` gives vocabulary, context and activation. Raises ``ValueError`` when
    no shape comes within 25%: embeddings alone may exceed ``params``.
    """
    best: tuple[float, Scale] | None = None
    nearest = math.inf
    for d_model in _widths(params):
        if aspect_ratio is None:
            depth = _ladder_depth(12 * d_model**2 * _ladder_depth(12 * d_model**2 * 2))
        else:
            depth = max(1.0, d_model / aspect_ratio)
        for n_layer in {math.floor(depth), math.ceil(depth)}:
            scale = Scale(n_layer=n_layer, d_model=d_model, n_head=heads_for(d_model))
            found = count_params(model_of(scale, template)).by(convention)
            off = abs(math.log(found / params))
            # the size matters most; between two as near, the depth that is the rule's
            score = off + DEPTH_WEIGHT * abs(math.log(n_layer / depth))
            if best is None or score < best[0]:
                best, nearest = (score, scale), off
    if best is None or nearest > math.log(1.25):
        raise ValueError(
            f"no shape has {params:.3g} {convention} parameters within 25%"
            f" (vocabulary {template.vocab_size})"
        )
    return best[1]


def _widths(params: float) -> Iterator[int]:
    """Widths worth trying, to where one layer alone has ``params``; steps of 6 to 25%."""
    d_model = 8
    while d_model <= max(16.0, math.sqrt(params / 12) + 64):
        yield d_model
        steps = ((64, 4), (128, 8), (256, 16), (512, 32), (16_384, 64))
        widest = d_model // 1024 * 64  # else a search up to 1e15 parameters takes minutes
        d_model += next((step for below, step in steps if d_model < below), widest)


def model_of(scale: Scale, template: ModelSpec) -> ModelSpec:
    """``template`` in the shape ``scale``, with the default MLP and full key/value heads."""
    return ModelSpec(
        vocab_size=template.vocab_size,
        n_ctx=template.n_ctx,
        n_layer=scale.n_layer,
        d_model=scale.d_model,
        n_head=scale.n_head,
        n_kv_head=scale.n_head,
        d_ff=default_d_ff(scale.d_model, template.activation),
        norm=template.norm,
        position=template.position,
        activation=template.activation,
        qk_norm=template.qk_norm,
        tied=template.tied,
    )
