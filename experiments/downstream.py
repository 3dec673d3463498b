"""Downstream: is the task accuracy of a larger model predicted better by way of its loss?

    slaw run downstream               # multiple choice made from held-out text
    slaw run downstream_addition      # exact answers to sums, which are learned at once or not
    slaw report results/downstream    # the largest size, predicted from the smaller ones

Two steps predict first the loss on the task's right answers from parameters and tokens, then the
accuracy from that loss, by a sigmoid whose floor is chance (Gadre 2024, arXiv 2403.08540; Bhagia
2024, arXiv 2412.04403). Three direct ways do without the loss: such a sigmoid of compute, one of
parameters and tokens, and the law of the first step fitted to the error instead of the loss. The
largest size is held out of every fit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Annotated, Any

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
from scaling_law.experiment.evidence import Evidence
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
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.held_out_size import (
    CHOICE,
    METHODS,
    OF_COMPUTE,
    TWO_STEPS,
    Held,
    Seen,
    seen,
    split,
)
from scaling_law.experiment.lack_of_fit import Lack, lack_of_fit
from scaling_law.experiment.score_chain import CHAIN, SCORES, chain_of, noise_share
from scaling_law.experiment.seeds import LEVEL, chi_squared_chance
from scaling_law.fit.floored_sigmoid import fit_floored_sigmoid
from scaling_law.spec.run import RunSpec
from scaling_law.spec.values import Text
from scaling_law.units import format_count

CLOSE = 0.02  # of all questions: what Bhagia 2024 calls well predicted
MISSED = 0.25  # of the loss: a first step that misses it by more says nothing about two steps
SURE = 0.05  # the largest probability of a scatter by chance
LEAST_SIZES = 4  # that a law must be fitted to
LEAST_GAIN = 0.05  # over chance, of the best fitted run


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``law`` is the law of the loss, and of the error, in parameters and tokens.

    The coupled one predicts held-out runs of this scale better than Chinchilla's (README, Limits).
    """

    law: Annotated[str, Text("a law of `slaw parts law`")] = "coupled"


def analyse(evidence: Evidence) -> Findings:
    """Return how well each way predicts the largest size's accuracy."""
    ones = [one for run in evidence.ended if (one := seen(run)) is not None]
    settings = evidence.settings if isinstance(evidence.settings, Settings) else Settings()
    held = split(ones, settings.law)
    claims = (
        _one_curve(held),
        _close(held),
        *(_better(held, method, words) for method, words in METHODS.items() if method != TWO_STEPS),
        _degrades(ones),
    )
    return answer(
        claims,
        lambda: _words(held, claims),
        measures=_measures(held, ones),
        tables=() if held is None else (_table(held),),
        figures=() if held is None else (_figure(held),),
        literature=_literature(held, ones),
        notes=left_out(evidence, len(ones), "without questions"),
        units={
            "error": "share of questions",
            "bias": "share of questions",
            "accuracy": "share of questions",
            "noise": "share of questions",
            "loss_error": "share of the loss",
            "unexplained": "share of the variance",
            "half_way_nats": "nats per token",
        },
    )


def _need_task(held: Held | None) -> Held:
    """The preconditions of every claim: enough sizes, a task that they learn, a gap to cross."""
    sizes = len({one.params for one in held.fitted}) if held else 0
    horizons = len({one.tokens for one in held.held}) if held else 0
    need(
        held is not None and sizes >= LEAST_SIZES and horizons > 1,
        f"{sizes} sizes below the largest have finished, and {horizons} numbers of tokens of it",
        f"it needs {LEAST_SIZES} and 2: " + AGAIN,
    )
    assert held is not None
    best = max(one.accuracy for one in held.fitted)
    need(
        best >= held.chance + LEAST_GAIN,
        f"no fitted run answers more than {best:.3f} of the questions, where guessing answers"
        f" {held.chance:.3f}",
        "train larger models or for longer",
    )
    noise = max(one.noise for one in held.held)
    need(
        held.gain > noise,
        f"at equal tokens the largest size answers at most {held.gain:+.3f} more than the next"
        f" smaller one, and another set of questions would change that by {noise:.3f}",
        "hold out a larger size, or ask more questions (eval.val_tokens)",
    )
    return held


