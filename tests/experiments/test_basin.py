"""Basins: over which values of a quantity the loss is within a share of the best."""

from __future__ import annotations

import math

import pytest

from scaling_law.experiment.basin import basin_of, common_seeds, spread_of


def lines(*logs: dict[float, float]) -> dict[float, dict[int, float]]:
    """One line from log losses by value, a mapping a seed."""
    return {x: {seed: one[x] for seed, one in enumerate(logs)} for x in logs[0]}


def test_the_ends_lie_on_straight_lines_in_logarithms():
    limit = math.log(1.01)
    steep = {1.0: 2 * limit, 10.0: 0.0, 100.0: 4 * limit}
    basin = basin_of(lines(steep, steep), 0.01)
    assert basin is not None and basin.inside and basin.best == pytest.approx((10, 10))
    assert basin.factor.value == pytest.approx(10 ** (0.5 + 0.25))
    assert basin.text.startswith("a factor of 5.62")


def test_a_basin_without_a_rise_on_one_side_is_only_a_lower_bound():
    falling = {1.0: 0.2, 10.0: 0.005, 100.0: 0.0}
    basin = basin_of(lines(falling), 0.01)
    assert basin is not None and not basin.inside
    assert basin.text.startswith("at least a factor of ")
    flat = basin_of(lines({1.0: 0.0, 100.0: 0.001}), 0.01)
    assert flat is not None and flat.factor.value == pytest.approx(100)


def test_seeds_without_all_values_are_left_out():
    line = lines({1.0: 0.1, 2.0: 0.0}, {1.0: 0.2, 2.0: 0.0})
    del line[2.0][1]
    assert common_seeds(line) == [0]
    spread = spread_of(line)
    assert spread is not None and spread.value == pytest.approx(math.expm1(0.1))
    assert spread.interval is None
    assert basin_of({1.0: {0: 0.0}}, 0.01) is None and spread_of({}) is None
