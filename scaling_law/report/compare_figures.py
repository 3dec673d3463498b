"""Figures of two recipes: paired differences, and both frontiers; drawn, and as values."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scaling_law.fit.recipes.compare_recipes import RecipeComparison
from scaling_law.fit.recipes.efficiency import AtLoss, Pair
from scaling_law.report import style
from scaling_law.report.charts import loss_against_compute
from scaling_law.report.style import BLUE, FAINT, INK, MARKERS, ORANGE
from scaling_law.units import format_count

RECIPES = (BLUE, ORANGE)
_SHAPES = ("circle", "square", "up", "diamond", "down", "plus", "cross")


def percent(pair: Pair) -> float:
    """Loss of B over that of A, less 1, in percent."""
    return 100 * math.expm1(pair.log_ratio)


def by_size(versus: RecipeComparison) -> dict[str, list[Pair]]:
    """Pairs by size, the smallest first."""
    groups: dict[str, list[Pair]] = {}
    for pair in sorted(versus.pairs, key=lambda p: (p.params[0], p.seed, p.tokens)):
        groups.setdefault(pair.size, []).append(pair)
    return groups


def noise_percent(versus: RecipeComparison) -> float | None:
    """One standard deviation of a paired difference between seeds, percent of loss."""
    noise = versus.difference.noise_log
    return None if noise is None else 100 * noise


def difference_figure(versus: RecipeComparison) -> Figure:
    """Every matched pair's difference against tokens, the mean with its interval."""
    figure, axes = style.new_figure(f"Loss of {_short(versus, 1)} over {_short(versus, 0)}")
    axes.axhline(0, color=INK, linewidth=1)
    entries: list[Line2D | Patch] = []
    noise, difference = noise_percent(versus), versus.difference
    if noise:
        axes.axhspan(-2 * noise, 2 * noise, color=FAINT, alpha=0.15, linewidth=0)
    groups = by_size(versus)
    for i, (colour, (size, pairs)) in enumerate(
        zip(style.ramp(len(groups)), groups.items(), strict=True)
    ):
        marker = MARKERS[i % len(MARKERS)]
        axes.plot([p.tokens for p in pairs], [percent(p) for p in pairs], marker, color=colour)
        label = f"{size}: {format_count(pairs[0].params[0])}"
        entries.append(Line2D([], [], color=colour, marker=marker, linestyle="", label=label))
    mean = 100 * math.expm1(difference.mean_log)
    axes.axhline(mean, color=BLUE, linewidth=1.4)
    entries.append(Line2D([], [], color=BLUE, label="mean over pairs of trunks"))
    if difference.low_log is not None and difference.high_log is not None:
        ends = [100 * math.expm1(x) for x in (difference.low_log, difference.high_log)]
        axes.axhspan(ends[0], ends[1], color=BLUE, alpha=0.16, linewidth=0)
        words = f"its {100 * versus.level:g}% interval"
        entries.append(Patch(color=BLUE, alpha=0.3, label=words))
    if noise:
        words = "seed noise of a pair, ±2 deviations"
        entries.append(Patch(color=FAINT, alpha=0.3, label=words))
    tokens = [p.tokens for p in versus.pairs]
    axes.set_xlim(min(tokens) / 1.2, max(tokens) * 1.2)
    style.count_axis(axes, "x", "training tokens")
    axes.set_ylabel("difference of loss (%; below 0: B is better)")
    style.legend_below(figure, entries, 3)
    return figure


def frontier_figure(versus: RecipeComparison) -> Figure | None:
    """Both recipes' runs and compute-optimal losses; None without a multiplier."""
    multiplier = versus.multiplier
    if multiplier is None:
        return None
    words = "it changes with scale" if multiplier.changes else multiplier_words(versus)
    figure, axes = style.new_figure(f"Compute multiplier of B over A: {words}")
    entries: list[Line2D | Patch] = []
    losses = [p.losses[i] for p in versus.pairs for i in (0, 1)]
    for i, colour in enumerate(RECIPES):
        marker = "os"[i]
        flops = [6 * p.params[i] * p.tokens for p in versus.pairs]
        axes.plot(
            flops, [p.losses[i] for p in versus.pairs], marker, color=colour, markersize=4,
            alpha=0.8,
        )  # fmt: skip
        axes.plot(multiplier.frontier_flops, multiplier.frontier_losses[i], color=colour)
        losses += multiplier.frontier_losses[i]
        entries.append(
            Line2D([], [], color=colour, marker=marker, label=f"{'AB'[i]}: {_short(versus, i)}")
        )
    axes.set_xlim(multiplier.frontier_flops[0] / 1.3, multiplier.frontier_flops[-1] * 1.3)
    style.flops_axis(axes, "x", "compute: 6 × parameters × tokens (FLOPs)")
    style.loss_axis(axes, min(losses), max(losses), versus.unit)
    entries.append(Line2D([], [], color=INK, label=f"least loss for a budget ({multiplier.law})"))
    style.legend_below(figure, entries, 3)
    return figure