def _need_first_step(held: Held) -> None:
    """The precondition of claims about two steps: a first step that is near the loss."""
    missed = _loss_error(held)
    need(missed is not None, str(held.nats), "more sizes and horizons, or seeds of them")
    assert missed is not None
    by = f"{missed:.0%}" if missed < 10 else f"{missed:,.0f} times the loss itself"
    need(
        missed <= MISSED,
        f"the first step misses the loss by {by} on average",
        f"it must be within {MISSED:.0%}: more sizes and horizons, or a task that is learned"
        " gradually",
    )


def _better(held: Held | None, other: str, what: str) -> Claim:
    def decide() -> Decision:
        task = _need_task(held)
        _need_first_step(task)
        ours, theirs = task.errors(TWO_STEPS), task.errors(other)
        more = "more sizes and horizons, or seeds of them"
        need(theirs is not None, str(task.error_law), more)
        assert ours is not None and theirs is not None
        low, high = _lead_interval(task, ours, theirs)
        means = fmean(map(abs, ours)), fmean(map(abs, theirs))
        because = (
            f"off by {means[0]:.4f} against {means[1]:.4f} on average, {means[1] - means[0]:+.4f}"
            f" ({low:+.4f} to {high:+.4f} by the questions)"
        )
        need(
            low > 0 or high < 0,
            f"{because}: the interval includes 0",
            "hold out a larger size, or ask more questions (eval.val_tokens)",
        )
        return low > 0, because

    says = f"two steps, by the loss, predict the largest size's accuracy better than a {what} does"
    return claim(f"two_steps_beat_{other}", says, decide)


def _lead_interval(
    task: Held, ours: Sequence[float], theirs: Sequence[float]
) -> tuple[float, float]:
    """How much more ``theirs`` miss the accuracy than ``ours`` on average: an interval.

    Other questions shift each measured accuracy by up to a reach. The difference of two distances
    from an accuracy rises or falls all along with its shift, so that its ends lie at those of the
    shift. Each run takes its own ends: all answer the same questions, and none makes another surer.
    All direct ways are compared, and the level holds for them together (Bonferroni).
    """
    ways = len(METHODS) - 1
    quantile = NormalDist().inv_cdf(1 - (1 - LEVEL) / (2 * ways))
    ends = []
    for one, mine, other in zip(task.held, ours, theirs, strict=True):
        reach = quantile * one.noise
        ends.append(sorted(abs(other - shift) - abs(mine - shift) for shift in (-reach, reach)))
    return fmean(low for low, _ in ends), fmean(high for _, high in ends)


def _close(held: Held | None) -> Claim:
    def decide() -> Decision:
        task = _need_task(held)
        _need_first_step(task)
        errors = task.errors(TWO_STEPS)
        assert errors is not None
        mean, most = fmean(map(abs, errors)), max(map(abs, errors))
        # all runs answer the same questions, so that a mean over runs is no surer of them
        reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * max(one.noise for one in task.held)
        low, high = max(mean - reach, 0.0), mean + reach
        words = (
            f"off by {mean:.4f} on average ({low:.4f} to {high:.4f} by the questions), {most:.4f}"
            " at most"
        )
        need(
            high <= CLOSE or low > CLOSE,
            f"{words}: the interval includes {CLOSE:g}",
            "more questions (eval.val_tokens)",
        )
        return high <= CLOSE, words

    says = f"two steps predict the largest size's accuracy within {100 * CLOSE:g} points on average"
    return claim("two_steps_are_close", says, decide)


