"""Sigmoids with a known floor are recovered from their values."""

from __future__ import annotations

import math

import pytest

from scaling_law.fit.floored_sigmoid import FlooredSigmoid, fit_floored_sigmoid


@pytest.mark.parametrize(
    ("weights", "x"),
    [
        ((6.0, -3.0), [(1.2 + 0.1 * step,) for step in range(15)]),
        (
            (-20.0, 0.8, 0.9),
            [(math.log(n), math.log(d)) for n in (1e4, 3e4, 9e4) for d in (1e5, 1e6)],
        ),
    ],
)
def test_a_sigmoid_is_recovered_from_its_values(weights, x):
    truth = FlooredSigmoid(floor=0.25, weights=weights)
    fit = fit_floored_sigmoid(x, [truth.at(*row) for row in x], 0.25)
    assert fit.weights == pytest.approx(weights, rel=1e-3)


def test_values_far_away_are_the_floor_and_one():
    fit = FlooredSigmoid(floor=0.25, weights=(0.0, 1.0))
    assert fit.at(-1e6) == pytest.approx(0.25) and fit.at(1e6) == pytest.approx(1.0)


def test_values_at_the_floor_or_of_one_place_give_a_fit():
    assert fit_floored_sigmoid([(1.0,), (2.0,)], [0.1, 0.1], 0.25).at(1.5) < 0.27
    assert fit_floored_sigmoid([(1.0,), (1.0,)], [0.5, 0.6], 0.25).at(1.0) == pytest.approx(0.55)
