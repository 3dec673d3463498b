"""Fit how the probability of an outcome rises with size, where the outcomes identify it.

Each run at a size has the outcome or has not (it solved a task, say), and its probability is
``1 / (1 + (middle / size)**slope)``. Intervals are those of the profile likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scaling_law.experiment.seeds import LEVEL, chi_squared_chance

_SLOPES = (0.05, 200.0)  # the range of slopes that are tried
_MISFIT = 0.05  # probability below which a sigmoid does not describe the outcomes


@dataclass(frozen=True, kw_only=True)
class Sigmoid:
    """A fitted sigmoid.

    ``middle`` is the size at which half of the runs have the outcome, in the unit of the sizes;
    ``middle_interval`` is its (low, high) at ``LEVEL``;
    ``slope`` is the exponent, without unit;
    ``slope_interval`` is its (low, high) at ``LEVEL``.
    """

    middle: float
    middle_interval: tuple[float, float]
    slope: float
    slope_interval: tuple[float, float]

    def at(self, size: float) -> float:
        """The probability of the outcome at a size."""
        return float(1 / (1 + (self.middle / size) ** self.slope))


@dataclass(frozen=True, kw_only=True)
class Middle:
    """Where half of the runs have the outcome, by what outcomes say so far.

    ``value`` is the median of the posterior, in the unit of the sizes;
    ``interval`` is its (low, high) at ``LEVEL``, half of the rest on each side.
    """

    value: float
    interval: tuple[float, float]

    @property
    def factor(self) -> float:
        """The interval's upper end over its lower one."""
        return self.interval[1] / self.interval[0]


def middle_within(outcomes: Mapping[float, Sequence[bool]], low: float, high: float) -> Middle:
    """Return the middle of the sigmoid, if it lies between two sizes, from any outcomes.

    Before the first outcome every place between the two is as likely by its logarithm, and every
    slope from one that takes the whole range to a jump.
    """
    import numpy as np

    middles = np.linspace(np.log(low), np.log(high), 401)
    slopes = np.geomspace(4 / np.log(high / low), _SLOPES[1], 61)
    likelihood = _likelihood(outcomes, middles, slopes)
    weights = np.exp(likelihood - likelihood.max()).sum(axis=1)
    below = (np.cumsum(weights) - weights / 2) / weights.sum()
    first, middle, last = np.interp([0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2], below, middles)
    return Middle(value=float(np.exp(middle)), interval=(float(np.exp(first)), float(np.exp(last))))


def fit_sigmoid(outcomes: Mapping[float, Sequence[bool]]) -> Sigmoid | str:
    """Return the sigmoid through the outcomes by size, or why they do not identify one."""
    import numpy as np

    from scaling_law.fit.solver.student import normal_reach

    every = [one for group in outcomes.values() for one in group]
    if not every:
        return "no run has finished"
    if all(every) or not any(every):
        return f"{'every' if all(every) else 'no'} run of {len(every)} has the outcome"
    logs = np.log(np.array([size for size, group in outcomes.items() if group]))
    margin = 0.5 * float(np.ptp(logs))
    if not margin:
        return "all runs have one size"
    middles = np.linspace(logs.min() - margin, logs.max() + margin, 201)
    slopes = np.geomspace(*_SLOPES, 201)
    likelihood = _likelihood(outcomes, middles, slopes)
    best = np.unravel_index(np.argmax(likelihood), likelihood.shape)
    near = likelihood >= likelihood.max() - normal_reach(LEVEL) ** 2 / 2
    slope_range, middle_range = _ends(near.any(axis=0)), _ends(near.any(axis=1))
    if slope_range[1] == len(slopes) - 1:
        return "the outcomes change too sharply between two sizes for a slope to be bounded"
    if slope_range[0] == 0 or middle_range[0] == 0 or middle_range[1] == len(middles) - 1:
        return "the share of runs with the outcome does not clearly rise with size"
    fit = Sigmoid(
        middle=math.exp(middles[best[0]]),
        middle_interval=(math.exp(middles[middle_range[0]]), math.exp(middles[middle_range[1]])),
        slope=float(slopes[best[1]]),
        slope_interval=(float(slopes[slope_range[0]]), float(slopes[slope_range[1]])),
    )
    if (chance := _deviance_chance(outcomes, float(likelihood.max()))) < _MISFIT:
        return f"the shares lie on no sigmoid (deviance, probability {chance:.2g})"
    return fit


def _likelihood(outcomes: Mapping[float, Sequence[bool]], middles: Any, slopes: Any) -> Any:
    """The log-likelihood over (middle, slope); middles are logarithms."""
    import numpy as np

    total = np.zeros((len(middles), len(slopes)))
    for size, group in outcomes.items():
        distance = (np.log(size) - middles[:, np.newaxis]) * slopes
        right = sum(group)
        # an outcome's term is -log(1 + e^-x), that of a run without it -log(1 + e^x)
        total -= right * np.logaddexp(0, -distance)
        total -= (len(group) - right) * np.logaddexp(0, distance)
    return total


def _deviance_chance(outcomes: Mapping[float, Sequence[bool]], best: float) -> float:
    """The probability of a worse fit, had the outcomes come from the best sigmoid.

    The deviance counts as chi-squared. The probability is 1 with no more sizes than parameters.
    """
    free = len(outcomes) - 2
    if free < 1:
        return 1.0
    each = 0.0  # the log-likelihood with a share of its own at each size
    for group in outcomes.values():
        count = len(group)
        for part in (sum(group), count - sum(group)):
            each += part * math.log(part / count) if part else 0.0
    return chi_squared_chance(max(0.0, 2 * (each - best)), free)


def _ends(inside: Any) -> tuple[int, int]:
    """The first and the last place that is true."""
    import numpy as np

    places = np.flatnonzero(inside)
    return int(places[0]), int(places[-1])