def _one_curve(held: Held | None) -> Claim:
    def decide() -> Decision:
        task = _need_task(held)
        ones = (*task.fitted, *task.held)
        need(
            all(one.noise > 0 for one in ones),
            "a run answers all of the questions, or none of them",
            "it needs questions of which each run answers some",
        )
        curve = fit_floored_sigmoid(
            [(one.nats,) for one in ones], [one.accuracy for one in ones], task.chance
        )
        gaps: dict[tuple[int, int], dict[int, float]] = {}
        for one in ones:
            place = gaps.setdefault((one.params, one.tokens), {})
            place[one.run.spec.seed] = curve.at(one.nats) - one.accuracy
        squares = sum(((curve.at(one.nats) - one.accuracy) / one.noise) ** 2 for one in ones)
        noise = math.sqrt(fmean(one.noise**2 for one in ones))
        fitted = len(curve.weights)
        lack = lack_of_fit(gaps, free=len(gaps) - fitted)
        need(isinstance(lack, Lack), str(lack), AGAIN)
        assert isinstance(lack, Lack), "needed above"
        free = len(ones) - fitted
        chance = chi_squared_chance(squares, free)
        words = (
            f"means of seeds lie off it by {lack.words(lambda gap: f'{gap:.4f}')}, and another set"
            f" of questions would change an accuracy by {noise:.4f}; beside that alone chi-squared"
            f" of all runs is {squares:.0f} with {free} degrees of freedom, by chance with"
            f" probability {chance:.2g}"
        )
        need(
            chance < SURE or lack.interval[1] <= noise,
            f"{words}: a distance of more than the questions' is not excluded",
            "more seeds, sizes and horizons",
        )
        return chance >= SURE, words

    says = (
        "the loss on right answers decides the accuracy: runs of all sizes and tokens lie on one"
        " sigmoid, as closely as the number of questions shows"
    )
    return claim("loss_decides", says, decide)


def _degrades(ones: Sequence[Seen]) -> Claim:
    def decide() -> Decision:
        _need_task(split(ones, Settings.law))
        shares = chain_of(ones)
        need(
            len(shares) == len(CHAIN),
            "the runs answered no multiple-choice questions, or are too few",
            "slaw run downstream trains runs that do",
        )
        noise = noise_share(ones)
        values = [*list(shares.values())[:-1], max(0.0, shares["accuracy"] - noise)]
        listed = ", ".join(
            f"{share:.1%} of the {SCORES[name]}" for name, share in zip(CHAIN, values, strict=True)
        )
        words = (
            f"unexplained: {listed}, less the {noise:.1%} by which another set of questions would"
            " change it"
        )
        steps = [later - earlier for earlier, later in itertools.pairwise(values)]
        if min(steps) < -noise:
            return False, words
        need(
            min(steps) > noise,
            f"{words}; a step is within that",
            "it needs more questions (eval.val_tokens)",
        )
        return True, words

    says = (
        "parameters and tokens explain less at each step from the log-probability of the right"
        " choice to its probability among the choices to the accuracy"
    )
    return claim("scores_degrade", says, decide)


def _words(held: Held | None, claims: Sequence[Claim]) -> str:
    assert held is not None, "the first claim is decided"
    errors = {words: held.errors(method) for method, words in METHODS.items()}
    listed = ", ".join(
        f"{fmean(map(abs, e)):.3f} on average ({max(map(abs, e)):.3f} at most) by a {words}"
        for words, e in errors.items()
        if e is not None
    )
    better = [
        words
        for method, words in METHODS.items()
        if any(c.name == f"two_steps_beat_{method}" and c.established for c in claims)
    ]
    clear = f"two steps clearly beat only the {', the '.join(better)}" if better else ""
    if len(better) == len(METHODS) - 1:
        clear = "two steps clearly beat every direct way"
    loss, second = _loss_error(held), _second_step(held)
    return (
        f"The accuracy at the largest size is missed by {listed.replace('a two', 'two')};"
        f" {clear or 'two steps clearly beat no direct way'}, and their first step"
        f" {'gives no loss' if loss is None else f'misses the loss by {loss:.1%}'}, their second,"
        f" given the loss, the accuracy by {second:.3f}"
    )


