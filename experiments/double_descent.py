"""Double descent: the error falls, rises to a peak, and falls again.

    slaw run double_descent           # by width and examples (random features), by epochs (linear)
    slaw run double_descent_net       # a network with one hidden layer, by width and by epochs
    slaw report results/double_descent

Belkin 2019 (arXiv 1812.11118) saw it as a model grows, Nakkiran 2019 (arXiv 1912.02292) also as its
data and its training grow. Random features have their peak where they can just fit all examples: at
as many parameters P as examples n. All errors are squared errors on targets without noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from scaling_law.data.tasks.teacher import Settings as Teacher
from scaling_law.data.tasks.two_scales import Settings as TwoScales
from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import (
    Decision,
    all_decided,
    answer,
    beside,
    claim,
    decided,
    need,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, log_axis, number
from scaling_law.experiment.findings import (
    AGAIN,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Series,
    Table,
)
from scaling_law.experiment.humps import Hump, hump_of, peak_lead, swing
from scaling_law.experiment.seeds import range_text
from scaling_law.spec.architectures.random_features import Settings as Features
from scaling_law.spec.counts import count_params
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of

FEATURES, LINEAR, NETWORK = "random_features", "linear", "dense"
NEAR = (0.9, 1.1)  # parameters per example, or the reverse, within which the peak must be
TWICE = 2.0  # the peak over the lowest errors on both sides, at least
FITTED = 1e-3  # training error of a model that fits its examples; that of targets is about 1
NEVER_RISES = 1.05  # largest factor from one width to the next that counts as noise
RISE, FALL = 0.2, 0.35  # of the error by epochs, to its peak and from it

Draw = tuple[int, int]  # the seed of the data, and that of the model


@dataclass(frozen=True, order=True)
class Point:
    """One measurement.

    ``x`` is parameters per example where the width grows, examples per parameter where they grow,
    and steps by epochs; ``error`` is the squared error on validation, ``train`` on the training
    examples, None where no curve was recorded.
    """

    x: float
    error: float
    train: float | None


@dataclass(frozen=True, order=True)
class Family:
    """Runs in which one thing grows.

    ``grows`` is ``width``, ``examples`` or ``epochs``; ``model`` is the architecture;
    ``noise`` is the standard deviation on training targets; ``ridge`` is 0 where there is none;
    ``fixed`` is the number of examples where the width grows, otherwise that of parameters.
    """

    grows: str
    model: str
    noise: float
    ridge: float
    fixed: int

    @property
    def name(self) -> str:
        """The name in measures: ``width.random_features.noise0.3.ridge1e-09``."""
        ridge = f".ridge{number(self.ridge)}" if self.ridge else ""
        size = f".params{self.fixed}" if (self.grows, self.model) == ("epochs", NETWORK) else ""
        return f"{self.grows}.{self.model}.noise{number(self.noise)}{ridge}{size}"

    def params_each(self, point: Point) -> float:
        """Parameters per example, where the width or the examples grow."""
        return point.x if self.grows == "width" else 1 / point.x


Curves = Mapping[Draw, Sequence[Point]]
Families = Mapping[Family, Curves]


def hump(points: Sequence[Point]) -> Hump | None:
    """The fall, rise and fall of the errors; None where they never rise."""
    return hump_of(_pairs(points))


def _pairs(points: Sequence[Point]) -> list[tuple[float, float]]:
    return [(point.x, point.error) for point in points]


def families_of(evidence: Evidence) -> Families:
    """The runs of the experiment's tasks, by what grows; each draw's points in order."""
    groups: dict[Family, dict[Draw, list[Point]]] = {}
    for run in evidence.ended:
        for family, draw, points in _memberships(run):
            groups.setdefault(family, {}).setdefault(draw, []).extend(points)
    return {
        family: {draw: sorted(points) for draw, points in sorted(curves.items())}
        for family, curves in sorted(groups.items())
        if max(map(len, curves.values())) > 2
    }


def _task_of(spec: RunSpec) -> Teacher | TwoScales | None:
    """The settings of the experiment's own tasks; None for a run of another."""
    if not isinstance(spec.data, TaskSpec):
        return None
    kinds = {"teacher": Teacher, "two_scales": TwoScales}
    kind = kinds.get(spec.data.source.name)
    return None if kind is None else spec.data.source.settings_as(kind)


