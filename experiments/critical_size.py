"""The critical size of a task: how large a network must be to learn it, found by bisection.

    slaw run critical_size                # stages of runs that close in on the size; then above it
    slaw run critical_size_grid           # the same range by a grid, to compare
    slaw report results/critical_size     # the size, the way to it, its cost; the critical exponent

Whether a run near the critical size learns the task depends on its seed, so that an answer may be
wrong. Each stage trains several seeds at the median of the posterior over the size at which half of
the seeds learn it (the probabilistic bisection of Horstein 1963 and Waeber 2013), until its
interval is narrow. The last stage trains sizes above it, where the speed of learning, one over the
steps, is compared with (size / critical size - 1) to the power of a critical exponent.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any

from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
from scaling_law.experiment.critical import Critical, fit_critical, identified_share
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.figures import figure, log_axis, time_series
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
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.seeds import median_time, pooled_noise
from scaling_law.experiment.sigmoid import Sigmoid, fit_sigmoid
from scaling_law.experiment.width_search import (
    ENDS,
    LEARNED,
    Search,
    Seen,
    all_seen,
    by_width,
    outcomes_of,
    search_of,
)
from scaling_law.spec.architectures.mlp import Shape
from scaling_law.spec.model import OtherModel
from scaling_law.spec.run import RunSpec
from scaling_law.spec.values import Number

# What a simulation looks for: the smallest of these designs that determines a small exponent
SMALL = 0.25
REACH = (1.04, 3.0)  # widths over the critical one
NEAR = 1.25  # widths over the critical one, up to which seeds differ more than beyond
DESIGNS = ((7, 3), (7, 6), (12, 6), (12, 12), (20, 12), (20, 24))  # widths, seeds of each
SURE = 0.9  # share of the simulated sets of runs
MANY = 10  # seeds at a width at which it shows whether the seed decides
# The last stage's sizes, as multiples of the critical one.
ABOVE = (1.0, 1.1, 1.2, 1.35, 1.6, 2.0, 3.0)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the search.

    ``within`` is the factor between the ends of the interval at which it ends;
    ``repeats`` is how many seeds each stage trains at a size;
    ``most`` is the most stages of the search.
    """

    within: Annotated[float, Number("upper over lower end to stop at", above=1, high=100)] = 1.3
    repeats: Annotated[int, Number("seeds at a size", low=1, high=1000)] = 3
    most: Annotated[int, Number("stages of the search", low=1, high=90)] = 10


def may_propose(config: Mapping[str, Any]) -> bool:
    """Say whether a config's sizes are the ends of a range to search, not a grid."""
    return all(len(entry["sizes"]) <= ENDS for entry in config["grid"])


def propose(evidence: Evidence) -> Mapping[str, Any] | None:
    """Give the width to try next, then widths above the critical one, then nothing."""
    settings = evidence.settings
    search = search_of(all_seen(evidence))
    if search is None or search.is_grid or search.above or search.fault:
        return None
    middle = search.middle()
    if middle.factor > settings.within and len(search.stages) <= settings.most:
        widths = [round(middle.value)]
        first = min(one.seed for one in search.ones)
        first += sum(one.width == widths[0] for one in search.ones)
    else:
        widths = sorted({round(middle.value * factor) for factor in ABOVE})
        first = max(one.seed for one in search.ones) + 1
    (grid,) = evidence.config["grid"]
    sizes = [{"width": width} for width in widths]
    seeds = list(range(first, first + settings.repeats))
    return {"grid": [{**grid, "sizes": sizes, "seeds": seeds}]}


def analyse(evidence: Evidence) -> Findings:
    """Return the critical width with its interval, the way to it, and the critical exponent."""
    ones = all_seen(evidence)
    search = search_of(ones)
    within = getattr(evidence.settings, "within", Settings.within)
    claims = (
        _located(search, within),
        _random(ones, search, evidence),
        _cheaper(search, within),
        _exponent(ones, search),
    )
    return answer(
        claims,
        lambda: _words(claims, ones, search),
        measures=_measures(ones, search),
        tables=(_table(ones) if ones else None,),
        figures=(_outcome_figure(ones, search), _speed_figure(ones)),
        literature=_literature(ones, search),
        notes=left_out(evidence, len(ones), "of another architecture or without accuracies"),
    )


