"""Compute what torch's operators do, faster, on a CPU in fp32; no compiler needed.

``use`` says which operators a run takes: those that were measured to be the fastest for its shape
(``train.step_speed``), as its plan has pinned them. A run without such a choice takes them by the
thresholds below, which the shape alone decides, so that its bits stay the same for ever. Each
operator equals torch's within rounding (tests) and is here for a measured gain
(benchmarks/NOTES.md).

Shapes: R rows (tokens), M width, V vocabulary, N sequences times heads, T time, K head size.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor
from torch.autograd.function import once_differentiable

from scaling_law.spec.architectures.gpt import ATTENTION_BLOCK, BLOCKED_TIMES
from scaling_law.spec.kernels import Kernels
from scaling_law.spec.model import ModelSpec
from scaling_law.train import number_formats

# Logits computed at a time: more do not fit the cache, and with fewer rows than this the weight is
# read too often; never more than the last, as the allocator returns larger blocks after every use.
HEAD_LOGITS, HEAD_ROWS, MOST_LOGITS = 2**21, 256, 6_000_000
# At this vocabulary or above, or where the products are large, it beats torch's cross-entropy.
LEAST_VOCAB = 2048
# Below this a probability's logarithm loses digits: fp32 ends at 1e-38.
LEAST_SHARE = 1e-30
# Shorter contexts have no scores above a block's diagonal to leave out; longer ones would store too
# many probabilities.
ATTENTION_TIMES = BLOCKED_TIMES
# Below these, oneDNN's set-up costs as much as its multiplication saves.
LEAST_LINEAR_ROWS, LEAST_LINEAR_WIDTH = 1024, 64
# The narrower and the wider side of a weight above which its gradient is faster too.
LEAST_GRADIENT = 256, 1024

_chosen: Kernels | None = None


def use(chosen: Kernels | None) -> None:
    """Take these operators in this process from now on; None for those of the thresholds."""
    global _chosen
    _chosen = chosen


def by_thresholds(model: ModelSpec, tokens: int) -> Kernels:
    """Return the operators that the thresholds choose for a model and a step of so many tokens."""
    shortest, longest = ATTENTION_TIMES
    width, chunks = model.d_model, min(tokens, chunk_rows(model.vocab_size))
    large = _enough(tokens, width)
    blocked = model.position != "alibi" and shortest <= model.n_ctx <= longest
    return Kernels(
        attention_block=ATTENTION_BLOCK if blocked else 0,
        linear=large and has_onednn(),
        gradients=large and has_onednn(),
        head_rows=chunks if model.vocab_size >= LEAST_VOCAB or large else 0,
        head_products=has_onednn() and (model.vocab_size >= LEAST_VOCAB or large),
        fused=True,
    )


def fused_adamw() -> bool:
    """Say whether AdamW on a CPU is torch's fused one."""
    return _chosen is None or _chosen.fused


def _training_fp32_on_cpu(x: Tensor) -> bool:
    """Say whether the operators here are faster; evaluation uses torch's."""
    return (
        torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype is torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not number_formats.is_open()
    )


# --- matrix products -------------------------------------------------------------------------


def _find_onednn() -> Any:
    """Return oneDNN's product as torch ships it for its compiler, or None without one."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    packet = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    operator = getattr(packet, "default", None)
    try:
        x, w = torch.ones(2, 3), torch.ones(4, 3)
        fits = operator is not None and bool((operator(x, w, None, "none", [], "") == 3).all())
    except (RuntimeError, TypeError):  # another signature, or built without it
        return None
    return operator if fits else None


_ONEDNN = _find_onednn()


def has_onednn() -> bool:
    """Say whether torch has oneDNN's product."""
    return _ONEDNN is not None


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """x [R, M] @ weight [W, M]^T without a graph, by oneDNN where torch has it."""
    if _ONEDNN is None or x.dtype is not torch.float32:
        return x @ weight.t()
    y: Tensor = _ONEDNN(x, weight, None, "none", [], "")
    return y


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad [R, W]^T @ x [R, M] -> [W, M]; oneDNN wants the wider of the two as its weight."""
    narrow, wide = sorted((grad.shape[1], x.shape[1]))
    large = narrow >= LEAST_GRADIENT[0] and wide >= LEAST_GRADIENT[1]
    if not large or not (_chosen is None or _chosen.gradients):
        return torch.mm(grad.t(), x)
    if wide == x.shape[1]:
        return _product(grad.t(), x.t())
    return _product(x.t(), grad.t()).t().contiguous()


class _OneDnnLinear(torch.autograd.Function):
    """A linear layer's three products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad_x = _product(grad, weight.t())
        rows = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        return grad_x, _weight_gradient(*rows)


