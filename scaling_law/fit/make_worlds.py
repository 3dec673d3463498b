"""Makes the worlds of a forecast: every law that predicts held-out runs, with its resamples.

A law's weight is the inverse square of its error on rollouts: runs that were held out because they
are larger or more expensive than those fitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scaling_law.fit.checks.monotone import seed_noise
from scaling_law.fit.checks.select_law import LawScore
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import FitResult
from scaling_law.fit.worlds import Worlds, surfaces_of, worlds_of

_LEAST_WEIGHT = 0.01  # of a law that counts


def make_worlds(
    points: FitPoints, fits: Mapping[str, FitResult], scores: Sequence[LawScore], *, best: str
) -> Worlds | None:
    """The worlds of a forecast from ``points``.

    ``fits`` are the joint laws by name, ``scores`` their errors on held-out runs, ``best`` the law
    whose parameters are shown. Where held-out runs do not say how good the laws are, there is
    that law only, and a note. None where it has no resamples, or its form no surface.
    """
    main = fits.get(best)
    if main is None or main.status != "converged" or not main.samples or not surfaces_of(main):
        return None
    errors = {score.law: score.rollout_rms for score in scores if score.rollout_rms > 0}
    counted = {
        name: fit
        for name, fit in fits.items()
        if name in errors and fit.status == "converged" and fit.samples and surfaces_of(fit)
    }
    notes: tuple[str, ...] = ()
    if best in counted:
        least = min(errors[name] for name in counted)
        weights = {name: (least / errors[name]) ** 2 for name in counted}
        total = sum(weights.values())
        weights = {n: w / total for n, w in weights.items() if w / total >= _LEAST_WEIGHT}
    else:
        weights, counted = {best: 1.0}, {best: main}
        notes = (f"one law only, {best}: held-out runs do not say how good the others are",)
    noises = [main.residual_scatter_log, seed_noise(points)[0]]
    return worlds_of(
        {name: counted[name] for name in weights},
        weights,
        noise_log=max((x for x in noises if x is not None and math.isfinite(x)), default=0.0),
        notes=notes,
    )
