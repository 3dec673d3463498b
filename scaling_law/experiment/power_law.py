"""Fit a power law of one variable, ``factor * x**exponent``, to numbers over seeds.

It may have a floor, which the numbers fall to. The exponent's interval is as wide as the means of
the seeds scatter about the law, so that numbers on no power law get a wide one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from scaling_law.experiment.seeds import LEVEL, mean_over
from scaling_law.units import count_of

FEWEST = 3  # values of x, by which two parameters are more than an interpolation
SURE = 0.05  # the probability by chance below which numbers lie on no power law
_EXACT = 1e-24  # variance of logarithms that rounding alone gives
# Of a law with a floor: the range of exponents that are tried, and how many.
_FALLS, _STEPS = (0.01, 5.0), 1000


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """A fitted power law.

    ``factor`` is its value above the floor at x = 1, in the unit of y;
    ``exponent`` is the exponent, without unit;
    ``interval`` is the exponent's (low, high) at ``LEVEL``, by Student's t;
    ``scatter`` is the standard deviation of log y about the law;
    ``floor`` is what y falls to as x grows, 0 where none was fitted;
    ``misfit`` is the root mean square of the relative distance of the means from the law;
    ``points`` is how many values of x it was fitted to.
    """

    factor: float
    exponent: float
    interval: tuple[float, float]
    scatter: float
    floor: float = 0.0
    misfit: float
    points: int

    def at(self, x: float) -> float:
        """The law's value at x."""
        return float(self.factor * x**self.exponent + self.floor)

    @property
    def text(self) -> str:
        """``exponent -0.73 (-0.9 to -0.56)``."""
        return f"exponent {self.exponent_text}"

    @property
    def exponent_text(self) -> str:
        """``-0.73 (-0.9 to -0.56)``."""
        value, low, high = (round(number, 2) + 0.0 for number in (self.exponent, *self.interval))
        return f"{value:.2f} ({low:.2f} to {high:.2f})"  # + 0.0 so that none is -0.00

    def formula(self, x: str) -> str:
        """``2.8 n^-0.59 + 0.149``, with the word for ``x``."""
        floor = f" + {self.floor:.3g}" if self.floor else ""
        return f"{self.factor:.3g} {x}^{self.exponent:.2f}{floor}"


def fit_power_law(values: Mapping[float, Sequence[float]]) -> PowerLaw | str:
    """Return the power law through the numbers at each x, or why they give none.

    Each x counts once, with the mean logarithm of its numbers; an x without numbers counts not.
    """
    from scaling_law.fit.solver.student import t_reach  # loads numpy

    if why := _why_none(values, FEWEST):
        return why
    points = [(math.log(x), fmean(map(math.log, group))) for x, group in values.items() if group]
    middle_x, middle_y = (fmean(column) for column in zip(*points, strict=True))
    width = sum((x - middle_x) ** 2 for x, _ in points)
    exponent = sum((x - middle_x) * (y - middle_y) for x, y in points) / width
    shift = middle_y - exponent * middle_x
    free = len(points) - 2
    apart = [y - shift - exponent * x for x, y in points]
    scatter = math.sqrt(sum(rest**2 for rest in apart) / free)
    reach = t_reach(free, LEVEL) * scatter / math.sqrt(width)
    return PowerLaw(
        factor=math.exp(shift),
        exponent=exponent,
        interval=(exponent - reach, exponent + reach),
        scatter=scatter,
        misfit=math.sqrt(fmean(math.expm1(rest) ** 2 for rest in apart)),
        points=len(points),
    )


def fit_power_law_of_seeds(values: Mapping[float, Mapping[int, float]]) -> PowerLaw | str:
    """Return the power law through numbers at each x by seed, where a run gives several of them.

    Such numbers share the run's noise and do not scatter independently about the law. The interval
    is therefore the wider one of ``fit_power_law`` and of the exponents of single seeds.
    """
    law = fit_power_law({x: list(of_seed.values()) for x, of_seed in values.items()})
    if isinstance(law, str):
        return law
    mean = mean_over(list(exponents_of_seeds(values).values()))
    if mean is None or mean.interval is None:
        return law
    reach = max((high - low) / 2 for low, high in (mean.interval, law.interval))
    return replace(law, interval=(law.exponent - reach, law.exponent + reach))