def _second_step(held: Held) -> float:
    """The mean absolute error of the accuracy where the loss is known."""
    return fmean(abs(held.of_loss.at(one.nats) - one.accuracy) for one in held.held)


def _loss_error(held: Held) -> float | None:
    """The mean relative error of the first step; None where it gives no loss."""
    if isinstance(held.nats, str):
        return None
    return fmean(abs(held.nats[one.tokens] / one.nats - 1) for one in held.held)


def _measures(held: Held | None, ones: Sequence[Seen]) -> dict[str, float | None]:
    measures: dict[str, float | None] = {f"unexplained.{k}": v for k, v in chain_of(ones).items()}
    if held is None:
        return measures
    for method in METHODS:
        errors = held.errors(method)
        measures[f"error.{method}"] = held.error(method)
        measures[f"bias.{method}"] = None if errors is None else fmean(errors)
    measures["error.second_step"] = _second_step(held)
    measures["loss_error"] = _loss_error(held)
    start, slope = held.of_loss.weights
    measures["half_way_nats"] = -start / slope if slope else None
    measures["accuracy.largest"] = max(one.accuracy for one in held.held)
    measures["accuracy.fitted"] = max(one.accuracy for one in held.fitted)
    measures["noise"] = max(one.noise for one in held.held)
    return measures


def _table(held: Held) -> Table:
    rows = []
    for one in sorted(held.held, key=lambda one: (one.tokens, one.run.spec.seed)):
        predicted = [(held.predicted(method) or {}).get(one.tokens) for method in METHODS]
        cells = ["–" if value is None else f"{value:.3f}" for value in predicted]
        nats = held.nats if isinstance(held.nats, dict) else {}
        step = f"{nats[one.tokens]:.3f}" if one.tokens in nats else "–"
        rows.append(
            (
                f"{one.tokens:,}", one.run.spec.seed, f"{one.nats:.3f}", step,
                f"{one.accuracy:.3f}", *cells,
            )
        )  # fmt: skip
    return Table(
        caption=f"The largest size ({format_count(held.held[0].params)} parameters): loss on right"
        f" answers in nats per token and accuracy, measured, and predicted from"
        f" {len({one.params for one in held.fitted})} smaller sizes",
        head=("tokens", "seed", "loss", "predicted", "accuracy", *METHODS.values()),
        rows=tuple(rows),
    )


def _figure(held: Held) -> Figure | None:
    """Accuracy against the loss, against compute, and the largest size as each way predicts it."""
    accuracy = Axis(label="accuracy")
    losses = [one.nats for one in (*held.fitted, *held.held)]
    flops = [one.flops for one in (*held.fitted, *held.held)]

    def line(low: float, high: float, at: Callable[[float], float]) -> tuple[Any, ...]:
        places = [low + (high - low) * part / 40 for part in range(41)]
        return tuple((x, at(x)) for x in places)

    def marks(label: str, ones: Sequence[Seen], x: Callable[[Seen], float]) -> Series:
        points = tuple((x(one), one.accuracy) for one in ones)
        return Series(label=label, points=points, line=False)

    by_flops = tuple(
        (math.exp(x), y)
        for x, y in line(math.log(min(flops)), math.log(max(flops)), held.of_compute.at)
    )
    panels = [
        Panel(
            title="by the loss",
            x=Axis(label="nats per token of right answers"),
            y=accuracy,
            series=(
                marks("smaller sizes, fitted", held.fitted, lambda one: one.nats),
                marks("largest size, held out", held.held, lambda one: one.nats),
                Series(
                    label=METHODS[TWO_STEPS],
                    points=line(min(losses), max(losses), held.of_loss.at),
                    marks=False,
                ),
            ),
        ),
        Panel(
            title="by compute",
            x=log_axis("FLOPs"),
            y=accuracy,
            series=(
                marks("smaller sizes, fitted", held.fitted, lambda one: one.flops),
                marks("largest size, held out", held.held, lambda one: one.flops),
                Series(label=METHODS[OF_COMPUTE], points=by_flops, marks=False),
            ),
        ),
        Panel(
            title="the largest size",
            x=log_axis("tokens"),
            y=accuracy,
            series=(
                marks("largest size, held out", held.held, lambda one: one.tokens),
                *(
                    Series(
                        label=words,
                        points=tuple((float(x), y) for x, y in sorted(predicted.items())),
                        marks=False,
                    )
                    for method, words in METHODS.items()
                    if (predicted := held.predicted(method))
                ),
            ),
        ),
    ]
    return figure(
        "downstream_accuracy",
        "Accuracy against the loss, against compute, and as each way predicts it",
        "Every point is a run; every line is fitted to the smaller sizes. The line by the loss is"
        " the second of the two steps. The floor of the sigmoids is chance.",
        panels,
    )


