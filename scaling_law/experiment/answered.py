"""Read off runs that answer sums when each solved the task, and what each measure showed.

The probe ``answers`` gives the share of right answers, of right digits by position, and scores of
digits. A run has solved the task once ``SOLVED`` of its answers are right in all digits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.experiment.evidence import Run
from scaling_law.experiment.groups import every
from scaling_law.experiment.seeds import Time, first_time
from scaling_law.experiment.sigmoid import Sigmoid, fit_sigmoid

SOLVED = 0.9
BEGUN = 0.1  # exact match from which on the ability shows
EXACT, LOG_PROB, BRIER = (f"answers.val.{key}" for key in ("exact", "log_prob", "brier"))


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


def answered(run: Run, *, digits: int, reverse: bool) -> Seen | None:
    """What a run did on sums of so many digits; None without the measurements."""
    solved = first_time(run, EXACT, SOLVED)
    if solved is None:
        return None
    keys = [f"answers.val.position-{position}" for position in range(1, digits + 1)]
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
    return Seen(run, run.record.params_total, reverse, solved, points) if points else None


def last_step(group: Group) -> int:
    """The steps that all runs were measured for."""
    return min((one.solved.within for one in every(group)), default=0)


def solved_by_size(group: Group, step: int) -> Sigmoid | str:
    """The sigmoid of having solved the task by a step in log size, or why there is none."""
    return fit_sigmoid(
        {size: [one.solved_by(step) for one in ones] for size, ones in group.items()}
    )


def solvers(ones: Sequence[Seen]) -> int:
    """How many of these runs have solved the task."""
    return sum(one.solved.step is not None for one in ones)
