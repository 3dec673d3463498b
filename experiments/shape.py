"""Shape at equal parameters: aspect ratio, head size, MLP ratio, and which parameters count.

    slaw run shape
    slaw report results/shape     # the basin of aspect ratios, L(N) by what is counted; two figures

Models of one size have equal non-embedding parameters (within 1%) and equal steps; each is at its
own best learning rate, for a rate that they share favours some of them. Intervals count the fits of
these rates, whose errors all seeds share, beside the noise of seeds. Exact FLOPs differ a
little: a deeper model spends more on attention, a wider one on the head. The aspect ratio is width
over layers, the MLP ratio the MLP's hidden width over the model's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, TypeAlias

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import (
    Decision,
    PreconditionError,
    answer,
    beside,
    claim,
    decided_by,
    need,
)
from scaling_law.experiment.basin import (
    Basin,
    Fits,
    Line,
    above_best,
    basin_of,
    common_seeds,
    spread_of,
)
from scaling_law.experiment.counted import COUNTED, Trend, trend_of
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.figures import figure, log_axis, mean_series
from scaling_law.experiment.findings import (
    AGAIN,
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Series,
    Table,
)
from scaling_law.experiment.seeds import Mean, with_ends
from scaling_law.experiment.standard_error import StandardError, mean_at_best, shifted
from scaling_law.experiment.tuning import Optimum, Tuning, trials_of, tuned
from scaling_law.experiment.tuning_stages import Settings, next_stage
from scaling_law.spec.counts import count_params
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

SAME = 0.05  # largest difference of log parameters between two models of one size
NEAR, FEW = 0.01, 0.03  # shares of loss above the best
WIDE = 40.0  # the factor of aspect ratio over which Kaplan's losses differ by less than ``FEW``
BARE, WHOLE = "non_embedding", "total"  # what is counted, without and with embeddings
USUAL_RATIO, USUAL_HEAD = 4.0, 16  # of the shapes that are compared by aspect ratio


@dataclass(frozen=True)
class Shape:
    """A model with its best learning rate.

    ``best`` is the tuned cell; ``model`` is its GPT;
    ``fit`` is the error of its log losses that all seeds share: that of the best rate's fit.
    """

    best: Optimum
    model: ModelSpec
    fit: StandardError

    @property
    def params(self) -> int:
        """Non-embedding parameters."""
        return self.best.cell.params

    @property
    def aspect(self) -> float:
        """Width over layers."""
        return self.model.d_model / self.model.n_layer

    @property
    def ratio(self) -> float:
        """The MLP's hidden width over the model's."""
        return self.model.d_ff / self.model.d_model

    @property
    def unusual(self) -> tuple[float, float]:
        """How far its MLP and its heads are from the usual ones."""
        head = self.model.head_size / USUAL_HEAD
        return round(abs(math.log(self.ratio / USUAL_RATIO)), 2), abs(math.log(head))


Shapes: TypeAlias = Mapping[float, Shape]  # by a quantity, rising


def shapes_by(shapes: Sequence[Shape], quantity: Callable[[Shape], float]) -> Shapes:
    """The shapes by a quantity, rising; of several with one value the most usual."""
    chosen: dict[float, Shape] = {}
    for shape in sorted(shapes, key=lambda one: one.unusual, reverse=True):
        chosen[round(quantity(shape), 3)] = shape
    return {x: chosen[x] for x in sorted(chosen)}


def line_of(shapes: Shapes) -> Line:
    """Their losses."""
    return {x: shape.best.levels for x, shape in shapes.items()}


def fits_of(shapes: Shapes) -> Fits:
    """The errors of the fits of their best rates."""
    return {x: shape.fit for x, shape in shapes.items()}


def basin(shapes: Shapes, share: float) -> Basin | None:
    """The basin of the shapes, with the fits of their best rates."""
    return basin_of(line_of(shapes), share, fits_of(shapes))


def spread(shapes: Shapes) -> Mean | None:
    """The share by which the worst of the shapes is above the best."""
    return spread_of(line_of(shapes), fits_of(shapes))


def over_best(shapes: Shapes, x: float) -> Mean | None:
    """The share by which one of the shapes is above the best."""
    return above_best(line_of(shapes), x, fits_of(shapes))


@dataclass(frozen=True)
class Size:
    """The shapes with equal parameters."""

    shapes: tuple[Shape, ...]

    @property
    def params(self) -> float:
        """Non-embedding parameters, the mean."""
        return fmean(shape.params for shape in self.shapes)

    @property
    def by_depth(self) -> dict[int, Shape]:
        """The most usual shape of each depth."""
        ordered = sorted(self.shapes, key=lambda one: one.unusual, reverse=True)
        return {shape.model.n_layer: shape for shape in ordered}

    @property
    def aspects(self) -> Shapes:
        """The shapes by aspect ratio."""
        return shapes_by(tuple(self.by_depth.values()), lambda shape: shape.aspect)

    @property
    def heads(self) -> Shapes:
        """The shapes by head size, of the width, depth and MLP with most of them."""
        most = self._most(lambda one: (one.n_layer, one.d_model, one.d_ff))
        return shapes_by(most, lambda shape: shape.model.head_size)

    @property
    def ratios(self) -> Shapes:
        """The shapes by MLP ratio, of the depth with most of them."""
        most = self._most(lambda one: one.n_layer)
        return shapes_by(most, lambda shape: shape.ratio)

    def _most(self, kind: Callable[[ModelSpec], Any]) -> list[Shape]:
        groups: dict[Any, list[Shape]] = {}
        for shape in self.shapes:
            groups.setdefault(kind(shape.model), []).append(shape)
        return max(groups.values(), key=len)


Trends: TypeAlias = Mapping[str, Trend]  # by what is counted


@dataclass(frozen=True)
class Seen:
    """What the runs show.

    ``tuning`` are all cells; ``sizes`` are the shapes with a best rate, smaller first.
    """

    tuning: Tuning
    sizes: tuple[Size, ...]

    @property
    def main(self) -> Size | None:
        """The size with most depths; of several the largest."""
        return max(self.sizes, key=lambda one: (len(one.by_depth), one.params), default=None)

    @property
    def crossed(self) -> list[Shape]:
        """The usual shapes of every size at the depths that all sizes have."""
        if not self.sizes:
            return []
        depths = set.intersection(*(set(size.by_depth) for size in self.sizes))
        return [size.by_depth[depth] for size in self.sizes for depth in sorted(depths)]

    @cached_property
    def trends(self) -> Trends:
        """The trend of the crossed shapes under each convention that gives one."""
        return self._trends_at([one.best.levels for one in self.crossed])

    @cached_property
    def shifted_trends(self) -> list[tuple[Trends, Trends, StandardError]]:
        """The trends with one shape an error of its fit higher, and lower, and that error."""
        logs = {place: one.best.levels for place, one in enumerate(self.crossed)}
        fits = {place: one.fit for place, one in enumerate(self.crossed)}
        return [
            (self._trends_at(list(up.values())), self._trends_at(list(down.values())), fit)
            for up, down, fit in shifted(logs, fits)
        ]

    def _trends_at(self, levels: Sequence[Mapping[int, float]]) -> Trends:
        points = [(one.model, own) for one, own in zip(self.crossed, levels, strict=True)]
        trends = {name: trend_of(points, name) for name in COUNTED}
        return {name: trend for name, trend in trends.items() if trend is not None}

    def over_trends(self, read: Callable[[Trends], Sequence[float]]) -> Mean:
        """The mean of one value a seed that the trends give, with the errors of the rates' fits."""
        fits = [
            StandardError(abs(fmean(read(up)) - fmean(read(down))) / 2, fit.freedom)
            for up, down, fit in self.shifted_trends
        ]
        mean = mean_at_best(read(self.trends), fits)
        assert mean is not None, "a trend has a seed"
        return mean


