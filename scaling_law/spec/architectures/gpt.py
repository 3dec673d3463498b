"""A GPT decoder (``ModelSpec``): its counts, named scales, and what it can do."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated

from scaling_law.spec.architectures import Architecture, Template, counted, template_of
from scaling_law.spec.counts import ParamCounts, count_params
from scaling_law.spec.fields import OMIT_EMPTY
from scaling_law.spec.model import (
    ACTIVATIONS,
    DOCUMENTS,
    NORMS,
    POSITIONS,
    Model,
    ModelSpec,
    OtherModel,
)
from scaling_law.spec.values import MAX_TABLE, MAX_WIDTH, Number, Text

MAX_HEAD_SIZE = 64
MAX_LAYERS = 10_000
DEPTH_WEIGHT = 0.2
# d_model / n_layer of GPT-3 175B (12288 / 96; Brown 2020, arXiv 2005.14165, table 2.1) and of
# LLaMA 7B and 13B (4096 / 32, 5120 / 40; Touvron 2023, arXiv 2302.13971, table 2).
LARGE_ASPECT_RATIO = 128.0
# On a CPU in fp32, contexts of these lengths store the attention's probabilities by blocks of
# queries, without the part above the diagonal (``train.kernels``).
BLOCKED_TIMES, ATTENTION_BLOCK = (128, 512), 64
# Widest model -> how much faster a stack is than its members in turn, measured at 512 tokens a
# step and three members; fewer tokens or more members gain more.
CPU_GAINS = ((24, 1.35), (32, 1.25), (48, 1.2), (64, 1.15))
# More tokens a step leave little starting to share, and from a vocabulary of 2,048 on a lone run's
# head is faster than a stack's.
MOST_BATCH_TOKENS, MOST_VOCAB = 512, 2047
PACKED = "packed"  # documents whose borders attention crosses, as a config may say it


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all sizes of a config share.

    ``norm``: kind of the norms.
    ``position``: how positions are encoded.
    ``activation``: of the MLP.
    ``qk_norm``: whether queries and keys are normalised.
    ``tied``: whether the head is the embedding table.
    ``documents``: ``masked`` where attention does not cross the borders of documents, which a text
    packs into one sequence; None, or ``packed``, where it does.
    """

    norm: Annotated[str, Text("normalisation", NORMS)] = "rmsnorm"
    position: Annotated[str, Text("position encoding", POSITIONS)] = "rotary"
    activation: Annotated[str, Text("MLP activation", ACTIVATIONS)] = "relu2"
    qk_norm: bool = True
    tied: bool = False
    documents: Annotated[
        str | None, Text("whether attention crosses documents", (PACKED, *DOCUMENTS))
    ] = field(default=None, metadata=OMIT_EMPTY)

    def __post_init__(self) -> None:
        if self.documents == PACKED:
            object.__setattr__(self, "documents", None)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One explicit shape.

    ``n_layer``: blocks.
    ``d_model``: width.
    ``n_head``: query heads.
    ``n_kv_head``: key/value heads; None for as many as query heads.
    ``d_ff``: hidden width of the MLP; None for the default of the width.
    """

    n_layer: Annotated[int, Number("blocks", low=1, high=MAX_LAYERS)]
    d_model: Annotated[int, Number("width", low=2, high=MAX_WIDTH)]
    n_head: Annotated[int, Number("query heads", low=1, high=MAX_WIDTH)]
    n_kv_head: Annotated[int | None, Number("key/value heads", low=1, high=MAX_WIDTH)] = None
    d_ff: Annotated[int | None, Number("hidden width of the MLP", low=1, high=MAX_TABLE)] = None

    def __post_init__(self) -> None:
        if self.d_model % self.n_head:
            raise ValueError(f"d_model {self.d_model} is not a multiple of n_head {self.n_head}")
        if self.n_kv_head is not None and self.n_head % self.n_kv_head:
            raise ValueError(
                f"n_head {self.n_head} is not a multiple of n_kv_head {self.n_kv_head}"
            )


# Depth stays at 2 up to nano440k: with 3 and 4 layers at the top, the two largest sizes beat
# the others' trend by 1.3% at long horizons (measured), so depth would enter the law unseen.
# The nano scales carry their non-embedding parameters (12 * n_layer * d_model^2) in the name.
MODEL_SCALES: dict[str, Shape] = {
    "nano14k": Shape(n_layer=2, d_model=24, n_head=2),
    "nano25k": Shape(n_layer=2, d_model=32, n_head=2),
    "nano55k": Shape(n_layer=2, d_model=48, n_head=2),
    "nano98k": Shape(n_layer=2, d_model=64, n_head=2),
    "nano220k": Shape(n_layer=2, d_model=96, n_head=3),
    "nano440k": Shape(n_layer=2, d_model=136, n_head=4),
    "nano750k": Shape(n_layer=3, d_model=144, n_head=6),
    "nano1.8m": Shape(n_layer=4, d_model=192, n_head=6),
    "tiny": Shape(n_layer=4, d_model=256, n_head=4),
    "small": Shape(n_layer=6, d_model=512, n_head=8),
    "medium": Shape(n_layer=8, d_model=768, n_head=12),
    "base": Shape(n_layer=12, d_model=1024, n_head=16),
    "large": Shape(n_layer=16, d_model=1280, n_head=20),
    "xlarge": Shape(n_layer=24, d_model=1536, n_head=24),
    "xxl": Shape(n_layer=32, d_model=2048, n_head=32),
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
    """The fewest heads, at least two, of an even size of at most 64 (32 up to a width of 192).

    Small models keep several heads by making them narrower. Raises ``ValueError`` when no
    even head size divides ``d_model``.
    """
    widest = min(d_model // 2, 32 if d_model <= 192 else MAX_HEAD_SIZE)
    for size in range(widest, 1, -1):
        if size % 2 == 0 and d_model % size == 0:
            return d_model // size
    raise ValueError(f"d_model {d_model} has no even head size of at most {widest}")


@functools.cache
def _named_depths() -> list[tuple[float, int]]:
    """The log of the parameters and the depth of each named scale, by size."""
    return sorted(
        (math.log(12 * s.n_layer * s.d_model**2), s.n_layer) for s in MODEL_SCALES.values()
    )


def _ladder_depth(params_non_embedding: float) -> float:
    """Depth of the named scales, log-linear in parameters between them."""
    points = _named_depths()
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
    template: Template,
    aspect_ratio: float | None = None,
    model_of: Callable[[Template, Shape], Model] | None = None,
) -> Shape:
    """The shape whose ``params`` under ``convention`` is nearest in ratio.

    The rule ``ladder`` (``aspect_ratio`` None) takes the depth of the named scales at that
    size; a number takes ``d_model / n_layer`` as given. The heads are ``heads_for`` the
    width. ``template`` gives vocabulary, context and activation. ``model_of`` makes the model that
    is counted, None a GPT. Raises ``ValueError`` when
    no shape comes within 25%: embeddings alone may exceed ``params``.
    """
    best: tuple[float, Shape] | None = None
    nearest = math.inf
    for d_model in _widths(params):
        if aspect_ratio is None:
            depth = _ladder_depth(12 * d_model**2 * _ladder_depth(12 * d_model**2 * 2))
        else:
            depth = max(1.0, d_model / aspect_ratio)
        for n_layer in {math.floor(depth), math.ceil(depth)}:
            shape = Shape(n_layer=n_layer, d_model=d_model, n_head=heads_for(d_model))
            count = count_params((model_of or make)(template, shape)).by(convention)
            off = abs(math.log(count / params))
            # the size matters most; between two equally near ones, the depth of the rule
            score = off + DEPTH_WEIGHT * abs(math.log(n_layer / depth))
            if best is None or score < best[0]:
                best, nearest = (score, shape), off
    if best is None or nearest > math.log(1.25):
        raise ValueError(
            f"no shape has {params:.3g} {convention} parameters within 25%"
            f" (vocabulary {template.vocab_size})"
        )
    return best[1]


def shape_beyond(params: float, convention: str, template: Template) -> Shape:
    """``shape_for`` that does not end at the depth of the named scales.

    The deepest of those has 32 layers, which would make larger models ever wider: where the ladder
    is wider than ``LARGE_ASPECT_RATIO`` times its depth (from about 7e9 parameters) the shape keeps
    to that ratio, so that 175e9 gives GPT-3's 96 layers of 12288.
    """
    shape = shape_for(params, convention, template)
    if shape.d_model > LARGE_ASPECT_RATIO * shape.n_layer:
        shape = shape_for(params, convention, template, LARGE_ASPECT_RATIO)
    return shape


def _widths(params: float) -> Iterator[int]:
    """Widths worth trying, to where one layer alone has ``params``; steps of 6 to 25%."""
    d_model = 8
    while d_model <= max(16.0, math.sqrt(params / 12) + 64):
        yield d_model
        steps = ((64, 4), (128, 8), (256, 16), (512, 32), (16_384, 64))
        widest = d_model // 1024 * 64  # a finer search up to 1e15 parameters takes minutes
        d_model += next((step for below, step in steps if d_model < below), widest)


def make(template: Template, shape: Shape) -> ModelSpec:
    """The model of a shape, with the default MLP and full key/value heads where it has none."""
    settings: Settings = template.settings
    return ModelSpec(
        vocab_size=template.vocab_size,
        n_ctx=template.n_ctx,
        n_layer=shape.n_layer,
        d_model=shape.d_model,
        n_head=shape.n_head,
        n_kv_head=shape.n_kv_head or shape.n_head,
        d_ff=shape.d_ff or default_d_ff(shape.d_model, settings.activation),
        norm=settings.norm,
        position=settings.position,
        activation=settings.activation,
        qk_norm=settings.qk_norm,
        tied=settings.tied,
        documents=settings.documents,
        parametrisation=template.parametrisation,
    )


def model_of(shape: Shape, model: ModelSpec) -> ModelSpec:
    """``model`` in another shape."""
    return make(template_of(model), shape)


def gpt_of(model: OtherModel) -> ModelSpec:
    """The GPT that an architecture with its settings and shapes is built around."""
    return make(template_of(model), model.values_as(Shape))


def size_name(model: ModelSpec) -> str:
    """``4x96-444k``: layers, width, non-embedding parameters, and heads or MLP if unusual."""
    name = f"{model.n_layer}x{model.d_model}"
    try:
        usual_heads = heads_for(model.d_model)
    except ValueError:
        usual_heads = 0
    if model.n_head != usual_heads:
        name += f"h{model.n_head}"
    if model.n_kv_head != model.n_head:
        name += f"k{model.n_kv_head}"
    if model.d_ff != default_d_ff(model.d_model, model.activation):
        name += f"f{model.d_ff}"
    return f"{name}-{counted(model)}"


def shape_text(model: ModelSpec) -> str:
    """``4 layers, width 96, 3 heads``."""
    return f"{model.n_layer} layers, width {model.d_model}, {model.n_head} heads"


def counts(model: ModelSpec) -> ParamCounts:
    """Parameters of blocks, tables and head.

    ``non_embedding``: blocks and final norm; ``matmul``: blocks and head (tied or not).
    """
    width, layers = model.d_model, model.n_layer
    kv_width = model.n_kv_head * model.head_size
    mlp_matrices = 3 if model.activation == "swiglu" else 2
    head = model.vocab_size * width
    groups = {
        "embedding": head,
        "position": model.n_ctx * width if model.position == "learned" else 0,
        "attention": layers * (2 * width * width + 2 * width * kv_width),
        "mlp": layers * mlp_matrices * width * model.d_ff,
        "norms": (2 * layers + 1) * width,
        "head": 0 if model.tied else head,
    }
    return ParamCounts(
        groups=groups,
        non_embedding=groups["attention"] + groups["mlp"] + groups["norms"],
        matmul=groups["attention"] + groups["mlp"] + head,
    )


def flops_per_token(model: ModelSpec) -> int:
    """6 * params_matmul, and the attention's."""
    return 6 * count_params(model).matmul + attention_flops(model)


