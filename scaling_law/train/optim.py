"""The optimizer of a run: its weights in groups, handed to the part that the spec names."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from scaling_law import parts
from scaling_law.spec.run import OptimSpec
from scaling_law.train.optimizers import Optimizer


def make_optimizer(model: nn.Module, spec: OptimSpec, device: str) -> torch.optim.Optimizer:
    """The optimizer that ``spec`` names, over two groups of weights.

    Matrices of the blocks and the head decay, while embeddings, position tables and norm gains
    do not.
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
    part: Optimizer = parts.load("optimizer", spec.component.reference)
    settings: Any = spec.component.settings_as(part.settings)
    return part.make([group for group in groups if group["params"]], spec, settings, device)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
