"""A standard error with the degrees of freedom that it rests on, and the sum of several.

error = summed([StandardError(of_seeds, 3), StandardError(of_fit, 12)])
error.reach(0.9)         # half the width of an interval by Student's t
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


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
