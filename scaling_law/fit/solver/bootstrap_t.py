"""Bootstrap-t (studentised) intervals: each resample's distance in units of its own error.

Percentile intervals take the spread of the resamples for that of the estimate. With few trunks
the error of each resample varies, and the ratio (estimate* - estimate) / error* allows for that
(Hall 1988, "Theoretical comparison of bootstrap confidence intervals"; with clusters Cameron
2008). The errors are cluster-robust: bread = curvature of the objective, meat = summed scores
of each trunk (Liang 1986, "Longitudinal data analysis using generalized linear models"), times
G / (G - 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scaling_law.fit.laws.law import Floats
from scaling_law.fit.solver.solve import Problem

Scalars = Callable[[Floats], dict[str, float]]
"""Maps an internal vector [k] to the reported figures, by name."""

_STEP = 1e-5
_LEAST_DRAWS = 50


def covariances(
    problem: Problem,
    internal: Floats,
    weights: Floats,
    targets: Floats,
    clusters: NDArray[np.int64],
) -> Floats:
    """Cluster-robust covariance of each parameter vector: [R, k, k] for ``internal`` [R, k].

    ``weights`` and ``targets`` [R, n] are those of each vector's fit; ``clusters`` [n] counts
    trunks from 0.
    """
    residual, jacobian, _ = problem.linearised(internal, targets)
    slope, _, _ = problem.objective.slopes(residual)
    bread = problem.gram(jacobian, weights * _curvature(problem, residual)[:, None])
    groups = int(clusters.max()) + 1
    scores = np.zeros((len(internal), groups, internal.shape[1]))
    pulled = jacobian * (weights * slope)[:, :, None]
    for group in range(groups):
        scores[:, group] = pulled[:, clusters == group].sum(axis=1)
    meat = np.swapaxes(scores, 1, 2) @ scores * (groups / max(groups - 1, 1))
    inverse = np.linalg.pinv(bread, rcond=1e-13, hermitian=True)
    return np.asarray(inverse @ meat @ inverse)


def _curvature(problem: Problem, residual: Floats) -> Floats:
    """Mean curvature of the loss over the residuals, [R].

    Huber's mean curvature is the share of residuals within its threshold. Where the threshold is
    far below the scatter, few are, and a kernel estimate of their density at 0 gives the share.
    """
    if problem.objective.loss != "huber_log":
        return np.ones(len(residual))
    delta = problem.objective.delta
    scale = 1.4826 * np.median(np.abs(residual), axis=1) + 1e-12
    width = scale * residual.shape[1] ** -0.2
    kernel = np.exp(-0.5 * (residual / width[:, None]) ** 2).mean(axis=1)
    density = kernel / (math.sqrt(2 * math.pi) * width)
    inside = (np.abs(residual) <= delta).mean(axis=1)
    return np.asarray(np.where(delta < scale, np.minimum(2 * delta * density, 1.0), inside))


def errors(scalars: Scalars, internal: Floats, covariance: Floats) -> dict[str, Floats]:
    """Standard errors of the reported figures at each vector, by the delta method: {name: [R]}."""
    by_name: dict[str, list[float]] = {}
    for vector, spread in zip(internal, covariance, strict=True):
        here = scalars(vector)
        slopes = np.zeros((len(here), len(vector)))
        for k in range(len(vector)):
            moved = vector.copy()
            moved[k] += _STEP
            there = scalars(moved)
            slopes[:, k] = [(there.get(n, math.nan) - x) / _STEP for n, x in here.items()]
        variances = np.einsum("sk,kl,sl->s", slopes, spread, slopes)
        for name, variance in zip(here, variances, strict=True):
            by_name.setdefault(name, []).append(math.sqrt(max(float(variance), 0.0)))
    return {name: np.array(values) for name, values in by_name.items()}


def bootstrap_t_interval(
    draws: Floats, own_errors: Floats, centre: float, error: float, level: float
) -> tuple[float, float] | None:
    """centre - quantiles of (draw - centre) / own error, times ``error``; None for too few."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (draws - centre) / own_errors
    ratios = ratios[np.isfinite(ratios)]
    if len(ratios) < _LEAST_DRAWS or not math.isfinite(error):
        return None
    low, high = np.quantile(ratios, [0.5 - level / 2, 0.5 + level / 2])
    return centre - float(high) * error, centre - float(low) * error
