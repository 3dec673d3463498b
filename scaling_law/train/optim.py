"""Make the optimizer of a run: group its weights and pass them to the part that the spec names."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from scaling_law import parts
from scaling_law.spec.optim import OptimSpec
from scaling_law.train.architectures import weights_of
from scaling_law.train.optimizers import Optimizer


def make_optimizer(model: nn.Module, spec: OptimSpec, device: str) -> torch.optim.Optimizer:
    """Make the optimizer that ``spec`` names, over groups of weights.

    Weights that decay come first. A group with a learning rate of its own has its factor as
    ``lr_mult``, and its decay divided by that factor, so that a step decays it as much as others.
    """
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for weight in sorted(weights_of(model), key=lambda weight: not weight.decays):
        key = weight.decays, weight.lr_mult
        if key not in groups:
            decay = spec.weight_decay / weight.lr_mult if weight.decays else 0.0
            groups[key] = {"params": [], "weight_decay": decay}
            if weight.lr_mult != 1:
                groups[key]["lr_mult"] = weight.lr_mult
        groups[key]["params"].append(weight.parameter)
    part: Optimizer = parts.load("optimizer", spec.component.reference)
    settings: Any = spec.component.settings_as(part.settings)
    return part.make(list(groups.values()), spec, settings, device)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_mult", 1.0)