def _enough(rows: int, narrower: int) -> bool:
    """Say whether a product of so many rows and columns is large enough for oneDNN."""
    return rows >= LEAST_LINEAR_ROWS and narrower >= LEAST_LINEAR_WIDTH


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [..., M] @ weight [W, M]^T -> [..., W], by oneDNN where it beats torch's BLAS."""
    rows = x.numel() // x.shape[-1]
    pays = _enough(rows, min(weight.shape)) if _chosen is None else _chosen.linear
    if _ONEDNN is None or not pays or not _training_fp32_on_cpu(x):
        return F.linear(x, weight)
    y: Tensor = _OneDnnLinear.apply(x, weight)  # type: ignore[no-untyped-call]
    return y


# --- the head and its cross-entropy -----------------------------------------------------------


def _shares_and_nats(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax of logits [R, V], and the sum of -log of its column ``wanted`` [R, 1]."""
    shares = torch.softmax(logits, dim=1)
    picked = shares.gather(1, wanted)
    # one exponential a logit instead of two; log_softmax where a probability is near underflow
    if float(picked.min()) < LEAST_SHARE:
        return shares, -torch.log_softmax(logits, dim=1).gather(1, wanted).sum()
    return shares, -picked.log_().sum()


class _HeadCrossEntropy(torch.autograd.Function):
    """Compute the gradients in the forward pass, chunk by chunk, while the logits are in cache."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        count, total = len(hidden), hidden.new_zeros(())
        grad_hidden, grad_weight = torch.empty_like(hidden), None
        for start in range(0, count, rows):
            part = hidden[start : start + rows]
            wanted = targets[start : start + rows].unsqueeze(1)
            errors, nats = _shares_and_nats(_head_product(part, weight), wanted)
            total += nats
            # the gradient of the logits: probabilities, less 1 at the target
            errors.scatter_add_(1, wanted, errors.new_full((len(wanted), 1), -1.0))
            torch.mul(
                _head_product(errors, weight.t()), 1 / count, out=grad_hidden[start : start + rows]
            )
            if grad_weight is None:
                grad_weight = torch.empty_like(weight)
                torch.addmm(grad_weight, errors.t(), part, beta=0, alpha=1 / count, out=grad_weight)
            else:
                grad_weight.addmm_(errors.t(), part, alpha=1 / count)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad.item() != 1:  # a micro-batch of a larger batch
            grad_hidden, grad_weight = grad_hidden * grad, grad_weight * grad
        return grad_hidden, grad_weight, None, None


def chunked_head_pays(hidden: Tensor, weight: Tensor) -> bool:
    """Say whether training through ``head_cross_entropy`` is faster than whole logits."""
    vocab, width = weight.shape
    if _chosen is not None:
        pays = _chosen.head_rows > 0
    else:
        pays = vocab >= LEAST_VOCAB or _enough(hidden.numel() // width, width)
    return pays and _training_fp32_on_cpu(hidden)


def chunk_rows(vocab: int) -> int:
    """Return the tokens whose logits are computed at a time where no choice says it."""
    return max(1, min(MOST_LOGITS // vocab, max(HEAD_ROWS, HEAD_LOGITS // vocab)))


def _head_product(x: Tensor, weight: Tensor) -> Tensor:
    """The head's x [R, M] @ weight [W, M]^T without a graph."""
    if _chosen is not None and not _chosen.head_products:
        return x @ weight.t()
    return _product(x, weight)


def head_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, rows: int | None = None
) -> Tensor:
    """Mean nats per token of hidden [R, M] @ weight [V, M]^T against ``targets`` [R].

    Only one chunk of logits exists at a time. Differentiable once, in ``hidden`` and ``weight``.
    """
    rows = rows or (_chosen.head_rows if _chosen else 0) or chunk_rows(weight.shape[0])
    loss: Tensor = _HeadCrossEntropy.apply(hidden, weight, targets, rows)  # type: ignore[no-untyped-call]
    return loss


# --- attention --------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _future(size: int, dtype: torch.dtype) -> Tensor:
    """[size, size] of 0, and -inf above the diagonal."""
    return torch.full((size, size), -math.inf, dtype=dtype).triu(1)


def _flat(x: Tensor, scale: float = 1.0) -> Tensor:
    """x [B, H, T, K] of any strides, times ``scale`` -> contiguous [B H, T, K], in one pass."""
    flat = torch.empty(x.shape, dtype=x.dtype)
    if scale == 1:
        flat.copy_(x)
    else:
        torch.mul(x, scale, out=flat)
    return flat.view(-1, *x.shape[2:])


def _overwrite(scores: Tensor) -> Tensor:
    """Softmax of the last dimension, in place of its argument: half the memory traffic."""
    return torch._softmax(scores, -1, False, out=scores)


def _overwrite_backward(grad: Tensor, shares: Tensor) -> Tensor:
    """The gradient of a softmax's argument, in place of its result's gradient."""
    return torch._softmax_backward_data(grad, shares, -1, grad.dtype, grad_input=grad)


def _can_overwrite() -> bool:
    """Say whether this torch's softmax may overwrite its argument, which torch does not promise."""
    for columns in (7, 64, 300):
        x = torch.linspace(-3.0, 3.0, 6 * columns).view(2, 3, columns).sin()
        shares = torch.softmax(x, dim=-1)
        wanted = torch._softmax_backward_data(x, shares, -1, x.dtype)
        try:
            fits = torch.equal(_overwrite_backward(x.clone(), shares), wanted)
            if not (fits and torch.equal(_overwrite(x), shares)):
                return False
        except (RuntimeError, TypeError):  # another signature
            return False
    return True


_OVERWRITES = _can_overwrite()


class _BlockedAttention(torch.autograd.Function):
    """Softmax attention by blocks of queries; a block reads the keys up to its last query only."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, block: int) -> Tensor:
        batch, heads, time, size = q.shape
        q, k, v = _flat(q, size**-0.5), _flat(k), _flat(v)
        keys, saved = k.transpose(1, 2), []
        y = torch.empty((batch, time, heads, size), dtype=q.dtype)
        for start in range(0, time, block):
            end = min(start + block, time)
            scores = torch.bmm(q[:, start:end], keys[:, :, :end])
            scores[:, :, start:] += _future(end - start, q.dtype)
            shares = _overwrite(scores) if _OVERWRITES else torch.softmax(scores, dim=-1)
            values = torch.bmm(shares, v[:, :end]).view(batch, heads, -1, size)
            y[:, start:end] = values.transpose(1, 2)
            saved.append(shares)
        ctx.save_for_backward(q, k, v, *saved)
        ctx.block = block
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, *saved = ctx.saved_tensors
        batch, time, heads, size = grad.shape
        grad_y, values = _flat(grad.transpose(1, 2)), v.transpose(1, 2)
        grad_q = torch.empty_like(grad)
        grad_k = grad_v = torch.empty(0)
        # The last block comes first because it reads every key; the others' products are added to
        # its own. Torch multiplies batches into part of a tensor one by one.
        for index in reversed(range(len(saved))):
            start, shares = index * ctx.block, saved[index]
            end = start + shares.shape[1]
            some = grad_y[:, start:end]
            of_v = torch.bmm(shares.transpose(1, 2), some)
            of_shares = torch.bmm(some, values[:, :, :end])
            if _OVERWRITES:
                of_scores = _overwrite_backward(of_shares, shares)
            else:
                of_scores = torch._softmax_backward_data(of_shares, shares, -1, q.dtype)
            of_q = torch.bmm(of_scores, k[:, :end]).view(batch, heads, -1, size)
            torch.mul(of_q.transpose(1, 2), size**-0.5, out=grad_q[:, start:end])
            of_k = torch.bmm(of_scores.transpose(1, 2), q[:, start:end])
            if end == time:
                grad_k, grad_v = of_k, of_v
            else:
                grad_k[:, :end] += of_k
                grad_v[:, :end] += of_v
        shape = (batch, heads, time, size)
        return grad_q.transpose(1, 2), grad_k.view(shape), grad_v.view(shape), None


def blocked_attention(q: Tensor, k: Tensor, v: Tensor, block: int = ATTENTION_BLOCK) -> Tensor:
    """Causal softmax(q k^T / sqrt(K)) v of [B, H, T, K] -> [B, H, T, K].

    The result is stored as [B, T, H, K]. Differentiable once.
    """
    y: Tensor = _BlockedAttention.apply(q, k, v, block)  # type: ignore[no-untyped-call]
    return y.transpose(1, 2)


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of q, k, v [B, H, T, K] -> [B, H, T, K], by torch or in blocks."""
    shortest, longest = ATTENTION_TIMES
    block = ATTENTION_BLOCK if shortest <= q.shape[2] <= longest else 0
    if _chosen is not None:
        block = _chosen.attention_block
    if not block or not _training_fp32_on_cpu(q):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return blocked_attention(q, k, v, block)
