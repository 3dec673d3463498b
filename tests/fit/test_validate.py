"""Validation: held-out runs, seed noise, order, verdict, odd points; on planted surfaces."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from scaling_law.fit.checks.hold_out import PASS_P90_FRAC, HeldOut
from scaling_law.fit.checks.monotone import find_rises, seed_noise, sizes_in_order
from scaling_law.fit.checks.validate import _verdict, validate
from scaling_law.fit.points.points import FitPoints, points_from_arrays
from scaling_law.fit.solver.solve import Objective


def surface(params: Any, tokens: Any) -> Any:
    return 1.8 + 480 * params**-0.35 + 2100 * tokens**-0.37


def grid(noise: float = 1e-6, seeds: int = 1, sizes: int = 6, seed: int = 0) -> FitPoints:
    """Sizes by four horizons, spaced 2x; ``seeds`` trunks of each size."""
    rng = np.random.default_rng(seed)
    count = sizes * seeds * 4
    params = np.repeat(14e3 * 2.0 ** np.arange(sizes), 4 * seeds)
    tokens = np.tile(4e5 * 2.0 ** np.arange(4), sizes * seeds)
    losses = surface(params, tokens) * np.exp(noise * rng.standard_normal(count))
    trunks = [f"trunk{i // 4}" for i in range(count)]
    return points_from_arrays(params, tokens, losses, cluster=trunks)


def changed(points: FitPoints, factors: dict[int, float]) -> FitPoints:
    losses = points.loss_nats.copy()
    for row, factor in factors.items():
        losses[row] *= factor
    return points_from_arrays(points.params, points.tokens, losses, cluster=points.cluster)


def test_held_out_runs_are_predicted_without_noise():
    result = validate(grid())
    assert len(result.leave_size_out) == 6 and len(result.rollout_params) == 3
    for held in (*result.leave_size_out, *result.rollout_params, *result.rollout_flops):
        assert held.status == "converged"
        assert held.max_abs_error is not None and held.max_abs_error < 1e-3
        assert held.n_fitted + held.n_held_out == 24 and len(held.residuals) == held.n_held_out
    assert result.rollout_params[0].held_out == "largest size"
    assert result.rollout_params[-1].factors["params"] == pytest.approx(8)
    assert result.rollout_flops[0].factors["flops"] == pytest.approx(2)
    assert result.rises == () and result.pairs_compared == 6 * 3 + 5 * 4
    longest = result.rollout_flops[-1]
    assert longest.factors["flops"] == pytest.approx(64)
    assert (longest.n_held_out, longest.n_sizes, longest.n_trunks) == (18, 6, 6)
    assert result.trust_flops_factor == 64, "as far as was tested and no farther"
    assert result.verdict.startswith("held-out") and "trust to 64x" in result.verdict
    assert "(18 runs, 6 sizes, 6 trunks; 64x the fitted FLOPs, " in result.verdict
    assert all(abs(change["alpha"]) < 0.01 for change in result.influence.values())


def test_a_law_that_does_not_fit_a_bend_is_not_trusted():
    points = grid()
    # the largest sizes stop improving: as if the learning rate no longer suited them
    result = validate(changed(points, dict.fromkeys(range(16, 24), 1.08)))
    assert result.trust_flops_factor is None
    assert "do not extrapolate" in result.verdict
    worst = result.rollout_params[1]
    assert worst.p90_abs_error is not None and worst.p90_abs_error > PASS_P90_FRAC
    assert worst.mean_residual is not None and worst.mean_residual > 0, "measured above predicted"


def held(size_count: int, runs: int, flops: float) -> HeldOut:
    return HeldOut(
        held_out="some",
        status="converged",
        reason="",
        n_fitted=12,
        n_held_out=runs,
        n_sizes=size_count,
        n_trunks=size_count,
        factors={"params": 2.0, "tokens": flops / 2, "flops": flops},
        median_abs_error=0.001,
        p90_abs_error=0.004,
    )


def test_trust_ends_where_runs_of_two_sizes_were_tested():
    near, far = held(2, 4, 3.9), held(1, 3, 17.9)
    verdict, trust = _verdict([far, near], {})
    assert trust == 3.9 and "(4 runs, 2 sizes, 2 trunks; 3.9x the fitted FLOPs" in verdict
    # one size, or two runs, are too little evidence, however well they are predicted
    verdict, trust = _verdict([far], {})
    assert trust is None and "not validated" in verdict and "(3 runs, 1 size, 1 trunk" in verdict
    assert _verdict([held(2, 2, 4.0)], {})[1] is None
    assert _verdict([held(2, 3, 17.9)], {})[1] == 17, "never rounded up"
    assert _verdict([held(2, 3, 15.98)], {})[1] == 16


def test_three_sizes_are_too_few_and_say_so():
    result = validate(grid(sizes=3))
    assert result.leave_size_out == () and "3 sizes" in result.reasons["leave_size_out"]
    assert result.rollout_flops == () or result.rollout_flops[0].n_fitted > 0
    assert result.seed_noise_log is None and "two seeds" in result.reasons["seed_noise_log"]
    one = validate(grid(sizes=1))
    assert one.verdict.startswith("not validated") and one.trust_flops_factor is None
    assert one.influence == {}


def test_seed_noise_is_the_pooled_deviation():
    noise, groups = seed_noise(grid(noise=0.005, seeds=6, sizes=10))
    assert groups == 40
    assert noise == pytest.approx(0.005, rel=0.2)
    assert seed_noise(grid(noise=0.005)) == (None, 0)
    points = grid(noise=0.005)
    twice = points.take([*range(24), 0])
    assert seed_noise(twice) == (None, 0), "one run listed twice is no repeat"


def test_a_rise_beyond_noise_is_listed_with_both_runs():
    points = grid()
    rises, pairs = find_rises(changed(points, {10: 1.2}), 0.0)
    assert pairs == 38
    along = {(rise.along, rise.lower, rise.higher) for rise in rises}
    assert along == {("tokens", "row10", "row11"), ("params", "row7", "row11")}
    assert all(rise.rise_log > 0 for rise in rises)
    assert find_rises(changed(points, {10: 1.2}), 0.2)[0] == []


def test_sizes_at_other_tokens_are_compared_by_interpolation_only():
    params, tokens = np.repeat([1e5, 2e5], 3), np.array([1e6, 2e6, 4e6, 1.5e6, 3e6, 6e6])
    points = points_from_arrays(params, tokens, surface(params, tokens), cluster=list("aaabbb"))
    rises, pairs = find_rises(points, 0.0)
    assert rises == [] and pairs == 4 + 2, "6e6 tokens lie beyond the smaller size's horizons"


def test_many_sizes_are_held_out_in_few_folds():
    points = grid(sizes=20)
    assert sizes_in_order(points)[0] == "14K"
    result = validate(points, objective=Objective(loss="mse_log"))
    assert len(result.leave_size_out) == 8
    assert sum(held.n_held_out for held in result.leave_size_out) == 80


def test_the_same_points_give_the_same_json():
    points = grid(noise=0.003, seeds=2, sizes=4)
    first, second = (json.dumps(validate(points).to_json(), allow_nan=False) for _ in range(2))
    assert first == second
    assert json.loads(first)["seed_groups"] == 16
