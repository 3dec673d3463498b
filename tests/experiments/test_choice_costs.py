"""What the values of a setting cost on planted cells, and how often a margin is met by chance."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from scaling_law.experiment.choice_costs import MARGIN, ChoiceCosts, choice_costs
from scaling_law.experiment.lr_rule import best_decay, largest_free_batch
from scaling_law.experiment.seeds import SeedNoise
from scaling_law.experiment.tuning import Optimum, Tuning
from tests.experiments.test_lr_law import law_of, optima

NOISE = SeedNoise(squares=13 * 0.002**2, freedom=13)


def tuning_of(cells: list[Optimum]) -> Tuning:
    return Tuning(optima=tuple(cells), scatter=NOISE, scatter_by_size={}, noise=NOISE, repeats=5)


def batches(costs: dict[int, float], *, error: float = 0.0, noise=lambda: 0.0) -> list[Optimum]:
    """Cells of three sizes and horizons; each batch costs its share; trunks have a noise."""
    cells: list[Optimum] = []
    levels: dict[object, float] = {}
    for best in optima(batches=tuple(costs)):
        level = levels.setdefault(best.cell.trunk, noise()) + costs[best.cell.batch_tokens]
        loss = 4 * math.exp(level)
        cells.append(dataclasses.replace(best, loss=loss, error=loss * error))
    return cells


def costs_of(cells: list[Optimum]) -> ChoiceCosts:
    costs = choice_costs(tuning_of(cells), "batch_tokens")
    assert costs is not None
    return costs


def test_the_largest_batch_whose_interval_lies_within_the_margin_is_taken():
    planted = {32: 0.0, 64: 0.002, 128: 0.004, 256: 0.02}
    exact = costs_of(batches(planted))
    assert exact.best == 32 and exact.free == (32, 64, 128)
    assert [one.share for one in exact.others] == pytest.approx([0.002, 0.004, 0.0202], rel=0.01)
    choice = largest_free_batch(tuning_of(batches(planted)), [])
    assert choice.batch_tokens == 128
    assert "the largest that is shown to cost no more than 0.5% of loss" in choice.text
    # the same losses with their errors: 128 may cost more than the margin, and then 64 too
    some = largest_free_batch(tuning_of(batches(planted, error=0.001)), [])
    assert some.batch_tokens == 64
    noisy = largest_free_batch(tuning_of(batches(planted, error=0.01)), [])
    assert noisy.batch_tokens == 32
    assert "no larger one is shown to cost no more than 0.5%" in noisy.text
    assert "64 costs 0.20% (" in noisy.text


def test_the_largest_of_equal_batches_is_the_best_one():
    equal = largest_free_batch(tuning_of(batches({32: 0.0, 64: 0.0}, error=0.01)), [])
    assert equal.batch_tokens == 64 and "the largest that was compared" in equal.text


def test_sizes_that_differ_in_what_a_batch_costs_widen_its_interval():
    cells = batches({32: 0.0, 64: 0.002})
    uneven = [
        dataclasses.replace(best, loss=(best.loss or 0) * (1.004 if best.cell.size == "w32" else 1))
        if best.cell.batch_tokens == 64
        else best
        for best in cells
    ]
    (even,), (wide,) = costs_of(cells).others, costs_of(uneven).others
    assert even.is_free and not wide.is_free
    # three sizes, of which one costs .4% more, by Student's t at two degrees of freedom
    reach = 2.920 * 0.003992 / 3
    assert wide.interval[1] - wide.share == pytest.approx(reach, rel=0.02)


def test_a_missing_cell_leaves_the_others_comparable():
    """A batch tuned at the hard cells alone is not taken for a bad one, nor the reverse."""
    cells = [
        dataclasses.replace(best, loss=(best.loss or 0) * (1.3 if best.cell.size == "w8" else 1))
        for best in batches({32: 0.0, 64: -0.01, 128: 0.02})
    ]
    few = [b for b in cells if b.cell.batch_tokens != 64 or b.cell.size == "w8"]
    costs = costs_of(few)
    assert costs.best == 64
    assert [(one.value, one.sizes) for one in costs.others] == [(32, 1), (128, 1)]


def test_no_comparison_gives_no_costs():
    assert choice_costs(tuning_of(batches({32: 0.0})), "batch_tokens") is None
    assert choice_costs(tuning_of([]), "weight_decay") is None


def test_a_batch_that_costs_the_margin_is_called_free_as_seldom_as_said():
    """At a true cost of the margin, equivalence is claimed in at most 5% of the worlds."""
    rng = np.random.default_rng(0)
    free, worlds = 0, 400
    for _ in range(worlds):
        planted = {32: 0.0, 64: math.log1p(MARGIN)}
        cells = batches(planted, error=0.002, noise=lambda: 0.002 * rng.standard_normal())
        costs = costs_of(cells)
        free += costs.best == 32 and 64 in costs.free
    assert free <= 0.05 * worlds


def test_the_weight_decay_of_lowest_loss_is_named_with_what_the_others_cost():
    cells = [
        dataclasses.replace(
            best,
            cell=dataclasses.replace(best.cell, weight_decay=decay),
            loss=4 * math.exp(cost),
            error=0.0,
            lr=(best.lr or 0) * (decay or 1) ** -0.9,
        )
        for best in optima()
        for decay, cost in ((0.0, -0.1), (0.1, 0.001), (0.2, 0.0), (0.4, 0.02))
    ]
    law = law_of(cells)
    choice = best_decay(tuning_of(cells), law)
    assert choice.weight_decay == 0.2  # the law says nothing at 0
    assert "0.1 costs 0.10%" in choice.text and "0.4 costs 2.02%" in choice.text
    assert "0.1 and 0.2 cost no more than 0.5% of loss" in choice.text
    single = law_of(optima())
    assert best_decay(tuning_of(optima()), single).text.startswith("0.1, the only one")
