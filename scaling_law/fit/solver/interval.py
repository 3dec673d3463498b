"""The interval of a new run's loss under one law, and of the law's compute-optimal split.

In log loss, each side adds in quadrature (1) the bootstrap quantile of the law's value over
the resampled trunks, and (2) a new run's noise, the larger of the residual scatter and of the seed
noise that repeats show, with both widened by Student's t when trunks are few. It takes the law for
true: ``fit.worlds`` says what other laws and a misfit add.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.fit.laws import Law
from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.bootstrap import MANY_CLUSTERS, interval
from scaling_law.fit.solver.student import normal_reach, t_over_normal
from scaling_law.fit.split import Split, bounded_exp
from scaling_law.fit.surface import split_of

_FEWEST_DRAWS = 20
_FEW_TRUNKS = 12
# Share of the samples that must have an optimum: without the others the interval is too narrow.
_MOST_HAVE_ONE = 0.9


@dataclass(frozen=True)
class PredictionInterval:
    """Where a new run's loss falls.

    ``nats``: (low, high) in nats per token; None without samples.
    ``parts``: cause -> half-widths (below, above) in log loss.
    ``doubts``: what a reader should know about the interval.
    """

    nats: tuple[float, float] | None
    parts: dict[str, tuple[float, float]]
    doubts: tuple[str, ...]


def log_loss(law: Law, params: Mapping[str, float], target: Mapping[str, float]) -> float:
    """log L at a target {variable: value}; NaN where the parameters overflow."""
    variables = {name: np.array([target[name]]) for name in law.variables}
    try:
        with np.errstate(all="ignore"):
            return float(np.log(law.predict(params, variables)[0]))
    except (OverflowError, ZeroDivisionError):
        return math.nan


def prediction_interval(
    fit: FitResult,
    target: Mapping[str, float],
    *,
    level: float,
    seed_noise_log: float | None = None,
) -> PredictionInterval:
    """Where a new run's loss falls at ``target`` {variable: value}, with probability ``level``."""
    draws, wanted = _draws(fit, target)
    if len(draws) < _FEWEST_DRAWS:
        why = "published parameters" if fit.n_points == 0 else "the fit has no bootstrap samples"
        return PredictionInterval(None, {}, (f"no interval: {why}",))
    centre = log_loss(fit.law, fit.params, target)
    widen = _widening(fit, level)
    low, high = interval(np.array(draws), centre, level, widen)
    noises = [x for x in (fit.residual_scatter_log, seed_noise_log) if x and math.isfinite(x)]
    # the scatter itself comes from few trunks: Student's t for the new run too
    noise = widen * normal_reach(level) * max(noises, default=0.0)
    parts = {
        "parameters": (max(centre - low, 0.0), max(high - centre, 0.0)),
        "new_run": (noise, noise),
    }
    below, above = (math.hypot(*(part[side] for part in parts.values())) for side in (0, 1))
    doubts = [f"the interval takes the {fit.law.name} law for true", *few_trunks(fit)]
    if len(draws) < wanted:
        doubts.append(f"{wanted - len(draws)} bootstrap samples could not be evaluated")
    ends = bounded_exp(centre - below), bounded_exp(centre + above)
    return PredictionInterval(ends, parts, tuple(doubts))


def few_trunks(fit: FitResult) -> list[str]:
    """What a reader should know about intervals of a fit to few trunks."""
    if fit.n_clusters >= _FEW_TRUNKS:
        return []
    return [f"only {fit.n_clusters} independent trunks: the interval is itself uncertain"]


def _draws(fit: FitResult, target: Mapping[str, float]) -> tuple[list[float], int]:
    """log L under each of the fit's samples that can be evaluated, and the number of samples."""
    if not fit.samples:
        return [], 0
    variables = {name: np.array([target[name]]) for name in fit.law.variables}
    with np.errstate(all="ignore"):
        every = fit.law.log_losses(fit.internal_samples, variables)[:, 0]
    return every[np.isfinite(every)].tolist(), len(every)


def _widening(fit: FitResult, level: float) -> float:
    """Student's t over the normal quantile with few clusters, as in the fit's own intervals."""
    if fit.n_clusters >= MANY_CLUSTERS:
        return 1.0
    return t_over_normal(max(fit.n_clusters - 1, 1), level)


def tokens_interval(fit: FitResult, params: float, *, level: float) -> tuple[float, float] | None:
    """Interval of the tokens for which ``params`` is compute-optimal under C = 6ND.

    None where there are no samples or some of them have no optimum.
    """
    draws = []
    for values in (fit.params, *fit.sampled_params()):
        split = split_of(fit.law, values)
        if split is not None:
            draws.append(math.log(split.tokens_for_params(params)))
    if len(draws) < max(_FEWEST_DRAWS, _MOST_HAVE_ONE * len(fit.samples)):
        return None
    low, high = interval(np.array(draws[1:]), draws[0], level, _widening(fit, level))
    return bounded_exp(low), bounded_exp(high)


def count_interval(
    fit: FitResult, centre: float, draws: Sequence[float], *, level: float
) -> tuple[float, float] | None:
    """Interval of a positive count from its values under the fit's samples, in logarithms.

    None with too few ``draws``.
    """
    if len(draws) < _FEWEST_DRAWS:
        return None
    low, high = interval(np.log(draws), math.log(centre), level, _widening(fit, level))
    return bounded_exp(low), bounded_exp(high)


def split_intervals(
    fit: FitResult, split: Split, flops: float, level: float
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """(of params, of tokens) that spend a budget in FLOPs (6ND) best, over the fit's samples.

    ``split`` is the law's own. None, None without samples, or where some have no optimum.
    """
    splits = (split_of(fit.law, params) for params in fit.sampled_params())
    draws = [one.params(flops) for one in splits if one is not None]
    if len(draws) < _MOST_HAVE_ONE * len(fit.samples):
        return None, None
    ends = count_interval(fit, split.params(flops), draws, level=level)
    if ends is None:
        return None, None
    # under C = 6ND the fewest params go with the most tokens
    return ends, (flops / 6 / ends[1], flops / 6 / ends[0])
