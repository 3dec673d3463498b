"""What the fits would look like after a set of runs, before any of them is made.

The runs' losses are taken from the most likely truth, every other law is fitted to them, and each
law's resamples are drawn from its linearisation's covariance. A forecast from such fits has the
same interval, by the same rules, as one from real fits would be expected to have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scaling_law.fit.design import Beliefs, Noise, Runs, Truth, believe, columns, whitening
from scaling_law.fit.laws import load_law
from scaling_law.fit.laws.law import Floats, Law
from scaling_law.fit.prior import refitted
from scaling_law.outcome import FitResult

_SAMPLES = 200


def expected_fits(
    truth: Truth,
    laws: Sequence[str],
    runs: Runs,
    trunks: Sequence[tuple[int, ...]],
    noise: Noise,
    convention: dict[str, str],
) -> dict[str, FitResult]:
    """Each of ``laws`` as fitted to ``runs`` (all of them, grouped by ``trunks``), by name."""
    found = {}
    for name in dict.fromkeys([truth.law, *laws]):
        fitted = truth if name == truth.law else refitted(name, truth, runs)
        found[name] = _expected(fitted, truth, runs, trunks, noise, convention)
    return found


def _expected(
    fitted: Truth,
    truth: Truth,
    runs: Runs,
    trunks: Sequence[tuple[int, ...]],
    noise: Noise,
    convention: dict[str, str],
) -> FitResult:
    law = load_law(fitted.law)
    middle = float(np.median(runs.params)), float(np.median(runs.tokens))
    beliefs = believe([fitted], runs, middle, noise)
    apart = fitted.at(runs.params, runs.tokens)[0] - truth.at(runs.params, runs.tokens)[0]
    rms = math.hypot(float(np.sqrt(np.mean(apart**2))), noise.new_run_log)
    flops = columns(runs.params, runs.tokens)["flops"]
    params = public(law, fitted.internal)
    samples = _samples(fitted, beliefs, runs, trunks)
    return FitResult(
        law=law.name,
        params=params,
        status="converged",
        message="",
        objective=math.nan,
        n_points=len(runs.params),
        n_clusters=len(trunks),
        n_starts=0,
        n_starts_agreeing=0,
        convention=convention,
        data_range={
            name: (float(x.min()), float(x.max()))
            for name, x in (("params", runs.params), ("tokens", runs.tokens), ("flops", flops))
        },
        rms_log_residual=rms,
        residual_scatter_log=noise.new_run_log,
        samples=tuple(tuple(public(law, row)[name] for name in params) for row in samples),
        source="expected, not fitted",
    )


def _samples(
    fitted: Truth, beliefs: Beliefs, runs: Runs, trunks: Sequence[tuple[int, ...]]
) -> Floats:
    """Internal vectors [r, k] from the linearised posterior, within the law's bounds."""
    law, size = load_law(fitted.law), len(fitted.internal)
    covariance = beliefs.covariance(beliefs.whole(trunks))[0][:size, :size]
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(size))
    drawn = np.random.default_rng(0).standard_normal((_SAMPLES, size))
    found = fitted.internal + drawn @ (whitening(fitted, runs) @ root).T
    ends = [*law.exponents.values(), *([law.power_bounds] if law.power else [])]
    first = len(law.terms)
    low, high = (np.array([end[side] for end in ends]) for side in (0, 1))
    found[:, first:] = np.clip(found[:, first:], np.maximum(low, -15.0), high)
    found[:, :first] = np.clip(found[:, :first], -600.0, 600.0)
    return np.asarray(found)


def public(law: Law, internal: Floats) -> dict[str, float]:
    """An uncentred internal vector in the published form."""
    count = len(law.terms)
    values = dict(zip(law.names, (float(x) for x in internal), strict=True))
    for name in law.names[:count]:
        values[name] = math.exp(min(max(values[name], -700.0), 700.0))
    found: dict[str, float] = law.to_public(values)
    return found
