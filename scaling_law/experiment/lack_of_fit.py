"""How far a law itself misses the numbers that it is fitted to, without the noise of seeds.

    lack = lack_of_fit(gaps_from(law, values), free=law.points - 3)
    lack.text     # 1.49% with the noise of seeds, 0.80% to 2.12% without (F test of fit: P = 0.003)
    return fits_within({"": lack}, 0.02, "the law")

The root mean square of the distances alone is a point: noise adds to it, and with few numbers it is
large or small by chance. Here the sum of squares is noncentral chi-squared of the law's own misfit,
in units of the error that seeds leave, and the interval holds every misfit that this allows.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, TypeVar

from scaling_law.experiment.answer import Decision, need
from scaling_law.experiment.findings import AGAIN
from scaling_law.experiment.power_law import PowerLaw
from scaling_law.experiment.seeds import ENOUGH, LEVEL, block_noise, pooled_noise
from scaling_law.fit.solver.incomplete_beta import f_chance

Place = TypeVar("Place", bound=Hashable)
_NOTHING = 1e-9  # error, as a share of the misfit, below which noise explains nothing of it


@dataclass(frozen=True, kw_only=True)
class Lack:
    """What the distances of a law from the means over seeds say of its misfit.

    ``squares`` is the sum of their squares over ``cells`` means, with ``free`` degrees of freedom;
    ``error`` is the standard error that seeds leave in one mean, measured with ``noise_free``
    degrees of freedom; distances are shares of the numbers, or in their unit.
    """

    squares: float
    cells: int
    free: int
    error: float
    noise_free: int

    @property
    def misfit(self) -> float:
        """The root mean square of the distances, noise of seeds included."""
        return math.sqrt(self.squares / self.cells)

    @cached_property
    def chance(self) -> float | None:
        """How likely seeds alone lead as far from the law (F test); None without any noise."""
        if self._is_noiseless or not self.squares:
            return None
        ratio = self.squares / self.free / self.error**2
        return f_chance(ratio, self.free, self.noise_free)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The (low, high) of the law's own misfit at ``LEVEL``, noise taken off: see ``ends``."""
        return self.ends()

    @property
    def _is_noiseless(self) -> bool:
        return self.error <= _NOTHING * self.misfit or self.error < 1e-12

    def ends(self, of: int = 1) -> tuple[float, float]:
        """The interval of the misfit where this law is one of so many (Bonferroni).

        Its low end is the least misfit that leads so far from the law with more than the chance of
        a tail. Its high end is the largest that leads so near, over the chance that no misfit at
        all does (CLs, Read 2002, doi 10.1088/0954-3899/28/10/313): numbers that are nearer to a
        law than seeds allow do not show that it misses less than seeds can tell.
        """
        if self._is_noiseless:
            return self.misfit, self.misfit
        tail = (1 - LEVEL) / (2 * of)
        at_none = self._nearer(0.0)
        low = self._solve(1 - tail) if at_none > 1 - tail else 0.0
        return low, self._solve(tail * at_none)

    def _solve(self, chance: float) -> float:
        """The misfit at which the squares are at most these with a chance."""
        low, high = 0.0, self.misfit + self.error
        while self._nearer(high) > chance:
            high *= 2
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self._nearer(middle) > chance else (low, middle)
        return (low + high) / 2

    def _nearer(self, misfit: float) -> float:
        """The chance of squares that are at most these, for a law with such a misfit."""
        from scaling_law.fit.solver.noncentral import chance_below  # loads scipy

        away, variance = self.cells * misfit**2, self.error**2
        return chance_below(self.squares / variance, away / variance, self.free, self.noise_free)

    @property
    def text(self) -> str:
        """``1.49% with the noise of seeds, 0.80% to 2.12% without (F test of fit: P = 0.003)``."""
        return self.words(lambda value: f"{value:.2%}")

    def words(self, show: Any) -> str:
        """``text`` with distances as ``show`` writes a number."""
        low, high = map(show, self.interval)
        test = "" if self.chance is None else f" (F test of fit: P = {self.chance:.2g})"
        return f"{show(self.misfit)} with the noise of seeds, {low} to {high} without{test}"


def gaps_from(
    law: PowerLaw, values: Mapping[float, Mapping[int, float]], *, logs: bool = False
) -> dict[float, dict[int, float]]:
    """Return the relative distance of each number from the law, by x and seed.

    ``logs`` takes the logarithm of their ratio instead, as ``fit_power_law`` does: of numbers that
    differ by factors between seeds, whose mean is geometric.
    """

    def gap(x: float, y: float) -> float:
        return math.log(y / law.at(x)) if logs else y / law.at(x) - 1

    return {x: {seed: gap(x, y) for seed, y in by.items()} for x, by in values.items() if by}


def lack_of_fit(gaps: Mapping[Place, Mapping[int, float]], *, free: int) -> Lack | str:
    """Return what distances from a law, by place and seed, say of it, or why they say nothing.

    ``free`` is the number of places less that of fitted values. The noise is what is left after
    what a seed does to all places, where all have the same seeds (``block_noise``), else that
    within places. It counts as equal at all places, and places as independent.
    """
    groups = {place: by for place, by in gaps.items() if by}
    if free < 1:
        return f"{len(groups)} means leave no degree of freedom"
    is_shared = len({frozenset(by) for by in groups.values()}) == 1
    rows = [[by[seed] for seed in sorted(by)] for by in groups.values()]
    noise = block_noise(rows) if is_shared else pooled_noise(rows)
    if not noise.freedom:
        return f"{len(groups)} means are of one seed each"
    if noise.freedom < ENOUGH - 1 and noise.squares < 1e-24:
        return "all seeds agree, which says nothing of the error"
    share = fmean(1 / len(by) for by in groups.values())
    return Lack(
        squares=sum(fmean(by.values()) ** 2 for by in groups.values()),
        cells=len(groups),
        free=free,
        error=noise.deviation * math.sqrt(share),
        noise_free=noise.freedom,
    )


def lack_of_law(
    law: PowerLaw, values: Mapping[float, Mapping[int, float]], *, fitted: int, logs: bool = False
) -> Lack | str:
    """Return the lack of fit of a law of ``fitted`` values to numbers by x and seed."""
    return lack_of_fit(gaps_from(law, values, logs=logs), free=law.points - fitted)


def fits_within(
    lacks: Mapping[str, Lack | str],
    most: float,
    words: str,
    *,
    needs: str = "more seeds, or more values",
) -> Decision:
    """Return the decision of a claim that laws miss by at most ``most``, by their intervals.

    It holds where every interval ends below, and does not where one begins above: that one is
    picked out of all of them, so that its interval is wider. ``words`` say what was fitted.
    """
    need(bool(lacks), "no law was fitted", AGAIN)
    why = next((lack for lack in lacks.values() if isinstance(lack, str)), "")
    need(not why, why, AGAIN)
    known: Sequence[Lack] = [lack for lack in lacks.values() if isinstance(lack, Lack)]
    within = all(lack.interval[1] <= most for lack in known)
    beyond = any(lack.ends(of=len(known))[0] > most for lack in known)
    need(within or beyond, f"{words}: an interval of the misfit includes the limit", needs)
    return within, words


def shows_fit(lack: Lack | str, most: float) -> bool:
    """Whether a law is shown to miss by at most ``most``: its interval ends below."""
    return isinstance(lack, Lack) and lack.interval[1] <= most