def attention_flops(model: ModelSpec) -> int:
    """12 * n_layer * n_ctx * d_model: scores and weighted values, forward and backward."""
    return 12 * model.n_layer * model.n_ctx * model.d_model


def activation_bytes(
    model: ModelSpec, micro_seqs: int, precision: str, gradient_checkpointing: bool
) -> int:
    """Count bytes per token and layer from the tensors that autograd stores.

    The logits and their gradient are in fp32.
    """
    width = 2 if precision in ("bf16", "fp16") else 4
    tokens = micro_seqs * model.n_ctx
    stored_widths = 14 * model.d_model + 3 * model.d_ff
    layers = 1 if gradient_checkpointing else model.n_layer
    boundaries = model.n_layer * model.d_model if gradient_checkpointing else 0
    activations = tokens * width * (layers * stored_widths + boundaries)
    logits = tokens * model.vocab_size * 4 * 3
    shortest, longest = BLOCKED_TIMES
    blocked = precision == "fp32" and model.position != "alibi" and model.documents is None
    if blocked and shortest <= model.n_ctx <= longest:
        keys = (model.n_ctx + ATTENTION_BLOCK) / 2  # of a query, on average
        activations += int(tokens * model.n_head * keys * 4 * layers)
    scores = tokens * model.n_head * model.n_ctx * width  # of one layer
    if model.position == "alibi":  # a CPU's attention with a bias keeps them, and the bias
        activations += scores * (layers + 1)
    elif model.documents is not None:  # each layer keeps the mask, which all heads share
        activations += tokens * model.n_ctx * width * layers
    # The halves of a head of two channels, which rotary turns, have one channel each. Torch may lay
    # them out so that its fused attention cannot read them, and the plain one keeps the scores.
    if model.position == "rotary" and model.head_size == 2:
        activations += scores * layers
    return activations + logits


