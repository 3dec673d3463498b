"""Exact intervals of counted shares: how often they hold what is planted, and at their ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scaling_law.experiment.proportion import counted_fall, counted_share, exact_interval


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("items", [3, 20, 400])
def test_a_planted_share_lies_in_its_interval_at_least_as_often_as_it_says(share, items):
    hits = np.random.default_rng(items).binomial(items, share, size=2000)
    held = 0
    for seen, times in zip(*np.unique(hits, return_counts=True), strict=True):
        low, high = exact_interval(int(seen), items)
        held += times * (low <= share <= high)
    assert held / 2000 >= 0.88


def test_ends_are_those_of_the_binomial():
    # all of n hits: a smaller share than (1/20)^(1/n) gives as many less often than 1 in 20
    for count in (1, 3, 5, 60):
        assert exact_interval(count, count) == pytest.approx((0.05 ** (1 / count), 1.0))
        assert exact_interval(0, count) == pytest.approx((0.0, 1 - 0.05 ** (1 / count)))
    # published: 10 of 100, by 95%
    assert exact_interval(10, 100, 0.95) == pytest.approx((0.0490, 0.1762), abs=1e-4)
    low, high = exact_interval(7, 20)
    below = sum(math.comb(20, k) * high**k * (1 - high) ** (20 - k) for k in range(8))
    assert below == pytest.approx(0.05) and low < 7 / 20 < high
    with pytest.raises(ValueError, match="4 hits of 3 items"):
        exact_interval(4, 3)


def test_five_equal_seeds_show_a_majority_and_four_do_not():
    """What ``seeds.ENOUGH`` rests on."""
    assert exact_interval(5, 5)[0] > 0.5 > exact_interval(4, 4)[0]


def test_a_fall_holds_both_shares_that_it_is_between():
    fall = counted_fall(1.0, 0.0, 256)
    assert fall.high == 1.0 and fall.low == pytest.approx(2 * 0.025 ** (1 / 256) - 1)
    half = counted_share(0.5, 100)
    assert half.below(0.7).low == pytest.approx(0.7 - half.high)
    assert half.above(0.2).low == pytest.approx(half.low - 0.2)
