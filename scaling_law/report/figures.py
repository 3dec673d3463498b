"""Loss against size, tokens and compute, with the law that was fitted; its residuals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints, counted_params
from scaling_law.fit.result import FitResult
from scaling_law.report import style
from scaling_law.report.evidence import Fitted, middle_params, rows_by_size
from scaling_law.report.style import FAINT, INK, MARKERS, RESIDUAL
from scaling_law.units import count_of, format_count

_GRID = 60


def params_label(points: FitPoints, what: str = "model size") -> str:
    """The axis label of parameters, with what is counted."""
    return f"{what} ({counted_params(points.convention['params'])})"


def sizes_title(counted: str) -> str:
    """The head of a legend whose entries are ``size_label``."""
    return f"size and its {counted_params(counted)}"


def size_label(name: str, params: float) -> str:
    """A size by its name and its count, the same in every legend."""
    count = format_count(params)
    return name if name == count else f"{name}: {count}"


def flops_label(points: FitPoints) -> str:
    """The axis label of FLOPs, with how they are counted."""
    words = {"exact": "exact count", "6nd": "6 × parameters × tokens"}
    counted = points.convention["flops"]
    return f"training compute (FLOPs, {words.get(counted, counted)})"


def spread_out(low: float, high: float, margin: float = 1.12) -> Floats:
    """Evenly spaced in logarithm, a little beyond both ends."""
    return np.geomspace(low / margin, high * margin, _GRID)


def law_curve(fit: FitResult, variables: dict[str, Floats], level: float) -> tuple[Floats, ...]:
    """The law at ``variables`` and the bootstrap's (low, high) at ``level``; NaN without one."""
    middle = fit.law.predict(fit.params, variables)
    if not fit.samples:
        nothing = np.full_like(middle, math.nan)
        return middle, nothing, nothing
    draws = np.exp(fit.law.log_losses(fit.internal_samples, variables))
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return middle, low, high


def _draw_law(
    axes: Axes, fitted: Fitted, x: Floats, variables: dict[str, Floats], colour: str
) -> None:
    if not fitted.best.usable:
        return
    middle, low, high = law_curve(fitted.best, variables, fitted.level)
    axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(x, middle, color=colour, linewidth=1.4)


def _draw_points(
    axes: Axes, fitted: Fitted, variable: str, rows: Sequence[int], colour: str, marker: str
) -> None:
    """Points with the noise between seeds (one standard deviation) as bars."""
    points = fitted.points
    x, loss = points.variable(variable)[list(rows)], points.loss_nats[list(rows)]
    noise = fitted.known.seed_noise_log
    bars = loss * noise if noise else None
    axes.errorbar(
        x, loss, yerr=bars, fmt=marker, color=colour, elinewidth=1, capsize=2,
        markeredgecolor=style.PAPER, markeredgewidth=0.5,
    )  # fmt: skip


def _entry(label: str, colour: str, marker: str = "", dashed: bool = False) -> Line2D:
    line = Line2D([], [], color=colour, marker=marker or None, label=label)
    line.set_linestyle("--" if dashed else "-")
    return line


def _size_entries(groups: dict[str, list[int]], points: FitPoints) -> list[Line2D]:
    return [
        _entry(_group_label(name, points, rows), colour, marker)
        for name, (rows, colour, marker) in zip(groups, _sizes(groups), strict=True)
    ]


def _group_label(name: str, points: FitPoints, rows: list[int]) -> str:
    one_size = len({points.size[row] for row in rows}) == 1
    return size_label(name, points.params[rows[0]]) if one_size else name


def _sizes(groups: dict[str, list[int]]) -> list[tuple[list[int], str, str]]:
    colours = style.ramp(len(groups))
    return [(rows, colours[i], MARKERS[i % len(MARKERS)]) for i, rows in enumerate(groups.values())]


def _order(fitted: Fitted, along: str, words: str) -> str:
    """The title: whether loss falls in every comparison, beyond the noise between seeds."""
    check = fitted.summary["validation"]
    rises = sum(rise["along"] == along for rise in check["rises"])
    if not check["pairs_compared"]:
        return f"Loss against {words}"
    return f"Loss falls with {words}" + (f" ({count_of(rises, 'exception')})" if rises else "")


def loss_against_params(fitted: Fitted) -> Figure:
    """One curve per number of tokens; the points coloured by theirs, each with its prediction."""
    points = fitted.points
    figure, axes = style.new_figure(_order(fitted, "params", "model size; lines: equal tokens"))
    low, high = points.data_range["params"]
    first, last = points.data_range["tokens"]
    axes.set_xlim(low / 1.25, high * 1.25)
    colours = style.ramp_over(math.log(first), math.log(last))
    x = spread_out(low, high)
    levels = np.geomspace(first, last, 5)
    for tokens in levels:
        variables = {"params": x, "tokens": np.full_like(x, tokens), "flops": 6 * x * tokens}
        _draw_law(axes, fitted, x, variables, colours(math.log(tokens)))
    for rows, _, marker in _sizes(rows_by_size(points)):
        for row in rows:
            colour = colours(math.log(points.tokens[row]))
            _draw_points(axes, fitted, "params", [row], colour, marker)
    _draw_predictions(axes, fitted, colours)
    style.count_axis(axes, "x", params_label(points))
    style.loss_axis(axes, *_loss_range(points), points.loss_unit)
    axes.autoscale(enable=False)
    entries = [
        _entry(f"{format_count(tokens)} tokens", colours(math.log(tokens))) for tokens in levels
    ]
    if fitted.best.usable:
        bar = Line2D([], [], color=FAINT, marker="_", linestyle="", label="a run's prediction")
        entries.append(bar)
    style.legend_below(figure, entries, 3)
    return figure


