"""The tangent-kernel limit for gradient descent (Jacot 2018, arXiv 1806.07572).

There a weight is multiplied by 1/sqrt(fan-in) in the model instead of starting at that scale. A
step of gradient descent is then that of the standard parametrisation with a learning rate divided
by the fan-in, which is what this file does, with all factors 1 at ``base_width``. As the width
grows, the outputs learn at one speed while each weight moves less and less.

It is for gradient descent, with or without momentum: steps of Adam do not scale with the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.values import MAX_WIDTH, Number
from scaling_law.train.parametrisations import Parametrisation, Role


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the limit.

    ``base_width`` is the width at which training equals that of the standard parametrisation.
    """

    base_width: Annotated[int, Number("width where it is standard", low=1, high=MAX_WIDTH)] = 64


def lr(role: Role, width: int, settings: Settings) -> float:
    """Weights that read the width learn more slowly the wider the model."""
    return 1.0 if role == "input" else settings.base_width / width


PARAMETRISATION = Parametrisation(
    initial=lambda role, width, settings: 1.0,
    lr=lr,
    output=lambda width, settings: 1.0,
    attention=lambda head_size, settings: 1.0,
    settings=Settings,
)
