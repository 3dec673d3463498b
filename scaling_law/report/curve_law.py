"""The figure of ``slaw curves``: the curves, the law through them, and what it predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scaling_law.errors import ConfigError
from scaling_law.files import layout
from scaling_law.fit.curves.session import CurveAnswer
from scaling_law.report import style

_HEADROOM = 1.25  # over the lowest loss: losses right after the warm-up would press all below
_MOST_PANELS = 6


def write_curve_figure(answer: CurveAnswer, path: Path) -> Path:
    """Draw the answer to a PNG or SVG file. Raises ``ConfigError`` where it cannot be written."""
    with style.applied():
        kind = "png" if path.suffix.lower() == ".png" else "svg"
        content = style.rendered(curve_figure(answer), kind)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        layout.atomic_write(path, content)
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be written ({problem.strerror})") from None
    return path


def curve_figure(answer: CurveAnswer) -> Figure:
    """One panel a model: measured curves as points, the law as lines, predictions in colour."""
    groups = answer.fit.groups[:_MOST_PANELS]
    columns = min(len(groups), 3)
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(max(style.WIDE, 4 * columns), 3.6 * rows + 0.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axes in panels[len(groups) :]:
        axes.remove()
    texts = list(dict.fromkeys(one.text for one in answer.scheduled))
    colours = dict(zip(texts, style.ramp(len(texts)), strict=True))
    for axes, group in zip(panels, groups, strict=False):
        _panel(axes, answer, group, colours)
    entries = [Line2D([], [], color=style.FAINT, marker=".", linestyle="", label="fitted")]
    if answer.held_out:
        entries.append(
            Line2D([], [], color=style.INK, marker="o", markersize=3, linestyle="",
                   label="held out, with its prediction")
        )  # fmt: skip
    entries += [Line2D([], [], color=colours[text], label=text) for text in texts]
    more = len(answer.fit.groups) - len(groups)
    title = "Loss curves and the law through them"
    figure.suptitle(f"{title}; {more} more models not drawn" if more else title)
    style.legend_below(figure, entries, min(len(entries), 3))
    return figure


def _panel(axes: Axes, answer: CurveAnswer, group: str, colours: dict[str, str]) -> None:
    fit = answer.fit
    losses = []
    for curve in (one for one in answer.curves if one.group == group):
        axes.plot(curve.steps, curve.losses, ".", color=style.FAINT, markersize=2.5, alpha=0.7)
        line = fit.predict(group, curve.rate, curve.steps)
        axes.plot(line.steps, line.losses, color=style.FAINT, linewidth=0.8)
        losses += curve.losses.tolist()
    for held in (one for one in answer.held_out if one.curve.group == group):
        axes.plot(held.curve.steps, held.curve.losses, "o", color=style.INK, markersize=2)
        drawn = held.predicted
        axes.plot(drawn.steps, drawn.losses, color=style.BLUE, linewidth=1.2)
        axes.fill_between(drawn.steps, drawn.low, drawn.high, color=style.BLUE, alpha=0.15)
        losses += held.curve.losses.tolist()
    for one in (one for one in answer.scheduled if one.group == group):
        drawn, colour = one.predicted, colours[one.text]
        axes.plot(drawn.steps, drawn.losses, color=colour, linewidth=1.4)
        axes.fill_between(drawn.steps, drawn.low, drawn.high, color=colour, alpha=0.12)
        losses += drawn.losses.tolist()
    low = min(losses)
    axes.set_ylim(low - 0.02 * low, min(max(losses), _HEADROOM * low))
    axes.set_title(group)
    axes.set_xlabel("step")
    axes.set_ylabel(answer.loss_unit)
