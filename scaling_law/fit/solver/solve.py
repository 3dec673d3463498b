"""Fits a law to points by damped Newton, from many starts or on many resamples at once.

The objective is a sum over points of weight * loss(r), r = log L - log y (or y - L for
``mse``). Internal parameters are centred, so that coefficients and exponents are nearly
uncorrelated (uncentred, the Chinchilla problem's condition number is near 3.5e11). Steps come
from exact derivatives, so that the small scale of the objective (1e-3 for published data) does not
stop the search early, as it stopped Hoffmann's published fit (arXiv 2404.10102).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from scaling_law.fit.laws.law import Floats, Law, Variables

LOSSES = ("huber_log", "mse_log", "mse")
# A term that is exp of this times the typical loss counts as missing: its coefficient is at its
# bound.
_SMALLEST_TERM = np.log(1e-4)
_GRID = 6
_GRID_OF_THREE = 4
_BOUND_SLACK = 1e-3
# A member that gains less than this share of its objective in this many steps is done.
_PATIENCE, _IDLE = 30, 1e-9
# An objective below this is an exact fit; only rounding is left to gain.
_EXACT = 1e-16
# The first pass from the grid of starts takes this many points, where there are twice as many.
_FIRST_PASS = 500
# Members times points that are solved together: their arrays then stay in a processor's cache.
_BLOCK_CELLS = 36_000


@dataclass(frozen=True)
class Objective:
    """How residuals are scored.

    ``loss``: one of ``LOSSES``.
    ``delta``: Huber's threshold in log loss.
    """

    loss: str = "huber_log"
    delta: float = 1e-3

    def score(self, residual: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Value, slope, curvature and majorising curvature of the loss of each residual."""
        if self.loss != "huber_log":
            ones = np.ones_like(residual)
            return 0.5 * residual**2, residual, ones, ones
        size = np.abs(residual)
        inside = size <= self.delta
        value = np.where(inside, 0.5 * residual**2, self.delta * (size - 0.5 * self.delta))
        slope = np.clip(residual, -self.delta, self.delta)
        bend = self.delta / np.maximum(size, self.delta)
        return value, slope, inside.astype(np.float64), bend


