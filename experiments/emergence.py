"""Emergence: the ability to add numbers, by size, seed and measure.

    slaw run emergence                # 3-digit sums, plain and reversed, five sizes, five seeds
    slaw report results/emergence     # who solves it, at which step, and what other measures show

Wei 2022 (arXiv 2206.07682) saw abilities appear at a size; Schaeffer 2023 (arXiv 2304.15004) holds
that exact match makes them appear, because it multiplies the accuracies of all digits. A run has
solved the task once 90% of its answers are right in all digits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.data.tasks.addition import Settings as Task
from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import (
    Decision,
    answer,
    beside,
    claim,
    decided,
    need,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import curve_series, figure, log_axis, mean_series
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
from scaling_law.experiment.groups import every, grouped, left_out, task_settings
from scaling_law.experiment.seeds import Mean, Time, first_time, median_time, range_text
from scaling_law.experiment.sigmoid import Sigmoid, fit_sigmoid
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.run import RunSpec

SOLVED = 0.9
BEGUN = 0.1  # exact match from which on the ability shows
CLOSE = 0.03  # how near exact match must be to the product of the digits' accuracies
NEAR = 0.9  # of a run's measurements that must be as near
LEARNING = (0.05, 0.95)  # exact match between which the product is compared
SURE = 0.05  # the largest probability of a difference by chance
EXACT, LOG_PROB, BRIER = (f"answers.val.{key}" for key in ("exact", "log_prob", "brier"))
ORDERS = {True: "reversed", False: "plain"}


@dataclass(frozen=True)
class Point:
    """What one point of a curve measured.

    ``step`` is the training step; ``exact`` is the share of right answers; ``digits`` are the
    shares of right digits by position; ``log_prob`` is the mean log-probability of a digit in nats;
    ``brier`` is the mean Brier score of a digit.
    """

    step: int
    exact: float
    digits: tuple[float, ...]
    log_prob: float
    brier: float

    @property
    def product(self) -> float:
        """The product of the digits' accuracies."""
        return math.prod(self.digits)

    @property
    def power(self) -> float:
        """The mean accuracy of a digit to the power of the number of digits."""
        return float(fmean(self.digits) ** len(self.digits))


@dataclass(frozen=True)
class Seen:
    """What one run did.

    ``run`` is the run; ``params`` is its size, in parameters; ``reverse`` says whether the last
    digit comes first; ``solved`` is when it solved the task; ``points`` are its measurements by
    step.
    """

    run: Run
    params: int
    reverse: bool
    solved: Time
    points: tuple[Point, ...]

    def solved_by(self, step: int) -> bool:
        """Whether it had solved the task by a step."""
        return self.solved.step is not None and self.solved.step <= step

    @property
    def before(self) -> float | None:
        """The share of the log-probability's rise that came before answers were right.

        None for a run that did not solve the task.
        """
        if self.solved.step is None:
            return None
        lows = list(itertools.takewhile(lambda point: point.exact < BEGUN, self.points))
        first, best = self.points[0].log_prob, max(point.log_prob for point in self.points)
        return (lows[-1].log_prob - first) / (best - first) if lows and best > first else None


Group = Mapping[int, Sequence[Seen]]  # by size, in parameters


def seen(run: Run) -> Seen | None:
    """What a run did; None for another task, or without the measurements."""
    if (task := task_settings(run.spec, "addition", Task)) is None:
        return None
    solved = first_time(run, EXACT, SOLVED)
    if solved is None:
        return None
    keys = [f"answers.val.position-{position}" for position in range(1, task.digits + 2)]
    points = tuple(
        Point(
            point.step,
            point.metrics[EXACT],
            tuple(point.metrics[key] for key in keys),
            point.metrics[LOG_PROB],
            point.metrics[BRIER],
        )
        for point in run.curve
        if {EXACT, LOG_PROB, BRIER, *keys} <= set(point.metrics)
    )
    return Seen(run, run.record.params_total, task.reverse, solved, points) if points else None


def groups_of(evidence: Evidence) -> dict[str, dict[int, list[Seen]]]:
    """What the runs did, by the order of the digits and by size."""
    ones = [one for run in evidence.ended if (one := seen(run)) is not None]
    return {
        order: grouped((one.params, one) for one in ones if one.reverse is reverse)
        for reverse, order in ORDERS.items()
    }


