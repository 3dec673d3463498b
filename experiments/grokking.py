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

from scaling_law.data.tasks.modular_addition import Settings as Task
from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import curve_series, figure, log_axis, time_series
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
from scaling_law.experiment.seeds import (
    Time,
    first_time,
    median_over,
    median_time,
    range_text,
    ratio,
)
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of

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

    ``memorised`` and ``generalised`` are when it did so; ``train`` and ``val`` are its last
    accuracies.
    """

    memorised: Time
    generalised: Time
    train: float
    val: float

    @property
    def steps(self) -> int:
        """The steps that it was trained for."""
        return self.generalised.within

    @property
    def ratio(self) -> float | None:
        """Steps to generalise over steps to memorise; None where it did not do both."""
        return ratio(self.generalised, self.memorised)


def setting_of(spec: RunSpec) -> Setting | None:
    """The setting that a run is one seed of; None for a run of another task."""
    if not isinstance(spec.data, TaskSpec) or spec.data.source.name != "modular_addition":
        return None
    task = spec.data.source.settings_as(Task)
    return Setting(spec.model.architecture.name, spec.optim.weight_decay, task.train_frac)


Runs = Mapping[Setting, Sequence[Run]]
Group = Mapping[Setting, Sequence[Seen]]


def groups_of(evidence: Evidence) -> Runs:
    """The runs of each setting that measured accuracy, settings in order."""
    groups: dict[Setting, list[Run]] = {}
    for run in evidence.ended:
        if (setting := setting_of(run.spec)) is not None and seen(run) is not None:
            groups.setdefault(setting, []).append(run)
    return dict(sorted(groups.items()))


def seen(run: Run) -> Seen | None:
    """What a run did; None where it did not measure accuracy."""
    memorised = first_time(run, "accuracy.train", MEMORISED)
    generalised = first_time(run, "accuracy.val", GENERALISED)
    if memorised is None or generalised is None:
        return None
    train, val = (
        [p.metrics[name] for p in run.curve if name in p.metrics][-1]
        for name in ("accuracy.train", "accuracy.val")
    )
    return Seen(memorised, generalised, train, val)


def analyse(evidence: Evidence) -> Findings:
    """Return the steps to memorise and to generalise of every setting, over seeds."""
    groups = groups_of(evidence)
    runs = {s: [one for run in group if (one := seen(run))] for s, group in groups.items()}
    claims = (_late(runs), _needs_decay(runs), _by_decay(runs), _by_share(runs))
    others = len(evidence.ended) - sum(map(len, groups.values()))
    return answer(
        claims,
        lambda: _words(claims, runs),
        measures=_measures(runs),
        tables=(_table(runs) if runs else None,),
        figures=(_accuracies(groups), _times(runs)),
        literature=_literature(runs),
        notes=(f"runs left out, of another task or without accuracies: {others}",)
        if others
        else (),
    )


def _model(settings: Iterable[Setting]) -> str:
    """The model that the claims are about: the last by name, the MLP where there are several."""
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


def _need_memorised(runs: Group) -> None:
    """The precondition of every claim: runs that do not learn say nothing about generalising."""
    low = [one.train for group in runs.values() for one in group if one.memorised.step is None]
    need(
        not low,
        f"{len(low)} of the runs have not memorised (one predicts {min(low, default=0):.2f} of its"
        " training pairs)",
        f"each must predict {MEMORISED:g} of them: more steps, or another learning rate",
    )


def _need_seeds(ones: Sequence[Seen], setting: str) -> None:
    need(
        len(ones) > 1,
        f"{count_of(len(ones), 'seed')} {setting} finished",
        "it needs at least 2: slaw run grokking trains those that are missing",
    )


def _late(runs: Group) -> Claim:
    mine = _at(runs, decay=DECAY, share=SHARE)
    ones = [one for group in mine.values() for one in group]

    def decide() -> Decision:
        _need_seeds(ones, "of this setting")
        _need_memorised(mine)
        ratios = [one.ratio for one in ones if one.ratio is not None]
        need(
            len(ratios) == len(ones),
            f"{len(ones) - len(ratios)} of {len(ones)} seeds have not generalised in"
            f" {max(one.steps for one in ones):,} steps",
            "train for longer",
        )
        words = ", ".join(f"{value:.1f}" for value in sorted(ratios))
        return min(ratios) >= LATE, f"{words} times"

    return claim(
        "generalises_late",
        f"with weight decay {DECAY:g} and {SHARE:.0%} of the pairs, every seed generalises after"
        f" at least {LATE:g} times the steps it takes to memorise",
        decide,
    )


def _needs_decay(runs: Group) -> Claim:
    mine = _at(runs, decay=0.0, share=SHARE)
    ones = [one for group in mine.values() for one in group]

    def decide() -> Decision:
        _need_seeds(ones, "without weight decay")
        _need_memorised(mine)
        highest = max(one.val for one in ones)
        because = f"at most {highest:.3f} after {min(one.steps for one in ones)} steps"
        return highest < NOT_GENERALISED, because

    return claim(
        "needs_weight_decay",
        f"without weight decay no seed generalises (validation accuracy below {NOT_GENERALISED})",
        decide,
    )


def _by_decay(runs: Group) -> Claim:
    mine = {s: group for s, group in _at(runs, share=SHARE).items() if s.decay > 0}
    says = "the more weight decay, the fewer steps to generalise"
    return _falls(
        "faster_with_decay", says, mine, [f"{s.decay:g}" for s in mine], "weight decay above 0"
    )


def _by_share(runs: Group) -> Claim:
    mine = _at(runs, decay=DECAY)
    says = "the larger the share of pairs trained on, the fewer steps to generalise"
    return _falls("faster_with_data", says, mine, [f"{s.share:g}" for s in mine], "share")


def _falls(name: str, says: str, runs: Group, values: Sequence[str], what: str) -> Claim:
    """Whether the median steps to generalise fall along the settings, which are in order."""

    def decide() -> Decision:
        need(
            len(runs) > 1,
            f"finished runs have {count_of(len(runs), 'value')} of {what}",
            "it needs at least two: slaw run grokking trains those that are missing",
        )
        _need_memorised(runs)
        times = [_median(group, "generalised") for group in runs.values()]
        never = sum(time.step is None for time in times[1:])
        need(
            not never,
            f"half of the seeds at {never} of the settings have not generalised",
            "train for longer",
        )
        steps = [math.inf if time.step is None else time.step for time in times]
        falling = all(later < earlier for earlier, later in itertools.pairwise(steps))
        listed = (f"{time.text} at {value}" for value, time in zip(values, times, strict=True))
        return falling, ", ".join(listed)

    return claim(name, says, decide)


def _median(group: Sequence[Seen], what: str) -> Time:
    """The median over seeds of when they ``memorised`` or ``generalised``."""
    middle = median_time([getattr(one, what) for one in group])
    assert middle is not None, "a setting has at least one run"
    return middle


def _words(claims: Sequence[Claim], runs: Group) -> str:
    mine = [one for group in _at(runs, decay=DECAY, share=SHARE).values() for one in group]
    words = (
        f"With weight decay {DECAY:g} the network memorises its training set after"
        f" {_median(mine, 'memorised').text} steps and generalises after"
        f" {_median(mine, 'generalised').text}"
    )
    if claims[1].established:
        return f"{words}; without weight decay it does not generalise at all."
    return f"{words}."


def _measures(runs: Group) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for setting, group in runs.items():
        name = setting.name
        measures[f"memorise_steps.{name}"] = _median(group, "memorised").step
        measures[f"generalise_steps.{name}"] = _median(group, "generalised").step
        measures[f"ratio.{name}"] = median_over([one.ratio for one in group])
        measures[f"generalised_share.{name}"] = sum(
            one.generalised.step is not None for one in group
        ) / len(group)
        measures[f"val_accuracy.{name}"] = median_over([one.val for one in group])
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
                _median(group, "memorised").text,
                _median(group, "generalised").text,
                "–" if (r := median_over([one.ratio for one in group])) is None else f"{r:.1f}",
                ", ".join(f"{_step(one.memorised)}/{_step(one.generalised)}" for one in group),
                f"{median_over([one.val for one in group]):.3f}",
                max(one.steps for one in group),
            )
            for setting, group in runs.items()
        ),
    )  # fmt: skip


def _step(time: Time) -> str:
    return "never" if time.step is None else time.text


def _accuracies(groups: Runs) -> Figure | None:
    """Accuracy against steps at each weight decay: training dashed, validation solid."""
    panels = []
    for setting, group in groups.items():
        if setting.model != _model(groups) or setting.share != SHARE:
            continue
        series = [
            curve_series(label, run, f"accuracy.{split}", dashed=split == "train")
            for run in group
            for split, label in (
                ("train", "training pairs"),
                ("val", "all other pairs (validation)"),
            )
        ]
        panels.append(
            Panel(
                title=f"weight decay {setting.decay:g}",
                x=log_axis("steps"),
                y=Axis(label="accuracy", low=-0.02, high=1.02),
                series=tuple(series),
            )
        )
    return figure(
        "grokking_accuracy",
        "Accuracy on the training pairs and on all others",
        "Each line is a seed.",
        panels,
    )


def _times(runs: Group) -> Figure | None:
    """Steps to memorise and to generalise against weight decay and against the share of pairs."""
    by_decay, by_share = _at(runs, share=SHARE), _at(runs, decay=DECAY)
    return figure(
        "grokking_time",
        "Steps to memorise the training pairs and to generalise to all others",
        "Points: median over seeds; bars: the fastest and the slowest seed that did."
        " Hollow points with an arrow: half of the seeds or more had not by then.",
        (
            Panel(
                title=f"{SHARE:.0%} of the pairs",
                x=Axis(label="weight decay"),
                y=log_axis("steps"),
                series=_time_series({s.decay: group for s, group in by_decay.items()}),
            ),
            Panel(
                title=f"weight decay {DECAY:g}",
                x=Axis(label="share of pairs trained on"),
                y=log_axis("steps"),
                series=_time_series({s.share: group for s, group in by_share.items()}),
            ),
        ),
    )


def _time_series(groups: Mapping[float, Sequence[Seen]]) -> tuple[Series, ...]:
    memorised = {x: [one.memorised for one in group] for x, group in groups.items()}
    generalised = {x: [one.generalised for one in group] for x, group in groups.items()}
    return time_series("to memorise", memorised), time_series("to generalise", generalised)


def _literature(runs: Group) -> tuple[Published, ...]:
    ones = [one for group in _at(runs, decay=DECAY).values() for one in group]
    measured = range_text(one.ratio for one in ones)
    where = f", by seed and share of pairs ({_model(runs)}, weight decay {DECAY:g})"
    return (
        beside(
            "steps to generalise over steps to memorise",
            theirs="about 1,000 (modular division, transformer, half of the pairs)",
            ours=measured and measured + where,
            source="Power 2022, arXiv 2201.02177, figure 1",
        ),
        beside(
            "an MLP with quadratic activation groks modular addition",
            theirs="yes, even without weight decay (squared error, plain gradient descent)",
            ours="yes, with weight decay (cross-entropy, AdamW)"
            if measured and _model(runs) == "mlp"
            else None,
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
        curve.append(planted_point(spec, step, accuracies))
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
