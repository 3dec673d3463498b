"""Show how the best learning rate goes with the size: losses by rate, and the rates' intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import fmean

from scaling_law.experiment.figures import figure, log_axis
from scaling_law.experiment.findings import Axis, Figure, Panel, Series, Table
from scaling_law.experiment.rates_by_size import Rates
from scaling_law.experiment.tuning import Trial


def rate_table(rates: Mapping[str, Rates], size: str) -> Table | None:
    """Return the best rate of every size with its interval and loss; None without one.

    ``rates`` are by the name of their parametrisation; ``size`` is the word for what of it varies.
    """
    rows = []
    for name, of_arm in rates.items():
        for x, best in of_arm.optima.items():
            low, high = best.interval or (math.nan, math.nan)
            rows.append(
                (
                    name,
                    f"{x:g}",
                    "–" if best.lr is None else f"{best.lr:.3g}",
                    f"{low:.2g} to {high:.2g}" if best.interval else best.why,
                    "–" if best.loss is None else f"{best.loss:.4f}",
                    ", ".join(f"{rate:g}" for rate in best.rates),
                )
            )
    if not rows:
        return None
    return Table(
        caption="Best learning rate by a parabola of log loss in its logarithm, with its 90%"
        " interval, and the loss there (nats per token)",
        head=("parametrisation", size, "best", "interval", "loss", "rates tried"),
        rows=tuple(rows),
        text_columns=1,
    )


def rate_figure(rates: Mapping[str, Rates], size: str) -> Figure | None:
    """Return loss against learning rate, a curve for each size, a panel for each parametrisation.

    Arguments as of ``rate_table``.
    """
    trials = [
        trial
        for of_arm in rates.values()
        for best in of_arm.optima.values()
        for trial in best.trials
        if trial.loss is not None
    ]
    if not trials:
        return None
    lrs, losses = [trial.lr for trial in trials], [trial.loss or 0 for trial in trials]
    low, high, margin = min(lrs) / 1.3, max(lrs) * 1.3, 0.03 * (max(losses) - min(losses))
    ticks = [x * 10**k for k in range(-8, 3) for x in (1, 3) if low <= x * 10**k <= high]
    x_axis = replace(log_axis("learning rate", ticks), low=low, high=high)
    y_axis = Axis(
        label="validation loss (nats per token)",
        low=min(losses) - margin,
        high=max(losses) + margin,
    )
    panels = []
    for name, of_arm in rates.items():
        series, minima = [], []
        for x, best in of_arm.optima.items():
            groups = _by_rate(best.trials)
            series.append(
                Series(
                    label=f"{size} {x:g}",
                    points=tuple((lr, fmean(losses)) for lr, losses in groups.items()),
                    intervals=tuple((min(losses), max(losses)) for losses in groups.values()),
                )
            )
            if best.lr is not None and best.loss is not None:
                minima.append((best.lr, best.loss))
        series.append(Series(label="minimum of the parabola", points=tuple(minima), line=False))
        panels.append(
            Panel(
                title=name,
                x=x_axis,
                y=y_axis,
                series=tuple(series),
            )
        )
    return figure(
        f"rates_by_{size}",
        f"Loss against learning rate, by {size}",
        "Points: mean over seeds, from the lowest seed to the highest.",
        panels,
    )


def _by_rate(trials: Iterable[Trial]) -> dict[float, list[float]]:
    groups: dict[float, list[float]] = {}
    for trial in sorted(trials, key=lambda trial: trial.lr):
        if trial.loss is not None:
            groups.setdefault(trial.lr, []).append(trial.loss)
    return groups
