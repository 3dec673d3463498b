"""Figures of what was measured beside the loss: along training, and at the end of each run."""

from __future__ import annotations

import math
import textwrap
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from scaling_law.files.layer_metrics import without_layers, without_measures
from scaling_law.files.record import RunRecord, measured_metrics, metric_label, metric_units
from scaling_law.fit.points.stated import flops_words
from scaling_law.report import style
from scaling_law.report.evidence import Evidence
from scaling_law.report.groups import Groups, groups_of
from scaling_law.report.layer_figures import layer_plots
from scaling_law.report.map_figures import map_plots
from scaling_law.report.plot import Plot
from scaling_law.units import format_count

_COLUMNS = 2  # panels side by side
_LETTERS = 44  # of a line over a panel, or beside one
# A column of panels: the field of the record, the axis, and its label.
_ALONG = (
    ("params", style.count_axis, "model size ({counted} parameters)"),
    ("tokens", style.count_axis, "training tokens"),
    ("flops_exact", style.flops_axis, "training compute (FLOPs, {flops})"),
)


def metric_plots(evidence: Evidence) -> list[Plot]:
    """The figures of the metrics."""
    return [
        Plot(
            name="metric_curves",
            shows="Each metric against training tokens for every run",
            caption="What was measured beside the loss along training, a line a run.",
            make=partial(metric_curves, evidence),
            wide=True,
        ),
        Plot(
            name="metric_ends",
            shows="Each metric at the end of every run, against size, tokens and compute",
            caption="One mark a run, trunks left out; a quantity that all runs share has no panel.",
            make=partial(metric_ends, evidence),
            wide=True,
        ),
        *layer_plots(evidence),
        *map_plots(evidence),
    ]


def metric_curves(evidence: Evidence) -> Figure | None:
    """Each metric along training, a panel each; None without any curve.

    A metric that no run has at two steps, such as one that is measured at the end, has no panel.
    """
    units = metric_units(evidence.records)
    groups = groups_of(evidence)
    lines: dict[str, list[tuple[RunRecord, list[int], list[float]]]] = {}
    for record in evidence.records:
        points = evidence.curves.get(record.run_id, [])
        for name in dict.fromkeys(name for point in points for name in point.metrics):
            own = [point for point in points if math.isfinite(point.metrics.get(name, math.nan))]
            values = [point.metrics[name] for point in own]
            lines.setdefault(name, []).append((record, [point.tokens for point in own], values))
    lines = {
        name: lines[name]
        for name in without_measures(lines)
        if any(len(tokens) > 1 for _, tokens, _ in lines[name])
    }
    if not lines:
        return None
    rows = -(-len(lines) // _COLUMNS)
    size = (0.75 * style.WIDE * _COLUMNS, 0.9 * style.TALL * rows)
    figure = Figure(figsize=size, layout="constrained")
    for number, (name, runs) in enumerate(lines.items(), 1):
        axes = figure.add_subplot(rows, _COLUMNS, number)
        axes.set_title(textwrap.fill(metric_label(name, units), _LETTERS))
        axes.set_xlabel("training tokens seen")
        for record, tokens, values in runs:
            axes.plot(tokens, values, ".-", color=groups.colour(record), linewidth=1)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))
    style.legend_below(figure, groups.entries(marks=False), groups.columns, groups.title)
    return figure


def metric_ends(evidence: Evidence) -> Figure | None:
    """Each metric at the end of the runs, a row each; None where nothing varies or was measured.

    Those of layers, and those that stand beside layers along training, have figures of their own.
    """
    ended = [r for r in evidence.records if r.kind != "trunk" and r.status == "done"]
    measured = dict.fromkeys(name for r in ended for name in measured_metrics(r.metrics))
    curves = (points for points in evidence.curves.values() if len(points) > 1)
    along_training = {name for points in curves for point in points for name in point.metrics}
    elsewhere = along_training - {*without_measures(measured)}
    names = [name for name in without_layers(measured) if name not in elsewhere]
    along = [
        (field, set_axis, label)
        for field, set_axis, label in _ALONG
        if len({_value(record, field, evidence.counted) for record in ended}) > 1
    ]
    if not names or not along:
        return None
    units, groups = metric_units(ended), groups_of(evidence)
    flops = flops_words(ended).replace("exact", "exact count")
    height = 0.8 * style.TALL * len(names)
    figure = Figure(figsize=(0.75 * style.WIDE * len(along), height), layout="constrained")
    panels = figure.subplots(len(names), len(along), squeeze=False, sharey="row")
    for row, name in zip(panels, names, strict=True):
        for axes, (field, set_axis, label) in zip(row, along, strict=True):
            for record in ended:
                if math.isfinite(record.metrics.get(name, math.nan)):
                    value = _value(record, field, evidence.counted)
                    _mark(axes, groups, record, value, record.metrics[name])
            words = {"counted": evidence.counted.replace("_", "-"), "flops": flops}
            set_axis(axes, "x", label.format(**words))
        row[0].set_ylabel(textwrap.fill(metric_label(name, units), _LETTERS))
    style.legend_below(figure, groups.entries(marks=True), groups.columns, groups.title)
    return figure


def _mark(axes: Axes, groups: Groups, record: RunRecord, x: float, y: float) -> None:
    marker = groups.marker(record)
    axes.plot([x], [y], marker, color=groups.colour(record), markersize=4.5, alpha=0.8)


def _value(record: RunRecord, field: str, counted: str) -> float:
    return float(getattr(record, f"params_{counted}" if field == "params" else field))
