import dataclasses
import functools
import math
from pathlib import Path

import numpy as np
import pytest

from scaling_law.errors import FitError
from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.laws import load_law
from scaling_law.fit.points.points import FitPoints, points_from_arrays
from scaling_law.fit.points.table import read_table
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.solve import Objective
from scaling_law.fit.summary import _params

PUBLISHED = Path(__file__).resolve().parents[1] / "published" / "chinchilla240.csv"
TRUE = {"E": 1.8, "A": 60.0, "B": 200.0, "alpha": 0.34, "beta": 0.37}


def planted(
    noise: float = 0.0,
    *,
    sizes: int = 6,
    horizons: int = 4,
    trunk_noise: float = 0.0,
    seed: int = 0,
) -> FitPoints:
    """A grid of trunks (one a size) and horizons on Chinchilla's form."""
    generator = np.random.default_rng(seed)
    params = np.repeat(np.geomspace(1e4, 1e6, sizes), horizons)
    tokens = np.tile(np.geomspace(3e5, 2.4e6, horizons), sizes)
    losses = load_law("chinchilla").predict(TRUE, {"params": params, "tokens": tokens})
    shared = np.repeat(generator.normal(0, 1, sizes), horizons)
    scatter = noise * generator.normal(0, 1, len(losses)) + trunk_noise * shared
    cluster = [f"trunk{i // horizons}" for i in range(len(losses))]
    return points_from_arrays(params, tokens, losses * np.exp(scatter), cluster=cluster)


@functools.cache
def planted_fits() -> dict[str, FitResult]:
    """Chinchilla's law and the coupled one fitted to one planted grid, with resamples."""
    convention = {"params": "matmul", "flops": "exact", "loss": "nats per token"}
    points = dataclasses.replace(planted(0.002, trunk_noise=0.002), convention=convention)
    return {name: fit_law(points, name, resamples=100) for name in ("chinchilla", "coupled")}


@pytest.fixture(scope="module")
def published() -> FitPoints:
    return read_table(PUBLISHED, TableSettings(params_are="total"))


def test_the_published_240_points_reach_their_optimum_from_every_start(published):
    fit = fit_law(published, "chinchilla")
    assert fit.n_points == 240
    assert fit.objective == pytest.approx(1.0182740178e-3, rel=1e-8)
    expected = {"E": 1.81722, "A": 477.83, "B": 2143.4, "alpha": 0.34731, "beta": 0.36717}
    for name, value in expected.items():
        assert fit.params[name] == pytest.approx(value, rel=2e-5)
    assert fit.optimum is not None
    assert fit.optimum.exponent == pytest.approx(0.5139, abs=1e-4)
    assert (fit.status, fit.n_starts_agreeing) == ("converged", fit.n_starts)


def test_the_published_points_give_a_coupling_below_one(published):
    # Videau 2026: k = 1 is Chinchilla's law; measured surfaces have k < 1
    fit = fit_law(published, "skaling")
    assert fit.status == "converged" and fit.params["k"] < 1
    assert fit.objective < fit_law(published, "chinchilla").objective


def test_the_published_bootstrap_errors_are_reproduced_and_every_resample_converges(published):
    fit = fit_law(published, "chinchilla", resamples=600, seed=1)
    assert "pairs" in fit.interval_method
    assert not any("did not converge" in note or "elsewhere" in note for note in fit.notes)
    errors = dict(zip(fit.params, np.std(np.array(fit.samples), axis=0), strict=True))
    # Besiroglu 2024, table 1's standard errors; 600 resamples know them to some percent
    expected = {"A": 124, "E": 0.0257, "alpha": 0.0154, "beta": 0.0206}
    for name, value in expected.items():
        assert errors[name] == pytest.approx(value, rel=0.15)
    assert errors["B"] == pytest.approx(1293, rel=0.4)  # heavy-tailed: dominated by few resamples


def test_a_tiny_objective_still_converges(published):
    # a tiny objective does not stop the solver early: at 1e-6 of the scale it still converges
    tiny = fit_law(published, "chinchilla", objective=Objective(delta=1e-5))
    assert tiny.status == "converged"
    assert tiny.n_starts_agreeing >= 0.5 * tiny.n_starts


@pytest.mark.parametrize("loss", ["huber_log", "mse_log", "mse"])
def test_planted_parameters_are_recovered_and_covered(loss):
    fit = fit_law(planted(0.002), "chinchilla", objective=Objective(loss=loss), resamples=200)
    assert fit.status == "converged"
    for name, value in TRUE.items():
        low, high = fit.intervals[name]
        assert low < value < high
    low, high = fit.optimum_intervals["a"]
    assert low < TRUE["beta"] / (TRUE["alpha"] + TRUE["beta"]) < high


def test_intervals_grow_with_noise_between_trunks_and_repeat_with_the_seed():
    calm = fit_law(planted(0.001), "chinchilla", resamples=200)
    noisy = fit_law(planted(0.001, trunk_noise=0.01), "chinchilla", resamples=200)

    def width(fit, name):
        return fit.intervals[name][1] - fit.intervals[name][0]

    assert width(noisy, "alpha") > 2 * width(calm, "alpha")
    again = fit_law(planted(0.001), "chinchilla", resamples=200)
    assert again.samples == calm.samples
    other = fit_law(planted(0.001), "chinchilla", resamples=200, seed=5)
    assert other.samples != calm.samples
    assert any("only 6 independent trunks" in note for note in calm.notes)


