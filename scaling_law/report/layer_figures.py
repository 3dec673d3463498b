"""Figures of what probes measure by layer: a figure a probe along training, and one of the ends."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from scaling_law.files.layer_metrics import LayerMeasure, layer_measures
from scaling_law.files.record import CurvePoint, RunRecord, metric_units
from scaling_law.report import style
from scaling_law.report.evidence import Evidence
from scaling_law.report.groups import groups_of
from scaling_law.report.plot import Plot
from scaling_law.units import count_of, format_count

_COLUMNS = 2  # panels side by side where one run is shown
_MOST_RUNS = 3  # runs side by side
_MOST_NAMED = 8  # layers that a legend names
_LOG_RANGE = 10.0  # highest over lowest, from where an axis is logarithmic
_LETTERS = 24  # of a line beside a small panel
_DASHES: tuple[Literal["--", ":", "-."], ...] = ("--", ":", "-.")


def layer_plots(evidence: Evidence) -> list[Plot]:
    """A figure for each probe that measures layers, and one of all runs' ends."""
    names = dict.fromkeys(
        name
        for record in evidence.records
        for metrics in (record.metrics, *(p.metrics for p in curve_points(evidence, record)))
        for name in metrics
    )
    measures = layer_measures(names)
    if not measures:
        return []
    plots = []
    for probe, own in itertools.groupby(measures, lambda measure: measure.probe):
        runs, left_out = shown_runs(evidence, probe)
        more = ""
        if left_out:
            more = (
                f" {count_of(left_out, 'further run')} measured it: their ends are in the figure"
                " of the ends, their curves in tables/curves.csv."
            )
        plots.append(
            Plot(
                name=f"layers_{probe}",
                shows=f"{probe} of every layer against training tokens",
                caption=f"{probe} along training, a line for each layer; cooldowns continue their"
                f" trunk's lines.{more}",
                make=partial(along_training, evidence, list(own), runs),
                wide=True,
            )
        )
    return [
        *plots,
        Plot(
            name="layers_ends",
            shows="What was measured of each layer at the end of every run, against the layer",
            caption="A line for each run, trunks left out; where a layer has several values, such"
            " as one for each head, the line is their mean and the marks are the values.",
            make=partial(ends, evidence, [m for m in measures if m.layers]),
            wide=True,
        ),
    ]


def curve_points(evidence: Evidence, record: RunRecord) -> list[CurvePoint]:
    """The run's curve; a branch's begins with its trunk's."""
    own = evidence.curves.get(record.run_id, [])
    branch = record.spec.branch
    if branch is None:
        return own
    trunk = evidence.curves.get(branch.trunk_id, [])
    return [*(p for p in trunk if p.step <= branch.at_step), *own]


