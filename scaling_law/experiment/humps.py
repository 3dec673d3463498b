"""Find where a curve falls, rises to a peak, and falls again."""

from __future__ import annotations

import itertools
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