def _memberships(run: Run) -> list[tuple[Family, Draw, list[Point]]]:
    """The families that a run is part of, with its points in each."""
    spec, task = run.spec, _task_of(run.spec)
    model, error = spec.model.architecture.name, run.record.val_loss_nats
    if task is None or error is None or model not in (FEATURES, LINEAR, NETWORK):
        return []
    draw = (task.seed, spec.seed)
    params = count_params(spec.model).total
    examples = task.train_examples or spec.total_steps * spec.batch_tokens
    ridge = spec.model.values_as(Features).ridge if model == FEATURES else 0.0
    train = run.curve[-1].train_loss_nats if run.curve else None
    members = []
    if model != LINEAR:
        for grows, fixed, x in (
            ("width", examples, params / examples),
            ("examples", params, examples / params),
        ):
            family = Family(grows, model, task.noise, ridge, fixed)
            members.append((family, draw, [Point(x, error, train)]))
    if model != FEATURES:
        points = [
            Point(float(point.step), point.val_loss_nats, point.train_loss_nats)
            for point in run.curve
            if point.step > 0 and point.val_loss_nats is not None
        ]
        if points:
            members.append((Family("epochs", model, task.noise, ridge, params), draw, points))
    return members


def _of(families: Families, grows: str, model: str) -> list[Family]:
    return [f for f in families if (f.grows, f.model) == (grows, model)]


def _plain(families: Families, grows: str, model: str) -> Family | None:
    """The family that claims are about: the noisiest, of least ridge, with the most points."""
    return max(
        _of(families, grows, model),
        key=lambda f: (f.noise, -f.ridge, sum(map(len, families[f].values()))),
        default=None,
    )


def analyse(evidence: Evidence) -> Findings:
    """Return where the error peaks by width, by examples and by epochs, over draws."""
    families = families_of(evidence)
    network = any(f.model == NETWORK for f in families)
    others = any(f.model != NETWORK for f in families)
    claims: list[Claim] = []
    if others or not network:
        claims += [
            _peak(families, "width", FEATURES),
            _lower_again(families),
            _peak(families, "examples", FEATURES),
            _noise(families),
            _ridge(families),
            _epochs(families, LINEAR, "two_descents_by_epochs"),
        ]
    if network:
        claims += [
            _peak(families, "width", NETWORK),
            _epochs(families, NETWORK, "network_two_descents_by_epochs"),
        ]
    left_out = sum(not _memberships(run) for run in evidence.ended)
    notes = [f"runs left out, of other tasks or models: {left_out}"] if left_out else []
    return answer(
        claims,
        lambda: _words(claims, families),
        measures=_measures(families),
        tables=(_table(families),),
        figures=(_ratio_figure(families), _epoch_figure(families)),
        literature=_literature(families),
        notes=notes,
        units=_UNITS,
    )


def _need_draws(family: Family | None, families: Families, what: str) -> tuple[Family, Curves]:
    """The precondition of every claim: several draws of the data, with the same points."""
    draws = len(families[family]) if family else 0
    need(draws > 1, f"{count_of(draws, 'draw')} of the data with {what} finished", AGAIN)
    assert family is not None
    curves = families[family]
    short = len({len(points) for points in curves.values()}) > 1
    need(not short, f"some of the runs with {what} are missing", AGAIN)
    return family, curves


def _need_fitted(family: Family, curves: Curves) -> None:
    """There is a peak only between models that cannot fit their examples and those that do."""
    points = [point for curve in curves.values() for point in curve]
    trains = [point.train for point in points if point.train is not None]
    need(len(trains) == len(points), "some runs recorded no training error", "train them again")
    enough = NEAR[1] if family.model == FEATURES else TWICE
    wide = [t for p, t in zip(points, trains, strict=True) if family.params_each(p) >= enough]
    need(bool(wide), f"no model has {enough:g} parameters per example", "add larger models")
    need(
        max(wide) < FITTED,
        f"models of {enough:g} parameters per example or more have a training error of up to"
        f" {max(wide):.2g}",
        f"it must be below {FITTED:g}: less ridge, more steps, or larger models",
    )
    need(
        max(trains) > 10 * FITTED,
        "every model fits its training examples",
        "add smaller models or more examples",
    )


