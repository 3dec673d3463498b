"""Combine numbers over seeds: means with intervals, noise, times that some runs never reach.

An experiment repeats each of its settings with several seeds; what it reports of a setting is one
of these. None stands for what the runs do not give.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median

from scaling_law.experiment.evidence import Run
from scaling_law.units import count_of

LEVEL = 0.9  # confidence level of the intervals
# Seeds that show a side by all lying on it: fewer do so by chance too often. It is the least number
# of which more than half of all seeds lie there (``proportion.exact_interval(5, 5)``).
ENOUGH = 5
_EQUAL = 1e-12  # deviation, as a share of the value, up to which values differ by rounding alone


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
        """``1.23 (1.1 to 1.36, 3 seeds)``; equal seeds have no interval that they show."""
        if self.interval is None:
            return f"{self.value:.3g} (one seed)"
        low, high = self.interval
        if _alike(low, high):
            return f"{self.value:.3g} (alike in all {self.seeds} seeds)"
        return f"{self.value:.3g} ({low:.3g} to {high:.3g}, {count_of(self.seeds, 'seed')})"

    @property
    def percent(self) -> str:
        """``+1.23% (+1.10% to +1.36%, 3 seeds)``: of a mean that is a share."""
        if self.interval is None:
            return f"{self.value:+.2%} (one seed)"
        low, high = self.interval
        if _alike(low, high):
            return f"{self.value:+.2%} (alike in all {self.seeds} seeds)"
        return f"{self.value:+.2%} ({low:+.2%} to {high:+.2%}, {self.seeds} seeds)"

    def wider(self, of: int) -> Mean:
        """This mean where it was picked from so many (Bonferroni).

        Its interval must be that of its own seeds by Student's t.
        """
        from scaling_law.fit.solver.student import t_reach  # loads numpy

        if self.interval is None:
            return self
        free = self.seeds - 1
        reach = (self.interval[1] - self.value) / t_reach(free, LEVEL)
        reach *= t_reach(free, 1 - (1 - LEVEL) / of)
        return Mean(
            value=self.value, interval=(self.value - reach, self.value + reach), seeds=self.seeds
        )

    @property
    def factor(self) -> Mean:
        """The factor that this mean, with its interval, is the logarithm of."""
        ends = self.interval and (math.exp(self.interval[0]), math.exp(self.interval[1]))
        return Mean(value=math.exp(self.value), interval=ends, seeds=self.seeds)

    def times(self, factor: float) -> Mean:
        """So many times the factor that this mean, with its interval, is the logarithm of."""
        one = self.factor
        ends = one.interval and (factor * one.interval[0], factor * one.interval[1])
        return Mean(value=factor * one.value, interval=ends, seeds=self.seeds)


def _alike(low: float, high: float) -> bool:
    """Whether two numbers differ by rounding alone."""
    return high - low <= _EQUAL * max(abs(low), abs(high))


def mean_over(
    values: Sequence[float], noise: SeedNoise | None = None, *, of: int = 1
) -> Mean | None:
    """Return the mean of one value a seed; None without any.

    ``noise`` is that of one such value, measured on more runs than these; without it, or where it
    has no degree of freedom, the values say it themselves. ``of`` is the number of means that this
    one was picked from, for being the largest or the farthest from 0: its interval is as wide as
    those of all of them must be to hold at ``LEVEL`` together (Bonferroni).
    """
    from scaling_law.fit.solver.student import t_reach  # loads numpy

    if not values:
        return None
    value, count = fmean(values), len(values)
    interval = None
    if count > 1:
        noise = noise if noise and noise.freedom else pooled_noise([values])
        reach = t_reach(noise.freedom, 1 - (1 - LEVEL) / of) * noise.error(count)
        interval = (value - reach, value + reach)
    return Mean(value=value, interval=interval, seeds=count)


def mean_text(values: Iterable[float]) -> str:
    """The mean of one value a seed with its interval; ``-`` without any."""
    mean = mean_over(list(values))
    return mean.text if mean else "-"


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Return how far ours lie above theirs, of each seed that both have, in the order of seeds."""
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def with_ends(name: str, mean: Mean | None) -> dict[str, float | None]:
    """Return a mean and the ends of its interval as measures: ``NAME``, ``NAME.low``, ``.high``."""
    low, high = mean.interval if mean and mean.interval else (None, None)
    return {name: mean.value if mean else None, f"{name}.low": low, f"{name}.high": high}


