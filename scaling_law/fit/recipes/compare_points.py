"""Compare two recipes by any runs of each: the compute multiplier, a bar, a trend, a target.

The compute multiplier of B over A is the compute that A needs for a loss of B, over B's own: above
1, B saves compute. Compute is FLOPs as the points count them, or time on one device: then the
multiplier is taken by the clock. ``shift`` fits it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.numerics import numerical_failures
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.recipes.shift import Normals, Shift, Side, fit_shift, has_scales
from scaling_law.fit.result import finite_json
from scaling_law.fit.solver.student import t_reach
from scaling_law.units import count_of, format_count, format_ratio

LEVEL = 0.9
MOST_SEEDS, MOST_SIZES = 32, 4  # more of them are not proposed
MOST_RUNS = 3000  # of both recipes: the correlations of their noise are a square of them
_MOST_NOISE = 0.2
_SAME_SIZE = 0.05  # difference of log params within which runs are of one size
_SAME_COST = 0.01  # difference of log FLOPs per parameter and token that is said
_FAR = 3.0  # times beyond A's compute from which on no multiplier is read
_COST_STEPS = 20
_MANY = 99.5  # from which on a multiplier has no decimals
_TELLING_RISE = 1.005


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of two recipes.

    ``at_least`` is the bar for the multiplier, None for no verdict;
    ``params`` and ``flops`` are target scales, of B;
    ``by_clock`` is whether the bar is for the multiplier in time instead of FLOPs;
    ``noise`` is the standard deviation of log loss between seeds, where the user knows it;
    ``level`` is that of the intervals.
    """

    at_least: float | None = None
    params: tuple[float, ...] = ()
    flops: tuple[float, ...] = ()
    by_clock: bool = False
    noise: float | None = None
    level: float = LEVEL

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ConfigError(f"level {self.level:g}: expected above 0 and below 1, as 0.9")
        if self.noise is not None and self.noise > _MOST_NOISE:
            raise ConfigError(
                f"noise {self.noise:g}: expected a standard deviation of log loss, as 0.003 for"
                f" .3%, at most {_MOST_NOISE:g}"
            )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A multiplier with its interval (``low``, ``high``)."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """``1.32x [1.20, 1.46]``."""
        value, low, high = (
            f"{x:.2f}" if x < _MANY else format_ratio(x) for x in (self.value, self.low, self.high)
        )
        return f"{value}x [{low}, {high}]"


@dataclass(frozen=True, kw_only=True)
class AtScale:
    """The multiplier at one scale of B: a size at its longest horizon, or a target.

    ``params``, ``tokens``: of a run of B there.
    ``flops``: its FLOPs as the points count them, ``flops_6nd``: 6 x params x tokens.
    ``compute``: the multiplier in FLOPs.
    ``clock``: the multiplier in time; None where throughputs are not known.
    ``beyond``: the factor by which the compute lies beyond the largest at which both recipes have
        runs; 1 within.
    """

    params: float
    tokens: float
    flops: float
    flops_6nd: float
    compute: Estimate
    clock: Estimate | None
    beyond: float


Outcome = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The multiplier against a bar, at one scale.

    ``at_least``: the bar.
    ``outcome``: pass where the interval lies at or above it, fail where it lies below.
    ``by``: whether it is of FLOPs or of time.
    ``flops``: the compute of B that it is of.
    ``estimate``: the multiplier there.
    ``beyond``: how many times that compute lies beyond the runs, as in ``AtScale``.
    ``seeds_needed``: further seeds of every size and horizon that would decide, if the estimate
        stayed; None where it is decided, and where ``MOST_SEEDS`` would not.
    ``runs_needed``: the runs of those seeds.
    ``sizes_needed``: further sizes, each with one run of each recipe, the next as far above the
        largest as sizes lie apart; None likewise.
    """

    at_least: float
    outcome: Outcome
    by: Literal["FLOPs", "clock"]
    flops: float
    estimate: Estimate
    beyond: float = 1.0
    seeds_needed: int | None = None
    runs_needed: int | None = None
    sizes_needed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Trend:
    """How the multiplier goes with compute: the power, its interval, and whether that leaves 0 out.

    ``per_tenfold`` is the factor for ten times the compute.
    """

    power: float
    low: float
    high: float
    per_tenfold: Estimate

    @property
    def changes(self) -> bool:
        """Whether the multiplier is known to change with scale."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True, kw_only=True)
class PointComparison:
    """Recipe B against recipe A.

    ``names``: of A and of B.
    ``runs``: how many of each are compared.
    ``unit``: of the losses.
    ``convention``: which parameters count, ``flops``: which FLOPs.
    ``level``: of the intervals.
    ``at``: the multiplier at each scale of B, the smallest first.
    ``trend``: how it goes with scale; None for the reason ``why_no_trend``.
    ``targets``: the multiplier at the scales that were asked for.
    ``verdict``: against the bar; None without one.
    ``path_share``: the power of the compute that parameters go with along the runs.
    ``noise``: standard deviation of log loss between seeds, estimated or given.
    ``why_no_clock``: why there is no multiplier by the clock; "" where there is.
    ``dropped``: (run, reason) of the runs of A and of B that were left out.
    ``notes``: what a reader should know.
    """

    names: tuple[str, str]
    runs: tuple[int, int]
    unit: str
    convention: str
    flops: str
    level: float
    at: tuple[AtScale, ...]
    trend: Trend | None
    why_no_trend: str
    targets: tuple[AtScale, ...]
    verdict: Verdict | None
    path_share: float
    noise: float
    why_no_clock: str
    dropped: tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Strict JSON, full precision."""
        plain: dict[str, Any] = finite_json(self)
        if self.trend is not None:
            plain["trend"]["changes"] = self.trend.changes
        return plain