def _last_step(group: Group) -> int:
    """The steps that all runs were measured for."""
    return min((one.solved.within for one in every(group)), default=0)


def _sigmoid(group: Group, step: int) -> Sigmoid | str:
    return fit_sigmoid(
        {size: [one.solved_by(step) for one in ones] for size, ones in group.items()}
    )


def analyse(evidence: Evidence) -> Findings:
    """Return who solves the task, and what each measure shows of it."""
    groups = groups_of(evidence)
    ones = [one for group in groups.values() for one in every(group)]
    claims = (
        _product(ones),
        _power(ones),
        _digits_first(ones),
        _by_size(groups["reversed"]),
        _order(groups),
    )
    return answer(
        claims,
        lambda: _words(claims, groups),
        measures=_measures(groups) if ones else {},
        tables=(_table(groups) if ones else None,),
        figures=(_by_measure(groups["reversed"]), _chance(groups), _curves(groups["reversed"])),
        literature=_literature(groups),
        notes=left_out(evidence, len(ones), "of another task or without answers"),
        units={
            "solved": "share of seeds",
            "exact": "share of answers",
            "log_prob": "nats per digit",
            "brier": "score per digit",
        },
    )


def _is_learning(point: Point) -> bool:
    return LEARNING[0] <= point.exact <= LEARNING[1]


def _learning(ones: Sequence[Seen]) -> list[Point]:
    """The measurements at which some answers are right and some are not."""
    low, high = LEARNING
    points = [point for one in ones for point in one.points if _is_learning(point)]
    need(
        len(points) >= 10,
        f"{len(points)} measurements have an exact match between {low} and {high}",
        "it needs 10: finish the sweep, or train larger models or for longer",
    )
    return points


def _product(ones: Sequence[Seen]) -> Claim:
    def decide() -> Decision:
        points = _learning(ones)
        off = [abs(point.exact - point.product) for point in points]
        near = sum(one <= CLOSE for one in off) / len(off)
        words = (
            f"{near:.0%} of {len(off)} measurements while exact match is between"
            f" {LEARNING[0]} and {LEARNING[1]}; at most {max(off):.3f} off; of a run's measurements"
        )
        each = [
            fmean(abs(point.exact - point.product) <= CLOSE for point in own) - NEAR
            for one in ones
            if (own := [point for point in one.points if _is_learning(point)])
        ]
        return decided(each, words, show=_share_of_runs)

    return claim(
        "product_of_digits",
        f"exact match is the product of the digits' accuracies, within {CLOSE} in more than"
        f" {NEAR:.0%} of a run's measurements, on average over runs",
        decide,
    )


def _share_of_runs(mean: Mean) -> str:
    """A mean share above ``NEAR``, as the share itself."""
    assert mean.interval is not None, "it has two runs"
    low, high = (min(NEAR + end, 1.0) for end in mean.interval)
    return f"{NEAR + mean.value:.1%} ({low:.1%} to {high:.1%}, {mean.seeds} runs)"


def _power(ones: Sequence[Seen]) -> Claim:
    def decide() -> Decision:
        points = _learning(ones)
        power = fmean(abs(point.exact - point.power) for point in points)
        product = fmean(abs(point.exact - point.product) for point in points)
        most = max(abs(point.exact - point.power) for point in points)
        words = f"off by {power:.3f} on average (at most {most:.2f}), the product by {product:.3f}"
        each = [
            fmean(abs(p.exact - p.power) - 2 * abs(p.exact - p.product) for p in own)
            for one in ones
            if (own := [point for point in one.points if _is_learning(point)])
        ]
        return decided(
            each,
            f"{words}; of each run's measurements off by more than twice as much by",
            show=lambda mean: mean.text.replace("seed", "run"),
        )

    return claim(
        "power_is_off",
        "the mean digit's accuracy to the power of the number of digits is off by more than twice"
        " as much",
        decide,
    )


