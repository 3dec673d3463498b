"""Find where a curve falls, rises to a peak, and falls again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Hump:
    """A fall, a rise and a fall.

    ``before`` and ``after`` are the lowest values before and after the highest one, ``peak``, which
    is at ``x``.
    """

    before: float
    peak: float
    after: float
    x: float


def hump_of(points: Sequence[tuple[float, float]]) -> Hump | None:
    """Return the highest value after the first rise, with the lowest on both sides.

    ``points`` are (x, value), by x. None where the values never rise.
    """
    values = [value for _, value in points]
    rises = (i for i, (now, then) in enumerate(itertools.pairwise(values)) if then > now)
    if (start := next(rises, None)) is None:
        return None
    top = max(range(start, len(values)), key=values.__getitem__)
    return Hump(min(values[: top + 1]), values[top], min(values[top:]), points[top][0])


def peak_lead(
    points: Sequence[tuple[float, float]], low: float, high: float, *, times: float
) -> float:
    """Return the log of the factor by which the highest value from ``low`` to ``high`` is a peak.

    ``points`` are (x, value), by x, of which one at least lies there; values are above 0. The peak
    is compared with the largest of ``times`` the lowest value on either side, and the values
    elsewhere from the first rise on: the lead is above 0 for a peak that is there and nowhere else.
    """
    top = max((point for point in points if low <= point[0] <= high), key=lambda point: point[1])
    sides = (
        [value for x, value in points if x <= top[0]],
        [value for x, value in points if x >= top[0]],
    )
    rise = next((now[0] for now, then in itertools.pairwise(points) if then[1] > now[1]), math.inf)
    elsewhere = [value for x, value in points if x > rise and not low <= x <= high]
    return math.log(top[1] / max(*(times * min(side) for side in sides), *elsewhere))


def swing(points: Sequence[tuple[float, float]], *, rise: float, fall: float) -> float:
    """Return the log of how far values rise to their hump and fall again, over what counts.

    ``points`` are (x, value), by x; values are above 0. ``rise`` is the share of the lowest value
    before by which a rise counts, ``fall`` that of the peak. The smaller of both decides; it is
    below 0 where the values never rise.
    """
    hump = hump_of(points)
    rises, falls = (hump.peak / hump.before, hump.peak / hump.after) if hump else (1.0, 1.0)
    return math.log(min(rises / (1 + rise), falls * (1 - fall)))
