"""Learning-rate schedules at equal compute, each at its own best rate.

    slaw run schedules              # wsd by cooldown and fraction, cosine, linear, constant
    slaw report results/schedules   # each schedule's loss over the cosine's, with interval

A compute multiplier says how many times the tokens the cosine needs for a schedule's loss, by a
curve through the cosine's own horizons (``experiment.speedup``).

A cosine that is cut at half of its length is what a loss read in the middle of a long run was
trained with. Differences are of the same seed and size, so that what a seed does to all schedules
cancels. Their noise is that of the two schedules alone: what a seed does to a rate that is still
high at the end is several times what it does to one that has fallen. A seed does much the same at
both sizes, so that it counts once: as the mean of its differences.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
from scaling_law.experiment.conditions import conditions
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, log_axis
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
from scaling_law.experiment.seeds import by_chance
from scaling_law.experiment.speedup import Levels, Speedup, read_speedup, tuned_levels
from scaling_law.experiment.standard_error import StandardError, mean_at_best
from scaling_law.experiment.tuning import Tuning, trials_of, tuned
from scaling_law.experiment.tuning_stages import Settings, next_stage
from scaling_law.experiment.warmups import REMEDY, unlike
from scaling_law.spec.counts import count_params
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

COSINE, CUT, CONSTANT, LINEAR = "cosine", "cosine, cut", "constant", "linear"
WSD, WSD_LINEAR = "wsd 20% 1-sqrt", "wsd 20% linear"
SHORT, LONG = "wsd 10% 1-sqrt", "wsd 40% 1-sqrt"
CLOSE = 0.003  # share of loss within which one schedule is as good as another


def name_of(run: Run) -> str:
    """A run's schedule, such as ``wsd 20% 1-sqrt``."""
    return spec_name(run.spec)


def spec_name(spec: RunSpec) -> str:
    """The schedule of a run's spec."""
    schedule = spec.schedule
    if schedule.shape != "wsd":
        return CUT if schedule.shape == "cosine_cut" else schedule.shape
    part = round(100 * (schedule.decay_steps or 0) / spec.total_steps)
    return f"wsd {part}% {schedule.cooldown}"


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How much higher one schedule ends than another, as a share of loss.

    ``value`` is the mean over sizes and seeds, ``interval`` its (low, high) at ``LEVEL``, by what
    differs from seed to seed and by the fits of the best rates;
    ``by_size`` are those of each size, by parameters.
    """

    value: float
    interval: tuple[float, float]
    by_size: Mapping[float, tuple[float, tuple[float, float]]]

    @property
    def sizes(self) -> str:
        """``3.52K and 13.9K non-embedding parameters``: sizes at which both have a best rate."""
        return f"{' and '.join(map(format_count, self.by_size))} non-embedding parameters"

    @property
    def text(self) -> str:
        """``+0.31% (+0.12 to +0.50)``."""
        low, high = (100 * end for end in self.interval)
        return f"{100 * self.value:+.2f}% ({low:+.2f} to {high:+.2f})"


@dataclass(frozen=True)
class Seen:
    """What the runs show.

    ``tuning`` are the cells of all schedules;
    ``levels`` are the losses of each schedule at its best rates.
    """

    tuning: Tuning
    levels: Mapping[str, Levels]

    @property
    def conditions(self) -> str:
        """Tokens, seeds and warm-ups of the schedules beside the cosine."""
        own = [best for best in self.tuning.optima if best.cell.recipe != COSINE]
        tokens = " and ".join(map(format_count, sorted({best.cell.tokens for best in own})))
        return f"{tokens} tokens, {conditions(own)}"

    def gap(self, name: str, other: str) -> Gap | None:
        """How much higher ``name`` ends than ``other``; None without two seeds of both."""
        differences = _differences(self.levels, name, other)
        errors = {
            (params, tokens): [self.levels[one][params][tokens].error for one in (name, other)]
            for params, tokens in differences
        }
        every = _mean_gap(differences.values(), errors.values())
        if every is None:
            return None
        by_size = {}
        for size in dict.fromkeys(params for params, _ in differences):
            own = [place for place in differences if place[0] == size]
            gap = _mean_gap([differences[at] for at in own], [errors[at] for at in own])
            assert gap is not None, "a size has the seeds that all sizes have"
            by_size[size] = gap
        return Gap(value=every[0], interval=every[1], by_size=by_size)

    @property
    def speedups(self) -> dict[str, Speedup]:
        """Each schedule's compute multiplier over the cosine, by size."""
        return {
            name: read_speedup(name, self.levels.get(COSINE, {}), own, base=COSINE)
            for name, own in self.levels.items()
            if name != COSINE
        }

    @property
    def gaps(self) -> dict[str, Gap]:
        """Each schedule over the cosine, lowest first."""
        every = {name: self.gap(name, COSINE) for name in self.levels if name != COSINE}
        known = {name: gap for name, gap in every.items() if gap is not None}
        return dict(sorted(known.items(), key=lambda pair: pair[1].value))