@dataclass(frozen=True, kw_only=True)
class _Cost:
    """What a unit of 6 N D costs under both recipes, by size.

    ``logs`` are, of A and of B, its logarithm at the logarithms of the sizes, rising;
    ``error`` is the standard error of their difference.
    """

    logs: tuple[tuple[Floats, Floats], tuple[Floats, Floats]]
    error: float

    def saved(self, params: float) -> float:
        """The logarithm of A's cost over B's; beyond the sizes that of the nearest."""
        first, second = (float(np.interp(math.log(params), *side)) for side in self.logs)
        return first - second

    def of_second(self, params: float) -> float:
        """B's cost."""
        return math.exp(float(np.interp(math.log(params), *self.logs[1])))


def compare_points(
    first: FitPoints,
    second: FitPoints,
    names: tuple[str, str],
    question: Question | None = None,
    *,
    paired: bool = False,
    clock: str = "",
) -> PointComparison:
    """Compare recipe B (``second``) with recipe A (``first``).

    ``paired``: whether trunks of one name share their seed's noise; ``clock`` says why times do not
    compare, "" where they may. Raises ``ConfigError`` for losses or counts that do not compare and
    for a target that one scale does not reach, ``FitError`` where the runs do not say.
    """
    question = question or Question()
    _refuse_units(first, second, names)
    if (runs := len(first) + len(second)) > MOST_RUNS:
        raise ConfigError(
            f"{runs:,} runs to compare; at most {MOST_RUNS:,}: choose some with --where"
        )
    sides = _side(first, paired), _side(second, paired)
    for points, name in zip((first, second), names, strict=True):
        _refuse_rising(points, name)
    if not has_scales(sides[0]):
        raise FitError(
            f"{names[0]}: its runs are of one scale, so what a loss is worth in compute is not"
            " known; give it runs of a second size or horizon"
        )
    with numerical_failures(second):
        return _compared((first, second), sides, names, question, clock)