def read(evidence: Evidence) -> Seen:
    """Return what the runs show; models that are no GPT are left out."""
    runs = [run for run in evidence.runs if isinstance(run.spec.model, ModelSpec)]
    tuning = tuned(trials_of(runs))
    shapes = [
        Shape(best, best.cell.model, tuning.fit_error(best))
        for best in tuning.optima
        if best.lr is not None and isinstance(best.cell.model, ModelSpec)
    ]
    sizes: list[list[Shape]] = []
    for shape in sorted(shapes, key=lambda one: one.params):
        if sizes and math.log(shape.params / sizes[-1][0].params) < SAME:
            sizes[-1].append(shape)
        else:
            sizes.append([shape])
    return Seen(tuning, tuple(Size(tuple(size)) for size in sizes))


def propose(evidence: Evidence) -> Mapping[str, Any] | None:
    """Give the learning rates that are still needed, or None."""
    return next_stage(evidence.runs, evidence.settings, evidence.stage)


def analyse(evidence: Evidence) -> Findings:
    """Return the basin of shapes, and how the loss goes with what is counted."""
    seen = read(evidence)
    claims = (
        _end(seen, "depth_costs", "deepest", min),
        _end(seen, "width_costs", "widest", max),
        _kaplans(seen),
        _little(seen, "head_size_matters_little", "head size", lambda size: size.heads),
        _little(seen, "mlp_ratio_matters_little", "MLP ratio", lambda size: size.ratios),
        _one_trend(seen),
        _bend(seen),
        _tuned_claim(seen),
    )
    notes = [seen.tuning.noise_text] if seen.tuning.optima else []
    notes += [seen.tuning.open_text] if seen.tuning.open_text else []
    notes += _shape_notes(seen)
    others = sum(not isinstance(run.spec.model, ModelSpec) for run in evidence.ended)
    notes += [f"runs left out, of other models than a GPT: {others}"] if others else []
    return answer(
        claims,
        lambda: _words(seen),
        measures=_measures(seen),
        tables=(_shape_table(seen), _trend_table(seen)),
        figures=(_shape_figure(seen), _trend_figure(seen)),
        literature=_literature(seen),
        notes=notes,
        units={"spread": "share of loss", "scatter": "share of loss", "basin": "factor"},
    )


