"""Show runs that find a mixture by proxies: weights by step, and what each mixture is worth."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import TYPE_CHECKING

from scaling_law.experiment.figures import figure, mean_series
from scaling_law.experiment.findings import Axis, Figure, Panel, Series, Table
from scaling_law.experiment.mixtures import NATURAL, UNIFORM, gains_over, mix_text
from scaling_law.experiment.proxies import ANSWER, WEIGHT, Seen
from scaling_law.fit.mixtures.target import MEAN, WORST, parse_target
from scaling_law.units import format_count

if TYPE_CHECKING:
    from scaling_law.fit.mixtures.points import Mixture

OTHER = "of the config"


def _named(seen: Seen) -> Iterator[tuple[str, Mixture]]:
    """The mixtures of the larger models, each with its words."""
    if seen.large is None:
        return
    words = {one.name: name for name in (NATURAL, UNIFORM) if (one := seen.rival(name))}
    words |= {one.name: f"DoReMi, {name} reference" for name in seen.proxies
              if (one := seen.trained(name))}  # fmt: skip
    for mixture in seen.large.mixtures:
        yield words.get(mixture.name, OTHER), mixture


def proxy_table(seen: Seen) -> Table | None:
    """Every mixture of the larger models, with shares and losses by domain; None without them."""
    if seen.large is None:
        return None
    rows = []
    for words, one in _named(seen):
        losses = list(one.losses.values())
        means = [fmean(column) for column in zip(*losses, strict=True)]
        worst = fmean(map(max, losses))
        shares = (f"{share:.3f}" for share in one.shares)
        rows.append((words, *shares, *(f"{m:.4f}" for m in (*means, worst, fmean(means))),
                     str(len(losses))))  # fmt: skip
    return Table(
        caption=f"Shares and losses by domain at {format_count(seen.large.params)} parameters in"
        " nats per token, means over seeds",
        head=("mixture", *seen.components, *(f"loss {name}" for name in seen.components),
              WORST, MEAN, "seeds"),
        rows=tuple(rows),
    )  # fmt: skip


def weights_figure(seen: Seen) -> Figure | None:
    """The weights of each domain by step, a panel for each reference; None without proxies."""
    panels = []
    for reference, by in seen.proxies.items():
        series = []
        for name in seen.components:
            for key, looks in ((WEIGHT, {"marks": False, "dashed": True}), (ANSWER, {})):
                values: dict[float, list[float]] = {}
                for run in by.values():
                    for point in run.curve:
                        if point.step > 0 and key + name in point.metrics:
                            values.setdefault(float(point.step), []).append(
                                point.metrics[key + name]
                            )
                one = mean_series(name, values, low=0.0, high=1.0, **looks)
                series.append(one if key == ANSWER else _without_intervals(one))
        panels.append(
            Panel(
                title=f"{reference} reference",
                x=Axis(label="step"),
                y=Axis(label="weight of the domain", low=0.0),
                series=tuple(series),
            )
        )
    caption = (
        "Means over the proxies' seeds: the broken line is the weight at a step, the other its mean"
        " over the steps so far, which at the end is the mixture."
    )
    title = "The weights that group DRO gives each domain"
    return figure("doremi_weights", title, caption, panels) if panels else None


def _without_intervals(series: Series) -> Series:
    return Series(label=series.label, points=series.points, marks=False, dashed=True)


def gains_figure(seen: Seen) -> Figure | None:
    """How far each mixture ends below natural shares, by domain; None before that is known."""
    natural = seen.rival(NATURAL)
    if natural is None or seen.large is None:
        return None
    targets = (*seen.components, WORST, MEAN)
    others = [(words, one) for words, one in _named(seen) if one is not natural]
    series = []
    for number, (words, one) in enumerate(others):
        label = words if words != OTHER else mix_text(
            dict(zip(seen.components, one.shares, strict=True)))  # fmt: skip
        shift = 0.12 * (number - (len(others) - 1) / 2)
        values = {}
        for place, target in enumerate(targets):
            text = f"{target}=1" if target in seen.components else target
            gains = gains_over(natural, one, parse_target(text, seen.components))
            values[place + shift] = list(gains.values())
        series.append(mean_series(label, values, line=False))
    panel = Panel(
        x=Axis(
            label="domain",
            low=-0.5,
            high=len(targets) - 0.5,
            values={name: float(place) for place, name in enumerate(targets)},
        ),
        y=Axis(label="nats per token below natural shares"),
        series=tuple(series),
    )
    caption = (
        f"At {format_count(seen.large.params)} parameters, with intervals at 90% over seeds; above"
        " 0 the mixture is better than natural shares."
    )
    return figure("doremi_gains", "What each mixture is worth", caption, [panel])
