"""Which size is best for a budget, and how far the forecast reaches."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scaling_law.errors import FitError
from scaling_law.files.record import NATS
from scaling_law.fit.approaches.isoflop import IsoflopCell
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.result import FitResult, Prediction
from scaling_law.fit.split import Split
from scaling_law.fit.surface import split_of
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.published import published_law
from scaling_law.forecast.target import Target
from scaling_law.report import style
from scaling_law.report.evidence import Fitted
from scaling_law.report.figures import flops_label, params_label, spread_out
from scaling_law.report.style import BLUE, FAINT, GREEN, INK, MARKERS, ORANGE, PURPLE, RED
from scaling_law.units import format_count

_REACH = 30.0  # the allocation is drawn so far beyond the data, on each side
_KAPLAN_SLOPE, _CHINCHILLA_TOKENS = 0.73, 20.0
FORECAST_STEPS = 24
SPLIT_STEPS = 40  # of the line of best sizes
OFF_THE_LINE = "Runs above the line had fewer tokens than is optimal for their size, below it more."


def isoflop_cells(fitted: Fitted) -> Figure | None:
    """A curve per cell of equal compute; refused cells hollow, with their reason."""
    cells = fitted.cells
    if not cells:
        return None
    used = sum(cell.usable for cell in cells)
    figure, axes = style.new_figure(f"{used} of {len(cells)} compute budgets show a best size")
    entries = []
    colours = style.ramp(len(cells))
    for i, cell in enumerate(cells):
        colour, marker = colours[i], MARKERS[i % len(MARKERS)]
        fill = colour if cell.usable else "none"
        axes.plot(cell.params, cell.loss_nats, marker, color=colour, markerfacecolor=fill, zorder=3)
        label = f"{style.power_of_ten(cell.flops)}: "
        if cell.usable and cell.params_optimal and cell.loss_min_nats:
            x = spread_out(cell.params[0], cell.params[-1], 1.0)
            axes.plot(x, cell.losses_at(x), color=colour, linewidth=1.3)
            axes.plot(
                cell.params_optimal, cell.loss_min_nats, "*", color=style.RED, markersize=13,
                markeredgecolor=style.PAPER, zorder=4,
            )  # fmt: skip
            label += f"best at {format_count(cell.params_optimal)}"
        else:
            label += f"refused, {_first_clause(cell.reason)}"
        entries.append(
            Line2D([], [], color=colour, marker=marker, markerfacecolor=fill, label=label,
                   linestyle="-" if cell.usable else "")
        )  # fmt: skip
    if used:
        label = "minimum: the best size"
        entries.append(
            Line2D([], [], color=RED, marker="*", markersize=11, linestyle="", label=label)
        )
    _frame_cells(axes, fitted, cells)
    style.legend_below(figure, entries, 2, title="budget (FLOPs)")
    return figure


def _first_clause(reason: str) -> str:
    return reason.split(":")[0].removesuffix(" size sampled")


def _frame_cells(axes: Axes, fitted: Fitted, cells: list[IsoflopCell]) -> None:
    params = [p for cell in cells for p in cell.params]
    losses = [loss for cell in cells for loss in cell.loss_nats]
    losses += [cell.loss_min_nats for cell in cells if cell.loss_min_nats]
    axes.set_xlim(min(params) / 1.25, max(params) * 1.25)
    style.count_axis(axes, "x", params_label(fitted.points))
    style.loss_axis(axes, min(losses), max(losses), fitted.points.loss_unit)


def allocation(fitted: Fitted) -> Figure | None:
    """Best size against compute by three approaches, beside the two published rules."""
    low, high = fitted.points.data_range["flops"]
    x = np.geomspace(low / 3, high * _REACH, SPLIT_STEPS)
    curve = split_curve(fitted, x)
    isoflop, envelope = fitted.line("isoflop"), fitted.summary["envelope"]
    if curve is None and isoflop is None:
        return None
    figure, axes = style.new_figure(_allocation_title(fitted))
    axes.axvspan(low, high, color=FAINT, alpha=0.12, linewidth=0)
    entries: list[Line2D | Patch] = [Patch(color=FAINT, alpha=0.25, label="compute of the data")]
    if curve is not None:
        middle, bottom, top = curve
        axes.fill_between(x, bottom, top, color=BLUE, alpha=0.18, linewidth=0)
        axes.plot(x, middle, color=BLUE)
        entries.append(Line2D([], [], color=BLUE, label=split_words(fitted)))
    vertices = [cell for cell in fitted.cells if cell.params_optimal]
    if vertices:
        axes.plot(
            [c.flops for c in vertices], [c.params_optimal or math.nan for c in vertices], "*",
            color=RED, markersize=12, markeredgecolor=style.PAPER, zorder=4,
        )  # fmt: skip
        words = f": slope {isoflop.exponent:.2f}" if isoflop else " (too few for a slope)"
        label = f"IsoFLOP minima{words}"
        entries.append(Line2D([], [], color=RED, marker="*", linestyle="", label=label))
    line = fitted.line("envelope")
    if envelope["flops"]:
        axes.plot(envelope["flops"], envelope["params"], "s", color=GREEN, markersize=4, zorder=3)
        words = f": slope {line.exponent:.2f}" if line else " (too few for a slope)"
        label = f"lower envelope{words}"
        entries.append(Line2D([], [], color=GREEN, marker="s", linestyle="", label=label))
    entries += _draw_rules(axes, fitted, x)
    axes.set_xlim(x[0], x[-1])
    style.flops_axis(axes, "x", flops_label(fitted.points))
    axes.set_yscale("log")
    style.count_axis(axes, "y", params_label(fitted.points, "best size"))
    style.legend_below(figure, entries, 2)
    return figure


def allocation_of(fit: FitResult, params: dict[str, float]) -> Split | None:
    """The compute-optimal split of ``fit``'s law at these parameters; None where it has none."""
    return split_of(fit.law, params) if fit.usable else None


