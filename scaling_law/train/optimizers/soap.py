"""SOAP (Vyas 2024, arXiv 2409.11321) for hidden matrices, by pytorch-optimizer.

It is Adam in the eigenbases of Shampoo's preconditioner. Embeddings, the head, gains and biases
take the same steps without a change of basis, which is Adam. The first step of a run measures the
bases and moves no weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.values import Number
from scaling_law.train.optimizers import Optimizer
from scaling_law.train.optimizers._library import hidden_matrices, needs

if TYPE_CHECKING:
    import torch

_LARGEST = 10_000  # the rows or columns of the largest preconditioner


@dataclass(frozen=True, kw_only=True)
class Settings:
    """SOAP's settings, with the paper's defaults.

    ``beta1`` is the decay of the mean of gradients;
    ``decay`` is the decay of the mean of their squares and of the preconditioner;
    ``eps`` is added to the root of the second moment;
    ``every`` is the number of steps between new eigenbases.
    """

    beta1: Annotated[float, Number("decay of the mean of gradients", low=0, below=1)] = 0.95
    decay: Annotated[float, Number("decay of the mean of squares", low=0, below=1)] = 0.95
    eps: Annotated[float, Number("SOAP's epsilon", above=0, high=1)] = 1e-8
    every: Annotated[int, Number("steps between new eigenbases", low=1, high=10_000)] = 10


def make(
    groups: list[dict[str, Any]], optim: OptimSpec, settings: Settings, device: str
) -> torch.optim.Optimizer:
    """SOAP over parameter groups, with decoupled weight decay."""
    from pytorch_optimizer import SOAP

    assert optim.beta1 is not None and optim.eps is not None
    matrices, rest = hidden_matrices(groups)
    optimizer: torch.optim.Optimizer = SOAP(
        [
            *({**group, "max_precondition_dim": _LARGEST} for group in matrices),
            *({**group, "max_precondition_dim": 0} for group in rest),
        ],
        lr=optim.lr,
        betas=(optim.beta1, settings.decay),
        eps=optim.eps,
        precondition_frequency=settings.every,
    )
    return optimizer


# A matrix [A, B] has two moments and two bases with their statistics: 8 A B + 8 (A^2 + B^2) bytes;
# 42 a weight where one side is four times the other.
OPTIMIZER = Optimizer(
    make=make,
    state_bytes_per_param=42,
    settings=Settings,
    by_role=True,
    missing=needs("pytorch-optimizer"),
)
