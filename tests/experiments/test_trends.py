"""Power laws with a limit and logistic curves: planted ones are found and told apart."""

from __future__ import annotations

import pytest

from scaling_law.experiment.trends import Trend, fit_logistic, fit_power, held_out

RATIOS = (1.0, 1.125, 1.25, 1.375, 1.5, 1.75, 2.0)


@pytest.mark.parametrize(("scale", "exponent", "limit"), [(0.9, 4.0, 0.1), (-2.0, 0.5, 3.0)])
def test_a_planted_power_law_is_found(scale, exponent, limit):
    points = {x: scale * x**-exponent + limit for x in RATIOS}
    trend = fit_power(points)
    assert isinstance(trend, Trend)
    assert trend.params["exponent"] == pytest.approx(exponent, rel=0.03)
    assert trend.params["limit"] == pytest.approx(limit, abs=0.15)
    assert trend.rms(points) < 0.002


def test_a_power_law_through_a_known_first_value_keeps_it():
    points = {x: 0.8 - 0.7 * x**-0.4 for x in (2.0, 4.0, 8.0)}
    trend = fit_power(points, first=0.1)
    assert isinstance(trend, Trend) and trend.at(1) == pytest.approx(0.1)
    assert trend.params["limit"] == pytest.approx(0.8, abs=0.01)
    assert trend.at(64) == pytest.approx(0.8 - 0.7 * 64**-0.4, abs=0.01)


def test_a_limit_of_a_power_law_stays_within_what_is_possible():
    points = {x: 0.1 + 0.2 * (x - 1) for x in (1.0, 2.0, 3.0, 4.0)}
    trend = fit_power(points, first=0.1, most=1.0)
    assert isinstance(trend, Trend) and trend.params["exponent"] > 0
    assert trend.params["limit"] == pytest.approx(1.0)
    assert trend.at(100) <= 1.0


def test_a_planted_logistic_curve_is_found():
    points = {x: 0.95 / (1 + (x / 1.3) ** 12) + 0.02 for x in RATIOS}
    trend = fit_logistic(points)
    assert isinstance(trend, Trend)
    assert trend.params["middle"] == pytest.approx(1.3, rel=0.02)
    assert trend.params["slope"] == pytest.approx(12, rel=0.1)
    assert trend.rms(points) < 0.01


def test_held_out_points_tell_the_two_apart():
    falling = {x: 1 / (1 + (x / 1.4) ** 15) for x in RATIOS}
    power = {x: 0.9 * x**-4 + 0.1 for x in RATIOS}
    for points, right, wrong in ((falling, fit_logistic, fit_power), (power, fit_power, None)):
        error = held_out(right, points)
        assert isinstance(error, float) and error < 0.02
        if wrong is not None:
            other = held_out(wrong, points)
            assert isinstance(other, float) and other > 3 * error


def test_too_few_points_are_refused_with_their_number():
    points = {x: 1 / x for x in RATIOS[:3]}
    assert fit_power(points) == "3 points, and a power law with a limit needs 4"
    assert fit_logistic(points) == "3 points, and a logistic curve needs 5"
    assert held_out(fit_logistic, points) == "2 points, and a logistic curve needs 5"
