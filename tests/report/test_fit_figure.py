"""Figures of ``slaw fit``: one count on the axis, and values that nothing covers."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from scaling_law.fit.approaches.compare import Approach
from scaling_law.fit.points.dataset import FitData
from scaling_law.fit.suite import FitSettings, fit_data
from scaling_law.report.comparison import comparison_figure
from scaling_law.report.fit_figure import fit_figure
from scaling_law.report.style import FAINT, applied
from tests.fit.test_parametric import planted


def test_runs_and_law_count_flops_alike_and_the_axis_says_how():
    points = planted(0.002)
    material = FitData(points=points, counted={"total": points}, repeated=None, key="k", origin="")
    suite = fit_data(material, FitSettings(resamples=0, convention="total"))
    with applied():
        figure = fit_figure(suite)
        figure.draw_without_rendering()
    axes, bar = figure.axes
    x = np.sort(np.asarray(axes.collections[0].get_offsets())[:, 0])
    assert x == pytest.approx(np.sort(6 * points.params * points.tokens))
    assert axes.get_xlabel() == "training compute (FLOPs, 6 × parameters × tokens)"
    [end] = [line for line in axes.lines if to_rgba(line.get_color()) == to_rgba(FAINT)]
    assert np.asarray(end.get_xdata())[0] == pytest.approx(x[-1])
    shown = [label.get_text() for label in bar.get_yticklabels() if label.get_text()]
    assert len(shown) >= 3 and "model size (parameters)" in bar.get_ylabel()


def test_values_are_printed_beside_the_panel():
    texts = [
        Approach(
            name="IsoFLOP", params="total", flops="exact", exponent=a, interval=ends, reason=""
        )
        for a, ends in ((0.41, (0.3, 0.49)), (0.7, None))
    ]
    with applied():
        axes = comparison_figure(texts).axes[0]
    words = {text.get_text(): text for text in axes.texts}
    assert set(words) == {"0.41 (0.30 to 0.49)", "0.70"}
    for text in words.values():
        assert text.get_position()[0] > 1 and text.get_transform() != axes.transData
