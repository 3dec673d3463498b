"""Damped Newton on a batch of problems that share a law and its points.

Each member of the batch has its own start, weights, targets and bounds. Steps come from exact
derivatives; all members that are not done take them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scaling_law.fit.laws.law import Basis, Floats, Law
from scaling_law.fit.solver.pull import Pull

# A member that gains less than this share of its objective in this many steps is done.
_PATIENCE, _IDLE = 30, 1e-9
# A member that is not done after so many steps follows a curved valley, and its steps are bent.
_VALLEY = 40
# One of several rivals is given up when, as fast as it gains now, the best of the others is this
# many times as many steps away.
_CATCH_UP = 30
# An objective below this is an exact fit; only rounding is left to gain.
EXACT = 1e-16

Terms = tuple[Floats, Floats, Floats]
"""What ``Law.log_loss`` returns."""


class Minimised(Protocol):
    """What is minimised over internal vectors: an objective of a law's log losses at points.

    ``law``: the law.
    ``basis``: the points.
    ``floors``: places of the irreducible loss among the parameters.
    """

    law: Law
    basis: Basis
    floors: NDArray[np.int64]

    def values(self, fitted: Floats, weights: Floats, targets: Floats) -> Floats:
        """The objective where the law's log losses are ``fitted``: the sum over the last axis."""

    def derivatives(
        self, internal: Floats, terms: Terms, weights: Floats, targets: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Gradient [R, k], Hessian and its majoriser [R, k, k] of the objective."""

    def residual(self, fitted: Floats, targets: Floats) -> Floats:
        """What the objective scores."""

    def linearised(self, internal: Floats, targets: Floats) -> tuple[Floats, Floats, Floats]:
        """The residuals [R, n], their derivatives [R, n, k] and the objective's curvature there."""


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

    @property
    def best(self) -> int:
        """The row with the least objective."""
        return int(self.objective.argmin())

    def take(self, rows: slice | NDArray[np.int64]) -> Solution:
        """Some of the optima."""
        return Solution(
            self.internal[rows], self.objective[rows], self.converged[rows], self.hessian[rows]
        )


def joined(parts: Sequence[Solution]) -> Solution:
    """The optima of several batches as those of one."""
    return Solution(
        internal=np.concatenate([part.internal for part in parts]),
        objective=np.concatenate([part.objective for part in parts]),
        converged=np.concatenate([part.converged for part in parts]),
        hessian=np.concatenate([part.hessian for part in parts]),
    )


@dataclass(frozen=True)
class Members:
    """What distinguishes the R members of a batch.

    ``weights``: of the points [R, n].
    ``targets``: the log losses that the law should give [R, n].
    ``low``: lowest internal vectors [R, k].
    ``high``: highest internal vectors [R, k].
    ``rivals``: members of one number solve the same problem [R].
    ``pull``: what each is pulled towards; None: nothing.
    """

    weights: Floats
    targets: Floats
    low: Floats
    high: Floats
    rivals: NDArray[np.int64]
    pull: Pull | None

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Members:
        """Some of the members."""
        rivals = self.rivals[rows]
        return Members(
            _rows(self.weights, rows, len(rivals)),
            _rows(self.targets, rows, len(rivals)),
            self.low[rows],
            self.high[rows],
            rivals,
            self.pull and self.pull.take(rows),
        )


class Newton:
    """Damped Newton on a batch; each member has its own damping, and bounds freeze parameters.

    Each round tries two steps and takes the better: one with the exact Hessian, its negative
    curvature turned positive, and one with the majoriser (iteratively reweighted least squares,
    which cannot overshoot but moves slowly along curved valleys). Members that take long follow a
    narrow valley; they also try the exact step bent along it.
    """

    def __init__(self, problem: Minimised, members: Members) -> None:
        self.problem, self.members = problem, members

    def run(self, starts: Floats, max_steps: int, tolerance: float) -> Solution:
        """Minimise from each of ``starts`` [R, k]."""
        problem, every = self.problem, self.members
        x = np.minimum(np.maximum(starts, every.low), every.high)
        damping = np.full((2, len(x)), 1e-3)
        terms = problem.law.log_loss(x, problem.basis)
        value = self._values(x, terms[0], every)
        slopes = self._slopes(x, value, terms, every)
        before = value.copy()
        live = np.flatnonzero(np.isfinite(value))
        here = every.take(live)
        for number in range(max_steps):
            if number % _PATIENCE == _PATIENCE - 1:
                busy = self._busy(value, before[live], live)
                before[live] = value[live]
                live, here = live[busy], here.take(busy)
            if not len(live):
                break
            system = _System(problem, here, x[live], [slope[live] for slope in slopes])
            trials, gains = system.trials(damping[:, live])
            terms, values = self._tried(trials, here)
            better = values < value[live]
            if number >= _VALLEY:
                bent = system.bent(trials[0], terms[0][: len(live)], damping[0, live])[None]
                bent_terms, bent_values = self._tried(bent, here)
                better[0] |= bent_values[0] < value[live]
                trials = np.concatenate([trials, bent])
                terms = _joined_terms(terms, bent_terms)
                values = np.concatenate([values, bent_values])
            factors = np.where(better, 0.2, 8.0)
            damping[:, live] = np.minimum(np.maximum(damping[:, live] * factors, 1e-14), 1e16)
            accepted = np.flatnonzero(better.any(axis=0))
            if len(accepted):
                moved = live[accepted]
                places = values.argmin(axis=0)[accepted] * len(live) + accepted
                flat = trials.reshape(-1, trials.shape[2])
                x[moved], now = flat[places], values.reshape(-1)[places]
                some = here.take(accepted)
                fresh = self._slopes(x[moved], now, _terms_of(terms, places), some)
                value[moved] = now
                for slope, new in zip(slopes, fresh, strict=True):
                    slope[moved] = new
            tiny = (gains <= tolerance * np.maximum(value[live], EXACT)).all(axis=0)
            done = tiny | (damping[:, live] > 1e12).all(axis=0)
            if done.any():
                left = np.flatnonzero(~done)
                live, here = live[left], here.take(left)
        return Solution(x, value, self._converged(x, value, slopes), slopes[1])

    def _tried(self, trials: Floats, here: Members) -> tuple[Terms, Floats]:
        """What ``Law.log_loss`` returns for trials [t, R, k], and their objectives [t, R]."""
        count = len(trials)
        terms = self.problem.law.log_loss(trials.reshape(-1, trials.shape[2]), self.problem.basis)
        values = self._values(trials, terms[0].reshape(count, trials.shape[1], -1), here)
        values[np.isnan(values)] = np.inf
        return terms, values

    def _busy(self, value: Floats, before: Floats, live: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which ``live`` members still gain, and may yet become the best of their rivals."""
        with np.errstate(invalid="ignore"):  # infinite where a member's slopes overflowed
            gained = before - value[live]
            behind = value[live] - least_of_group(value, self.members.rivals)[live]
        gaining = gained > _IDLE * np.maximum(value[live], EXACT)
        return np.asarray(gaining & (behind <= _CATCH_UP * gained))

    def _values(self, x: Floats, fitted: Floats, members: Members) -> Floats:
        """The objective [..., R] of vectors [..., R, k] that give the log losses ``fitted``."""
        values = self.problem.values(fitted, members.weights, members.targets)
        return values + members.pull.value(x) if members.pull else values

    def _slopes(
        self,
        x: Floats,
        value: Floats,
        terms: Terms,
        members: Members,
    ) -> tuple[Floats, Floats, Floats]:
        """``Minimised.derivatives``; where they overflow they are 0, and ``value`` becomes inf."""
        slopes = self.problem.derivatives(x, terms, members.weights, members.targets)
        if members.pull:
            for slope, added in zip(slopes, members.pull.derivatives(x), strict=True):
                slope += added
        beyond = ~np.isfinite(value)
        for slope in slopes:
            beyond |= ~np.isfinite(slope).reshape(len(x), -1).all(axis=1)
        if beyond.any():
            value[beyond] = np.inf
            for slope in slopes:
                slope[beyond] = 0.0
        return slopes

    def _converged(self, x: Floats, value: Floats, slopes: Sequence[Floats]) -> NDArray[np.bool_]:
        """Whether a further majorised step would gain next to nothing."""
        system = _System(self.problem, self.members, x, slopes)
        _, gains = system.trials(np.full((2, len(x)), 1e-9))
        return np.asarray(np.isfinite(value) & (gains[1] <= 1e-7 * np.maximum(value, EXACT)))


class _System:
    """The equations of one step of R members at ``x`` [R, k], of the exact Hessian and majorised.

    Steps are in the irreducible loss itself, not in its logarithm: the valley along which it
    trades off against the size term is then nearly straight, also where it ends at 0.
    """

    def __init__(
        self, problem: Minimised, here: Members, x: Floats, slopes: Sequence[Floats]
    ) -> None:
        self.problem, self.here, self.x = problem, here, x
        gradient, hessian, major = slopes
        floors = problem.floors
        self.frozen = ((x <= here.low) & (gradient > 0)) | ((x >= here.high) & (gradient < 0))
        self.frozen |= here.low == here.high
        free = np.where(self.frozen, 0.0, gradient)
        self.scale: Floats = np.ones_like(x)
        self.scale[:, floors] = np.exp(-x[:, floors])  # d log E / d E
        both = np.stack([hessian, major])
        both[0, :, floors, floors] -= free[:, floors].T
        both *= self.scale[:, :, None] * self.scale[:, None, :]
        if self.frozen.any():
            both[:, self.frozen[:, :, None] | self.frozen[:, None, :]] = 0.0
            row, place = np.nonzero(self.frozen)
            both[:, row, place, place] = 1.0
        # curvatures compare in units where the majoriser has a unit diagonal
        self.unit = 1 / np.sqrt(np.maximum(both[1].diagonal(axis1=1, axis2=2), 1e-300))
        both *= self.unit[:, :, None] * self.unit[:, None, :]
        self.both = both
        self.force = free * self.scale

    def trials(self, damping: Floats) -> tuple[Floats, Floats]:
        """Trial points [2, R, k] by the exact and the majorised step, and their gains [2, R]."""
        steps = -_solved(self.both, self.force * self.unit, damping + 1e-13) * self.unit
        gains = np.abs((self.force * steps).sum(axis=2))
        return self._at(np.minimum(np.maximum(steps, -3.0), 3.0)), np.asarray(gains)

    def bent(self, trial: Floats, fitted: Floats, damping: Floats) -> Floats:
        """The ``trial`` [R, k] of the exact step, moved back to the valley's floor.

        A straight step leaves a curved valley, so that only short ones gain. What its residuals,
        where the log losses are ``fitted`` [R, n], differ from their linear forecast is taken back
        by a second step with the same matrix (geodesic acceleration, Transtrum 2012, arXiv
        1201.5885).
        """
        problem, targets, floors = self.problem, self.here.targets, self.problem.floors
        residual, jacobian, curvature = problem.linearised(self.x, targets)
        step = trial - self.x  # in the units of the equations
        step[:, floors] = np.exp(trial[:, floors]) - np.exp(self.x[:, floors])
        linear = residual + (jacobian @ (step * self.scale)[:, :, None])[:, :, 0]
        off = problem.residual(fitted, targets) - linear
        off[~np.isfinite(off)] = 0.0
        back = ((self.here.weights * curvature * off)[:, None, :] @ jacobian)[:, 0] * self.scale
        back[self.frozen] = 0.0
        steps = _solved(self.both[:1], back * self.unit, damping[None] + 1e-13)[0] * self.unit
        return np.asarray(self._at((step - steps)[None])[0])

    def _at(self, steps: Floats) -> Floats:
        """The places [..., R, k] to which ``steps`` lead, within the bounds."""
        floors, here = self.problem.floors, self.here
        moved = self.x + steps
        least = np.exp(here.low[:, floors])
        moved[..., floors] = np.log(
            np.maximum(1 / self.scale[:, floors] + steps[..., floors], least)
        )
        return np.asarray(np.minimum(np.maximum(moved, here.low), here.high))


def _joined_terms(some: Terms, more: Terms) -> Terms:
    """Those of two batches as those of one."""
    fitted, shares, log_sum = (np.concatenate(both) for both in zip(some, more, strict=True))
    return fitted, shares, log_sum


def _terms_of(terms: Terms, rows: NDArray[np.int64]) -> Terms:
    """Those of some of the rows."""
    fitted, shares, log_sum = terms
    some = shares.transpose(2, 0, 1)[:, rows].transpose(1, 2, 0)  # points stay last in memory
    taken = fitted[rows]
    return taken, some, taken if log_sum is fitted else log_sum[rows]


def _solved(matrices: Floats, force: Floats, ridge: Floats) -> Floats:
    """(|matrix| + ridge)^-1 force for symmetric matrices [m, R, k, k]: [m, R, k].

    Of a matrix that is not positive definite, |matrix| has the eigenvalues' absolute values. The
    others are solved by elimination over the whole batch at once, whose pivots show which is which.
    """
    width = force.shape[1]
    rows = np.empty((width, width + 1, *ridge.shape))
    rows[:, :width] = matrices.transpose(2, 3, 0, 1)
    rows[range(width), range(width)] += ridge
    rows[:, width] = force.T[:, None]
    definite = np.ones(ridge.shape, dtype=bool)
    solved = np.empty((width, *ridge.shape))
    with np.errstate(all="ignore"):  # where a pivot is 0: not definite
        for k in range(width):
            # without a ridge no pivot of a positive definite matrix is below 0
            definite &= rows[k, k] >= ridge
            factors = rows[k + 1 :, k] / rows[k, k]
            rows[k + 1 :, k + 1 :] -= factors[:, None] * rows[k, k + 1 :]
        for k in reversed(range(width)):
            known = (rows[k, k + 1 : width] * solved[k + 1 :]).sum(axis=0)
            solved[k] = (rows[k, width] - known) / rows[k, k]
    result = solved.transpose(1, 2, 0).copy()
    if not definite.all():
        odd = np.nonzero(~definite)
        curvature, axes = np.linalg.eigh(matrices[odd])
        along = (force[odd[1]][:, None, :] @ axes)[:, 0]
        along /= np.abs(curvature) + ridge[odd][:, None]
        result[odd] = (axes @ along[:, :, None])[:, :, 0]
    return result


def _rows(
    values: Floats, rows: NDArray[np.int64] | NDArray[np.bool_] | slice, count: int
) -> Floats:
    """``values[rows]``, which are ``count``; no copy where it is all rows, or all are the same."""
    if count == len(values):
        return values
    return values[:count] if values.strides[0] == 0 else values[rows]


def least_of_group(values: Floats, groups: NDArray[np.int64]) -> Floats:
    """For each of ``values`` [R] the least of its group."""
    _, group = np.unique(groups, return_inverse=True)
    least = np.full(len(values), np.inf)
    np.minimum.at(least, group, values)
    return np.asarray(least[group])
