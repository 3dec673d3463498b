"""Predict held-out runs: each size from the others, and expensive runs from cheap ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scaling_law.report import style
from scaling_law.report.evidence import Fitted
from scaling_law.report.figures import params_label
from scaling_law.report.style import BLUE, FAINT, INK, ORANGE, RESIDUAL


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Runs held out together: their place on the axis, and measured over predicted loss - 1,
    percent."""

    name: str
    place: float
    run_id: tuple[str, ...]
    residuals_percent: tuple[float, ...]


def sizes_left_out(fitted: Fitted) -> list[Fold]:
    """One fold per size that could be left out, at its parameters."""
    points, folds = fitted.points, []
    for fold in fitted.summary["validation"]["leave_size_out"]:
        rows = [row for row, name in enumerate(points.size) if name == fold["held_out"]]
        if rows and fold["residuals"]:
            folds.append(_fold(fold["held_out"], float(points.params[rows[0]]), fold["residuals"]))
    return folds


def rollouts(fitted: Fitted) -> list[Fold]:
    """One fold per rollout in size or FLOPs, at how far in FLOPs it reached beyond its fit."""
    check = fitted.summary["validation"]
    return [
        _fold(fold["held_out"], fold["factors"]["flops"], fold["residuals"])
        for kind in ("rollout_params", "rollout_flops")
        for fold in check[kind]
        if fold["residuals"] and fold["factors"].get("flops")
    ]


def _fold(name: str, place: float, residuals: list[tuple[str, float]]) -> Fold:
    runs, shares = zip(*residuals, strict=True)
    percents = tuple(100 * share for share in shares)
    return Fold(name=name, place=place, run_id=runs, residuals_percent=percents)


def held_out_figure(fitted: Fitted) -> Figure | None:
    """Every held-out run's error; None where nothing could be held out."""
    sizes, rolled = sizes_left_out(fitted), rollouts(fitted)
    if not sizes and not rolled:
        return None
    figure = Figure(figsize=(style.WIDE, style.TALL), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    worst = max(abs(e) for fold in [*sizes, *rolled] for e in fold.residuals_percent)
    figure.suptitle(
        f"Runs the {fitted.best.law.name} law was not shown: predicted within {worst:.2g}%",
        x=0.01, ha="left", fontsize=11.5, fontweight="bold",
    )  # fmt: skip
    noise = fitted.known.seed_noise_log
    for axes, folds, colour, none in (
        (panels[0], sizes, BLUE, "no size can be left out"),
        (panels[1], rolled, ORANGE, "no runs lie beyond others"),
    ):
        axes.axhline(0, color=INK, linewidth=1)
        if noise:
            axes.axhspan(-200 * noise, 200 * noise, color=FAINT, alpha=0.15, linewidth=0)
        for fold in folds:
            x = [fold.place] * len(fold.residuals_percent)
            axes.plot(x, fold.residuals_percent, "o", color=colour, alpha=0.75, markersize=4.5)
            axes.plot(fold.place, np.mean(fold.residuals_percent), "_", color=INK, markersize=14)
        if folds:
            places = [fold.place for fold in folds]
            axes.set_xlim(min(places) / 1.4, max(places) * 1.4)
        else:
            axes.text(0.5, 0.75, none, transform=axes.transAxes, ha="center", color=INK)
    style.count_axis(panels[0], "x", params_label(fitted.points, "size left out"))
    style.count_axis(panels[1], "x", "held out: times the fitted FLOPs")
    for axes, folds in ((panels[0], sizes), (panels[1], rolled)):
        if not folds:
            axes.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
    panels[0].set_ylabel(RESIDUAL)
    reach = 1.15 * max(worst, 200 * (noise or 0.0))
    panels[0].set_ylim(-reach, reach)
    entries = [
        Line2D([], [], color=BLUE, marker="o", linestyle="", label="run of the size left out"),
        Line2D([], [], color=ORANGE, marker="o", linestyle="", label="run beyond the fitted FLOPs"),
        Line2D([], [], color=INK, marker="_", markersize=11, linestyle="", label="mean"),
    ]
    if noise:
        entries.append(
            Line2D([], [], color=FAINT, alpha=0.3, linewidth=8, label="seed noise, ±2 deviations")
        )
    style.legend_below(figure, entries, 2)
    return figure
