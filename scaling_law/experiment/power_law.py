"""Fit a power law of one variable, ``factor * x**exponent``, to numbers over seeds.

Its interval is as wide as the means of the seeds scatter about it, so that numbers on no power law
get a wide one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.experiment.seeds import LEVEL
from scaling_law.units import count_of

FEWEST = 3  # values of x, by which two parameters are more than an interpolation


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """A fitted power law.

    ``factor`` is its value at x = 1, in the unit of y;
    ``exponent`` is the exponent, without unit;
    ``interval`` is the exponent's (low, high) at ``LEVEL``, by Student's t;
    ``scatter`` is the standard deviation of log y about the law.
    """

    factor: float
    exponent: float
    interval: tuple[float, float]
    scatter: float

    def at(self, x: float) -> float:
        """The law's value at x."""
        return float(self.factor * x**self.exponent)

    @property
    def text(self) -> str:
        """``exponent -0.73 (-0.9 to -0.56)``."""
        low, high = self.interval
        return f"exponent {self.exponent:.2f} ({low:.2f} to {high:.2f})"


def fit_power_law(values: Mapping[float, Sequence[float]]) -> PowerLaw | str:
    """Return the power law through the numbers at each x, or why they give none.

    Each x counts once, with the mean logarithm of its numbers; an x without numbers counts not.
    """
    from scaling_law.fit.solver.student import t_reach  # loads numpy

    points = [(math.log(x), fmean(map(math.log, group))) for x, group in values.items() if group]
    if len(points) < FEWEST:
        return f"{count_of(len(points), 'value')} to fit a power law to, and it takes {FEWEST}"
    middle_x, middle_y = (fmean(column) for column in zip(*points, strict=True))
    width = sum((x - middle_x) ** 2 for x, _ in points)
    exponent = sum((x - middle_x) * (y - middle_y) for x, y in points) / width
    shift = middle_y - exponent * middle_x
    free = len(points) - 2
    scatter = math.sqrt(sum((y - shift - exponent * x) ** 2 for x, y in points) / free)
    reach = t_reach(free, LEVEL) * scatter / math.sqrt(width)
    return PowerLaw(
        factor=math.exp(shift),
        exponent=exponent,
        interval=(exponent - reach, exponent + reach),
        scatter=scatter,
    )
