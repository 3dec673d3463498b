"""Fits a law to runs that count the more the more compute they took, for a forecast.

Where no law is exactly true, a fit to all runs alike follows the many cheap ones and misses the
expensive ones that a forecast begins from. Weights that grow with compute let the law follow those
instead. Few of them hardly determine its shape, so the fit is pulled towards the shape that laws
usually have (``fit.usual``). All fits of a law, to all runs, without those that are held out, and
to resamples, are solved in batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_law.fit.approaches.parametric import problem_of
from scaling_law.fit.checks.hold_out import Mask
from scaling_law.fit.laws import Law
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.solver.bootstrap import LEAST_CLUSTERS, MANY_CLUSTERS
from scaling_law.fit.solver.newton import Solution
from scaling_law.fit.solver.solve import Objective, Problem, places_of
from scaling_law.fit.solver.student import t_over_normal
from scaling_law.fit.surface import Surface, surface_of
from scaling_law.fit.usual import UsualShape

_FEW_STARTS = 8
# No trunk is dropped: a law's parameters stay determined.
_LEAST_WEIGHT = 0.01
_LEVEL = 0.9  # of the interval that few trunks widen
RESAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class WeightedFit:
    """One law fitted with weights that grow with compute, pulled towards the usual shape.

    ``surface``: the law fitted to all points.
    ``without``: fitted without each fold's points; None where too few are left.
    ``resampled``: fitted to resamples of the trunks; empty with too few trunks.
    ``scatter_log``: standard deviation of the points' log loss about the law, by the same weights.
    """

    surface: Surface
    without: tuple[Surface | None, ...]
    resampled: tuple[Surface, ...]
    scatter_log: float


def weighted_fits(
    points: FitPoints,
    law: Law,
    objective: Objective,
    folds: Sequence[Mask],
    power: float,
    shapes: Sequence[UsualShape],
) -> Iterator[WeightedFit | None]:
    """Fit ``law`` with weights FLOPs^``power``, in turn with a pull to each of ``shapes``.

    Also without each of ``folds``; deterministic. The fit without a pull is made once: fits with
    one start where it ended, and a pull is measured in what a typical run adds to its objective.
    Trunks are resampled by weights drawn from a gamma distribution, which drops none: of variance 1
    for many trunks (Rubin 1981, "The Bayesian bootstrap"), larger by the square of Student's t over
    the normal quantile and by the fit's degrees of freedom for few. Each resample has a usual shape
    of its own. None for a law without a surface.
    """
    problem = problem_of(law, points, objective)
    starts = problem.starts(_FEW_STARTS)
    rows = [np.ones(len(points), dtype=bool), *(~held for held in folds)]
    weights = np.array([_weights(points, some, power) for some in rows])
    places = np.repeat(np.arange(len(rows)), len(starts))
    free = problem.solve(np.tile(starts, (len(rows), 1)), weights[places], rivals=places)
    apart, _ = places_of(free, places)
    least = np.array([points.loss_nats[some].min() for some in rows])
    typical = free.objective[_best(free, places)] / np.array([some.sum() for some in rows])
    degrees = max(len(points) - len(law.names), 1)
    for usual in shapes:
        ends, of = free, places
        if usual.runs > 0:
            of = places[apart]
            pull = usual.pull(law, least[of], typical[of])
            ends = problem.solve(free.internal[apart], weights[of], rivals=of, pull=pull)
        optima = ends.internal[_best(ends, of)]
        surfaces = [
            _surface(law, problem.form(optimum)) if some.sum() > len(law.names) else None
            for some, optimum in zip(rows, optima, strict=True)
        ]
        if surfaces[0] is None:
            yield None
            continue
        size = float(least[0]), float(typical[0])
        resampled = _resampled(points, problem, usual, size, optima[0], weights[0])
        fitted = law.log_loss(optima[:1], problem.basis)[0][0]
        squares = float(np.average((problem.target - fitted) ** 2, weights=weights[0]))
        yield WeightedFit(
            surface=surfaces[0],
            without=tuple(surfaces[1:]),
            resampled=resampled,
            scatter_log=float(np.sqrt(squares * len(points) / degrees)),
        )


def _resampled(
    points: FitPoints,
    problem: Problem,
    usual: UsualShape,
    size: tuple[float, float],
    optimum: Floats,
    weights: Floats,
) -> tuple[Surface, ...]:
    """Fits from ``optimum`` to resamples of the trunks, each pulled to a usual shape of its own.

    ``size`` is the least loss and what a typical run adds to the objective. Few trunks widen what
    is drawn of the shape as well, since the pull is measured in their noise. Empty with too few.
    """
    if points.n_clusters < LEAST_CLUSTERS:
        return ()
    law, wider = problem.law, widening(points)
    degrees = max(len(points) - len(law.names), 1)
    shape = degrees / len(points) / wider**2
    generator = np.random.default_rng(0)
    trunks = generator.gamma(shape, 1 / shape, (RESAMPLES, points.n_clusters))
    drawn = np.maximum(trunks, _LEAST_WEIGHT)[:, points.cluster_index]
    least, typical = (value * np.ones(RESAMPLES) for value in size)
    pull = usual.pull(law, least, typical, generator, wider)
    near = np.tile(optimum, (RESAMPLES, 1))
    again = problem.solve(near, drawn * weights, pull=pull)
    ends = [_surface(law, problem.form(end)) for end in again.internal[again.converged]]
    return tuple(end for end in ends if end is not None)


def _best(ends: Solution, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of the least objective of each group, by the groups' numbers."""
    order = np.lexsort((ends.objective, groups))
    return order[np.unique(groups[order], return_index=True)[1]]


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