def _digits_first(ones: Sequence[Seen]) -> Claim:
    def decide() -> Decision:
        shares = [share for one in ones if (share := one.before) is not None]
        need(
            len(shares) >= 3,
            f"{len(shares)} runs have solved the task after a measurement below {BEGUN}",
            "it needs 3: finish the sweep, or train larger models or for longer",
        )
        above = sum(share > 0.5 for share in shares)
        words = (
            f"{range_text(shares)} of the rise, {fmean(shares):.2f} on average, more than half in"
            f" {above} of {len(shares)} runs"
        )
        above_half = [share - 0.5 for share in shares]
        return decided(
            above_half,
            f"{words}; above half by",
            show=lambda mean: mean.text.replace("seeds", "runs"),
        )

    return claim(
        "digits_first",
        "in runs that solve the task more than half of the rise of the digits' log-probability"
        f" comes while fewer than {BEGUN:.0%} of the answers are right",
        decide,
    )


def _by_size(group: Group) -> Claim:
    step = _last_step(group)

    def decide() -> Decision:
        fit = _sigmoid(group, step)
        if isinstance(fit, str):
            need(False, fit, "it needs more seeds, more sizes, or longer training")
        assert isinstance(fit, Sigmoid)
        low, high = fit.middle_interval
        first, last = fit.slope_interval
        return True, (
            f"half of the seeds at {fit.middle:,.0f} parameters ({low:,.0f} to {high:,.0f}),"
            f" exponent {fit.slope:.2g} ({first:.2g} to {last:.2g}), reversed"
        )

    return claim(
        "likelier_with_size",
        f"the probability to have solved the task by step {step} rises with size, as a sigmoid",
        decide,
    )


def _order(groups: Mapping[str, Group]) -> Claim:
    def decide() -> Decision:
        sizes = sorted(set(groups["reversed"]) & set(groups["plain"]))
        mine = {order: {size: groups[order][size] for size in sizes} for order in groups}
        step = min(map(_last_step, mine.values()))
        counts = {
            order: (sum(one.solved_by(step) for one in every(group)), len(every(group)))
            for order, group in mine.items()
        }
        (right, total), (other, rest) = counts["reversed"], counts["plain"]
        need(
            min(total, rest) >= 5 and right + other > 0,
            f"{right} of {total} reversed runs and {other} of {rest} plain ones have solved it",
            "it needs 5 runs of each order at the same sizes, and some that solve it",
        )
        chance = _by_chance(right, total, other, rest)
        words = f"{right} of {total} against {other} of {rest} by step {step}"
        need(
            chance < SURE or chance > 1 - SURE,
            f"{words}, which chance alone gives with probability {chance:.2g}",
            "more seeds",
        )
        return right / total > other / rest, f"{words}; by chance with probability {chance:.2g}"

    return claim(
        "reversed_is_easier",
        "more runs solve the task with the digits of the sum reversed than in plain order",
        decide,
    )


def _by_chance(right: int, total: int, other: int, rest: int) -> float:
    """Fisher's exact test: the probability of at least ``right`` in the first group by chance."""
    solved, everyone = right + other, total + rest
    ways = math.comb(everyone, solved)
    most = min(solved, total)
    return sum(
        math.comb(total, k) * math.comb(rest, solved - k) / ways for k in range(right, most + 1)
    )


def _words(claims: Sequence[Claim], groups: Mapping[str, Group]) -> str:
    standing = {one.name: one.established for one in claims}
    product = {True: "is", False: "is not", None: "is not shown to be"}[
        standing["product_of_digits"]
    ]
    words = f"Exact match {product} the product of the digits' accuracies"
    shares = [s for g in groups.values() for one in every(g) if (s := one.before) is not None]
    if shares:
        words += (
            f"; the digits' log-probability makes {range_text(shares)} of its rise before"
            f" {BEGUN:.0%} of the answers are right, {fmean(shares):.2f} on average"
        )
    if shares and min(shares) < 0.5 < max(shares):
        words += ": in some runs most of it, in other runs mostly together with them"
    group = groups["reversed"]
    counts = [f"{_solved(ones)} of {len(ones)} at {size:,}" for size, ones in group.items()]
    if counts:
        words += f". Of the seeds with reversed digits {', '.join(counts)} parameters solve it"
    known = standing["likelier_with_size"]
    return f"{words}; {'a' if known else 'no'} critical size is identified."


def _solved(ones: Sequence[Seen]) -> int:
    return sum(one.solved.step is not None for one in ones)


