"""Best of n: what drawing many answers to a question gains, and what it costs.

    slaw run best_of_n                # 3-digit sums, stopped at six lengths of training
    slaw report results/best_of_n     # pass@n and two laws; ways of choosing; compute

pass@n is the share of questions of which one of n answers is right (Chen 2021, arXiv 2107.03374).
It is predicted from n up to 8 by P_inf - (P_inf - P_1) n^-b, and by the beta-binomial law that
follows where every question has a probability of its own. Where nobody knows the right answer, one
of the n is chosen: by majority, or by the model's own log-probability. ``verifier`` asks what a
learned judge adds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import (
    Decision,
    all_decided,
    answer,
    beside,
    claim,
    decided,
    need,
)
from scaling_law.experiment.attempts import (
    WAYS,
    BetaBinomial,
    Drawn,
    drawn,
    fit_beta_binomial,
    need_learning,
    planted_metrics,
)
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
from scaling_law.experiment.groups import every, grouped, left_out
from scaling_law.experiment.seeds import Mean, best_on_others, shares
from scaling_law.experiment.trends import Trend, fit_power
from scaling_law.spec.run import RunSpec
from scaling_law.spec.values import Number
from scaling_law.units import count_of, format_count

FITTED, PREDICTED = (1, 2, 4, 8), 64
CLOSE = 0.03  # what two shares of 200 questions may differ by; how near a prediction must be
TRAINED = 0.5  # greedy answers that are right after the longest training
LAWS = ("beta-binomial", "power")
ANSWERS = log_axis("answers drawn", (1, 2, 4, 8, 16, 32, 64))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``served`` is how many questions a trained model answers, for the costs."""

    served: Annotated[int, Number("questions answered", "count", low=1)] = 10_000


def fitted(one: Drawn, law: str) -> BetaBinomial | Trend | str:
    """A law fitted to pass@n of a run at n up to 8, or why it cannot be."""
    points = {n: one.passed[n] for n in FITTED}
    if law == "power":
        return fit_power({float(n): y for n, y in points.items()}, first=points[1], most=1.0)
    return fit_beta_binomial(points)


def predicted(one: Drawn, law: str) -> float | None:
    """pass@64 by a law; None where it cannot be fitted."""
    fit = fitted(one, law)
    return None if isinstance(fit, str) else fit.at(PREDICTED)


Groups = Mapping[int, Sequence[Drawn]]  # by steps of training


def groups_of(evidence: Evidence) -> dict[int, list[Drawn]]:
    """What the runs do, by length of training."""
    ones = [one for run in evidence.ended if (one := drawn(run)) is not None]
    return grouped((one.steps, one) for one in ones if one.samples >= PREDICTED)


def analyse(evidence: Evidence) -> Findings:
    """Return what more answers gain: with the truth, by choosing, and per compute."""
    groups = groups_of(evidence)
    settings = evidence.settings if isinstance(evidence.settings, Settings) else Settings()
    ones = every(groups)
    learning = [one for one in ones if one.learning]
    claims = (
        _predicts(ones),
        _power_off(ones),
        _own_choice(ones),
        _training(groups, settings.served),
    )
    return answer(
        claims,
        lambda: _words(claims, learning, settings.served),
        measures=_measures(groups, learning, settings.served) if ones else {},
        tables=(_table(groups), _cost_table(groups, settings.served)) if ones else (),
        figures=(
            _laws_drawn(learning),
            _ways_drawn(learning),
            _cost_drawn(groups, settings.served),
        ),
        literature=_literature(learning),
        notes=left_out(evidence, len(ones), "without answers drawn"),
    )


def _misses(learning: Sequence[Drawn], law: str) -> list[float]:
    """How far each prediction is from the measured pass@64."""
    off = [
        abs(value - one.passed[PREDICTED])
        for one in learning
        if (value := predicted(one, law)) is not None
    ]
    need(
        len(off) == len(learning),
        f"the {law} law cannot be fitted to {len(learning) - len(off)} of {len(learning)} runs",
        "it needs more questions, or other lengths of training",
    )
    return off


