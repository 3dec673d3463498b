"""Show runs of many mixtures: their losses in a table, by share, and at two sizes."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from scaling_law.experiment.figures import figure
from scaling_law.experiment.findings import Axis, Figure, Panel, Series, Table
from scaling_law.experiment.mixtures import NATURAL, UNIFORM, MixRuns, both_sizes
from scaling_law.units import format_count

if TYPE_CHECKING:
    from scaling_law.fit.mixtures.target import MixTarget


def mixture_table(seen: MixRuns) -> Table | None:
    """Every mixture with its shares and the targets at both sizes; None without runs."""
    if seen.small is None:
        return None
    sizes = [cell for cell in (seen.small, seen.whole) if cell is not None]
    heads = [f"{target.text} at {format_count(cell.params)}" for target in seen.targets
             for cell in sizes]  # fmt: skip
    names = {rival.name: word for word in (UNIFORM, NATURAL) if (rival := seen.rival(word))}
    for target in seen.targets:
        if mixture := seen.proposed(target):
            names[mixture.name] = f"proposed for {target.text}"
    rows = []
    every = {one.name: one.shares for cell in sizes for one in cell.mixtures}
    for name, shares in sorted(every.items(), key=lambda item: item[1]):
        values = []
        for target in seen.targets:
            for cell in sizes:
                mixture = cell.mixture(name)
                values.append(_mean_target(mixture.losses, target) if mixture else "-")
        words = names.get(name, "design")
        rows.append((words, *(f"{share:.3f}" for share in shares), *values))
    return Table(
        caption="Shares by component, and the target's loss in nats per token, means over seeds",
        head=("mixture", *seen.small.components, *heads),
        rows=tuple(rows),
    )


def _mean_target(losses: Mapping[int, tuple[float, ...]], target: MixTarget) -> str:
    import numpy as np

    values = [float(target.of(np.array(own))) for own in losses.values()]
    return f"{fmean(values):.4f} ({len(values)})"


def law_figure(seen: MixRuns) -> Figure | None:
    """The loss on each component by its own share, measured and predicted with it held out."""
    panels = []
    for number, name in enumerate(seen.small.components if seen.small else ()):
        series = []
        for cell in (seen.small, seen.large):
            if cell is None:
                continue
            size = format_count(cell.params)
            points = tuple(zip(cell.shares[:, number].tolist(), cell.losses[:, number].tolist(),
                               strict=True))  # fmt: skip
            series.append(Series(label=f"{size}, measured", points=points, line=False))
            if law := seen.law(cell):
                held = zip(cell.shares[:, number].tolist(), law.held_out[:, number].tolist(),
                           strict=True)  # fmt: skip
                label = f"{size}, predicted with the mixture held out"
                series.append(Series(label=label, points=tuple(held), line=False))
        panels.append(
            Panel(
                title=name,
                x=Axis(label=f"share of {name}"),
                y=Axis(label="loss, nats per token"),
                series=tuple(series),
            )
        )
    caption = "Each mixture twice: as trained, and as the best law of the others predicts it."
    title = "The loss on each component by its share"
    return figure("mixing_law", title, caption, panels) if panels else None


def rank_figure(seen: MixRuns) -> Figure | None:
    """The targets of the design's mixtures at the large size by those at the small."""
    if seen.small is None or seen.large is None or seen.whole is None:
        return None
    panels = []
    for target in seen.targets:
        pairs = both_sizes(seen.small, seen.large, target)
        series = [Series(label="a mixture of the design", points=tuple(pairs), line=False)]
        law, ours = seen.law(seen.small), seen.proposed(target)
        if law and ours:
            import numpy as np

            expected = float(target.of(law.at(np.array(ours.shares))))
            # by the seeds that the design has
            seeds = set(ours.losses) & set(seen.large.mixtures[0].losses)
            measured = [float(target.of(np.array(ours.losses[seed]))) for seed in seeds]
            points = ((expected, fmean(measured)),) if measured else ()
            series.append(Series(label="proposed (small: by its law)", points=points, line=False))
        panels.append(
            Panel(
                title=target.words,
                x=Axis(label=f"{format_count(seen.small.params)} parameters, nats per token"),
                y=Axis(label=f"{format_count(seen.large.params)} parameters, nats per token"),
                series=tuple(series),
            )
        )
    caption = "Mixtures that are better at the small size should be better at the large."
    return figure("mixing_ranks", "Mixtures at two sizes", caption, panels)
