"""Approach 2: cells, their refusals, the exponents, and the method's known bias."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from scaling_law.errors import FitError
from scaling_law.fit.approaches.isoflop import fit_isoflop, group_cells
from scaling_law.fit.points.points import FitPoints, points_from_arrays

PLANTED = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
CHINCHILLA = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def loss(p: dict[str, float], params: Any, tokens: Any) -> Any:
    return p["E"] + p["A"] * params ** -p["alpha"] + p["B"] * tokens ** -p["beta"]


def best_params(p: dict[str, float], flops: float) -> float:
    total = p["alpha"] + p["beta"]
    scale = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / total)
    return float(scale * (flops / 6) ** (p["beta"] / total))


def centred(p: dict[str, float], budgets: Any, span: float, sizes: int) -> FitPoints:
    """Cells with sizes spread evenly about their true optimum."""
    params, flops = [], []
    for budget in budgets:
        params += (best_params(p, budget) * np.geomspace(1 / span, span, sizes)).tolist()
        flops += [budget] * sizes
    size, cost = np.array(params), np.array(flops)
    tokens = cost / (6 * size)
    return points_from_arrays(size, tokens, loss(p, size, tokens), flops=cost)


def diagonal_grid(noise: float = 0.0, flops_jitter: float = 0.0, seed: int = 0) -> FitPoints:
    """Six sizes and four horizons spaced 2x: cells of equal compute on the diagonals."""
    rng = np.random.default_rng(seed)
    params = np.repeat(14e3 * 2.0 ** np.arange(6), 4)
    doublings = np.tile(np.arange(4), 6) + np.repeat(np.arange(6), 4) - 3
    flops = 2.2e11 * 2.0**doublings * np.exp(flops_jitter * rng.uniform(-1, 1, 24))
    tokens = flops / (6 * params)
    losses = loss(PLANTED, params, tokens) * np.exp(noise * rng.standard_normal(24))
    trunks = [f"trunk{i}" for i in np.repeat(np.arange(6), 4)]
    return points_from_arrays(params, tokens, losses, flops=flops, cluster=trunks)


@pytest.mark.parametrize(("alpha", "beta", "bias"), [(0.34, 0.28, -0.029), (0.465, 0.155, -0.139)])
def test_a_parabola_has_its_known_bias(alpha, beta, bias):
    surface = CHINCHILLA | {"alpha": alpha, "beta": beta}
    points = centred(surface, [1e19, 1e20, 1e21], 8.0, 15)
    result = fit_isoflop(points, resamples=0, curve="parabola")
    assert result.curve == "parabola" and {cell.curve for cell in result.cells} == {"parabola"}
    for cell in result.cells:
        true = cell.flops / (6 * best_params(surface, cell.flops))
        assert cell.tokens_optimal is not None
        assert cell.tokens_optimal / true - 1 == pytest.approx(bias, abs=5e-4)
    # the same bias in every cell leaves the exponent alone
    assert result.exponents["a"] == pytest.approx(beta / (alpha + beta), abs=1e-6)


@pytest.mark.parametrize(("alpha", "beta"), [(0.34, 0.28), (0.465, 0.155)])
@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_an_interpolation_has_little_bias(alpha, beta, shift):
    # sizes sqrt(2) apart, about the optimum or to one side of it
    surface = CHINCHILLA | {"alpha": alpha, "beta": beta}
    base = centred(surface, [1e19, 1e20, 1e21], 8.0, 13)
    params, tokens = base.params * shift * 1.1, base.tokens / shift / 1.1
    points = points_from_arrays(params, tokens, loss(surface, params, tokens), flops=base.flops)
    result = fit_isoflop(points, resamples=0)
    assert {cell.curve for cell in result.cells} == {"akima"}
    for cell in result.cells:
        true = cell.flops / (6 * best_params(surface, cell.flops))
        assert cell.tokens_optimal == pytest.approx(true, rel=0.025)
    assert result.exponents["a"] == pytest.approx(beta / (alpha + beta), abs=1e-3)


@pytest.mark.parametrize("curve", ["akima", "parabola"])
def test_narrow_cells_recover_the_optimum(curve):
    budgets = np.geomspace(1e17, 1e20, 4)
    result = fit_isoflop(centred(PLANTED, budgets, 1.5, 5), curve=curve)
    assert result.status == "fitted"
    assert result.exponents["a"] == pytest.approx(0.37 / 0.72, abs=1e-6)
    assert result.exponents["b"] == pytest.approx(0.35 / 0.72, abs=1e-6)
    for cell, budget in zip(result.cells, budgets, strict=True):
        assert cell.status == "accepted" and cell.params_optimal is not None
        assert cell.flops == pytest.approx(budget)
        assert cell.params_optimal == pytest.approx(best_params(PLANTED, budget), rel=2e-3)
        assert cell.loss_min_nats == pytest.approx(
            loss(PLANTED, cell.params_optimal, cell.tokens_optimal), abs=1e-5
        )
        assert cell.losses_at([cell.params_optimal])[0] == pytest.approx(cell.loss_min_nats)


def test_an_interpolation_passes_through_its_points_and_ends_with_them():
    cell = fit_isoflop(centred(PLANTED, [1e17, 1e18, 1e19], 4.0, 6)).cells[0]
    assert cell.losses_at(cell.params) == pytest.approx(np.array(cell.loss_nats))
    assert math.isnan(cell.losses_at([2 * cell.params[-1]])[0])


def test_a_cell_of_three_sizes_has_a_parabola_and_the_notes_say_so():
    result = fit_isoflop(diagonal_grid())
    assert {(cell.n_sizes, cell.curve) for cell in result.cells if cell.usable} == {
        (3, "parabola"), (4, "akima")
    }  # fmt: skip
    assert "local interpolation" in result.notes[0] and "(2 of 3 cells)" in result.notes[0]
    assert "parabolas are biased" in result.notes[1] and "(1 of 3 cells)" in result.notes[1]


def test_a_small_grid_names_the_refused_cells():
    result = fit_isoflop(diagonal_grid(noise=0.001))
    by_size = {cell.n_sizes for cell in result.cells}
    assert by_size == {2, 3, 4} and len(result.outside) == 2
    refused = [cell for cell in result.cells if cell.status == "refused"]
    assert all(cell.reason and cell.params_optimal is None for cell in refused)
    assert {"exact", "accepted"} <= {cell.status for cell in result.cells}
    assert any("usable cells" in note for note in result.notes)


def test_runs_off_the_budget_are_moved_along_their_size():
    # +-4% in FLOPs moves the loss as much as the parabola does from its middle to its side
    even, uneven = fit_isoflop(diagonal_grid()), fit_isoflop(diagonal_grid(flops_jitter=0.04))
    assert uneven.exponents["a"] == pytest.approx(even.exponents["a"], abs=0.01)


def three_cells(losses: list[float]) -> FitPoints:
    params = np.tile(np.geomspace(1e5, 8e5, 4), 3)
    flops = np.repeat([1e12, 4e12, 16e12], 4)
    return points_from_arrays(params, flops / 6 / params, losses * 3, flops=flops)


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([3.0, 3.1, 3.1, 3.0], "curvature not above 0"),
        ([3.0, 2.9, 2.8, 2.7], "curvature not above 0"),
        ([4.0, 3.5, 3.2, 3.05], "above the largest size"),
        ([3.05, 3.2, 3.5, 4.0], "below the smallest size"),
    ],
)
def test_parabolas_without_a_minimum_are_refused(losses, reason):
    result = fit_isoflop(three_cells(losses), curve="parabola")
    assert result.status == "refused" and "0 of 3" in result.reason
    assert all(reason in cell.reason for cell in result.cells)
    assert result.lines == {} and result.exponents == {}


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([3.0, 3.1, 3.1, 3.05], "below the smallest size"),
        ([3.0, 2.9, 2.8, 2.7], "above the largest size"),
        # a parabola has its minimum inside the sizes here, from losses on one side of it alone
        ([3.0, 3.001, 3.05, 3.2], "below the smallest size"),
        ([3.05, 3.05, 3.05, 3.05], "below the smallest size"),
    ],
)
def test_a_minimum_at_an_end_is_refused(losses, reason):
    result = fit_isoflop(three_cells(losses))
    assert result.status == "refused" and "0 of 3" in result.reason
    assert all(reason in cell.reason for cell in result.cells)
    assert result.lines == {} and result.exponents == {}


@pytest.mark.parametrize("lowest", [0.05, 0.3])
def test_a_minimum_below_0_is_refused(lowest):
    result = fit_isoflop(three_cells([3.0, lowest, lowest, 3.0]), curve="parabola")
    assert result.status == "refused"
    for cell in result.cells:
        assert not cell.usable and "curve's minimum not above 0" in cell.reason
        assert cell.params_optimal is None and cell.loss_min_nats is None
    above = fit_isoflop(three_cells([3.0, 0.5, 0.5, 3.0]), curve="parabola")
    assert above.status == "fitted" and all(cell.usable for cell in above.cells)


def test_two_cells_are_too_few():
    result = fit_isoflop(centred(PLANTED, [1e18, 1e19], 2.0, 5))
    assert result.status == "refused" and "2 of 2" in result.reason
    assert [cell.status for cell in result.cells] == ["accepted", "accepted"]


def test_cells_do_not_chain_over_evenly_spread_compute():
    flops = np.geomspace(1e12, 1e15, 200)
    params = np.tile(np.geomspace(1e4, 1e5, 5), 40)
    points = points_from_arrays(params, flops / 6 / params, np.full(200, 3.0), flops=flops)
    cells, alone = group_cells(points, 0.1)
    assert len(cells) > 20
    assert all(np.ptp(np.log(flops[cell])) <= math.log(1.1 / 0.9) + 1e-6 for cell in cells)
    assert sorted([row for cell in cells for row in cell] + alone) == list(range(200))


def test_more_seeds_of_one_size_do_not_pull_the_parabola():
    base = centred(PLANTED, [1e17, 1e18, 1e19], 2.0, 5)
    rows = [*range(15), 0, 0, 5, 5, 10, 10]
    repeated = fit_isoflop(base.take(rows), resamples=0)
    assert repeated.exponents["a"] == pytest.approx(
        fit_isoflop(base, resamples=0).exponents["a"], abs=1e-9
    )
    assert {cell.n_sizes for cell in repeated.cells} == {5}


@pytest.mark.parametrize("curve", ["akima", "parabola"])
def test_the_interval_covers_under_noise(curve):
    budgets, covered = np.geomspace(1e17, 1e20, 5), 0
    base = centred(PLANTED, budgets, 6.0, 6)
    true = fit_isoflop(base, resamples=0, curve=curve).exponents["a"]
    for seed in range(60):
        noise = 0.002 * np.random.default_rng(seed).standard_normal(len(base))
        points = points_from_arrays(
            base.params, base.tokens, base.loss_nats * np.exp(noise), flops=base.flops
        )
        fitted = fit_isoflop(points, resamples=150, seed=seed, curve=curve)
        interval = fitted.lines["params"].interval
        assert interval is not None
        covered += interval[0] < true < interval[1]
    assert covered >= 50


def test_seeds_of_one_size_tell_the_noise_where_neighbours_cannot():
    # no noise between sizes, but repeats that differ: the interval must hold their noise
    base = centred(PLANTED, np.geomspace(1e17, 1e20, 5), 2.0, 4)
    smooth = fit_isoflop(base).lines["params"].interval
    twice = base.take([*range(len(base)), *range(len(base))])
    factors = np.repeat([1.004, 0.996], len(base))
    repeated = points_from_arrays(
        twice.params, twice.tokens, twice.loss_nats * factors, flops=twice.flops
    )
    noisy = fit_isoflop(repeated).lines["params"].interval
    assert smooth is not None and noisy is not None
    assert noisy[1] - noisy[0] > 10 * (smooth[1] - smooth[0])


def test_the_same_seed_gives_the_same_json():
    points = diagonal_grid(noise=0.002)
    first, second = (json.dumps(fit_isoflop(points).to_json(), allow_nan=False) for _ in range(2))
    assert first == second
    assert json.loads(first)["cells"][2]["params_optimal"] > 0


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"tolerance_frac": 0.0}, "between 0 and 1"),
        ({"level": 1.0}, "between 0 and 1"),
        ({"curve": "spline"}, "akima or parabola"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, expected):
    with pytest.raises(FitError, match=f"expected {expected}"):
        fit_isoflop(diagonal_grid(), **wrong)


def test_noise_that_hides_the_exponent_is_reported():
    result = fit_isoflop(diagonal_grid(noise=0.004, seed=3))
    assert result.status == "fitted"
    assert any("do not determine it" in note for note in result.notes)
