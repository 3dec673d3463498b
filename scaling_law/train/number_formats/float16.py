"""IEEE's half precision in numbers and gradients, with a fixed loss scale, simulated in fp32.

Gradients below 6e-8 become 0 and those below 6e-5 lose digits, unless the loss is multiplied by a
scale first (Micikevicius 2018, arXiv 1710.03740). ``precision: fp16`` trains in half precision
itself, with a scale that follows the gradients; here the scale can be left out, to see what it is
good for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.spec.values import Number
from scaling_law.train.number_formats import NumberFormat, Rounded

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Settings(Rounded):
    """What is rounded, and the loss scale.

    ``loss_scale`` is what gradients are multiplied by before they are rounded.
    """

    activations: bool = True
    loss_scale: Annotated[float, Number("factor on gradients", above=0, high=1e9)] = 1.0


def rounded(numbers: Tensor, settings: Settings) -> Tensor:
    """The numbers in half precision, without a scale."""
    return numbers.half().to(numbers.dtype)


def gradient(numbers: Tensor, settings: Settings) -> Tensor:
    """The gradients in half precision, after multiplying by the loss scale."""
    return rounded(numbers * settings.loss_scale, settings) / settings.loss_scale


NUMBER_FORMAT = NumberFormat(
    round=rounded, bits=lambda settings: 16, gradient=gradient, slowdown=1.5, settings=Settings
)