def _need_search(search: Search | None) -> Search:
    """The precondition: both ends of the range, and the size between them."""
    need(
        search is not None,
        "the two ends of the range have not finished",
        AGAIN,
    )
    assert search is not None
    if search.fault:
        need(False, *search.fault)
    return search


def _located(search: Search | None, within: float) -> Claim:
    def decide() -> Decision:
        middle = _need_search(search).known
        low, high = middle.interval
        words = f"half of the seeds at width {middle.value:.1f} ({low:.1f} to {high:.1f})"
        need(
            middle.factor <= within,
            f"{words}, a factor of {middle.factor:.2f}",
            f"it must be within {within:g}: more stages, or more seeds in each",
        )
        return True, words

    return claim(
        "located",
        f"the width at which half of the seeds learn the task is known within a factor of"
        f" {within:g}",
        decide,
    )


def _random(ones: Sequence[Seen], search: Search | None, evidence: Evidence) -> Claim:
    def decide() -> Decision:
        mixed = {
            width: (sum(one.has for one in group), len(group))
            for width, group in by_width(ones).items()
            if len({one.has for one in group}) > 1
        }
        need(
            bool(mixed),
            "at each width all seeds learn the task or none does",
            _seeds_near(search, evidence),
        )
        listed = (f"{some} of {count} at {width}" for width, (some, count) in mixed.items())
        return True, f"learned by {', '.join(listed)}"

    return claim(
        "seeds_decide_near_it", "near the critical width the seed decides whether a run learns",
        decide,
    )  # fmt: skip


def _seeds_near(search: Search | None, evidence: Evidence) -> str:
    """How many seeds near the critical width it needs, and the command that trains them."""
    within = getattr(evidence.settings, "within", Settings.within)
    if search is None or search.fault or search.known.factor > within:
        return f"it needs {MANY} seeds at widths near the critical one, which is not located yet"
    known = search.known
    near = sorted({round(width) for width in (*known.interval, known.value)})
    widths = ", ".join(f"{{width: {width}}}" for width in sorted({*near, *search.ends}))
    first = max(one.seed for one in (*search.ones, *search.above)) + 1
    begun = evidence.sweep
    source = shlex.quote(str(begun.config)) if begun else "critical_size"
    place = shlex.quote(f"{begun.path}-seeds") if begun else "results/critical_size-seeds"
    return (
        f"it needs {MANY} seeds at each of the widths {', '.join(map(str, near))}, which all agree"
        f" with probability {2 * 0.5**MANY:.1g} where half of them learn it: slaw run {source}"
        f" --out {place} --set 'grid.0.sizes=[{widths}]'"
        f" --set 'grid.0.seeds={list(range(first, first + MANY))}'"
    )


def _grid_cost(search: Search) -> tuple[float, int, int]:
    """FLOPs of a grid of the same resolution, its sizes, and its seeds at each.

    Its sizes lie as far apart as the ends of the interval do, and it has the seeds of the first
    stage. A run costs as much per width as the search's runs did.
    """
    low, high = search.ends
    count = math.ceil(math.log(high / low) / math.log(search.middle().factor)) + 1
    seeds = sum((one.width, one.stage) == (low, 1) for one in search.ones)
    widths = [low * (high / low) ** (place / (count - 1)) for place in range(count)]
    each = fmean(one.flops / one.width for one in search.ones)
    return each * seeds * sum(widths), count, seeds


def _cheaper(search: Search | None, within: float) -> Claim:
    def decide() -> Decision:
        known = _need_search(search)
        need(not known.is_grid, "these runs are a grid", "slaw run critical_size searches")
        need(
            known.middle().factor <= within,
            f"the width is known within {known.middle().factor:.2f} only",
            f"it must be within {within:g}",
        )
        spent = sum(one.flops for one in known.ones)
        cost, count, seeds = _grid_cost(known)
        words = (
            f"{len(known.ones)} runs, {spent:.3g} FLOPs, against a grid that is computed, not run:"
            f" {count * seeds} runs ({count} widths, {seeds} seeds), {cost:.3g} FLOPs:"
            f" {spent / cost:.0%}"
        )
        return spent < cost, words

    return claim(
        "cheaper_than_a_grid",
        "the search costs less compute than a grid whose widths lie as close as the interval is"
        " wide",
        decide,
    )


