"""Fits a law to points, from many starts or on many resamples at once.

The objective is a sum over points of weight * loss(r), r = log L - log y (or y - L for
``mse``). Internal parameters are centred, so that coefficients and exponents are nearly
uncorrelated (uncentred, the Chinchilla problem's condition number is near 3.5e11). Steps come
from exact derivatives, so that the small scale of the objective (1e-3 for published data) does not
stop the search early, as it stopped Hoffmann's published fit (arXiv 2404.10102).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_law.fit.laws.law import Floats, Law, Variables
from scaling_law.fit.solver.newton import (
    EXACT,
    Members,
    Newton,
    Solution,
    Terms,
    joined,
    least_of_group,
)
from scaling_law.fit.solver.pull import Pull

LOSSES = ("huber_log", "mse_log", "mse")
# A term that is exp of this times the typical loss counts as missing: its coefficient is at its
# bound.
_SMALLEST_TERM = np.log(1e-4)
_GRID = 6
_GRID_OF_THREE = 4
_BOUND_SLACK = 1e-3
_TOLERANCE = 1e-13
# Ends of a first pass whose objectives differ by less than this share are one place, and one whose
# objective exceeds the best by more than the second share is not polished.
_SAME_END, _FAR_END = 1e-6, 0.1
# Ends of a first pass that differ by less than this in every internal parameter are one place.
_SAME_PLACE = 1e-5
# Relative ridge on the normal equations of the starts' coefficients.
_RIDGE = 1e-10
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

    def value(self, residual: Floats) -> Floats:
        """The loss of each residual."""
        if self.loss != "huber_log":
            return np.asarray(0.5 * residual**2)
        size = np.abs(residual)
        inside = np.minimum(size, self.delta)
        return np.asarray(inside * (size - 0.5 * inside))

    def slopes(self, residual: Floats) -> tuple[Floats, Floats, Floats]:
        """Slope, curvature and majorising curvature of the loss of each residual."""
        if self.loss != "huber_log":
            ones = np.ones_like(residual)
            return residual, ones, ones
        size = np.abs(residual)
        slope = np.minimum(np.maximum(residual, -self.delta), self.delta)
        bend = self.delta / np.maximum(size, self.delta)
        return slope, (size <= self.delta).astype(np.float64), bend


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

    def starts(self, most: int | None = None) -> Floats:
        """A grid over the exponents, each with its best non-negative coefficients: [s, k].

        For fixed exponents the terms are linear in their coefficients (variable projection,
        Golub 1973), so only the exponents need a grid. ``most`` takes at most about as many of the
        grid's points.
        """
        law, terms = self.law, len(self.law.terms)
        points = np.array(list(itertools.product(*self._axes())))
        if most is not None:
            points = points[:: _coprime(max(1, len(points) // most), len(points))]
        u = law.log_terms(np.hstack([np.zeros((len(points), terms)), points]), self.basis)
        kappas = points[:, -1:] if law.power else np.ones((len(points), 1))
        shares = u - (self.target / kappas)[:, :, None]  # logarithms; the sum should be 1
        most_share = shares.max(axis=1)
        coefficients = _non_negative(np.exp(shares - most_share[:, None]))
        heads = np.log(np.maximum(coefficients, 1e-300)) - most_share
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
        terms = self.law.log_loss(internal, self.basis)
        value = self.values(terms[0], weights, targets)
        if not derivatives:
            none = np.empty(0)
            return value, none, none, none
        return value, *self.derivatives(internal, terms, weights, targets)

    def values(self, fitted: Floats, weights: Floats, targets: Floats) -> Floats:
        """The objective where the law's log losses are ``fitted``: the sum over the last axis."""
        return np.asarray((weights * self.objective.value(self.residual(fitted, targets))).sum(-1))

    def residual(self, fitted: Floats, targets: Floats) -> Floats:
        """What the objective scores, where the law's log losses are ``fitted``."""
        if self.objective.loss == "mse":
            return np.asarray(np.exp(fitted) - np.exp(targets))
        return fitted - targets

    def derivatives(
        self,
        internal: Floats,
        terms: Terms,
        weights: Floats,
        targets: Floats,
    ) -> tuple[Floats, Floats, Floats]:
        """Gradient [R, k], Hessian and Gauss-Newton majoriser [R, k, k] of the objective.

        ``terms`` are what ``Law.log_loss`` returned for ``internal``.
        """
        fitted, shares, log_sum = terms
        slope, curvature, bend = self.objective.slopes(self.residual(fitted, targets))
        if self.objective.loss == "mse":  # chain rule from L to log L
            loss = np.exp(fitted)
            curvature = bend = curvature * loss**2
            slope = slope * loss
            curvature = curvature + slope
        law, of_terms = self.law, self.law.slopes_of_terms(internal, self.basis)
        inner = law.slopes_of_sum(internal, self.basis, shares, of_terms)
        jacobian = law.with_power(internal, inner, log_sum)
        force = weights * slope
        gradient = (force[:, None, :] @ jacobian)[:, 0]
        major = self.gram(jacobian, weights * bend)
        if law.power:
            scaled = force * internal[:, -1:]
            pull = scaled[:, :, None] * shares
            spread = law.curvature_of_sum(internal, self.basis, pull, of_terms)
            spread -= self.gram(inner, scaled)
            hessian = self.gram(jacobian, weights * curvature)
            hessian[:, :-1, :-1] += spread
            cross = (force[:, None, :] @ inner)[:, 0]
            hessian[:, :-1, -1] += cross
            hessian[:, -1, :-1] += cross
        else:
            hessian = self.gram(jacobian, weights * curvature - force)
            pull = force[:, :, None] * shares
            hessian += law.curvature_of_sum(internal, self.basis, pull, of_terms)
        return gradient, hessian, major

    def linearised(self, internal: Floats, targets: Floats) -> tuple[Floats, Floats, Floats]:
        """The residuals [R, n] that are scored, their derivatives [R, n, k] and their curvature.

        The curvature [R, n] is that of the loss of each.
        """
        fitted, shares, log_sum = self.law.log_loss(internal, self.basis)
        jacobian = self.jacobian(internal, shares, log_sum)
        if self.objective.loss == "mse":
            jacobian = jacobian * np.exp(fitted)[:, :, None]
        residual = self.residual(fitted, targets)
        return residual, jacobian, self.objective.slopes(residual)[1]

    def jacobian(self, internal: Floats, shares: Floats, log_sum: Floats) -> Floats:
        """d log L / d parameter: [R, n, k]."""
        return self.law.slopes(internal, self.basis, shares, log_sum)

    @staticmethod
    def gram(jacobian: Floats, weights: Floats) -> Floats:
        """Sum over points of weight * gradient gradient^T: [R, k, k]."""
        weighted = jacobian * weights[:, :, None]
        return np.asarray(np.swapaxes(weighted, 1, 2) @ jacobian)

    def solve(
        self,
        starts: Floats,
        weights: Floats | None = None,
        targets: Floats | None = None,
        *,
        max_steps: int = 1500,
        tolerance: float = _TOLERANCE,
        pinned: Mapping[int, float | Floats] | None = None,
        bounds: tuple[Floats, Floats] | None = None,
        rivals: NDArray[np.int64] | None = None,
        pull: Pull | None = None,
    ) -> Solution:
        """Minimise from every row of ``starts`` [R, k], with its weights and log targets [R, n].

        A row is done when a step was expected to gain less than ``tolerance`` times its objective.
        ``pinned`` holds parameters (by place) at a value, or at one for each row [R]. ``bounds``
        are the lowest and the highest vectors of each row [R, k], in place of the problem's own.
        Rows of one number in ``rivals`` [R] solve the same problem and only the best of them
        counts: one that falls behind beyond recovery is given up. ``pull`` is added to the
        objective.
        """
        count, points = len(starts), len(self.target)
        weights = np.broadcast_to(1.0 if weights is None else weights, (count, points))
        targets = np.broadcast_to(self.target if targets is None else targets, (count, points))
        low, high = (
            np.array(np.broadcast_to(end, starts.shape)) for end in bounds or (self.low, self.high)
        )
        for place, value in (pinned or {}).items():
            low[:, place] = high[:, place] = value
        rivals = np.arange(count) if rivals is None else rivals
        every = Members(weights, targets, low, high, rivals, pull)
        size = max(1, _BLOCK_CELLS // points)
        blocks = [slice(first, first + size) for first in range(0, max(count, 1), size)]
        solved = [
            Newton(self, every.take(block)).run(starts[block], max_steps, tolerance)
            for block in blocks
        ]
        return solved[0] if len(solved) == 1 else joined(solved)

    def solve_from(
        self,
        starts: Floats,
        weights: Floats | None = None,
        targets: Floats | None = None,
        *,
        rivals: NDArray[np.int64] | None = None,
        tolerance: float = _TOLERANCE,
    ) -> Solution:
        """``solve``, for many points after a first pass on every so many of them.

        The ends are polished on all points, those at one place once; among ``rivals`` only those
        that the first pass does not leave behind.
        """
        every = len(self.target) // _FIRST_PASS
        if every < 2:
            return self.solve(starts, weights, targets, rivals=rivals, tolerance=tolerance)
        rows = np.argsort(self.losses, kind="stable")[::every]
        some = {name: np.asarray(values)[rows] for name, values in self.variables.items()}
        few = Problem(self.law, some, self.losses[rows], self.objective, self.centres)
        first = few.solve(
            starts,
            None if weights is None else weights[:, rows],
            None if targets is None else targets[:, rows],
            rivals=rivals,
            tolerance=tolerance,
        )
        if rivals is not None:
            kept = _leaders(first.objective, rivals)
            place = np.full(len(starts), -1)
            place[kept] = np.arange(len(kept))
        elif weights is None and targets is None:
            kept, place = places_of(first)
        else:
            kept = place = np.arange(len(starts))
        polished = self.solve(
            first.internal[kept],
            None if weights is None else weights[kept],
            None if targets is None else targets[kept],
            tolerance=tolerance,
        )
        ends = polished.take(place)
        ends.objective[place < 0], ends.converged[place < 0] = np.inf, False
        return ends

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


def _coprime(step: int, count: int) -> int:
    """The least number from ``step`` on without a common factor with ``count``.

    Such steps through a grid visit every value of each of its axes; others may always meet one.
    """
    return next(n for n in itertools.count(step) if math.gcd(n, count) == 1)


def _non_negative(columns: Floats) -> Floats:
    """The coefficients [S, t], none below 0, by which columns [S, n, t] add up closest to 1.

    Of all choices of columns whose own least squares has no negative coefficient, the one that
    explains the most is the constrained optimum: laws have two or three terms, so all are tried.
    """
    count, _, terms = columns.shape
    gram = np.swapaxes(columns, 1, 2) @ columns
    gram[:, range(terms), range(terms)] *= 1 + _RIDGE  # two columns may be multiples of each other
    sums = columns.sum(axis=1)
    best, most = np.zeros((count, terms)), np.zeros(count)
    for size in range(1, terms + 1):
        for some in map(list, itertools.combinations(range(terms), size)):
            part = np.linalg.solve(gram[:, some][:, :, some], sums[:, some, None])[:, :, 0]
            explained = (part * sums[:, some]).sum(axis=1)
            better = (part >= 0).all(axis=1) & (explained > most)
            most[better] = explained[better]
            best[better] = 0.0
            best[np.ix_(better, some)] = part[better]
    return best


def places_of(
    ends: Solution, groups: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One of the ends at each place, and for every end the number of its place.

    Ends of different ``groups`` [R] are at different places.
    """
    kept: list[int] = []
    place = np.zeros(len(ends.objective), dtype=np.int64)
    for row, end in enumerate(ends.internal):
        apart = np.abs(ends.internal[kept] - end).max(axis=1)
        if groups is not None:
            apart[groups[kept] != groups[row]] = np.inf
        if len(kept) and apart.min() < _SAME_PLACE:
            place[row] = apart.argmin()
        else:
            place[row] = len(kept)
            kept.append(row)
    return np.array(kept), place


def _leaders(objective: Floats, rivals: NDArray[np.int64]) -> NDArray[np.int64]:
    """The best of each group, and those at other places that may yet turn out better."""
    order = np.lexsort((objective, rivals))
    best = order[np.diff(rivals[order], prepend=rivals[order[0]] - 1) != 0]
    excess = objective / np.maximum(least_of_group(objective, rivals), EXACT) - 1
    return np.union1d(best, np.flatnonzero((excess > _SAME_END) & (excess <= _FAR_END)))
