"""Schedule-free AdamW (Defazio 2024, arXiv 2405.15682), by its authors' package schedulefree.

The weights that are evaluated are an average over the run; gradients are taken at a point between
the average and the newest weights. It needs no decay: choose ``schedule: {shape: constant}``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.values import Number
from scaling_law.train.optimizers import Optimizer, adamw
from scaling_law.train.optimizers._library import needs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Settings(adamw.Settings):
    """Schedule-free AdamW's own settings.

    ``beta1`` is the weight of the average in the point at which gradients are taken; the package
    divides by it.
    """

    beta1: Annotated[
        float, Number("weight of the average where gradients are taken", above=0, below=1)
    ] = 0.9


def make(
    groups: list[dict[str, Any]], optim: OptimSpec, settings: Settings, device: str
) -> torch.optim.Optimizer:
    """Schedule-free AdamW over parameter groups, with the weights that it trains in the model."""
    from schedulefree import AdamWScheduleFree

    made = AdamWScheduleFree(groups, lr=optim.lr, betas=(optim.beta1, optim.beta2), eps=optim.eps)
    made.train()
    optimizer: torch.optim.Optimizer = made
    return optimizer


OPTIMIZER = Optimizer(
    make=make,
    state_bytes_per_param=8,
    settings=Settings,
    missing=needs("schedulefree"),
)
