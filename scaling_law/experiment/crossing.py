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


def amount_for(losses: Mapping[float, float], loss: float, *, beyond: float = 1.0) -> float | None:
    """Return the tokens at which a curve of losses by tokens reaches ``loss``.

    Between two of its points it is a power law, and that of the last two goes on up to ``beyond``
    times the most tokens. None where the loss is not reached up to there, or is above all others.
    """
    curve = sorted((tokens, -math.log(value)) for tokens, value in losses.items())
    if not curve or curve[0][1] >= -math.log(loss):
        return None
    if len(curve) > 1 and beyond > 1:
        (fewer, before), (most, last) = curve[-2:]
        slope = (last - before) / math.log(most / fewer)
        curve.append((most * beyond, last + slope * math.log(beyond)))
    return crossing(curve, -math.log(loss))
