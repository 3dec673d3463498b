"""The exponent of compute-optimal size from the IsoFLOP curves of all budgets at once.

``isoflop`` finds the minimum of each budget alone and draws a line through the minima. With three
to five budgets the scatter of so few minima says little about the line, and a budget whose lowest
loss is at its smallest or largest size says nothing. Here the minima lie on the line from the
start, and the curves of all budgets have one shape about it:

    L = L_b + k (C_b / C)^-r u^2 / 2 (1 + s u),    u = log N - c - a log(C_b / C)

L_b is the lowest loss of budget b, C the geometric mean of the budgets. For Chinchilla's law
(Hoffmann 2022, arXiv 2203.15556, section 3.3) at equal compute 6 N D this is its expansion to the
third order about the optimum: a = beta / (alpha + beta), r = alpha beta / (alpha + beta),
s = (beta - alpha) / 3. Here a, r and s are free. The expansion holds near the optimum only, so
that sizes count by how near they are to it: a run at u has the tricube weight (1 - |u / w|^3)^3
(Cleveland 1979, J. Am. Stat. Assoc. 74, 829), none beyond w = log ``NEAR``. Line and weights are
found in turns.

The interval is a jackknife over trunks (Student's t): the fit is repeated without each of them, at
the weights of all, since the losses of one trunk at several budgets are not independent. It reaches
at least to the exponents found with w = log(``NEAR`` / ``WIDER``) and w = log(``NEAR`` *
``WIDER``), because a curve that misses the losses farther out moves with w.

The interval is that of the line near these budgets, if the curves have this shape. On planted
surfaces nine in ten hold. On the records that Porian 2024 (arXiv 2406.19146) published, five
neighbouring budgets hold the exponent of all budgets in 18 of 25 cases (each budget's own minimum:
25 of 25, with wider intervals): the local exponent differs, or the shape does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from scaling_law.fit.approaches.isoflop import LEAST_CELLS, group_cells, prepare
from scaling_law.fit.approaches.isoflop_curves import LEAST_SIZES, CellRuns
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.solver.student import t_reach
from scaling_law.units import count_of

NEAR = 5.0  # sizes within this factor of the optimum count
WIDER = 2**0.5
_LEAST_TRUNKS = 5  # a jackknife over fewer says nothing
_TURNS = 60  # of line and weights at most
_SETTLED = 1e-4
_STEP = 0.7  # of the way to a new line, so that sizes at the edge do not come and go for ever
# Where the curves do not determine r and s, these weak beliefs do: r of usual laws is .05 to .25.
_UNIT_NATS = 0.01  # of the residuals that the beliefs are weighed against
_FALL, _FALL_SPREAD = 0.1, 0.5
_SKEW_SPREAD = 0.3


@dataclass(frozen=True, kw_only=True)
class JointLine:
    """The exponent that all budgets give together; None with the reason where they give none.

    ``exponent``: a of params ~ flops^a.
    ``interval``: (low, high) at the level that was asked for.
    ``without``: the exponent without each trunk, by the trunk's name in the points.
    ``budgets``: FLOPs of the budgets that count.
    ``params_optimal``: parameters at their optima, on the line.
    ``loss_min_nats``: loss there, in nats per token.
    ``n_inside``: how many of these have their optimum inside their sizes.
    ``n_points``: number of points that count.
    ``misfit_nats``: root mean square of the residuals, in nats per token, by the weights.
    ``reason``: why there is no exponent, "" where there is one.
    """

    exponent: float | None = None
    interval: tuple[float, float] | None = None
    without: Mapping[str, float]
    budgets: tuple[float, ...] = ()
    params_optimal: tuple[float, ...] = ()
    loss_min_nats: tuple[float, ...] = ()
    n_inside: int = 0
    n_points: int = 0
    misfit_nats: float = math.nan
    reason: str = ""


def jackknife_error(full: Mapping[str, float]) -> float:
    """Return the standard error of a number, from its value without each of n trunks."""
    values = np.array(list(full.values()))
    n = len(values)
    return math.sqrt((n - 1) / n * float(((values - values.mean()) ** 2).sum()))


def fit_joint(points: FitPoints, *, tolerance_frac: float = 0.1, level: float = 0.9) -> JointLine:
    """Fit one line of optima and one shape to all budgets whose FLOPs agree within the tolerance.

    It needs three budgets with three sizes near the line, three optima inside their budget's
    sizes, and five trunks.
    """
    width = math.log((1 + tolerance_frac) / (1 - tolerance_frac))
    groups, _ = group_cells(points, tolerance_frac)
    cells = [prepare(points, rows, width)[0] for rows in groups]
    cells = [cell for cell in cells if cell.n_sizes >= LEAST_SIZES]
    if len(cells) < LEAST_CELLS:
        return JointLine(without={}, reason=_few(len(cells)))
    curves = _Curves.of(cells, points.cluster_index)
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
    trunks = sorted(set(curves.trunk[counted].tolist()))
    if not reason and len(trunks) < _LEAST_TRUNKS:
        reason = (
            f"{count_of(len(trunks), 'trunk')} near the optima, at least {_LEAST_TRUNKS} needed"
        )
    budgets = tuple(math.exp(cells[b].log_flops) for b in used)
    if reason:
        return JointLine(without={}, budgets=budgets, n_inside=inside, reason=reason)
    names = {
        int(index): name for index, name in zip(points.cluster_index, points.cluster, strict=True)
    }
    without = {
        names[trunk]: float(curves.fitted(weights * (curves.trunk != trunk), line)[0])
        for trunk in trunks
    }
    half = t_reach(len(trunks) - 1, level) * jackknife_error(without)
    exponent = float(line[0])
    others = curves.exponents(NEAR / WIDER, NEAR * WIDER)
    off, lowest = curves.residuals(line, weights)
    optimal = np.exp(line[1] + line[0] * curves.log_flops)
    return JointLine(
        exponent=exponent,
        interval=(min(exponent - half, *others), max(exponent + half, *others)),
        without=without,
        budgets=budgets,
        params_optimal=tuple(float(optimal[b]) for b in used),
        loss_min_nats=tuple(float(lowest[b]) for b in used),
        n_inside=inside,
        n_points=int(counted.sum()),
        misfit_nats=math.sqrt(float(off @ off / weights.sum())),
    )


def _few(count: int) -> str:
    return (
        f"{count_of(count, 'budget')} with {LEAST_SIZES} sizes within a factor of {NEAR:g} of the"
        f" optimum, at least {LEAST_CELLS} needed"
    )


@dataclass(frozen=True, kw_only=True)
class _Curves:
    """The points of all budgets: n points of s budgets.

    A line is the array (a, c, r, s) of the module's formula.

    ``x``: log params [n].
    ``loss``: nats per token at the budget's FLOPs [n].
    ``budget``: the number of each point's budget [n].
    ``log_flops``: of the budgets, less their mean [s].
    ``trunk``: the number of each point's trunk [n].
    """

    x: Floats
    loss: Floats
    budget: NDArray[np.int64]
    log_flops: Floats
    trunk: NDArray[np.int64]

    @classmethod
    def of(cls, cells: list[CellRuns], trunk_of_row: NDArray[np.int64]) -> _Curves:
        """The points of these cells."""
        logs = np.array([cell.log_flops for cell in cells])
        return cls(
            x=np.concatenate([cell.log_params[cell.size_of_row] for cell in cells]),
            loss=np.concatenate([cell.losses for cell in cells]),
            budget=np.repeat(np.arange(len(cells)), [len(cell.rows) for cell in cells]),
            log_flops=logs - logs.mean(),
            trunk=np.concatenate([trunk_of_row[cell.rows] for cell in cells]),
        )

    def has_inside(self, line: Floats, budget: int) -> bool:
        """Whether the line passes a budget between its smallest and its largest size."""
        own = self.x[self.budget == budget]
        at = line[1] + line[0] * self.log_flops[budget]
        return bool(own.min() < at < own.max())

    def counted(self, weights: Floats) -> list[int]:
        """The numbers of the budgets that have weight."""
        return sorted(set(self.budget[weights > 0].tolist()))

    def exponents(self, *near: float) -> list[float]:
        """The exponents where sizes within other factors count, of those that give one."""
        found = [self.settled(factor) for factor in near]
        return [
            float(line[0]) for line, weights in found if len(self.counted(weights)) >= LEAST_CELLS
        ]

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
        return np.array([slope, np.median(at - slope * log), _FALL, 0.0])

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
        steep = 0.9 / (
            1.5 * math.log(NEAR * WIDER)
        )  # beyond it the curve would turn down within reach
        low = np.array([-1.0, self.x.min() - 5, -2.0, -steep])
        high = np.array([2.0, self.x.max() + 5, 2.0, steep])
        return np.asarray(
            least_squares(
                self._scaled,
                np.clip(start, low + 1e-6, high - 1e-6),
                bounds=(low, high),
                x_scale=(0.1, 0.5, 0.2, 0.2),
                args=(weights,),
            ).x,
            dtype=np.float64,
        )

    def _scaled(self, line: Floats, weights: Floats) -> Floats:
        beliefs = [(line[2] - _FALL) / _FALL_SPREAD, line[3] / _SKEW_SPREAD]
        return np.concatenate([self.residuals(line, weights)[0] / _UNIT_NATS, beliefs])

    def residuals(self, line: Floats, weights: Floats) -> tuple[Floats, Floats]:
        """Weighted residuals [n] and the lowest losses [s], in nats per token.

        Lowest losses and curvature are those of least squares for this line.
        """
        log = self.log_flops[self.budget]
        u = self.x - line[1] - line[0] * log
        design = np.zeros((len(u), len(self.log_flops) + 1))
        design[np.arange(len(u)), self.budget] = 1.0
        design[:, -1] = np.exp(-line[2] * log) * u**2 / 2 * (1 + line[3] * u)
        root = np.sqrt(weights)
        solved = np.linalg.lstsq(design * root[:, None], self.loss * root, rcond=None)[0]
        if solved[-1] <= 0:  # a curve that opens downwards has no minimum
            design[:, -1] = 0.0
            solved = np.linalg.lstsq(design * root[:, None], self.loss * root, rcond=None)[0]
        return np.asarray((design @ solved - self.loss) * root), np.asarray(solved[:-1])