def _ready(seen: Seen) -> Size | None:
    """The size of most depths; None where some shape of it is not tuned, or has one seed."""
    try:
        return _main(seen)
    except PreconditionError:
        return None


def _main(seen: Seen) -> Size:
    """The size of most depths. Needs every shape of it tuned, with two seeds."""
    need(bool(seen.tuning.optima), "no run has finished", AGAIN)
    main = seen.main
    need(main is not None, seen.tuning.open_text, "more stages (experiment.most)")
    assert main is not None
    near = [b for b in seen.tuning.optima if abs(math.log(b.cell.params / main.params)) < SAME]
    untuned = [best for best in near if best.lr is None]
    need(
        not untuned,
        f"{len(untuned)} of {len(near)} shapes have no best rate (the first,"
        f" {untuned[0].cell.text if untuned else ''}: {untuned[0].why if untuned else ''})",
        "more stages (experiment.most)",
    )
    need(len(main.aspects) > 3, f"{len(main.aspects)} aspect ratios have finished", AGAIN)
    need(len(common_seeds(line_of(main.aspects))) > 1, "the shapes have one seed in common", AGAIN)
    return main


def _end(seen: Seen, name: str, which: str, end: Callable[[Shapes], float]) -> Claim:
    """The claim that the model at one end of the aspect ratios is worse than the best."""

    def decide() -> Decision:
        aspects = _main(seen).aspects
        x = end(aspects)
        over = over_best(aspects, x)
        assert over is not None and over.interval is not None, "there are two seeds"
        low, high = over.interval
        words = (
            f"aspect ratio {x:.2g} is {100 * over.value:.1f}% ({100 * low:.1f} to"
            f" {100 * high:.1f}) above the best"
            if over.value
            else f"aspect ratio {x:.2g} is itself the best, whichever seed is left out"
        )
        need(low > NEAR or high < NEAR, f"{words}: on both sides of {NEAR:.0%}", "more seeds")
        return low > NEAR, words

    return claim(name, f"the {which} model ends more than {NEAR:.0%} above the best", decide)


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def _kaplans(seen: Seen) -> Claim:
    def decide() -> Decision:
        aspects = _main(seen).aspects
        few = basin(aspects, FEW)
        assert few is not None and few.factor.interval is not None, "there are two seeds"
        low, high = few.factor.interval
        words = f"within {FEW:.0%} lies {few.text}"
        if low == high:  # it ends with the shapes, so that its spread says nothing of its error
            ends = [over_best(aspects, x) for x in (min(aspects), max(aspects))]
            over = max(one.interval[1] for one in ends if one is not None and one.interval)
            words += f", whose ends are up to {over:.1%} above the best"
            need(over < FEW, words, "more seeds")
        need(low >= WIDE or (high < WIDE and few.inside), words, "more seeds or extreme shapes")
        return low >= WIDE, words

    return claim(
        "kaplans_basin",
        f"over a factor of {WIDE:g} of aspect ratio the loss is within {FEW:.0%} of the best",
        decide,
    )