def _peak(families: Families, grows: str, model: str) -> Claim:
    family = _plain(families, grows, model)
    # how many parameters a network needs to fit its examples is not known before
    low, high = NEAR if model == FEATURES else (0.5, 2.0)
    what = {FEATURES: "random features", NETWORK: "a network"}[model]
    unit = "parameters per example" if grows == "width" else "examples per parameter"

    def decide() -> Decision:
        mine, curves = _need_draws(family, families, f"{what} by {grows}")
        xs = [point.x for point in next(iter(curves.values()))]
        need(
            min(xs) <= 0.5 and max(xs) >= 2 and any(low <= x <= high for x in xs),
            f"the runs have {number(min(xs))} to {number(max(xs))} {unit}",
            "they must have at most 0.5, at least 2, and some near 1",
        )
        _need_fitted(mine, curves)
        humps = [h for points in curves.values() if (h := hump(points)) is not None]
        rises = f"in {len(curves) - len(humps)} of {len(curves)} draws it never rises; "
        if len(humps) == len(curves):
            rises = (
                f"peaks of {range_text(h.peak for h in humps)} at {_places(humps, unit)};"
                f" lowest {range_text(h.before for h in humps)} before,"
                f" {range_text(h.after for h in humps)} after; "
            )
        return decided(
            [peak_lead(_pairs(points), low, high, times=TWICE) for points in curves.values()],
            f"{rises}over the larger of {TWICE:g} times the lowest and the errors elsewhere by a"
            " factor of",
            show=lambda mean: mean.factor.text,
        )

    prefix = "network_" if model == NETWORK else ""
    return claim(
        f"{prefix}peak_by_{grows}",
        f"the error of {what} peaks at {number(low)} to {number(high)} {unit}: there it is more"
        f" than {TWICE:g} times the lowest on either side, and above all others past the first"
        " rise",
        decide,
    )


def _lower_again(families: Families) -> Claim:
    family = _plain(families, "width", FEATURES)

    def decide() -> Decision:
        _, curves = _need_draws(family, families, "random features by width")
        humps = [h for points in curves.values() if (h := hump(points)) is not None]
        need(len(humps) == len(curves), "the error does not rise in every draw", "less ridge")
        ratios = [math.log(h.after / h.before) for h in humps]
        words = "after the peak the lowest error is lower than before it by a factor of"
        return decided([-log for log in ratios], words, show=lambda mean: mean.factor.text)

    return claim(
        "larger_is_better_again",
        "past the peak the error falls below the lowest of the smaller models",
        decide,
    )


def _noise(families: Families) -> Claim:
    noisy = _plain(families, "width", FEATURES)

    def decide() -> Decision:
        mine, curves = _need_draws(noisy, families, "random features by width")
        quieter = [
            f
            for f in _of(families, "width", FEATURES)
            if f.noise < mine.noise and (f.ridge, f.fixed) == (mine.ridge, mine.fixed)
        ]
        need(bool(quieter), "the runs have one noise", "it needs two: " + AGAIN)
        _, quiet = _need_draws(quieter[0], families, f"noise {number(quieter[0].noise)}")
        pairs = [(_beside_peak(quiet[d]), _beside_peak(curves[d])) for d in quiet if d in curves]
        ratios = [high / low for low, high in pairs if low and high]
        need(len(ratios) > 1, "fewer than two draws have both noises next to the peak", AGAIN)
        words = f"with noise {number(mine.noise)} against {number(quieter[0].noise)} by a factor of"
        return decided(list(map(math.log, ratios)), words, show=lambda mean: mean.factor.text)

    return claim(
        "noise_raises_the_peak",
        "label noise raises the error next to the peak (the two widths on either side of it: at the"
        " peak itself a single direction decides)",
        decide,
    )


def _beside_peak(points: Sequence[Point]) -> float | None:
    """The geometric mean of the errors just below and just above one parameter per example."""
    below = [point for point in points if 0.8 <= point.x < 1]
    above = [point for point in points if 1 < point.x <= 1.25]
    if not below or not above:
        return None
    return math.sqrt(below[-1].error * above[0].error)