def cache_numbers(model: ModelSpec) -> int:
    """Keys and values of a sequence."""
    return 2 * model.n_layer * model.n_ctx * model.n_kv_head * model.head_size


def stack_gain(model: ModelSpec, batch_tokens: int, device_kind: str) -> float:
    """Return the gain as measured on a CPU, 1 on a GPU; 0 for models that cannot be stacked."""
    if model.parametrisation is not None or model.documents is not None:
        return 0.0
    small = batch_tokens <= MOST_BATCH_TOKENS and model.vocab_size <= MOST_VOCAB
    if device_kind == "cpu" and small:
        return next((gain for width, gain in CPU_GAINS if model.d_model <= width), 1.0)
    return 1.0


_KEPT_BY_GROWING = (
    "vocab_size",
    "n_ctx",
    "norm",
    "position",
    "activation",
    "qk_norm",
    "tied",
    "head_size",
)


def why_not_grown(small: ModelSpec, large: ModelSpec) -> str:
    """Why a ``large`` model cannot start as a ``small`` one and compute the same; "" if it can.

    Widths grow by whole multiples, with heads of the same size and as many of them; layers and
    MLP units by any number.
    """
    for name in _KEPT_BY_GROWING:
        old, new = getattr(small, name), getattr(large, name)
        if old != new:
            more = ""
            if name == "head_size":  # the norm and the scale of queries and keys would change
                more = f"; take n_head {max(1, large.d_model // old)}"
            return f"{name} {new}, the smaller model has {old}{more}"
    for model in (small, large):
        if model.parametrisation is not None:  # its multipliers depend on the width
            return f"parametrisation {model.parametrisation.name}: only standard can grow"
    times, rest = divmod(large.d_model, small.d_model)
    if rest:
        return (
            f"d_model {large.d_model} is not a whole multiple of the smaller one's {small.d_model}"
        )
    if large.n_kv_head != times * small.n_kv_head:
        return f"n_kv_head {large.n_kv_head}, expected {times} times {small.n_kv_head}"
    for name in ("n_layer", "d_ff"):
        if getattr(large, name) < getattr(small, name):
            return (
                f"{name} {getattr(large, name)} is below the smaller one's {getattr(small, name)}"
            )
    return "it is the same model" if small == large else ""