def _measures(groups: Mapping[str, Group]) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for order, group in groups.items():
        for size, ones in group.items():
            name = f"{order}.n{size}"
            measures[f"solved.{name}"] = _solved(ones) / len(ones)
            measures[f"steps.{name}"] = _median(ones).step
            measures[f"exact.{name}"] = fmean(one.points[-1].exact for one in ones)
            measures[f"log_prob.{name}"] = fmean(one.points[-1].log_prob for one in ones)
            measures[f"brier.{name}"] = fmean(one.points[-1].brier for one in ones)
        fit = _sigmoid(group, _last_step(group))
        measures[f"critical_params.{order}"] = fit.middle if isinstance(fit, Sigmoid) else None
        measures[f"critical_exponent.{order}"] = fit.slope if isinstance(fit, Sigmoid) else None
    return measures


def _median(ones: Sequence[Seen]) -> Time:
    middle = median_time([one.solved for one in ones])
    assert middle is not None, "a size has at least one run"
    return middle


def _table(groups: Mapping[str, Group]) -> Table:
    return Table(
        caption=f"By order of the digits and size: seeds that solve the task ({SOLVED:.0%} of the"
        " answers right) and the median steps to it; then means over seeds at the end: exact match,"
        " the product of the digits' accuracies, their mean to the power of their number, the"
        " digits' accuracies in the order they are written, log-probability of a digit in nats,"
        " Brier score of a digit",
        head=(
            "order", "parameters", "solved", "steps", "exact", "product", "power", "digits",
            "log-probability", "Brier",
        ),
        rows=tuple(
            (
                order,
                size,
                f"{_solved(ones)} of {len(ones)}",
                _median(ones).text,
                *(f"{fmean(getattr(p, key) for p in ends):.3f}" for key in _SHARES),
                " ".join(f"{fmean(ds):.2f}" for ds in zip(*(p.digits for p in ends), strict=True)),
                f"{fmean(p.log_prob for p in ends):.3f}",
                f"{fmean(p.brier for p in ends):.3f}",
            )
            for order, group in groups.items()
            for size, ones in group.items()
            for ends in [[one.points[-1] for one in ones]]
        ),
    )  # fmt: skip


_SHARES = ("exact", "product", "power")


def _by_measure(group: Group) -> Figure | None:
    """Each measure against size at the end of training, reversed."""

    def ends(key: str) -> dict[float, list[float]]:
        return {
            float(size): [float(getattr(one.points[-1], key)) for one in ones]
            for size, ones in group.items()
        }

    seeds = tuple(
        (float(size), one.points[-1].exact) for size, ones in group.items() for one in ones
    )
    size = log_axis("parameters", map(float, group))
    return figure(
        "emergence_measures",
        "The same runs by three measures, digits reversed",
        "Means over seeds at the end of training, with 90% intervals; in the first panel each seed,"
        " and the product of the digits' accuracies beside exact match.",
        (
            Panel(
                title="exact match",
                x=size,
                y=Axis(label="share of answers", low=-0.05, high=1.05),
                series=(
                    Series(label="each seed", points=seeds, line=False),
                    Series(label="mean over seeds", points=_means(ends("exact")), marks=False),
                    Series(
                        label="product of the digits' accuracies",
                        points=_means(ends("product")),
                        line=False,
                    ),
                ),
            ),
            Panel(
                title="log-probability",
                x=size,
                y=Axis(label="nats per digit"),
                series=(mean_series("mean over seeds", ends("log_prob"), high=0.0),),
            ),
            Panel(
                title="Brier score",
                x=size,
                y=Axis(label="score per digit"),
                series=(mean_series("mean over seeds", ends("brier"), low=0.0),),
            ),
        ),
    )


