"""Find at which value of a quantity the loss is lowest, by a parabola, with its interval.

    best = minimum_of(levels, window=5)       # {vocabulary: {seed: log loss}}
    best.text                                 # 910 (700 to 1.2K)

The logarithm of the loss is a parabola in the logarithm of the quantity near the lowest loss. Seeds
have levels of their own. The lowest or the highest value that was tried is no minimum but an edge.
``tuning`` does this for learning rates, where many cells share a skew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from scaling_law.experiment.basin import Line
from scaling_law.experiment.parabola import Parabola, Points, fit_parabolas, scatter_of
from scaling_law.experiment.seeds import LEVEL
from scaling_law.units import format_count

FEWEST = 3  # values that a parabola needs


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """Where the loss is lowest.

    ``lowest`` is the value of lowest loss that was tried;
    ``x`` is where the parabola is lowest, None where that is not between the values tried, with the
    reason in ``why``;
    ``interval`` is its (low, high) at ``LEVEL``, None where the losses do not bound it;
    ``by_seed`` is the same of each seed alone, where it has one;
    ``levels`` are the log losses at ``x``, else at ``lowest``, by seed.
    """

    lowest: float
    x: float | None = None
    interval: tuple[float, float] | None = None
    why: str = ""
    by_seed: Mapping[int, float] = field(default_factory=dict)
    levels: Mapping[int, float]

    @property
    def text(self) -> str:
        """``910 (700 to 1.2K)``, or why there is none."""
        if self.x is None:
            return self.why
        ends = self.interval and " to ".join(format_count(end) for end in self.interval)
        return f"{format_count(self.x)} ({ends or 'unbounded'})"


def minimum_of(line: Line, window: float = math.inf) -> Minimum:
    """Return where a line that has a value is lowest.

    The parabola goes through the values within a factor of ``window`` of the lowest, and through
    its two neighbours.
    """
    from scaling_law.fit.solver.student import t_reach  # loads numpy

    order = sorted(line)
    lowest = min(order, key=lambda x: fmean(line[x].values()))
    place = order.index(lowest)
    at_lowest = line[lowest]
    if place in (0, len(order) - 1):
        why = f"the lowest loss is at {format_count(lowest)}, an edge of those tried"
        return Minimum(lowest=lowest, why=why, levels=at_lowest)
    near = {
        x: line[x]
        for number, x in enumerate(order)
        if abs(number - place) <= 1 or max(x / lowest, lowest / x) <= window
    }
    fit = _inside(near)
    if fit is None or fit.minimum is None:
        why = f"no parabola about {format_count(lowest)} has its minimum between the values tried"
        return Minimum(lowest=lowest, why=why, levels=at_lowest)
    noise = scatter_of([fit])
    ends = fit.interval(noise.deviation, t_reach(noise.freedom, LEVEL)) if noise.freedom else None
    alone = {
        seed: _inside({x: {seed: by[seed]} for x, by in near.items() if seed in by})
        for seed in fit.levels
    }
    return Minimum(
        lowest=lowest,
        x=math.exp(fit.minimum),
        interval=ends and (math.exp(ends[0]), math.exp(ends[1])),
        by_seed={
            seed: math.exp(one.minimum)
            for seed, one in alone.items()
            if one is not None and one.minimum is not None
        },
        levels=fit.levels_at(fit.minimum),
    )


def _inside(line: Line) -> Parabola | None:
    """The parabola through a line whose minimum lies between its ends; None where it has none."""
    points = [(math.log(x), y, seed) for x, by in line.items() for seed, y in by.items()]
    if len(line) < FEWEST:
        return None
    x, y, seeds = zip(*points, strict=True)
    (fit,) = fit_parabolas([Points(x, y, seeds)])
    if fit is None or fit.minimum is None or not fit.ends[0] < fit.minimum < fit.ends[1]:
        return None
    return fit