def _draw_predictions(axes: Axes, fitted: Fitted, colours: Callable[[float], str]) -> None:
    """A dash where the law puts each run, joined to the run: points lie between the lines."""
    if not fitted.best.usable:
        return
    points = fitted.points
    law = fitted.best.law
    variables = {name: points.variable(name) for name in law.variables}
    for row, value in enumerate(law.predict(fitted.best.params, variables).tolist()):
        x, colour = points.params[row], colours(math.log(points.tokens[row]))
        axes.plot([x, x], [value, points.loss_nats[row]], color=colour, linewidth=0.8)
        axes.plot(x, value, "_", color=colour, markersize=9)


def loss_against_tokens(fitted: Fitted) -> Figure:
    """One curve per size, along its horizons."""
    points = fitted.points
    figure, axes = style.new_figure(_order(fitted, "tokens", "training tokens, at every size"))
    low, high = points.data_range["tokens"]
    axes.set_xlim(low / 1.15, high * 1.15)
    groups = rows_by_size(points)
    for rows, colour, marker in _sizes(groups):
        tokens = points.tokens[rows]
        x = spread_out(tokens.min(), tokens.max())
        size = np.full_like(x, middle_params(points, rows))
        variables = {"params": size, "tokens": x, "flops": 6 * size * x}
        _draw_law(axes, fitted, x, variables, colour)
        _draw_points(axes, fitted, "tokens", rows, colour, marker)
    style.count_axis(axes, "x", "training tokens")
    style.loss_axis(axes, *_loss_range(points), points.loss_unit)
    _size_legend(figure, _size_entries(groups, points), points)
    return figure


def loss_against_flops(fitted: Fitted) -> Figure:
    """The runs by size, and Kaplan's power law of compute along their lower envelope."""
    points = fitted.points
    figure, axes = style.new_figure("What compute buys: the lower envelope of all sizes")
    low, high = points.data_range["flops"]
    axes.set_xlim(low / 1.5, high * 1.5)
    groups = rows_by_size(points)
    for rows, colour, marker in _sizes(groups):
        flops = points.flops[rows]
        x = spread_out(flops.min(), flops.max())
        # a size's FLOPs are proportional to its tokens
        per_token = float(np.mean(flops / points.tokens[rows]))
        size = np.full_like(x, middle_params(points, rows))
        variables = {"params": size, "tokens": x / per_token, "flops": x}
        _draw_law(axes, fitted, x, variables, colour)
        _draw_points(axes, fitted, "flops", rows, colour, marker)
    entries = _size_entries(groups, points)
    envelope = fitted.known.laws.get("kaplan_c")
    if envelope is not None and envelope.usable:
        x = spread_out(low, high, 1.3)
        middle, bottom, top = law_curve(envelope, {"flops": x}, fitted.level)
        axes.fill_between(x, bottom, top, color=INK, alpha=0.12, linewidth=0)
        axes.plot(x, middle, color=INK, linestyle="--", linewidth=1.4)
        exponent = envelope.params["a_C"]
        entries.append(_entry(f"lower envelope: FLOPs$^{{-{exponent:.3f}}}$", INK, dashed=True))
    style.flops_axis(axes, "x", flops_label(points))
    style.loss_axis(axes, *_loss_range(points), points.loss_unit)
    _size_legend(figure, entries, points)
    return figure


def _size_legend(figure: Figure, entries: list[Line2D], points: FitPoints) -> None:
    style.legend_below(figure, entries, 3, title=sizes_title(points.convention["params"]))


def _loss_range(points: FitPoints) -> tuple[float, float]:
    return float(points.loss_nats.min()), float(points.loss_nats.max())


def residuals(fitted: Fitted) -> Figure:
    """Measured over predicted loss - 1, in percent, against size and against tokens."""
    points = fitted.points
    figure = Figure(figsize=(style.WIDE, style.TALL), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    predicted = fitted.best.law.predict(
        fitted.best.params, {v: points.variable(v) for v in ("params", "tokens", "flops")}
    )
    percent = 100 * (points.loss_nats / predicted - 1)
    worst = float(np.abs(percent).max())
    figure.suptitle(
        f"The {fitted.best.law.name} law misses no run by more than {worst:.2g}%",
        x=0.01, ha="left", fontsize=11.5, fontweight="bold",
    )  # fmt: skip
    groups = rows_by_size(points)
    noise = fitted.known.seed_noise_log
    for axes, variable in zip(panels, ("params", "tokens"), strict=True):
        axes.axhline(0, color=INK, linewidth=1)
        if noise:
            axes.axhspan(-200 * noise, 200 * noise, color=FAINT, alpha=0.15, linewidth=0)
        for rows, colour, marker in _sizes(groups):
            axes.plot(points.variable(variable)[rows], percent[rows], marker, color=colour)
        low, high = points.data_range[variable]
        axes.set_xlim(low / 1.3, high * 1.3)
    style.count_axis(panels[0], "x", params_label(points))
    style.count_axis(panels[1], "x", "training tokens")
    panels[0].set_ylabel(RESIDUAL)
    reach = 1.15 * max(worst, 200 * (noise or 0.0))
    panels[0].set_ylim(-reach, reach)
    entries = _size_entries(groups, points)
    for entry in entries:
        entry.set_linestyle("")
    if noise:
        entries.append(
            Line2D([], [], color=FAINT, alpha=0.3, linewidth=8, label="seed noise, ±2 deviations")
        )
    _size_legend(figure, entries, points)
    return figure
