"""Shape at equal parameters: aspect ratio, head size, MLP ratio, and which parameters count.

    slaw run shape
    slaw report results/shape     # the basin of aspect ratios, L(N) by what is counted; two figures

Models of one size have equal non-embedding parameters (within 1%) and equal steps; each is at its
own best learning rate, for a rate that they share favours some of them. Exact FLOPs differ a
little: a deeper model spends more on attention, a wider one on the head. The aspect ratio is width
over layers, the MLP ratio the MLP's hidden width over the model's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import (
    Decision,
    PreconditionError,
    answer,
    beside,
    claim,
    decided,
    need,
)
from scaling_law.experiment.basin import Line, above_best, basin_of, common_seeds, spread_of
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
    Table,
)
from scaling_law.experiment.seeds import mean_over, mean_text
from scaling_law.experiment.tuning import Optimum, Tuning, trials_of, tuned
from scaling_law.experiment.tuning_stages import Settings, next_stage
from scaling_law.spec.counts import count_params
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

SAME = 0.05  # largest difference of log parameters between two models of one size
NEAR, FEW = 0.01, 0.03  # shares of loss above the best
WIDE = 40.0  # the factor of aspect ratio over which Kaplan's losses differ by less than ``FEW``
USUAL_RATIO, USUAL_HEAD = 4.0, 16  # of the shapes that are compared by aspect ratio


@dataclass(frozen=True)
class Shape:
    """A model with its best learning rate.

    ``best`` is the tuned cell; ``model`` is its GPT.
    """

    best: Optimum
    model: ModelSpec

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


def line_of(shapes: Sequence[Shape], quantity: Callable[[Shape], float]) -> Line:
    """The losses by a quantity, rising; of several shapes with one value the most usual."""
    chosen: dict[float, Shape] = {}
    for shape in sorted(shapes, key=lambda one: one.unusual, reverse=True):
        chosen[round(quantity(shape), 3)] = shape
    return {x: chosen[x].best.levels for x in sorted(chosen)}


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
    def aspects(self) -> Line:
        """The losses by aspect ratio."""
        return line_of(tuple(self.by_depth.values()), lambda shape: shape.aspect)

    @property
    def heads(self) -> Line:
        """The losses by head size, of the width, depth and MLP with most of them."""
        return line_of(self._most(lambda one: (one.n_layer, one.d_model, one.d_ff)),
                       lambda shape: shape.model.head_size)  # fmt: skip

    @property
    def ratios(self) -> Line:
        """The losses by MLP ratio, of the depth with most of them."""
        most = self._most(lambda one: one.n_layer)
        return line_of(most, lambda shape: shape.ratio)

    def _most(self, kind: Callable[[ModelSpec], Any]) -> list[Shape]:
        groups: dict[Any, list[Shape]] = {}
        for shape in self.shapes:
            groups.setdefault(kind(shape.model), []).append(shape)
        return max(groups.values(), key=len)


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

    @property
    def trends(self) -> dict[str, Trend]:
        """The trend of the crossed shapes under each convention that gives one."""
        points = [(one.model, one.best.levels) for one in self.crossed]
        trends = {name: trend_of(points, name) for name in COUNTED}
        return {name: trend for name, trend in trends.items() if trend is not None}


def read(evidence: Evidence) -> Seen:
    """Return what the runs show; models that are no GPT are left out."""
    runs = [run for run in evidence.runs if isinstance(run.spec.model, ModelSpec)]
    tuning = tuned(trials_of(runs))
    shapes = [
        Shape(best, best.cell.model)
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
    need(len(common_seeds(main.aspects)) > 1, "the shapes have one seed in common", AGAIN)
    return main


def _end(seen: Seen, name: str, which: str, end: Callable[[Line], float]) -> Claim:
    """The claim that the model at one end of the aspect ratios is worse than the best."""

    def decide() -> Decision:
        aspects = _main(seen).aspects
        x = end(aspects)
        over = above_best(aspects, x)
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
        basin = basin_of(aspects, FEW)
        assert basin is not None and basin.factor.interval is not None, "there are two seeds"
        low, high = basin.factor.interval
        words = f"within {FEW:.0%} lies {basin.text}"
        if low == high:  # it ends with the shapes, so that its spread says nothing of its error
            ends = [above_best(aspects, x) for x in (min(aspects), max(aspects))]
            over = max(one.interval[1] for one in ends if one is not None and one.interval)
            words += f", whose ends are up to {over:.1%} above the best"
            need(over < FEW, words, "more seeds")
        need(low >= WIDE or (high < WIDE and basin.inside), words, "more seeds or extreme shapes")
        return low >= WIDE, words

    return claim(
        "kaplans_basin",
        f"over a factor of {WIDE:g} of aspect ratio the loss is within {FEW:.0%} of the best",
        decide,
    )


def _little(seen: Seen, name: str, quantity: str, line: Callable[[Size], Line]) -> Claim:
    def decide() -> Decision:
        values = line(_main(seen))
        need(len(values) > 2, f"{len(values)} values of the {quantity} have finished", AGAIN)
        spread = spread_of(values)
        need(spread is not None and spread.interval is not None, "one seed in common", AGAIN)
        assert spread is not None and spread.interval is not None
        low, high = spread.interval
        words = (
            f"from {min(values):.3g} to {max(values):.3g} the worst is"
            f" {100 * spread.value:.1f}% ({100 * low:.1f} to {100 * high:.1f}) above the best"
        )
        need(high < FEW or low > FEW, f"{words}: on both sides of it", "more seeds")
        return high < FEW, words

    says = f"at equal parameters the {quantity} changes the loss by less than {FEW:.0%}"
    return claim(name, says, decide)


def _two_trends(seen: Seen) -> tuple[Trend, Trend]:
    """The trends without and with embeddings. Needs sizes at several depths, with two seeds."""
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
    bare, whole = trends["non_embedding"], trends["total"]
    need(len(bare.scatters) > 1, "one seed has finished of every size", AGAIN)
    return bare, whole


def _percent(values: Sequence[float]) -> str:
    return mean_text(100 * value for value in values)


def _one_trend(seen: Seen) -> Claim:
    def decide() -> Decision:
        bare, whole = _two_trends(seen)
        words = (
            f"they scatter by {_percent(bare.scatters)}% about their curve without embeddings,"
            f" {_percent(whole.scatters)}% with them"
        )
        gain = [b - a for a, b in zip(bare.scatters, whole.scatters, strict=True)]
        return decided(gain, f"{words}: less by", show=lambda mean: mean.percent)

    return claim(
        "one_trend_without_embeddings",
        "models of all depths lie closer to one curve L(N) when embeddings are not counted",
        decide,
    )


def _bend(seen: Seen) -> Claim:
    def decide() -> Decision:
        bare, whole = _two_trends(seen)
        ours, theirs = mean_over(bare.curvatures), mean_over(whole.curvatures)
        assert ours is not None and theirs is not None
        words = f"log loss bends by {theirs.text} with them, {ours.text} without"
        more = [b - a for a, b in zip(bare.curvatures, whole.curvatures, strict=True)]
        return decided(more, f"{words}: more by", show=lambda mean: mean.text)

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
    near = basin_of(main.aspects, NEAR)
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
    near, few = basin_of(main.aspects, NEAR), basin_of(main.aspects, FEW)
    assert near is not None and few is not None
    words = (
        f"At {format_count(main.params)} parameters, with heads nearest to {USUAL_HEAD} and MLPs"
        f" nearest to {USUAL_RATIO:g} times the width, the loss is within {NEAR:.0%} of the best"
        f" over {near.text} of aspect ratio, within {FEW:.0%} over {few.text}; the best of"
        f" {min(main.aspects):.2g} to {max(main.aspects):.2g} is {_range(near.bests)}"
    )
    for name, line in (("head sizes", main.heads), ("MLP ratios", main.ratios)):
        if (spread := spread_of(line)) is not None:
            words += f"; {name} of {min(line):.2g} to {max(line):.2g} differ by {spread.value:.1%}"
    return f"{words}."


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    main = _ready(seen)
    for share, name in ((NEAR, "near"), (FEW, "few")):
        basin = None if main is None else basin_of(main.aspects, share)
        ends = basin.factor.interval if basin else None
        measures[f"basin.{name}"] = basin.factor.value if basin else None
        measures[f"basin.{name}.low"], measures[f"basin.{name}.high"] = ends or (None, None)
        if share == NEAR:
            measures["best_aspect"] = basin.bests[0] if basin else None
    for name, line in (("head", main.heads), ("mlp", main.ratios)) if main else ():
        spread = spread_of(line)
        low, high = (spread and spread.interval) or (None, None)
        measures[f"spread.{name}"] = spread.value if spread else None
        measures[f"spread.{name}.low"], measures[f"spread.{name}.high"] = low, high
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
    def mean(values: Sequence[float]) -> str:
        one = mean_over(values)
        return one.text if one else "-"

    trends = seen.trends
    if not trends:
        return None
    return Table(
        caption=f"L(N) of {len(seen.crossed)} models by what is counted: exponent, curvature"
        " (second derivative in logarithms), and how far depths lie from one curve",
        head=("parameters", "exponent", "curvature", "scatter, %"),
        rows=tuple(
            (COUNTED[name], mean(t.exponents), mean(t.curvatures), _percent(t.scatters))
            for name, t in trends.items()
        ),
    )


def _over_best(label: str, line: Line) -> Any:
    """The share above the best value of the mean, with intervals of the difference from it."""
    seeds = common_seeds(line)
    best = min(line.values(), key=lambda levels: fmean(levels[s] for s in seeds), default={})
    values = {
        x: [100 * math.expm1(levels[s] - best[s]) for s in seeds] for x, levels in line.items()
    }
    return mean_series(label, values)


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
        " best over seeds.",
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
    few = None if main is None else basin_of(main.aspects, FEW)
    near = None if main is None else basin_of(main.aspects, NEAR)

    def spread(line: Line) -> str | None:
        seen_spread = spread_of(line)
        return None if seen_spread is None else f"{seen_spread.value:.1%}"

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
            ours=f"{spread(main.heads)} and {spread(main.ratios)}" if main else None,
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
