"""Each shape of what worse text is worth finds itself, and predicts a share it did not see."""

from __future__ import annotations

import pytest

from scaling_law.experiment.effective_share import (
    SHAPES,
    Ratios,
    held_out,
    power_of,
    proportion_of,
    weight_of,
)

SHARES = (0.2, 0.4, 0.6, 0.8)


def ratios(of, power: float = 1.0) -> Ratios:
    return {(q, d): of(q) * (d / 1000) ** (power - 1) for q in SHARES for d in (1000, 4000)}


def test_each_shape_is_found_and_predicts_best_what_it_made():
    powers, weights = ratios(lambda q: (1 - q) ** 1.4), ratios(lambda q: 1 - 0.7 * q)
    assert power_of(powers) == pytest.approx(1.4)
    assert weight_of(weights) == pytest.approx(0.3, abs=0.002)
    assert held_out(powers, SHAPES["power"]) == pytest.approx(0, abs=1e-9)
    right, wrong = (held_out(weights, SHAPES[name]) for name in ("weight", "power"))
    assert right is not None and wrong is not None and right < 0.01 < wrong
    assert held_out(ratios(lambda q: (1 - q) ** 2), SHAPES["square"]) == pytest.approx(0, abs=1e-9)


def test_worse_tokens_may_do_harm():
    assert weight_of(ratios(lambda q: 1 - 1.1 * q)) == pytest.approx(-0.1, abs=0.002)


def test_two_shares_hold_none_out():
    few = {key: value for key, value in ratios(lambda q: 1 - q).items() if key[0] < 0.5}
    assert held_out(few, SHAPES["power"]) is None


@pytest.mark.parametrize("power", [0.8, 1.0, 1.2])
def test_the_power_of_the_tokens_is_found(power):
    assert proportion_of(ratios(lambda q: 1 - q, power)) == pytest.approx(power)
    assert proportion_of({(q, 1000): 1 - q for q in SHARES}) is None
