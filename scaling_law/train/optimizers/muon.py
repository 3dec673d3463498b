"""Muon (Jordan 2024) for hidden matrices, AdamW for the other weights, both by torch.

A step of Muon is the momentum with its singular values set to about 1. Embeddings, the head, gains,
biases and kernels of convolutions are AdamW's. There is one learning rate for both: with the scale
``match_rms_adamw`` a step changes a matrix as much as AdamW's does, so that rates and weight decay
tuned for AdamW are near (Liu 2025, arXiv 2502.16982, equation 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.values import Number, Text
from scaling_law.train.optimizers import Optimizer, adamw
from scaling_law.train.optimizers._library import hidden_matrices, needs_torch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Settings(adamw.Settings):
    """Muon's settings, beside those of AdamW for the other weights.

    ``momentum`` is the decay of the mean of gradients;
    ``nesterov`` takes the gradient after the momentum's step;
    ``iterations`` are the Newton-Schulz iterations of a step;
    ``scale`` is the factor on the learning rate of a matrix [A, B]: ``match_rms_adamw`` is
    .2 sqrt(max(A, B)), ``original`` is sqrt(max(1, A / B)).
    """

    momentum: Annotated[float, Number("decay of the mean of gradients", low=0, below=1)] = 0.95
    nesterov: bool = True
    iterations: Annotated[int, Number("Newton-Schulz iterations", low=1, high=99)] = 5
    scale: Annotated[
        str, Text("factor on the learning rate of a matrix", ("match_rms_adamw", "original"))
    ] = "match_rms_adamw"


def make(
    groups: list[dict[str, Any]], optim: OptimSpec, settings: Settings, device: str
) -> torch.optim.Optimizer:
    """Muon and AdamW as one optimizer; AdamW alone where no weight is a hidden matrix."""
    import torch

    from scaling_law.train.optimizers._together import Together

    matrices, rest = hidden_matrices(groups)
    both: list[torch.optim.Optimizer] = []
    if matrices:
        both.append(
            torch.optim.Muon(
                matrices,
                lr=optim.lr,
                momentum=settings.momentum,
                nesterov=settings.nesterov,
                ns_steps=settings.iterations,
                adjust_lr_fn=settings.scale,
            )
        )
    if rest:
        both.append(adamw.make(rest, optim, settings, device))
    return Together(*both)


OPTIMIZER = Optimizer(
    make=make,
    state_bytes_per_param=8,
    settings=Settings,
    by_role=True,
    missing=needs_torch(2, 9),
)
