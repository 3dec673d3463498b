"""The curve through one IsoFLOP cell: a local interpolation or a parabola, and its minimum.

``akima`` passes through the mean loss of each size by a piecewise cubic in log params whose slopes
come from the nearest sizes alone (Akima 1970, J. ACM 17, 589), as Porian 2024 (arXiv 2406.19146)
reads optima off IsoFLOP curves. The loss at equal compute is steeper towards one side; an
interpolation follows that, a parabola (Hoffmann 2022, arXiv 2203.15556, section 3.2) averages it
over all sizes and moves the vertex. An interpolation follows the noise of single runs too.

Both say how far each run lies off what the others predict for it, which is the noise that the
intervals of the exponents rest on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scaling_law.fit.approaches.akima import akima
from scaling_law.fit.laws.law import Floats

AKIMA, PARABOLA = "akima", "parabola"
CURVES = (AKIMA, PARABOLA)
# A parabola through three sizes is exact: it cannot distinguish noise from curvature.
LEAST_SIZES = 3
# So many sizes on either side predict the one between them.
_NEIGHBOURS = 2
_DEGREES = 3  # coefficients of a parabola


@dataclass(frozen=True)
class CellRuns:
    """The runs of one cell: n points of s sizes.

    ``log_flops``: mean log FLOPs.
    ``rows``: row numbers of the points [n].
    ``losses``: their losses at the cell's FLOPs, in nats per token [n].
    ``size_of_row``: the number of each point's size [n].
    ``log_params``: log params of the sizes, growing [s].
    ``log_tokens``: log tokens of the sizes [s].
    """

    log_flops: float
    rows: list[int]
    losses: Floats
    size_of_row: NDArray[np.int64]
    log_params: Floats
    log_tokens: Floats

    @property
    def n_sizes(self) -> int:
        """The number of different sizes."""
        return len(self.log_params)

    @property
    def times(self) -> NDArray[np.int64]:
        """The number of runs of each size [s]."""
        return np.bincount(self.size_of_row, minlength=self.n_sizes)

    def means(self, losses: Floats) -> Floats:
        """The mean loss of each size [s, R] of losses [n, R]."""
        total = np.zeros((self.n_sizes, losses.shape[1]))
        np.add.at(total, self.size_of_row, losses)
        return np.asarray(total / self.times[:, None], dtype=np.float64)

    def tokens_at(self, log_params: Floats) -> Floats:
        """Log tokens at these log params, between those of the sizes."""
        return np.interp(log_params, self.log_params, self.log_tokens)


class Curve(Protocol):
    """A curve of loss against log params through the runs of one cell."""

    @property
    def runs(self) -> CellRuns:
        """The runs."""
        ...

    @property
    def name(self) -> str:
        """One of ``CURVES``."""
        ...

    @property
    def free(self) -> int:
        """How many independent residuals tell the noise."""
        ...

    @property
    def fitted(self) -> Floats:
        """What noise is added to in a resample [n]."""
        ...

    @property
    def residuals(self) -> Floats:
        """Each run's noise as the others show it [n]; NaN where they do not."""
        ...

    def minimum(self, losses: Floats) -> tuple[Floats, Floats]:
        """Log params and loss at the minimum of each column of losses [n, R]; NaN for none."""
        ...

    def why_none(self) -> str:
        """Why the curve has no minimum inside the sizes; "" where it has one."""
        ...


def curve_of(runs: CellRuns, name: str) -> Curve:
    """The curve of this name; three sizes have a parabola through them in any case."""
    if name == AKIMA and runs.n_sizes > LEAST_SIZES:
        return Akima(runs)
    return Parabola.through(runs)


@dataclass(frozen=True)
class Parabola:
    """Least squares in log params; sizes weigh the same, however many seeds they have.

    ``runs``: the cell.
    ``centre``: mean log params.
    ``design``: 1, x and x^2 of each point [n, 3], x = log params - centre.
    ``solve``: turns losses into coefficients about the centre [3, n].
    """

    runs: CellRuns
    centre: float
    design: Floats
    solve: Floats
    name = PARABOLA

    @classmethod
    def through(cls, runs: CellRuns) -> Parabola:
        """The parabola of a cell."""
        centre = float(runs.log_params.mean())
        x = runs.log_params[runs.size_of_row] - centre
        design = np.stack([np.ones_like(x), x, x**2], axis=1)
        weights = 1 / np.sqrt(runs.times[runs.size_of_row])
        solve = np.linalg.pinv(design * weights[:, None]) * weights
        return cls(runs, centre, design, solve)

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """(c0, c1, c2) of loss = c0 + c1 x + c2 x^2."""
        base, slope, bend = (float(c) for c in self.solve @ self.runs.losses)
        return base, slope, bend

    @property
    def free(self) -> int:
        return len(self.runs.rows) - _DEGREES

    @property
    def fitted(self) -> Floats:
        return np.asarray(self.design @ (self.solve @ self.runs.losses), dtype=np.float64)

    @property
    def residuals(self) -> Floats:
        """Residuals enlarged for their leverage."""
        room = 1 - np.einsum("nk,kn->n", self.design, self.solve)
        plain = (self.runs.losses - self.fitted) / np.sqrt(np.maximum(room, 1e-6))
        return np.where(room < 1e-6, math.nan, plain)

    def minimum(self, losses: Floats) -> tuple[Floats, Floats]:
        base, slope, bend = self.solve @ losses
        sizes = self.runs.log_params
        with np.errstate(divide="ignore", invalid="ignore"):
            vertex = self.centre - slope / (2 * bend)
            least = base - slope**2 / (4 * bend)
        inside = (bend > 0) & (vertex >= sizes[0]) & (vertex <= sizes[-1])
        return np.where(inside, vertex, math.nan), np.where(inside, least, math.nan)

    def why_none(self) -> str:
        _, slope, bend = self.coefficients
        means = self.runs.means(self.runs.losses[:, None])
        # rounding alone leaves this much curvature on a straight line
        if bend <= 1e-9 * float(np.ptp(means)):
            return "curvature not above 0: the losses have no minimum in size"
        if math.isnan(self.minimum(self.runs.losses[:, None])[0][0]):
            side = "below the smallest" if slope > 0 else "above the largest"
            return f"vertex {side} size sampled: add sizes on that side"
        return ""


