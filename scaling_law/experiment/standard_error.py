"""A standard error with the degrees of freedom that it rests on, and the sum of several.

    error = summed([StandardError(0.002, 3), StandardError(0.001, 12)])
    error.reach(0.9)         # half the width of an interval by Student's t

Losses at a best learning rate, one a seed, share the error of the fit that found the rate: they do
not show it, and differences of them decided by seeds alone are decided by chance in 20 to 30% of
planted cases instead of 10%. ``mean_at_best`` has both. What these errors change in a number that
is read off several such losses is ``through_fits``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias, TypeVar

from scaling_law.experiment.seeds import LEVEL, Mean, jackknife_deviation, pooled_noise

Key = TypeVar("Key")
Logs: TypeAlias = Mapping[Key, Mapping[int, float]]  # log losses by seed, of several places


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


def of_seeds(values: Sequence[float]) -> StandardError:
    """Return the standard error of the mean over seeds, of one value each."""
    noise = pooled_noise([values])
    return StandardError(noise.error(len(values)), noise.freedom)


def mean_at_best(values: Sequence[float], fits: Iterable[StandardError]) -> Mean | None:
    """Return the mean of one value a seed, by the error of seeds and those that all seeds share.

    ``fits`` are the latter, such as ``Tuning.fit_error``, in the unit of the values. None without
    any value; a single one has no interval.
    """
    if not values:
        return None
    value, interval = fmean(values), None
    if len(values) > 1:
        reach = summed([of_seeds(values), *fits]).reach(LEVEL)
        interval = (value - reach, value + reach)
    return Mean(value=value, interval=interval, seeds=len(values))


def jackknifed_at_best(
    value: float, without: Sequence[float], fits: Iterable[StandardError]
) -> Mean:
    """Return a number that all seeds together give, as ``jackknifed`` does, with errors of fits."""
    if len(without) < 2:
        return Mean(value=value, interval=None, seeds=1)
    seeds = StandardError(jackknife_deviation(without), len(without) - 1)
    reach = summed([seeds, *fits]).reach(LEVEL)
    return Mean(value=value, interval=(value - reach, value + reach), seeds=len(without))


def shifted(
    logs: Logs[Key], fits: Mapping[Key, StandardError]
) -> Iterator[tuple[Logs[Key], Logs[Key], StandardError]]:
    """Give the losses with those of one place an error of its fit higher, and lower, and the error.

    A place without an error in ``fits`` stays as it is.
    """
    for place, fit in fits.items():
        if fit.value:
            up, down = (
                {**logs, place: {seed: log + side for seed, log in logs[place].items()}}
                for side in (fit.value, -fit.value)
            )
            yield up, down, fit


def through_fits(
    read: Callable[[Logs[Key]], float], logs: Logs[Key], fits: Mapping[Key, StandardError]
) -> list[StandardError]:
    """Return what the error of each fit changes in a number read off losses at best rates.

    It is half of the difference between the losses there an error higher and an error lower.
    """
    return [
        StandardError(abs(read(up) - read(down)) / 2, fit.freedom)
        for up, down, fit in shifted(logs, fits)
    ]
