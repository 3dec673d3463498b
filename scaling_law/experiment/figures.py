"""Make the figures that most experiments have: numbers over seeds, times, curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scaling_law.experiment.evidence import Run
from scaling_law.experiment.findings import Axis, Figure, Panel, Series
from scaling_law.experiment.power_law import PowerLaw
from scaling_law.experiment.seeds import Time, mean_over, median_time
from scaling_law.units import format_count


def log_axis(label: str, ticks: Iterable[float] | None = None) -> Axis:
    """Return a logarithmic axis, with ticks at these values alone where they are given."""
    values = None if ticks is None else {_tick(value): value for value in ticks}
    return Axis(label=label, scale="log", values=values)


def _tick(value: float) -> str:
    """``131K``: thousands and millions as people write them; any other value by ``number``."""
    return format_count(value) if 1e4 <= value < 1e9 else number(value)


def number(value: float) -> str:
    """``1.2e12``, ``300``: the name of a value on an axis and in measures."""
    return f"{value:g}".replace("e+", "e")


def mean_series(
    label: str,
    values: Mapping[float, Sequence[float]],
    *,
    geometric: bool = False,
    low: float = -math.inf,
    high: float = math.inf,
    **looks: Any,
) -> Series:
    """Return the mean over seeds at each x, with its interval, which one seed does not have.

    ``geometric`` takes the mean of logarithms. ``low`` and ``high`` are what a value can be at
    least and at most, where the intervals end. An x without values has no point.
    """
    points, intervals = [], []
    for x, group in values.items():
        mean = mean_over([math.log(value) for value in group] if geometric else group)
        if mean is None:
            continue
        three = (mean.value, *(mean.interval or (mean.value, mean.value)))
        middle, *ends = (math.exp(value) for value in three) if geometric else three
        points.append((x, middle))
        intervals.append((max(ends[0], low), min(ends[1], high)))
    return Series(label=label, points=tuple(points), intervals=tuple(intervals), **looks)


def law_series(label: str, law: PowerLaw, xs: Iterable[float], **looks: Any) -> Series:
    """Return a fitted law as a broken line from the least to the largest of ``xs``."""
    values = [x for x in xs if x > 0]
    low, high = min(values), max(values)
    points = [low * (high / low) ** (k / 40) for k in range(41)]
    looks = {"marks": False, "dashed": True, **looks}
    return Series(label=label, points=tuple((x, law.at(x)) for x in points), **looks)


def time_series(label: str, times: Mapping[float, Sequence[Time]], **looks: Any) -> Series:
    """Return the median step over seeds at each x, with the fastest and the slowest seed.

    Where half of the seeds or more never got there, the point lies beyond their last step.
    """
    points, intervals, beyond = [], [], []
    for x, group in times.items():
        middle = median_time(group)
        if middle is None:
            continue
        if middle.step is None:
            beyond.append((x, float(middle.within)))
            continue
        steps = [time.step for time in group if time.step is not None]
        points.append((x, middle.step))
        intervals.append((min(steps), max(steps)))
    return Series(
        label=label,
        points=tuple(points),
        intervals=tuple(intervals),
        beyond=tuple(beyond),
        **looks,
    )


def curve_series(label: str, run: Run, metric: str, **looks: Any) -> Series:
    """Return a metric of a run against its steps, from step 1 on, which a log axis can show."""
    points = tuple(
        (float(point.step), point.metrics[metric])
        for point in run.curve
        if metric in point.metrics and point.step > 0
    )
    return Series(label=label, points=points, marks=False, **looks)


def figure(
    name: str, title: str, caption: str, panels: Sequence[Panel], *, kinds: bool = False
) -> Figure | None:
    """Return a figure of these panels; None where none has a point. ``kinds`` as in ``Figure``."""
    if not any(series.points or series.beyond for panel in panels for series in panel.series):
        return None
    return Figure(name=name, title=title, caption=caption, panels=tuple(panels), kinds=kinds)