def _mean_gap(
    differences: Iterable[Mapping[int, float]], errors: Iterable[Iterable[StandardError]]
) -> tuple[float, tuple[float, float]] | None:
    """The mean difference over places and seeds, and its interval; None without two seeds.

    ``differences`` are by seed at each place, ``errors`` those of the fits of the best rates there.
    """
    rows = list(differences)
    seeds = sorted(set.intersection(*map(set, rows))) if rows else []
    fits = [fit.times(1 / len(rows)) for place in errors for fit in place]
    mean = mean_at_best([fmean(row[seed] for row in rows) for seed in seeds], fits)
    return None if mean is None or mean.interval is None else (mean.value, mean.interval)


def _differences(
    levels: Mapping[str, Levels], name: str, other: str
) -> dict[tuple[float, float], dict[int, float]]:
    """The differences of log loss by the seeds that two schedules share, by size and tokens."""
    differences: dict[tuple[float, float], dict[int, float]] = {}
    for params, by_tokens in levels.get(name, {}).items():
        for tokens, level in by_tokens.items():
            twin = levels.get(other, {}).get(params, {}).get(tokens)
            both = sorted(set(level.logs) & set(twin.logs)) if twin else []
            if twin and both:
                pairs = {seed: level.logs[seed] - twin.logs[seed] for seed in both}
                differences[params, tokens] = pairs
    return differences


def read(evidence: Evidence) -> Seen:
    """Return what the runs show."""
    tuning = tuned(trials_of(evidence.runs, name_of))
    names = sorted({best.cell.recipe for best in tuning.optima})
    levels = {name: tuned_levels(tuning, name) for name in names}
    return Seen(tuning=tuning, levels=levels)


def propose(evidence: Evidence) -> Mapping[str, Any] | None:
    """Give the learning rates that are still needed, or None."""
    return next_stage(evidence.runs, evidence.settings, evidence.stage)


def analyse(evidence: Evidence) -> Findings:
    """Return each schedule's loss over the cosine's, and what that says of the usual advice."""
    seen = read(evidence)
    claims = (
        _higher(seen, "decay_helps", "a constant rate ends higher than the cosine", CONSTANT),
        _higher(
            seen,
            "cut_cosine_misleads",
            "a cosine cut at half of its length ends higher than one of the run's own length",
            CUT,
        ),
        _close_claim(seen),
        _higher(
            seen,
            "one_minus_sqrt_beats_linear",
            "wsd's linear cooldown ends higher than 1-sqrt",
            WSD_LINEAR,
            WSD,
        ),
        _higher(
            seen,
            "longer_decay_helps",
            "a cooldown of 10% ends higher than one of 40%",
            SHORT,
            LONG,
        ),
        _higher(
            seen, "linear_beats_cosine", "the cosine ends higher than linear decay", COSINE, LINEAR
        ),
        _tuned_claim(seen),
    )
    notes = [seen.tuning.noise_text] if seen.tuning.optima else []
    notes += [seen.tuning.open_text] if seen.tuning.open_text else []
    notes += [_cut_note(seen)] if _cut_costs(seen) else []
    return answer(
        claims,
        lambda: _words(seen),
        measures=_measures(seen),
        tables=(_table(seen),),
        figures=(_figure(seen), _rate_figure(seen)),
        literature=_literature(seen),
        notes=notes,
        units={
            "over_cosine": "share of loss",
            "multiplier": "times the compute",
            "noise": "share of loss",
        },
        multipliers=[
            one for speedup in seen.speedups.values() for one in (*speedup.at, *speedup.bounds)
        ],
    )


