"""Say over which values of one quantity the loss is within a share of its best.

    basin = basin_of(losses, 0.01)       # {aspect ratio: {seed: log loss}}
    basin.text                           # a factor of 12.3 (9 to 17, 3 seeds)

Between values the logarithm of the loss is a straight line in the logarithm of the quantity. The
basin is that of the mean over seeds, and its interval is by the jackknife. The lowest of a seed's
own losses lies too low by its noise, and a basin from there up is too narrow: a mean of such basins
has intervals at 90% that hold in 60 to 90% of planted cases, the jackknife's in 86% and more.
Losses at best rates have the error of the rate's fit too, which all seeds share: ``fits`` are
these, by value.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType
from typing import TypeAlias

from scaling_law.experiment.seeds import Mean, best_on_others
from scaling_law.experiment.standard_error import (
    StandardError,
    jackknifed_at_best,
    mean_at_best,
    through_fits,
)

# The logarithm of the loss, by seed, of each value of one quantity, rising.
Line: TypeAlias = Mapping[float, Mapping[int, float]]
# The error of each value's log losses that all seeds share.
Fits: TypeAlias = Mapping[float, StandardError]
_NO_FITS: Fits = MappingProxyType({})  # losses at rates that were chosen beforehand


@dataclass(frozen=True, kw_only=True)
class Basin:
    """The values of a quantity whose losses are within a share of the best.

    ``factor`` is that between its ends, with its interval over seeds;
    ``bests`` are the value of lowest mean loss, and those without each of the seeds;
    ``inside`` is whether the mean losses rise beyond the share on both sides, without any seed too.
    """

    factor: Mean
    bests: tuple[float, ...]
    inside: bool

    @property
    def text(self) -> str:
        """``a factor of 12.3 (9 to 17, 3 seeds)``, and whether that is all of it."""
        bound = "" if self.inside else "at least "
        return f"{bound}a factor of {self.factor.text}"


def common_seeds(line: Line) -> list[int]:
    """The seeds that every value of a line has."""
    return sorted(set.intersection(*map(set, line.values()))) if line else []


def basin_of(line: Line, share: float, fits: Fits = _NO_FITS) -> Basin | None:
    """The basin of a line, by straight lines in the logarithm between values; None below two."""
    seeds = common_seeds(line)
    if len(line) < 2 or not seeds:
        return None
    log, best, inside = _whole(line, seeds, share)
    rests = [[one for one in seeds if one != seed] for seed in seeds]
    fewer = [_whole(line, rest, share) for rest in rests if rest]
    errors = through_fits(lambda moved: _whole(moved, seeds, share)[0], line, fits)
    return Basin(
        factor=jackknifed_at_best(log, [own for own, _, _ in fewer], errors).factor,
        bests=(best, *(own for _, own, _ in fewer)),
        inside=inside and all(own for _, _, own in fewer),
    )


def _whole(line: Line, seeds: Sequence[int], share: float) -> tuple[float, float, bool]:
    """The log factor, the best value and whether both ends are seen, of the mean over seeds."""
    points = [(math.log(x), fmean(levels[seed] for seed in seeds)) for x, levels in line.items()]
    place = min(range(len(points)), key=lambda index: points[index][1])
    limit = points[place][1] + math.log1p(share)
    low, left = _end(points[place::-1], limit)
    high, right = _end(points[place:], limit)
    return high - low, list(line)[place], left and right


def _end(points: Sequence[tuple[float, float]], limit: float) -> tuple[float, bool]:
    """Where the losses first pass a limit, and whether they do; else the last place."""
    for (near, below), (far, above) in itertools.pairwise(points):
        if above > limit:
            return near + (far - near) * (limit - below) / (above - below), True
    return points[-1][0], False


def spread_of(line: Line, fits: Fits = _NO_FITS) -> Mean | None:
    """The share by which the highest loss of a line is above the lowest, over seeds.

    The largest of noisy losses less the smallest grows with their number, though all are equal. So
    the two values are chosen on the other seeds, and their losses are those of the seed that chose
    neither: noise then moves them up as often as down. Where the other seeds choose wrongly, the
    share is too low, by less than their noise. The error of a fit is that of all seeds, so that the
    choice does not escape it: of equal losses at best rates, intervals at 90% hold 0 in 85% of
    planted cases. None below two values or two seeds.
    """
    seeds = common_seeds(line)
    if len(line) < 2 or len(seeds) < 2:
        return None

    def read(moved: Line) -> list[float]:
        lowest = best_on_others([{seed: by[seed] for seed in seeds} for by in moved.values()])
        highest = best_on_others([{seed: -by[seed] for seed in seeds} for by in moved.values()])
        return [math.expm1(-highest[seed] - lowest[seed]) for seed in seeds]

    return _with_fits(read, line, fits)


def _with_fits(read: Callable[[Line], list[float]], line: Line, fits: Fits) -> Mean | None:
    """The mean of one value a seed that a line gives, with the errors of its fits."""
    return mean_at_best(read(line), through_fits(lambda moved: fmean(read(moved)), line, fits))


def above_best(line: Line, x: float, fits: Fits = _NO_FITS) -> Mean | None:
    """The share by which the loss at one value of a line is above the best, over seeds.

    The best value is chosen on the other seeds, as in ``spread_of``. None below two seeds.
    """
    seeds = common_seeds(line)
    if len(seeds) < 2:
        return None

    def read(moved: Line) -> list[float]:
        best = best_on_others([{seed: by[seed] for seed in seeds} for by in moved.values()])
        return [math.expm1(moved[x][seed] - best[seed]) for seed in seeds]

    return _with_fits(read, line, fits)
