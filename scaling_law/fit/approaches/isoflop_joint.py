"""The exponent of compute-optimal size from the IsoFLOP curves of all budgets at once.

``isoflop`` finds the minimum of each budget alone and draws a line through the minima. With three
to five budgets the scatter of so few minima says little about the line, and a budget whose lowest
loss is at its smallest or largest size says nothing. Here the minima lie on the line from the
start, and the curves of all budgets have one family of shapes about it:

    L = L_b + k (C_b / C)^-r G(u),    u = log N - c - a log(C_b / C)
    G(u) = (q (e^(p u) - 1) + p (e^(-q u) - 1)) / (p q (p + q)) = u^2 / 2 (1 + s u + ...)
    p - q = 3 (s + d log(C_b / C)),    p q = ``RATE``^2

L_b is the lowest loss of budget b, C the geometric mean of the budgets. For Chinchilla's law
(Hoffmann 2022, arXiv 2203.15556, section 3.3) at equal compute 6 N D the curves are these, with
a = beta / (alpha + beta), r = alpha beta / (alpha + beta), s = (beta - alpha) / 3, d = 0: exactly
where alpha beta is ``RATE``^2, else to the third order about the optimum. Here a, r, s and d are
free. The skew s drifts with compute by d, because it does on published records: on four of the
five rungs of Porian 2024 (arXiv 2406.19146) one skew for all budgets puts the exponent of all up
to .04 away from that of their minima, with the drift free they agree within .01. Sizes count by
how near they are to the optimum: a run at u has the tricube weight (1 - |u / w|^3)^3 (Cleveland
1979, J. Am. Stat. Assoc. 74, 829), none beyond w = log ``NEAR``. Line and weights are found in
turns.

The interval is Student's t with the error of two-way clustering (Cameron 2011, "Robust Inference
With Multiway Clustering", J. Bus. Econ. Stat. 29, 238): the variance over sizes, plus that over
budgets, less that over their pairs, each of a jackknife at the weights of all, and the degrees of
freedom of the fewer of sizes and budgets. What sets one size off does so at every seed and budget
of its trunks; a line that bends or a shape that changes moves all runs of a budget together. The
interval reaches at least to the exponents found with w = log(``NEAR`` / ``WIDER``) and w =
log(``NEAR`` * ``WIDER``), because a curve that misses the losses farther out moves with w.

At 90%, 96% of intervals hold the exponent on 24 settings of planted surfaces (384 draws). Of
published tables, five neighbouring budgets hold the exponent of the line through the minima of all
budgets in 38 of 39 cases on Porian's, 12 of 13 on Epoch AI's reconstruction of Hoffmann's runs and
6 of 6 on the curves of Gemstones (McLeish 2025); the budgets' own minima do in 39, 12 and 6.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from scaling_law.fit.approaches.isoflop import LEAST_CELLS, group_cells, prepare, size_keys
from scaling_law.fit.approaches.isoflop_curves import LEAST_SIZES, CellRuns
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.solver.student import t_reach
from scaling_law.units import count_of

NEAR = 5.0  # sizes within this factor of the optimum count
WIDER = 2**0.5
RATE = 0.35  # alpha and beta of usual laws are .3 to .4
SIZE, BUDGET, PAIR = "size", "budget", "size and budget"  # what the jackknifes leave out
_SKEWEST = 1.0  # alpha and beta of .12 and 3.1 at ``RATE``: no law is known to be as skew
_LEAST_SIZES = 5  # in all: without one of fewer, the others hardly give a curve
_TURNS = 60  # of line and weights at most
_SETTLED = 1e-4
_STEP = 0.7  # of the way to a new line, so that sizes at the edge do not come and go for ever
_FAR = 4.0  # sizes beyond this u have no weight at any width; their exponentials would overflow
# Where the curves do not determine r, s and d, these weak beliefs do: r of usual laws is .05 to
# .25, and their skew does not drift.
_UNIT_NATS = 0.01  # of the residuals that the beliefs are weighed against
_FALL, _FALL_SPREAD = 0.1, 0.5
_SKEW_SPREAD = 0.3
_DRIFT_SPREAD = 0.1


@dataclass(frozen=True, kw_only=True)
class JointLine:
    """The exponent that all budgets give together; None with the reason where they give none.

    ``exponent``: a of params ~ flops^a.
    ``interval``: (low, high) at the level that was asked for.
    ``without``: the exponent without each size, budget and pair of them, by ``SIZE``, ``BUDGET``,
        ``PAIR``, then by place: of sizes from the smallest on, of budgets from the largest on.
    ``by_width``: the exponents at the narrower and the wider w, None where there is none.
    ``budgets``: FLOPs of the budgets that count.
    ``params_optimal``: parameters at their optima, on the line.
    ``loss_min_nats``: loss there, in nats per token.
    ``n_inside``: how many of these have their optimum inside their sizes.
    ``n_points``: number of points that count.
    ``misfit_nats``: root mean square of the residuals, in nats per token, by the weights.
    ``skew_at_bound``: whether s is as large as it may be, so that the shape is not the runs' own.
    ``reason``: why there is no exponent, "" where there is one.
    """

    exponent: float | None = None
    interval: tuple[float, float] | None = None
    without: Mapping[str, Mapping[tuple[int, ...], float]]
    by_width: tuple[float | None, ...] = ()
    budgets: tuple[float, ...] = ()
    params_optimal: tuple[float, ...] = ()
    loss_min_nats: tuple[float, ...] = ()
    n_inside: int = 0
    n_points: int = 0
    misfit_nats: float = math.nan
    skew_at_bound: bool = False
    reason: str = ""


def half_width(
    without: Mapping[str, Mapping[tuple[int, ...], float]], level: float, fewest: int | None = None
) -> float:
    """Return half the interval of a number, by its value without each size, budget and pair.

    ``without`` is as in ``JointLine``. Student's t has one degree of freedom less than ``fewest``,
    by default the number of sizes or of budgets, whichever is smaller.
    """
    by_size, by_budget, by_pair = (_variance(without[kind]) for kind in (SIZE, BUDGET, PAIR))
    variance = max(by_size + by_budget - by_pair, by_size, by_budget)
    groups = fewest or min(len(without[SIZE]), len(without[BUDGET]))
    return t_reach(groups - 1, level) * math.sqrt(variance)


def _variance(without: Mapping[tuple[int, ...], float]) -> float:
    """The jackknife's variance of a number from its value without each of n groups."""
    values = np.array(list(without.values()))
    return (len(values) - 1) / len(values) * float(((values - values.mean()) ** 2).sum())


