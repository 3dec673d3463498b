"""A power law through numbers over seeds: its exponent and interval, a reason where it has none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scaling_law.experiment.power_law import (
    PowerLaw,
    fit_power_law,
    fit_power_law_of_seeds,
    fit_power_law_with_floor,
    misfit_chance,
)

SIZES = (250, 500, 1000, 2000, 4000, 8000, 16000)


def test_a_planted_exponent_lies_in_its_interval_as_often_as_the_interval_says():
    rng = np.random.default_rng(0)
    within = 0
    for _ in range(400):
        values = {x: 7 * x**-0.8 * np.exp(0.1 * rng.standard_normal(3)) for x in (1.0, 2, 4, 8)}
        law = fit_power_law({x: list(numbers) for x, numbers in values.items()})
        assert isinstance(law, PowerLaw)
        within += law.interval[0] <= -0.8 <= law.interval[1]
    assert within / 400 == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize(("seeds", "unlike"), [(3, 0.0), (3, 1.0), (6, 0.0), (6, 1.0)])
def test_seeds_alone_seldom_put_numbers_off_their_power_law(seeds, unlike):
    """Whether noise is the same at every x, or up to 8 times as large and shared by neighbours."""
    rng = np.random.default_rng(seeds)
    scales = np.array([8.0, 4.0, 2.0, 1.0])[:, np.newaxis] ** unlike
    chances = []
    for _ in range(400):
        noise = scales * rng.standard_normal((4, seeds))
        noise[1:] += unlike * noise[:-1]
        noise = 0.01 * noise + rng.standard_normal(seeds)  # a seed has its level
        values = {2.0**k: dict(enumerate(2.0**-k * np.exp(row))) for k, row in enumerate(noise)}
        chances.append(misfit_chance(values))
    for share in (0.05, 0.5):
        assert np.mean(np.array(chances) < share) == pytest.approx(share, abs=0.05)
    bent = {x: {seed: (1 + x) ** 9 * y for seed, y in of.items()} for x, of in values.items()}
    assert misfit_chance(bent) == pytest.approx(0, abs=0.01)


def test_numbers_without_noise_or_a_law_have_no_chance_of_one():
    law = {x: {seed: x**-0.5 * (1 + 0.1 * seed) for seed in range(3)} for x in (1.0, 2.0, 4.0)}
    assert misfit_chance(law) is None, "seeds differ by their level alone"
    assert misfit_chance({x: {0: of[0]} for x, of in law.items()}) is None, "one seed"
    assert misfit_chance({x: {int(x): 1.0} for x in law}) is None, "no seed has all"
    assert misfit_chance({}) is misfit_chance({1.0: law[1.0], 2.0: law[2.0]}) is None


def test_points_on_a_law_give_it_exactly():
    law = fit_power_law({x: [3 * x**0.5] * 2 for x in (0.1, 1.0, 10.0)})
    assert isinstance(law, PowerLaw)
    assert (law.exponent, law.factor) == pytest.approx((0.5, 3))
    assert law.at(4.0) == pytest.approx(6) and law.text == "exponent 0.50 (0.50 to 0.50)"


def test_points_on_no_law_give_a_wide_interval():
    law = fit_power_law({x: [1 + math.sin(3 * x)] for x in (1.0, 2.0, 3.0, 4.0)})
    assert isinstance(law, PowerLaw) and law.interval[0] < 0 < law.interval[1]


def test_two_values_give_no_law():
    assert "2 values" in str(fit_power_law({1.0: [2.0], 2.0: [1.0], 3.0: []}))


def test_a_planted_floor_is_recovered_without_noise():
    law = fit_power_law_with_floor({x: [2.8 * x**-0.59 + 0.149] for x in SIZES})
    assert isinstance(law, PowerLaw)
    assert (law.factor, law.exponent, law.floor) == pytest.approx((2.8, -0.59, 0.149), rel=0.02)
    assert law.interval[0] <= law.exponent <= law.interval[1]
    assert law.formula("n").endswith(" n^-0.59 + 0.149")


def test_intervals_beside_a_floor_hold_the_planted_exponent_as_often_as_they_say():
    """At 90%, 160 to 195 of 200 but for one draw in a thousand."""
    within = 0
    for seed in range(200):
        noise = 1 + 0.01 * np.random.default_rng(seed).standard_normal((len(SIZES), 3))
        means = [(3 * x**-0.5 + 0.1) * row for x, row in zip(SIZES, noise, strict=True)]
        law = fit_power_law_with_floor(dict(zip(SIZES, map(list, means), strict=True)))
        assert isinstance(law, PowerLaw)
        within += law.interval[0] <= -0.5 <= law.interval[1]
    assert 160 <= within <= 195


def test_numbers_without_a_floor_get_one_of_about_zero():
    rng = np.random.default_rng(1)
    law = fit_power_law_with_floor(
        {x: [3 * x**-0.5 * (1 + 0.002 * rng.standard_normal())] for x in SIZES}
    )
    assert isinstance(law, PowerLaw)
    assert law.floor < 0.01 and law.exponent == pytest.approx(-0.5, abs=0.05)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({x: [0.1 + 1e-6 * x] for x in SIZES}, "do not"),
        ({x: [0.3] for x in SIZES}, "do not"),
        ({1.0: [1.0], 2.0: [0.5], 4.0: [0.3]}, "3 values to fit a power law to, and it takes 4"),
        ({x: [0.0] for x in SIZES}, "not above 0"),
        ({x: [0.2 + (i % 2)] for i, x in enumerate(SIZES)}, "do not"),
    ],
)
def test_numbers_that_bound_no_exponent_give_no_law_with_a_floor(values, why):
    refused = fit_power_law_with_floor(values)
    assert isinstance(refused, str) and why in refused


def test_numbers_of_one_run_are_as_uncertain_as_single_seeds_are_apart():
    """Each seed lies on a law of its own, so that the means lie on one exactly."""
    values = {
        x: {seed: x ** (-0.5 + 0.1 * seed) for seed in (-1, 0, 1)} for x in (1.0, 2.0, 4.0, 8.0)
    }
    law = fit_power_law_of_seeds(values)
    assert isinstance(law, PowerLaw) and law.exponent == pytest.approx(-0.5)
    assert law.interval == pytest.approx((-0.5 - 0.1 * 2.92 / 3**0.5, -0.5 + 0.1 * 2.92 / 3**0.5),
                                         rel=1e-3)  # fmt: skip
    alone = fit_power_law_of_seeds({x: {0: by[0]} for x, by in values.items()})
    assert isinstance(alone, PowerLaw) and alone.interval == pytest.approx((-0.5, -0.5))
