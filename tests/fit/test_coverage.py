"""Do 90% intervals hold what they promise? Planted sweeps of the quick grid's shape."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_law.fit.laws import load_law
from scaling_law.fit.parametric import fit_law
from scaling_law.fit.points import FitPoints, points_from_arrays
from scaling_law.fit.solve import Objective

TRUE = {"E": 1.8, "A": 60.0, "B": 200.0, "alpha": 0.34, "beta": 0.37}
SIZES = (38400.0, 57344.0, 104448.0, 163840.0, 312320.0, 540672.0)
DRAWS = 30


def sweep(seed: int, noise: float = 0.003, trunk_noise: float = 0.003) -> FitPoints:
    """Six sizes by four horizons, the third size with three seeds: 8 trunks, 32 points."""
    generator = np.random.default_rng(seed)
    params, tokens, cluster, shared = [], [], [], []
    for number, size in enumerate(SIZES):
        for repeat in range(3 if number == 2 else 1):
            own = generator.normal()
            for horizon in range(4):
                params.append(size)
                tokens.append(5e5 * 2**horizon * (SIZES[3] / size) ** 0.75)
                cluster.append(f"{number}.{repeat}")
                shared.append(own)
    losses = load_law("chinchilla").predict(
        TRUE, {"params": np.array(params), "tokens": np.array(tokens)}
    )
    scatter = noise * generator.normal(size=len(losses)) + trunk_noise * np.array(shared)
    return points_from_arrays(params, tokens, losses * np.exp(scatter), cluster=cluster)


def test_intervals_from_eight_trunks_hold_the_truth():
    # Residuals scaled for degrees of freedom alone (CR1), alpha came to 70% where 90% was said.
    hits = dict.fromkeys(("E", "alpha", "beta", "a"), 0)
    for seed in range(DRAWS):
        fit = fit_law(
            sweep(seed), "chinchilla", objective=Objective(delta=0.01), resamples=100, seed=seed
        )
        truth = {**TRUE, "a": TRUE["beta"] / (TRUE["alpha"] + TRUE["beta"])}
        for name in hits:
            low, high = {**fit.intervals, **fit.optimum_intervals}[name]
            hits[name] += low <= truth[name] <= high
    # honest 90% intervals have fewer than 24 hits of 30 with 2.6% each; the seeds are fixed
    assert min(hits.values()) >= 24, hits


@pytest.mark.parametrize(("delta", "said"), [(1e-3, True), (0.01, False)])
def test_a_huber_delta_inside_the_noise_is_said_to_narrow_the_intervals(delta, said):
    fit = fit_law(sweep(0), "chinchilla", objective=Objective(delta=delta), resamples=100)
    assert any("--huber-delta" in note for note in fit.notes) == said