def _predicts(ones: Sequence[Drawn]) -> Claim:
    def decide() -> Decision:
        learning = need_learning(ones)
        off = _misses(learning, "beta-binomial")
        words = f"off by at most {max(off):.3f} in {len(off)} runs; nearer than {CLOSE} by"
        return decided(_by_seed(learning, [CLOSE - one for one in off]), words, show=_plain)

    return claim(
        "beta_binomial_predicts",
        f"the beta-binomial law, fitted to pass@1 to pass@{max(FITTED)}, predicts pass@{PREDICTED}"
        f" within {CLOSE} on average over the runs that are learning",
        decide,
    )


def _by_seed(ones: Sequence[Drawn], values: Sequence[float]) -> list[float]:
    """The mean of one value a run over the runs of each seed, which are no repeats."""
    by = grouped((one.run.spec.seed, value) for one, value in zip(ones, values, strict=True))
    return [fmean(own) for own in by.values()]


def _plain(mean: Mean) -> str:
    return mean.text


def _power_off(ones: Sequence[Drawn]) -> Claim:
    def decide() -> Decision:
        learning = need_learning(ones)
        ours, theirs = (_misses(learning, law) for law in LAWS)
        words = (
            f"off by {fmean(theirs):.3f} on average against {fmean(ours):.3f}; above twice that by"
        )
        each = [other - 2 * own for own, other in zip(ours, theirs, strict=True)]
        return decided(_by_seed(learning, each), words, show=_plain)

    return claim(
        "power_law_is_off",
        f"P_inf - (P_inf - P_1) n^-b, fitted to the same, misses pass@{PREDICTED} by more than"
        " twice as much on average",
        decide,
    )


def _own_choice(ones: Sequence[Drawn]) -> Claim:
    def decide() -> Decision:
        learning = need_learning(ones)
        pairs = [
            (one.chosen["log_prob"][PREDICTED], one.chosen["majority"][PREDICTED])
            for one in learning
        ]
        wins = sum(own > majority for own, majority in pairs)
        words = (
            f"{fmean(own for own, _ in pairs):.3f} against"
            f" {fmean(majority for _, majority in pairs):.3f} on average, higher in {wins} of"
            f" {len(pairs)} runs"
        )
        each = [own - majority for own, majority in pairs]
        return decided(_by_seed(learning, each), f"{words}; more by", show=_plain)

    return claim(
        "own_log_probability_beats_majority",
        f"of {PREDICTED} answers the likeliest by the model itself is right more often than the"
        " commonest, in runs that are learning",
        decide,
    )


@dataclass(frozen=True, kw_only=True)
class Split:
    """A way to spend compute: ``steps`` of training, then ``n`` answers to each question served.

    ``flops`` is what both cost; ``train_share`` is training's part; ``shares`` is how often the
    answer is right, mean over seeds, by way: one answer, the likeliest of n, or any of n.
    """

    steps: int
    n: int
    flops: float
    train_share: float
    shares: Mapping[str, float]


def _splits(groups: Groups, served: int) -> list[Split]:
    """All splits of the lengths of training and the numbers of answers that were measured."""
    splits = []
    for steps, ones in groups.items():
        train = fmean(one.run.record.flops_spent for one in ones)
        for n in ones[0].passed:
            total = train + served * n * fmean(map(_answer_flops, ones))
            values = {
                "log_prob": fmean(one.chosen["log_prob"][n] for one in ones),
                "pass": fmean(one.passed[n] for one in ones),
            }
            if n == 1:
                values["one"] = fmean(one.greedy for one in ones)
                values["log_prob"] = values["one"]
            splits.append(
                Split(steps=steps, n=n, flops=total, train_share=train / total, shares=values)
            )
    return splits


def _answer_flops(one: Drawn) -> float:
    """What one answer costs: a forward pass over the whole context, a third of a training pass."""
    record = one.run.record
    return record.flops_exact / record.tokens / 3 * one.run.spec.model.n_ctx


