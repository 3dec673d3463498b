"""Lion (Chen 2023, arXiv 2302.06675), by pytorch-optimizer: steps are signs of the momentum.

All weights move by the learning rate; its authors take rates 3 to 10 times below AdamW's and as
much more weight decay (section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.values import Number
from scaling_law.train.optimizers import Optimizer
from scaling_law.train.optimizers._library import needs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Lion's settings.

    ``beta1`` is the weight of the momentum in a step, against the new gradient;
    ``decay`` is the decay of the momentum from step to step, the paper's beta2.
    """

    beta1: Annotated[float, Number("weight of the momentum in a step", low=0, below=1)] = 0.9
    decay: Annotated[float, Number("decay of the momentum", low=0, below=1)] = 0.99


def make(
    groups: list[dict[str, Any]], optim: OptimSpec, settings: Settings, device: str
) -> torch.optim.Optimizer:
    """Lion over parameter groups, with decoupled weight decay."""
    from pytorch_optimizer import Lion

    assert optim.beta1 is not None
    optimizer: torch.optim.Optimizer = Lion(
        groups, lr=optim.lr, betas=(optim.beta1, settings.decay), weight_decouple=True
    )
    return optimizer


OPTIMIZER = Optimizer(
    make=make, state_bytes_per_param=4, settings=Settings, missing=needs("pytorch-optimizer")
)
