"""Measure the exponent a of size ~ compute^a rung by rung, from Kaplan's way to Chinchilla's.

Porian 2024 (arXiv 2406.19146) starts as Kaplan 2020 did and corrects one thing at a time. A rung is
the runs of one way of training under one way of counting. Its exponent is that of the line through
its IsoFLOP minima (``fit.approaches.isoflop``) where six budgets or more have one; with fewer, all
budgets give it together (``fit.approaches.isoflop_joint``). Runs that we trained and rows of a
published table take this same way (``ladder_table``).
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaling_law.errors import FitError
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
from scaling_law.experiment.figures import figure, log_axis
from scaling_law.experiment.findings import (
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Series,
    Table,
)
from scaling_law.experiment.seeds import LEVEL

if TYPE_CHECKING:
    from scaling_law.fit.approaches.isoflop import IsoflopCell
    from scaling_law.fit.approaches.isoflop_joint import JointLine
    from scaling_law.fit.points.points import FitPoints

CHINCHILLA = 0.5  # Hoffmann 2022, arXiv 2203.15556, table 2
CLOSE = 0.15  # half-width of an interval that is narrow enough to say "near .5"
SOURCE = "Porian 2024, arXiv 2406.19146"


@dataclass(frozen=True, kw_only=True)
class Exponent:
    """An exponent, and its (low, high) at ``LEVEL``; None where there is none."""

    value: float
    interval: tuple[float, float] | None

    @property
    def text(self) -> str:
        """``0.571 (0.560 to 0.589)``."""
        if self.interval is None:
            return f"{self.value:.3f}"
        low, high = self.interval
        return f"{self.value:.3f} ({low:.3f} to {high:.3f})"


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A rung of the ladder.

    ``name`` is its name in measures and tables;
    ``words`` say what is corrected on it;
    ``published`` is Porian's exponent.
    """

    name: str
    words: str
    published: Exponent


def _rung(name: str, words: str, value: float, low: float, high: float) -> Rung:
    return Rung(name=name, words=words, published=Exponent(value=value, interval=(low, high)))


