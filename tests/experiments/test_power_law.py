"""A power law through numbers over seeds: its exponent and interval, a reason where it has none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scaling_law.experiment.power_law import PowerLaw, fit_power_law


def test_a_planted_exponent_lies_in_its_interval_as_often_as_the_interval_says():
    rng = np.random.default_rng(0)
    within = 0
    for _ in range(400):
        values = {x: 7 * x**-0.8 * np.exp(0.1 * rng.standard_normal(3)) for x in (1.0, 2, 4, 8)}
        law = fit_power_law({x: list(numbers) for x, numbers in values.items()})
        assert isinstance(law, PowerLaw)
        within += law.interval[0] <= -0.8 <= law.interval[1]
    assert within / 400 == pytest.approx(0.9, abs=0.05)


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
