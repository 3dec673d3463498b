"""Faster ways, on a CPU in fp32, to what torch's own operators compute; no compiler needed.

Each is chosen by shape alone, never by a clock, so that the same spec gives the same bits
whenever it is run on one machine; each equals torch's operator within rounding (tests) and was
kept for a measured gain (benchmarks/NOTES.md). Everywhere else torch's operators are used.

Shapes: R rows (tokens), M width, V vocabulary, N sequences times heads, T time, K head size.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor
from torch.autograd.function import once_differentiable

from scaling_law.counts import ATTENTION_BLOCK, BLOCKED_TIMES

# Tokens whose logits are made at a time: more leave the cache, fewer read the weight too often;
# and no more than so many logits, as the allocator returns larger blocks after every use.
HEAD_ROWS, HEAD_LOGITS = 256, 6_000_000
# Smaller vocabularies gain nothing from chunks.
LEAST_VOCAB = 2048
# Shorter contexts have no scores above a block's diagonal to leave out; longer ones would keep too
# many probabilities.
ATTENTION_TIMES = BLOCKED_TIMES
# Below these, oneDNN's setting up costs what its multiplication gains.
LEAST_LINEAR_ROWS, LEAST_LINEAR_WIDTH = 1024, 64


def _training_fp32_on_cpu(x: Tensor) -> bool:
    """Where the operators here are faster; evaluation keeps torch's."""
    return (
        torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype is torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


# --- matrix products -------------------------------------------------------------------------


def _find_onednn() -> Any:
    """oneDNN's product as torch ships it for its own compiler, or None where there is none."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    operator = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    try:
        x, w = torch.ones(2, 3), torch.ones(4, 3)
        fits = operator is not None and bool((operator(x, w, None, "none", [], "") == 3).all())
    except (RuntimeError, TypeError):  # another signature, or built without it
        return None
    return operator if fits else None


_ONEDNN = _find_onednn()


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """x [R, M] @ weight [W, M]^T without a graph, by oneDNN where torch has it."""
    if _ONEDNN is None or x.dtype is not torch.float32:
        return x @ weight.t()
    y: Tensor = _ONEDNN(x, weight, None, "none", [], "")
    return y


class _OneDnnLinear(torch.autograd.Function):
    """The two products whose second factor is a weight; the weight's gradient gains nothing."""

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
        return grad_x, torch.mm(rows[0].t(), rows[1])


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [..., M] @ weight [W, M]^T -> [..., W], by oneDNN where it beats torch's BLAS."""
    rows = x.numel() // x.shape[-1]
    wide = min(weight.shape) >= LEAST_LINEAR_WIDTH and rows >= LEAST_LINEAR_ROWS
    if _ONEDNN is None or not wide or not _training_fp32_on_cpu(x):
        return F.linear(x, weight)
    y: Tensor = _OneDnnLinear.apply(x, weight)  # type: ignore[no-untyped-call]
    return y


# --- the head and its cross-entropy -----------------------------------------------------------


class _HeadCrossEntropy(torch.autograd.Function):
    """Gradients are made in the forward pass, chunk by chunk, while its logits are in cache."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        count, total = len(hidden), hidden.new_zeros(())
        grad_hidden, grad_weight = torch.empty_like(hidden), None
        for start in range(0, count, rows):
            part, wanted = hidden[start : start + rows], targets[start : start + rows]
            logs = torch.log_softmax(_product(part, weight), dim=1)
            total += F.nll_loss(logs, wanted, reduction="sum")
            # the gradient of the logits: probabilities, less 1 at the target
            errors = logs.exp_()
            ones = errors.new_full((len(wanted), 1), -1.0)
            errors.scatter_add_(1, wanted.unsqueeze(1), ones)
            torch.mul(
                _product(errors, weight.t()), 1 / count, out=grad_hidden[start : start + rows]
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
        if grad.item() != 1:  # a share of an accumulated batch
            grad_hidden, grad_weight = grad_hidden * grad, grad_weight * grad
        return grad_hidden, grad_weight, None, None


def chunked_head_pays(hidden: Tensor, weight: Tensor) -> bool:
    """Whether training through ``head_cross_entropy`` is faster than whole logits."""
    return _training_fp32_on_cpu(hidden) and weight.shape[0] >= LEAST_VOCAB


def head_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, rows: int | None = None
) -> Tensor:
    """Mean nats per token of hidden [R, M] @ weight [V, M]^T against ``targets`` [R].

    The logits never exist in full. Differentiable once, in ``hidden`` and ``weight``.
    """
    rows = rows or max(1, min(HEAD_ROWS, HEAD_LOGITS // weight.shape[0]))
    loss: Tensor = _HeadCrossEntropy.apply(hidden, weight, targets, rows)  # type: ignore[no-untyped-call]
    return loss


# --- attention --------------------------------------------------------------------------------


class _BlockedAttention(torch.autograd.Function):
    """Softmax attention by blocks of queries, each with the keys up to its last query only."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, block: int) -> Tensor:
        scale, keys = q.shape[-1] ** -0.5, k.transpose(1, 2)
        y, kept = torch.empty_like(q), []
        for start in range(0, q.shape[1], block):
            end = min(start + block, q.shape[1])
            mask = torch.full((end - start, end), -math.inf, dtype=q.dtype).triu(1 + start)
            scores = torch.baddbmm(mask, q[:, start:end], keys[:, :, :end], alpha=scale)
            shares = torch.softmax(scores, dim=-1)
            y[:, start:end] = torch.bmm(shares, v[:, :end])
            kept.append(shares)
        ctx.save_for_backward(q, k, v, *kept)
        ctx.block = block
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, *kept = ctx.saved_tensors
        scale, values = q.shape[-1] ** -0.5, v.transpose(1, 2)
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for shares, start in zip(kept, range(0, q.shape[1], ctx.block), strict=True):
            end = min(start + ctx.block, q.shape[1])
            some = grad[:, start:end]
            grad_v[:, :end].baddbmm_(shares.transpose(1, 2), some)
            of_shares = torch.bmm(some, values[:, :, :end])
            of_scores = torch.ops.aten._softmax_backward_data(of_shares, shares, -1, q.dtype)
            grad_q[:, start:end] = torch.bmm(of_scores, k[:, :end]).mul_(scale)
            grad_k[:, :end].baddbmm_(of_scores.transpose(1, 2), q[:, start:end], alpha=scale)
        return grad_q, grad_k, grad_v, None


def blocked_attention(q: Tensor, k: Tensor, v: Tensor, block: int = ATTENTION_BLOCK) -> Tensor:
    """Causal softmax(q k^T / sqrt(K)) v, each [N, T, K] -> [N, T, K]. Differentiable once."""
    y: Tensor = _BlockedAttention.apply(q, k, v, block)  # type: ignore[no-untyped-call]
    return y


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of q, k, v [B, H, T, K] -> [B, H, T, K], by the faster way."""
    shortest, longest = ATTENTION_TIMES
    if not _training_fp32_on_cpu(q) or not shortest <= q.shape[2] <= longest:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    q_flat, k_flat, v_flat = (x.reshape(-1, *x.shape[2:]) for x in (q, k, v))
    return blocked_attention(q_flat, k_flat, v_flat).view(q.shape)