@dataclass(frozen=True)
class Akima:
    """A local interpolation through the mean loss of each of at least four sizes.

    ``runs``: the cell.
    """

    runs: CellRuns
    name = AKIMA

    @property
    def free(self) -> int:
        return int(np.isfinite(self.residuals).sum()) - int((self.runs.times > 1).sum())

    @property
    def fitted(self) -> Floats:
        """The losses themselves: the curve passes through them."""
        return self.runs.losses

    @property
    def residuals(self) -> Floats:
        """The noise of repeats about their mean, and of single runs about their neighbours.

        A run between others is compared with the polynomial through its nearest neighbours; the
        difference is divided by the root of the sum of squared weights, so that independent noise
        of the runs gives residuals of its own size.
        """
        runs, noise = self.runs, np.full(len(self.runs.rows), math.nan)
        means = runs.means(runs.losses[:, None])[:, 0]
        off = _off_neighbours(runs.log_params, means, 1 / runs.times)
        for size, times in enumerate(runs.times):
            rows = np.flatnonzero(runs.size_of_row == size)
            if times > 1:
                noise[rows] = (runs.losses[rows] - means[size]) * math.sqrt(times / (times - 1))
            else:
                noise[rows] = off[size]
        return noise

    def minimum(self, losses: Floats) -> tuple[Floats, Floats]:
        x, means = self.runs.log_params, self.runs.means(losses)
        pieces = akima(x, means)
        cubic, square, line, start = pieces.cubic, pieces.square, pieces.line, pieces.start
        with np.errstate(invalid="ignore", divide="ignore"):
            # where the slope of a piece is 0 and grows
            away = -line / (square + np.sqrt(square**2 - 3 * cubic * line))
        width = np.diff(x)[:, None]
        inside = (away >= -1e-12 * width) & (away <= width * (1 + 1e-12))
        away = np.where(inside, away, 0.0)
        value = start + away * (line + away * (square + away * cubic))
        value = np.where(inside, value, math.inf)
        piece, column = value.argmin(axis=0), np.arange(means.shape[1])
        least = value[piece, column]
        # not between sizes: with the lowest loss at an end the other side of it is unknown
        lowest = means.argmin(axis=0)
        there = np.isfinite(least) & (lowest > 0) & (lowest < len(x) - 1)
        vertex = np.where(there, x[piece] + away[piece, column], math.nan)
        return vertex, np.where(there, least, math.nan)

    def why_none(self) -> str:
        means = self.runs.means(self.runs.losses[:, None])[:, 0]
        lowest = int(means.argmin())
        if 0 < lowest < len(means) - 1:
            return ""
        side = "below the smallest" if lowest == 0 else "above the largest"
        return f"lowest at the end, vertex {side} size sampled: add sizes on that side"


def interpolated(x: Floats, y: Floats, at: Floats) -> Floats:
    """The interpolation through (x, y) at other x, NaN beyond the ends."""
    return akima(x, y).at(at)


def _off_neighbours(x: Floats, y: Floats, variance: Floats) -> Floats:
    """How far each size but the first and last lies off its neighbours' polynomial [s].

    In units of the noise of one run, whose mean over repeats has ``variance`` of it.
    """
    off = np.full(len(x), math.nan)
    for i in range(1, len(x) - 1):
        near = [*range(max(0, i - _NEIGHBOURS), i), *range(i + 1, i + 1 + _NEIGHBOURS)]
        near = [k for k in near if k < len(x)]
        weights = np.array(
            [math.prod((x[i] - x[k]) / (x[j] - x[k]) for k in near if k != j) for j in near]
        )
        scale = math.sqrt(float(variance[i] + (weights**2 * variance[near]).sum()))
        off[i] = (y[i] - weights @ y[near]) / scale
    return off
