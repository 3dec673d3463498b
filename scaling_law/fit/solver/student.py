"""Intervals by Student's t, for which few independent groups say how wide they are.

The quantiles are computed here, to eleven digits: scipy's would take longer to load than most
forecasts take.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

import numpy as np

# With more degrees of freedom the expansion about the normal quantile is exact to eleven digits.
_MANY = 1000


def normal_reach(level: float) -> float:
    """Return how many standard deviations a normal interval at ``level`` reaches to each side."""
    return NormalDist().inv_cdf(0.5 + level / 2)


@functools.lru_cache(maxsize=256)
def t_reach(free: int, level: float) -> float:
    """Return the standard errors from the middle of an interval at ``level`` to its ends.

    ``free`` are the degrees of freedom. With t = tan(angle) sqrt(free), the share within t is a
    finite sum over powers of cos(angle) (Abramowitz 1964, "Handbook of Mathematical Functions",
    26.7.3 and 26.7.4; for many degrees of freedom 26.7.5).
    """
    if free > _MANY:
        return _expanded(free, normal_reach(level))
    steps = np.arange(1 + free % 2, free - 2, 2)
    factors = np.cumprod(np.concatenate([[1.0], steps / (steps + 1)]))
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = 0.5 * (low + high)
        if _within(angle, free, factors) < level:
            low = angle
        else:
            high = angle
    return math.tan(0.5 * (low + high)) * math.sqrt(free)


def _within(angle: float, free: int, factors: np.typing.NDArray[np.float64]) -> float:
    cosine = math.cos(angle)
    if free % 2:
        powers = cosine ** np.arange(1, free - 1, 2)
        total = angle + math.sin(angle) * float(factors[: len(powers)] @ powers)
        return 2 / math.pi * total
    powers = cosine ** np.arange(0, free - 1, 2)
    return math.sin(angle) * float(factors[: len(powers)] @ powers)


def _expanded(free: int, z: float) -> float:
    return (
        z
        + (z**3 + z) / (4 * free)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    )


def t_over_normal(free: int, level: float) -> float:
    """Return how many times as wide as the normal's an interval at ``level`` is."""
    return t_reach(free, level) / normal_reach(level)