def _need_gap(seen: Seen, name: str, other: str = COSINE) -> Gap:
    """How much higher one schedule ends than another. Needs both, and two seeds."""
    need(bool(seen.tuning.optima), "no run has finished", AGAIN)
    for one in (name, other):
        best = [b for b in seen.tuning.optima if b.cell.recipe == one]
        need(bool(best), f"no run of {one} has finished", AGAIN)
        why = next((b.why for b in best if b.lr is None), "no best rate")
        need(bool(seen.levels[one]), f"{one}: {why}", "more rates or seeds")
    why = _warmups_differ(seen.levels[name], seen.levels[other], other)
    need(not why, why, REMEDY)
    both = f"{name} and {other} have a best rate at no size in common"
    shared = _differences(seen.levels, name, other)
    need(bool(shared), both, "more stages (experiment.most)")
    gap = seen.gap(name, other)
    need(gap is not None, f"no two seeds of {name} and {other} have finished", AGAIN)
    assert gap is not None
    return gap


def _warmups_differ(levels: Levels, others: Levels, other: str) -> str:
    """How two schedules' warm-ups differ where both have a best rate; "" where they do not."""
    for params, by_tokens in levels.items():
        for tokens, level in by_tokens.items():
            twin = others.get(params, {}).get(tokens)
            why = unlike(level.warmups, twin.warmups, other) if twin else ""
            if why:
                return f"{format_count(params)} parameters: {why}"
    return ""


def _higher(seen: Seen, name: str, says: str, higher: str, lower: str = COSINE) -> Claim:
    def decide() -> Decision:
        gap = _need_gap(seen, higher, lower)
        low, high = gap.interval
        words = f"{gap.text} of loss at {gap.sizes}"
        need(low > 0 or high < 0, f"{words}: on both sides of 0", "more seeds")
        return low > 0, words

    return claim(name, says, decide)


def _close_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        gap = _need_gap(seen, WSD)
        low, high = gap.interval
        words = f"{gap.text} of loss at {gap.sizes}"
        need(high < CLOSE or low > CLOSE, f"{words}: on both sides of it", "more seeds")
        return high < CLOSE, words

    return claim(
        "wsd_is_no_worse",
        f"wsd with a 1-sqrt cooldown of 20% is at most {CLOSE:.1%} above the cosine",
        decide,
    )


def _tuned_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        optima = seen.tuning.optima
        need(bool(optima), "no run has finished", AGAIN)
        need(
            not seen.tuning.open_text,
            seen.tuning.open_text,
            "more stages (experiment.most) or seeds",
        )
        return True, f"{len(optima)} cells"

    return claim("all_tuned", "every schedule has its best rate between those tried", decide)


def _words(seen: Seen) -> str:
    gaps = seen.gaps
    listed = ", ".join(f"{name} {gap.text}" for name, gap in gaps.items())
    sizes = next(iter(gaps.values())).sizes
    return (
        f"Loss over that of the cosine, each at its own best rate, at {sizes}, {seen.conditions},"
        f" with intervals at 90%: {listed}; {by_chance(len(gaps))}."
    )


def _cut_costs(seen: Seen) -> dict[float, float]:
    """By size, what the cut cosine ends above the cosine where both have the cosine's best rate."""
    gap = seen.gaps.get(CUT)
    optima = seen.tuning.optima
    cosines = {b.cell.model: {c.cell.tokens: c.lr for c in optima if c.cell.recipe == COSINE
                              and c.cell.model == b.cell.model} for b in optima}  # fmt: skip
    costs = {}
    for best in optima:
        size = float(best.cell.params)
        lr = cosines[best.cell.model].get(best.cell.tokens)
        if best.cell.recipe == CUT and gap and size in gap.by_size and lr is not None:
            costs[size] = gap.by_size[size][0] + best.excess(lr)
    return costs


