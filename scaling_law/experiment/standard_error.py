"""A standard error with the degrees of freedom that it rests on, and the sum of several.

    error = summed([StandardError(0.002, 3), StandardError(0.001, 12)])
    error.reach(0.9)         # half the width of an interval by Student's t

Losses at a best learning rate, one a seed, share the error of the fit that found the rate: they do
not show it, and differences of them decided by seeds alone are decided by chance in 20 to 30% of
planted cases instead of 10%. ``mean_at_best`` has both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.experiment.seeds import LEVEL, Mean, pooled_noise


@dataclass(frozen=True)
class StandardError:
    """A standard error, in the unit of its value.

    ``freedom`` are the degrees of freedom of the noise that it was measured by.
    """

    value: float
    freedom: int

    def times(self, factor: float) -> StandardError:
        """The error of so many times the value."""
        return StandardError(abs(factor) * self.value, self.freedom)

    def reach(self, level: float, *, of: int = 1) -> float:
        """Half the width of an interval at ``level``; needs a degree of freedom.

        ``of`` is how many values this one was picked from (Bonferroni).
        """
        from scaling_law.fit.solver.student import t_reach  # loads numpy

        return t_reach(self.freedom, 1 - (1 - level) / of) * self.value


def summed(errors: Iterable[StandardError]) -> StandardError:
    """Return the error of a sum of independent values, whose noises may differ.

    The variances add up; the degrees of freedom are Satterthwaite's (1946), rounded down.
    Errors of 0 add nothing, whatever they rest on; without others the sum has the fewest of them.
    """
    parts = list(errors)
    variances = [(one.value**2, one.freedom) for one in parts if one.value]
    if not variances:
        return StandardError(0.0, min((one.freedom for one in parts), default=0))
    if min(freedom for _, freedom in variances) < 1:
        return StandardError(math.sqrt(sum(own for own, _ in variances)), 0)
    whole = sum(own for own, _ in variances)
    # as shares of the whole: the squares of tiny variances would vanish
    squares = sum((own / whole) ** 2 / freedom for own, freedom in variances)
    return StandardError(math.sqrt(whole), max(1, int(1 / squares * (1 + 1e-9))))


def of_seeds(values: Sequence[float]) -> StandardError:
    """Return the standard error of the mean over seeds, of one value each."""
    noise = pooled_noise([values])
    return StandardError(noise.error(len(values)), noise.freedom)


def mean_at_best(values: Sequence[float], fits: Iterable[StandardError]) -> Mean | None:
    """Return the mean of one value a seed, by the error of seeds and those that all seeds share.

    ``fits`` are the latter, such as ``Tuning.fit_error``, in the unit of the values. None without
    any value; a single one has no interval.
    """
    if not values:
        return None
    value, interval = fmean(values), None
    if len(values) > 1:
        reach = summed([of_seeds(values), *fits]).reach(LEVEL)
        interval = (value - reach, value + reach)
    return Mean(value=value, interval=interval, seeds=len(values))
