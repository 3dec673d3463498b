"""Fit parabolas to the losses of several cells, skewed alike, and bound where each is lowest.

    y = level of the seed + slope x + curvature x^2 + skew x^3

Every cell has levels, a slope and a curvature of its own. The skew is one for all cells, for a loss
rises more steeply towards low learning rates than towards high ones, and a few points of one cell
do not tell that from noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from scaling_law.experiment.seeds import SeedNoise

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_FREEDOM = 3  # degrees of freedom from which on a skew and a scatter are measured
BEYOND = math.log(2)  # how far beyond its points, in x, a parabola's minimum may be bounded
_STEPS = 600


@dataclass(frozen=True)
class Points:
    """The points of a cell: x, y, and the seed of each."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Parabola:
    """A cell's parabola.

    ``x`` counts from ``centre``; ``ends`` are the least and the largest x of its points;
    ``levels`` are those of the seeds at the centre;
    ``covariance`` is that of (mean level, slope, curvature, skew) for noise of 1;
    ``squares`` is the sum of the squared distances of its points from it;
    ``freedom`` are the degrees of freedom of that sum, less its share of the one of the skew.
    """

    centre: float
    ends: tuple[float, float]
    levels: Mapping[int, float]
    slope: float
    curvature: float
    skew: float
    covariance: NDArray[Any]
    squares: float
    freedom: float

    @property
    def minimum(self) -> float | None:
        """Where it is lowest; None where it has no minimum."""
        inside = self.curvature**2 - 3 * self.skew * self.slope
        if inside <= 0 or (below := self.curvature + math.sqrt(inside)) <= 0:
            return None
        return self.centre - self.slope / below

    def bend(self, x: float) -> float:
        """Half the second derivative at x."""
        return self.curvature + 3 * self.skew * (x - self.centre)

    def levels_at(self, x: float) -> dict[int, float]:
        """The value at x, by seed."""
        away = x - self.centre
        added = self.slope * away + self.curvature * away**2 + self.skew * away**3
        return {seed: level + added for seed, level in self.levels.items()}

    def error_at(self, x: float, deviation: float) -> float:
        """The standard error of the mean level at x, for noise of this deviation."""
        import numpy as np

        powers = (x - self.centre) ** np.arange(4)
        return deviation * math.sqrt(float(powers @ self.covariance @ powers))

    def interval(self, deviation: float, reach: float) -> tuple[float, float] | None:
        """Every place about the minimum whose slope the noise does not tell from 0.

        ``reach`` is how many standard errors are allowed. None where that has no bounds near the
        points. It is Fieller's interval (1954), for a parabola without skew.
        """
        import numpy as np

        middle = self.minimum
        if middle is None:
            return None
        low, high = self.ends[0] - BEYOND, self.ends[1] + BEYOND
        x = np.linspace(low, high, _STEPS)
        away = x - self.centre
        steps = np.stack([0 * away, 1 + 0 * away, 2 * away, 3 * away**2])
        slopes = self.slope + 2 * self.curvature * away + 3 * self.skew * away**2
        allowed = (reach * deviation) ** 2 * np.einsum("ik,ij,jk->k", steps, self.covariance, steps)
        over = slopes**2 - allowed
        place = int(np.searchsorted(x, middle))
        outside = np.flatnonzero(over > 0)
        before, after = outside[outside < place], outside[outside >= place]
        if not len(before) or not len(after):
            return None
        first, last = int(before[-1]), int(after[0])
        return (
            min(middle, _crossing(x, over, first, first + 1)),
            max(middle, _crossing(x, over, last, last - 1)),
        )


def _crossing(x: NDArray[Any], over: NDArray[Any], outer: int, inner: int) -> float:
    """Where ``over`` is 0 between two neighbours; the outer one where both are above."""
    if over[inner] > 0:
        return float(x[inner])
    share = over[outer] / (over[outer] - over[inner])
    return float(x[outer] + share * (x[inner] - x[outer]))


@dataclass(frozen=True)
class _Plain:
    """Least squares of a cell without skew, and how the cube of x looks beside it."""

    points: Points
    centre: float
    names: tuple[int, ...]
    inverse: NDArray[Any]
    solved: NDArray[Any]
    rest: NDArray[Any]
    cube: NDArray[Any]
    cube_rest: NDArray[Any]


def scatter_of(parabolas: Iterable[Parabola]) -> SeedNoise:
    """Return how far the points of several cells lie from their parabolas."""
    several = list(parabolas)
    return SeedNoise(
        squares=sum(one.squares for one in several),
        freedom=round(sum(one.freedom for one in several)),
    )


def fit_parabolas(cells: Sequence[Points]) -> list[Parabola | None]:
    """Return the parabola of every cell, None where its points determine none.

    The skew is 0 where the cells have too few points to measure it.
    """
    plains = [_plain(points) for points in cells]
    known = [plain for plain in plains if plain is not None]
    freedom = sum(len(one.rest) - len(one.solved) for one in known)
    cubes = sum(float(one.cube_rest @ one.cube_rest) for one in known)
    skewed = freedom > LEAST_FREEDOM and cubes > 1e-9
    skew = sum(float(one.cube_rest @ one.rest) for one in known) / cubes if skewed else 0.0
    variance = 1 / cubes if skewed else 0.0
    return [None if one is None else _with_skew(one, skew, variance) for one in plains]


def _plain(points: Points) -> _Plain | None:
    import numpy as np

    names = tuple(sorted(set(points.seeds)))
    centre = fmean(points.x)
    away = np.array(points.x) - centre
    columns = [np.array([seed == name for seed in points.seeds], float) for name in names]
    design = np.stack([*columns, away, away**2], axis=1)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    inverse = np.linalg.inv(design.T @ design)
    solved, cube = (inverse @ design.T @ values for values in (np.array(points.y), away**3))
    return _Plain(
        points=points,
        centre=centre,
        names=names,
        inverse=inverse,
        solved=solved,
        rest=np.array(points.y) - design @ solved,
        cube=cube,
        cube_rest=away**3 - design @ cube,
    )


def _with_skew(plain: _Plain, skew: float, variance: float) -> Parabola:
    """The parabola with a skew whose variance, for noise of 1, is given."""
    import numpy as np

    count = len(plain.names)
    solved = plain.solved - skew * plain.cube
    mean = np.zeros((3, len(solved)))
    mean[0, :count] = 1 / count
    mean[1, -2] = mean[2, -1] = 1
    cube = mean @ plain.cube
    covariance = np.zeros((4, 4))
    covariance[:3, :3] = mean @ plain.inverse @ mean.T + variance * np.outer(cube, cube)
    covariance[3, :3] = covariance[:3, 3] = -variance * cube
    covariance[3, 3] = variance
    rest = plain.rest - skew * plain.cube_rest
    share = variance * float(plain.cube_rest @ plain.cube_rest)
    return Parabola(
        centre=plain.centre,
        ends=(min(plain.points.x), max(plain.points.x)),
        levels=dict(zip(plain.names, map(float, solved[:count]), strict=True)),
        slope=float(solved[-2]),
        curvature=float(solved[-1]),
        skew=skew,
        covariance=covariance,
        squares=float(rest @ rest),
        freedom=len(rest) - len(solved) - share,
    )