def geometric_mean(logs: Sequence[float]) -> Mean:
    """Return the mean of one logarithm a seed, at least one, as a factor with its interval."""
    mean = mean_over(logs)
    assert mean is not None, "there is a seed"
    return mean.factor


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

    def __add__(self, other: SeedNoise) -> SeedNoise:
        """Return both, pooled."""
        return SeedNoise(squares=self.squares + other.squares, freedom=self.freedom + other.freedom)

    @property
    def of_difference(self) -> SeedNoise:
        """The noise of the difference of two values, each with this noise."""
        return SeedNoise(squares=2 * self.squares, freedom=self.freedom)


NO_NOISE = SeedNoise(squares=0.0, freedom=0)  # nothing is known of it


def pooled_noise(groups: Iterable[Sequence[float]], known: SeedNoise | None = None) -> SeedNoise:
    """Return the noise within groups of seeds, pooled.

    ``known`` is noise measured before. A few seeds alone are too sure of a difference.
    """
    noise = known or NO_NOISE
    for values in groups:
        middle = fmean(values)
        squares = sum((value - middle) ** 2 for value in values)
        noise += SeedNoise(squares=squares, freedom=len(values) - 1)
    return noise


def block_noise(arms: Sequence[Sequence[float]]) -> SeedNoise:
    """Return the noise of arms that all have the same seeds: a list of one value a seed for each.

    It is what is left of a value after the mean of its arm and that of its seed, which all arms
    share (two-way analysis of variance). A difference of two arms has the error ``error(n, n)``.
    Of two arms it is the noise of their pairs. Of more it is right where all scatter alike: an arm
    that scatters more than others gets intervals that miss too often.
    """
    arms = [list(values) for values in arms]
    if len(arms) < 2 or len(arms[0]) < 2:
        return NO_NOISE
    whole = fmean(map(fmean, arms))
    of_seed = [fmean(column) - whole for column in zip(*arms, strict=True)]
    squares = sum(
        (value - fmean(values) - shift) ** 2
        for values in arms
        for value, shift in zip(values, of_seed, strict=True)
    )
    return SeedNoise(squares=squares, freedom=(len(arms) - 1) * (len(arms[0]) - 1))


def jackknifed(value: float, without: Sequence[float], *, of: int = 1) -> Mean:
    """Return a number that all seeds together give, with its interval at ``LEVEL``.

    ``without`` are the same number by all seeds but one, one for each seed: none of them for a
    single seed, which has no interval. ``of`` is as in ``mean_over``.
    """
    from scaling_law.fit.solver.student import t_reach  # loads numpy

    count = len(without)
    if count < 2:
        return Mean(value=value, interval=None, seeds=1)
    reach = t_reach(count - 1, 1 - (1 - LEVEL) / of) * jackknife_deviation(without)
    return Mean(value=value, interval=(value - reach, value + reach), seeds=count)


def jackknife_deviation(without: Sequence[float]) -> float:
    """Return the standard error of a number, by its values without each of the seeds."""
    count, middle = len(without), fmean(without)
    return math.sqrt((count - 1) / count * sum((one - middle) ** 2 for one in without))


def chi_squared_chance(value: float, free: int) -> float:
    """Return the probability of a larger chi-squared with ``free`` degrees of freedom.

    Cube roots count as normal (Wilson and Hilferty 1931).
    """
    spread = 2 / (9 * free)
    return NormalDist().cdf((1 - spread - (value / free) ** (1 / 3)) / math.sqrt(spread))