def _allocation_title(fitted: Fitted) -> str:
    exponent = fitted.exponent
    if exponent is None:
        return "Best size for a budget: the law has no optimum"
    value, interval = exponent
    words = f"Best size grows as compute to the {value:.2f}"
    return words + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def split_words(fitted: Fitted) -> str:
    """What the line of best sizes is, with its slope."""
    exponent = fitted.exponent
    # over worlds even one law's best sizes are a bend, not its own straight line
    whose = "forecast" if fitted.known.worlds else f"{fitted.best.law.name} law"
    slope = "" if exponent is None else f": slope {exponent[0]:.2f}"
    return f"{whose}'s split of 6ND{slope}"


def split_curve(fitted: Fitted, x: Floats) -> tuple[Floats, Floats, Floats] | None:
    """The forecast's best size for FLOPs ``x`` [n], and the ends of its interval.

    NaN where there are none. None without a best size.
    """
    if not fitted.best.usable or fitted.outlook.split is None:
        return None
    rows = []
    for flops in x.tolist():
        best = fitted.outlook.split.params(flops)
        own = fitted.outlook.own_splits(flops, None)
        ends = own and fitted.outlook.ends(best, own[0], fitted.level, drawn=False)
        rows.append((best, *(ends or (math.nan, math.nan))))
    middle, low, high = np.array(rows).T
    return middle, low, high


def _centre(fitted: Fitted) -> float:
    """The best size in the middle of the data."""
    middle, line = fitted.middle_flops, fitted.line("isoflop")
    if fitted.best.usable and fitted.outlook.split is not None:
        return fitted.outlook.split.params(middle)
    return line.at(middle) if line else math.sqrt(middle / 6 / _CHINCHILLA_TOKENS)


def _dash(colour: str) -> Literal[":", "--"]:
    return ":" if colour == ORANGE else "--"


def allocation_rules(fitted: Fitted, x: Floats) -> list[tuple[str, str, Floats]]:
    """(words, colour, params at FLOPs ``x``) of the published rules.

    Kaplan's slope through our middle (its scale is another's), Chinchilla's rule as it is.
    """
    kaplan = _centre(fitted) * (x / fitted.middle_flops) ** _KAPLAN_SLOPE
    return [
        ("Kaplan 2020's slope 0.73, through our middle", ORANGE, kaplan),
        ("Chinchilla 2022: 20 tokens/parameter", PURPLE, np.sqrt(x / 6 / _CHINCHILLA_TOKENS)),
    ]


