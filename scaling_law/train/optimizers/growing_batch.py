"""AdamW whose batch grows along training: an update takes the mean gradient of more and more steps.

A step's batch is the config's; an update takes ``first`` steps of it, and twice as many each time
``double_after`` steps have passed, up to ``last``. Its learning rate is that of its last step times
its steps to the power ``lr_power``: with 0.5 it goes with the root of the batch. Horizons, curves
and the schedule count steps, not updates, and ``grad_clip`` clips the gradient of each step. Steps
that no update has taken when the run ends have trained nothing, so a horizon should be whole
updates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.values import Number
from scaling_law.train.optimizers import Optimizer, adamw

if TYPE_CHECKING:
    import torch

_MOST = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Settings(adamw.Settings):
    """AdamW's settings, and how the batch grows.

    ``first`` are the steps of an update at the start, and ``last`` the most; one batch throughout
    where they are equal;
    ``double_after`` are the steps after which an update takes twice as many;
    ``lr_power`` is the power of an update's steps that its learning rate goes with.
    """

    first: Annotated[int, Number("steps of the first update", low=1, high=_MOST)] = 1
    last: Annotated[int, Number("most steps of an update", low=1, high=_MOST)] = 1
    double_after: Annotated[int, Number("steps until they double", low=1)] = 1000
    lr_power: Annotated[float, Number("power of an update's steps", low=0, high=1)] = 0.5

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"last {self.last} is below first {self.first}")


def make(
    groups: list[dict[str, Any]], optim: OptimSpec, settings: Settings, device: str
) -> torch.optim.Optimizer:
    """AdamW over parameter groups, that updates after several steps."""
    from scaling_law.train.optimizers._growing_batch import GrowingBatch

    assert optim.beta1 is not None and optim.beta2 is not None and optim.eps is not None
    return GrowingBatch(
        groups,
        first=settings.first,
        last=settings.last,
        double_after=settings.double_after,
        lr_power=settings.lr_power,
        lr=optim.lr,
        betas=(optim.beta1, optim.beta2),
        eps=optim.eps,
    )


OPTIMIZER = Optimizer(make=make, state_bytes_per_param=12, settings=Settings)