def _little(seen: Seen, name: str, quantity: str, read: Callable[[Size], Shapes]) -> Claim:
    def decide() -> Decision:
        values = read(_main(seen))
        need(len(values) > 2, f"{len(values)} values of the {quantity} have finished", AGAIN)
        most = spread(values)
        need(most is not None and most.interval is not None, "one seed in common", AGAIN)
        assert most is not None and most.interval is not None
        low, high = most.interval
        words = (
            f"from {min(values):.3g} to {max(values):.3g} the worst is"
            f" {100 * most.value:.1f}% ({100 * low:.1f} to {100 * high:.1f}) above the best"
        )
        need(high < FEW or low > FEW, f"{words}: on both sides of it", "more seeds")
        return high < FEW, words

    says = f"at equal parameters the {quantity} changes the loss by less than {FEW:.0%}"
    return claim(name, says, decide)


def _need_trends(seen: Seen) -> None:
    """Needs the trends without and with embeddings: sizes at several depths, with two seeds."""
    need(bool(seen.tuning.optima), "no run has finished", AGAIN)
    crossed = seen.crossed
    depths = {shape.model.n_layer for shape in crossed}
    need(
        len(seen.sizes) > 2 and len(depths) > 1,
        f"{len(seen.sizes)} sizes have {len(depths)} tuned depths in common",
        "it needs 3 sizes and 2 depths: more stages (experiment.most), or missing runs",
    )
    trends = seen.trends
    need(len(trends) == len(COUNTED), "the sizes have no seed in common", AGAIN)
    need(len(trends[BARE].scatters) > 1, "one seed has finished of every size", AGAIN)


def _apart(trends: Trends, values: Callable[[Trend], Sequence[float]]) -> list[float]:
    """By how much a number is larger with embeddings than without, by seed."""
    return [b - a for a, b in zip(values(trends[BARE]), values(trends[WHOLE]), strict=True)]


def _scatter(seen: Seen, name: str) -> str:
    """How far shapes lie from the trend by what is counted, in percent of loss."""
    return seen.over_trends(lambda trends: [100 * one for one in trends[name].scatters]).text