def _draw_rules(axes: Axes, fitted: Fitted, x: Floats) -> list[Line2D]:
    entries = []
    for words, colour, y in allocation_rules(fitted, x):
        line = _dash(colour)
        axes.plot(x, y, color=colour, linestyle=line)
        entries.append(Line2D([], [], color=colour, linestyle=line, label=words))
    return entries


def forecast_figure(fitted: Fitted, target_params: float) -> Figure | None:
    """Loss from the data out to the target, its interval growing; published laws beside it."""
    low, high = fitted.points.data_range["params"]
    sizes = np.geomspace(low, max(target_params, 10 * high), FORECAST_STEPS)
    made = [fitted.forecast_at(float(size)) for size in sizes]
    known = [p for p in made if p is not None and p.low_nats and p.high_nats]
    if len(known) < 2:
        return None
    figure, axes = style.new_figure(_forecast_title(fitted, target_params))
    axes.axvspan(low, high, color=FAINT, alpha=0.2, linewidth=0)
    x = [p.params or math.nan for p in known]
    bottom, top = [p.low_nats or 0.0 for p in known], [p.high_nats or 0.0 for p in known]
    axes.fill_between(x, bottom, top, color=BLUE, alpha=0.2, linewidth=0)
    within = [p for p in known if not p.refused]
    if within:
        axes.plot([p.params or math.nan for p in within], [p.loss_nats for p in within], color=BLUE)
    axes.plot(fitted.points.params, fitted.points.loss_nats, "o", color=INK, markersize=3)
    entries: list[Line2D | Patch] = [
        Patch(color=FAINT, alpha=0.35, label="sizes of the data"),
        Line2D([], [], color=INK, marker="o", markersize=3, linestyle="", label="runs"),
        Patch(color=BLUE, alpha=0.3, label=f"{100 * fitted.level:g}% interval, optimal tokens"),
    ]
    if within:
        label = "forecast, where a figure is given"
        entries.append(Line2D([], [], color=BLUE, label=label))
    if fitted.points.loss_unit == NATS:
        entries += _draw_published(axes, sizes)
    _frame_forecast(axes, fitted, known)
    style.legend_below(figure, entries, 2, title=OFF_THE_LINE if within else None)
    return figure


def _forecast_title(fitted: Fitted, target_params: float) -> str:
    distance = math.log10(target_params / fitted.points.data_range["params"][1])
    target = format_count(target_params)
    if distance <= 0:
        return f"{target} parameters lie within the sizes of the data"
    return f"{target} parameters: {distance:.1f} orders of magnitude beyond the largest run"


def _draw_published(axes: Axes, sizes: Floats) -> list[Line2D]:
    """Published laws at their own optimal tokens: other text and tokenizers, other nats."""
    entries = []
    for words, colour, losses in published_lines(sizes):
        line = _dash(colour)
        axes.plot(sizes, losses, linewidth=1.4, color=colour, linestyle=line)
        entries.append(Line2D([], [], label=words, color=colour, linestyle=line))
    entries.append(
        Line2D([], [], linestyle="", label="* other text and tokenizer: nats not comparable")
    )
    return entries


def published_lines(sizes: Floats) -> list[tuple[str, str, Floats]]:
    """(words, colour, loss in nats per token) of the published laws at each size's best tokens."""
    lines = []
    for name, words, colour in (
        ("besiroglu2024", "besiroglu2024*", PURPLE),
        ("kaplan2020", "kaplan2020*", ORANGE),
    ):
        law = published_law(name)
        try:
            losses = [extrapolate(law, Target(params=float(size))).loss_nats for size in sizes]
        except FitError:
            continue
        lines.append((words, colour, np.array(losses)))
    return lines


def _frame_forecast(axes: Axes, fitted: Fitted, known: list[Prediction]) -> None:
    sizes = [p.params or math.nan for p in known]
    losses = [value for p in known for value in (p.low_nats or 0.0, p.high_nats or 0.0)]
    axes.set_xlim(min(sizes) / 1.5, max(sizes) * 1.5)
    axes.set_ylim(0, 1.08 * max(*losses, float(fitted.points.loss_nats.max())))
    style.count_axis(axes, "x", params_label(fitted.points))
    axes.set_ylabel(style.loss_label(fitted.points.loss_unit))
