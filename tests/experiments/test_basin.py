"""Basins: over which values of a quantity the loss is within a share of the best."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scaling_law.experiment.basin import (
    Fits,
    Line,
    above_best,
    basin_of,
    common_seeds,
    spread_of,
)
from scaling_law.experiment.seeds import Mean
from scaling_law.experiment.standard_error import StandardError


def lines(*logs: dict[float, float]) -> dict[float, dict[int, float]]:
    """One line from log losses by value, a mapping a seed."""
    return {x: {seed: one[x] for seed, one in enumerate(logs)} for x in logs[0]}


def test_the_ends_lie_on_straight_lines_in_logarithms():
    limit = math.log(1.01)
    steep = {1.0: 2 * limit, 10.0: 0.0, 100.0: 4 * limit}
    basin = basin_of(lines(steep, steep), 0.01)
    assert basin is not None and basin.inside and basin.bests == pytest.approx((10, 10, 10))
    assert basin.factor.value == pytest.approx(10 ** (0.5 + 0.25))
    assert basin.text.startswith("a factor of 5.62")


def test_a_basin_without_a_rise_on_one_side_is_only_a_lower_bound():
    falling = {1.0: 0.2, 10.0: 0.005, 100.0: 0.0}
    basin = basin_of(lines(falling), 0.01)
    assert basin is not None and not basin.inside
    assert basin.text.startswith("at least a factor of ")
    flat = basin_of(lines({1.0: 0.0, 100.0: 0.001}), 0.01)
    assert flat is not None and flat.factor.value == pytest.approx(100)


def bowl(x: float) -> float:
    return 0.002 * math.log(x / 4) ** 2


VALUES = (0.64, 1.6, 4.0, 10.0, 25.0, 64.0)


@pytest.mark.parametrize(("seeds", "deviation"), [(3, 0.002), (5, 0.002), (5, 0.004)])
def test_noise_makes_a_basin_no_narrower(seeds, deviation):
    """The lowest of each seed's own losses lies below the best, by more with more noise."""
    true = basin_of({x: {0: bowl(x)} for x in VALUES}, 0.01)
    assert true is not None and true.factor.interval is None and len(true.bests) == 1
    draw, held, misses, count = np.random.default_rng(seeds), 0, [], 400
    for _ in range(count):
        line = {x: {seed: bowl(x) + float(draw.normal(0, deviation)) for seed in range(seeds)}
                for x in VALUES}  # fmt: skip
        basin = basin_of(line, 0.01)
        assert basin is not None and basin.factor.interval is not None
        low, high = basin.factor.interval
        held += low <= true.factor.value <= high
        misses.append(math.log(basin.factor.value / true.factor.value))
    assert held / count >= 0.85
    assert abs(np.mean(misses)) < 0.1


def test_an_error_that_all_seeds_share_is_in_the_intervals():
    """That of the fit of a best rate, which losses by seed do not show."""
    exact = {x: {seed: bowl(x) for seed in range(3)} for x in VALUES}
    draw, count = np.random.default_rng(3), 200
    shared = dict.fromkeys(VALUES, StandardError(0.002, 20))

    def read(line: Line, fits: Fits) -> list[Mean]:
        basin = basin_of(line, 0.01, fits)
        assert basin is not None
        means = (basin.factor, above_best(line, 0.64, fits), spread_of(line, fits))
        return [mean for mean in means if mean is not None]

    true = [mean.value for mean in read(exact, {})]
    held = {"counted": [0, 0, 0], "left out": [0, 0, 0]}
    for _ in range(count):
        line = {}
        for x in VALUES:
            level = bowl(x) + float(draw.normal(0, 0.002))
            line[x] = {seed: level + float(draw.normal(0, 0.001)) for seed in range(3)}
        for name, fits in (("counted", shared), ("left out", {})):
            for place, mean in enumerate(read(line, fits)):
                assert mean.interval is not None
                held[name][place] += mean.interval[0] <= true[place] <= mean.interval[1]
    assert min(held["counted"]) / count >= 0.85
    assert max(held["left out"]) / count < 0.75


def test_a_basin_that_one_seed_alone_closes_is_a_bound():
    open_, closed = {1.0: 0.02, 10.0: 0.0, 100.0: 0.0}, {1.0: 0.02, 10.0: 0.0, 100.0: 0.03}
    basin = basin_of(lines(open_, closed), 0.01)
    assert basin is not None and not basin.inside and basin.text.startswith("at least")


def test_seeds_without_all_values_are_left_out():
    line = lines({1.0: 0.1, 2.0: 0.0}, {1.0: 0.2, 2.0: 0.0})
    del line[2.0][1]
    assert common_seeds(line) == [0]
    assert basin_of({1.0: {0: 0.0}}, 0.01) is None
    # one seed cannot choose the ends on others
    assert spread_of(line) is None and spread_of({}) is None and above_best(line, 1.0) is None


def test_a_spread_is_that_of_the_ends():
    spread = spread_of(lines({1.0: 0.1, 2.0: 0.0, 3.0: 0.05}, {1.0: 0.2, 2.0: 0.1, 3.0: 0.11}))
    assert spread is not None and spread.value == pytest.approx(math.expm1(0.1))


@pytest.mark.parametrize("arms", [3, 8])
@pytest.mark.parametrize("effect", [0.0, 0.05])
def test_noise_alone_spreads_no_losses_however_many_there_are(arms, effect):
    """The largest of eight equal losses lies 2.8 deviations above the smallest."""
    rng = np.random.default_rng(arms)
    spreads, overs = [], []
    for _ in range(300):
        values = [effect if arm == 0 else 0.0 for arm in range(arms)]
        line = {
            float(arm): {seed: value + 0.003 * float(rng.standard_normal()) for seed in range(3)}
            for arm, value in enumerate(values)
        }
        spread, over = spread_of(line), above_best(line, 0.0)
        assert spread is not None and over is not None
        spreads.append(spread.value)
        overs.append(over.value)
    assert np.mean(spreads) == pytest.approx(math.expm1(effect), abs=0.0005)
    assert np.mean(overs) == pytest.approx(math.expm1(effect), abs=0.0005)
