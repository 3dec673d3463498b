"""Stochastic gradient descent with momentum (Sutskever 2013), by torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.values import Number
from scaling_law.train.optimizers import Optimizer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Settings:
    """SGD's own settings.

    ``momentum`` is the decay of the running sum of gradients;
    ``nesterov`` evaluates the gradient after the momentum's step.
    """

    momentum: Annotated[float, Number("decay of the running sum of gradients", low=0, below=1)] = (
        0.9
    )
    nesterov: bool = False

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum above 0")


def make(
    groups: list[dict[str, Any]], optim: OptimSpec, settings: Settings, device: str
) -> torch.optim.Optimizer:
    """SGD over parameter groups; weight decay is added to the gradient."""
    import torch

    return torch.optim.SGD(
        groups, lr=optim.lr, momentum=settings.momentum, nesterov=settings.nesterov
    )


OPTIMIZER = Optimizer(make=make, state_bytes_per_param=4, settings=Settings)