def _compared(
    points: tuple[FitPoints, FitPoints],
    sides: tuple[Side, Side],
    names: tuple[str, str],
    question: Question,
    clock: str,
) -> PointComparison:
    first, second = points
    shift = fit_shift(*sides, noise=question.noise)
    if question.noise is None and shift.freedom < 1:
        raise FitError(
            f"{count_of(len(first), 'run')} and {count_of(len(second), 'run')}, none repeated and"
            " none to spare: how much seeds differ is not known; run a second seed of some size,"
            " or state it with --noise 0.003 (the standard deviation of log loss)"
        )
    reader = _Reader(first, second, shift, question.level, clock)
    at = tuple(reader.at(params, tokens) for params, tokens in _scales(second))
    if not any(reader.is_reached(one) for one in at):
        low, high = reader.reach
        raise FitError(
            f"the recipes share no losses: those of {names[1]} take {names[0]}"
            f" {format_count(math.exp(_log(at[0], reader)))} to"
            f" {format_count(math.exp(_log(at[-1], reader)))} FLOPs, and it has runs from"
            f" {format_count(low)} to {format_count(high)}; train it to losses that both reach"
        )
    trend, why_no_trend = _trend(shift, sides, names, question.level)
    targets = tuple(reader.on_path(x) for x in _targets(question, reader, trend, why_no_trend))
    verdict = None
    if question.at_least is not None:
        largest = max(targets or at, key=lambda one: one.flops_6nd)
        verdict = _verdict(question, largest, reader, shift, second)
    return PointComparison(
        names=names,
        runs=(len(first), len(second)),
        unit=first.loss_unit,
        convention=first.convention["params"],
        flops=reader.flops_words,
        level=question.level,
        at=at,
        trend=trend,
        why_no_trend=why_no_trend,
        targets=targets,
        verdict=verdict,
        path_share=shift.path.share,
        noise=shift.noise,
        why_no_clock=reader.why_no_clock,
        dropped=(first.dropped, second.dropped),
        notes=tuple(_notes(reader, shift, at, names, question)),
    )


def _side(points: FitPoints, paired: bool) -> Side:
    return Side(
        params=points.params,
        tokens=points.tokens,
        losses=points.loss_nats,
        trunks=points.cluster,
        paired=paired,
    )


def _refuse_units(first: FitPoints, second: FitPoints, names: tuple[str, str]) -> None:
    """Raise ``ConfigError`` for losses in two units, and for two ways of counting parameters."""
    units = first.loss_unit, second.loss_unit
    if units[0] != units[1]:
        raise ConfigError(
            f"the losses are in different units ({names[0]}: {units[0]}; {names[1]}: {units[1]}):"
            " they do not compare; convert one table, or name a column of the same unit with"
            " --columns loss=COLUMN"
        )
    counts = first.convention["params"], second.convention["params"]
    if counts[0] != counts[1]:
        raise ConfigError(
            f"{names[0]} counts {counts[0]} parameters, {names[1]} {counts[1]}; expected one count:"
            " state a table's with --params-are, choose a sweep's with --convention"
        )


def _refuse_rising(points: FitPoints, name: str) -> None:
    """Raise ``ConfigError`` where what should be a loss rises with compute."""
    logs = np.log(points.loss_nats)
    x = np.log(points.params) + np.log(points.tokens)
    apart = x - x.mean()
    if not float(apart @ apart) > 0.01:
        return
    rise = math.exp(float(apart @ logs) / float(apart @ apart) * float(np.ptp(x)))
    if rise > _TELLING_RISE:
        order = np.argsort(x)
        ends = points.loss_nats[order[0]], points.loss_nats[order[-1]]
        raise ConfigError(
            f"{name}: what is read as its loss rises with compute, from {ends[0]:.4g} to"
            f" {ends[1]:.4g}: expected a loss, which falls; name its column with --columns"
            " loss=COLUMN"
        )


class _Reader:
    """Reads multipliers off a fitted shift, in FLOPs and by the clock."""

    def __init__(
        self, first: FitPoints, second: FitPoints, shift: Shift, level: float, clock: str
    ) -> None:
        self.shift, self.level = shift, level
        self.counts = {first.convention["flops"], second.convention["flops"]}
        self.flops = _flops_cost(first, second) if len(self.counts) == 1 else None
        self.why_no_clock = clock or _why_no_clock(first, second)
        self.clock = None if self.why_no_clock else _clock_cost(first, second)
        computes = [6 * points.params * points.tokens for points in (first, second)]
        self.reach = float(computes[0].min()), float(computes[0].max())
        self.common = min(float(x.max()) for x in computes)

    @property
    def flops_words(self) -> str:
        """Which FLOPs the multiplier counts."""
        return "6nd" if self.flops is None else next(iter(self.counts))

    def as_6nd(self, flops: float) -> float:
        """The 6 N D of a run of B on the path, from its FLOPs as the points count them."""
        plain = flops
        for _ in range(_COST_STEPS):
            plain *= flops / self.on_path(plain).flops
        return plain

    def on_path(self, flops: float) -> AtScale:
        """The multiplier at a compute of B (6 N D), at the split that the runs' path has there."""
        params = self.shift.path.params(flops)
        return self.at(params, flops / 6 / params)

    def at(self, params: float, tokens: float) -> AtScale:
        """The multiplier at a run of B."""
        flops = 6 * params * tokens
        plain = self.shift.log_multiplier(params, tokens)
        return AtScale(
            params=params,
            tokens=tokens,
            flops=flops if self.flops is None else flops * self.flops.of_second(params),
            flops_6nd=flops,
            compute=self._estimate(_charged(plain, self.flops, params)),
            clock=(
                None if self.clock is None else self._estimate(_charged(plain, self.clock, params))
            ),
            beyond=max(1.0, flops / self.common),
        )

    def _estimate(self, normals: Normals) -> Estimate:
        low, high = normals.interval(self.level)
        return Estimate(value=math.exp(normals.mean), low=math.exp(low), high=math.exp(high))

    def is_reached(self, one: AtScale) -> bool:
        """Whether the compute that A needs is near that of its runs."""
        needed = math.exp(_log(one, self))
        return self.reach[0] / _FAR <= needed <= self.reach[1] * _FAR


