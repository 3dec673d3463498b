"""Simulates the fits that a set of runs would give, before any of them is trained.

The most likely planted law gives the runs' losses, and every other law is fitted to them; the
resamples of each law are refits to those losses with new noise (a parametric bootstrap: Efron
1993, "An introduction to the bootstrap", section 6.5). A forecast from such fits has the interval,
by the same rules, that is expected of one from real fits. The linearisation that chooses the runs
cannot be used here: where the points hardly determine an irreducible loss, its error is many
e-folds, and interval ends that no refit comes near.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scaling_law.design.prior import problem_like
from scaling_law.design.variance import Noise, PlantedLaw, Runs, columns, posterior_of
from scaling_law.fit.laws.law import Floats, Law
from scaling_law.fit.make_worlds import Method
from scaling_law.fit.result import FitResult
from scaling_law.fit.usual import UsualShape

_SAMPLES = 200


def expected_fits(
    planted: PlantedLaw,
    laws: Sequence[Law],
    runs: Runs,
    trunks: Sequence[tuple[int, ...]],
    noise: Noise,
    convention: dict[str, str],
    *,
    flops: Floats | None = None,
    method: Method | None = None,
) -> dict[str, FitResult]:
    """The planted law and each of ``laws`` as fitted to ``runs``, by the law's name.

    ``trunks`` groups all the runs. ``flops`` [n] are the runs' FLOPs as ``convention`` counts them,
    6ND unless given. ``method`` fits as for ``fit.make_worlds``, with its weights and its pull.
    """
    flops = columns(runs.params, runs.tokens)["flops"] if flops is None else flops
    ranges = (("params", runs.params), ("tokens", runs.tokens), ("flops", flops))
    shared = {
        "n_points": len(runs.params),
        "n_clusters": len(trunks),
        "convention": convention,
        "data_range": {name: (float(x.min()), float(x.max())) for name, x in ranges},
        "residual_scatter_log": noise.new_run_log,
        "source": "expected, not fitted",
    }
    losses = planted.at(runs.params, runs.tokens)[0]
    drawn = losses + _noises(planted, runs, trunks, noise)
    every = {law.name: law for law in (planted.law, *laws)}
    weights = flops**method.compute_power if method else np.ones(len(flops))
    weights = weights / weights.mean()
    usual = method.usual if method else None
    return {
        name: _expected(law, planted, runs, drawn, weights, noise, usual, shared)
        for name, law in every.items()
    }


def _noises(
    planted: PlantedLaw, runs: Runs, trunks: Sequence[tuple[int, ...]], noise: Noise
) -> Floats:
    """Errors of log loss [r, n]: each run's own, its trunk's, and a misfit's smooth surface."""
    generator = np.random.default_rng(0)
    middle = float(np.median(runs.params)), float(np.median(runs.tokens))
    features = posterior_of([planted], runs, middle, noise).features
    errors = noise.run_log * generator.standard_normal((_SAMPLES, len(runs.params)))
    for trunk in trunks:
        errors[:, list(trunk)] += noise.trunk_log * generator.standard_normal((_SAMPLES, 1))
    weights = generator.standard_normal((_SAMPLES, features.shape[1]))
    return np.asarray(errors + weights @ features.T)


def _expected(
    law: Law, planted: PlantedLaw, runs: Runs, drawn: Floats, weights: Floats, noise: Noise,
    usual: UsualShape | None, shared: Mapping[str, Any],
) -> FitResult:  # fmt: skip
    problem = problem_like(law, planted, runs)
    starts = problem.starts(8)
    solution = problem.solve(starts, np.tile(weights, (len(starts), 1)), max_steps=200)
    optimum = solution.internal[solution.best]
    same = law.name == planted.law.name
    params = public(law, planted.internal) if same else problem.form(optimum)
    losses = law.predict(params, columns(runs.params, runs.tokens))
    apart = float(np.sqrt(np.mean((np.log(losses) - problem.target) ** 2)))
    near, alike = (np.tile(row, (len(drawn), 1)) for row in (optimum, weights))
    pull = usual and usual.pull(
        law,
        np.exp(drawn.min(axis=1)),
        np.full(len(drawn), 0.5 * (apart**2 + noise.new_run_log**2)),  # as ``mse_log`` scores
        np.random.default_rng(1),
    )
    refits = problem.solve(near, alike, targets=drawn, max_steps=200, pull=pull or None)
    forms = map(problem.form, refits.internal)
    return FitResult(
        law=law,
        params=params,
        status="converged",
        message="",
        objective=math.nan,
        n_starts=0,
        n_starts_agreeing=0,
        rms_log_residual=math.hypot(apart, noise.new_run_log),
        samples=tuple(tuple(form[name] for name in params) for form in forms),
        **shared,
    )


def public(law: Law, internal: Floats) -> dict[str, float]:
    """The published parameters of an uncentred internal vector."""
    count = len(law.terms)
    values = dict(zip(law.names, (float(x) for x in internal), strict=True))
    for name in law.names[:count]:
        values[name] = math.exp(min(max(values[name], -700.0), 700.0))
    params: dict[str, float] = law.to_public(values)
    return params
