"""Numbers are predicted: the square of each error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.objectives import Objective

if TYPE_CHECKING:
    from torch import Tensor


def loss(outputs: Tensor, targets: Tensor, settings: NoSettings) -> Tensor:
    """Return the squared error of each target, [B, T'], from outputs of that shape."""
    return (outputs.to(targets.dtype if outputs.itemsize < 8 else outputs.dtype) - targets).square()


OBJECTIVE = Objective(
    loss=loss,
    unit="squared error",
    comparable="squared_error",
    attention="full",
    targets="numbers",
)
