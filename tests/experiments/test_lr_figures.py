"""The figures of the best learning rates, on planted cells."""

from __future__ import annotations

import dataclasses

import pytest

from scaling_law.experiment.lr_figures import law_figure, loss_figure
from scaling_law.experiment.tuning import Trial
from tests.experiments.test_lr_law import law_of, optima
from tests.experiments.test_shared_rates import curved


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
