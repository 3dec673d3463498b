"""How well two orders of the same things agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, correlation

from scaling_law.experiment.seeds import LEVEL
from scaling_law.units import count_of

FEWEST = 5  # things to order; with fewer the interval spans almost all


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Spearman's rank correlation.

    ``value`` is 1 for one order, -1 for the opposite;
    ``interval`` is its (low, high) at ``LEVEL``; ``count`` is how many things were ordered.
    """

    value: float
    interval: tuple[float, float]
    count: int

    @property
    def text(self) -> str:
        """``rank correlation 0.93 (0.75 to 0.98)``."""
        low, high = self.interval
        return f"rank correlation {self.value:.2f} ({low:.2f} to {high:.2f})"


def rank_correlation(here: Sequence[float], there: Sequence[float]) -> RankCorrelation | str:
    """Return the rank correlation of pairs, or why they have none.

    Its interval is Fisher's, with the standard error of Fieller, Hartley and Pearson 1957
    (Biometrika 44): sqrt(1.06 / (n - 3)).
    """
    if len(here) < FEWEST:
        return f"{count_of(len(here), 'value')} to rank, and it takes {FEWEST}"
    if min(len(set(here)), len(set(there))) == 1:
        return "all values are equal"
    value = correlation(_ranks(here), _ranks(there))
    middle = math.atanh(max(-0.9999, min(0.9999, value)))
    reach = NormalDist().inv_cdf(0.5 + LEVEL / 2) * math.sqrt(1.06 / (len(here) - 3))
    interval = (math.tanh(middle - reach), math.tanh(middle + reach))
    return RankCorrelation(value=value, interval=interval, count=len(here))


def _ranks(values: Sequence[float]) -> list[float]:
    """The place of each value; equal ones share the mean of their places."""
    ordered = sorted(values)
    last = {value: place for place, value in enumerate(ordered)}
    return [(ordered.index(value) + last[value]) / 2 for value in values]