class Problem:
    """One law on one set of points, centred; solves for batches of starts and weights."""

    def __init__(
        self,
        law: Law,
        variables: Variables,
        losses: Floats,
        objective: Objective,
        centres: Mapping[str, float] | None = None,
    ) -> None:
        self.law = law
        self.objective = objective
        self.losses = losses
        self.variables = variables
        logs = {name: np.log(variables[name]) for name in law.variables}
        # a refit to some of the points takes the same centres, so that internal vectors carry over
        self.centres = dict(centres or law.centres(logs))
        self.basis = law.basis({n: x - self.centres[n] for n, x in logs.items()})
        self.target = np.log(losses)
        typical = float(np.median(self.target))
        terms, exponents = len(law.terms), list(law.exponents.values())
        power = [law.power_bounds] if law.power else []
        scale = law.power_bounds[0] if law.power else 1.0
        low = [typical + _SMALLEST_TERM] * terms
        high = [typical / scale + 5.0] * terms
        self.floors = np.array([] if law.terms[0].slopes else [0], dtype=int)
        self.low = np.array(low + [b[0] for b in exponents] + [b[0] for b in power])
        self.high = np.array(high + [b[1] for b in exponents] + [b[1] for b in power])
        if law.power:
            # under an outer power the terms' sizes span decades: only the exponents are bounded
            self.low[:terms], self.high[:terms] = -1e3, 1e3

    @property
    def n_params(self) -> int:
        """Length of an internal vector."""
        return len(self.low)

    def starts(self) -> Floats:
        """A grid over the exponents, each with its best non-negative coefficients: [s, k].

        For fixed exponents the terms are linear in their coefficients (variable projection,
        Golub 1973), so only the exponents need a grid.
        """
        law, terms = self.law, len(self.law.terms)
        points = np.array(list(itertools.product(*self._axes())))
        heads = np.zeros((len(points), terms))
        u = law.log_terms(np.hstack([heads, points]), self.basis)
        kappas = points[:, -1] if law.power else np.ones(len(points))
        ones = np.ones(len(self.target))
        for number, kappa in enumerate(kappas):
            goal = np.exp(self.target / kappa)
            coefficients, _ = nnls(np.exp(u[number]) / goal[:, None], ones)
            heads[number] = np.log(np.maximum(coefficients, 1e-300))
        starts = np.hstack([heads, points])
        return np.asarray(np.clip(starts, self.low + 1e-2, self.high - 1e-2))

    def _axes(self) -> list[Floats]:
        # laws of text have exponents well below 1; the solver may still leave this box
        law = self.law
        bounds = {n: (max(lo, 0.0), min(hi, 1.0)) for n, (lo, hi) in law.exponents.items()}
        if law.power:
            bounds[law.power] = (0.02, 0.6)
        size = _GRID if len(bounds) < 3 else _GRID_OF_THREE
        return [
            np.array(law.grid[name]) if name in law.grid else np.linspace(lo, hi, size + 2)[1:-1]
            for name, (lo, hi) in bounds.items()
        ]

    def evaluate(
        self, internal: Floats, weights: Floats, targets: Floats, *, derivatives: bool = True
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Objective [R], gradient [R, k], Hessian and Gauss-Newton majoriser [R, k, k]."""
        fitted, shares, log_sum = self.law.log_loss(internal, self.basis)
        in_loss = self.objective.loss == "mse"
        residual = (np.exp(fitted) - np.exp(targets)) if in_loss else fitted - targets
        value, slope, curvature, bend = self.objective.score(residual)
        total = np.einsum("rn,rn->r", weights, value)
        if not derivatives:
            none = np.empty(0)
            return total, none, none, none
        if in_loss:  # chain rule from L to log L
            loss = np.exp(fitted)
            curvature = bend = curvature * loss**2
            slope = slope * loss
            curvature = curvature + slope
        inner = self.law.slopes_of_sum(internal, self.basis, shares)
        jacobian = self.law.with_power(internal, inner, log_sum)
        force = weights * slope
        gradient = (force[:, None, :] @ jacobian)[:, 0]
        major = self.gram(jacobian, weights * bend)
        if self.law.power:
            hessian = self.gram(jacobian, weights * curvature)
            hessian += self._second_order(internal, inner, shares, force)
        else:
            hessian = self.gram(jacobian, weights * curvature - force)
            hessian += self.law.curvature_of_sum(internal, self.basis, force[:, :, None] * shares)
        return total, gradient, hessian, major

    def jacobian(self, internal: Floats, shares: Floats, log_sum: Floats) -> Floats:
        """d log L / d parameter: [R, n, k]."""
        return self.law.slopes(internal, self.basis, shares, log_sum)

    @staticmethod
    def gram(jacobian: Floats, weights: Floats) -> Floats:
        """Sum over points of weight * gradient gradient^T: [R, k, k]."""
        weighted = jacobian * weights[:, :, None]
        return np.asarray(np.swapaxes(weighted, 1, 2) @ jacobian)

    def _second_order(
        self, internal: Floats, inner: Floats, shares: Floats, force: Floats
    ) -> Floats:
        """Sum over points of force * d2 log L / d parameters^2, under a power: [R, k, k].

        ``inner`` are the slopes of the log of the sum.
        """
        scaled = force * internal[:, -1:]
        pull = scaled[:, :, None] * shares
        spread = self.law.curvature_of_sum(internal, self.basis, pull) - self.gram(inner, scaled)
        width = spread.shape[1]
        full = np.zeros((len(internal), width + 1, width + 1))
        full[:, :width, :width] = spread
        cross = (force[:, None, :] @ inner)[:, 0]
        full[:, :width, width] = full[:, width, :width] = cross
        return full

    def solve(
        self,
        starts: Floats,
        weights: Floats | None = None,
        targets: Floats | None = None,
        *,
        max_steps: int = 1500,
        pinned: Mapping[int, float] | None = None,
    ) -> Solution:
        """Minimise from every row of ``starts`` [R, k], with its weights and log targets [R, n].

        ``pinned`` holds parameters (by place) at a value.
        """
        count, points = len(starts), len(self.target)
        ones = np.broadcast_to(1.0, (count, points))
        weights = ones if weights is None else weights
        targets = np.broadcast_to(self.target, (count, points)) if targets is None else targets
        size = max(1, _BLOCK_CELLS // points)
        blocks = [slice(first, first + size) for first in range(0, max(count, 1), size)]
        solved = [
            _Newton(self, weights[block], targets[block], pinned).run(
                starts[block].copy(), max_steps
            )
            for block in blocks
        ]
        return solved[0] if len(solved) == 1 else _joined(solved)

    def solve_from(
        self,
        starts: Floats,
        weights: Floats | None = None,
        targets: Floats | None = None,
    ) -> Solution:
        """``solve``, for many points after a first pass on every so many of them.

        Every start's end is polished on all points, so that the share that agrees is theirs.
        """
        every = len(self.target) // _FIRST_PASS
        if every < 2:
            return self.solve(starts, weights, targets)
        rows = np.argsort(self.losses, kind="stable")[::every]
        some = {name: np.asarray(values)[rows] for name, values in self.variables.items()}
        few = Problem(self.law, some, self.losses[rows], self.objective, self.centres)
        first = few.solve(
            starts,
            None if weights is None else weights[:, rows],
            None if targets is None else targets[:, rows],
        )
        return self.solve(first.internal, weights, targets)

    def at_bound(self, internal: Floats) -> list[str]:
        """Names of the parameters that sit on a bound."""
        span = np.minimum(self.high - self.low, 1.0)
        close = (internal - self.low < _BOUND_SLACK * span) | (
            self.high - internal < _BOUND_SLACK * span
        )
        return [name for name, hit in zip(self.law.names, close, strict=True) if hit]

    def beyond(self, place: int, low: float, high: float) -> tuple[bool, bool]:
        """Whether an interval of one parameter reaches the lower, and the upper bound."""
        least, most = float(self.low[place]), float(self.high[place])
        slack = _BOUND_SLACK * min(most - least, 1.0)
        return low - least < slack, most - high < slack

    def form(self, internal: Floats) -> dict[str, float]:
        """The published parameters of one internal vector."""
        names, terms = self.law.names, self.law.terms
        values = dict(zip(names, (float(x) for x in internal), strict=True))
        for term in terms:
            shift = sum(
                factor * (values[exponent] if exponent else 1.0) * self.centres[variable]
                for variable, factor, exponent in term.slopes
            )
            log_coefficient = values[term.coefficient] - shift
            values[term.coefficient] = log_coefficient
        values = self.law.uncentre(values, self.centres)
        for term in terms:
            values[term.coefficient] = float(np.exp(np.clip(values[term.coefficient], -700, 700)))
        public: dict[str, float] = self.law.to_public(values)
        return public


@dataclass(frozen=True)
class Solution:
    """The optima of a batch of R problems.

    ``internal``: internal vectors [R, k].
    ``objective``: objectives [R].
    ``converged``: whether each converged [R].
    ``hessian``: exact Hessians there [R, k, k].
    """

    internal: Floats
    objective: Floats
    converged: NDArray[np.bool_]
    hessian: Floats


def _joined(parts: Sequence[Solution]) -> Solution:
    """The optima of several batches as those of one."""
    return Solution(
        internal=np.concatenate([part.internal for part in parts]),
        objective=np.concatenate([part.objective for part in parts]),
        converged=np.concatenate([part.converged for part in parts]),
        hessian=np.concatenate([part.hessian for part in parts]),
    )


class _Newton:
    """Damped Newton on a batch; each member has its own damping, and bounds freeze parameters.

    Each round tries two steps and takes the better: one with the exact Hessian, its negative
    curvature turned positive, and one with the majoriser (iteratively reweighted least squares,
    which cannot overshoot but moves slowly along curved valleys).
    """

    def __init__(
        self,
        problem: Problem,
        weights: Floats,
        targets: Floats,
        pinned: Mapping[int, float] | None = None,
    ) -> None:
        self.problem, self.weights, self.targets = problem, weights, targets
        self.low, self.high = problem.low.copy(), problem.high.copy()
        for place, value in (pinned or {}).items():
            self.low[place] = self.high[place] = value

    def run(self, x: Floats, max_steps: int) -> Solution:
        """Minimise from each row of ``x`` [R, k], in place."""
        problem, count = self.problem, len(x)
        np.clip(x, self.low, self.high, out=x)
        damping = np.full((2, count), 1e-3)
        done = np.zeros(count, dtype=bool)
        value, gradient, hessian, major = self._evaluated(x, self.weights, self.targets)
        done |= ~np.isfinite(value)
        before = value.copy()
        for number in range(max_steps):
            if number % _PATIENCE == _PATIENCE - 1:
                done |= before - value <= _IDLE * np.maximum(value, _EXACT)
                before = value.copy()
            live = np.flatnonzero(~done)
            if not len(live):
                break
            weights, targets = self.weights[live], self.targets[live]
            here = x[live], gradient[live], hessian[live], major[live]
            trials, gains = self._trials(here, damping[:, live])
            values = np.stack(
                [problem.evaluate(t, weights, targets, derivatives=False)[0] for t in trials]
            )
            values[np.isnan(values)] = np.inf
            better = values < value[live]
            damping[:, live] *= np.where(better, 0.2, 8.0)
            np.clip(damping, 1e-14, 1e16, out=damping)
            chosen = values.argmin(axis=0)
            accepted = better.any(axis=0)
            moved = live[accepted]
            if len(moved):
                x[moved] = trials[chosen, np.arange(len(live))][accepted]
                again = self._evaluated(x[moved], self.weights[moved], self.targets[moved])
                value[moved], gradient[moved], hessian[moved], major[moved] = again
            tiny = (gains <= 1e-13 * np.maximum(value[live], _EXACT)).all(axis=0)
            stuck = (damping[:, live] > 1e12).all(axis=0)
            done[live[tiny | stuck]] = True
        return Solution(x, value, self._converged(x, value, gradient, hessian, major), hessian)

    def _evaluated(
        self, x: Floats, weights: Floats, targets: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """``Problem.evaluate``; where that overflows, an infinite value without slopes."""
        value, *slopes = self.problem.evaluate(x, weights, targets)
        beyond = ~np.isfinite(value)
        for slope in slopes:
            beyond |= ~np.isfinite(slope).reshape(len(x), -1).all(axis=1)
        if beyond.any():
            value[beyond] = np.inf
            for slope in slopes:
                slope[beyond] = 0.0
        gradient, hessian, major = slopes
        return value, gradient, hessian, major

    def _trials(
        self, here: tuple[Floats, Floats, Floats, Floats], damping: Floats
    ) -> tuple[Floats, Floats]:
        """Trial points [2, R, k] by the exact and the majorised step, and their gains [2, R].

        Steps are in the irreducible loss itself, not in its logarithm: the valley along which it
        trades off against the size term is then nearly straight, also where it ends at 0.
        """
        problem = self.problem
        x, gradient, hessian, major = here
        frozen = ((x <= self.low) & (gradient > 0)) | ((x >= self.high) & (gradient < 0))
        frozen |= self.low == self.high
        free = np.where(frozen, 0.0, gradient)
        keep = ~(frozen[:, :, None] | frozen[:, None, :])
        pinned = np.eye(problem.n_params) * frozen[:, :, None]
        safe = np.where(keep, major, 0.0) + pinned
        floors = problem.floors
        scale = np.ones_like(x)
        scale[:, floors] = np.exp(-x[:, floors])  # d log E / d E
        bent = np.where(keep, hessian, 0.0) + pinned
        bent[:, floors, floors] -= free[:, floors]
        # curvatures compare in units where the majoriser has a unit diagonal
        safe = safe * scale[:, :, None] * scale[:, None, :]
        unit = 1 / np.sqrt(np.maximum(np.einsum("rkk->rk", safe), 1e-300))
        both = unit[:, :, None] * unit[:, None, :]
        force = free * scale * unit
        steps, gains = [], []
        for matrix, ridge in (
            (bent * scale[:, :, None] * scale[:, None, :], damping[0]),
            (safe, damping[1]),
        ):
            curvature, axes = np.linalg.eigh(matrix * both)
            along = (force[:, None, :] @ axes)[:, 0]
            along /= np.abs(curvature) + ridge[:, None] + 1e-13
            step = -(axes @ along[:, :, None])[:, :, 0] * unit
            gains.append(np.abs(np.einsum("rk,rk->r", free * scale, step)))
            step = np.clip(step, -3.0, 3.0)
            moved = x + step
            least = np.exp(self.low[floors])
            moved[:, floors] = np.log(np.maximum(1 / scale[:, floors] + step[:, floors], least))
            steps.append(np.clip(moved, self.low, self.high))
        return np.stack(steps), np.stack(gains)

    def _converged(
        self, x: Floats, value: Floats, gradient: Floats, hessian: Floats, major: Floats
    ) -> NDArray[np.bool_]:
        """Whether a further majorised step would gain next to nothing."""
        _, gains = self._trials((x, gradient, hessian, major), np.full((2, len(x)), 1e-9))
        return np.asarray(np.isfinite(value) & (gains[1] <= 1e-7 * np.maximum(value, _EXACT)))
