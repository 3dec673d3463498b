"""Figures of runs that answer sums: by measure and size, by chance of solving, along training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from scaling_law.experiment.answered import (
    EXACT,
    LOG_PROB,
    Group,
    last_step,
    solved_by_size,
    solvers,
)
from scaling_law.experiment.figures import curve_series, figure, log_axis, mean_series
from scaling_law.experiment.findings import Axis, Figure, Panel, Series
from scaling_law.experiment.sigmoid import Sigmoid


def measures_figure(group: Group) -> Figure | None:
    """Each measure against size at the end of training, reversed."""

    def ends(key: str) -> dict[float, list[float]]:
        return {
            float(size): [float(getattr(one.points[-1], key)) for one in ones]
            for size, ones in group.items()
        }

    seeds = tuple(
        (float(size), one.points[-1].exact) for size, ones in group.items() for one in ones
    )
    size = log_axis("parameters", map(float, group))
    return figure(
        "emergence_measures",
        "The same runs by three measures, digits reversed",
        "Means over seeds at the end of training, with 90% intervals; in the first panel each seed,"
        " and the product of the digits' accuracies beside exact match.",
        (
            Panel(
                title="exact match",
                x=size,
                y=Axis(label="share of answers", low=-0.05, high=1.05),
                series=(
                    Series(label="each seed", points=seeds, line=False),
                    Series(label="mean over seeds", points=_means(ends("exact")), marks=False),
                    Series(
                        label="product of the digits' accuracies",
                        points=_means(ends("product")),
                        line=False,
                    ),
                ),
            ),
            Panel(
                title="log-probability",
                x=size,
                y=Axis(label="nats per digit"),
                series=(mean_series("mean over seeds", ends("log_prob"), high=0.0),),
            ),
            Panel(
                title="Brier score",
                x=size,
                y=Axis(label="score per digit"),
                series=(mean_series("mean over seeds", ends("brier"), low=0.0),),
            ),
        ),
    )


def _means(values: Mapping[float, Sequence[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((size, fmean(group)) for size, group in values.items())


def chance_figure(groups: Mapping[str, Group]) -> Figure | None:
    """The share of seeds that have solved the task, against size, by step and order."""
    panels = []
    for order, group in groups.items():
        last = last_step(group)
        series = [
            Series(
                label=f"by {share} of the steps",
                points=tuple(
                    (float(size), fmean(one.solved_by(round(last * part)) for one in ones))
                    for size, ones in group.items()
                ),
            )
            for share, part in (("half", 0.5), ("three quarters", 0.75), ("all", 1.0))
        ]
        if isinstance(fit := solved_by_size(group, last), Sigmoid):
            low, high = math.log(min(group)), math.log(max(group))
            sizes = [math.exp(low + (high - low) * part / 40) for part in range(41)]
            points = tuple((size, fit.at(size)) for size in sizes)
            series.append(
                Series(label="sigmoid (all steps)", points=points, marks=False, dashed=True)
            )
        panels.append(
            Panel(
                title=order,
                x=log_axis("parameters", map(float, group)),
                y=Axis(label="share of seeds that have solved it", low=-0.05, high=1.05),
                series=tuple(series),
            )
        )
    return figure(
        "emergence_chance",
        "The share of seeds that have solved the task, against size",
        "A sigmoid is drawn only where the outcomes identify one.",
        [panel for panel in panels if any(series.points for series in panel.series)],
    )


def curves_figure(group: Group) -> Figure | None:
    """Measures of each seed against steps, at the size most of whose seeds solve the task."""
    if not group:
        return None
    size = max(group, key=lambda size: (solvers(group[size]) / len(group[size]), -size))
    metrics = (
        ("exact match", "share of answers", EXACT),
        ("log-probability", "nats per digit", LOG_PROB),
    )
    return figure(
        "emergence_curves",
        f"Training at {size:,} parameters, digits reversed",
        "Each line is a seed.",
        [
            Panel(
                title=title,
                x=Axis(label="steps"),
                y=Axis(label=label),
                series=tuple(curve_series("a seed", one.run, metric) for one in group[size]),
            )
            for title, label, metric in metrics
        ],
    )