def _means(values: Mapping[float, Sequence[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((size, fmean(group)) for size, group in values.items())


def _chance(groups: Mapping[str, Group]) -> Figure | None:
    """The share of seeds that have solved the task, against size, by step and order."""
    panels = []
    for order, group in groups.items():
        last = _last_step(group)
        series = [
            Series(
                label=f"by {share} of the steps",
                points=tuple(
                    (float(size), fmean(one.solved_by(round(last * part)) for one in ones))
                    for size, ones in group.items()
                ),
            )
            for share, part in (("half", 0.5), ("three quarters", 0.75), ("all", 1.0))
        ]
        if isinstance(fit := _sigmoid(group, last), Sigmoid):
            low, high = math.log(min(group)), math.log(max(group))
            sizes = [math.exp(low + (high - low) * part / 40) for part in range(41)]
            points = tuple((size, fit.at(size)) for size in sizes)
            series.append(
                Series(label="sigmoid (all steps)", points=points, marks=False, dashed=True)
            )
        panels.append(
            Panel(
                title=order,
                x=log_axis("parameters", map(float, group)),
                y=Axis(label="share of seeds that have solved it", low=-0.05, high=1.05),
                series=tuple(series),
            )
        )
    return figure(
        "emergence_chance",
        "The share of seeds that have solved the task, against size",
        "A sigmoid is drawn only where the outcomes identify one.",
        [panel for panel in panels if any(series.points for series in panel.series)],
    )


def _curves(group: Group) -> Figure | None:
    """Measures of each seed against steps, at the size most of whose seeds solve the task."""
    if not group:
        return None
    size = max(group, key=lambda size: (_solved(group[size]) / len(group[size]), -size))
    metrics = (
        ("exact match", "share of answers", EXACT),
        ("log-probability", "nats per digit", LOG_PROB),
    )
    return figure(
        "emergence_curves",
        f"Training at {size:,} parameters, digits reversed",
        "Each line is a seed.",
        [
            Panel(
                title=title,
                x=Axis(label="steps"),
                y=Axis(label=label),
                series=tuple(curve_series("a seed", one.run, metric) for one in group[size]),
            )
            for title, label, metric in metrics
        ],
    )


def _literature(groups: Mapping[str, Group]) -> tuple[Published, ...]:
    ones = [one for group in groups.values() for one in every(group)]
    shares = range_text(one.before for one in ones)
    counts = {order: (_solved(every(g)), len(every(g))) for order, g in groups.items()}
    (right, total), (other, rest) = counts["reversed"], counts["plain"]
    both = f"{right} of {total} runs reversed, {other} of {rest} plain" if total and rest else None
    random = [size for size, group in groups["reversed"].items() if 0 < _solved(group) < len(group)]
    return (
        beside(
            "measures of single tokens change before exact match does",
            theirs="smoothly and predictably with size (GPT-3, arithmetic)",
            ours=shares and f"{shares} of the rise before 10% exact match, in training steps",
            source="Schaeffer 2023, arXiv 2304.15004",
        ),
        beside(
            "whether a size has the ability",
            theirs="yes above a size, no below it",
            ours=f"decided by the seed at {len(random)} of {len(groups['reversed'])} sizes"
            if total
            else None,
            source="Wei 2022, arXiv 2206.07682",
        ),
        beside(
            "three-digit addition, the sum reversed against plain",
            theirs="reversed is learned from fewer examples",
            ours=both,
            source="Lee 2023, arXiv 2307.03381",
        ),
    )


# Of the planted runs with reversed digits: how many seeds solve the task, by width.
_SOLVES = {4: 0, 6: 1, 8: 3, 12: 4, 16: 5}


def _planted(spec: RunSpec) -> Outcome:
    """Seeds below a number that grows with width solve it at step 600, and none in plain order."""
    task = task_settings(spec, "addition", Task)
    assert task is not None and isinstance(spec.model, ModelSpec)
    solves = task.reverse and spec.seed < _SOLVES[spec.model.d_model]
    curve = []
    for step in range(40, spec.total_steps + 1, 20):
        part = step / spec.total_steps if solves else min(step / spec.total_steps, 0.5)
        hard = min(1.0, max(0.1, 0.1 + 4 * (part - 0.6)))
        digits = (hard, 1.0, hard, 1.0)
        metrics = {
            EXACT: math.prod(digits),
            LOG_PROB: -2.3 * (1 - part),
            BRIER: 1.0 - 0.9 * part,
            **{f"answers.val.position-{n}": value for n, value in enumerate(digits, 1)},
        }
        curve.append(planted_point(spec, step, metrics))
    return Outcome(curve=tuple(curve), metrics=curve[-1].metrics)


EXPERIMENT = Experiment(
    question="Does the ability to add numbers appear suddenly with size, or only in some measures?",
    reproduces="Schaeffer 2023 (mirage), Wei 2022, Lee 2023",
    parts={"source": ("addition",), "probe": ("answers",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"critical_params.reversed": (1000, 4000), "critical_exponent.reversed": (1, 10)},
        claims={
            "product_of_digits": True,
            "power_is_off": True,
            "digits_first": True,
            "likelier_with_size": True,
            "reversed_is_easier": True,
        },
    ),
)
