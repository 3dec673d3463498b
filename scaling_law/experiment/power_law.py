"""Fit how a positive number changes with a size: ``scale * x**slope``, with or without a floor.

Each x has the values of several seeds, whose mean is one point (without a floor the mean of their
logarithms): how far the points lie from the law is the noise of the fit, so that a law that does
not hold has a wide interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.experiment.seeds import LEVEL

_SLOPES = (0.01, 5.0)  # the steepness that a law with a floor may have
_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """A fitted power law.

    ``scale`` is the value above the floor at x = 1, in the unit of the values;
    ``slope`` is the exponent of x, negative where the values fall;
    ``interval`` is its (low, high) at ``LEVEL``;
    ``floor`` is what the values fall to as x grows, 0 where none was fitted;
    ``misfit`` is the root mean square of the relative distance of the points from the law;
    ``points`` is how many x it was fitted to.
    """

    scale: float
    slope: float
    interval: tuple[float, float]
    floor: float
    misfit: float
    points: int

    def at(self, x: float) -> float:
        """The value of the law at x."""
        return float(self.scale * x**self.slope + self.floor)

    @property
    def slope_text(self) -> str:
        """``-0.59 (-0.65 to -0.52)``."""
        low, high = self.interval
        return f"{self.slope:.2f} ({low:.2f} to {high:.2f})"

    def text(self, x: str) -> str:
        """``2.8 n^-0.59 + 0.149``, with the word for ``x``."""
        floor = f" + {self.floor:.3g}" if self.floor else ""
        return f"{self.scale:.3g} {x}^{self.slope:.2f}{floor}"


def fit_power(values: Mapping[float, Sequence[float]]) -> PowerLaw | str:
    """Return the line through the mean logarithms, or why there is none."""
    import numpy as np

    from scaling_law.fit.solver.student import t_reach

    groups = {x: group for x, group in sorted(values.items()) if group}
    if len(groups) < 3:
        return f"there are {len(groups)} sizes, and a slope with an interval takes 3"
    if min(groups) <= 0 or min(map(min, groups.values())) <= 0:
        return "a value is not above 0"
    x, y = np.log(list(groups)), np.array([np.log(group).mean() for group in groups.values()])
    apart = x - x.mean()
    slope = float(apart @ y / (apart @ apart))
    constant = float(y.mean() - slope * x.mean())
    residuals = y - constant - slope * x
    free = len(groups) - 2
    error = math.sqrt(float(residuals @ residuals) / free / float(apart @ apart))
    reach = t_reach(free, LEVEL) * error
    return PowerLaw(
        scale=math.exp(constant),
        slope=slope,
        interval=(slope - reach, slope + reach),
        floor=0.0,
        misfit=math.sqrt(float(np.mean(np.expm1(residuals) ** 2))),
        points=len(groups),
    )


def fit_power_with_floor(values: Mapping[float, Sequence[float]]) -> PowerLaw | str:
    """Return the law of falling values with a floor of at least 0, or why there is none.

    Relative squared errors are least. The interval holds every slope whose best law is no worse
    than Student's t allows (profile).
    """
    import numpy as np

    from scaling_law.fit.solver.student import t_reach

    means = {x: fmean(group) for x, group in sorted(values.items()) if group}
    if len(means) < 4:
        return f"there are {len(means)} sizes, and a law with a floor takes 4"
    if min(means) <= 0 or min(means.values()) <= 0:
        return "a value is not above 0"
    x, y = np.array(list(means)), np.array(list(means.values()))
    steeps = np.geomspace(*_SLOPES, _STEPS)
    # relative to the values: 1 = scale * falls + floor * flat
    falls, flat = (x / x[0]) ** -steeps[:, np.newaxis] / y, 1 / y
    aa, ab, bb = (falls**2).sum(1), falls @ flat, flat @ flat
    a, b = falls.sum(1), flat.sum()
    floors = np.maximum(0, (aa * b - ab * a) / (aa * bb - ab**2))
    scales = (a - floors * ab) / aa
    squares = ((1 - scales[:, np.newaxis] * falls - floors[:, np.newaxis] * flat) ** 2).sum(1)
    best, free = int(np.argmin(squares)), len(means) - 3
    allowed = squares[best] * (1 + t_reach(free, LEVEL) ** 2 / free)
    inside = np.flatnonzero(squares <= allowed)
    if scales[best] <= 0:
        return "the values do not fall"
    if inside[0] == 0 or inside[-1] == _STEPS - 1:
        return "the values do not bound the slope: there are too few sizes, or they lie on no law"
    return PowerLaw(
        scale=float(scales[best] * x[0] ** steeps[best]),
        slope=-float(steeps[best]),
        interval=(-float(steeps[inside[-1]]), -float(steeps[inside[0]])),
        floor=float(floors[best]),
        misfit=math.sqrt(float(squares[best]) / len(means)),
        points=len(means),
    )
