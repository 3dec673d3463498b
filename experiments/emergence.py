"""Emergence: the ability to add numbers, by size, seed and measure.

    slaw run emergence                # 3-digit sums, plain and reversed, five sizes, five seeds
    slaw report results/emergence     # who solves it, at which step, and what other measures show

Wei 2022 (arXiv 2206.07682) saw abilities appear at a size; Schaeffer 2023 (arXiv 2304.15004) holds
that exact match makes them appear, because it multiplies the accuracies of all digits. A run has
solved the task once 90% of its answers are right in all digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from scaling_law.experiment.answered import (
    BEGUN,
    BRIER,
    EXACT,
    LOG_PROB,
    SOLVED,
    Group,
    Point,
    Seen,
    answered,
    last_step,
    solved_by_size,
    solvers,
)
from scaling_law.experiment.answered_figures import (
    chance_figure,
    curves_figure,
    measures_figure,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Claim, Findings, Published, Table
from scaling_law.experiment.fisher import fisher_chance
from scaling_law.experiment.groups import every, grouped, left_out, task_settings
from scaling_law.experiment.seeds import Mean, Time, median_time, range_text
from scaling_law.experiment.sigmoid import Sigmoid
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.run import RunSpec

CLOSE = 0.03  # how near exact match must be to the product of the digits' accuracies
NEAR = 0.9  # of a run's measurements that must be as near
LEARNING = (0.05, 0.95)  # exact match between which the product is compared
ORDERS = {True: "reversed", False: "plain"}
SURE = 0.05  # the largest probability of a difference by chance


def seen(run: Run) -> Seen | None:
    """What a run did; None for another task, or without the measurements."""
    if (task := task_settings(run.spec, "addition", Task)) is None:
        return None
    return answered(run, digits=task.digits + 1, reverse=task.reverse)  # a sum has one more


def groups_of(evidence: Evidence) -> dict[str, dict[int, list[Seen]]]:
    """What the runs did, by the order of the digits and by size."""
    ones = [one for run in evidence.ended if (one := seen(run)) is not None]
    return {
        order: grouped((one.params, one) for one in ones if one.reverse is reverse)
        for reverse, order in ORDERS.items()
    }


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
        figures=(
            measures_figure(groups["reversed"]),
            chance_figure(groups),
            curves_figure(groups["reversed"]),
        ),
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
    step = last_step(group)

    def decide() -> Decision:
        fit = solved_by_size(group, step)
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
        step = min(map(last_step, mine.values()))
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
        # each tail holds what was seen
        more, fewer = (fisher_chance(*them) for them in
                       ((right, total, other, rest), (other, rest, right, total)))  # fmt: skip
        chance = min(more, fewer)
        words = f"{right} of {total} against {other} of {rest} by step {step}"
        need(
            chance < SURE,
            f"{words}, which chance alone gives with probability {chance:.2g}",
            "more seeds",
        )
        return more < fewer, f"{words}; by chance with probability {chance:.2g}"

    return claim(
        "reversed_is_easier",
        "more runs solve the task with the digits of the sum reversed than in plain order",
        decide,
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
    counts = [f"{solvers(ones)} of {len(ones)} at {size:,}" for size, ones in group.items()]
    if counts:
        words += f". Of the seeds with reversed digits {', '.join(counts)} parameters solve it"
    known = standing["likelier_with_size"]
    return f"{words}; {'a' if known else 'no'} critical size is identified."


def _measures(groups: Mapping[str, Group]) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for order, group in groups.items():
        for size, ones in group.items():
            name = f"{order}.n{size}"
            measures[f"solved.{name}"] = solvers(ones) / len(ones)
            measures[f"steps.{name}"] = _median(ones).step
            measures[f"exact.{name}"] = fmean(one.points[-1].exact for one in ones)
            measures[f"log_prob.{name}"] = fmean(one.points[-1].log_prob for one in ones)
            measures[f"brier.{name}"] = fmean(one.points[-1].brier for one in ones)
        fit = solved_by_size(group, last_step(group))
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
                f"{solvers(ones)} of {len(ones)}",
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


def _literature(groups: Mapping[str, Group]) -> tuple[Published, ...]:
    ones = [one for group in groups.values() for one in every(group)]
    shares = range_text(one.before for one in ones)
    counts = {order: (solvers(every(g)), len(every(g))) for order, g in groups.items()}
    (right, total), (other, rest) = counts["reversed"], counts["plain"]
    both = f"{right} of {total} runs reversed, {other} of {rest} plain" if total and rest else None
    random = [size for size, group in groups["reversed"].items() if 0 < solvers(group) < len(group)]
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