def _one_trend(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_trends(seen)
        words = (
            f"they scatter by {_scatter(seen, BARE)}% about their curve without embeddings,"
            f" {_scatter(seen, WHOLE)}% with them"
        )
        gain = seen.over_trends(lambda trends: _apart(trends, lambda one: one.scatters))
        return decided_by(gain, f"{words}: less by", show=lambda mean: mean.percent)

    return claim(
        "one_trend_without_embeddings",
        "models of all depths lie closer to one curve L(N) when embeddings are not counted",
        decide,
    )


def _bend(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_trends(seen)
        ours = seen.over_trends(lambda trends: trends[BARE].curvatures)
        theirs = seen.over_trends(lambda trends: trends[WHOLE].curvatures)
        words = f"log loss bends by {theirs.text} with them, {ours.text} without"
        more = seen.over_trends(lambda trends: _apart(trends, lambda one: one.curvatures))
        return decided_by(more, f"{words}: more by", show=lambda mean: mean.text)

    return claim(
        "embeddings_bend_the_curve",
        "L(N) bends more in logarithms when embeddings are counted",
        decide,
    )


def _tuned_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        need(bool(seen.tuning.optima), "no run has finished", AGAIN)
        need(
            not seen.tuning.open_text,
            seen.tuning.open_text,
            "more stages (experiment.most) or seeds",
        )
        return True, f"{len(seen.tuning.optima)} shapes"

    return claim("all_tuned", "every shape has its best rate between those tried", decide)


def _shape_notes(seen: Seen) -> list[str]:
    main = _ready(seen)
    if main is None:
        return []
    tokens = format_count(seen.tuning.optima[0].cell.tokens)
    notes = [
        f"all runs have {tokens} tokens, {seen.tuning.optima[0].cell.tokens / main.params:.1f} a"
        f" parameter at {format_count(main.params)}: longer training may favour other shapes"
    ]
    near = basin(main.aspects, NEAR)
    if near is not None and not near.inside and 1 in main.by_depth:
        notes.append(
            "a model of one block is the widest with its parameters, so that a basin that reaches"
            " it has no other side"
        )
    if len(main.ratios) > 1:
        notes.append(
            "at equal parameters and depth a narrower MLP comes with a wider model and larger"
            " heads, so that its gain is not the MLP's alone"
        )
    return notes


def _words(seen: Seen) -> str:
    main = seen.main
    assert main is not None, "asked only where the first claim is decided"
    near, few = basin(main.aspects, NEAR), basin(main.aspects, FEW)
    assert near is not None and few is not None
    words = (
        f"At {format_count(main.params)} parameters, with heads nearest to {USUAL_HEAD} and MLPs"
        f" nearest to {USUAL_RATIO:g} times the width, the loss is within {NEAR:.0%} of the best"
        f" over {near.text} of aspect ratio, within {FEW:.0%} over {few.text}; the best of"
        f" {min(main.aspects):.2g} to {max(main.aspects):.2g} is {_range(near.bests)}"
    )
    for name, shapes in (("head sizes", main.heads), ("MLP ratios", main.ratios)):
        if (most := spread(shapes)) is not None:
            values = f"{min(shapes):.2g} to {max(shapes):.2g}"
            words += f"; {name} of {values} differ by {most.value:.1%}"
    return f"{words}."


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    main = _ready(seen)
    for share, name in ((NEAR, "near"), (FEW, "few")):
        own = None if main is None else basin(main.aspects, share)
        measures |= with_ends(f"basin.{name}", own.factor if own else None)
        if share == NEAR:
            measures["best_aspect"] = own.bests[0] if own else None
    for name, shapes in (("head", main.heads), ("mlp", main.ratios)) if main else ():
        measures |= with_ends(f"spread.{name}", spread(shapes))
    for name, trend in seen.trends.items():
        measures[f"exponent.{name}"] = fmean(trend.exponents)
        measures[f"curvature.{name}"] = fmean(trend.curvatures)
        measures[f"scatter.{name}"] = fmean(trend.scatters)
    return measures


def _shape_table(seen: Seen) -> Table | None:
    rows = []
    for size in seen.sizes:
        lowest = min(fmean(one.best.levels.values()) for one in size.shapes)
        for one in sorted(size.shapes, key=lambda s: (s.model.n_layer, s.ratio, s.model.n_head)):
            counts = count_params(one.model)
            rows.append(
                (
                    format_count(counts.non_embedding),
                    format_count(counts.total),
                    f"{one.model.n_layer} x {one.model.d_model}",
                    f"{one.aspect:.2g}",
                    one.model.head_size,
                    f"{one.ratio:.3g}",
                    f"{one.best.lr:.2g}",
                    f"{one.best.loss:.4f}",
                    f"{math.expm1(fmean(one.best.levels.values()) - lowest):+.1%}",
                )
            )
    if not rows:
        return None
    return Table(
        caption="Each shape at its own best rate: parameters without embeddings and in all, layers"
        " and width, loss in nats per token and its distance from the best of the size",
        head=(
            "non-emb", "total", "shape", "aspect", "head", "MLP ratio", "rate", "loss", "over best",
        ),
        rows=tuple(rows),
        text_columns=3,
    )  # fmt: skip


def _trend_table(seen: Seen) -> Table | None:
    def mean(name: str, values: Callable[[Trend], Sequence[float]]) -> str:
        return seen.over_trends(lambda trends: values(trends[name])).text

    trends = seen.trends
    if not trends:
        return None
    return Table(
        caption=f"L(N) of {len(seen.crossed)} models by what is counted: exponent, curvature"
        " (second derivative in logarithms), and how far depths lie from one curve",
        head=("parameters", "exponent", "curvature", "scatter, %"),
        rows=tuple(
            (
                COUNTED[name],
                mean(name, lambda trend: trend.exponents),
                mean(name, lambda trend: trend.curvatures),
                _scatter(seen, name),
            )
            for name in trends
        ),
    )


def _over_best(label: str, shapes: Shapes) -> Series:
    """The share above the best value of the mean, with intervals of the difference from it."""
    line, points, intervals = line_of(shapes), [], []
    seeds = common_seeds(line)
    best = min(line, key=lambda x: fmean(line[x][s] for s in seeds), default=0.0)
    for x, levels in line.items():
        values = [100 * math.expm1(levels[s] - line[best][s]) for s in seeds]
        fits = [shapes[one].fit.times(100) for one in (x, best) if x != best]
        mean = mean_at_best(values, fits)
        if mean is not None:
            points.append((x, mean.value))
            intervals.append(mean.interval or (mean.value, mean.value))
    return Series(label=label, points=tuple(points), intervals=tuple(intervals))


def _shape_figure(seen: Seen) -> Figure | None:
    main = seen.main
    if main is None:
        return None
    band = ((f"within {NEAR:.0%}", 0.0, 100 * NEAR),)
    aspects = tuple(
        _over_best(f"{format_count(size.params)} parameters", size.aspects)
        for size in reversed(seen.sizes)
        if len(size.aspects) > 1
    )
    y = Axis(label="loss over the best, %")
    label = f"{format_count(main.params)} parameters"
    return figure(
        "shape",
        "The loss by shape at equal parameters",
        "Each shape at its own best learning rate; bars: the interval of its difference from the"
        " best by seeds and the fits of both rates.",
        [
            Panel(title="aspect ratio", x=log_axis("width / layers"), y=y, bands=band,
                  series=aspects),
            Panel(title="head size", x=log_axis("width of a head", main.heads), y=y, bands=band,
                  series=(_over_best(label, main.heads),)),
            Panel(title="MLP ratio", x=log_axis("hidden width / width"), y=y, bands=band,
                  series=(_over_best(label, main.ratios),)),
        ],
    )  # fmt: skip


def _trend_figure(seen: Seen) -> Figure | None:
    crossed = seen.crossed
    panels = []
    for name in ("non_embedding", "total"):
        depths: dict[int, dict[float, list[float]]] = {}
        for shape in crossed:
            params = float(count_params(shape.model).by(name))
            losses = [math.exp(level) for level in shape.best.levels.values()]
            depths.setdefault(shape.model.n_layer, {})[params] = losses
        panels.append(
            Panel(
                title=COUNTED[name],
                x=log_axis("parameters"),
                y=Axis(label="nats per token", scale="log"),
                series=tuple(
                    mean_series(f"{depth} block{'s' if depth > 1 else ''}", depths[depth])
                    for depth in sorted(depths)
                ),
            )
        )
    return figure(
        "shape_count",
        "L(N) by depth and by what is counted",
        "Depths that lie on one line share one law.",
        panels,
    )


def _literature(seen: Seen) -> tuple[Published, ...]:
    main, trends = _ready(seen), seen.trends
    few = None if main is None else basin(main.aspects, FEW)
    near = None if main is None else basin(main.aspects, NEAR)

    def spread_text(shapes: Shapes) -> str | None:
        most = spread(shapes)
        return None if most is None else f"{most.value:.1%}"

    def counted(values: Callable[[Trend], Sequence[float]]) -> str | None:
        if len(trends) < len(COUNTED):
            return None
        bare, whole = (fmean(values(trends[name])) for name in ("non_embedding", "total"))
        return f"{bare:.3g} without, {whole:.3g} with them"

    return (
        beside(
            "factor of aspect ratio within 3% of the best loss",
            theirs="40, at 50 million parameters and more",
            ours=few.text if few else None,
            source="Kaplan 2020, arXiv 2001.08361, section 3.1, figure 5",
        ),
        beside(
            "change of the loss with head size, and with MLP ratio",
            theirs="a few percent over a wide range",
            ours=f"{spread_text(main.heads)} and {spread_text(main.ratios)}" if main else None,
            source="Kaplan 2020, arXiv 2001.08361, figure 5",
        ),
        beside(
            "scatter of depths about one L(N), %, embeddings counted or not",
            theirs="one trend without, apart by depth with them",
            ours=counted(lambda trend: [100 * value for value in trend.scatters]),
            source="Kaplan 2020, arXiv 2001.08361, figure 6",
        ),
        beside(
            "best depth for a width",
            theirs="up to log3(width): 2 to 4 blocks for widths of 14 to 64",
            ours=f"best aspect ratio {_range(near.bests)}" if near else None,
            source="Levine 2020, arXiv 2006.12467",
        ),
        beside(
            "deep and narrow, or shallow and wide",
            theirs="deep and narrow is better at equal parameters, after fine-tuning",
            ours=f"best aspect ratio {_range(near.bests)}" if near else None,
            source="Tay 2022, arXiv 2109.10686",
        ),
    )


_BEST, _CURVATURE = 6.0, 0.006


def _planted_outcome(spec: RunSpec) -> Outcome:
    """A power of the parameters without embeddings, and parabolas in log aspect and log rate."""
    model = spec.model
    assert isinstance(model, ModelSpec)
    params = count_params(model).non_embedding
    away = math.log((spec.optim.overrides.lr_mult or 1.0) / 2)
    aspect = math.log(model.d_model / model.n_layer / _BEST * (49e3 / params) ** 0.5)
    noise = 3e-4 * math.sin(1 + 5 * spec.seed + 7 * away + model.d_model + 3 * model.n_head)
    log = 1.5 - 0.1 * math.log(params) + _CURVATURE * aspect**2 + 0.02 * away**2
    return Outcome(val_loss_nats=math.exp(log + 2e-3 * spec.seed + noise))


EXPERIMENT = Experiment(
    question="How much does a model's shape change the loss at equal parameters?",
    reproduces="Kaplan 2020 (figures 5 and 6), Levine 2020, Tay 2022",
    settings=Settings,
    propose=propose,
    analyse=analyse,
    planted=Planted(
        outcome=_planted_outcome,
        measures={
            "basin.near": (9.0, 15.0),
            "best_aspect": (3.0, 9.0),
            "spread.head": (0.0, 0.003),
            "exponent.non_embedding": (0.09, 0.11),
        },
        claims={
            "depth_costs": True,
            "width_costs": True,
            "head_size_matters_little": True,
            "one_trend_without_embeddings": True,
            "all_tuned": True,
        },
    ),
)