def _charged(plain: Normals, cost: _Cost | None, params: float) -> Normals:
    """The distribution of the log multiplier in what ``cost`` counts, from that in 6 N D."""
    return plain if cost is None else plain.moved(cost.saved(params), cost.error)


def _log(one: AtScale, reader: _Reader) -> float:
    """The logarithm of the compute that A needs for B's loss there (6 N D)."""
    plain = reader.shift.log_multiplier(one.params, one.tokens)
    return math.log(one.flops_6nd) + plain.mean


def _by_size(points: FitPoints, values: Floats) -> tuple[Floats, Floats]:
    """The logarithms of the sizes, rising, and the mean of ``values`` at each."""
    logs = np.log(points.params)
    places = np.round(logs / _SAME_SIZE)
    sizes = [places == place for place in np.unique(places)]
    return (
        np.array([logs[rows].mean() for rows in sizes]),
        np.array([values[rows].mean() for rows in sizes]),
    )


def _flops_cost(first: FitPoints, second: FitPoints) -> _Cost:
    both = [_by_size(p, np.log(p.flops / (6 * p.params * p.tokens))) for p in (first, second)]
    return _Cost(logs=(both[0], both[1]), error=0.0)


def _why_no_clock(first: FitPoints, second: FitPoints) -> str:
    for points in (first, second):
        speeds = points.tokens_per_second
        if speeds is None or not np.isfinite(speeds).any():
            return "no throughput is known (a table's is read from --columns tokens_per_second=...)"
    return ""


def _clock_cost(first: FitPoints, second: FitPoints) -> _Cost:
    both, squares, freedom, counts = [], 0.0, 0, []
    for points in (first, second):
        speeds = points.tokens_per_second
        assert speeds is not None, "asked only where throughputs are known"
        timed = points.take(np.isfinite(speeds))
        values = -np.log(6 * timed.params * speeds[np.isfinite(speeds)])
        sizes, means = _by_size(timed, values)
        both.append((sizes, means))
        left = values - means[np.abs(np.log(timed.params)[:, None] - sizes).argmin(axis=1)]
        squares, freedom = squares + float(left @ left), freedom + len(values) - len(sizes)
        counts.append(len(values) / len(sizes))  # runs of a size
    error = 0.0
    if freedom > 0:
        error = math.sqrt(squares / freedom * sum(1 / count for count in counts))
    return _Cost(logs=(both[0], both[1]), error=error)


def _scales(points: FitPoints) -> list[tuple[float, float]]:
    """The runs of B at which the multiplier is read: each size's longest, or of one size each."""
    runs = sorted(zip(points.params.tolist(), points.tokens.tolist(), strict=True))
    by_size = {round(math.log(params) / _SAME_SIZE): (params, tokens) for params, tokens in runs}
    if len(by_size) > 1:
        return sorted(by_size.values(), key=lambda run: run[0] * run[1])
    by_horizon = {round(math.log(tokens) / _SAME_SIZE): (params, tokens) for params, tokens in runs}
    return sorted(by_horizon.values())


def _trend(
    shift: Shift, sides: Sequence[Side], names: tuple[str, str], level: float
) -> tuple[Trend | None, str]:
    if not shift.has_power:
        single = names[0] if not has_scales(sides[0]) else names[1]
        return None, f"{single} has runs at one scale"
    normals = shift.power
    low, high = normals.interval(level)
    ten = math.log(10)
    return (
        Trend(
            power=normals.mean,
            low=low,
            high=high,
            per_tenfold=Estimate(
                value=math.exp(ten * normals.mean),
                low=math.exp(ten * low),
                high=math.exp(ten * high),
            ),
        ),
        "",
    )


