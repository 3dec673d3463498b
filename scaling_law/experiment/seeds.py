"""Combine numbers over seeds: means with intervals, noise, times that some runs never reach.

An experiment repeats each of its settings with several seeds; what it reports of a setting is one
of these. None stands for what the runs do not give.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median

from scaling_law.experiment.evidence import Run

LEVEL = 0.9  # confidence level of the intervals


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The mean over seeds.

    ``value``: the mean.
    ``interval``: its (low, high) at ``LEVEL`` by Student's t; None with one seed.
    ``seeds``: how many.
    """

    value: float
    interval: tuple[float, float] | None
    seeds: int

    @property
    def text(self) -> str:
        """``1.23 (1.1 to 1.36, 3 seeds)``."""
        if self.interval is None:
            return f"{self.value:.3g} (one seed)"
        low, high = self.interval
        return f"{self.value:.3g} ({low:.3g} to {high:.3g}, {self.seeds} seeds)"


def mean_over(values: Sequence[float]) -> Mean | None:
    """Return the mean of one value a seed; None without any."""
    from scaling_law.fit.solver.student import t_reach  # loads numpy

    if not values:
        return None
    value, count = fmean(values), len(values)
    interval = None
    if count > 1:
        noise = pooled_noise([values])
        reach = t_reach(count - 1, LEVEL) * noise.deviation / math.sqrt(count)
        interval = (value - reach, value + reach)
    return Mean(value=value, interval=interval, seeds=count)


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """What another seed changes.

    ``squares``: sum of the squared differences from the mean of the same setting.
    ``freedom``: degrees of freedom of that sum.
    """

    squares: float
    freedom: int

    @property
    def deviation(self) -> float:
        """The standard deviation from seed to seed; needs at least one degree of freedom."""
        return math.sqrt(self.squares / self.freedom)

    def error(self, *counts: int) -> float:
        """Return the standard error of a difference of means over so many seeds each.

        With one count it is that of a single mean.
        """
        return self.deviation * math.sqrt(sum(1 / count for count in counts))


def pooled_noise(groups: Iterable[Sequence[float]], known: SeedNoise | None = None) -> SeedNoise:
    """Return the noise within groups of seeds, pooled.

    ``known`` is noise measured before. A few seeds alone are too sure of a difference.
    """
    squares, freedom = (known.squares, known.freedom) if known else (0.0, 0)
    for values in groups:
        middle = fmean(values)
        squares += sum((value - middle) ** 2 for value in values)
        freedom += len(values) - 1
    return SeedNoise(squares=squares, freedom=freedom)


def chi_squared_chance(value: float, free: int) -> float:
    """Return the probability of a larger chi-squared with ``free`` degrees of freedom.

    Its cube root counts as normal (Wilson and Hilferty 1931).
    """
    spread = 2 / (9 * free)
    root = (value / free) ** (1 / 3)
    return NormalDist().cdf((1 - spread - root) / math.sqrt(spread))


def median_over(values: Sequence[float | None]) -> float | None:
    """Return the median over seeds, of which None comes after all others; None for none."""
    if not values:
        return None
    middle = median([math.inf if value is None else value for value in values])
    return None if middle == math.inf else float(middle)


@dataclass(frozen=True, kw_only=True)
class Time:
    """When a run first measured something.

    ``step``: the step of that measurement; None where the run never did.
    ``within``: the steps that the run was measured for.
    """

    step: float | None
    within: int

    @property
    def text(self) -> str:
        """``380``, or ``never within 4,000``."""
        return f"never within {self.within:,}" if self.step is None else f"{self.step:g}"


def first_time(run: Run, metric: str, level: float) -> Time | None:
    """Return when ``metric`` first was at least ``level``; None for a run that never measured it.

    The step is that of a measurement, and so late by up to the distance to the one before.
    """
    points = [point for point in run.curve if metric in point.metrics]
    if not points:
        return None
    steps = (float(point.step) for point in points if point.metrics[metric] >= level)
    return Time(step=next(steps, None), within=points[-1].step)


def metric_at(run: Run, metric: str, time: Time) -> float | None:
    """Return the first measurement of ``metric`` from a time on; None where there is none."""
    if time.step is None:
        return None
    points = (point for point in run.curve if metric in point.metrics and point.step >= time.step)
    return next((point.metrics[metric] for point in points), None)


def median_time(times: Sequence[Time]) -> Time | None:
    """Return the median over seeds; a run that never got there comes after all others.

    "Never" is within the steps of the run that was measured for the fewest.
    """
    if not times:
        return None
    within = min(time.within for time in [t for t in times if t.step is None] or times)
    return Time(step=median_over([time.step for time in times]), within=within)


def ratio(later: Time, earlier: Time) -> float | None:
    """Return the ratio of two times; None where either was never reached."""
    if later.step is None or not earlier.step:
        return None
    return later.step / earlier.step


def range_text(values: Iterable[float | None], unit: str = "") -> str:
    """``6.3 to 7.1 times``: the lowest and the highest of the values; "" without any."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return ""
    low, high = f"{min(numbers):.3g}", f"{max(numbers):.3g}"
    return " ".join(filter(None, (low if low == high else f"{low} to {high}", unit)))


def shares(values: Sequence[float]) -> str:
    """``0.93``, or ``0.86 to 0.97``: the lowest and the highest share."""
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def beyond_error(values: Sequence[float]) -> bool | None:
    """Return whether one value a seed is above 0: in every seed, or on average.

    None where seeds lie on both sides of 0 and their mean is no further from it than the mean's own
    interval at ``LEVEL``.
    """
    if min(values) > 0:
        return True
    if max(values) <= 0:
        return False
    mean = mean_over(values)
    if mean is None or mean.interval is None or mean.interval[0] <= 0 <= mean.interval[1]:
        return None
    return mean.value > 0
