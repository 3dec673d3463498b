"""Parameters, FLOPs and memory of a ``ModelSpec``, by formula; no torch.

A multiply-add counts as 2 FLOPs; the backward pass as twice the forward; attention is
counted in full (causality not halved). The tests compare every count with the built model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from scaling_law.spec.run import ModelSpec

# On a CPU in fp32 contexts of these lengths keep the attention's probabilities, by blocks of
# queries and without what lies above the diagonal (``train.kernels``).
BLOCKED_TIMES, ATTENTION_BLOCK = (128, 512), 64

CONVENTIONS = ("total", "non_embedding", "matmul")


@dataclass(frozen=True, kw_only=True)
class ParamCounts:
    """Parameters by part; the parts add up to ``total``."""

    embedding: int
    position: int
    attention: int
    mlp: int
    norms: int
    head: int
    head_shared: int

    @property
    def total(self) -> int:
        """Everything stored; a tied head once."""
        return self.embedding + self.position + self.attention + self.mlp + self.norms + self.head

    @property
    def non_embedding(self) -> int:
        """Blocks and final norm: no token or position table, no head (Kaplan's N, 2001.08361)."""
        return self.attention + self.mlp + self.norms

    @property
    def matmul(self) -> int:
        """Weight matrices that multiply activations: blocks and head (tied or not), no look-up."""
        return self.attention + self.mlp + self.head + self.head_shared

    def by(self, convention: str) -> int:
        """The count under ``total``, ``non_embedding`` or ``matmul``."""
        if convention not in CONVENTIONS:
            raise ValueError(f"convention {convention!r}: expected {', '.join(CONVENTIONS)}")
        return int(getattr(self, convention))


# A plan asks for the same few models with every run, seed and trial of its time limit.
@lru_cache(maxsize=4096)
def count_params(model: ModelSpec) -> ParamCounts:
    """Parameters of the model that ``train.model.GPT`` builds from ``model``."""
    width, layers = model.d_model, model.n_layer
    kv_width = model.n_kv_head * model.head_size
    mlp_matrices = 3 if model.activation == "swiglu" else 2
    head = model.vocab_size * width
    return ParamCounts(
        embedding=head,
        position=model.n_ctx * width if model.position == "learned" else 0,
        attention=layers * (2 * width * width + 2 * width * kv_width),
        mlp=layers * mlp_matrices * width * model.d_ff,
        norms=(2 * layers + 1) * width,
        head=0 if model.tied else head,
        head_shared=head if model.tied else 0,
    )


@lru_cache(maxsize=4096)
def flops_per_token(model: ModelSpec) -> int:
    """Exact training FLOPs per token: 6 * params_matmul + 12 * n_layer * n_ctx * d_model.

    The second term is the attention scores and the weighted values, forward and backward.
    """
    return 6 * count_params(model).matmul + 12 * model.n_layer * model.n_ctx * model.d_model


def train_flops(model: ModelSpec, tokens: float) -> float:
    """Exact training FLOPs for ``tokens`` tokens; evaluation is not counted."""
    return flops_per_token(model) * tokens


def flops_6nd(params: float, tokens: float) -> float:
    """The 6ND approximation; the caller names which parameters N counts."""
    return 6.0 * params * tokens


def memory_bytes(
    model: ModelSpec, micro_seqs: int, precision: str, gradient_checkpointing: bool = False
) -> int:
    """Peak bytes of training state and activations, without the runtime's own footprint.

    fp32: weights, gradients, two moments = 16 bytes a parameter; mixed precision adds a
    2-byte copy of the weights. Activations per token and layer are counted from the tensors
    autograd keeps; the logits and their gradient are kept in fp32.
    """
    params = count_params(model).total
    width = 2 if precision in ("bf16", "fp16") else 4
    state = params * (16 if precision == "fp32" else 18)
    tokens = micro_seqs * model.n_ctx
    kept_widths = 14 * model.d_model + 3 * model.d_ff
    layers = 1 if gradient_checkpointing else model.n_layer
    boundaries = model.n_layer * model.d_model if gradient_checkpointing else 0
    activations = tokens * width * (layers * kept_widths + boundaries)
    logits = tokens * model.vocab_size * 4 * 3
    shortest, longest = BLOCKED_TIMES
    blocked = precision == "fp32" and model.position != "alibi"
    if blocked and shortest <= model.n_ctx <= longest:
        keys = (model.n_ctx + ATTENTION_BLOCK) / 2  # of a query, on average
        activations += int(tokens * model.n_head * keys * 4 * layers)
    return int(state + activations + logits)
