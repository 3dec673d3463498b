"""Fit how a number goes with another, by a power law with a limit or by a logistic curve.

    power      y = scale * x^-exponent + limit
    logistic   y = scale / (1 + (x / middle)^slope) + limit

``x`` is above 0. ``held_out`` says which of the two predicts points that it was not fitted to.
Errors count as they are, and a curve may rise; ``power_law`` fits falling numbers over seeds by
relative errors, and gives the exponent an interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from scaling_law.units import count_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXPONENTS = (0.01, 50.0)  # sizes that are tried, of either sign
_SLOPES = (0.2, 100.0)
# A middle lies between the smallest x, left of which a logistic curve is a power law, and the
# largest times this.
_MARGIN = 2.0

Points: TypeAlias = Mapping[float, float]  # y by x


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A fitted curve.

    ``text`` is its formula with its numbers; ``params`` are these numbers by name;
    ``at`` gives y at an x.
    """

    text: str
    params: Mapping[str, float]
    at: Callable[[float], float]

    def rms(self, points: Points) -> float:
        """The root mean square of its errors at ``points``."""
        return _rms([y - self.at(x) for x, y in points.items()])


Fit: TypeAlias = Callable[[Points], "Trend | str"]


def fit_power(points: Points, first: float | None = None, most: float = math.inf) -> Trend | str:
    """Return the power law with a limit through the points, or why they do not identify one.

    ``first`` is its value at x = 1, where that is known; the scale then follows from the limit,
    which is at most ``most``.
    """
    import numpy as np

    if len(points) < (least := 4 if first is None else 3):
        return f"{count_of(len(points), 'point')}, and a power law with a limit needs {least}"
    x, y = np.array(list(points)), np.array(list(points.values()))
    sizes = np.geomspace(*_EXPONENTS, 400)
    # with a negative exponent y has no limit
    exponents = np.concatenate([-sizes[::-1], sizes]) if most == math.inf else sizes
    shapes = x ** -exponents[:, np.newaxis]
    at, scale, limit = _solve(shapes, y, first, most)
    exponent = float(exponents[at])
    if abs(exponent) in _EXPONENTS:
        return f"the exponent of the power law is at the end of its range ({exponent:g})"

    def value(x: float) -> float:
        return float(scale * x**-exponent + limit)

    return Trend(
        text=f"{scale:.3g} x^{-exponent:.3g} {limit:+.3g}",
        params={"scale": scale, "exponent": exponent, "limit": limit},
        at=value,
    )


def fit_logistic(points: Points) -> Trend | str:
    """Return the logistic curve through the points, or why they do not identify one."""
    import numpy as np

    if len(points) < 5:
        return f"{count_of(len(points), 'point')}, and a logistic curve needs 5"
    x, y = np.array(list(points)), np.array(list(points.values()))
    middles = np.geomspace(x.min(), x.max() * _MARGIN, 241)
    slopes = np.geomspace(*_SLOPES, 241)
    middle_of, slope_of = (grid.ravel() for grid in np.meshgrid(middles, slopes))
    power = np.log(x / middle_of[:, np.newaxis]) * slope_of[:, np.newaxis]
    at, scale, limit = _solve(0.5 - 0.5 * np.tanh(power / 2), y, None)
    middle, slope = float(middle_of[at]), float(slope_of[at])

    def value(x: float) -> float:
        return scale * (0.5 - 0.5 * math.tanh(math.log(x / middle) * slope / 2)) + limit

    return Trend(
        text=f"{scale:.3g} / (1 + (x / {middle:.3g})^{slope:.3g}) {limit:+.3g}",
        params={"scale": scale, "middle": middle, "slope": slope, "limit": limit},
        at=value,
    )


def held_out(fit: Fit, points: Points) -> float | str:
    """Return the rms error at points that the curve is fitted without, each in its turn.

    The point of the smallest x is always fitted. A reason instead where a fit gives one.
    """
    errors = []
    for left_out in sorted(points)[1:]:
        trend = fit({x: y for x, y in points.items() if x != left_out})
        if isinstance(trend, str):
            return trend
        errors.append(points[left_out] - trend.at(left_out))
    return _rms(errors) if errors else "one point"


def _rms(errors: Sequence[float]) -> float:
    return math.sqrt(sum(error**2 for error in errors) / len(errors))


def _solve(
    shapes: NDArray[Any], y: NDArray[Any], first: float | None, most: float = math.inf
) -> tuple[int, float, float]:
    """The shape of least squares, and its y = scale * shape + limit.

    Where ``first`` is given, a shape is 1 where y is that, and the limit at most ``most``.
    """
    import numpy as np

    from scaling_law.experiment.with_limit import solve

    if first is None:
        misses, scales, limits = solve(shapes, y, np.ones(len(y)))
    else:
        off = shapes - 1
        squares = (off**2).sum(axis=1)
        scales = np.divide(
            off @ (y - first), squares, out=np.zeros(len(off)), where=squares > 1e-12
        ).clip(min=first - most)
        misses = ((y - first - scales[:, np.newaxis] * off) ** 2).sum(axis=1)
        limits = first - scales
    best = int(misses.argmin())
    return best, float(scales[best]), float(limits[best])
