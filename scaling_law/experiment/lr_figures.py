"""Draw the law of the best learning rates, and what a wrong one costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

from scaling_law.experiment.figures import figure, log_axis
from scaling_law.experiment.findings import Axis, Figure, Panel, Series
from scaling_law.experiment.lr_law import LrLaw
from scaling_law.experiment.tuning import Optimum

WORDS = {"params": "size", "tokens": "tokens", "batch_tokens": "batch"}  # variables of a law


def law_figure(name: str, law: LrLaw | str, optima: Iterable[Optimum]) -> Figure | None:
    """Return the best rates against each variable, shifted to the middle of the others by the law.

    ``optima`` are cells of the law whose best rate has an interval. None without a law.
    """
    if not isinstance(law, LrLaw):
        return None
    cells, panels = tuple(optima), []
    for variable in law.exponents:
        if variable not in WORDS:
            continue
        label = {"params": "non-embedding parameters", "tokens": "tokens",
                 "batch_tokens": "tokens a step"}[variable]  # fmt: skip
        points, intervals = [], []
        for best in sorted(cells, key=lambda best: float(getattr(best.cell, variable))):
            assert best.lr is not None and best.interval is not None, "it is bounded"
            x = float(getattr(best.cell, variable))
            shift = law.at(**{**law.centre, variable: x}) / law.at_cell(best.cell)
            points.append((x, best.lr * shift))
            intervals.append((best.interval[0] * shift, best.interval[1] * shift))
        low, high = points[0][0], points[-1][0]
        line = [low * (high / low) ** (k / 20) for k in range(21)]
        at = tuple((x, law.at(**{**law.centre, variable: x})) for x in line)
        panels.append(
            Panel(
                title=f"{WORDS[variable]}: exponent {law.exponent_text(variable)}",
                x=log_axis(label, sorted({x for x, _ in points})),
                y=log_axis("best learning rate"),
                series=(
                    Series(
                        label="cells, 90% intervals",
                        points=tuple(points),
                        intervals=tuple(intervals),
                        line=False,
                    ),
                    Series(label="law", points=at, marks=False, dashed=True),
                ),
            )
        )
    return figure(
        name,
        "The best learning rate",
        "Every cell is shifted by the law to the geometric mean of the other variables.",
        panels,
    )


def loss_figure(name: str, optima: Sequence[Optimum], noise: float) -> Figure | None:
    """Return the losses about each cell's minimum, as a share of it.

    ``optima`` are cells whose best rate has an interval; ``noise`` is the spread of a loss from
    seed to seed, as a share of it. None without a cell.
    """
    groups: dict[str, list[tuple[float, float]]] = {}
    for best in optima:
        assert best.lr is not None and best.loss is not None, "it is bounded"
        for trial in best.trials:
            away = trial.lr / best.lr
            if trial.loss is not None and 1 / 6 < away < 6:
                point = away, 100 * (trial.loss / best.loss - 1)
                groups.setdefault(best.cell.size, []).append(point)
    if not groups:
        return None
    curvature, skew = (
        fmean(getattr(best, term) for best in optima) for term in ("curvature", "skew")
    )
    line = [2 ** (k / 10) for k in range(-20, 21)]
    logs = [math.log(x) for x in line]
    mean = tuple((math.exp(x), 100 * math.expm1(curvature * x**2 + skew * x**3)) for x in logs)
    series = [
        Series(label=size, points=tuple(sorted(points)), line=False)
        for size, points in groups.items()
    ]
    series.append(Series(label="mean parabola", points=mean, marks=False, dashed=True))
    ticks = (0.25, 0.5, 1.0, 2.0, 4.0)
    return figure(
        name,
        "What a wrong learning rate costs",
        "Every run of every cell with a best rate; grey: the noise of one seed.",
        (
            Panel(
                x=log_axis("learning rate over the best one", ticks),
                y=Axis(label="% of loss above the minimum"),
                series=tuple(series),
                bands=(("one seed's noise", -100 * noise, 100 * noise),),
            ),
        ),
    )