def multiplier_words(versus: RecipeComparison) -> str:
    """``0.81x [0.76, 0.87]``; where it changes with scale, at the highest and lowest loss."""
    multiplier = versus.multiplier
    if multiplier is None:
        return "unknown"
    if multiplier.changes:
        least, most = multiplier.ends
        return f"{at_loss_words(most)}, {at_loss_words(least)}"
    if multiplier.low is None or multiplier.high is None:
        return f"{multiplier.value:.3g}x (no interval)"
    return f"{multiplier.value:.2f}x [{multiplier.low:.2f}, {multiplier.high:.2f}]"


def at_loss_words(one: AtLoss) -> str:
    """``0.81x [0.76, 0.87] at loss 3.2``."""
    return f"{one.value:.2f}x [{one.low:.2f}, {one.high:.2f}] at loss {one.loss:.3g}"


def _short(versus: RecipeComparison, which: int) -> str:
    name = versus.names[which]
    return name if len(name) <= 24 else name[:21] + "..."


def document(versus: RecipeComparison) -> dict[str, Any]:
    """What the page's script draws, and the comparison as ``slaw report A B --json`` has it."""
    charts = {"difference": [_difference(versus)]}
    if versus.multiplier is not None:
        charts["frontier"] = [_frontier(versus)]
    return {
        "schema_version": 1,
        "points": [],
        "fits": {},
        "conventions": {},
        "charts": charts,
        "versus": versus.to_json(),
    }


def _titles(pairs: list[Pair]) -> list[str]:
    return [f"{p.size}, seed {p.seed}" for p in pairs]


def _difference(versus: RecipeComparison) -> dict[str, Any]:
    groups = by_size(versus)
    layers: list[dict[str, Any]] = [
        {"kind": "marks", "name": size, "marker": _SHAPES[i % len(_SHAPES)],
         "colour": style.themed(colour), "titles": _titles(pairs),
         "x": [p.tokens for p in pairs], "y": [percent(p) for p in pairs],
         "notes": {
             "loss of A": [f"{p.losses[0]:.4f}" for p in pairs],
             "loss of B": [f"{p.losses[1]:.4f}" for p in pairs],
         }}
        for i, (colour, (size, pairs)) in enumerate(
            zip(style.ramp(len(groups)), groups.items(), strict=True)
        )
    ]  # fmt: skip
    difference, tokens = versus.difference, sorted({p.tokens for p in versus.pairs})
    mean: dict[str, Any] = {
        "kind": "line", "name": "mean over pairs of trunks", "colour": style.themed(BLUE),
        "x": tokens, "y": [100 * math.expm1(difference.mean_log)] * len(tokens),
    }  # fmt: skip
    if difference.low_log is not None and difference.high_log is not None:
        mean["low"] = [100 * math.expm1(difference.low_log)] * len(tokens)
        mean["high"] = [100 * math.expm1(difference.high_log)] * len(tokens)
    layers.append(mean)
    noise = noise_percent(versus)
    chart: dict[str, Any] = {
        "title": "Loss of B over that of A, pair by pair",
        "x": {"label": "training tokens", "short": "tokens", "log": True, "words": "count"},
        "y": {"label": "difference of loss (%)", "short": "B − A", "log": False,
              "words": "percent"},
        "layers": layers, "views": {}, "zero": True,
    }  # fmt: skip
    if noise:
        chart["strip"] = {
            "name": "seed noise of a pair, ±2 deviations", "low": -2 * noise, "high": 2 * noise,
        }  # fmt: skip
    return chart


def _frontier(versus: RecipeComparison) -> dict[str, Any]:
    multiplier = versus.multiplier
    assert multiplier is not None
    layers: list[dict[str, Any]] = []
    pairs = list(versus.pairs)
    for i, colour in enumerate(RECIPES):
        themed, name = style.themed(colour), f"{'AB'[i]}: {versus.names[i]}"
        layers.append(
            {"kind": "line", "name": f"{name}, least loss for a budget", "legend": name,
             "colour": themed, "x": list(multiplier.frontier_flops),
             "y": list(multiplier.frontier_losses[i])}
        )  # fmt: skip
        layers.append(
            {"kind": "marks", "name": name, "marker": _SHAPES[i], "colour": themed,
             "titles": [f"{'AB'[i]}: {title}" for title in _titles(pairs)],
             "x": [6 * p.params[i] * p.tokens for p in pairs], "y": [p.losses[i] for p in pairs],
             "notes": {"tokens": [f"{p.tokens:,.0f}" for p in pairs]}}
        )  # fmt: skip
    return loss_against_compute("Loss against compute, both recipes", versus.unit, layers)
