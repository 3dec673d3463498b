"""Read runs that were scored at several lengths: in training's own, and beyond it.

The split ``val`` has the longest examples of training, ``val:length-N`` longer ones; the probes
``answers`` and ``interpolated`` score both. A run that has not learned the task at the trained
length says nothing about longer ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol, TypeVar

from scaling_law.experiment.answer import need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import mean_series
from scaling_law.experiment.findings import Axis, Series
from scaling_law.experiment.groups import task_settings
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of

LEARNED = 0.99  # exact match at the trained length
RATIO = Axis(label="length over the longest in training")
EXACT = Axis(label="sequences without a mistake", low=-0.03, high=1.03)

_SPLIT = re.compile(r"answers\.val:length-(\d+)\.exact")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What one run does at the end of training, by length.

    ``trained`` is the longest length of training;
    ``steps`` is the steps that it was trained for;
    ``items`` is the number of answers at each length, the same ones for every seed;
    ``exact`` is the share of answers without a mistake, at the trained length and longer ones;
    ``loss`` is the nats per target, at the same lengths;
    ``moved`` is ``exact`` at interpolated positions, at longer lengths.
    """

    trained: int
    steps: int
    items: int
    exact: Mapping[int, float]
    loss: Mapping[int, float]
    moved: Mapping[int, float]

    @property
    def learned(self) -> bool:
        """Whether it has learned the task."""
        return self.exact[self.trained] >= LEARNED

    @property
    def longer(self) -> list[int]:
        """The lengths beyond the trained one, in order."""
        return [length for length in self.exact if length > self.trained]

    @property
    def beyond(self) -> float:
        """The mean of ``exact`` over all longer lengths."""
        return fmean(self.exact[length] for length in self.longer)


class _Copies(Protocol):
    """The settings of the task ``copy``: the longest length of training, examples of a split."""

    @property
    def length(self) -> int: ...

    @property
    def val_examples(self) -> int: ...


Task = TypeVar("Task", bound=_Copies)


def copying(spec: RunSpec, task: type[Task]) -> Task | None:
    """The settings of copying by a transformer; None for a run of another task or model.

    ``task`` is the type of the settings of the source ``copy``.
    """
    return task_settings(spec, "copy", task) if isinstance(spec.model, ModelSpec) else None


def copied(
    evidence: Evidence, settings: type[Task]
) -> Iterator[tuple[Run, ModelSpec, Task, Scored]]:
    """The finished runs of transformers that copy: with model and task, what each does."""
    for run in evidence.ended:
        task, model = copying(run.spec, settings), run.spec.model
        if task and isinstance(model, ModelSpec) and (one := scored(run, task)) is not None:
            yield run, model, task, one


def scored(run: Run, task: _Copies) -> Scored | None:
    """What a run of copying does; None where it was not measured."""
    metrics, loss = run.record.metrics, run.record.val_loss_nats
    lengths = sorted(int(split[1]) for name in metrics if (split := _SPLIT.fullmatch(name)))
    splits = {length: f"val:length-{length}" for length in lengths}
    losses = [metrics.get(f"loss.{split}") for split in splits.values()]
    first = metrics.get("answers.val.exact")
    if first is None or loss is None or None in losses or not lengths:
        return None
    return Scored(
        trained=task.length,
        steps=run.spec.total_steps,
        items=task.val_examples,
        exact={task.length: first} | {n: metrics[f"answers.{s}.exact"] for n, s in splits.items()},
        loss={task.length: loss} | {n: metrics[f"loss.{s}"] for n, s in splits.items()},
        moved={
            n: metrics[k] for n, s in splits.items() if (k := f"interpolated.{s}.exact") in metrics
        },
    )


def able(ones: Sequence[Scored]) -> list[Scored]:
    """The runs that have learned the task."""
    return [one for one in ones if one.learned]


def need_able(ones: Sequence[Scored], which: str) -> list[Scored]:
    """The runs that have learned the task: a claim needs two of them."""
    good = able(ones)
    best = max((one.exact[one.trained] for one in ones), default=0.0)
    need(
        len(good) > 1,
        f"{len(good)} of {count_of(len(ones), 'seed')} {which} have learned the task"
        + (f", with an exact match of {best:.3f} at best" if ones else ""),
        f"it needs two with {LEARNED} at the trained length: finish the sweep, train for longer, or"
        " take another learning rate",
    )
    return good


def by_ratio(ones: Sequence[Scored], measure: str) -> dict[float, list[float]]:
    """``exact``, ``loss`` or ``moved`` of each run, by length over trained length."""
    values: dict[float, list[float]] = {}
    for one in ones:
        for length, value in getattr(one, measure).items():
            values.setdefault(length / one.trained, []).append(value)
    return dict(sorted(values.items()))


def ratios_of(ones: Iterable[Scored]) -> list[float]:
    """The lengths over trained lengths that any of the runs was scored at, in order."""
    return sorted({length / one.trained for one in ones for length in one.exact})


def means_by_ratio(ones: Sequence[Scored], measure: str) -> dict[float, float]:
    """The mean over runs, by length over trained length."""
    return {ratio: fmean(values) for ratio, values in by_ratio(ones, measure).items()}


def ratio_series(label: str, ones: Sequence[Scored], measure: str) -> Series:
    """The mean over runs against length over trained length, with its interval."""
    highest = math.inf if measure == "loss" else 1.0
    return mean_series(label, by_ratio(ones, measure), low=0.0, high=highest)


def measures_of(name: str, ones: Sequence[Scored]) -> dict[str, float | None]:
    """The share of seeds that have learned the task, and means over those by length."""
    good = able(ones)
    measures: dict[str, float | None] = {f"learned.{name}": len(good) / len(ones)}
    for measure, word in (("exact", "exact"), ("loss", "loss"), ("moved", "interpolated")):
        for length in getattr(ones[0], measure):
            values = [v for one in good if (v := getattr(one, measure).get(length)) is not None]
            measures[f"{word}.{name}.at{length}"] = fmean(values) if values else None
    return measures


def rows_of(
    start: Sequence[object], ones: Sequence[Scored], ratios: Sequence[float]
) -> list[tuple[object, ...]]:
    """Rows of a table: means by ratio as trained and, where measured, at interpolated positions.

    They are means over the runs that have learned the task, or over all where none has.
    """
    good = able(ones)
    rows = []
    for measure, words in (("exact", "as trained"), ("moved", "interpolated")):
        means = means_by_ratio(good or ones, measure)
        cells = [f"{means[ratio]:.2f}" if ratio in means else "–" for ratio in ratios]
        if means:
            rows.append((*start, words, ones[0].trained, f"{len(good)} of {len(ones)}", *cells))
    return rows


COLUMNS = ("at test", "trained length", "seeds that learn it")  # of ``rows_of``, after its start
