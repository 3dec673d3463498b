"""Which joint law to forecast with: the one that predicts what it was not shown.

In-sample residuals favour the law with more freedom; a forecast needs the one that, fitted to
the smaller sizes, is right about the largest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.fit.laws import load_law
from scaling_law.fit.parametric import fit_law
from scaling_law.fit.points import FitPoints
from scaling_law.fit.solve import Objective
from scaling_law.outcome import FitResult

JOINT_LAWS = ("chinchilla", "coupled", "kaplan_nd")
# A challenger must beat Chinchilla's law clearly: held-out errors of a few points are noisy.
CLEARLY_BETTER = 0.8


@dataclass(frozen=True, kw_only=True)
class LawScore:
    """``rms_log_residual`` on all points; held-out relative errors of the largest size.

    ``held_out_rms`` and ``held_out_worst`` are fractions of the loss (NaN when the law could
    not be fitted without the largest size); ``bias`` is the mean signed error, predicted over
    measured minus one; ``size_factor`` the largest size over the next.
    """

    law: str
    status: str
    rms_log_residual: float
    held_out_rms: float
    held_out_worst: float
    bias: float
    size_factor: float


def score_laws(
    points: FitPoints, laws: dict[str, FitResult], objective: Objective
) -> list[LawScore]:
    """Every joint law's fit and its prediction of the largest size from the others."""
    sizes = np.unique(points.params)
    held = points.params >= 0.999 * sizes[-1]
    factor = float(sizes[-1] / sizes[-2]) if len(sizes) > 1 else math.nan
    scores = []
    for name in JOINT_LAWS:
        errors = np.empty(0)
        if len(sizes) > 3:
            errors = _held_out_errors(points, held, name, objective)
        whole = laws[name]
        scores.append(
            LawScore(
                law=name,
                status=whole.status,
                rms_log_residual=whole.rms_log_residual,
                held_out_rms=float(np.sqrt(np.mean(errors**2))) if len(errors) else math.nan,
                held_out_worst=float(np.abs(errors).max()) if len(errors) else math.nan,
                bias=float(errors.mean()) if len(errors) else math.nan,
                size_factor=factor,
            )
        )
    return scores


def _held_out_errors(
    points: FitPoints, held: np.typing.NDArray[np.bool_], name: str, objective: Objective
) -> np.typing.NDArray[np.float64]:
    fit = fit_law(points.take(~held), name, objective=objective)
    if not fit.usable:
        return np.empty(0)
    rest = points.take(held)
    law = load_law(name)
    variables = {v: rest.variable(v) for v in law.variables}
    return np.asarray(law.predict(fit.params, variables) / rest.loss_nats - 1)


def best_law(scores: Sequence[LawScore]) -> str:
    """Chinchilla's law unless another's held-out error is clearly smaller."""
    known = [s for s in scores if math.isfinite(s.held_out_rms) and s.status == "converged"]
    first = next((s for s in known if s.law == "chinchilla"), None)
    if not known:
        return "chinchilla"
    best = min(known, key=lambda s: s.held_out_rms)
    if first is not None and best.held_out_rms > CLEARLY_BETTER * first.held_out_rms:
        return "chinchilla"
    return best.law
