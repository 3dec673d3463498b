"""Figures of ``slaw fit``, for a table as for a sweep: points, law and band; or ``--compare``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scaling_law.errors import ConfigError, FitError
from scaling_law.files import layout
from scaling_law.fit.approaches.compare import Approach
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints, counted_params
from scaling_law.fit.result import FitResult, Prediction
from scaling_law.fit.suite import FitSuite
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.target import Target
from scaling_law.report import style
from scaling_law.report.comparison import comparison_figure
from scaling_law.report.figures import params_label
from scaling_law.report.style import BLUE, FAINT, INK
from scaling_law.units import count_of, format_count

_BEYOND = 30.0
_STEPS = 40


def write_figure(suite: FitSuite, approaches: list[Approach] | None, path: Path) -> Path:
    """Draw the comparison if there is one, else the fit, to a PNG or SVG file.

    Raises ``ConfigError`` for another suffix or a folder that cannot be written, ``FitError``
    when no joint law was fitted.
    """
    if path.suffix.lower() not in (".svg", ".png"):
        raise ConfigError(f"{path}: expected a .png or .svg file")
    with style.applied():
        figure = fit_figure(suite) if approaches is None else comparison_figure(approaches)
        content = style.rendered(figure, path.suffix.lower()[1:])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        layout.atomic_write(path, content)
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be written ({problem.strerror})") from None
    return path


def fit_figure(suite: FitSuite) -> Figure:
    """Loss against compute: the runs by size, the compute-optimal loss with its band."""
    best = suite.laws.get(suite.best_law)
    if best is None or not best.usable:
        raise FitError("no joint law was fitted: nothing to draw")
    points = suite.points
    figure, axes = style.new_figure(
        f"{count_of(len(points), 'run')} and the lowest loss for a budget"
    )
    shades = ListedColormap([style.ramp_over(0, 255)(i) for i in range(256)])
    norm = LogNorm(points.params.min(), points.params.max())
    axes.scatter(_flops(points), points.loss_nats, c=points.params, cmap=shades, norm=norm, s=16)
    frontier = _frontier(suite, best)
    entries = _draw_frontier(axes, suite, frontier)
    losses_seen = [*points.loss_nats.tolist(), *(one.loss_nats for one in frontier)]
    counted = counted_params(points.convention["params"])
    style.flops_axis(axes, "x", f"training compute (FLOPs, 6 × {counted} × tokens)")
    style.loss_axis(axes, min(losses_seen) * 0.98, max(losses_seen) * 1.02, points.loss_unit)
    if suite.settings.metric is not None:
        axes.set_ylabel(points.loss_unit)
    bar = figure.colorbar(ScalarMappable(norm, shades), ax=axes, label=params_label(points))
    style.log_ticks(bar.ax.yaxis, *points.data_range["params"], format_count)
    style.legend_below(figure, entries, 2)
    return figure


def _flops(points: FitPoints) -> Floats:
    """6 N D [n]: the law splits a budget so, and a figure has one count."""
    return 6 * points.params * points.tokens


def _frontier(suite: FitSuite, best: FitResult) -> list[Prediction]:
    """The best split of budgets from the smallest run's to well beyond the largest's."""
    budgets = _flops(suite.points)
    frontier = []
    for flops in np.geomspace(budgets.min(), budgets.max() * _BEYOND, _STEPS):
        try:
            one = extrapolate(
                best,
                Target(flops=float(flops)),
                worlds=suite.worlds,
                level=suite.settings.level,
                seed_noise_log=suite.validation.seed_noise_log,
            )
        except FitError:
            continue
        frontier.append(one)
    return frontier


def _draw_frontier(axes: Axes, suite: FitSuite, frontier: list[Prediction]) -> list[Line2D | Patch]:
    run = Line2D([], [], marker="o", linestyle="", color=INK, label="run")
    entries: list[Line2D | Patch] = [run]
    if not frontier:
        return entries
    budgets = np.array([one.flops for one in frontier], dtype=float)
    low, high = (
        np.array([getattr(one, end) for one in frontier], dtype=float)
        for end in ("low_nats", "high_nats")
    )
    axes.plot(budgets, [one.loss_nats for one in frontier], color=BLUE)
    axes.fill_between(budgets, low, high, color=BLUE, alpha=0.18, linewidth=0)
    axes.axvline(_flops(suite.points).max(), color=FAINT, linestyle="--", linewidth=1)
    level = f"{100 * suite.settings.level:g}%"
    return [
        *entries,
        Line2D([], [], color=BLUE, label="forecast at its best split"),
        Patch(color=BLUE, alpha=0.25, label=f"{level} interval of a new run"),
        Line2D([], [], color=FAINT, linestyle="--", label="end of the data"),
    ]
