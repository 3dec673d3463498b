"""What horizons lose by sharing a learning rate, on planted cells."""

from __future__ import annotations

import dataclasses
import math

import pytest

from scaling_law.experiment.shared_rates import fairest_rate, shared_rates
from scaling_law.experiment.tuning import Optimum
from tests.experiments.test_lr_law import optimum


def curved(tokens: int, lr: float | None, curvature: float = 0.03) -> Optimum:
    """A cell whose log loss rises by ``curvature`` times the square of the log rate."""
    best = optimum(8, tokens, 32, lr or 1.0)
    return dataclasses.replace(best, lr=lr, curvature=curvature)


def test_horizons_share_the_middle_of_the_extreme_rates():
    (shared,) = shared_rates([curved(4000, 0.01), curved(1000, 0.04), curved(2000, 0.02)])
    assert [best.cell.tokens for best in shared.cells] == [1000, 2000, 4000]
    assert shared.lr == pytest.approx(0.02)
    away = 0.03 * 0.6931**2  # each end is a factor of 2 from it
    assert shared.excesses == pytest.approx((away, 0, away), rel=0.02, abs=1e-9)


def test_a_trunk_of_one_horizon_or_with_an_open_one_shares_nothing():
    assert shared_rates([curved(1000, 0.04)]) == []
    assert shared_rates([curved(1000, 0.04), curved(2000, 0.02), curved(4000, None)]) == []
    assert shared_rates([]) == []


def test_horizons_of_one_curvature_are_treated_fairly_in_the_middle_of_the_extreme_rates():
    cells = [curved(1000, 0.04), curved(2000, 0.03), curved(4000, 0.01)]
    assert fairest_rate(cells) == pytest.approx(0.02, rel=1e-5)


def test_a_horizon_of_more_curvature_pulls_the_fairest_rate_to_its_own():
    """Losses c (ln r - ln b)^2 are equal where the distances go as the root of 1 / c."""
    cells = [curved(1000, 0.04, 0.0009), curved(4000, 0.01, 0.0001)]
    share = math.sqrt(1) / (math.sqrt(9) + math.sqrt(1))  # of the way from the curved one
    assert fairest_rate(cells) == pytest.approx(0.04 * 4**-share, rel=1e-3)
    first, second = (best.excess(fairest_rate(cells)) for best in cells)
    assert first == pytest.approx(second, rel=1e-4)


def test_one_horizon_has_its_own_rate():
    assert fairest_rate([curved(1000, 0.04)]) == pytest.approx(0.04)
