"""AdamW (Loshchilov 2019, arXiv 1711.05101), by torch, fused where that is faster."""

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
    """AdamW's own settings.

    ``beta1`` is the decay of the mean of gradients;
    ``beta2`` is the decay of the mean of their squares; None leaves it to the LR rule;
    ``eps`` is added to the root of the second moment.
    """

    beta1: Annotated[float, Number("AdamW's beta1", low=0, below=1)] = 0.9
    beta2: Annotated[float | None, Number("instead of the rule's", low=0, below=1)] = None
    eps: Annotated[float, Number("AdamW's epsilon", above=0, high=1)] = 1e-8


def make(
    groups: list[dict[str, Any]], optim: OptimSpec, settings: Settings, device: str
) -> torch.optim.Optimizer:
    """AdamW over parameter groups, each with its own weight decay."""
    import torch

    from scaling_law.train.kernels import fused_adamw

    assert optim.beta1 is not None and optim.beta2 is not None and optim.eps is not None
    return torch.optim.AdamW(
        groups,
        lr=optim.lr,
        betas=(optim.beta1, optim.beta2),
        eps=optim.eps,
        fused=device in ("cuda", "mps") or (device == "cpu" and fused_adamw()),
    )


OPTIMIZER = Optimizer(make=make, state_bytes_per_param=8, settings=Settings, stacks=True)
