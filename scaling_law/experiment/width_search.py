"""Search by stages for the width from which an MLP learns a task.

The first stage trains the ends of a range of widths, each further one several seeds at one width;
the last one trains widths above the critical one, and so has several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.groups import grouped
from scaling_law.experiment.seeds import Time, first_time
from scaling_law.experiment.sigmoid import Middle, middle_within
from scaling_law.spec.architectures.mlp import Shape
from scaling_law.spec.model import OtherModel

LEARNED = 0.9  # accuracy on validation from which on a run has learned the task
ENDS = 2  # sizes of the first stage of a search: more are a grid


@dataclass(frozen=True)
class Seen:
    """What one run did.

    ``width`` is its size, in hidden units;
    ``seed`` is its seed;
    ``stage`` is the stage it belongs to;
    ``learned`` is when it learned the task, in steps;
    ``params`` is its size in parameters;
    ``flops`` is what it cost, in FLOPs.
    """

    width: int
    seed: int
    stage: int
    learned: Time
    params: int
    flops: float

    @property
    def has(self) -> bool:
        """Whether it learned the task."""
        return self.learned.step is not None


def seen(run: Run) -> Seen | None:
    """What a run did; None for another architecture, or without accuracies."""
    model = run.spec.model
    if not isinstance(model, OtherModel) or model.architecture.name != "mlp":
        return None
    learned = first_time(run, "accuracy.val", LEARNED)
    if learned is None:
        return None
    width = model.values_as(Shape).width
    record = run.record
    return Seen(width, run.spec.seed, run.stage, learned, record.params_total, record.flops_exact)


def all_seen(evidence: Evidence) -> list[Seen]:
    """What the runs did, those left out that ``seen`` does not know."""
    return [one for run in evidence.ended if (one := seen(run)) is not None]


def by_width(ones: Sequence[Seen]) -> dict[int, list[Seen]]:
    """The runs of each width, in order."""
    return grouped((one.width, one) for one in sorted(ones, key=lambda one: (one.stage, one.seed)))


def outcomes_of(ones: Sequence[Seen]) -> dict[float, list[bool]]:
    """Whether each seed learned the task, by width."""
    return {float(width): [one.has for one in group] for width, group in by_width(ones).items()}


@dataclass(frozen=True)
class Search:
    """The runs of a search, and what they say.

    ``ones`` are the runs of its stages; ``above`` are those of the last stage, above the size.
    """

    ones: tuple[Seen, ...]
    above: tuple[Seen, ...]

    @property
    def stages(self) -> list[int]:
        """The stages of the search."""
        return sorted({one.stage for one in self.ones})

    @property
    def is_grid(self) -> bool:
        """Whether the first stage trained more sizes than the two ends."""
        return len({one.width for one in self.ones if one.stage == 1}) > ENDS

    @property
    def ends(self) -> tuple[int, int]:
        """The smallest and the largest width of the range."""
        first = [one.width for one in self.ones if one.stage == 1]
        return min(first), max(first)

    @property
    def fault(self) -> tuple[str, str] | None:
        """Why the size does not lie in the range, and what to do; None where it does."""
        low, high = self.ends
        outcomes = outcomes_of(self.ones)
        if any(outcomes[low]):
            return f"seeds learn the task at width {low} already", "begin with a smaller width"
        if not all(outcomes[high]):
            return f"not every seed learns the task at width {high}", "end with a larger width"
        return None

    def middle(self, stage: int | None = None) -> Middle:
        """The critical width by the runs of the search, those up to a stage where one is given."""
        ones = [one for one in self.ones if stage is None or one.stage <= stage]
        return middle_within(outcomes_of(ones), *map(float, self.ends))

    @property
    def known(self) -> Middle:
        """The critical width by all runs, those of the last stage among them."""
        ones = [*self.ones, *self.above]
        return middle_within(outcomes_of(ones), *map(float, self.ends))


def search_of(ones: Sequence[Seen]) -> Search | None:
    """The search that these runs make; None before both ends of its range have finished."""
    widths: dict[int, set[int]] = {}
    for one in ones:
        widths.setdefault(one.stage, set()).add(one.width)
    if len(widths.get(1, ())) < ENDS:
        return None
    last = {stage for stage, some in widths.items() if stage > 1 and len(some) > 1}
    return Search(
        tuple(one for one in ones if one.stage not in last),
        tuple(one for one in ones if one.stage in last),
    )