def _best(splits: Iterable[Split], way: str, budget: float) -> Split | None:
    """The split within a budget whose answers are right most often."""
    fitting = [s for s in splits if s.flops <= budget * 1.0001 and way in s.shares]
    return max(fitting, key=lambda s: (s.shares[way], -s.flops), default=None)


def _budgets(groups: Groups, served: int) -> list[float]:
    """What each length of training costs with one answer to each question."""
    return [split.flops for split in _splits(groups, served) if split.n == 1]


def _training(groups: Groups, served: int) -> Claim:
    def decide() -> Decision:
        need(
            len(groups) > 2,
            f"runs of {len(groups)} lengths of training have finished",
            "it needs 3: " + AGAIN,
        )
        longest = groups[max(groups)]
        learned = {one.run.spec.seed for one in longest if one.greedy >= TRAINED}
        need(
            len(learned) > 1,
            f"after the longest training {shares([one.greedy for one in longest])} of the greedy"
            f" answers are right, in {len(learned)} of {count_of(len(longest), 'seed')} at least"
            f" {TRAINED}",
            "it needs two such seeds: train for longer, or with other seeds",
        )
        each, words = {}, []
        for steps, budget in zip(groups, _budgets(groups, served), strict=True):
            one = _greedy(groups, steps, learned)
            several = _several(groups, budget, served, learned)
            both = sorted(one.keys() & several.keys())
            if not both:
                continue
            pair = [fmean(share[seed] for seed in both) for share in (one, several)]
            words.append(f"{pair[0]:.2f} against {pair[1]:.2f}")
            each[f"after {steps} steps"] = [one[seed] - several[seed] + CLOSE for seed in both]
        need(bool(each), "no budget pays for two answers", "it needs fewer questions (served)")
        return all_decided(
            each,
            f"at rising compute {', '.join(words)}, over {len(learned)} of"
            f" {count_of(len(longest), 'seed')}; {format_count(served)} questions; ahead, with"
            f" {CLOSE} added, by",
            show=_plain,
        )

    return claim(
        "training_beats_drawing",
        "at equal compute for training and answering together, in seeds that learn the task"
        f" ({TRAINED:.0%} right after the longest training), one greedy answer of the model trained"
        " for longest is right at least as often as the likeliest of several of any other, within"
        f" {CLOSE}",
        decide,
    )


def _greedy(groups: Groups, steps: int, seeds: Collection[int]) -> dict[int, float]:
    """How often one greedy answer is right after so many steps, by seed."""
    by = {one.run.spec.seed: one.greedy for one in groups[steps]}
    return {seed: share for seed, share in by.items() if seed in seeds}


def _several(
    groups: Groups, budget: float, served: int, seeds: Collection[int]
) -> dict[int, float]:
    """How often the likeliest of several is right at the best split within a budget, by seed.

    The split of each seed is that which is best in the other seeds.
    """
    wrong = [
        {
            one.run.spec.seed: -one.chosen["log_prob"][split.n]
            for one in groups[split.steps]
            if one.run.spec.seed in seeds
        }
        for split in _splits(groups, served)
        if split.n > 1 and split.flops <= budget * 1.0001
    ]
    return {seed: -share for seed, share in best_on_others(wrong).items()}


def _words(claims: Sequence[Claim], learning: Sequence[Drawn], served: int) -> str:
    standing = {one.name: one.established for one in claims}
    one, any_of, chosen = (
        shares(values)
        for values in (
            [run.passed[1] for run in learning],
            [run.passed[PREDICTED] for run in learning],
            [run.chosen["log_prob"][PREDICTED] for run in learning],
        )
    )
    words = (
        f"In runs that are learning one answer is right for a share of {one} of the questions, one"
        f" of {PREDICTED} for {any_of}, and the one of these that the model finds likeliest for"
        f" {chosen}"
    )
    law = {True: "predicts", False: "does not predict"}[bool(claims[0].established)]
    words += (
        f"; the beta-binomial law {law} pass@{PREDICTED} from {max(FITTED)} answers within {CLOSE}"
    )
    if (better := standing["training_beats_drawing"]) is not None:
        words += (
            "; at equal compute longer training is worth more than drawing several and choosing"
            if better
            else "; at some compute drawing several and choosing is worth more than longer training"
        )
        words += f" by own log-probability, with {served:,} questions served"
    return f"{words}."


