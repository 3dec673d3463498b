"""What sharing a learning rate costs, and the figures of the best ones, on planted cells."""

from __future__ import annotations

import dataclasses

import pytest

from scaling_law.experiment.lr_figures import law_figure, loss_figure
from scaling_law.experiment.shared_rates import shared_rates
from scaling_law.experiment.tuning import Optimum, Trial
from tests.experiments.test_lr_law import law_of, optima, optimum


def curved(tokens: int, lr: float | None) -> Optimum:
    """A cell whose log loss rises by 0.03 times the square of the log rate."""
    best = optimum(8, tokens, 32, lr or 1.0)
    return dataclasses.replace(best, lr=lr, curvature=0.03)


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


def test_cells_on_the_law_lie_on_its_line():
    cells = optima()
    law = law_of(cells)
    drawn = law_figure("rates", law, cells)
    assert drawn is not None and len(drawn.panels) == 3
    for panel, variable in zip(drawn.panels, ("params", "tokens", "batch_tokens"), strict=True):
        points, line = panel.series
        assert len(points.points) == len(cells) and not points.line and line.dashed
        for x, rate in points.points:
            assert rate == pytest.approx(law.at(**{**law.centre, variable: x}), rel=1e-6)
    assert law_figure("rates", "no law", cells) is None


def test_losses_are_shown_as_a_share_above_the_minimum():
    best = curved(1000, 0.02)
    trials = tuple(
        Trial(cell=best.cell, lr=0.02 * times, seed=0, loss=4.0 * factor, warmup_steps=10)
        for times, factor in ((0.5, 1.01), (1.0, 1.0), (2.0, 1.02), (100.0, 3.0))
    )
    drawn = loss_figure("losses", [dataclasses.replace(best, trials=trials)], 0.002)
    assert drawn is not None
    (panel,) = drawn.panels
    points, parabola = panel.series
    assert [y for _, y in points.points] == pytest.approx([1, 0, 2])  # 100 times is off the figure
    assert min(y for _, y in parabola.points) == 0
    assert panel.bands == (("one seed's noise", -0.2, 0.2),)
    assert loss_figure("losses", [], 0.002) is None
