"""Which joint law to forecast with: the one that predicts what it was not shown.

In-sample residuals favour the law with more freedom; a forecast needs the one that, fitted to
the cheaper runs, is right about the dearer ones. Each law is scored on several such rollouts.
Chinchilla's comes first, for its few parameters and its company; then the coupled laws, with an
irreducible loss before without, for those are optimistic far away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_law.errors import FitError
from scaling_law.fit.approaches.parametric import Refitter
from scaling_law.fit.laws import joint_laws
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.solver.solve import Objective

# A law farther down the list must have at most this share of the error: held-out errors of few
# runs are noisy, and where all are within the noise the simplest is as good.
CLEARLY_BETTER = 0.8
# Runs above 1/4 and 1/16 of the largest FLOPs are held out in turn, and the largest sizes.
FLOPS_CUTS = (4.0, 16.0)
LEAST_HELD_OUT = 3
_LEAST_FITTED_SIZES = 3


@dataclass(frozen=True, kw_only=True)
class LawScore:
    """``rms_log_residual`` on all points; held-out relative errors of the largest sizes.

    ``held_out_rms`` and ``held_out_worst`` are fractions of the loss (NaN when the law could
    not be fitted without the largest sizes); ``mean_residual`` is the signed mean of measured
    over predicted minus one; ``size_factor`` the largest size over the largest fitted.
    ``rollout_rms``: the root mean square over all ``n_rollouts``, each counting the same.
    """

    law: str
    status: str
    rms_log_residual: float
    held_out_rms: float
    held_out_worst: float
    mean_residual: float
    size_factor: float
    rollout_rms: float
    n_rollouts: int


def score_laws(
    points: FitPoints, objective: Objective
) -> tuple[list[LawScore], dict[str, Refitter]]:
    """Every joint law's fit to all points and its rollouts, and what refits each law."""
    largest = _largest_sizes(points)
    cuts = _cuts(points, largest)
    refitters, scores = {}, []
    for name in joint_laws():
        try:
            refitters[name] = Refitter(points, name, objective)
        except FitError:
            continue
        scores.append(_score(points, refitters[name], largest, cuts))
    return scores, refitters


def _score(
    points: FitPoints,
    refit: Refitter,
    largest: NDArray[np.bool_],
    cuts: Sequence[NDArray[np.bool_]],
) -> LawScore:
    top = refit.residuals(largest) if any(largest is cut for cut in cuts) else np.empty(0)
    squares = []
    for cut in cuts:
        missed = top if cut is largest else refit.residuals(cut)
        if len(missed):
            squares.append(float(np.mean(np.log1p(missed) ** 2)))
    factor = math.nan
    if largest.any() and not largest.all():
        factor = float(points.params[largest].max() / points.params[~largest].max())
    return LawScore(
        law=refit.law.name,
        status=refit.whole.status,
        rms_log_residual=refit.whole.rms_log_residual,
        held_out_rms=float(np.sqrt(np.mean(top**2))) if len(top) else math.nan,
        held_out_worst=float(np.abs(top).max()) if len(top) else math.nan,
        mean_residual=float(top.mean()) if len(top) else math.nan,
        size_factor=factor,
        rollout_rms=math.sqrt(np.mean(squares)) if len(squares) == len(cuts) > 0 else math.nan,
        n_rollouts=len(squares),
    )


def _largest_sizes(points: FitPoints) -> NDArray[np.bool_]:
    """The largest size; where sizes have few runs each, as many as make three runs."""
    ordered = np.sort(points.params)
    threshold = min(0.999 * ordered[-1], ordered[-min(LEAST_HELD_OUT, len(ordered))])
    return np.asarray(points.params >= threshold)


def _cuts(points: FitPoints, largest: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Held-out masks that leave enough sizes to fit, the largest sizes first."""
    sizes = np.round(np.log(points.params), 3)
    found: list[NDArray[np.bool_]] = []
    for held in (largest, *(points.flops > points.flops.max() / cut for cut in FLOPS_CUTS)):
        fitted = len(set(sizes[~held].tolist()))
        known = any(np.array_equal(held, other) for other in found)
        if held.any() and fitted > _LEAST_FITTED_SIZES - (held is not largest) and not known:
            found.append(held)
    return found


def best_law(scores: Sequence[LawScore]) -> str:
    """The first in ``joint_laws`` that no other beats clearly on the rollouts; "" for none."""
    known = {s.law: s for s in scores if math.isfinite(s.rollout_rms) and s.status == "converged"}
    if not known:
        usable = [s.law for s in scores if s.status == "converged"]
        return usable[0] if usable else "chinchilla"
    least = min(score.rollout_rms for score in known.values())
    within = [
        n for n in joint_laws() if n in known and known[n].rollout_rms * CLEARLY_BETTER <= least
    ]
    return within[0]
