"""Grokking: a network first memorises its training set and generalises much later.

    slaw run grokking                 # an MLP on a + b mod 59, by weight decay and share of pairs
    slaw run grokking_transformer     # a one-layer transformer, at weight decay 1
    slaw report results/grokking      # steps to memorise and to generalise; two figures

Power 2022 (arXiv 2201.02177) saw it in a transformer, Gromov 2023 (arXiv 2301.02679) in the
two-layer MLP with quadratic activation that is trained here. A run has memorised once it predicts
99% of its training pairs, and generalises once it predicts 95% of all others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from scaling_law.data.tasks.modular_addition import Settings as Task
from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.evidence import Evidence, Run
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
from scaling_law.files.record import CurvePoint
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.run import RunSpec

MEMORISED, GENERALISED = 0.99, 0.95
# A run that has not generalised is near chance, which is 1 in 59, and not half way there.
NOT_GENERALISED = 0.2
LATE = 4.0  # times the steps to memorise, from which on generalising comes late
DECAY, SHARE = 1.0, 0.4  # weight decay at which shares are compared, and the other way round


@dataclass(frozen=True, order=True)
class Setting:
    """What a group of seeds has in common.

    ``model`` is the architecture; ``decay`` is the weight decay; ``share`` is the share of pairs
    that is trained on.
    """

    model: str
    decay: float
    share: float

    @property
    def name(self) -> str:
        """The name in measures: ``mlp.wd1.share0.4``."""
        return f"{self.model}.wd{self.decay:g}.share{self.share:g}"


@dataclass(frozen=True)
class Seen:
    """What one run did.

    ``memorised`` and ``generalised`` are the first measured steps at these accuracies, None for
    never; ``train`` and ``val`` are its last accuracies; ``steps`` is how long it was trained.
    """

    memorised: int | None
    generalised: int | None
    train: float
    val: float
    steps: int


def setting_of(spec: RunSpec) -> Setting | None:
    """The setting that a run is one seed of; None for a run of another task."""
    if not isinstance(spec.data, TaskSpec) or spec.data.source.name != "modular_addition":
        return None
    task = spec.data.source.settings_as(Task)
    return Setting(spec.model.architecture.name, spec.optim.weight_decay, task.train_frac)


def groups_of(evidence: Evidence) -> dict[Setting, list[Run]]:
    """The runs of each setting, settings in order."""
    groups: dict[Setting, list[Run]] = {}
    for run in evidence.ended:
        if (setting := setting_of(run.spec)) is not None:
            groups.setdefault(setting, []).append(run)
    return dict(sorted(groups.items()))


def seen(run: Run) -> Seen | None:
    """What a run did; None where it did not measure accuracy."""
    points = [point for point in run.curve if "accuracy.val" in point.metrics]
    if not points:
        return None
    last = points[-1]
    return Seen(
        memorised=_first(points, "accuracy.train", MEMORISED),
        generalised=_first(points, "accuracy.val", GENERALISED),
        train=last.metrics.get("accuracy.train", 0.0),
        val=last.metrics["accuracy.val"],
        steps=last.step,
    )


def _first(points: Sequence[CurvePoint], name: str, level: float) -> int | None:
    return next((p.step for p in points if p.metrics.get(name, 0.0) >= level), None)


def analyse(evidence: Evidence) -> Findings:
    """Steps to memorise and to generalise of every setting, over seeds."""
    runs = {
        setting: [one for run in group if (one := seen(run)) is not None]
        for setting, group in groups_of(evidence).items()
    }
    runs = {setting: group for setting, group in runs.items() if group}
    claims = (_late(runs), _needs_decay(runs), _by_decay(runs), _by_share(runs))
    return Findings(
        verdict=_verdict(claims, runs),
        claims=claims,
        measures=_measures(runs),
        tables=(_table(runs),) if runs else (),
        figures=_figures(evidence, runs),
        literature=_literature(runs),
    )


Group = Mapping[Setting, Sequence[Seen]]


def _model(settings: Iterable[Setting]) -> str:
    """The model that claims are made of: the last by name, the MLP where there are several."""
    return max((setting.model for setting in settings), default="")


def _at(runs: Group, *, decay: float | None = None, share: float | None = None) -> Group:
    """The settings of one model at a weight decay, or a share of pairs, in order."""
    return {
        setting: group
        for setting, group in sorted(runs.items())
        if setting.model == _model(runs)
        and decay in (None, setting.decay)
        and share in (None, setting.share)
    }


def _unlearnt(runs: Group) -> str:
    """What is missing for claims about these runs; "" where all have memorised."""
    low = [one.train for group in runs.values() for one in group if one.memorised is None]
    if not low:
        return ""
    return (
        f"{len(low)} of the runs predict {min(low):.2f} of their training pairs at least; it needs"
        f" {MEMORISED:g} in each: more steps, or another learning rate"
    )


def _open(name: str, says: str, because: str) -> Claim:
    return Claim(name=name, says=says, established=None, because=because)


def _late(runs: Group) -> Claim:
    name = "generalises_late"
    says = (
        f"with weight decay {DECAY:g} and {SHARE:.0%} of the pairs, every seed generalises after"
        f" at least {LATE:g} times the steps it takes to memorise"
    )
    mine = _at(runs, decay=DECAY, share=SHARE)
    ones = [one for group in mine.values() for one in group]
    if len(ones) < 2:
        return _open(name, says, "it needs at least 2 finished seeds of this setting")
    if why := _unlearnt(mine):
        return _open(name, says, why)
    ratios = [_ratio(one) for one in ones]
    if None in ratios:
        steps = max(one.steps for one in ones)
        return _open(name, says, f"a seed has not generalised in {steps} steps: train for longer")
    numbers = sorted(ratio for ratio in ratios if ratio is not None)
    because = f"{', '.join(f'{ratio:.1f}' for ratio in numbers)} times"
    return Claim(name=name, says=says, established=numbers[0] >= LATE, because=because)


def _needs_decay(runs: Group) -> Claim:
    name = "needs_weight_decay"
    says = f"without weight decay no seed generalises (validation accuracy below {NOT_GENERALISED})"
    mine = _at(runs, decay=0.0, share=SHARE)
    ones = [one for group in mine.values() for one in group]
    if len(ones) < 2:
        return _open(name, says, "it needs at least 2 finished seeds without weight decay")
    if why := _unlearnt(mine):
        return _open(name, says, why)
    highest = max(one.val for one in ones)
    because = f"at most {highest:.3f} after {min(one.steps for one in ones)} steps"
    return Claim(name=name, says=says, established=highest < NOT_GENERALISED, because=because)


def _by_decay(runs: Group) -> Claim:
    mine = {s: group for s, group in _at(runs, share=SHARE).items() if s.decay > 0}
    says = "the more weight decay, the fewer steps to generalise"
    return _falls("faster_with_decay", says, mine, [f"{s.decay:g}" for s in mine], "weight decay")


def _by_share(runs: Group) -> Claim:
    mine = _at(runs, decay=DECAY)
    says = "the larger the share of pairs trained on, the fewer steps to generalise"
    return _falls("faster_with_data", says, mine, [f"{s.share:g}" for s in mine], "share")


def _falls(name: str, says: str, runs: Group, values: Sequence[str], what: str) -> Claim:
    """Whether the median steps to generalise fall along the settings, which are in order."""
    if len(runs) < 2:
        return _open(name, says, f"it needs finished runs of at least two values of {what}")
    if why := _unlearnt(runs):
        return _open(name, says, why)
    steps = [_median([one.generalised for one in group]) for group in runs.values()]
    if any(number is None for number in steps[1:]):
        return _open(name, says, "half of a setting's seeds have not generalised: train for longer")
    numbers = [math.inf if number is None else number for number in steps]
    falling = all(later < earlier for earlier, later in itertools.pairwise(numbers))
    because = ", ".join(
        f"{'never' if number == math.inf else f'{number:g}'} at {value}"
        for value, number in zip(values, numbers, strict=True)
    )
    return Claim(name=name, says=says, established=falling, because=because)


def _ratio(one: Seen) -> float | None:
    if one.generalised is None or one.memorised is None:
        return None
    return one.generalised / one.memorised


def _median(values: Sequence[float | None]) -> float | None:
    """The median, None where that many have none: a run that never did comes after all others."""
    middle = median([math.inf if value is None else value for value in values])
    return None if middle == math.inf else float(middle)


def _verdict(claims: Sequence[Claim], runs: Group) -> str:
    late, needs, *_ = claims
    if late.established is None:
        return f"Not established: {late.because}."
    mine = [one for group in _at(runs, decay=DECAY, share=SHARE).values() for one in group]
    memorised, generalised = (
        _median([one.memorised for one in mine]),
        _median([one.generalised for one in mine]),
    )
    words = (
        f"With weight decay {DECAY:g} the network memorises its training set after"
        f" {memorised:g} steps and generalises after {generalised:g}"
    )
    if needs.established:
        return f"{words}; without weight decay it does not generalise at all."
    return f"{words}."


def _measures(runs: Group) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for setting, group in runs.items():
        name = setting.name
        measures[f"memorise_steps.{name}"] = _median([one.memorised for one in group])
        measures[f"generalise_steps.{name}"] = _median([one.generalised for one in group])
        measures[f"ratio.{name}"] = _median([_ratio(one) for one in group])
        measures[f"generalised_share.{name}"] = sum(
            one.generalised is not None for one in group
        ) / len(group)
        measures[f"val_accuracy.{name}"] = float(median([one.val for one in group]))
    return measures


def _table(runs: Group) -> Table:
    return Table(
        caption=f"Steps to {MEMORISED:.0%} accuracy on the training pairs (memorise) and to"
        f" {GENERALISED:.0%} on all others (generalise), by setting: median over seeds, and each"
        " seed; as of the first measurement at that accuracy",
        head=(
            "model", "weight decay", "share of pairs", "seeds", "memorise", "generalise", "ratio",
            "each seed", "last accuracy on validation", "steps trained",
        ),
        rows=tuple(
            (
                setting.model,
                f"{setting.decay:g}",
                f"{setting.share:g}",
                len(group),
                _steps(_median([one.memorised for one in group])),
                _steps(_median([one.generalised for one in group])),
                "–" if (r := _median([_ratio(one) for one in group])) is None else f"{r:.1f}",
                ", ".join(f"{_steps(one.memorised)}/{_steps(one.generalised)}" for one in group),
                f"{median([one.val for one in group]):.3f}",
                max(one.steps for one in group),
            )
            for setting, group in runs.items()
        ),
    )  # fmt: skip


def _steps(value: float | None) -> str:
    return "never" if value is None else f"{value:g}"


def _figures(evidence: Evidence, runs: Group) -> tuple[Figure, ...]:
    if not runs:
        return ()
    figures = [_times(runs)]
    if accuracies := _accuracies(evidence):
        figures.insert(0, accuracies)
    return tuple(figures)


def _accuracies(evidence: Evidence) -> Figure | None:
    """Accuracy against steps at each weight decay: training dashed, validation solid."""
    panels = []
    groups = groups_of(evidence)
    for setting, group in groups.items():
        if setting.model != _model(groups) or setting.share != SHARE:
            continue
        series = []
        for run in group:
            for split, label, dashed in (
                ("train", "training pairs", True),
                ("val", "all other pairs (validation)", False),
            ):
                points = tuple(
                    (float(point.step), point.metrics[f"accuracy.{split}"])
                    for point in run.curve
                    if f"accuracy.{split}" in point.metrics and point.step > 0
                )
                series.append(Series(label=label, points=points, marks=False, dashed=dashed))
        panels.append(
            Panel(
                title=f"weight decay {setting.decay:g}",
                x=Axis(label="steps", scale="log"),
                y=Axis(label="accuracy", low=-0.02, high=1.02),
                series=tuple(series),
            )
        )
    if not panels:
        return None
    return Figure(
        name="grokking_accuracy",
        title="Accuracy on the training pairs and on all others",
        caption="Each line is a seed.",
        panels=tuple(panels),
    )


def _times(runs: Group) -> Figure:
    """Steps to memorise and to generalise against weight decay and against the share of pairs."""
    by_decay, by_share = _at(runs, share=SHARE), _at(runs, decay=DECAY)
    return Figure(
        name="grokking_time",
        title="Steps to memorise the training pairs and to generalise to all others",
        caption="Points: median over seeds; bars: the fastest and the slowest seed that got there."
        " A setting without a point never got there.",
        panels=(
            Panel(
                title=f"{SHARE:.0%} of the pairs",
                x=Axis(label="weight decay"),
                y=Axis(label="steps", scale="log"),
                series=_time_series({s.decay: group for s, group in by_decay.items()}),
            ),
            Panel(
                title=f"weight decay {DECAY:g}",
                x=Axis(label="share of pairs trained on"),
                y=Axis(label="steps", scale="log"),
                series=_time_series({s.share: group for s, group in by_share.items()}),
            ),
        ),
    )


def _time_series(groups: Mapping[float, Sequence[Seen]]) -> tuple[Series, ...]:
    series = []
    for label, attribute in (("to memorise", "memorised"), ("to generalise", "generalised")):
        points, intervals = [], []
        for x, group in groups.items():
            steps = [getattr(one, attribute) for one in group]
            middle = _median(steps)
            if middle is None:
                continue
            there = [float(step) for step in steps if step is not None]
            points.append((x, middle))
            intervals.append((min(there), max(there)))
        series.append(Series(label=label, points=tuple(points), intervals=tuple(intervals)))
    return tuple(series)


def _literature(runs: Group) -> tuple[Published, ...]:
    ratios = [_ratio(one) for group in _at(runs, decay=DECAY).values() for one in group]
    numbers = sorted(ratio for ratio in ratios if ratio is not None)
    ours = "not measured"
    if numbers:
        ours = f"{numbers[0]:.1f} to {numbers[-1]:.1f}, by seed and share of pairs"
    return (
        Published(
            what="steps to generalise over steps to memorise",
            theirs="about 1,000 (modular division, transformer, half of the pairs)",
            ours=f"{ours} ({_model(runs)}, weight decay {DECAY:g})",
            source="Power 2022, arXiv 2201.02177, figure 1",
        ),
        Published(
            what="an MLP with quadratic activation groks modular addition",
            theirs="yes, even without weight decay (squared error, plain gradient descent)",
            ours="yes, with weight decay (cross-entropy, AdamW)"
            if numbers and _model(runs) == "mlp"
            else "not measured",
            source="Gromov 2023, arXiv 2301.02679",
        ),
    )


# Of the planted runs: steps to memorise, and to generalise by weight decay and share.
_MEMORISE = 55
_GENERALISE = {
    (0.3, 0.4): 1060, (1.0, 0.3): 900, (1.0, 0.4): 380, (1.0, 0.5): 200, (1.0, 0.6): 140,
}  # fmt: skip


def _planted(spec: RunSpec) -> Outcome:
    """Accuracies that jump at the planted steps, 5% later with each seed."""
    setting = setting_of(spec)
    assert setting is not None, "planted in the experiment's own plan"
    generalise = _GENERALISE.get((setting.decay, setting.share), math.inf)
    late = 1 + 0.05 * spec.seed
    curve = []
    for step in range(5, spec.total_steps + 1, 5):
        accuracies = {
            "accuracy.train": 1.0 if step >= _MEMORISE * late else 0.5,
            "accuracy.val": 1.0 if step >= generalise * late else 0.03,
        }
        curve.append(
            CurvePoint(
                step=step, tokens=step * spec.batch_tokens, train_loss_nats=1.0,
                val_loss_nats=1.0, lr=spec.optim.lr, grad_norm=1.0, seconds=0.1 * step,
                metrics=accuracies,
            )
        )  # fmt: skip
    return Outcome(curve=tuple(curve), metrics=curve[-1].metrics)


EXPERIMENT = Experiment(
    question="When does a network that has memorised its training set begin to generalise?",
    reproduces="Power 2022 (grokking), Gromov 2023",
    parts={
        "source": ("modular_addition",),
        "architecture": ("mlp",),
        "probe": ("accuracy", "weight_norm"),
    },
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "memorise_steps.mlp.wd1.share0.4": (58, 60),
            "generalise_steps.mlp.wd1.share0.4": (399, 400),
            "generalise_steps.mlp.wd0.3.share0.4": (1110, 1115),
            "ratio.mlp.wd1.share0.4": (6.6, 6.8),
            "generalised_share.mlp.wd0.share0.4": (0, 0),
            "generalise_steps.mlp.wd1.share0.6": (147, 150),
        },
        claims={
            "generalises_late": True,
            "needs_weight_decay": True,
            "faster_with_decay": True,
            "faster_with_data": True,
        },
    ),
)