def _ridge(families: Families) -> Claim:
    plain = _plain(families, "width", FEATURES)

    def decide() -> Decision:
        mine, curves = _need_draws(plain, families, "random features by width")
        more = [
            f
            for f in _of(families, "width", FEATURES)
            if f.ridge > mine.ridge and (f.noise, f.fixed) == (mine.noise, mine.fixed)
        ]
        need(bool(more), "the runs have one ridge", "it needs two: " + AGAIN)
        humps = [hump(points) for points in curves.values()]
        need(
            all(h is not None and h.peak >= TWICE * h.before for h in humps),
            f"with ridge {number(mine.ridge)} there is no peak to remove",
            "the smallest ridge must be smaller",
        )
        _, calm = _need_draws(more[-1], families, f"ridge {number(more[-1].ridge)}")
        rises = [
            max(then.error / now.error for now, then in itertools.pairwise(points))
            for points in calm.values()
            if len(points) > 1
        ]
        return decided(
            [math.log(NEVER_RISES / rise) for rise in rises],
            f"with ridge {number(more[-1].ridge)} at most {max(rises):.3f} times from one width to"
            f" the next; below {NEVER_RISES:g} by a factor of",
            show=lambda mean: mean.factor.text,
        )

    return claim(
        "ridge_removes_the_peak",
        "with enough ridge the error never rises with the width: from one to the next by no more"
        f" than {NEVER_RISES - 1:.0%}",
        decide,
    )


def _epochs(families: Families, model: str, name: str) -> Claim:
    mine = _of(families, "epochs", model)
    noisy = [f for f in mine if f.noise == max(f.noise for f in mine)]
    what = {
        LINEAR: "gradient descent on inputs of two scales",
        NETWORK: "a network of every width",
    }[model]

    def decide() -> Decision:
        need(bool(noisy), f"no run of {what} has a curve", AGAIN)
        for family in noisy:
            _need_draws(family, families, f"{what} by epochs")
        runs = [points for f in noisy for points in families[f].values()]
        humps = [hump(points) for points in runs]
        last = min(points[-1].x for points in runs)
        rising = [h for h in humps if h is not None and h.peak >= (1 + RISE) * h.before]
        falls = [1 - h.after / h.peak for h in rising]
        words = (
            f"the error rises by {RISE:.0%} in {len(rising)} of {len(humps)} runs, and falls by"
            f" {FALL:.0%} again in {sum(fall >= FALL for fall in falls)}, within {last:,.0f} steps"
            f"{f'; falls of {range_text(100 * fall for fall in falls)}%' if falls else ''}"
        )
        each = {
            f"at {f.fixed:,} parameters": [
                swing(_pairs(points), rise=RISE, fall=FALL) for points in families[f].values()
            ]
            for f in noisy
        }
        return all_decided(
            each,
            f"{words}; the smaller of rise and fall over what counts, by a factor of",
            show=lambda mean: mean.factor.text,
        )

    return claim(
        name,
        f"the error of {what} falls, rises by more than {RISE:.0%}, and falls by more than"
        f" {FALL:.0%} again{', at every size' if model == NETWORK else ''}",
        decide,
    )


def _words(claims: Sequence[Claim], families: Families) -> str:
    first, standing = claims[0], {c.name: c.established for c in claims}
    network = first.name.startswith("network")
    family = _plain(families, "width", NETWORK if network else FEATURES)
    assert family is not None, "the first claim is decided"
    humps = [h for points in families[family].values() if (h := hump(points))]
    if not first.established:
        return (
            f"The error does not peak as expected where the model begins to fit: {first.because}."
        )
    at, before, peak, after = (
        median(values)
        for values in zip(*((h.x, h.before, h.peak, h.after) for h in humps), strict=True)
    )
    words = (
        f"{'A network' if network else 'Random features'} of {at:.2f} parameters per example"
        f" {'has' if network else 'have'} the highest error, {peak:.3g}; it is {before:.3g} for the"
        f" best smaller and {after:.3g} for the best larger {'one' if network else 'ones'}"
    )
    if network:
        again = standing["network_two_descents_by_epochs"]
        tail = {True: "falls twice", False: "does not fall twice in every run", None: ""}[again]
        return f"{words}; by epochs its error {tail}." if tail else f"{words}."
    also = [
        said
        for name, said in (
            ("peak_by_examples", "more data"),
            ("two_descents_by_epochs", "longer training"),
        )
        if standing.get(name)
    ]
    if also:
        words += f"; {' and '.join(also)} can raise the error too"
    return words + ("; ridge removes the peak." if standing["ridge_removes_the_peak"] else ".")


def _humps(families: Families) -> list[tuple[Family, list[Hump | None]]]:
    return [(f, [hump(points) for points in curves.values()]) for f, curves in families.items()]


