"""Where a measured curve crosses a level, by straight lines in the logarithm of x."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def crossing(curve: Sequence[tuple[float, float]], level: float) -> float | None:
    """Return the x at which a curve first rises above ``level``, None where it never does."""
    before: tuple[float, float] | None = None
    for x, y in sorted(curve):
        if y > level:
            if before is None or y == before[1]:
                return x
            share = (level - before[1]) / (y - before[1])
            return float(before[0] * (x / before[0]) ** share)
        before = (x, y)
    return None


def amount_for(losses: Mapping[float, float], loss: float) -> float | None:
    """Return the tokens at which a curve of losses by tokens reaches ``loss``.

    Between two of its points it is a power law. None where the loss is not between two of them.
    """
    curve = [(tokens, -math.log(value)) for tokens, value in losses.items()]
    if not curve or min(curve)[1] >= -math.log(loss):
        return None
    return crossing(curve, -math.log(loss))
