"""When runs memorise their training examples, and when they predict all others too.

Both are read from the probe ``accuracy``, which measures shares of right predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scaling_law.experiment.evidence import Run
from scaling_law.experiment.figures import curve_series, log_axis
from scaling_law.experiment.findings import Axis, Panel
from scaling_law.experiment.seeds import Time, first_time, median_time, metric_at

TRAIN, VAL = "accuracy.train", "accuracy.val"
MEMORISED, GENERALISED = 0.99, 0.95  # accuracy on training examples, and on all others


@dataclass(frozen=True)
class Learned:
    """When one run learned what.

    ``run`` is the run;
    ``memorised`` is when it had memorised its training examples, in steps;
    ``generalised`` is when it generalised, in steps;
    ``on_memorising`` is its accuracy on all other examples when it had memorised, None where it
    never did.
    """

    run: Run
    memorised: Time
    generalised: Time
    on_memorising: float | None

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.run.spec.seed


def learned(run: Run) -> Learned | None:
    """When a run learned what; None where it did not measure accuracy."""
    memorised, generalised = first_time(run, TRAIN, MEMORISED), first_time(run, VAL, GENERALISED)
    if memorised is None or generalised is None:
        return None
    return Learned(run, memorised, generalised, metric_at(run, VAL, memorised))


def middle_time(ones: Sequence[Learned], what: str) -> Time:
    """The median over runs, at least one, of when they ``memorised`` or ``generalised``."""
    middle = median_time([getattr(one, what) for one in ones])
    assert middle is not None, "a setting has at least one run"
    return middle


def accuracy_panel(title: str, runs: Iterable[Run], examples: str = "pairs") -> Panel:
    """Accuracy against steps, each run a line: training dashed, all other examples solid."""
    labels = (("train", f"training {examples}"), ("val", f"all other {examples} (validation)"))
    return Panel(
        title=title,
        x=log_axis("steps"),
        y=Axis(label="accuracy", low=-0.02, high=1.02),
        series=tuple(
            curve_series(label, run, f"accuracy.{split}", dashed=split == "train")
            for run in runs
            for split, label in labels
        ),
    )