def _speeds(ones: Sequence[Seen]) -> dict[float, list[float]]:
    """One over the median steps to learn the task, by width, where most seeds learn it.

    A seed that does not comes after all others. The mean over those that do would be that of a
    choice of seeds near the critical width.
    """
    middles = {
        float(width): median_time([one.learned for one in group])
        for width, group in by_width(ones).items()
    }
    return {width: [1 / time.step] for width, time in middles.items() if time and time.step}


def _critical(ones: Sequence[Seen]) -> Critical | str:
    """The critical width and exponent of the speed of learning, or why they are not determined."""
    fit = fit_critical(_speeds(ones))
    if isinstance(fit, str):
        return fit
    smallest = min(one.width for one in ones if one.has)
    if smallest < fit.threshold_interval[0]:
        return (
            f"the speeds fit a critical width of {fit.threshold:.1f}, and a seed learns the task at"
            f" width {smallest}"
        )
    return fit


def _needed(ones: Sequence[Seen], search: Search | None) -> str:
    """What runs would determine a critical exponent, by a simulation of the same analysis.

    They scatter as the seeds of these runs do, near the critical width and beyond. "" where the
    runs do not tell how they scatter, or where the critical width is.
    """
    if search is None or search.fault:
        return ""
    width, (low, high) = search.known.value, REACH
    steps = {
        place: [math.log(one.learned.step) for one in group if one.learned.step]
        for place, group in by_width(ones).items()
        if place <= high * width
    }
    near, far = (
        [group for place, group in steps.items() if group and (place <= NEAR * width) is close]
        for close in (True, False)
    )
    if not all(any(len(group) > 1 for group in groups) for groups in (near, far)):
        return ""
    spread, beyond = (pooled_noise(groups).deviation for groups in (near, far))
    shown = (
        f"of exponent {SMALL:g} with the scatter of these seeds ({spread:.0%} in steps up to"
        f" {NEAR:g} times that width, {beyond:.0%} beyond)"
    )
    for count, seeds in DESIGNS:
        ratios = (low * (high / low) ** (place / (count - 1)) for place in range(count))
        widths = sorted({float(round(width * one)) for one in ratios})
        noise = {place: spread if place <= NEAR * width else beyond for place in widths}
        share = identified_share(noise, threshold=width, exponent=SMALL, seeds=seeds)
        words = (
            f"{len(widths)} widths from {low:g} to {high:g} times the critical width with {seeds}"
            f" seeds each determine it in {share:.0%} of the simulated sets of runs {shown}"
        )
        if share >= SURE:
            return words
    return f"even {words}"


def _exponent(ones: Sequence[Seen], search: Search | None) -> Claim:
    def decide() -> Decision:
        fit = _critical(ones)
        if isinstance(fit, str):
            more = "it needs more sizes and seeds, closer to the critical width"
            needed = _needed(ones, search)
            need(False, fit, f"{more}: {needed}" if needed else more)
        assert isinstance(fit, Critical)
        return True, _critical_text(fit)

    return claim(
        "critical_exponent",
        "the speed of learning grows as (width / critical width - 1) to a power, with both"
        " determined",
        decide,
    )


def _critical_text(fit: Critical) -> str:
    low, high = fit.threshold_interval
    first, last = fit.exponent_interval
    return (
        f"critical width {fit.threshold:.1f} ({low:.1f} to {high:.1f}), exponent"
        f" {fit.exponent:.2f} ({first:.2f} to {last:.2f})"
    )


