"""Power laws over seeds: planted ones are recovered, others are refused."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_law.experiment.power_law import PowerLaw, fit_power, fit_power_with_floor

SIZES = (250, 500, 1000, 2000, 4000, 8000, 16000)


def noisy(law, seed: int, noise: float = 0.01, seeds: int = 3) -> dict[float, list[float]]:
    random = np.random.default_rng(seed)
    return {x: list(law(x) * (1 + noise * random.standard_normal(seeds))) for x in SIZES}


def test_a_planted_slope_is_recovered_without_noise():
    fit = fit_power({x: [3 * x**-0.5] for x in SIZES})
    assert isinstance(fit, PowerLaw)
    assert (fit.scale, fit.slope) == pytest.approx((3, -0.5))
    assert fit.interval == pytest.approx((-0.5, -0.5)) and fit.misfit == pytest.approx(0, abs=1e-9)
    assert fit.at(100) == pytest.approx(0.3) and fit.text("n") == "3 n^-0.50"


def test_a_planted_floor_is_recovered_without_noise():
    fit = fit_power_with_floor({x: [2.8 * x**-0.59 + 0.149] for x in SIZES})
    assert isinstance(fit, PowerLaw)
    assert (fit.scale, fit.slope, fit.floor) == pytest.approx((2.8, -0.59, 0.149), rel=0.02)
    assert fit.interval[0] <= fit.slope <= fit.interval[1]


@pytest.mark.parametrize(
    ("fit", "law", "slope"),
    [
        (fit_power, lambda x: 3 * x**-0.5, -0.5),
        (fit_power_with_floor, lambda x: 3 * x**-0.5 + 0.1, -0.5),
    ],
)
def test_intervals_hold_the_planted_slope_as_often_as_they_say(fit, law, slope):
    """At 90%, 160 to 195 of 200 but for one draw in a thousand."""
    fits = [fit(noisy(law, seed)) for seed in range(200)]
    assert all(isinstance(one, PowerLaw) for one in fits)
    assert 160 <= sum(one.interval[0] <= slope <= one.interval[1] for one in fits) <= 195


def test_a_law_without_a_floor_is_fitted_with_one_of_about_zero():
    fit = fit_power_with_floor(noisy(lambda x: 3 * x**-0.5, 1, noise=0.002))
    assert isinstance(fit, PowerLaw)
    assert fit.floor < 0.01 and fit.slope == pytest.approx(-0.5, abs=0.05)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({x: [0.1 + 1e-6 * x] for x in SIZES}, "do not"),
        ({x: [0.3] for x in SIZES}, "do not"),
        ({1.0: [1.0], 2.0: [0.5], 4.0: [0.3]}, "there are 3 sizes, and a law with a floor takes 4"),
        ({x: [0.0] for x in SIZES}, "not above 0"),
        ({x: [0.2 + (i % 2)] for i, x in enumerate(SIZES)}, "do not"),
    ],
)
def test_values_that_bound_no_slope_are_refused(values, why):
    refused = fit_power_with_floor(values)
    assert isinstance(refused, str) and why in refused


def test_two_sizes_give_no_interval():
    refused = fit_power({1.0: [1.0], 2.0: [0.5], 3.0: []})
    assert isinstance(refused, str) and "there are 2 sizes" in refused
