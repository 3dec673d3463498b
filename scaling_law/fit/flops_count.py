"""The FLOPs of a table, or of a user's own trainer, over 6 * params * tokens, by size.

Laws of params and tokens spend 6ND. Such FLOPs count attention, embeddings or recomputation as
well, so that a target in FLOPs means them: it is read by the factor that the runs have at that
size, and beyond their sizes by that of the nearest.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.points.stated import STATED

GIVEN = "as given"
# FLOPs that only their source can count, and how texts call them.
COUNTED_BY_SOURCE = {GIVEN: "as the table counts them", STATED: STATED}
_MOST_SIZES = 32
# Closer to 6ND than this, FLOPs are 6ND: they were rounded.
_SAME_LOG = 1e-3
_ROUNDS = 100
_SETTLED_LOG = 1e-12

Knots = tuple[tuple[float, float], ...]


def flops_knots(points: FitPoints) -> Knots:
    """(params, FLOPs / 6ND) at the sizes of points whose FLOPs their source counts; () for 6ND.

    Neighbouring sizes are taken together where there are many.
    """
    if points.convention.get("flops") not in COUNTED_BY_SOURCE:
        return ()
    log_params = np.log(points.params)
    log_ratio = np.log(points.flops) - math.log(6) - log_params - np.log(points.tokens)
    if float(np.abs(log_ratio).max()) < _SAME_LOG:
        return ()
    sizes = np.unique(log_params)
    groups = np.array_split(sizes, min(len(sizes), _MOST_SIZES))
    of_group = [np.isin(log_params, group) for group in groups]
    return tuple(
        (math.exp(float(log_params[own].mean())), math.exp(float(np.median(log_ratio[own]))))
        for own in of_group
    )


@dataclass(frozen=True)
class FlopsCount:
    """How FLOPs are counted, over 6ND.

    ``knots``: (params, factor), by size; () for 6ND itself.
    """

    knots: Knots = ()

    def factor(self, params: float) -> float:
        """FLOPs over 6ND at a size."""
        if not self.knots:
            return 1.0
        place = bisect.bisect_left([size for size, _ in self.knots], params)
        if place in (0, len(self.knots)):
            return self.knots[min(place, len(self.knots) - 1)][1]
        (low, first), (high, second) = self.knots[place - 1 : place + 1]
        share = math.log(params / low) / math.log(high / low)
        return math.exp((1 - share) * math.log(first) + share * math.log(second))

    def in_6nd(self, flops: float, params_of: Callable[[float], float]) -> float:
        """6ND of FLOPs as they are counted; ``params_of(6ND)`` is the size that spends them."""
        plain = flops
        for _ in range(_ROUNDS if self.knots else 0):
            before, plain = plain, flops / self.factor(params_of(plain))
            if abs(math.log(plain / before)) < _SETTLED_LOG:
                break
        return plain