def _words(claims: Sequence[Claim], ones: Sequence[Seen], search: Search | None) -> str:
    assert search is not None, "asked only where the critical width is located"
    middle = search.known
    per_width = fmean(one.params / one.width for one in ones)
    low, high = middle.interval
    words = (
        f"Half of the seeds learn the task at width {middle.value:.1f} ({low:.1f} to {high:.1f}),"
        f" {middle.value * per_width:,.0f} parameters"
    )
    standing = {one.name: one.established for one in claims}
    if standing["cheaper_than_a_grid"] is not None:
        alone = search.middle()
        low, high = alone.interval
        less = "less" if standing["cheaper_than_a_grid"] else "no less"
        words += (
            f"; the search alone gives {alone.value:.1f} ({low:.1f} to {high:.1f}), for {less}"
            " compute than a grid as fine would cost, which is computed: that grid was not run"
            " (slaw run critical_size_grid measures one)"
        )
    fit = _critical(ones)
    if isinstance(fit, Critical):
        return f"{words}; above it the speed of learning has {_critical_text(fit)}."
    why = next(one.because for one in claims if one.name == "critical_exponent")
    return f"{words}; no critical exponent is identified: {why}."


def _measures(ones: Sequence[Seen], search: Search | None) -> dict[str, float | None]:
    middle = search.known if search and not search.fault else None
    fit = _critical(ones)
    known = fit if isinstance(fit, Critical) else None
    sigmoid = fit_sigmoid(outcomes_of(ones))
    return {
        "critical_width": middle.value if middle else None,
        "critical_width_low": middle.interval[0] if middle else None,
        "critical_width_high": middle.interval[1] if middle else None,
        "sigmoid_width": sigmoid.middle if isinstance(sigmoid, Sigmoid) else None,
        "sigmoid_slope": sigmoid.slope if isinstance(sigmoid, Sigmoid) else None,
        "search_runs": float(len(search.ones)) if search else None,
        "search_flops": sum(one.flops for one in search.ones) if search else None,
        "grid_flops": _grid_cost(search)[0] if search and middle and not search.is_grid else None,
        "exponent": known.exponent if known else None,
        "exponent_low": known.exponent_interval[0] if known else None,
        "exponent_high": known.exponent_interval[1] if known else None,
        "exponent_width": known.threshold if known else None,
    }


def _table(ones: Sequence[Seen]) -> Table:
    rows = []
    for width, group in by_width(ones).items():
        middle = median_time([one.learned for one in group])
        assert middle is not None, "a width has at least one run"
        stages = ", ".join(map(str, sorted({one.stage for one in group})))
        solved = f"{sum(one.has for one in group)} of {len(group)}"
        rows.append((width, group[0].params, stages, solved, middle.text))
    return Table(
        caption=f"Seeds that learn the task ({LEARNED:.0%} of the validation pairs right) and the"
        " median steps to it, by width",
        head=("width", "parameters", "stages", "seeds that learn it", "steps"),
        rows=tuple(rows),
        text_columns=0,
    )


def _outcome_figure(ones: Sequence[Seen], search: Search | None) -> Figure | None:
    """The share of seeds that learn the task, and the interval after each stage."""
    groups = by_width(ones)
    shares = tuple(
        (float(width), fmean(one.has for one in group)) for width, group in groups.items()
    )
    series = [Series(label="share of seeds", points=shares, line=False)]
    fit = fit_sigmoid(outcomes_of(ones))
    if isinstance(fit, Sigmoid):
        low, high = math.log(min(groups)), math.log(max(groups))
        widths = [math.exp(low + (high - low) * part / 60) for part in range(61)]
        points = tuple((width, fit.at(width)) for width in widths)
        series.append(Series(label="sigmoid", points=points, marks=False, dashed=True))
    panels = [
        Panel(
            title="who learns the task",
            x=log_axis("width (hidden units)"),
            y=Axis(label="share of seeds", low=-0.05, high=1.05),
            series=tuple(series),
        )
    ]
    if search and not search.is_grid:
        steps = [(stage, search.middle(stage)) for stage in search.stages]
        panels.insert(
            0,
            Panel(
                title="the search",
                x=Axis(label="stage", values={str(stage): stage for stage, _ in steps}),
                y=log_axis("width (hidden units)"),
                series=(
                    Series(
                        label="median and 90% interval",
                        points=tuple((float(stage), middle.value) for stage, middle in steps),
                        intervals=tuple(middle.interval for _, middle in steps),
                    ),
                    *_known_lines(search),
                ),
            ),
        )
    return figure(
        "critical_size_search",
        "The width at which half of the seeds learn the task",
        "Each stage trains seeds at the median of what is known so far. Lines without points: the"
        " width by all runs, those above it among them, and the ends of its 90% interval.",
        panels,
    )