def test_an_irreducible_loss_of_zero_is_reported_as_a_bound():
    points = planted()
    losses = points.loss_nats
    flat = load_law("chinchilla").predict(
        {**TRUE, "E": 0.0}, {"params": points.params, "tokens": points.tokens}
    )
    assert (flat < losses).all()
    fit = fit_law(points_from_arrays(points.params, points.tokens, flat), "chinchilla")
    assert fit.status == "at_bound"
    assert fit.message.startswith("E at a bound")


def test_an_unidentified_law_is_refused_with_what_to_add():
    few = fit_law(planted().take([0, 5, 10, 15, 20]), "chinchilla")
    assert (few.status, few.params) == ("too_few_points", {})
    assert "5 points for 5 parameters" in few.message
    one_size = planted(sizes=1, horizons=12)
    assert "only 1 different value of params" in fit_law(one_size, "chinchilla").message
    line = np.geomspace(1e4, 1e6, 12)
    together = points_from_arrays(line, 20 * line, 10 * line**-0.1)
    assert "move together" in fit_law(together, "chinchilla").message
    same = points_from_arrays([1e4] * 8, [1e6] * 8, [3.0] * 8)
    with pytest.raises(FitError, match="no law can be fitted"):
        fit_law(same, "chinchilla")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [(0, 0.0, "params is 0.0"), (1, -5.0, "tokens is -5.0"), (2, np.nan, "loss is nan")],
)
def test_impossible_rows_are_named(column, value, said):
    columns = [[1e4, 2e4, 3e4], [1e6, 2e6, 3e6], [4.0, 3.9, 3.8]]
    columns[column][1] = value
    with pytest.raises(FitError, match=f"row 2: {said}"):
        points_from_arrays(*columns)


def test_the_work_of_a_fit_is_linear_in_the_rows():
    generator = np.random.default_rng(0)
    params = np.exp(generator.uniform(np.log(1e4), np.log(1e7), 10_000))
    tokens = np.exp(generator.uniform(np.log(1e6), np.log(1e9), 10_000))
    losses = load_law("chinchilla").predict(TRUE, {"params": params, "tokens": tokens})
    losses *= np.exp(0.003 * generator.normal(size=10_000))
    fit = fit_law(points_from_arrays(params, tokens, losses), "chinchilla")
    assert fit.params["alpha"] == pytest.approx(TRUE["alpha"], rel=0.02)


def test_resamples_that_overflow_are_left_out_and_counted():
    # six nearly flat points: resampled slopes near 0 make the scale (1 / slope) overflow
    generator = np.random.default_rng(3)
    tokens = np.repeat(np.geomspace(1e6, 4e6, 5), 2)
    losses = 4.0 * (tokens / 1e6) ** -0.004 * np.exp(0.01 * generator.normal(size=10))
    clusters = [f"t{i % 5}" for i in range(10)]
    points = points_from_arrays([1e5] * 10, tokens, losses, cluster=clusters)
    fit = fit_law(points, "kaplan_d", resamples=200)
    assert np.isfinite(np.array(fit.samples)).all()
    assert any("overflows" in note for note in fit.notes)
    assert len(fit.samples) < 200


def test_an_interval_end_at_the_laws_own_bound_counts_as_open():
    points = planted(0.02, sizes=8, seed=1)
    for way in ("percentile", "studentised"):
        fit = fit_law(points, "chinchilla", resamples=200, intervals=way)
        low, high = fit.intervals["E"]
        assert low == -math.inf and fit.params["E"] < high < math.inf
        assert all(map(math.isfinite, (*fit.intervals["A"], *fit.intervals["beta"])))
    plain = fit.to_json()
    assert plain["intervals"]["E"] == [None, high]
    assert FitResult.from_json(plain).intervals == fit.intervals
    assert f"E = {fit.params['E']:.4f} [no bound, {high:.4f}]" in _params(fit)
    sharp = fit_law(planted(0.0005, sizes=8), "chinchilla", resamples=200)
    assert all(map(math.isfinite, sharp.intervals["E"]))


def test_the_interval_of_a_share_ends_at_0_and_1():
    fit = fit_law(planted(0.04, trunk_noise=0.04), "chinchilla", resamples=100)
    low, high = fit.optimum_intervals["a"]
    assert fit.optimum is not None
    assert 0 < low < fit.optimum.exponent < high == 1, "widened, it would go beyond"
    assert fit.optimum_intervals["b"] == pytest.approx((1 - high, 1 - low))


def test_an_interval_prints_its_ends_up_to_six_orders_of_magnitude():
    fit = fit_law(planted(), "chinchilla")
    wide = dataclasses.replace(fit, params={"A": 1e4}, intervals={"A": (1.5, 1e6)})
    assert _params(wide) == ["A = 1e+04 [1.5, 1e+06]"]
    wider = dataclasses.replace(wide, intervals={"A": (1.5, 1e7)})
    assert _params(wider) == ["A = 1e+04 [not determined]"]
