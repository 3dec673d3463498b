"""What the fits would look like after a set of runs, before any of them is made.

The runs' losses are taken from the most likely truth and every other law is fitted to them; each
law's resamples are refits to those losses with noise drawn anew (a parametric bootstrap: Efron
1993, "An introduction to the bootstrap", section 6.5). A forecast from such fits has the same
interval, by the same rules, as one from real fits would be expected to have. The linearisation
that chooses the runs will not do here: where the points hardly tell an irreducible loss it gives
it an error of many e-folds, and ends of intervals that no refit comes near.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scaling_law.design.prior import problem_like
from scaling_law.design.variance import Noise, Runs, Truth, believe, columns
from scaling_law.fit.laws import load_law
from scaling_law.fit.laws.law import Floats, Law
from scaling_law.fit.result import FitResult

_SAMPLES = 200


def expected_fits(
    truth: Truth,
    laws: Sequence[str],
    runs: Runs,
    trunks: Sequence[tuple[int, ...]],
    noise: Noise,
    convention: dict[str, str],
    *,
    flops: Floats | None = None,
) -> dict[str, FitResult]:
    """Each of ``laws`` as fitted to ``runs`` (all of them, grouped by ``trunks``), by name.

    ``flops`` [n] are the runs' as ``convention`` counts them, 6ND unless given.
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
    losses = truth.at(runs.params, runs.tokens)[0]
    drawn = losses + _noises(truth, runs, trunks, noise)
    return {
        name: _expected(name, truth, runs, drawn, noise, shared)
        for name in dict.fromkeys([truth.law, *laws])
    }


def _noises(truth: Truth, runs: Runs, trunks: Sequence[tuple[int, ...]], noise: Noise) -> Floats:
    """Errors of log loss [r, n]: each run's own, its trunk's, and a misfit's smooth surface."""
    generator = np.random.default_rng(0)
    middle = float(np.median(runs.params)), float(np.median(runs.tokens))
    waves = believe([truth], runs, middle, noise).waves
    found = noise.run_log * generator.standard_normal((_SAMPLES, len(runs.params)))
    for trunk in trunks:
        found[:, list(trunk)] += noise.trunk_log * generator.standard_normal((_SAMPLES, 1))
    return np.asarray(found + generator.standard_normal((_SAMPLES, waves.shape[1])) @ waves.T)


def _expected(
    name: str, truth: Truth, runs: Runs, drawn: Floats, noise: Noise, shared: Mapping[str, Any]
) -> FitResult:
    law, problem = load_law(name), problem_like(name, truth, runs)
    solution = problem.solve(problem.starts()[::4], max_steps=200)
    optimum = solution.internal[int(solution.objective.argmin())]
    params = public(law, truth.internal) if name == truth.law else problem.form(optimum)
    refits = problem.solve(np.tile(optimum, (len(drawn), 1)), targets=drawn, max_steps=200)
    losses = law.predict(params, columns(runs.params, runs.tokens))
    apart = float(np.sqrt(np.mean((np.log(losses) - problem.target) ** 2)))
    return FitResult(
        law=name,
        params=params,
        status="converged",
        message="",
        objective=math.nan,
        n_starts=0,
        n_starts_agreeing=0,
        rms_log_residual=math.hypot(apart, noise.new_run_log),
        samples=tuple(
            tuple(found[each] for each in params) for found in map(problem.form, refits.internal)
        ),
        **shared,
    )


def public(law: Law, internal: Floats) -> dict[str, float]:
    """An uncentred internal vector in the published form."""
    count = len(law.terms)
    values = dict(zip(law.names, (float(x) for x in internal), strict=True))
    for name in law.names[:count]:
        values[name] = math.exp(min(max(values[name], -700.0), 700.0))
    found: dict[str, float] = law.to_public(values)
    return found
