"""Say over which values of one quantity the loss is within a share of its best.

    basin = basin_of(losses, 0.01)       # {aspect ratio: {seed: log loss}}
    basin.text                           # a factor of 12.3 (9 to 17, 3 seeds)

Between values the logarithm of the loss is a straight line in the logarithm of the quantity. Each
seed has a best value and a basin of its own, so that what the values share cancels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from scaling_law.experiment.seeds import Mean, best_on_others, geometric_mean, mean_over

# The logarithm of the loss, by seed, of each value of one quantity, rising.
Line: TypeAlias = Mapping[float, Mapping[int, float]]


@dataclass(frozen=True, kw_only=True)
class Basin:
    """The values of a quantity whose losses are within a share of the best.

    ``logs`` are the logarithms of the factor between its ends, by seed;
    ``best`` are the values of lowest loss, by seed;
    ``inside`` is whether the losses rise beyond the share on both sides, in every seed.
    """

    logs: tuple[float, ...]
    best: tuple[float, ...]
    inside: bool

    @property
    def factor(self) -> Mean:
        """The factor between its ends, the geometric mean over seeds with its interval."""
        return geometric_mean(self.logs)

    @property
    def text(self) -> str:
        """``a factor of 12.3 (9 to 17, 3 seeds)``, and whether that is all of it."""
        bound = "" if self.inside else "at least "
        return f"{bound}a factor of {self.factor.text}"


def common_seeds(line: Line) -> list[int]:
    """The seeds that every value of a line has."""
    return sorted(set.intersection(*map(set, line.values()))) if line else []


def basin_of(line: Line, share: float) -> Basin | None:
    """The basin of a line, by straight lines in the logarithm between values; None below two."""
    seeds = common_seeds(line)
    if len(line) < 2 or not seeds:
        return None
    logs, best, inside = [], [], True
    for seed in seeds:
        points = [(math.log(x), levels[seed]) for x, levels in line.items()]
        place = min(range(len(points)), key=lambda index: points[index][1])
        limit = points[place][1] + math.log1p(share)
        low, left = _end(points[place::-1], limit)
        high, right = _end(points[place:], limit)
        logs.append(high - low)
        best.append(list(line)[place])
        inside = inside and left and right
    return Basin(logs=tuple(logs), best=tuple(best), inside=inside)


def _end(points: Sequence[tuple[float, float]], limit: float) -> tuple[float, bool]:
    """Where the losses first pass a limit, and whether they do; else the last place."""
    for (near, below), (far, above) in itertools.pairwise(points):
        if above > limit:
            return near + (far - near) * (limit - below) / (above - below), True
    return points[-1][0], False


def spread_of(line: Line) -> Mean | None:
    """The share by which the highest loss of a line is above the lowest, over seeds.

    The largest of noisy losses less the smallest grows with their number, though all are equal. So
    the two values are chosen on the other seeds, and their losses are those of the seed that chose
    neither: noise then moves them up as often as down. Where the other seeds choose wrongly, the
    share is too low, by less than their noise. None below two values or two seeds.
    """
    seeds = common_seeds(line)
    lowest = best_on_others([{seed: by[seed] for seed in seeds} for by in line.values()])
    highest = best_on_others([{seed: -by[seed] for seed in seeds} for by in line.values()])
    if len(line) < 2 or len(seeds) < 2:
        return None
    return mean_over([math.expm1(-highest[seed] - lowest[seed]) for seed in seeds])


def above_best(line: Line, x: float) -> Mean | None:
    """The share by which the loss at one value of a line is above the best, over seeds.

    The best value is chosen on the other seeds, as in ``spread_of``. None below two seeds.
    """
    seeds = common_seeds(line)
    if len(seeds) < 2:
        return None
    best = best_on_others([{seed: by[seed] for seed in seeds} for by in line.values()])
    return mean_over([math.expm1(line[x][seed] - best[seed]) for seed in seeds])