def fit_joint(points: FitPoints, *, tolerance_frac: float = 0.1, level: float = 0.9) -> JointLine:
    """Fit one line of optima and one shape to all budgets whose FLOPs agree within the tolerance.

    It needs three budgets with three sizes near the line, three optima inside their budget's
    sizes, and five sizes in all.
    """
    width = math.log((1 + tolerance_frac) / (1 - tolerance_frac))
    groups, _ = group_cells(points, tolerance_frac)
    cells = [prepare(points, rows, width)[0] for rows in groups]
    cells = [cell for cell in cells if cell.n_sizes >= LEAST_SIZES]
    if len(cells) < LEAST_CELLS:
        return JointLine(without={}, reason=_few(len(cells)))
    curves = _Curves.of(cells)
    line, weights = curves.settled()
    used = curves.counted(weights)
    inside = sum(curves.has_inside(line, b) for b in used)
    reason = ""
    if len(used) < LEAST_CELLS:
        reason = _few(len(used))
    elif inside < LEAST_CELLS:
        reason = (
            f"{inside} of {len(used)} budgets have their optimum inside their sizes, at least"
            f" {LEAST_CELLS} needed: add sizes beyond it"
        )
    counted = weights > 0
    sizes = len(set(curves.size[counted].tolist()))
    if not reason and sizes < _LEAST_SIZES:
        reason = f"{count_of(sizes, 'size')} near the optima, at least {_LEAST_SIZES} needed"
    budgets = tuple(float(curves.flops[b]) for b in used)
    if reason:
        return JointLine(without={}, budgets=budgets, n_inside=inside, reason=reason)
    without = curves.left_out(line, weights)
    half = half_width(without, level)
    exponent = float(line[0])
    by_width = curves.exponents(NEAR / WIDER, NEAR * WIDER)
    others = [other for other in by_width if other is not None]
    off, lowest = curves.residuals(line, weights)
    optimal = np.exp(line[1] + line[0] * curves.log_flops)
    return JointLine(
        exponent=exponent,
        interval=(min(exponent - half, *others), max(exponent + half, *others)),
        without=without,
        by_width=by_width,
        budgets=budgets,
        params_optimal=tuple(float(optimal[b]) for b in used),
        loss_min_nats=tuple(float(lowest[b]) for b in used),
        n_inside=inside,
        n_points=int(counted.sum()),
        misfit_nats=math.sqrt(float(off @ off / weights.sum())),
        skew_at_bound=bool(np.abs(curves.skews(line)[used]).max() > 0.99 * _SKEWEST),
    )