def _measures(groups: Groups, learning: Sequence[Drawn], served: int) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for steps, ones in groups.items():
        measures[f"greedy.steps{steps}"] = fmean(one.greedy for one in ones)
        for n in (1, 8, PREDICTED):
            measures[f"pass.steps{steps}.n{n}"] = fmean(one.passed[n] for one in ones)
            for way in WAYS:
                measures[f"{way}.steps{steps}.n{n}"] = fmean(one.chosen[way][n] for one in ones)
    for law in LAWS:
        off = [
            abs(value - one.passed[PREDICTED])
            for one in learning
            if (value := predicted(one, law)) is not None
        ]
        measures[f"off.{law}"] = fmean(off) if off else None
    splits = _splits(groups, served)
    for place, budget in enumerate(_budgets(groups, served), 1):
        for way in ("log_prob", "pass"):
            best_split = _best(splits, way, budget)
            share = best_split.train_share if best_split else None
            measures[f"train_share.{way}.budget{place}"] = share
    return measures


def _table(groups: Groups) -> Table:
    def cell(values: Iterable[float | None]) -> str:
        numbers = [value for value in values if value is not None]
        return f"{fmean(numbers):.3f}" if numbers else "–"

    return Table(
        caption="By steps of training, means over seeds: how often the greedy answer, one drawn,"
        f" and one of {PREDICTED} is right; pass@{PREDICTED} as predicted from n up to"
        f" {max(FITTED)}; how often the chosen one of {PREDICTED} is right",
        head=(
            "steps", "seeds", "greedy", "pass@1", f"pass@{PREDICTED}",
            *(f"by {law}" for law in LAWS), *WAYS.values(),
        ),
        rows=tuple(
            (
                steps,
                len(ones),
                cell(one.greedy for one in ones),
                cell(one.passed[1] for one in ones),
                cell(one.passed[PREDICTED] for one in ones),
                *(cell(predicted(one, law) for one in ones) for law in LAWS),
                *(cell(one.chosen[way][PREDICTED] for one in ones) for way in WAYS),
            )
            for steps, ones in groups.items()
        ),
    )  # fmt: skip


def _cost_table(groups: Groups, served: int) -> Table:
    splits = _splits(groups, served)
    rows = []
    for budget in _budgets(groups, served):
        cells: list[object] = [f"{budget:.2e}"]
        for way in ("one", "log_prob", "pass"):
            split = _best(splits, way, budget)
            cells.append(
                "–"
                if split is None
                else f"{split.shares[way]:.2f} ({split.steps} steps, n {split.n},"
                f" {split.train_share:.0%} training)"
            )
        rows.append(tuple(cells))
    return Table(
        caption=f"The best split of compute between training and answering {format_count(served)}"
        " questions, by budget in FLOPs: how often the answer is right, mean over seeds. Every"
        " answer reads its whole context once",
        head=("FLOPs", "one greedy answer", "likeliest of n", "any of n (who knows the answer)"),
        rows=tuple(rows),
    )


def _laws_drawn(learning: Sequence[Drawn]) -> Figure | None:
    """pass@n of each run that is learning, and both laws."""
    panels = []
    for law in LAWS:
        series = []
        for one in learning:
            points = tuple((float(n), y) for n, y in one.passed.items())
            series.append(Series(label="measured", points=points, line=False))
            if not isinstance(fit := fitted(one, law), str):
                curve = tuple((float(n), fit.at(n)) for n in range(1, PREDICTED + 1))
                label = f"law, fitted to n up to {max(FITTED)}"
                series.append(Series(label=label, points=curve, marks=False))
        panels.append(
            Panel(
                title=law,
                x=ANSWERS,
                y=Axis(label="pass@n", low=-0.03, high=1.03),
                series=tuple(series),
            )
        )
    return figure(
        "best_of_n_laws",
        f"pass@n and two laws that predict it from n up to {max(FITTED)}",
        "Each run of which some answers are right and some are not.",
        panels,
    )


