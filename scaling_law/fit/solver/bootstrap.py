"""Resamples trunks for intervals, never rows: a trunk's branches share init, data and weights.

With many clusters (at least ``MANY_CLUSTERS``) a pairs bootstrap draws whole clusters with
replacement (Cameron 2008, "Bootstrap-based improvements for inference with clustered errors").
With few, drawing 8 trunks with replacement would drop whole sizes and often lose identification.
So the wild cluster bootstrap leaves every point in and multiplies each cluster's residuals by one
random weight of Webb's six (Webb 2023, "Reworking wild bootstrap-based inference for
clustered errors"); residuals are first corrected for each cluster's pull on the fit (CR3:
Bell 2002, "Bias reduction in standard errors for linear regression with multi-stage samples"),
and the interval is widened by Student's t with G - 1 degrees of freedom over the normal
quantile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_law.errors import ConfigError
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.solver.solve import Problem
from scaling_law.fit.solver.student import t_over_normal

MANY_CLUSTERS = 30
_WEBB = np.sqrt(np.array([0.5, 1.0, 1.5]))
# Share of the scatter that smooths the drawn residuals where Huber's threshold lies inside it.
# The fit then nearly minimises absolute values and passes through as many points as it has
# parameters; their residuals of 0 would stay 0 in every resample. Simulated on 8 and 12 trunks
# with noise of .2% and 1%, 90% intervals of beta cover 80 to 85% without it, 88 to 95% with it.
_SMOOTH = 0.35
_BATCH, _BATCH_CELLS = 500, 250_000
# Most resamples times points: weights and targets of all resamples are in memory at once.
MAX_CELLS = 10**8
# A resample whose objective the multi-start lowers by more than this was in another minimum.
_AGREE = 1e-6
# A resample is done when a step was expected to gain less than this share of its objective; that
# step is made, and leaves a thousandth of a standard error or less.
_TOLERANCE = 1e-9
# One resample in this many is checked, but at least eight.
_CHECKED_EVERY = 50
_CHECK_STARTS = 8
# Up to so many resamples times points all are checked where one of the sample moved.
_CHECKED_CELLS = 100_000
_MOST_FAILURES = 100
# Residuals grow at most tenfold: those of a cluster with all the leverage mean nothing.
_MOST_LEVERAGE = 0.9
# Fewer clusters say nothing about how clusters vary.
LEAST_CLUSTERS = 3
# With fewer trunks a law's parameters can follow each trunk's noise, which then does not show.
VERY_FEW = 6


@dataclass(frozen=True)
class Bootstrap:
    """Refits to R resampled data sets of n points.

    ``internal``: their internal parameter vectors [R, k].
    ``weights``: the weights that each was fitted with [R, n].
    ``targets``: the log targets, likewise [R, n].
    ``method``: how they were made, in words.
    ``widen``: factor on the half-widths of a percentile interval.
    ``unconverged``: number of resamples left out.
    ``notes``: what a reader should know.
    """

    internal: Floats
    weights: Floats
    targets: Floats
    method: str
    widen: float
    unconverged: int
    notes: tuple[str, ...]


def check_size(resamples: int, count: int) -> None:
    """Raises ``ConfigError`` where the resamples of ``count`` points would take too much memory."""
    if resamples * count > MAX_CELLS:
        raise ConfigError(
            f"{resamples} resamples of {count} points need {16 * resamples * count / 1e9:.3g} GB:"
            f" ask for at most {MAX_CELLS // count}"
        )


def bootstrap(
    problem: Problem, optimum: Floats, points: FitPoints, *, resamples: int, seed: int, level: float
) -> Bootstrap:
    """Refit ``resamples`` resampled data sets from the full-data ``optimum`` [k].

    Each result is checked for convergence, and a sample of them against a multi-start; those that
    fail are solved again from starts spread over the grid, and all of them where one of the sample
    was in another minimum and there are few points.
    """
    generator = np.random.default_rng(seed)
    pairs = points.n_clusters >= MANY_CLUSTERS
    draw = _pairs if pairs else _wild
    weights, targets = draw(problem, optimum, points, resamples, generator)
    internal = np.empty((resamples, len(optimum)))
    good = np.zeros(resamples, dtype=bool)
    size = max(8, min(_BATCH, _BATCH_CELLS // len(points)))
    for first in range(0, resamples, size):
        rows = slice(first, min(first + size, resamples))
        starts = np.tile(optimum, (len(internal[rows]), 1))
        solution = problem.solve(starts, weights[rows], targets[rows], tolerance=_TOLERANCE)
        internal[rows], good[rows] = solution.internal, solution.converged
    checked = min(resamples, max(8, resamples // _CHECKED_EVERY))
    failed = np.flatnonzero(~good)[:_MOST_FAILURES]
    sample = np.union1d(failed, np.linspace(0, resamples - 1, checked).astype(int))
    moved = _check(problem, weights, targets, internal, good, sample)
    notes = []
    if moved:
        note = f"{moved} of {checked} checked resamples had a better optimum elsewhere"
        if resamples * len(points) <= _CHECKED_CELLS:
            rest = np.setdiff1d(np.arange(resamples), sample)
            moved += _check(problem, weights, targets, internal, good, rest)
            note += f": all were solved from {_CHECK_STARTS} more starts, which moved {moved}"
        notes.append(note)
    groups = points.n_clusters
    widen = 1.0
    if pairs:
        method = f"pairs bootstrap over {groups} clusters"
    else:
        widen = t_over_normal(groups - 1, level)
        method = f"wild cluster bootstrap over {groups} trunks, Student's t({groups - 1})"
        if groups < VERY_FEW:
            notes.append(
                f"only {groups} independent trunks: simulated 90% intervals of sweeps this small"
                " held the truth in about 75% of cases (benchmarks/coverage.py)"
            )
        elif groups < 12:
            notes.append(f"only {groups} independent trunks: intervals are themselves uncertain")
    if not good.all():  # a copy of all would take as much memory again
        weights, targets = weights[good], targets[good]
    return Bootstrap(
        internal[good],
        weights,
        targets,
        method,
        widen,
        int((~good).sum()),
        tuple(notes),
    )


def _pairs(
    problem: Problem, optimum: Floats, points: FitPoints, count: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    groups, group = points.n_clusters, points.cluster_index
    weights = np.empty((count, len(points)))
    for row in weights:  # drawn row by row: all draws at once would take as much memory again
        times = np.bincount(generator.integers(0, groups, groups), minlength=groups)
        row[:] = times[group]
    return weights, np.broadcast_to(problem.target, (count, len(problem.target)))


def _wild(
    problem: Problem, optimum: Floats, points: FitPoints, count: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    groups, rows = points.n_clusters, len(points)
    fitted, residual = _leverage_corrected(problem, optimum, points)
    signs = generator.choice(np.concatenate([-_WEBB, _WEBB]), (count, groups))
    drawn = signs[:, points.cluster_index]
    drawn *= residual
    scatter = float(np.sqrt(np.sum(residual**2) / max(rows - problem.n_params, 1)))
    scoring = problem.objective
    if scoring.loss == "huber_log" and scoring.delta < scatter:
        for row in drawn:
            row += generator.standard_normal(rows) * (_SMOOTH * scatter)
        drawn /= np.sqrt(1 + _SMOOTH**2)
    drawn += fitted
    return np.broadcast_to(1.0, drawn.shape), drawn


def _leverage_corrected(
    problem: Problem, optimum: Floats, points: FitPoints
) -> tuple[Floats, Floats]:
    """Fitted log losses, and residuals as if each cluster had not pulled the fit, [n] each.

    A cluster's residuals are multiplied by (I - H_gg)^-1, H the hat matrix of the fit's
    linearisation (CR3, Bell 2002): the only trunk of a size bends the law towards itself, so that
    its raw residuals hide most of its noise.
    """
    fitted, shares, log_sum = problem.law.log_loss(optimum[None], problem.basis)
    jacobian = problem.jacobian(optimum[None], shares, log_sum)[0]
    lengths = np.linalg.norm(jacobian, axis=0)
    effective = lengths > 0  # a term that is missing leaves its exponent without any effect
    basis, _ = np.linalg.qr(jacobian[:, effective] / lengths[effective])
    residual = problem.target - fitted[0]
    for group in range(points.n_clusters):
        rows = np.flatnonzero(points.cluster_index == group)
        leverage = basis[rows] @ basis[rows].T
        values, axes = np.linalg.eigh(leverage)
        stretch = 1 / (1 - np.minimum(values, _MOST_LEVERAGE))
        residual[rows] = axes @ (stretch * (axes.T @ residual[rows]))
    return fitted[0], residual


def _check(
    problem: Problem,
    weights: Floats,
    targets: Floats,
    internal: Floats,
    good: NDArray[np.bool_],
    rows: NDArray[np.int64],
) -> int:
    """Solve the resamples ``rows`` from other starts too; returns how many moved.

    Better solutions replace those in ``internal`` and ``good``.
    """
    few = problem.starts(_CHECK_STARTS)
    count = len(few) + 1
    size = max(1, _BATCH_CELLS // (count * len(problem.target)))
    moved = 0
    for first in range(0, len(rows), size):
        some = rows[first : first + size]
        each = np.repeat(some, count)
        starts = np.concatenate([np.vstack([internal[row], few]) for row in some])
        solution = problem.solve_from(
            starts, weights[each], targets[each], rivals=each, tolerance=_TOLERANCE
        )
        mine = problem.evaluate(internal[some], weights[some], targets[some], derivatives=False)[0]
        for number, row in enumerate(some):
            ends = solution.take(slice(number * count, (number + 1) * count))
            best = ends.best
            if not good[row] or ends.objective[best] < mine[number] * (1 - _AGREE):
                moved += int(good[row])
                internal[row], good[row] = ends.internal[best], ends.converged[best]
    return moved


def interval(values: Floats, centre: float, level: float, widen: float) -> tuple[float, float]:
    """Percentile interval of ``values`` at ``level``, its sides from ``centre`` times ``widen``."""
    low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return centre - widen * (centre - float(low)), centre + widen * (float(high) - centre)
