"""Fit how a number grows above a critical size: ``factor * (size / threshold - 1)**exponent``.

The threshold and the exponent trade off against each other, so that both are refused where the
numbers do not determine them. Intervals are those of the profile likelihood, with the scatter of
the sizes' means about the curve as noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.experiment.seeds import LEVEL
from scaling_law.units import count_of

FEWEST = 5  # sizes, for three parameters and a scatter
# Thresholds that are tried, as shares of the smallest size. Far below it the curve is a power law
# of the size.
_THRESHOLDS = (0.02, 0.995)
_EXPONENTS = (0.02, 8.0)
SIMULATED = 20  # sets of runs of a simulation
_WIDE = 4.0  # upper end over lower end of an exponent's interval that determines nothing


@dataclass(frozen=True, kw_only=True)
class Critical:
    """A fitted critical size.

    ``threshold`` is the size at which the curve starts, in the unit of the sizes;
    ``threshold_interval`` is its (low, high) at ``LEVEL``;
    ``exponent`` is the critical exponent, without unit;
    ``exponent_interval`` is its (low, high) at ``LEVEL``;
    ``factor`` is the value at twice the threshold, in the unit of the numbers.
    """

    threshold: float
    threshold_interval: tuple[float, float]
    exponent: float
    exponent_interval: tuple[float, float]
    factor: float

    def at(self, size: float) -> float:
        """The curve at a size; 0 up to the threshold."""
        above = max(0.0, size / self.threshold - 1)
        return float(self.factor * above**self.exponent)


def fit_critical(values: Mapping[float, Sequence[float]]) -> Critical | str:
    """Return the curve through positive numbers by size, or why they do not determine it.

    Each size counts once, with the mean logarithm of its numbers.
    """
    import numpy as np

    from scaling_law.fit.solver.student import t_reach

    means = {size: fmean(map(math.log, group)) for size, group in values.items() if group}
    if len(means) < FEWEST:
        return f"{count_of(len(means), 'size')} to fit a critical size to, and it takes {FEWEST}"
    sizes, logs = np.array(list(means)), np.array(list(means.values()))
    low, high = _THRESHOLDS
    gaps = np.geomspace(1 - high, 1 - low, 240)  # fine where the threshold is near the first size
    thresholds = sizes.min() * (1 - gaps)
    exponents = np.geomspace(*_EXPONENTS, 240)
    above = np.log(sizes / thresholds[:, np.newaxis] - 1)
    rest = logs - exponents[:, np.newaxis, np.newaxis] * above
    shifts = rest.mean(axis=-1)
    squares = ((rest - shifts[..., np.newaxis]) ** 2).sum(axis=-1)  # [exponents, thresholds]
    best = np.unravel_index(np.argmin(squares), squares.shape)
    free = len(means) - 3
    near = squares <= squares[best] * (1 + t_reach(free, LEVEL) ** 2 / free) + 1e-12
    of_threshold, of_exponent = np.flatnonzero(near.any(axis=0)), np.flatnonzero(near.any(axis=1))
    # up to the first values that are excluded, for the best may lie between two that are tried
    threshold_interval = (
        float(thresholds[min(of_threshold[-1] + 1, len(thresholds) - 1)]),
        float(thresholds[max(of_threshold[0] - 1, 0)]),
    )
    exponent_interval = (
        float(exponents[max(of_exponent[0] - 1, 0)]),
        float(exponents[min(of_exponent[-1] + 1, len(exponents) - 1)]),
    )
    if of_threshold[-1] == len(thresholds) - 1:
        return "a power law of the size without a threshold describes the numbers as well"
    if of_threshold[0] == 0:
        return (
            f"the threshold may lie right below the smallest size, {sizes.min():g}, whose number"
            " alone then decides the exponent"
        )
    if of_exponent[0] == 0 or exponent_interval[1] > _WIDE * exponent_interval[0]:
        return (
            f"the exponent may be anything from {exponent_interval[0]:.2g} to"
            f" {exponent_interval[1]:.2g}"
        )
    return Critical(
        threshold=float(thresholds[best[1]]),
        threshold_interval=threshold_interval,
        exponent=float(exponents[best[0]]),
        exponent_interval=exponent_interval,
        factor=float(np.exp(shifts[best])),
    )


def identified_share(
    noise: Mapping[float, float], *, threshold: float, exponent: float, seeds: int
) -> float:
    """Return how often runs at some sizes would determine a critical size and exponent.

    The runs are simulated: each seed's number lies on the curve of this threshold and exponent,
    times a factor whose logarithm has the standard deviation that ``noise`` gives for the size. As
    in an analysis, each size counts with the median of its seeds. The random numbers are always the
    same.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    above = {size: spread for size, spread in noise.items() if size > threshold}
    sizes, spreads = np.array(list(above)), np.array(list(above.values()))
    curve = (sizes / threshold - 1) ** exponent
    held = 0
    for _ in range(SIMULATED):
        factors = np.exp(spreads * rng.standard_normal((seeds, len(sizes))))
        middles = np.median(factors, axis=0) * curve
        values = {float(size): [float(y)] for size, y in zip(sizes, middles, strict=True)}
        held += isinstance(fit_critical(values), Critical)
    return held / SIMULATED
