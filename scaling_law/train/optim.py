"""AdamW with decoupled weight decay on matrices only."""

from __future__ import annotations

import torch
from torch import nn

from scaling_law.spec.run import OptimSpec


def make_optimizer(model: nn.Module, spec: OptimSpec, device: str) -> torch.optim.AdamW:
    """AdamW (Loshchilov 2019, arXiv 1711.05101), fused where torch has a fused kernel.

    Two groups: matrices of the blocks and the head decay, while embeddings, position tables
    and norm gains do not.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, weight in model.named_parameters():
        is_table = name.startswith(("embedding", "position"))
        (free if weight.ndim < 2 or is_table else decayed).append(weight)
    groups = [
        {"params": decayed, "weight_decay": spec.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=spec.lr,
        betas=(spec.beta1, spec.beta2),
        eps=spec.eps,
        fused=device in ("cpu", "cuda", "mps"),
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