def _few(count: int) -> str:
    return (
        f"{count_of(count, 'budget')} with {LEAST_SIZES} sizes within a factor of {NEAR:g} of the"
        f" optimum, at least {LEAST_CELLS} needed"
    )


@dataclass(frozen=True, kw_only=True)
class _Curves:
    """The points of all budgets: n points of s budgets.

    A line is the array (a, c, r, s, d) of the module's formula.

    ``x``: log params [n].
    ``loss``: nats per token at the budget's FLOPs [n].
    ``budget``: the number of each point's budget [n].
    ``flops``: of the budgets [s].
    ``size``: the number of each point's size, from the smallest on [n].
    """

    x: Floats
    loss: Floats
    budget: NDArray[np.int64]
    flops: Floats
    size: NDArray[np.int64]

    @classmethod
    def of(cls, cells: list[CellRuns]) -> _Curves:
        """The points of these cells."""
        x = np.concatenate([cell.log_params[cell.size_of_row] for cell in cells])
        return cls(
            x=x,
            loss=np.concatenate([cell.losses for cell in cells]),
            budget=np.repeat(np.arange(len(cells)), [len(cell.rows) for cell in cells]),
            flops=np.exp([cell.log_flops for cell in cells]),
            size=np.unique(size_keys(np.exp(x)), return_inverse=True)[1],
        )

    @functools.cached_property
    def log_flops(self) -> Floats:
        """Log FLOPs of the budgets, less their mean [s]."""
        logs = np.log(self.flops)
        return np.asarray(logs - logs.mean(), dtype=np.float64)

    def has_inside(self, line: Floats, budget: int) -> bool:
        """Whether the line passes a budget between its smallest and its largest size."""
        own = self.x[self.budget == budget]
        at = line[1] + line[0] * self.log_flops[budget]
        return bool(own.min() < at < own.max())

    def counted(self, weights: Floats) -> list[int]:
        """The numbers of the budgets that have weight."""
        return sorted(set(self.budget[weights > 0].tolist()))

    def exponents(self, *near: float) -> tuple[float | None, ...]:
        """The exponents where sizes within other factors count, None where there is none."""
        found = [self.settled(factor) for factor in near]
        return tuple(
            float(line[0]) if len(self.counted(weights)) >= LEAST_CELLS else None
            for line, weights in found
        )

    def left_out(self, line: Floats, weights: Floats) -> dict[str, dict[tuple[int, ...], float]]:
        """The exponent without each size, budget and pair of them that counts, by its place."""
        of_budget = len(self.flops) - 1 - self.budget
        groups = {
            SIZE: self.size[:, None],
            BUDGET: of_budget[:, None],
            PAIR: np.stack([self.size, of_budget], axis=1),
        }
        return {
            kind: {
                tuple(place): float(self.fitted(weights * ~(group == place).all(axis=1), line)[0])
                for place in np.unique(group[weights > 0], axis=0).tolist()
            }
            for kind, group in groups.items()
        }

    def settled(self, near: float = NEAR) -> tuple[Floats, Floats]:
        """The line and the weights [n] that agree with each other, from the lowest losses on.

        Sizes within the factor ``near`` of the optimum count.
        """
        line = self._through_lowest()
        weights = self._weights(line, near)
        for _ in range(_TURNS):
            if not weights.any():
                break
            new = self.fitted(weights, line)
            moved = float(np.abs(new - line).max())
            line = line + _STEP * (new - line)
            weights = self._weights(line, near)
            if moved < _SETTLED:
                break
        return line, weights

    def _through_lowest(self) -> Floats:
        """The line through the size of lowest mean loss of each budget (median of slopes)."""
        lowest = []
        for b in range(len(self.log_flops)):
            x, loss = self.x[self.budget == b], self.loss[self.budget == b]
            sizes = np.unique(x)
            lowest.append(sizes[np.argmin([loss[x == size].mean() for size in sizes])])
        pairs = np.triu_indices(len(lowest), 1)
        at, log = np.array(lowest), self.log_flops
        slope = np.median((at[pairs[1]] - at[pairs[0]]) / (log[pairs[1]] - log[pairs[0]]))
        return np.array([slope, np.median(at - slope * log), _FALL, 0.0, 0.0])

    def _weights(self, line: Floats, near: float) -> Floats:
        """Tricube weights of the points [n]; 0 for budgets with too few sizes near the line."""
        u = self.x - line[1] - line[0] * self.log_flops[self.budget]
        weights = np.clip(1 - np.abs(u / math.log(near)) ** 3, 0, 1) ** 3
        for b in range(len(self.log_flops)):
            own = self.budget == b
            if len(np.unique(self.x[own & (weights > 0)])) < LEAST_SIZES:
                weights[own] = 0.0
        return np.asarray(weights, dtype=np.float64)

    def fitted(self, weights: Floats, start: Floats) -> Floats:
        """The line of weighted least squares, from ``start``."""
        low = np.array([-1.0, self.x.min() - 5, -2.0, -_SKEWEST, -_SKEWEST])
        high = np.array([2.0, self.x.max() + 5, 2.0, _SKEWEST, _SKEWEST])
        return np.asarray(
            least_squares(
                self._scaled,
                np.clip(start, low + 1e-6, high - 1e-6),
                bounds=(low, high),
                x_scale=(0.1, 0.5, 0.2, 0.2, 0.1),
                args=(weights,),
            ).x,
            dtype=np.float64,
        )

    def _scaled(self, line: Floats, weights: Floats) -> Floats:
        beliefs = [
            (line[2] - _FALL) / _FALL_SPREAD,
            line[3] / _SKEW_SPREAD,
            line[4] / _DRIFT_SPREAD,
        ]
        return np.concatenate([self.residuals(line, weights)[0] / _UNIT_NATS, beliefs])

    def skews(self, line: Floats) -> Floats:
        """The skew of each budget's curve [s]."""
        skews = np.clip(line[3] + line[4] * self.log_flops, -_SKEWEST, _SKEWEST)
        return np.asarray(skews, dtype=np.float64)

    def residuals(self, line: Floats, weights: Floats) -> tuple[Floats, Floats]:
        """Weighted residuals [n] and the lowest losses [s], in nats per token.

        Lowest losses and curvature are those of least squares for this line.
        """
        log = self.log_flops[self.budget]
        u = self.x - line[1] - line[0] * log
        design = np.zeros((len(u), len(self.log_flops) + 1))
        design[np.arange(len(u)), self.budget] = 1.0
        shape = _shape(np.clip(u, -_FAR, _FAR), self.skews(line)[self.budget])
        design[:, -1] = np.exp(-line[2] * log) * shape
        root = np.sqrt(weights)
        solved = np.linalg.lstsq(design * root[:, None], self.loss * root, rcond=None)[0]
        if solved[-1] <= 0:  # a curve that opens downwards has no minimum
            design[:, -1] = 0.0
            solved = np.linalg.lstsq(design * root[:, None], self.loss * root, rcond=None)[0]
        return np.asarray((design @ solved - self.loss) * root), np.asarray(solved[:-1])


def _shape(u: Floats, skew: Floats) -> Floats:
    """G of the module's formula."""
    p = (3 * skew + np.sqrt(9 * skew**2 + 4 * RATE**2)) / 2
    q = p - 3 * skew
    value = (q * np.expm1(p * u) + p * np.expm1(-q * u)) / (p * q * (p + q))
    return np.asarray(value, dtype=np.float64)
