"""Makes the worlds of a forecast: every law that predicts held-out runs, with its resamples.

A law's weight is the inverse square of its error on rollouts: runs that were held out because they
are larger or more expensive than those fitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from scaling_law.fit.checks.monotone import seed_noise
from scaling_law.fit.checks.select_law import LawScore
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import FitResult
from scaling_law.fit.surface import Surface, surface_of
from scaling_law.fit.worlds import Worlds

# Resamples of each law that become worlds.
_MOST_SAMPLES = 200
_LEAST_WEIGHT = 0.01  # of a law that counts


def make_worlds(
    points: FitPoints, fits: Mapping[str, FitResult], scores: Sequence[LawScore], *, best: str
) -> Worlds | None:
    """The worlds of a forecast from ``points``.

    ``fits`` are the joint laws by name, ``scores`` their errors on held-out runs, ``best`` the law
    whose parameters are shown. Where held-out runs do not say how good the laws are, there is
    that law only, and a note. None where its fit cannot be used, or its form has no surface.
    """
    main = fits.get(best)
    if main is None or not main.usable or not _surfaces(main):
        return None
    errors = {score.law: score.rollout_rms for score in scores if score.rollout_rms > 0}
    counted = {
        name: fit
        for name, fit in fits.items()
        if name in errors and fit.status == "converged" and fit.samples and _surfaces(fit)
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


def worlds_of(
    fits: Mapping[str, FitResult],
    weights: Mapping[str, float],
    *,
    noise_log: float,
    notes: tuple[str, ...] = (),
) -> Worlds:
    """Worlds of these laws by their weights, without misfit: each law's resamples, or its fit."""
    law: list[str] = []
    weight: list[float] = []
    rows: list[Surface] = []
    for name, fit in fits.items():
        surfaces = _surfaces(fit)
        law += [name] * len(surfaces)
        weight += [weights[name] / len(surfaces)] * len(surfaces)
        rows += surfaces
    columns = {
        name: np.array([getattr(row, name) for row in rows])
        for name in ("floor", "size_log", "size_exponent", "data_log", "data_exponent", "power")
    }
    one = np.ones(len(rows))
    ranges = [fit.data_range for fit in fits.values()]
    return Worlds(
        law=tuple(law),
        weight=np.array(weight) / sum(weight),
        **columns,
        size_bend=one,
        data_bend=one,
        shift=0 * one,
        size_edge=math.log(max(one["params"][1] for one in ranges)),
        data_edge=math.log(max(one["tokens"][1] for one in ranges)),
        noise_log=noise_log,
        notes=notes,
    )


def _surfaces(fit: FitResult) -> list[Surface]:
    """The surfaces of a fit's resamples, or of itself without any; empty: its form has none."""
    samples = list(fit.sampled_params())[:_MOST_SAMPLES] or [fit.params]
    surfaces = []
    for params in samples:
        try:
            surface = surface_of(fit.law, params)
        except (OverflowError, ValueError):
            continue
        if surface is None:
            return []
        surfaces.append(surface)
    return surfaces
