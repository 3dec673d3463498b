"""How far a law misses what it is fitted to, in units of the error that seeds leave.

    missed = misfit_of(squares, free=8, error=0.0026, noise_free=18)
    missed.text                # 1.15 times the error of seeds (0.77 to 2.18)

The root mean square of the distances alone is a point: with few cells, or few seeds, a law that
holds lies far from them by chance, and a law that does not lies near.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scaling_law.experiment.seeds import LEVEL
from scaling_law.fit.solver.incomplete_beta import f_chance

_WIDEST = 1e6  # factor of the ratio within which its ends are looked for


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """The distance from a law over the error of one cell's mean.

    ``ratio`` is their ratio: 1 where a law holds, and the seeds alone move the cells;
    ``interval`` is its (low, high) at ``LEVEL``.
    """

    ratio: float
    interval: tuple[float, float]

    @property
    def text(self) -> str:
        """``1.15 times the error of seeds (0.77 to 2.18)``."""
        low, high = self.interval
        return f"{self.ratio:.2f} times the error of seeds ({low:.2f} to {high:.2f})"


def misfit_of(squares: float, *, free: int, error: float, noise_free: int) -> Misfit:
    """Return how far a law misses its cells, by the sum of the squared distances.

    ``free`` is the number of cells less that of fitted values; ``error`` is the standard error of a
    cell's mean, measured with ``noise_free`` degrees of freedom. Both must be above 0. The ratio of
    the variances is as F is distributed, times its true value; cells count as independent.
    """
    ratio = squares / free / error**2

    def end(chance: float) -> float:
        """The true ratio of variances at which a larger one than ours is so likely."""
        low, high = ratio / _WIDEST, ratio * _WIDEST
        for _ in range(80):
            middle = math.sqrt(low * high)
            less = f_chance(ratio / middle, free, noise_free) < chance
            low, high = (middle, high) if less else (low, middle)
        return math.sqrt(high)

    away = (1 - LEVEL) / 2
    return Misfit(ratio=math.sqrt(ratio), interval=(end(away), end(1 - away)))