def _known_lines(search: Search) -> tuple[Series, ...]:
    """The width by all runs and the ends of its interval, across the stages of the search."""
    known, first, last = search.known, float(search.stages[0]), float(search.stages[-1])
    low, high = known.interval
    return tuple(
        Series(
            label=f"by all runs {known.value:.1f} ({low:.1f} to {high:.1f})",
            points=((first, width), (last, width)),
            marks=False,
            dashed=width != known.value,
        )
        for width in (known.value, low, high)
    )


def _speed_figure(ones: Sequence[Seen]) -> Figure | None:
    """The steps to learn the task against width, with the fitted curve where there is one."""
    groups = by_width(ones)
    times = {float(width): [one.learned for one in group] for width, group in groups.items()}
    series = [time_series("median over seeds", times, line=False)]
    fit = _critical(ones)
    if isinstance(fit, Critical):
        low, high = math.log(min(_speeds(ones))), math.log(max(groups))
        widths = [math.exp(low + (high - low) * part / 60) for part in range(61)]
        points = tuple((width, 1 / fit.at(width)) for width in widths)
        series.append(Series(label=_critical_text(fit), points=points, marks=False, dashed=True))
    return figure(
        "critical_size_speed",
        "Steps to learn the task",
        "Bars: the fastest and the slowest seed that did. Hollow points with an arrow: half of the"
        " seeds or more had not by then. A curve is drawn only where it is determined.",
        (Panel(x=log_axis("width (hidden units)"), y=log_axis("steps"), series=tuple(series)),),
    )


def _literature(ones: Sequence[Seen], search: Search | None) -> tuple[Published, ...]:
    mixed = [width for width, g in by_width(ones).items() if len({one.has for one in g}) > 1]
    stages = len(search.stages) if search and not search.is_grid and not search.fault else 0
    return (
        beside(
            "bisection with answers that may be wrong",
            theirs="the interval shrinks geometrically on average",
            ours=f"a factor of {search.middle().factor:.2f} after {stages} stages"
            if search and stages
            else None,
            source="Waeber 2013, doi:10.1137/120861898",
        ),
        beside(
            "whether a size has an ability",
            theirs="yes above a size, no below it",
            ours=f"decided by the seed at {len(mixed)} of {len(by_width(ones))} widths"
            if ones
            else None,
            source="Wei 2022, arXiv 2206.07682",
        ),
    )


# Of the planted runs: the width below which none learns the task, its exponent, the speed at twice.
_CRITICAL, _EXPONENT, _SPEED = 24.0, 0.5, 1 / 150


def _planted(spec: RunSpec) -> Outcome:
    """Runs that learn the task at a step that diverges at the critical width."""
    assert isinstance(spec.model, OtherModel)
    above = spec.model.values_as(Shape).width / _CRITICAL - 1
    step = math.inf if above <= 0 else 1 / (_SPEED * above**_EXPONENT) * (1 + 0.01 * spec.seed)
    curve = tuple(
        planted_point(spec, at, {"accuracy.val": 1.0 if at >= step else 0.5})
        for at in range(2, spec.total_steps + 1, 2)
    )
    return Outcome(curve=curve, metrics=curve[-1].metrics)


EXPERIMENT = Experiment(
    question="How large must a network be to learn a task, and what does it cost to find out?",
    reproduces="Horstein 1963, Waeber 2013 (noisy bisection), Wei 2022",
    parts={
        "source": ("modular_addition",),
        "architecture": ("mlp",),
        "probe": ("accuracy",),
    },
    analyse=analyse,
    propose=propose,
    may_propose=may_propose,
    settings=Settings,
    planted=Planted(
        outcome=_planted,
        measures={
            "critical_width": (22, 27),
            "exponent": (0.45, 0.55),
            "exponent_width": (23, 25),
        },
        claims={
            "located": True,
            "seeds_decide_near_it": None,
            "cheaper_than_a_grid": True,
            "critical_exponent": True,
        },
    ),
)
