"""Few-shot answers: what a model learns from the shots in its prompt, by size.

    slaw run in_context             # an operation that only the shots tell, by size, three seeds
    slaw report results/in_context  # accuracy against the number of shots, beside the best possible

Brown 2020 (arXiv 2005.14165) found that larger language models gain more from each further shot,
Olsson 2022 (arXiv 2209.11895) that the ability appears suddenly in training. Here the best possible
accuracy after any number of shots is known: the operation is one of four, and each shot rules some
of them out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.data.tasks.shots import Settings as Task
from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import (
    Decision,
    all_within,
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
from scaling_law.experiment.groups import every, grouped, left_out, need_sizes, task_settings
from scaling_law.experiment.seeds import Mean, difference, mean_over, range_text
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.run import RunSpec

CLOSE = 0.04  # how near the best possible accuracy is reached
GAINS = 0.1  # accuracy that shots add where a model uses them
PREFIX = "answers.val.position-"


def best(shots: int, numbers: int) -> float:
    """The best possible accuracy after so many shots.

    A shot of two equal numbers tells nothing. Any other leaves two of the four operations, which
    agree on questions of the same order and differ on those of the other; two shots of different
    order leave one.
    """
    equal = 1 / numbers
    order = (1 - equal) / 2
    nothing = equal**shots
    one = 2 * ((equal + order) ** shots - nothing)
    half = equal + order  # of the questions on which two operations that are left agree
    return nothing * half + one * (half + order / 2) + (1 - nothing - one)


@dataclass(frozen=True)
class Seen:
    """What one run did.

    ``run`` is the run; ``params`` is its size, in parameters; ``numbers`` is how many numbers the
    task has; ``accuracies`` are the shares of right results by the number of shots, from 0 on.
    """

    run: Run
    params: int
    numbers: int
    accuracies: tuple[float, ...]

    @property
    def gain(self) -> float:
        """What the shots add: accuracy after all of them, less that after none."""
        return self.accuracies[-1] - self.accuracies[0]

    @property
    def off(self) -> float:
        """The largest distance from the best possible accuracy, over the numbers of shots."""
        return max(
            abs(accuracy - best(shots, self.numbers))
            for shots, accuracy in enumerate(self.accuracies)
        )


Group = Mapping[int, Sequence[Seen]]  # by size, in parameters


def seen(run: Run) -> Seen | None:
    """What a run did; None for another task, or without the accuracies."""
    if (task := task_settings(run.spec, "shots", Task)) is None:
        return None
    keys = [f"{PREFIX}{place}" for place in range(1, task.questions + 1)]
    if not set(keys) <= set(run.record.metrics):
        return None
    accuracies = tuple(run.record.metrics[key] for key in keys)
    return Seen(run, run.record.params_total, task.numbers, accuracies)


def analyse(evidence: Evidence) -> Findings:
    """Return the accuracy by the number of shots and size, beside the best possible."""
    ones = [one for run in evidence.ended if (one := seen(run)) is not None]
    groups = grouped((one.params, one) for one in ones)
    claims = (_uses(groups), _grows(groups), _same_without(groups), _reaches(groups))
    return answer(
        claims,
        lambda: _words(claims, groups),
        measures=_measures(groups),
        tables=(_table(groups) if groups else None,),
        figures=(_by_shots(groups), _in_training(groups)),
        literature=_literature(groups),
        notes=left_out(evidence, len(ones), "of another task or without answers"),
    )


def _gain(ones: Sequence[Seen]) -> Mean:
    mean = mean_over([one.gain for one in ones])
    assert mean is not None, "a size has at least one run"
    return mean


def _uses(groups: Group) -> Claim:
    def decide() -> Decision:
        need_sizes(groups)
        gains = [one.gain for one in groups[max(groups)]]
        words = f"{range_text(gains)} more, at {max(groups):,} parameters; over {GAINS:g} by"
        return decided([gain - GAINS for gain in gains], words, show=lambda mean: mean.text)

    return claim(
        "largest_uses_shots",
        f"the largest model gains more than {GAINS:g} of accuracy from the shots",
        decide,
    )


def _falls(ones: Sequence[Seen], others: Sequence[Seen], of: int) -> bool:
    """Whether the mean gain of the second group is lower, by more than seeds differ.

    ``of`` is how many pairs of sizes are looked at.
    """
    mean = difference([one.gain for one in ones], [one.gain for one in others], of=of)
    assert mean is not None and mean.interval is not None, "each size has two seeds"
    return mean.interval[0] > 0


def _two_decimals(mean: Mean) -> str:
    """``0.31 (0.10 to 0.52)``."""
    ends = "" if mean.interval is None else " ({:.2f} to {:.2f})".format(*mean.interval)
    return f"{mean.value:.2f}{ends}"


def _grows(groups: Group) -> Claim:
    def decide() -> Decision:
        need_sizes(groups)
        gains = [_gain(ones) for ones in groups.values()]
        listed = ", ".join(_two_decimals(mean) for mean in gains)
        first, last = gains[0].interval, gains[-1].interval
        assert first is not None and last is not None, "each size has two seeds"
        need(
            first[1] < last[0] or last[1] < first[0],
            f"gains of {listed}; the smallest and the largest size differ by no more than seeds",
            "more seeds, or sizes further apart",
        )
        pairs = list(itertools.pairwise(groups.values()))
        fall = any(_falls(a, b, len(pairs)) for a, b in pairs)
        return last[0] > first[1] and not fall, f"gains of {listed}"

    return claim(
        "gain_grows_with_size",
        "the gain from shots is larger at the largest size than at the smallest, and falls from no"
        " size to the next by more than seeds differ",
        decide,
    )


def _same_without(groups: Group) -> Claim:
    def decide() -> Decision:
        need_sizes(groups)
        zero = {size: [one.accuracies[0] for one in ones] for size, ones in groups.items()}
        gains = [_gain(ones).value for ones in groups.values()]
        need(
            max(gains) >= GAINS,
            f"no size gains more than {max(gains):.2f} from the shots",
            "larger models, or more steps",
        )
        return all_within(zero, CLOSE, "sizes", "more seeds, or more examples (val_examples)")

    return claim(
        "hidden_without_shots",
        f"without shots all sizes are equally accurate, within {CLOSE:g}: what they can learn from"
        " shots does not show",
        decide,
    )


def _reaches(groups: Group) -> Claim:
    def decide() -> Decision:
        need_sizes(groups)
        ones = groups[max(groups)]
        need(
            min(one.gain for one in ones) >= GAINS,
            f"the largest model gains {range_text(one.gain for one in ones)} from the shots",
            "larger models, or more steps",
        )
        off = [one.off for one in ones]
        near = sum(distance <= CLOSE for distance in off)
        words = (
            f"{near} of {len(off)} seeds are, at most {range_text(off)} off, at"
            f" {max(groups):,} parameters; nearer than {CLOSE:g} by"
        )
        return decided([CLOSE - one for one in off], words, show=lambda mean: mean.text)

    return claim(
        "as_good_as_possible",
        f"the largest model is within {CLOSE:g} of the best possible accuracy after each number of"
        " shots, on average over seeds",
        decide,
    )


def _words(claims: Sequence[Claim], groups: Group) -> str:
    gains = [f"{_gain(ones).value:.2f} at {size:,}" for size, ones in groups.items()]
    shots = max(len(one.accuracies) for ones in groups.values() for one in ones) - 1
    words = f"{shots} shots add to the accuracy {', '.join(gains)} parameters"
    standing = {one.name: one.established for one in claims}
    if standing["hidden_without_shots"]:
        words += "; without shots all sizes are equally accurate"
    if standing["as_good_as_possible"]:
        near = sum(one.off <= CLOSE for one in groups[max(groups)])
        words += (
            f"; {near} of {len(groups[max(groups)])} seeds of the largest model learn as much from"
            " each shot as is possible"
        )
    return f"{words}."


def _measures(groups: Group) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for size, ones in groups.items():
        for shots, group in enumerate(zip(*(one.accuracies for one in ones), strict=False)):
            measures[f"accuracy.n{size}.shots{shots}"] = fmean(group)
        measures[f"gain.n{size}"] = _gain(ones).value
    return measures


def _table(groups: Group) -> Table:
    counts = range(min(len(one.accuracies) for ones in groups.values() for one in ones))
    numbers = next(one.numbers for ones in groups.values() for one in ones)
    rows: list[tuple[object, ...]] = [
        (
            f"{size:,}",
            len(ones),
            *(f"{fmean(one.accuracies[shots] for one in ones):.3f}" for shots in counts),
            ", ".join(f"{one.gain:.2f}" for one in ones),
        )
        for size, ones in groups.items()
    ]
    rows.append(("best possible", "", *(f"{best(shots, numbers):.3f}" for shots in counts), ""))
    return Table(
        caption="Accuracy after each number of shots, mean over seeds, and each seed's gain from no"
        " shot to all",
        head=("parameters", "seeds", *(f"shots: {shots}" for shots in counts), "gain"),
        rows=tuple(rows),
    )


def _by_shots(groups: Group) -> Figure | None:
    """Accuracy against shots, a line for each size, and the gain against size."""
    ones = every(groups)
    lines = [
        Series(
            label=f"{size:,} parameters",
            points=tuple(
                (float(shots), fmean(values))
                for shots, values in enumerate(
                    zip(*(one.accuracies for one in group), strict=False)
                )
            ),
        )
        for size, group in groups.items()
    ]
    if ones:
        points = tuple(
            (float(shots), best(shots, ones[0].numbers)) for shots in range(len(ones[0].accuracies))
        )
        lines.append(Series(label="best possible", points=points, marks=False, dashed=True))
    gains = mean_series(
        "gain from all shots",
        {float(size): [one.gain for one in group] for size, group in groups.items()},
    )
    return figure(
        "in_context_shots",
        "Accuracy by the number of shots in the prompt",
        "Means over seeds at the end of training; the gain with 90% intervals.",
        (
            Panel(
                x=Axis(label="shots"),
                y=Axis(label="share of right results", low=0.4, high=1.02),
                series=tuple(lines),
            ),
            Panel(
                x=log_axis("parameters", map(float, groups)),
                y=Axis(label="gain in accuracy from all shots"),
                series=(gains,),
            ),
        ),
    )


def _in_training(groups: Group) -> Figure | None:
    """Accuracy after all shots against steps, each seed of each size a line."""
    series = tuple(
        curve_series(f"{size:,} parameters", one.run, f"{PREFIX}{len(one.accuracies)}")
        for size, ones in groups.items()
        for one in ones
    )
    return figure(
        "in_context_steps",
        "Accuracy after all shots during training",
        "Each line is a seed.",
        (Panel(x=Axis(label="steps"), y=Axis(label="share of right results"), series=series),),
    )


def _literature(groups: Group) -> tuple[Published, ...]:
    gains = ", ".join(f"{_gain(ones).value:.2f}" for ones in groups.values())
    zero = range_text(one.accuracies[0] for ones in groups.values() for one in ones)
    means = [fmean(one.accuracies[0] for one in ones) for ones in groups.values()]
    flat = max(means, default=0.0) - min(means, default=0.0) <= CLOSE
    return (
        beside(
            "accuracy that shots add, against size",
            theirs="grows with size (GPT-3, mean over 42 benchmarks)",
            ours=f"{gains}, from {min(groups):,} parameters up" if gains else None,
            source="Brown 2020, arXiv 2005.14165, figure 1.3",
        ),
        beside(
            "accuracy without shots, against size",
            theirs="grows too, more slowly",
            ours=f"{'does not grow' if flat else 'differs'}: {zero}, where a guess between the two"
            " numbers is right for half"
            if zero
            else None,
            source="Brown 2020, arXiv 2005.14165, figure 1.3",
        ),
    )


# Of the planted runs: the share of what shots can add that a model gains, by width.
_GAINS = {8: 0.05, 12: 0.2, 16: 0.6, 24: 0.95, 32: 1.0}


def _planted(spec: RunSpec) -> Outcome:
    """Accuracies that gain a share of what is possible from each shot."""
    task = task_settings(spec, "shots", Task)
    assert isinstance(spec.model, ModelSpec) and task is not None
    share = _GAINS[spec.model.d_model] * (1 - 0.01 * spec.seed)
    zero = best(0, task.numbers)
    metrics = {
        f"{PREFIX}{shots + 1}": zero + share * (best(shots, task.numbers) - zero)
        for shots in range(task.questions)
    }
    return Outcome(curve=(planted_point(spec, spec.total_steps, metrics),), metrics=metrics)


EXPERIMENT = Experiment(
    question="How much does a model learn from the shots in its prompt, by size?",
    reproduces="Brown 2020 (few-shot learning)",
    parts={"source": ("shots",), "probe": ("answers",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "accuracy.n26016.shots0": (0.549, 0.551),
            "accuracy.n26016.shots6": (0.97, 0.99),
            "gain.n1896": (0.02, 0.03),
        },
        claims={
            "largest_uses_shots": True,
            "gain_grows_with_size": True,
            "hidden_without_shots": True,
            "as_good_as_possible": True,
        },
    ),
)