def best_on_others(choices: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the losses of the best of some choices, by seed, which the choice does not flatter.

    ``choices`` are losses by seed. Of each seed it is the loss of the choice that is best on
    average over the other seeds, of those that have all choices; of a single choice all seeds
    count. {} where fewer than two seeds have all of several choices.
    """
    if len(choices) == 1:
        return dict(choices[0])
    seeds = set.intersection(*map(set, choices)) if choices else set()
    if len(seeds) < 2:
        return {}
    return {
        seed: min(choices, key=lambda by: fmean(by[one] for one in seeds - {seed}))[seed]
        for seed in sorted(seeds)
    }


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


def log_falls(pairs: Sequence[tuple[Time, Time]]) -> list[float] | None:
    """Return by how much the log of the second time is below that of the first, by pair.

    A run that never got there counts with the steps it was measured for, which its time exceeds: a
    bound. None where bounds leave the direction open, or point away from the other pairs.
    """
    falls = []
    for before, after in pairs:
        fall = math.log((before.step or before.within) / (after.step or after.within))
        # the bound holds only on the side of the run that never got there
        bound = [time.step is None for time in (before, after)]
        if all(bound) or (bound[0] and fall < 0) or (bound[1] and fall > 0):
            return None
        falls.append(fall)
    bounded = any(time.step is None for pair in pairs for time in pair)
    return None if bounded and min(falls) <= 0 <= max(falls) else falls


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


def no_error(values: Sequence[float], noise: SeedNoise | None = None) -> str:
    """Return why values, one a seed, carry no estimate of their error; "" where they do.

    Equal values have an interval of no width. Of few seeds that says how finely the value is
    counted, or that the seeds share it, not that another seed would give the same. ``noise`` is as
    in ``mean_over``. Zeros need no estimate: they lie on no side.
    """
    if len(values) < 2 or not any(values):
        return ""
    noise = noise if noise and noise.freedom else pooled_noise([values])
    if noise.freedom + 1 >= ENOUGH or noise.deviation > _EQUAL * max(map(abs, values)):
        return ""
    if min(values) == max(values):
        side = ((1 - LEVEL) / 2) ** (1 / len(values))  # Clopper and Pearson, as in ``proportion``
        return (
            f"all {len(values)} seeds give one value, which says nothing of its error: they show"
            f" the side of {side:.0%} of seeds or more, and {ENOUGH} would show that of most"
        )
    return f"a spread of 0 by {count_of(noise.freedom, 'difference')} says nothing of the error"


def beyond_error(
    values: Sequence[float], noise: SeedNoise | None = None, *, of: int = 1
) -> bool | None:
    """Return True where one value a seed lies above 0, False where below, None where that is open.

    It lies on a side where the interval of ``mean_over(values, noise, of=of)`` does. Values
    that all share a sign count too where that happens by chance alone as rarely as the interval
    misses, with ``ENOUGH`` seeds or more: among fewer, a shared sign says little. One seed decides
    nothing, nor do values of which one is not a number, nor values without an error (``no_error``).
    """
    mean = mean_over(values, noise, of=of)
    if mean is None or mean.interval is None or math.isnan(mean.value) or no_error(values, noise):
        return None
    above, below = bool(min(values) > 0), bool(max(values) < 0)
    if (above or below) and 2 ** (1 - len(values)) <= (1 - LEVEL) / of:
        return above
    low, high = mean.interval
    return None if low <= 0 <= high else bool(low > 0)


def all_beyond_error(
    each: Iterable[Sequence[float]], noise: SeedNoise | None = None, *, of: int = 1
) -> bool | None:
    """Return whether every list of one value a seed lies above 0.

    True where each of them does. False where any lies below: it is picked out of all of them, so
    that its interval must be as wide as those of all together. ``of`` is how many each of them was
    picked from itself. None otherwise, and without any.
    """
    lists = list(each)
    if not lists:
        return None
    if all(beyond_error(values, noise, of=of) for values in lists):
        return True
    below = (beyond_error(values, noise, of=of * len(lists)) is False for values in lists)
    return False if any(below) else None


def difference(ours: Sequence[float], theirs: Sequence[float], *, of: int = 1) -> Mean | None:
    """Return how far the mean of one group lies above that of another, which may have other seeds.

    ``seeds`` are those of the smaller group; groups of one have no interval. Groups may scatter
    differently: each has its own noise, and the degrees of freedom are those of Welch 1947
    (Biometrika 34), rounded down. ``of`` is as in ``mean_over``.
    """
    from scaling_law.fit.solver.student import t_reach  # loads numpy

    if not ours or not theirs:
        return None
    value, seeds = fmean(ours) - fmean(theirs), min(len(ours), len(theirs))
    if seeds < 2:
        return Mean(value=value, interval=None, seeds=seeds)
    squares = [pooled_noise([values]).error(len(values)) ** 2 for values in (ours, theirs)]
    whole = sum(squares)
    parts = sum(own**2 / (len(one) - 1) for own, one in zip(squares, (ours, theirs), strict=True))
    free = int(whole**2 / parts + 1e-9) if parts > 0 else seeds - 1  # 1e-9: rounding loses none
    reach = t_reach(free, 1 - (1 - LEVEL) / of) * math.sqrt(whole)
    return Mean(value=value, interval=(value - reach, value + reach), seeds=seeds)


def by_chance(count: int) -> str:
    """``of 12 such intervals 1.2 miss by chance``: what a list of comparisons must say."""
    return f"of {count} such intervals {count * (1 - LEVEL):.2g} miss by chance"