def _ways_drawn(learning: Sequence[Drawn]) -> Figure | None:
    """How often the chosen answer is right against n, by way of choosing."""
    ways: dict[str, list[Mapping[int, float]]] = {
        "any (pass@n)": [one.passed for one in learning],
        **{words: [one.chosen[way] for one in learning] for way, words in WAYS.items()},
    }
    return figure(
        "best_of_n_choice",
        "How often one of n answers is right, and how often the chosen one is",
        "Means over the runs that are learning, with 90% intervals.",
        (
            Panel(
                x=ANSWERS,
                y=Axis(label="questions answered rightly", low=-0.03, high=1.03),
                series=tuple(
                    mean_series(words, {float(n): [m[n] for m in many] for n in many[0]})
                    for words, many in ways.items()
                    if many
                ),
            ),
        ),
    )


def _cost_drawn(groups: Groups, served: int) -> Figure | None:
    """How often the answer is right against all compute, by length of training."""
    panels = []
    for way, title in (("log_prob", "the likeliest of n"), ("pass", "any of n")):
        series = []
        for steps in groups:
            mine = [split for split in _splits(groups, served) if split.steps == steps]
            points = tuple((split.flops, split.shares[way]) for split in mine)
            series.append(Series(label=f"{steps} steps", points=points))
        panels.append(
            Panel(
                title=title,
                x=log_axis("FLOPs of training and answering"),
                y=Axis(label="questions answered rightly", low=-0.03, high=1.03),
                series=tuple(series),
            )
        )
    return figure(
        "best_of_n_compute",
        f"Answers against compute, with {format_count(served)} questions served",
        "Means over seeds; along a line n doubles from 1.",
        panels,
    )


def _literature(learning: Sequence[Drawn]) -> tuple[Published, ...]:
    off = [
        abs(value - one.passed[PREDICTED])
        for one in learning
        if (value := predicted(one, "power")) is not None
    ]
    passed = shares([one.passed[PREDICTED] for one in learning]) if learning else ""
    return (
        beside(
            "pass@n against n",
            theirs="log pass@n close to a power law of n, over four orders of magnitude",
            ours=f"pass@{PREDICTED} {passed}; a power law with a limit, from n up to {max(FITTED)},"
            f" is off by {shares(off)}"
            if off
            else None,
            source="Brown 2024, arXiv 2407.21787",
        ),
    )


# Of the planted runs: the mean probability of a right answer, by steps.
_MEANS = {200: 0.01, 250: 0.05, 300: 0.2, 350: 0.4, 400: 0.6, 600: 0.9}


def _planted(spec: RunSpec) -> Outcome:
    """Questions whose probabilities are a beta distribution's, higher with more training."""
    metrics = planted_metrics(_MEANS[spec.total_steps], strength=2.0 + 0.1 * spec.seed)
    return Outcome(metrics=metrics)


EXPERIMENT = Experiment(
    question=(
        "What does drawing many answers gain, which law predicts it, and is training worth more?"
    ),
    reproduces="Brown 2024 (repeated sampling), Chen 2021",
    parts={"source": ("addition",), "probe": ("answers", "best_of_n")},
    analyse=analyse,
    settings=Settings,
    planted=Planted(
        outcome=_planted,
        measures={
            "off.beta-binomial": (0, 0.005),
            "off.power": (0.02, 0.1),
            "pass.steps300.n1": (0.199, 0.201),
        },
        claims={
            "beta_binomial_predicts": True,
            "power_law_is_off": True,
            "own_log_probability_beats_majority": True,
            "training_beats_drawing": True,
        },
    ),
)
