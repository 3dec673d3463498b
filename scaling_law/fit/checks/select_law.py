"""Selects the joint law whose parameters are shown, by its errors on held-out runs.

In-sample residuals favour the law with more freedom; a forecast needs the law that, fitted to
the cheaper runs, is right about the more expensive ones. Each law is scored on several such
rollouts. Chinchilla's law comes first, because it has few parameters and is widely used; then the
coupled laws, with an irreducible loss before without: the latter are optimistic far away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.errors import FitError
from scaling_law.fit.approaches.parametric import Refitter
from scaling_law.fit.checks.hold_out import (
    LEAST_HELD_OUT,
    HoldOuts,
    Mask,
    comparing_folds,
    largest_sizes,
)
from scaling_law.fit.laws import joint_laws, load_law
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.solve import Objective

# A law farther down the list must have at most this share of the error: held-out errors of few
# runs are noisy, and where all are within the noise the simplest is as good.
CLEARLY_BETTER = 0.8


@dataclass(frozen=True, kw_only=True)
class LawScore:
    """How well a joint law predicts held-out runs.

    ``law``: the law's name.
    ``status``: of the fit to all points.
    ``rms_log_residual``: root mean square residual of log loss on all points.
    ``held_out_rms``: root mean square relative error of the largest sizes; NaN where the law could
        not be fitted without them.
    ``held_out_worst``: the largest of these errors; NaN likewise.
    ``mean_residual``: mean of measured / predicted - 1 there, with its sign; NaN likewise.
    ``size_factor``: the largest size over the largest fitted one.
    ``rollout_rms``: root mean square error in log loss over all rollouts, each counting the same;
        NaN where one of them was refused.
    ``n_rollouts``: number of rollouts that were not refused.
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
    """The scores of the joint laws, and what refits each of them, by the law's name."""
    largest = largest_sizes(points, LEAST_HELD_OUT)
    folds = comparing_folds(points)
    refitters, scores = {}, []
    for name in joint_laws():
        try:
            refitters[name] = Refitter(points, load_law(name), objective)
        except FitError:
            continue
        scores.append(_score(points, refitters[name], largest, folds))
    return scores, refitters


def _score(points: FitPoints, refitter: Refitter, largest: Mask, folds: Sequence[Mask]) -> LawScore:
    hold_outs = HoldOuts(points, refitter.law, refitter=refitter)
    top, squares = np.empty(0), []
    predictions = hold_outs.each([("", held) for held in folds])
    for held, predicted in zip(folds, predictions, strict=True):
        residuals = np.array([residual for _, residual in predicted.residuals])
        if np.array_equal(held, largest):
            top = residuals
        if len(residuals):
            squares.append(float(np.mean(np.log1p(residuals) ** 2)))
    factor = math.nan
    if largest.any() and not largest.all():
        factor = float(points.params[largest].max() / points.params[~largest].max())
    return LawScore(
        law=refitter.law.name,
        status=refitter.whole.status,
        rms_log_residual=refitter.whole.rms_log_residual,
        held_out_rms=float(np.sqrt(np.mean(top**2))) if len(top) else math.nan,
        held_out_worst=float(np.abs(top).max()) if len(top) else math.nan,
        mean_residual=float(top.mean()) if len(top) else math.nan,
        size_factor=factor,
        rollout_rms=math.sqrt(np.mean(squares)) if len(squares) == len(folds) > 0 else math.nan,
        n_rollouts=len(squares),
    )


def best_law(scores: Sequence[LawScore]) -> str:
    """The first of ``joint_laws`` that no other beats clearly on the rollouts.

    Without rollouts the first that converged; "chinchilla" where none did.
    """
    known = {s.law: s for s in scores if math.isfinite(s.rollout_rms) and s.status == "converged"}
    if not known:
        usable = [s.law for s in scores if s.status == "converged"]
        return usable[0] if usable else "chinchilla"
    least = min(score.rollout_rms for score in known.values())
    within = [
        n for n in joint_laws() if n in known and known[n].rollout_rms * CLEARLY_BETTER <= least
    ]
    return within[0]


def why_chosen(fit: FitResult) -> str:
    """Why this law's parameters are shown, in words: what ``best_law`` did."""
    if math.isfinite(fit.rollout_rms_log):
        return "which no other beats clearly at predicting held-out runs"
    if fit.status == "converged":
        return "the first that converged: the runs allow no rollout to choose by"
    return "the first of the joint laws: none converged"
