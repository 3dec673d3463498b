"""CompleteP for Adam: one learning rate for every width and depth (Dey 2025, arXiv 2505.01618).

It is muP in width. In depth, let m be the number of blocks over ``base_depth``: what each branch
adds to the residual stream is divided by m, which is table 1 there with alpha = 1. Its first
weights have the same scale at every depth, so the factor that architectures divide them by, the
root of twice their depth (GPT-2's rule), is undone beyond ``base_depth``. The learning rate and the
weight decay of matrices in branches change with m^(alpha - 1): not at all. At the base width, head
size and depth all factors are 1, so it equals standard there.

The paper divides Adam's epsilon by m as well; here it is small beside every gradient and stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.architectures.gpt import MAX_LAYERS
from scaling_law.spec.values import Number
from scaling_law.train.parametrisations import Parametrisation, mup


@dataclass(frozen=True, kw_only=True)
class Settings(mup.Settings):
    """CompleteP's settings: those of muP, and a depth.

    ``base_depth`` is the number of blocks at which training equals that of muP.
    """

    base_depth: Annotated[int, Number("blocks where it is muP", low=1, high=MAX_LAYERS)] = 2


def residual(depth: int, settings: Settings) -> float:
    """Branches learn in one direction: their sum grows with their number, not its root."""
    return settings.base_depth / depth


def residual_initial(depth: int, settings: Settings) -> float:
    """First weights keep the scale of the base depth."""
    return math.sqrt(depth / settings.base_depth)


PARAMETRISATION = Parametrisation(
    initial=mup.initial,
    lr=mup.lr,
    output=mup.output,
    attention=mup.attention,
    residual=residual,
    residual_initial=residual_initial,
    refusal=mup.refusal,
    settings=Settings,
)