def shown_runs(evidence: Evidence, probe: str) -> tuple[list[RunRecord], int]:
    """Return the runs whose curves a figure shows, and how many others have a curve of the probe.

    They are the longest run of the first, the middle and the last group that measured it. A trunk
    does not count where one of its branches does.
    """
    groups = groups_of(evidence)
    longest: dict[str, RunRecord] = {}
    count = 0
    for record in evidence.records:
        if record.kind == "trunk" or not _has_curve(curve_points(evidence, record), probe):
            continue
        count += 1
        group = groups.of_run[record.run_id]
        if group not in longest or record.tokens > longest[group].tokens:
            longest[group] = record
    runs = list(longest.values())
    if len(runs) > _MOST_RUNS:
        runs = [runs[0], runs[len(runs) // 2], runs[-1]]
    return runs, count - len(runs)


def _has_curve(points: Sequence[CurvePoint], probe: str) -> bool:
    named = [p for p in points if any(name.partition(".")[0] == probe for name in p.metrics)]
    return len(named) > 1


def along_training(
    evidence: Evidence, measures: Sequence[LayerMeasure], runs: Sequence[RunRecord]
) -> Figure | None:
    """One probe's measures along training, coloured by layer; None without any curve.

    Several runs are side by side, with a row for each measure.
    """
    if not runs:
        return None
    single = len(runs) == 1
    columns = min(_COLUMNS, len(measures)) if single else len(runs)
    rows = -(-len(measures) // columns) if single else len(measures)
    size = 0.75 * style.WIDE * max(columns, 2), 0.8 * style.TALL * rows
    figure = Figure(figsize=size, layout="constrained")
    units = metric_units(evidence.records)
    colours = style.ramp(1 + max((n for m in measures for n in m.layers.values()), default=0))
    entries = _layer_entries(colours)
    for row, measure in enumerate(measures):
        first: Axes | None = None
        for column, record in enumerate(runs):
            place = row + 1 if single else row * columns + column + 1
            axes = figure.add_subplot(rows, columns, place, sharey=first)
            entries |= _draw_run(axes, curve_points(evidence, record), measure, colours)
            axes.set_title(measure.name if single else f"{measure.name}\n{record.spec.label}")
            axes.set_xlabel("training tokens seen")
            if first is None:
                axes.set_ylabel(_unit(measure, units))
            first = first or axes
        assert first is not None
        _set_scale(first, (y for axes in figure.axes[-len(runs) :] for y in _drawn(axes)))
    if single:
        figure.suptitle(runs[0].spec.label, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    style.legend_below(figure, list(entries.values()), _MOST_NAMED)
    return figure


def _draw_run(
    axes: Axes, points: Sequence[CurvePoint], measure: LayerMeasure, colours: Sequence[str]
) -> dict[str, Line2D]:
    """Draw a run's lines; return the legend's entries of those that belong to no layer."""
    for metric, layer in measure.layers.items():
        axes.plot(*_line(points, metric), ".-", color=colours[layer], linewidth=1, markersize=4)
    entries = {}
    for (metric, name), dash in zip(measure.beside.items(), itertools.cycle(_DASHES), strict=False):
        axes.plot(*_line(points, metric), color=style.FAINT, linestyle=dash, linewidth=1.2)
        entries[name] = Line2D([], [], color=style.FAINT, linestyle=dash, label=name)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    return entries


def _line(points: Sequence[CurvePoint], metric: str) -> tuple[list[int], list[float]]:
    own = [p for p in points if math.isfinite(p.metrics.get(metric, math.nan))]
    return [p.tokens for p in own], [p.metrics[metric] for p in own]


def _layer_entries(colours: Sequence[str]) -> dict[str, Line2D]:
    """The legend's entries: every layer, or evenly spaced ones of many."""
    last = len(colours) - 1
    count = min(_MOST_NAMED, len(colours))
    named = dict.fromkeys(round(i * last / max(count - 1, 1)) for i in range(count))
    return {
        f"layer {layer}": Line2D([], [], color=colours[layer], label=f"layer {layer}")
        for layer in named
    }


def _drawn(axes: Axes) -> list[float]:
    return [float(y) for line in axes.lines for y in np.asarray(line.get_ydata())]


def _set_scale(axes: Axes, values: Iterable[float]) -> None:
    """A logarithmic axis for positive values of different orders."""
    values = list(values)
    if values and min(values) > 0 and max(values) >= _LOG_RANGE * min(values):
        axes.set_yscale("log")
        style.log_ticks(axes.yaxis, *axes.get_ylim(), "{:g}".format)


def _unit(measure: LayerMeasure, units: dict[str, str]) -> str:
    return next((units[m] for m in (*measure.layers, *measure.beside) if m in units), "")


def ends(evidence: Evidence, measures: Sequence[LayerMeasure]) -> Figure | None:
    """Each measure at the end of the runs against the layer; None where no run has ended."""
    ended = [r for r in evidence.records if r.kind != "trunk" and r.status == "done"]
    shown = [m for m in measures if any(metric in r.metrics for r in ended for metric in m.layers)]
    if not shown:
        return None
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    size = 0.5 * style.WIDE * max(columns, 3), 0.65 * style.TALL * rows
    figure = Figure(figsize=size, layout="constrained")
    units, groups = metric_units(ended), groups_of(evidence)
    for number, measure in enumerate(shown, 1):
        axes = figure.add_subplot(rows, columns, number)
        for record in ended:
            _draw_end(axes, record, measure, groups.colour(record))
        _set_scale(axes, _drawn(axes))
        axes.set_title(measure.name, fontsize=9)
        axes.set_ylabel(textwrap.fill(_unit(measure, units), _LETTERS))
        axes.set_xlabel("layer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend_below(figure, groups.entries(marks=False), groups.columns, groups.title)
    return figure


def _draw_end(axes: Axes, record: RunRecord, measure: LayerMeasure, colour: str) -> None:
    by_layer: dict[int, list[float]] = {}
    for metric, layer in measure.layers.items():
        if math.isfinite(value := record.metrics.get(metric, math.nan)):
            by_layer.setdefault(layer, []).append(value)
    layers = sorted(by_layer)
    means = [math.fsum(by_layer[layer]) / len(by_layer[layer]) for layer in layers]
    axes.plot(layers, means, "-", color=colour, linewidth=1, alpha=0.8)
    marks = [(layer, value) for layer in layers for value in by_layer[layer]]
    if marks:
        axes.plot(*zip(*marks, strict=True), ".", color=colour, markersize=4)
