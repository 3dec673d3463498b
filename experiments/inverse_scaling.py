"""Inverse scaling: a larger model is worse, until a still larger one is better.

    slaw run inverse_scaling                # quoting altered proverbs, by size, five seeds
    slaw report results/inverse_scaling     # loss on altered symbols against size and steps

McKenzie 2023 (arXiv 2306.09479) collected tasks on which larger language models do worse, memo
traps among them: the model goes on as the text usually does, and not as it was asked to. Wei 2022
(arXiv 2211.02011) saw many of them become better again at still larger sizes, a U-shape of the
accuracy. Here a model quotes proverbs, a few of which are altered in one symbol.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.data.tasks.quotation import Settings as Task
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
from scaling_law.experiment.groups import grouped, left_out, need_sizes, task_settings
from scaling_law.experiment.seeds import best_on_others, difference, range_text
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.run import RunSpec

ALTERED, PROVERB = "val:altered", "val:proverb"
LOSS = f"loss.{ALTERED}"
KNOWN = 0.95  # accuracy on unaltered proverbs from which on they are known
METRICS = (LOSS, f"loss.{PROVERB}", f"accuracy.{ALTERED}", f"accuracy.{PROVERB}")


@dataclass(frozen=True)
class Seen:
    """What one run did.

    ``run`` is the run; ``params`` is its size, in parameters; ``chance`` is the accuracy of a guess
    at an altered symbol, as a share; ``val`` is the loss on text like that of training, in nats;
    ``altered`` and ``proverb`` are the losses on altered symbols and on unaltered proverbs, in
    nats; ``right`` and ``known`` are the accuracies on the two; ``course`` is the loss on altered
    symbols by step, in nats.
    """

    run: Run
    params: int
    chance: float
    val: float
    altered: float
    proverb: float
    right: float
    known: float
    course: tuple[float, ...]


Group = Mapping[int, Sequence[Seen]]  # by size, in parameters


def seen(run: Run) -> Seen | None:
    """What a run did; None for another task, or without the measurements."""
    if (task := task_settings(run.spec, "quotation", Task)) is None:
        return None
    if run.record.val_loss_nats is None or not set(METRICS) <= set(run.record.metrics):
        return None
    chance = 1 / (task.symbols - 1)
    altered, proverb, right, known = (run.record.metrics[name] for name in METRICS)
    course = tuple(point.metrics[LOSS] for point in run.curve if LOSS in point.metrics)
    params, val = run.record.params_total, run.record.val_loss_nats
    return Seen(run, params, chance, val, altered, proverb, right, known, course)


def _mean(ones: Sequence[Seen], what: str) -> float:
    return fmean(float(getattr(one, what)) for one in ones)


def _worst(groups: Group) -> int:
    """The size with the highest loss on altered symbols."""
    return max(groups, key=lambda size: _mean(groups[size], "altered"))


def analyse(evidence: Evidence) -> Findings:
    """Return the loss on altered symbols by size, and whether it rises before it falls."""
    ones = [one for run in evidence.ended if (one := seen(run)) is not None]
    groups = grouped((one.params, one) for one in ones)
    claims = (_rises_and_falls(groups), _better(groups), _trapped(groups), _in_training(groups))
    return answer(
        claims,
        lambda: _words(claims, groups),
        measures=_measures(groups) if groups else {},
        tables=(_table(groups) if groups else None,),
        figures=(_by_size(groups), _by_step(groups)),
        literature=_literature(groups),
        notes=left_out(evidence, len(ones), "of another task or without its measurements"),
    )


def _difference(more: Sequence[Seen], less: Sequence[Seen], of: int) -> tuple[float, float]:
    """The difference of mean losses on altered symbols, and how far its interval reaches."""
    sides = ([one.altered for one in ones] for ones in (more, less))
    mean = difference(*sides, of=of)
    assert mean is not None and mean.interval is not None, "each size has two seeds"
    return mean.value, mean.interval[1] - mean.value


def _rises_and_falls(groups: Group) -> Claim:
    def decide() -> Decision:
        need_sizes(groups)
        losses = [_mean(ones, "val") for ones in groups.values()]
        need(
            losses[-1] < losses[0],
            f"the largest model's loss on text like that of training is {losses[-1]:.3f}, the"
            f" smallest one's {losses[0]:.3f}",
            "larger models must be better there: more steps, or another learning rate",
        )
        sizes = list(groups)
        worst = _worst(groups)
        # the worst of the sizes between the ends was chosen by the losses that are compared
        of = 2 * (len(sizes) - 2)
        rise, rise_reach = _difference(groups[worst], groups[sizes[0]], of)
        fall, fall_reach = _difference(groups[worst], groups[sizes[-1]], of)
        words = (
            f"{_mean(groups[sizes[0]], 'altered'):.2f} nats at {sizes[0]:,} parameters,"
            f" {_mean(groups[worst], 'altered'):.2f} at {worst:,},"
            f" {_mean(groups[sizes[-1]], 'altered'):.3f} at {sizes[-1]:,}; rises by {rise:.2f} ±"
            f" {rise_reach:.2f} and falls by {fall:.2f} ± {fall_reach:.2f}"
        )
        unsure = 0 < rise <= rise_reach or 0 < fall <= fall_reach
        need(not unsure, f"{words}, which may be noise between seeds", "more seeds")
        return rise > rise_reach and fall > fall_reach, words

    return claim(
        "worse_before_better",
        "with size the loss on altered symbols rises and then falls, by more than seeds differ",
        decide,
    )


def _better(groups: Group) -> Claim:
    def decide() -> Decision:
        need_sizes(groups)
        vals = {size: {one.run.spec.seed: one.val for one in ones} for size, ones in groups.items()}
        falls = {
            f"from {smaller:,} to {larger:,}": [
                vals[smaller][seed] - vals[larger][seed]
                for seed in sorted(vals[smaller].keys() & vals[larger])
            ]
            for smaller, larger in itertools.pairwise(vals)
        }
        losses = ", ".join(f"{_mean(ones, 'val'):.3g}" for ones in groups.values())
        return all_decided(falls, f"nats: {losses}; lower by")

    return claim(
        "better_on_average",
        "on text like that of training each larger model is better (mean over seeds)",
        decide,
    )


def _trapped(groups: Group) -> Claim:
    def decide() -> Decision:
        need_sizes(groups)
        worst = groups[_worst(groups)]
        known = min(one.known for one in worst)
        need(
            known >= KNOWN,
            f"at {_worst(groups):,} parameters, where the loss is highest, a seed predicts"
            f" {known:.2f} of unaltered proverbs",
            f"it must know them, {KNOWN:g}: more steps",
        )
        words = (
            f"at most {max(one.right for one in worst):.3f} of altered symbols and at least"
            f" {known:.3f} of unaltered proverbs, at {_worst(groups):,} parameters; below a guess"
            " by"
        )
        return decided(
            [one.chance - one.right for one in worst], words, show=lambda mean: mean.text
        )

    return claim(
        "trapped_by_what_is_usual",
        "where the loss is highest models that know the proverbs are right on altered symbols less"
        " often than a guess",
        decide,
    )


def _in_training(groups: Group) -> Claim:
    def decide() -> Decision:
        need_sizes(groups)
        size = max(groups)
        courses = [one.course for one in groups[size]]
        need(
            all(len(course) > 2 for course in courses),
            "the largest runs have no curve",
            "measure more often: eval.curve_points",
        )
        places = range(1, min(map(len, courses)))
        # the highest point of a seed's own course would lie above its first by noise alone
        rises = [
            -fall
            for fall in best_on_others(
                [{n: course[0] - course[at] for n, course in enumerate(courses)} for at in places]
            ).values()
        ]
        falls = [course[0] - course[-1] for course in courses]
        words = (
            f"rises by {range_text(rises, 'nats')} where the other seeds are highest, then falls to"
            f" {range_text(falls, 'nats')} below its first value, at {size:,} parameters:"
        )
        return all_decided({"the rise": rises, "the fall": falls}, words)

    return claim(
        "worse_before_better_in_training",
        "at the largest size the loss on altered symbols rises during training and ends below its"
        " first value",
        decide,
    )


def _words(claims: Sequence[Claim], groups: Group) -> str:
    sizes, worst = list(groups), _worst(groups)
    numbers = [_mean(groups[size], "altered") for size in (sizes[0], worst, sizes[-1])]
    if not claims[0].established:
        return (
            "Larger models are not clearly worse before they are better: the loss on altered"
            f" symbols is {numbers[0]:.2f} nats at {sizes[0]:,} parameters and {numbers[2]:.2f} at"
            f" {sizes[-1]:,}, at most {numbers[1]:.2f} at {worst:,}."
        )
    words = (
        f"On altered proverbs larger models are worse up to {worst:,} parameters"
        f" ({numbers[0]:.2f} to {numbers[1]:.2f} nats), and better above ({numbers[2]:.3f} nats at"
        f" {sizes[-1]:,})"
    )
    if claims[1].established:
        words += ", while each larger model is better on text like that of training"
    return f"{words}."


def _measures(groups: Group) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for size, ones in groups.items():
        for name, what in (
            ("loss_altered", "altered"),
            ("loss_val", "val"),
            ("accuracy_altered", "right"),
            ("accuracy_proverb", "known"),
        ):
            measures[f"{name}.n{size}"] = _mean(ones, what)
    worst, sizes = _worst(groups), list(groups)
    highest = _mean(groups[worst], "altered")
    measures["worst_params"] = worst
    measures["rise"] = highest - _mean(groups[sizes[0]], "altered")
    measures["fall"] = highest - _mean(groups[sizes[-1]], "altered")
    return measures


def _table(groups: Group) -> Table:
    return Table(
        caption="Means over seeds at the end: loss on text like that of training, on unaltered"
        " proverbs and on altered symbols, in nats per symbol; accuracy on the last two; and the"
        " loss on altered symbols of each seed",
        head=(
            "parameters", "seeds", "loss", "proverbs", "altered", "accuracy on proverbs",
            "on altered", "altered, each seed",
        ),
        rows=tuple(
            (
                f"{size:,}",
                len(ones),
                *(f"{_mean(ones, what):.3f}" for what in ("val", "proverb", "altered")),
                *(f"{_mean(ones, what):.3f}" for what in ("known", "right")),
                ", ".join(f"{one.altered:.2f}" for one in ones),
            )
            for size, ones in groups.items()
        ),
        text_columns=0,
    )  # fmt: skip


def _by_size(groups: Group) -> Figure | None:
    """Loss and accuracy against size, on altered symbols and on the rest."""

    def means(label: str, what: str) -> Series:
        values = {
            float(size): [float(getattr(one, what)) for one in ones]
            for size, ones in groups.items()
        }
        return mean_series(label, values)

    size = log_axis("parameters", map(float, groups))
    chance = next((one.chance for ones in groups.values() for one in ones), 0.0)
    guess = tuple((float(size), chance) for size in groups)
    return figure(
        "inverse_scaling_size",
        "Altered symbols against size",
        "Means over seeds at the end of training, with 90% intervals.",
        (
            Panel(
                title="loss",
                x=size,
                y=Axis(label="nats per symbol", low=0),
                series=(means("altered symbols", "altered"), means("text of training", "val")),
            ),
            Panel(
                title="accuracy",
                x=size,
                y=Axis(label="share of symbols", low=-0.02, high=1.05),
                series=(
                    means("altered symbols", "right"),
                    means("unaltered proverbs", "known"),
                    Series(label="a guess", points=guess, marks=False, dashed=True),
                ),
            ),
        ),
    )


def _by_step(groups: Group) -> Figure | None:
    """Loss on altered symbols against steps, each size a line."""
    series = tuple(
        curve_series(f"{size:,} parameters", one.run, LOSS)
        for size, ones in groups.items()
        for one in ones
    )
    return figure(
        "inverse_scaling_steps",
        "Loss on altered symbols during training",
        "Each line is a seed: a larger model walks the same way sooner.",
        (Panel(x=log_axis("steps"), y=Axis(label="nats per symbol", low=0), series=series),),
    )


def _literature(groups: Group) -> tuple[Published, ...]:
    rights = ", ".join(f"{_mean(ones, 'right'):.2f}" for ones in groups.values())
    ours = (
        f"{rights} of altered symbols right, from {min(groups):,} parameters up" if rights else None
    )
    return (
        beside(
            "memo traps against size",
            theirs="larger models are worse, over the sizes that were tried",
            ours=ours,
            source="McKenzie 2023, arXiv 2306.09479",
        ),
        beside(
            "tasks with inverse scaling, at still larger sizes",
            theirs="most become better again (PaLM 540B): a U-shape",
            ours=ours,
            source="Wei 2022, arXiv 2211.02011",
        ),
    )


# Of the planted runs: the loss on altered symbols at the end, in nats, by width.
_PLANTED = {2: 4.0, 3: 6.0, 4: 9.0, 8: 7.0, 16: 1.5, 32: 0.05}


def _planted(spec: RunSpec) -> Outcome:
    """Losses on altered symbols that rise and then fall with width, and with steps."""
    assert isinstance(spec.model, ModelSpec)
    width = spec.model.d_model
    end = _PLANTED[width] * (1 + 0.02 * spec.seed)
    loss = 1.5 / width
    curve = []
    for step in range(20, spec.total_steps + 1, 20):
        part = step / spec.total_steps
        metrics = {
            LOSS: 3 + (end - 3) * part + 20 * part * (1 - part),
            f"loss.{PROVERB}": loss,
            f"accuracy.{ALTERED}": 0.0 if width < 16 else 0.9,
            f"accuracy.{PROVERB}": 1 - 0.3 / width**2,
        }
        curve.append(planted_point(spec, step, metrics))
    return Outcome(val_loss_nats=loss, curve=tuple(curve), metrics=curve[-1].metrics)


EXPERIMENT = Experiment(
    question="On which text is a larger model worse before it is better?",
    reproduces="McKenzie 2023 (memo traps), Wei 2022 (U-shape)",
    parts={"source": ("quotation",), "probe": ("accuracy",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"rise": (4.9, 5.5), "fall": (8.9, 9.6), "worst_params": (600, 610)},
        claims={
            "worse_before_better": True,
            "better_on_average": True,
            "trapped_by_what_is_usual": True,
            "worse_before_better_in_training": True,
        },
    ),
)