def _middle(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return median(numbers) if numbers else None


def _measures(families: Families) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for family, humps in _humps(families):
        seen = [h for h in humps if h is not None]
        whole = len(seen) == len(humps)  # a median over the draws that rise would be of a choice
        for name in ("before", "peak", "after", "x"):
            values = (getattr(h, name) for h in seen)
            key = "peak_at" if name == "x" else name
            measures[f"{key}.{family.name}"] = _middle(values) if whole else None
        if family.grows == "epochs":
            falls = (1 - h.after / h.peak for h in seen)
            measures[f"fall.{family.name}"] = _middle(falls) if whole else None
    return measures


_AT = {"width": "parameters/example", "examples": "examples/parameter", "epochs": "steps"}
_UNITS = {
    **dict.fromkeys(("before", "peak", "after"), "squared error"),
    **{f"peak_at.{grows}": unit for grows, unit in _AT.items()},
    "fall": "share of the peak",
}


def _table(families: Families) -> Table | None:
    if not families:
        return None
    return Table(
        caption="Squared error on validation, targets without noise: the highest after the first"
        " rise, and the lowest before and after it. Medians over draws of the data; range of where"
        " the highest is",
        head=(
            "grows", "model", "noise", "ridge", "examples or parameters", "draws", "lowest before",
            "highest", "at", "lowest after",
        ),
        rows=tuple(_row(family, humps) for family, humps in _humps(families)),
        text_columns=2,
    )  # fmt: skip


def _row(family: Family, humps: Sequence[Hump | None]) -> tuple[object, ...]:
    seen = [h for h in humps if h is not None]
    fixed = "examples" if family.grows == "width" else "parameters"
    rises = len(seen) == len(humps)

    def cell(values: Iterable[float]) -> str:
        return f"{median(values):.3g}" if rises else "–"

    return (
        family.grows,
        family.model,
        number(family.noise),
        number(family.ridge) if family.ridge else "–",
        f"{family.fixed} {fixed}",
        len(humps),
        cell(h.before for h in seen),
        cell(h.peak for h in seen),
        f"{range_text(h.x for h in seen)} {_AT[family.grows]}"
        if rises
        else f"no rise in {len(humps) - len(seen)} of {len(humps)}",
        cell(h.after for h in seen),
    )


def _series(label: str, curves: Curves) -> Series:
    """The median error over draws at each x, with the lowest and the highest."""
    by_x: dict[float, list[float]] = {}
    for points in curves.values():
        for point in points:
            by_x.setdefault(point.x, []).append(point.error)
    ordered = sorted(by_x.items())
    return Series(
        label=label,
        points=tuple((x, median(errors)) for x, errors in ordered),
        intervals=tuple((min(errors), max(errors)) for _, errors in ordered),
    )


def _label(family: Family) -> str:
    ridge = f", ridge {number(family.ridge)}" if family.ridge else ""
    return f"noise {number(family.noise)}{ridge}"


def _ratio_figure(families: Families) -> Figure | None:
    panels = [
        Panel(
            title=title,
            x=log_axis(_AT[grows].replace("/", " per ")),
            y=log_axis("squared error on validation"),
            series=tuple(_series(_label(f), families[f]) for f in chosen),
        )
        for model, name in ((FEATURES, "random features"), (NETWORK, "network"))
        for grows, title in (("width", f"{name}, by width"), ("examples", f"{name}, by examples"))
        if (chosen := _of(families, grows, model))
    ]
    return figure(
        "double_descent_peak",
        "Error against parameters per example, and against examples per parameter",
        "Points: median over draws of the data; bars: lowest and highest draw.",
        panels,
    )


def _epoch_figure(families: Families) -> Figure | None:
    panels = []
    if linear := _of(families, "epochs", LINEAR):
        series = [_line(_label(f), points) for f in linear for points in families[f].values()]
        panels.append(_epoch_panel("linear model, inputs of two scales", series))
    if network := _of(families, "epochs", NETWORK):
        shown = network[:: max(1, len(network) // 4)]
        series = [
            _line(f"{f.fixed} parameters", points) for f in shown for points in families[f].values()
        ]
        panels.append(_epoch_panel("network", series))
    return figure(
        "double_descent_epochs",
        "Error against steps, each of which takes all training examples",
        "Each line is a draw of the data.",
        panels,
    )


def _places(humps: Sequence[Hump], unit: str) -> str:
    """``1 parameter per example``: where the peaks are."""
    where = range_text(h.x for h in humps)
    first, rest = unit.split(" ", 1)
    return f"{where} {first.removesuffix('s') if where == '1' else first} {rest}"


def _line(label: str, points: Sequence[Point]) -> Series:
    return Series(label=label, points=tuple((p.x, p.error) for p in points), marks=False)


def _epoch_panel(title: str, series: Sequence[Series]) -> Panel:
    y = log_axis("squared error on validation")
    return Panel(title=title, x=log_axis("steps"), y=y, series=tuple(series))


def _literature(families: Families) -> tuple[Published, ...]:
    def peaks(grows: str, model: str, unit: str) -> str | None:
        family = _plain(families, grows, model)
        if family is None:
            return None
        seen = [h for points in families[family].values() if (h := hump(points))]
        if not seen:
            return None
        lower = grows == "width" and all(h.after < h.before for h in seen)
        after = ", and below the first minimum after" if lower else ""
        return f"at {_places(seen, unit)} in every draw{after}"

    linear = _plain(families, "epochs", LINEAR)
    falls = [
        1 - h.after / h.peak
        for points in (families[linear].values() if linear else ())
        if (h := hump(points))
    ]
    return (
        beside(
            "error of random features by width",
            theirs="peaks at as many parameters as examples, then falls below the first minimum"
            " (random Fourier features, MNIST)",
            ours=peaks("width", FEATURES, "parameters per example"),
            source="Belkin 2019, arXiv 1812.11118",
        ),
        beside(
            "more examples can raise the error",
            theirs="yes, near the width that just fits them (transformers, translation)",
            ours=peaks("examples", FEATURES, "examples per parameter (random features)"),
            source="Nakkiran 2019, arXiv 1912.02292",
        ),
        beside(
            "error of gradient descent by steps, inputs of two scales",
            theirs="falls, rises and falls again",
            ours=f"falls by {range_text(100 * f for f in falls)}% from its peak" if falls else None,
            source="Heckel and Yilmaz 2020, arXiv 2007.10099",
        ),
        beside(
            "error of a network with one hidden layer by width",
            theirs="peaks at as many parameters as examples times outputs (MNIST)",
            ours=peaks("width", NETWORK, "parameters per example"),
            source="Belkin 2019, arXiv 1812.11118",
        ),
    )


def _planted(spec: RunSpec) -> Outcome:
    """A peak at one parameter per example, lower with ridge, higher with noise and each draw."""
    task = _task_of(spec)
    assert task is not None, "planted in the experiment's own plan"
    high = (1 + 10 * task.noise) * (1 + 0.1 * task.seed)
    if spec.model.architecture.name == LINEAR:
        curve = []
        for step in (1, 2, 4, 8, 16, 32, 64, 200, 800, spec.total_steps):
            error = 1 / step + high * math.exp(-(math.log(step / 32) ** 2)) + 0.1
            curve.append(planted_point(spec, step, {}, train=0.5 / step, val=error))
        return Outcome(val_loss_nats=error, curve=tuple(curve))
    params = count_params(spec.model).total
    ratio = params / (task.train_examples or spec.total_steps * spec.batch_tokens)
    height = 0.0 if spec.model.values_as(Features).ridge > 0.01 else high
    error = 0.3 / (1 + ratio) + height / (1 + (10 * math.log(ratio)) ** 2)
    if ratio < 1 and height:
        error += 0.1 * (1 - ratio)
    train = 0.4 * (1 - ratio) if ratio < 1 else 0.0
    point = planted_point(spec, spec.total_steps, {}, train=train, val=error)
    return Outcome(val_loss_nats=error, curve=(point,))


EXPERIMENT = Experiment(
    question="Where does the error rise before it falls again, as a model, its data or its training"
    " grow?",
    reproduces="Belkin 2019, Nakkiran 2019 (double descent), Heckel and Yilmaz 2020",
    parts={
        "source": ("teacher", "two_scales"),
        "architecture": (FEATURES, LINEAR),
        "objective": ("squared_error",),
        "optimizer": ("sgd",),
    },
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "peak_at.width.random_features.noise0.3.ridge1e-09": (1, 1),
            "peak.width.random_features.noise0.3.ridge1e-09": (4.4, 4.7),
            "peak_at.examples.random_features.noise0.3.ridge1e-09": (1, 1),
            "peak_at.epochs.linear.noise0.3": (32, 32),
            "fall.epochs.linear.noise0.3": (0.9, 1),
        },
        claims={
            "peak_by_width": True,
            "larger_is_better_again": True,
            "peak_by_examples": True,
            "noise_raises_the_peak": True,
            "ridge_removes_the_peak": True,
            "two_descents_by_epochs": True,
        },
    ),
)