def _cut_note(seen: Seen) -> str:
    costs = ", ".join(f"{100 * cost:+.2f}% at {format_count(size)} parameters"
                      for size, cost in _cut_costs(seen).items())  # fmt: skip
    return (
        "at the cosine's best rate instead of its own, the cosine that is cut ends above it by"
        f" {costs} (by the parabolas)"
    )


def _key(name: str) -> str:
    """A schedule as measures name it."""
    return name.replace(",", "").replace("%", "").replace(" ", "_")


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {
        "noise": seen.tuning.noise.deviation if seen.tuning.optima else None
    }
    for name, gap in seen.gaps.items():
        key = f"over_cosine.{_key(name)}"
        measures[key] = gap.value
        measures[f"{key}.low"], measures[f"{key}.high"] = gap.interval
    for name, speedup in seen.speedups.items():
        for one in speedup.at:
            key = f"multiplier.{_key(name)}.{format_count(one.params)}"
            measures[key] = one.value
            measures[f"{key}.low"], measures[f"{key}.high"] = one.interval or (None, None)
    costs = _cut_costs(seen).values()
    measures["over_cosine.cut_at_its_rate"] = fmean(costs) if costs else None
    return measures


def _table(seen: Seen) -> Table | None:
    gaps = seen.gaps
    multipliers = {
        (name, one.params, one.tokens): one.text
        for name, speedup in seen.speedups.items()
        for one in (*speedup.at, *speedup.bounds)
    }
    rows = []
    for best in sorted(
        seen.tuning.optima, key=lambda b: (b.cell.params, b.cell.tokens, b.loss or math.inf)
    ):
        low, high = best.interval or (math.nan, math.nan)
        gap, params = gaps.get(best.cell.recipe), float(best.cell.params)
        own = gap.by_size.get(params) if gap else None
        rows.append(
            (
                format_count(params),
                format_count(best.cell.tokens),
                best.cell.recipe,
                "-" if best.lr is None else f"{best.lr:.3g}",
                f"{low:.2g} to {high:.2g}" if best.interval else best.edge or "-",
                "-" if best.loss is None else f"{best.loss:.4f}",
                "-" if own is None else f"{100 * own[0]:+.2f}%",
                multipliers.get((best.cell.recipe, params, float(best.cell.tokens)), "-"),
            )
        )
    return (
        Table(
            caption="The best peak rate of each schedule (interval at 90%, or the edge that the"
            " lowest loss is at), the loss there in nats per token, its distance from the"
            " cosine's, and how many times the tokens the cosine needs for it",
            head=(
                "non-embedding",
                "tokens",
                "schedule",
                "best rate",
                "interval",
                "loss",
                "over cosine",
                "multiplier",
            ),
            rows=tuple(rows),
            text_columns=3,
        )
        if rows
        else None
    )


def _figure(seen: Seen) -> Figure | None:
    gaps = seen.gaps
    sizes = sorted({size for gap in gaps.values() for size in gap.by_size})
    series = []
    for count, size in enumerate(sizes):
        points, intervals = [], []
        for place, gap in enumerate(gaps.values()):
            if size in gap.by_size:
                value, (low, high) = gap.by_size[size]
                points.append((place + 0.12 * (count - (len(sizes) - 1) / 2), 100 * value))
                intervals.append((100 * low, 100 * high))
        series.append(
            Series(
                label=f"{format_count(size)} non-embedding parameters",
                points=tuple(points),
                intervals=tuple(intervals),
                line=False,
            )
        )
    values = {name.replace(" ", "\n"): float(place) for place, name in enumerate(gaps)}
    ends = (-0.5, len(gaps) - 0.5)
    even = tuple((at, 0.0) for at in ends)
    series.append(Series(label="cosine", points=even, marks=False, dashed=True))
    return figure(
        "schedules",
        f"Loss over the cosine's, each schedule at its own best rate, {seen.conditions}",
        "Interval at 90%, by how differences vary from seed to seed and by the best rate; below 0 a"
        " schedule ends lower than the cosine.",
        [
            Panel(
                x=Axis(label="schedule", values=values, low=ends[0], high=ends[1]),
                y=Axis(label="loss over the cosine's, %"),
                series=tuple(series),
            )
        ],
    )


