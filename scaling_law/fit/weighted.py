"""Fits a law to runs that count the more the more compute they took, for a forecast.

Where no law is exactly true, a fit to all runs alike follows the many cheap ones and misses the
expensive ones that a forecast begins from. Weights that grow with compute let the law follow those
instead. All fits of a law, to all runs, without those that are held out, and to resamples, are
solved in batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.fit.approaches.parametric import problem_of
from scaling_law.fit.checks.hold_out import Mask
from scaling_law.fit.laws import Law
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.solver.bootstrap import LEAST_CLUSTERS, MANY_CLUSTERS
from scaling_law.fit.solver.solve import Objective
from scaling_law.fit.solver.student import t_over_normal
from scaling_law.fit.surface import Surface, surface_of

_FEW_STARTS = 8
# No trunk is dropped: a law's parameters stay determined.
_LEAST_WEIGHT = 0.01
_LEVEL = 0.9  # of the interval that few trunks widen
RESAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class WeightedFit:
    """One law fitted with weights that grow with compute.

    ``surface``: the law fitted to all points.
    ``without``: fitted without each fold's points; None where too few are left.
    ``resampled``: fitted to resamples of the trunks; empty with too few trunks.
    ``scatter_log``: standard deviation of the points' log loss about the law, by the same weights.
    """

    surface: Surface
    without: tuple[Surface | None, ...]
    resampled: tuple[Surface, ...]
    scatter_log: float


def weighted_fit(
    points: FitPoints, law: Law, objective: Objective, folds: Sequence[Mask], power: float
) -> WeightedFit | None:
    """Fit ``law`` with weights FLOPs^``power``, also without each of ``folds``; deterministic.

    Trunks are resampled by weights drawn from a gamma distribution, which drops none: of variance 1
    for many trunks (Rubin 1981, "The Bayesian bootstrap"), larger by the square of Student's t over
    the normal quantile and by the fit's degrees of freedom for few. None for a law without a
    surface.
    """
    problem = problem_of(law, points, objective)
    starts = problem.starts(_FEW_STARTS)
    rows = [np.ones(len(points), dtype=bool), *(~held for held in folds)]
    weights = [_weights(points, some, power) for some in rows]
    solution = problem.solve(
        np.tile(starts, (len(rows), 1)),
        np.repeat(weights, len(starts), axis=0),
        rivals=np.repeat(np.arange(len(rows)), len(starts)),
    )
    ends = solution.objective.reshape(len(rows), len(starts)).argmin(axis=1)
    optima = solution.internal[np.arange(len(rows)) * len(starts) + ends]
    surfaces = [
        _surface(law, problem.form(optimum)) if some.sum() > len(law.names) else None
        for some, optimum in zip(rows, optima, strict=True)
    ]
    if surfaces[0] is None:
        return None
    resampled: list[Surface | None] = []
    if points.n_clusters >= LEAST_CLUSTERS:
        free = max(len(points) - len(law.names), 1)
        shape = free / len(points) / widening(points) ** 2
        trunks = np.random.default_rng(0).gamma(shape, 1 / shape, (RESAMPLES, points.n_clusters))
        drawn = np.maximum(trunks, _LEAST_WEIGHT)[:, points.cluster_index]
        again = problem.solve(np.tile(optima[0], (RESAMPLES, 1)), drawn * weights[0])
        resampled = [_surface(law, problem.form(end)) for end in again.internal[again.converged]]
    fitted = law.log_loss(optima[:1], problem.basis)[0][0]
    squares = float(np.average((problem.target - fitted) ** 2, weights=weights[0]))
    free = max(len(points) - len(law.names), 1)
    return WeightedFit(
        surface=surfaces[0],
        without=tuple(surfaces[1:]),
        resampled=tuple(surface for surface in resampled if surface is not None),
        scatter_log=float(np.sqrt(squares * len(points) / free)),
    )


def widening(points: FitPoints) -> float:
    """Student's t over the normal quantile: few trunks say little of how runs scatter."""
    if points.n_clusters >= MANY_CLUSTERS:
        return 1.0
    return t_over_normal(max(points.n_clusters - 1, 1), _LEVEL)


def _weights(points: FitPoints, rows: Mask, power: float) -> Floats:
    """The weight of each point [n], 0 where ``rows`` is false, 1 on average where it is true."""
    shares = np.where(rows, (points.flops / points.flops[rows].max()) ** power, 0.0)
    return np.asarray(shares * rows.sum() / shares.sum())


def _surface(law: Law, params: Mapping[str, float]) -> Surface | None:
    """The law's surface; None where it has none or its parameters overflow."""
    try:
        return surface_of(law, params)
    except (OverflowError, ValueError):
        return None
