"""Where a loss over several seeds is lowest, and when that is an edge."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from scaling_law.experiment.minimum import minimum_of

SEEDS = (0, 1, 2)


def valley(best: float, wobble: float = 0.001) -> Callable[[float, int], float]:
    def level(x: float, seed: int) -> float:
        noise = wobble * math.sin(9 * seed + 5 * math.log(x) ** 2)
        return 0.1 * seed + 0.02 * math.log(x / best) ** 2 + noise

    return level


def line_of(level: Callable[[float, int], float], values: tuple[float, ...]):
    return {x: {seed: level(x, seed) for seed in SEEDS} for x in values}


def test_the_minimum_lies_in_its_interval_and_near_that_of_each_seed():
    best = minimum_of(line_of(valley(900.0), (256, 512, 1024, 2048, 4096)))
    assert best.x == pytest.approx(900, rel=0.05) and best.lowest == 1024
    assert best.interval is not None
    assert best.interval[0] < 900 < best.interval[1] < 1.2 * best.interval[0]
    assert set(best.by_seed) == set(SEEDS)
    assert best.levels[2] - best.levels[0] == pytest.approx(0.2, abs=0.01)
    assert best.text.startswith(("9", "8"))


@pytest.mark.parametrize("best", [100.0, 9000.0])
def test_an_edge_is_no_minimum(best):
    seen = minimum_of(line_of(valley(best), (256, 512, 1024, 2048)))
    assert seen.x is None and seen.interval is None
    assert "an edge of those tried" in seen.text
    assert seen.levels.keys() == set(SEEDS)


def test_more_noise_widens_the_interval_and_one_seed_of_three_values_has_none():
    values = (256, 512, 1024, 2048, 4096)
    sure, unsure = (minimum_of(line_of(valley(900.0, noise), values)) for noise in (5e-4, 4e-3))
    assert sure.interval is not None and unsure.interval is not None
    assert unsure.interval[1] - unsure.interval[0] > 4 * (sure.interval[1] - sure.interval[0])
    alone = minimum_of({x: {0: valley(900.0)(x, 0)} for x in values[1:4]})
    assert alone.x is not None and alone.interval is None
    assert "unbounded" in alone.text


def test_far_values_do_not_bend_the_parabola():
    """A wall beyond the window leaves the minimum where it is."""

    def level(x: float, seed: int) -> float:
        return valley(900.0)(x, seed) + (5.0 if x > 8000 else 0.0)

    values = (256, 512, 1024, 2048, 4096, 16384)
    near = minimum_of(line_of(level, values), window=5)
    assert near.x == pytest.approx(900, rel=0.05)