def exponents_of_seeds(values: Mapping[float, Mapping[int, float]]) -> dict[int, float]:
    """Return the exponent of each seed's own numbers; a seed with too few of them has none."""
    laws = {
        seed: fit_power_law({x: [by[seed]] for x, by in values.items() if seed in by})
        for seed in sorted({seed for of_seed in values.values() for seed in of_seed})
    }
    return {seed: law.exponent for seed, law in laws.items() if isinstance(law, PowerLaw)}


def misfit_chance(values: Mapping[float, Mapping[int, float]]) -> float | None:
    """Return how likely seeds alone bend the means as far off a power law as they lie.

    Each seed's logarithms have a square, a cube and so on in log x beside their line: as many as
    half of the seeds' number allows, and one at least. Their means are tested together against 0 by
    how seeds differ in them (Hotelling 1931, "The generalization of Student's ratio"), so that the
    noise may be unlike at each x, and one run may give numbers at several. Seeds count that have
    all x. None where there is no law, a single seed, or no difference between seeds.
    """
    import numpy as np

    from scaling_law.fit.solver.incomplete_beta import f_chance

    by_x = {x: of_seed for x, of_seed in sorted(values.items()) if of_seed}
    seeds = sorted(set.intersection(*map(set, by_x.values()))) if by_x else []
    if len(seeds) < 2 or _why_none({x: list(of.values()) for x, of in by_x.items()}, FEWEST):
        return None
    x = np.log(list(by_x))
    y = np.log([[of_seed[seed] for of_seed in by_x.values()] for seed in seeds])
    count = max(1, min(len(x) - 2, (len(seeds) - 1) // 2))
    powers = np.vander((x - x.mean()) / np.ptp(x), len(x), increasing=True)
    bends = y @ np.linalg.qr(powers)[0][:, 2 : 2 + count]  # beside the line, by seed and power
    spread = np.atleast_2d(np.cov(bends, rowvar=False))
    if np.linalg.matrix_rank(spread, tol=_EXACT) < count:
        return None
    mean, free = bends.mean(axis=0), len(seeds) - count
    squared = len(seeds) * float(mean @ np.linalg.solve(spread, mean))
    return f_chance(squared * free / (count * (len(seeds) - 1)), count, free)


def fit_power_law_with_floor(values: Mapping[float, Sequence[float]]) -> PowerLaw | str:
    """Return the law of falling numbers with a floor of at least 0, or why they give none.

    Each x counts once, with the mean of its numbers; relative squared errors are least. The
    interval holds every exponent whose best law is no worse than Student's t allows (profile).
    """
    import numpy as np

    from scaling_law.experiment.with_limit import solve
    from scaling_law.fit.solver.student import t_reach

    if why := _why_none(values, FEWEST + 1):
        return why
    means = {x: fmean(group) for x, group in sorted(values.items()) if group}
    x, y = np.array(list(means)), np.array(list(means.values()))
    steeps = np.geomspace(*_FALLS, _STEPS)
    shapes = (x / x[0]) ** -steeps[:, np.newaxis]
    squares, factors, floors = solve(shapes, y, weights=1 / y**2, least=0.0)
    best, free = int(np.argmin(squares)), len(means) - 3
    allowed = squares[best] * (1 + t_reach(free, LEVEL) ** 2 / free)
    inside = np.flatnonzero(squares <= allowed)
    if factors[best] <= 0:
        return "the values do not fall"
    if inside[0] == 0 or inside[-1] == _STEPS - 1:
        return "the values do not bound the exponent: they are too few, or lie on no law"
    return PowerLaw(
        factor=float(factors[best] * x[0] ** steeps[best]),
        exponent=-float(steeps[best]),
        interval=(-float(steeps[inside[-1]]), -float(steeps[inside[0]])),
        scatter=math.sqrt(float(squares[best]) / free),
        floor=float(floors[best]),
        misfit=math.sqrt(float(squares[best]) / len(means)),
        points=len(means),
    )


def _why_none(values: Mapping[float, Sequence[float]], fewest: int) -> str:
    """Say why numbers give no power law, "" where they may."""
    groups = {x: group for x, group in values.items() if group}
    if len(groups) < fewest:
        return f"{count_of(len(groups), 'value')} to fit a power law to, and it takes {fewest}"
    if min(groups) <= 0 or min(map(min, groups.values())) <= 0:
        return "a value is not above 0"
    return ""
