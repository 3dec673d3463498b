"""Fit how the probability of an outcome rises with size, where the outcomes identify it.

Each run at a size has the outcome or has not (it solved a task, say), and its probability is
``1 / (1 + (middle / size)**slope)``. Intervals are those of the profile likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from scaling_law.experiment.seeds import LEVEL

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


def fit_sigmoid(outcomes: Mapping[float, Sequence[bool]]) -> Sigmoid | str:
    """Return the sigmoid through the outcomes by size, or why they do not identify one."""
    import numpy as np

    from scaling_law.fit.solver.student import normal_reach

    every = [one for group in outcomes.values() for one in group]
    if not every:
        return "no run has finished"
    if all(every) or not any(every):
        return f"{'every' if all(every) else 'no'} run of {len(every)} has the outcome"
    logs = np.log(np.array([size for size, group in outcomes.items() for _ in group]))
    happened = np.array(every)
    margin = 0.5 * float(np.ptp(logs))
    if not margin:
        return "all runs have one size"
    middles = np.linspace(logs.min() - margin, logs.max() + margin, 201)
    slopes = np.geomspace(*_SLOPES, 201)
    # log-likelihood over (middle, slope), with the sign that makes an outcome's term -log(1 + e^-x)
    signs = np.where(happened, 1.0, -1.0)
    distance = (logs - middles[:, np.newaxis, np.newaxis]) * slopes[:, np.newaxis]
    likelihood = -np.logaddexp(0, -signs * distance).sum(axis=-1)
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


def _deviance_chance(outcomes: Mapping[float, Sequence[bool]], best: float) -> float:
    """The probability of a worse fit, had the outcomes come from the best sigmoid.

    The deviance counts as chi-squared, by the cube root that is close to normal (Wilson and
    Hilferty 1931). The probability is 1 with no more sizes than parameters.
    """
    free = len(outcomes) - 2
    if free < 1:
        return 1.0
    each = 0.0  # the log-likelihood with a share of its own at each size
    for group in outcomes.values():
        count = len(group)
        for part in (sum(group), count - sum(group)):
            each += part * math.log(part / count) if part else 0.0
    spread = 2 / (9 * free)
    root = (max(0.0, 2 * (each - best)) / free) ** (1 / 3)
    return NormalDist().cdf((1 - spread - root) / math.sqrt(spread))


def _ends(inside: Any) -> tuple[int, int]:
    """The first and the last place that is true."""
    import numpy as np

    places = np.flatnonzero(inside)
    return int(places[0]), int(places[-1])