def _literature(held: Held | None, ones: Sequence[Seen]) -> tuple[Published, ...]:
    errors = held.errors(TWO_STEPS) if held is not None else None
    mean = None if errors is None else f"{100 * fmean(map(abs, errors)):.1f} points"
    less = max(o.flops for o in held.held) / max(o.flops for o in held.fitted) if held else None
    shares = chain_of(ones)
    return (
        beside(
            "error of the accuracy of a larger model, predicted in two steps",
            theirs="at most 2 points on four tasks, 6.9 on average on four others, with 1% of the"
            " compute",
            ours=mean and f"{mean} on one task, with 1/{less:.2g} of the compute a run",
            source="Bhagia 2024, arXiv 2412.04403 (first version)",
        ),
        beside(
            "accuracy by way of the loss",
            theirs="predicted on average over 17 tasks from 20 times less compute",
            ours=mean and f"{mean} from {less:.2g} times less",
            source="Gadre 2024, arXiv 2403.08540",
        ),
        beside(
            "what scale explains, from log-probability to accuracy",
            theirs="less at each step, because wrong choices change with scale too",
            ours=", ".join(f"{1 - s:.1%} of the {SCORES[name]}" for name, s in shares.items())
            or None,
            source="Schaeffer 2024, arXiv 2406.04391",
        ),
    )


def _planted(spec: RunSpec) -> Outcome:
    """A loss by Chinchilla's law, an accuracy that it decides, and noise from seed to seed."""
    from scaling_law.spec.counts import count_params

    noise = (-1) ** spec.seed * 0.002
    nats = 1.2 + 30 / count_params(spec.model).matmul ** 0.45 + 90 / spec.tokens**0.4 + noise
    total = 6 - 3 * nats
    return Outcome(
        val_loss_nats=nats,
        metrics={
            f"{CHOICE}.nats": nats,
            f"{CHOICE}.chosen": 0.25 + 0.7 / (1 + math.exp(-total)),
            f"{CHOICE}.accuracy": 0.25 + 0.75 / (1 + math.exp(-total)) + noise,
            f"{CHOICE}.questions": 4000.0,
            f"{CHOICE}.chance": 0.25,
        },
    )


EXPERIMENT = Experiment(
    question="Is the task accuracy of a larger model predicted better by way of its loss?",
    reproduces="Bhagia 2024 (two steps), Gadre 2024, Schaeffer 2024",
    parts={"probe": ("multiple_choice", "answers"), "source": ("addition",)},
    analyse=analyse,
    settings=Settings,
    planted=Planted(
        outcome=_planted,
        measures={"error.two_steps": (0.0, 0.01), "error.compute": (0.02, 0.2)},
        claims={"two_steps_are_close": True, "loss_decides": True},
    ),
)