def _targets(question: Question, reader: _Reader, trend: Trend | None, why: str) -> list[float]:
    """The computes (6 N D) that are asked for. Raises ``ConfigError`` where no trend reaches."""
    if not (question.params or question.flops):
        return []
    if trend is None:
        raise ConfigError(
            f"{why}: a target needs a trend, which takes runs of a second size or horizon"
        )
    path = reader.shift.path
    if question.params and path.share < 0.05:
        raise ConfigError(
            "--params: the runs are of one size; name the target's compute with --flops, or add a"
            " size"
        )
    return [
        *(path.flops(params) for params in question.params),
        *(reader.as_6nd(flops) for flops in question.flops),
    ]


def _verdict(
    question: Question, one: AtScale, reader: _Reader, shift: Shift, second: FitPoints
) -> Verdict:
    """The verdict at one scale, and the runs that would decide it."""
    bar, estimate = question.at_least, one.clock if question.by_clock else one.compute
    assert bar is not None, "asked only with a bar"
    if estimate is None:
        raise FitError(f"no multiplier by the clock: {reader.why_no_clock}")
    outcome: Outcome = "undecided"
    if estimate.low >= bar:
        outcome = "pass"
    elif estimate.high < bar:
        outcome = "fail"
    apart = abs(math.log(estimate.value / bar))
    reach = 0.5 * math.log(estimate.high / estimate.low)
    freedom = max(1, shift.freedom)
    now = t_reach(freedom, reader.level) * shift.error_with(one.params, one.tokens)

    def decides(further: int, **more: Any) -> bool:
        error = shift.error_with(one.params, one.tokens, **more)
        return reach * t_reach(freedom + further, reader.level) * error / now < apart

    seeds = sizes = None
    if outcome == "undecided":
        larger = _next_scales(second)
        counts = range(1, MOST_SEEDS + 1)
        seeds = next((n for n in counts if decides(n * shift.cells, seeds=n)), None)
        counts = range(1, MOST_SIZES + 1)
        sizes = next((n for n in counts if decides(2 * n, larger=larger[:n])), None)
    return Verdict(
        at_least=bar,
        outcome=outcome,
        by="clock" if question.by_clock else "FLOPs",
        flops=one.flops,
        estimate=estimate,
        beyond=one.beyond,
        seeds_needed=seeds,
        runs_needed=None if seeds is None else seeds * shift.cells,
        sizes_needed=sizes,
    )


def _next_scales(points: FitPoints) -> list[float]:
    """The computes of further scales, each as far above the last as those of B lie apart."""
    scales = [6 * params * tokens for params, tokens in _scales(points)]
    step = (scales[-1] / scales[0]) ** (1 / (len(scales) - 1)) if len(scales) > 1 else 4.0
    return [scales[-1] * max(step, 1.5) ** number for number in range(1, MOST_SIZES + 1)]


def _notes(
    reader: _Reader, shift: Shift, at: Sequence[AtScale], names: tuple[str, str], question: Question
) -> list[str]:
    notes = []
    if reader.flops is None:
        notes.append(
            f"FLOPs are counted in two ways ({' and '.join(sorted(reader.counts))}): compute here"
            " is 6 x params x tokens"
        )
    else:
        ratios = [math.exp(reader.flops.saved(one.params)) for one in at]
        if max(abs(math.log(ratio)) for ratio in ratios) > _SAME_COST:
            low, high = 1 / max(ratios), 1 / min(ratios)
            span = f"{low:.3g}" if high / low < 1.01 else f"{low:.3g} to {high:.3g}"
            notes.append(
                f"a parameter and token costs {names[1]} {span} times the FLOPs, which the"
                " multiplier counts"
            )
    beyond = [one for one in at if not reader.is_reached(one)]
    if beyond:
        where = ", ".join(format_count(one.flops) for one in beyond)
        notes.append(
            f"at {where} FLOPs the losses of {names[1]} lie far beyond those of {names[0]}: its"
            " curve is continued there"
        )
    if question.noise is None and shift.residual > 3 * shift.noise:
        notes.append("the runs lie further from one smooth curve than their seeds differ")
    return notes
