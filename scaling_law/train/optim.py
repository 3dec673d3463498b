"""Make the optimizer of a run: group its weights and pass them to the part that the spec names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from scaling_law import parts
from scaling_law.errors import ConfigError
from scaling_law.spec.optim import OptimSpec
from scaling_law.train.architectures import weights_of
from scaling_law.train.optimizers import Optimizer


def make_optimizer(model: nn.Module, spec: OptimSpec, device: str) -> torch.optim.Optimizer:
    """Make the optimizer that ``spec`` names, over groups of weights.

    Weights that decay come first. Where the part asks for it, roles are apart. A group with a
    learning rate of its own has its factor as ``lr_mult``, and its decay divided by that factor, so
    that a step decays it as much as others. Raises ``ConfigError`` where a library is not
    installed.
    """
    part: Optimizer = parts.load("optimizer", spec.component.reference)
    if lacking := part.missing():
        raise ConfigError(f"the optimizer {spec.component.name}: {lacking}")
    groups: dict[tuple[bool, float, str], dict[str, Any]] = {}
    for weight in sorted(weights_of(model), key=lambda weight: not weight.decays):
        key = weight.decays, weight.lr_mult, weight.role if part.by_role else ""
        if key not in groups:
            decay = spec.weight_decay / weight.lr_mult if weight.decays else 0.0
            groups[key] = {"params": [], "weight_decay": decay}
            if weight.lr_mult != 1:
                groups[key]["lr_mult"] = weight.lr_mult
            if part.by_role:
                groups[key]["role"] = weight.role
        groups[key]["params"].append(weight.parameter)
    settings: Any = spec.component.settings_as(part.settings)
    return part.make(list(groups.values()), spec, settings, device)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_mult", 1.0)


@runtime_checkable
class Averages(Protocol):
    """An optimizer that evaluates other weights than it trains."""

    def eval(self) -> None:
        """Put the weights to evaluate into the model."""
        ...

    def train(self) -> None:
        """Put the weights to train back into the model."""
        ...


@contextlib.contextmanager
def evaluated(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """While inside, the model has the weights that the optimizer evaluates.

    After it, the weights are those of before to the last bit, which ``train`` alone would round.
    """
    if not isinstance(optimizer, Averages):
        yield
        return
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    trained = [weight.detach().clone() for weight in weights]
    optimizer.eval()
    try:
        yield
    finally:
        optimizer.train()
        with torch.no_grad():
            for weight, before in zip(weights, trained, strict=True):
                weight.copy_(before)