def _rate_figure(seen: Seen) -> Figure | None:
    compared = {b.cell.tokens for b in seen.tuning.optima if b.cell.recipe != COSINE}
    optima = [b for b in seen.tuning.optima if b.cell.tokens in compared]
    panels = [
        Panel(
            title=f"{format_count(params)} non-embedding parameters",
            x=log_axis("peak learning rate"),
            y=Axis(label="loss, nats per token"),
            series=tuple(
                Series(
                    label=best.cell.recipe,
                    points=tuple(best.mean_losses.items()),
                    dashed=best.cell.recipe == COSINE,
                )
                for best in optima
                if best.cell.params == params
            ),
        )
        for params in sorted({best.cell.params for best in optima})
    ]
    return figure(
        "rates",
        "The loss by peak learning rate",
        "Means over seeds, at the horizon of all schedules. Broken: the cosine.",
        panels,
        kinds=True,
    )


def _literature(seen: Seen) -> tuple[Published, ...]:
    def ours(name: str, other: str = COSINE) -> str | None:
        gap = seen.gap(name, other)
        return None if gap is None else gap.text

    return (
        beside(
            "wsd over cosine",
            theirs="equal, with a 1-sqrt cooldown of 20%",
            ours=ours(WSD),
            source="Hägele 2024, arXiv 2405.18392",
        ),
        beside(
            "a linear cooldown over 1-sqrt",
            theirs="higher",
            ours=ours(WSD_LINEAR, WSD),
            source="Hägele 2024, arXiv 2405.18392",
        ),
        beside(
            "a cosine longer than the run",
            theirs="higher from 25% longer on",
            ours=ours(CUT),
            source="Hoffmann 2022, arXiv 2203.15556",
        ),
        beside(
            "linear decay over cosine",
            theirs="equal or lower",
            ours=ours(LINEAR),
            source="Defazio 2023, arXiv 2310.07831",
        ),
    )


_PLANTED = {
    CONSTANT: 0.04, CUT: 0.02, WSD: 0.0, WSD_LINEAR: 0.005, SHORT: 0.006, LONG: -0.002,
    LINEAR: -0.004,
}  # fmt: skip


def _planted_outcome(spec: RunSpec) -> Outcome:
    """A loss of each schedule, a parabola in the log rate, and a little noise."""
    name = spec_name(spec)
    mult = spec.optim.overrides.lr_mult or 1.0
    away = math.log(mult / (0.5 if name == CONSTANT else 1.0))
    level = 8 / count_params(spec.model).non_embedding ** 0.3 + 1.5 + 40 / spec.tokens**0.4
    of_seed = 2e-3 * spec.seed + 1e-4 * math.sin(1 + 5 * spec.seed + len(name) + 5 * away)
    log = _PLANTED.get(name, 0.0) + 0.01 * away**2 + of_seed
    return Outcome(val_loss_nats=level * math.exp(log))


EXPERIMENT = Experiment(
    question="Which learning-rate schedule ends with the lowest loss at equal compute?",
    reproduces="Hoffmann 2022 (cosine length), Hägele 2024 (wsd), Defazio 2023 (linear decay)",
    parts={
        "schedule": ("wsd", "cosine", "linear", "constant", "cosine_cut"),
        "cooldown": ("1-sqrt", "linear", "cosine"),
    },
    settings=Settings,
    propose=propose,
    analyse=analyse,
    planted=Planted(
        outcome=_planted_outcome,
        measures={
            "over_cosine.constant": (0.035, 0.045),
            "over_cosine.cosine_cut": (0.018, 0.022),
            "over_cosine.wsd_20_1-sqrt": (-0.001, 0.001),
            "multiplier.linear.3.52K": (1.02, 1.07),
        },
        claims={
            "decay_helps": True,
            "cut_cosine_misleads": True,
            "wsd_is_no_worse": True,
            "one_minus_sqrt_beats_linear": True,
            "longer_decay_helps": True,
            "linear_beats_cosine": True,
            "all_tuned": True,
        },
    ),
)