# Porian's exponents are those of RefinedWeb, with their intervals at 90%.
RUNGS = (
    _rung("head_not_counted", "head not counted", 0.8353, 0.8235, 0.8460),
    _rung("head_counted", "head counted", 0.7065, 0.6915, 0.7169),
    _rung("warmup_by_size", "warm-up by size", 0.6020, 0.5914, 0.6173),
    _rung("decay_by_horizon", "decay by horizon", 0.5715, 0.5598, 0.5885),
    _rung("tuned_by_size", "rate and batch by size", 0.4969, 0.4907, 0.5045),
)
KAPLAN, COUNTED, WARMUP, DECAY, TUNED = (rung.name for rung in RUNGS)
# claim -> the rungs that it compares, and its words
_STEPS = (
    ("counting_lowers", KAPLAN, COUNTED, "counting the head lowers the exponent"),
    ("warmup_lowers", COUNTED, WARMUP, "a warm-up by size lowers it"),
    ("decay_lowers", WARMUP, DECAY, "decay by horizon lowers it"),
    ("tuning_lowers", DECAY, TUNED, "rate and batch by size lower it"),
)
_CORRECTIONS = {
    "counting_lowers": "counting the head",
    "warmup_lowers": "a warm-up by size",
    "decay_lowers": "decay by horizon",
    "tuning_lowers": "rate and batch by size",
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the runs of a rung give.

    ``exponent`` is a, None where they give none;
    ``joint`` are the budgets together, None where each budget's own minimum counts;
    ``alone`` is a of the line through the budgets' own minima, None where there are too few;
    ``cells`` are their IsoFLOP cells, those without a minimum among them;
    ``why`` says why there is no exponent, "" where there is one;
    ``why_alone`` says why budgets that are few are not taken together, "" where they are.
    """

    exponent: Exponent | None = None
    joint: JointLine | None = None
    alone: Exponent | None = None
    cells: tuple[IsoflopCell, ...] = ()
    why: str = ""
    why_alone: str = ""

    @property
    def usable(self) -> tuple[IsoflopCell, ...]:
        """The cells with a minimum inside their sizes."""
        return tuple(cell for cell in self.cells if cell.usable)


Ladder = Mapping[str, Measured]  # by the rung's name


def measured(points: FitPoints) -> Measured:
    """Return the exponent of the runs of one rung, or why they give none."""
    from scaling_law.fit.approaches.isoflop import FEW_CELLS, fit_isoflop
    from scaling_law.fit.approaches.isoflop_joint import fit_joint

    result = fit_isoflop(points, level=LEVEL)
    alone = None
    if not result.reason:
        line = result.lines["params"]
        alone = Exponent(value=line.exponent, interval=line.interval)
    own = Measured(exponent=alone, alone=alone, cells=result.cells, why=result.reason)
    if len(own.usable) >= FEW_CELLS:
        return own
    joint = fit_joint(points, level=LEVEL)
    if joint.exponent is None:
        return dataclasses.replace(own, why_alone=joint.reason)
    exponent = Exponent(value=joint.exponent, interval=joint.interval)
    return dataclasses.replace(own, exponent=exponent, joint=joint, why="")


def fall(ladder: Ladder, first: str, second: str) -> Exponent | None:
    """Return how much lower the exponent of the second rung is; None where one has no interval.

    Budgets together: the error of ``fit.approaches.isoflop_joint``, each size, budget and pair left
    out of both rungs at once, so that noise of runs that the rungs share does not count twice. The
    interval reaches at least to the differences where both take narrower, and wider, weights. Else
    the two count as independent; for rungs that share runs the interval is then too wide rather
    than too narrow.
    """
    pair = [ladder[name] for name in (first, second) if name in ladder]
    known = [own.exponent for own in pair if own.exponent is not None]
    ends = [(one.value, *one.interval) for one in known if one.interval]
    if len(ends) < 2:
        return None
    (above, above_low, above_high), (below, below_low, below_high) = ends
    value = above - below
    together = [own.joint for own in pair if own.joint is not None]
    if len(together) == 2:
        return Exponent(value=value, interval=_joint_interval(value, above, below, *together))
    low = value - math.hypot(above - above_low, below_high - below)
    high = value + math.hypot(above_high - above, below - below_low)
    return Exponent(value=value, interval=(low, high))


def _joint_interval(
    value: float, above: float, below: float, first: JointLine, second: JointLine
) -> tuple[float, float]:
    """The interval of a difference of two exponents, each of budgets together.

    Sizes and budgets of the two are matched by their place; one that a side lacks changes the other
    alone. Degrees of freedom are those of
    the side with fewer.
    """
    from scaling_law.fit.approaches.isoflop_joint import BUDGET, SIZE, half_width

    moves = {}
    for kind, own in first.without.items():
        other = second.without[kind]
        moves[kind] = {
            place: own.get(place, above) - other.get(place, below) for place in {**own, **other}
        }
    fewest = min(len(line.without[kind]) for line in (first, second) for kind in (SIZE, BUDGET))
    half = half_width(moves, LEVEL, fewest)
    widths = zip(first.by_width, second.by_width, strict=True)
    reach = [one - two for one, two in widths if one is not None and two is not None]
    return min(value - half, *reach), max(value + half, *reach)


def ladder_findings(
    ladder: Ladder,
    *,
    needs: str,
    claims: Sequence[Claim] = (),
    notes: Sequence[str] = (),
) -> Findings:
    """Return the verdict, claims, table and figures of a ladder.

    ``needs`` says what would give a rung that has no runs. ``claims`` and ``notes`` are added to
    the ladder's own.
    """
    own = (
        _whole_claim(ladder, needs),
        *(_step_claim(ladder, *step, needs) for step in _STEPS),
        _half_claim(ladder, needs),
    )
    return answer(
        (*own, *claims),
        lambda: _words(ladder, own),
        measures=_measures(ladder),
        tables=(_table(ladder),),
        figures=(_figure(ladder), _minima(ladder)),
        literature=_literature(ladder),
        notes=(*_notes(ladder), *notes),
        units={"cells": "budgets", "together": "budgets"},
    )


def refuse_none(findings: Findings) -> None:
    """Raise ``FitError`` where no rung of a ladder has an exponent, with the reason of each."""
    if any(findings.measures[f"exponent.{rung.name}"] is not None for rung in RUNGS):
        return
    reasons = list(dict.fromkeys(claim.because for claim in findings.claims))
    notes = [note for note in findings.notes if not any(note in reason for reason in reasons)]
    raise FitError("no rung has an exponent", *reasons, *notes)


def _need_exponent(ladder: Ladder, name: str, needs: str) -> Exponent:
    rung = next(rung for rung in RUNGS if rung.name == name)
    need(name in ladder, f"no runs of the rung {rung.words}", needs)
    own = ladder[name]
    need(own.exponent is not None, f"{rung.words}: {own.why}", "it takes three budgets with minima")
    assert own.exponent is not None
    need(
        own.exponent.interval is not None,
        f"{rung.words}: no interval",
        "it takes more budgets, or more seeds",
    )
    return own.exponent


def _whole_claim(ladder: Ladder, needs: str) -> Claim:
    known = [rung for rung in RUNGS if _interval(ladder, rung.name)]

    def decide() -> Decision:
        if len(known) < 2:  # say what the first rung without an exponent lacks
            for rung in RUNGS:
                _need_exponent(ladder, rung.name, needs)
        first, last = known[0], known[-1]
        return _lower(ladder, first.name, last.name, f"{first.words} to {last.words}: ")

    is_whole = len(known) < 2 or (known[0], known[-1]) == (RUNGS[0], RUNGS[-1])
    part = "" if is_whole else f" from {known[0].words} to {known[-1].words}"
    return claim("ladder_falls", f"the corrections{part} together lower the exponent", decide)


def _interval(ladder: Ladder, name: str) -> tuple[float, float] | None:
    exponent = ladder[name].exponent if name in ladder else None
    return exponent.interval if exponent else None


def _lower(ladder: Ladder, first: str, second: str, words: str = "") -> Decision:
    """Whether the second exponent is the lower one. Needs both, with intervals."""
    above, below, lower = (
        ladder[first].exponent,
        ladder[second].exponent,
        fall(ladder, first, second),
    )
    assert above is not None and below is not None
    assert lower is not None and lower.interval is not None
    words += f"{above.text}, then {below.text}: lower by {lower.text}"
    low, high = lower.interval
    need(low > 0 or high < 0, f"{words}, on both sides of 0", "more sizes, budgets or seeds")
    return low > 0, words


def _step_claim(ladder: Ladder, name: str, first: str, second: str, says: str, needs: str) -> Claim:
    def decide() -> Decision:
        for rung in (first, second):
            _need_exponent(ladder, rung, needs)
        return _lower(ladder, first, second)

    return claim(name, says, decide)


def _half_claim(ladder: Ladder, needs: str) -> Claim:
    def decide() -> Decision:
        last = _need_exponent(ladder, TUNED, needs)
        assert last.interval is not None
        low, high = last.interval
        inside = low <= CHINCHILLA <= high
        need(
            not inside or high - low <= 2 * CLOSE,
            f"{last.text} is too wide to be near anything",
            f"it takes an interval of at most {2 * CLOSE:g}: more sizes, budgets or seeds",
        )
        return inside, last.text

    return claim("ends_near_half", f"the interval of the last rung holds {CHINCHILLA:g}", decide)


def _words(ladder: Ladder, claims: Sequence[Claim]) -> str:
    pairs = [(rung, ladder[rung.name].exponent) for rung in RUNGS if rung.name in ladder]
    known = [(rung, own) for rung, own in pairs if own is not None]
    listed = ", ".join(f"{rung.words} {own.text}" for rung, own in known)
    words = f"Size grows as compute to the power a: {listed}."
    lower = fall(ladder, known[0][0].name, known[-1][0].name) if len(known) > 1 else None
    if lower is not None:
        words += f" From the first to the last it is lower by {lower.text}."
    by_standing: dict[str, list[str]] = {}
    for one in claims:
        if one.name in _CORRECTIONS:
            by_standing.setdefault(one.standing, []).append(_CORRECTIONS[one.name])
    each = "; ".join(f"{', '.join(own)}: {standing}" for standing, own in by_standing.items())
    return f"{words} Each correction's own effect: {each}."


def _measures(ladder: Ladder) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for rung in RUNGS:
        own = ladder.get(rung.name)
        exponent = own.exponent if own else None
        low, high = (exponent.interval if exponent else None) or (None, None)
        measures[f"exponent.{rung.name}"] = exponent.value if exponent else None
        measures[f"exponent.{rung.name}.low"], measures[f"exponent.{rung.name}.high"] = low, high
        measures[f"cells.{rung.name}"] = len(own.usable) if own else None
        measures[f"together.{rung.name}"] = len(own.joint.budgets) if own and own.joint else None
    falls = {name.partition("_")[0]: (first, second) for name, first, second, _ in _STEPS}
    for name, (first, second) in {**falls, "whole": (KAPLAN, TUNED)}.items():
        lower = fall(ladder, first, second)
        low, high = (lower.interval if lower else None) or (None, None)
        measures[f"fall.{name}"] = lower.value if lower else None
        measures[f"fall.{name}.low"], measures[f"fall.{name}.high"] = low, high
    return measures


def _table(ladder: Ladder) -> Table:
    rows = []
    for rung in RUNGS:
        own = ladder.get(rung.name)
        exponent = own.exponent if own else None
        interval = exponent.interval if exponent else None
        rows.append(
            (
                rung.words,
                f"{exponent.value:.3f}" if exponent else "-",
                f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-",
                rung.published.text,
                _budgets_words(own) if own else "no runs",
                own.alone.text if own and own.joint and own.alone else "-",
            )
        )
    return Table(
        caption=f"The exponent a of compute-optimal size ~ compute^a, correction by correction"
        f" (intervals at {LEVEL:.0%})",
        head=("rung", "a", "interval", SOURCE, "budgets", "a by their own minima alone"),
        rows=tuple(rows),
    )


def _budgets_words(own: Measured) -> str:
    """``5 together, 4 with the optimum inside their sizes, 1.6e+10 to 2.6e+11 FLOPs``."""
    if own.joint is not None:
        flops = own.joint.budgets
        words = f"{len(flops)} together, {own.joint.n_inside} with the optimum inside their sizes"
        return f"{words}, {flops[0]:.2g} to {flops[-1]:.2g} FLOPs"
    usable = own.usable
    words = f"{len(usable)} of {len(own.cells)} with a minimum"
    if not usable:
        return words
    return f"{words}, {usable[0].flops:.2g} to {usable[-1].flops:.2g} FLOPs"


def _notes(ladder: Ladder) -> list[str]:
    """Budgets without a minimum, by their reason, and shapes that are at a bound."""
    notes = []
    for rung in RUNGS:
        own = ladder.get(rung.name)
        if own is None:
            continue
        if own.joint is not None:
            if own.joint.skew_at_bound:
                notes.append(
                    f"{rung.words}: the skew of the curves is at its bound, so that their shape is"
                    " not that of the runs: the exponent may be off by more than its interval"
                )
            continue
        if own.why and not own.cells:
            notes.append(f"{rung.words}: {own.why}")
        if own.why_alone:
            notes.append(f"{rung.words}: budgets are not taken together: {own.why_alone}")
        reasons: dict[str, list[float]] = {}
        for cell in own.cells:
            if not cell.usable:
                reasons.setdefault(cell.reason, []).append(cell.flops)
        for reason, budgets in reasons.items():
            listed = ", ".join(f"{flops:.2g}" for flops in budgets)
            notes.append(f"{rung.words}: no minimum at {listed} FLOPs ({reason})")
    return notes


def _literature(ladder: Ladder) -> tuple[Published, ...]:
    def ours(name: str) -> str | None:
        own = ladder.get(name)
        return own.exponent.text if own and own.exponent else None

    return (
        beside(
            "exponent without the head, the warm-up fixed",
            theirs="0.73",
            ours=ours(KAPLAN),
            source="Kaplan 2020, arXiv 2001.08361",
        ),
        beside(
            "exponent with all corrections",
            theirs="0.50",
            ours=ours(TUNED),
            source="Hoffmann 2022, arXiv 2203.15556",
        ),
    )


def _figure(ladder: Ladder) -> Figure | None:
    places = {textwrap.fill(rung.words, 14): float(place) for place, rung in enumerate(RUNGS)}
    ours = {
        float(place): ladder[rung.name].exponent
        for place, rung in enumerate(RUNGS)
        if rung.name in ladder
    }
    theirs = {float(place): rung.published for place, rung in enumerate(RUNGS)}
    if not any(ours.values()):
        return None
    series = (
        _exponents("these runs", {place - 0.08: one for place, one in ours.items()}),
        _exponents(SOURCE, {place + 0.08: one for place, one in theirs.items()}),
        Series(
            label="Hoffmann 2022 (Chinchilla)",
            points=((-0.4, CHINCHILLA), (len(RUNGS) - 0.6, CHINCHILLA)),
            marks=False,
            dashed=True,
        ),
    )
    panel = Panel(
        x=Axis(label="corrected so far, from left to right", values=places),
        y=Axis(label="a of size ~ compute^a"),
        series=series,
    )
    return figure(
        "ladder",
        "From Kaplan's exponent to Chinchilla's, one correction at a time",
        f"Bars: intervals at {LEVEL:.0%}.",
        (panel,),
    )


def _exponents(label: str, values: Mapping[float, Exponent | None]) -> Series:
    """The exponents with their intervals; a line joins them where no rung lacks one."""
    known = {place: one for place, one in values.items() if one is not None}
    return Series(
        label=label,
        points=tuple((place, one.value) for place, one in known.items()),
        intervals=tuple(one.interval or (one.value, one.value) for one in known.values()),
        line=len(known) == len(RUNGS),
    )


def _minima(ladder: Ladder) -> Figure | None:
    """Loss against size at each budget, of the first and the last rung that have an exponent."""
    known = [rung for rung in RUNGS if rung.name in ladder and ladder[rung.name].exponent]
    shown = known if len(known) < 2 else [known[0], known[-1]]
    panels = []
    for rung in shown:
        own = ladder[rung.name]
        series = [
            Series(
                label=f"budget {place}", points=tuple(zip(cell.params, cell.loss_nats, strict=True))
            )
            for place, cell in enumerate(own.cells, 1)
        ]
        label = "minimum" if own.joint is None else "optimum, budgets together"
        series.append(Series(label=label, points=_optima(own), line=False))
        panels.append(
            Panel(
                title=rung.words,
                x=log_axis("parameters, as the rung counts them"),
                y=Axis(label="loss, nats per token"),
                series=tuple(series),
            )
        )
    ranges = [
        f"{cells[0].flops:.2g} to {cells[-1].flops:.2g} FLOPs ({rung.words})"
        for rung in shown
        if (cells := ladder[rung.name].cells)
    ]
    caption = (
        f"A line is a budget, the smallest first: {'; '.join(ranges)}. The exponent is that of the"
        " minima."
    )
    return figure("minima", "Loss by size at equal compute", caption, panels)


def _optima(own: Measured) -> tuple[tuple[float, float], ...]:
    """Parameters and loss at the optima that the exponent rests on."""
    if own.joint is not None:
        return tuple(zip(own.joint.params_optimal, own.joint.loss_min_nats, strict=True))
    return tuple(
        (cell.params_optimal, cell.loss_min_nats)
        for cell in own.cells
        if cell.params_optimal is not None and cell.loss_min_nats is not None
    )
