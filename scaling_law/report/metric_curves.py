"""What was measured beside the loss, along training."""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scaling_law.files.record import RunRecord
from scaling_law.report import style
from scaling_law.report.curves import size_name, sizes_of
from scaling_law.report.evidence import Evidence
from scaling_law.report.exports import metric_label, metric_units
from scaling_law.report.figures import size_label, sizes_title


def metric_curves(evidence: Evidence) -> Figure | None:
    """Each metric along training, a panel each, coloured by size; None without any curve."""
    units = metric_units(evidence.records)
    lines: dict[str, list[tuple[RunRecord, list[int], list[float]]]] = {}
    for record in evidence.records:
        points = evidence.curves.get(record.run_id, [])
        for name in dict.fromkeys(name for point in points for name in point.metrics):
            own = [point for point in points if math.isfinite(point.metrics.get(name, math.nan))]
            values = [point.metrics[name] for point in own]
            lines.setdefault(name, []).append((record, [point.tokens for point in own], values))
    if not lines:
        return None
    figure = Figure(figsize=(style.WIDE, style.TALL * len(lines)), layout="constrained")
    sizes = sizes_of(evidence)
    colours = dict(zip(sizes, style.ramp(len(sizes)), strict=True))
    for number, (name, runs) in enumerate(lines.items(), 1):
        axes = figure.add_subplot(len(lines), 1, number)
        axes.set_title(metric_label(name, units))
        axes.set_xlabel("training tokens seen")
        for record, tokens, values in runs:
            axes.plot(tokens, values, ".-", color=colours[size_name(record)], linewidth=1)
    entries = [
        Line2D([], [], color=colours[name], label=size_label(name, counts[evidence.counted]))
        for name, counts in sizes.items()
    ]
    style.legend_below(figure, entries, 3, title=sizes_title(evidence.counted))
    return figure