def measured_as(model: ModelSpec) -> ModelSpec | None:
    """The model itself; under another parametrisation than the standard one none is measured."""
    return model if model.parametrisation is None else None


ARCHITECTURE = Architecture(
    shape=Shape,
    settings=Settings,
    make=make,
    count_params=counts,
    rounds=True,
    flops_per_token=flops_per_token,
    activation_bytes=activation_bytes,
    size_name=size_name,
    shards=True,
    shape_text=shape_text,
    scales=MODEL_SCALES,
    shape_for=shape_for,
    shape_beyond=shape_beyond,
    cache_numbers=cache_numbers,
    notes=(
        "params: non-emb = blocks and final norm; matmul = matrices of blocks and head; total = all"
        " stored, a tied head once",
        "FLOPs: exact = 6 params_matmul + 12 layers context width per token, forward and backward,"
        " causality not halved",
    ),
    stack_gain=stack_gain,
    width=lambda model: model.d_model,
    measured_as=measured_as,
    inside=("stream", "attention", "units"),
    attentions=("causal", "full", "prefix"),
    # 6.7 ms at 404 parameters, where the calibration's smallest step takes 11 ms (AMD EPYC)
    dispatch_frac=0.6,
    compiles=True,
    why_not_grown=why_not_grown,
)
