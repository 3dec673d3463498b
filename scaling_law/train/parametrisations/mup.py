"""muP for Adam: one learning rate for every width (Yang 2022, arXiv 2203.03466, table 8).

Let m be the width over ``base_width``. Hidden matrices start by fan-in, as in standard, and their
learning rate is divided by m. The output matrix starts at every width as it does at the base width,
and the outputs are divided by m. Attention scores are divided by the head size instead of its root.
At the base width and head size all factors are 1, so it equals standard there. A plan takes only
widths that ``base_width`` divides, so that m is a whole number.

The table is for Adam and similar optimizers, whose steps do not scale with the gradient. AdamW's
weight decay is multiplied by the learning rate, so that it pulls at hidden matrices by 1/m as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.values import MAX_WIDTH, Number
from scaling_law.train.parametrisations import Parametrisation, Role


@dataclass(frozen=True, kw_only=True)
class Settings:
    """muP's settings.

    ``base_width`` is the width at which training equals that of the standard parametrisation;
    ``base_head_size`` is the same for the width of an attention head.
    """

    base_width: Annotated[int, Number("width where it is standard", low=1, high=MAX_WIDTH)] = 64
    base_head_size: Annotated[
        int, Number("width of a head where it is standard", low=1, high=MAX_WIDTH)
    ] = 32


def initial(role: Role, width: int, settings: Settings) -> float:
    """Output weights keep the scale of the base width; by fan-in they would shrink."""
    return math.sqrt(width / settings.base_width) if role == "output" else 1.0


def lr(role: Role, width: int, settings: Settings) -> float:
    """Hidden weights learn more slowly the wider the model."""
    return settings.base_width / width if role == "hidden" else 1.0


def output(width: int, settings: Settings) -> float:
    """Outputs are sums over the width that learn in one direction."""
    return settings.base_width / width


def attention(head_size: int, settings: Settings) -> float:
    """Queries and keys align as they learn: their product grows with the size, not its root."""
    return math.sqrt(settings.base_head_size / head_size)


def refusal(width: int, settings: Settings) -> str:
    """A width between two multiples of the base is refused."""
    if width % settings.base_width == 0:
        return ""
    return (
        f"base_width {settings.base_width} does not divide the width {width}; take a width that is"
        " a multiple of it, or a base_width that divides every width of the grid"
    )


PARAMETRISATION = Parametrisation(
    initial=initial,
    lr=lr,
    output=output,
    attention=attention,
    refusal=refusal,
    settings=Settings,
)
