"""Figures of a sweep's arms: their losses against compute, and each against the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scaling_law.fit.recipes.compare_arms import ArmComparison
from scaling_law.report import style
from scaling_law.report.charts import loss_against_compute
from scaling_law.report.style import BLUE, GREEN, INK, MARKERS, ORANGE, PURPLE, RED, SKY

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)
_SHAPES = ("circle", "square", "up", "diamond", "down", "plus", "cross")
_ROW_INCHES, _LEAST_INCHES = 0.38, 3.0


@dataclass(frozen=True, kw_only=True)
class ArmPoints:
    """The runs of an arm as a figure has them.

    ``flops`` are 6 × parameters × tokens and ``losses`` in the objective's unit, a run each;
    ``line`` is the law's least loss, (FLOPs, loss), empty without a law.
    """

    name: str
    labels: tuple[str, ...]
    flops: tuple[float, ...]
    losses: tuple[float, ...]
    line: tuple[tuple[float, float], ...]


def colours(count: int) -> list[str]:
    """A colour an arm; of many a ramp."""
    return list(_COLOURS[:count]) if count <= len(_COLOURS) else style.ramp(count)


def loss_figure(arms: Sequence[ArmPoints], unit: str) -> Figure | None:
    """Every run of every arm, and the least loss for a budget by each arm's law."""
    losses = [loss for arm in arms for loss in arm.losses]
    if not losses:
        return None
    figure, axes = style.new_figure("Loss against compute, arm by arm")
    entries: list[Any] = []
    for i, (arm, colour) in enumerate(zip(arms, colours(len(arms)), strict=True)):
        marker = MARKERS[i % len(MARKERS)]
        axes.plot(arm.flops, arm.losses, marker, color=colour, markersize=4.5, alpha=0.8)
        if arm.line:
            axes.plot(*zip(*arm.line, strict=True), color=colour)
            losses += [loss for _, loss in arm.line]
        entries.append(Line2D([], [], color=colour, marker=marker, label=arm.name))
    style.flops_axis(axes, "x", "compute: 6 × parameters × tokens (FLOPs)")
    style.loss_axis(axes, min(losses), max(losses), unit)
    style.legend_below(figure, entries, 3)
    return figure


def comparison_figure(comparisons: Sequence[ArmComparison], names: Sequence[str]) -> Figure | None:
    """Each arm against the reference: differences of loss, and compute multipliers."""
    pairs = [(c.versus, n) for c, n in zip(comparisons, names, strict=True) if c.versus is not None]
    if not pairs:
        return None
    height = max(_LEAST_INCHES, _ROW_INCHES * (len(pairs) + 3))
    figure = Figure(figsize=(2 * style.WIDE, height), layout="constrained")
    losses, compute = figure.subplots(1, 2, sharey=True)
    places = list(range(len(pairs)))[::-1]
    for place, (versus, _) in zip(places, pairs, strict=True):
        difference, multiplier = versus.difference, versus.multiplier
        ends = [_percent(x) for x in (difference.low_log, difference.high_log) if x is not None]
        _mark(losses, place, _percent(difference.mean_log), ends)
        if multiplier is not None and not multiplier.changes:
            ends = [x for x in (multiplier.low, multiplier.high) if x is not None]
            _mark(compute, place, multiplier.value, ends)
        elif multiplier is not None:
            least, most = multiplier.ends
            compute.plot([most.value, least.value], [place, place], "o-", color=ORANGE)
    losses.set_yticks(places, [name for _, name in pairs])
    losses.axvline(0, color=INK, linewidth=1)
    losses.set_title(f"Loss over that of {names[0]}")
    losses.set_xlabel("difference of loss (%; below 0: lower)")
    compute.set_title(f"Compute multiplier over {names[0]}")
    if any(versus.multiplier is not None for versus, _ in pairs):
        compute.axvline(1, color=INK, linewidth=1)
        compute.set_xlabel("above 1 an arm saves compute (orange: it changes with scale)")
    else:
        compute.text(0.5, 0.5, "too few matched runs", transform=compute.transAxes, ha="center")
        compute.set_xticks([])
    losses.set_ylim(-0.6, len(pairs) - 0.4)
    return figure


def _mark(axes: Axes, place: int, value: float, ends: Sequence[float]) -> None:
    if len(ends) == 2:
        axes.plot(ends, [place, place], color=BLUE, linewidth=2.2)
    axes.plot([value], [place], "o", color=BLUE)


def _percent(log_ratio: float) -> float:
    return 100 * math.expm1(log_ratio)


def document(arms: Sequence[ArmPoints], comparison: dict[str, Any], unit: str) -> dict[str, Any]:
    """What the page's script draws, and the comparison as ``slaw report SWEEP --json`` has it."""
    layers: list[dict[str, Any]] = []
    for i, (arm, colour) in enumerate(zip(arms, colours(len(arms)), strict=True)):
        themed = style.themed(colour)
        if arm.line:
            layers.append(
                {"kind": "line", "name": f"{arm.name}, least loss for a budget",
                 "legend": arm.name, "colour": themed, "x": [x for x, _ in arm.line],
                 "y": [y for _, y in arm.line]}
            )  # fmt: skip
        layers.append(
            {"kind": "marks", "name": arm.name, "marker": _SHAPES[i % len(_SHAPES)],
             "colour": themed, "titles": list(arm.labels), "x": list(arm.flops),
             "y": list(arm.losses), "notes": {}}
        )  # fmt: skip
    chart = loss_against_compute("Loss against compute, arm by arm", unit, layers)
    return {
        "schema_version": 1,
        "points": [],
        "fits": {},
        "conventions": {},
        "charts": {"arms_loss": [chart]},
        "arms": comparison,
    }
