"""Grokking: a network first memorises its training set and generalises much later.

    slaw run grokking                 # an MLP on a + b mod 59, by weight decay, data, learning rate
    slaw run grokking_transformer     # the same of a one-layer transformer, on a + b mod 31
    slaw report results/grokking      # steps to memorise and to generalise; two figures

``grokking_progress`` looks inside the network meanwhile.

Power 2022 (arXiv 2201.02177) saw it in a transformer, Gromov 2023 (arXiv 2301.02679) in the
two-layer MLP with quadratic activation that is trained here. A run has memorised once it predicts
99% of its training pairs, and generalises once it predicts 95% of all others.

A transformer predicts a held-out pair as soon as it has memorised the swapped one
(``swapped_pairs``), so that its swapped pairs are held out together. The MLP does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from scaling_law.data.tasks.modular_addition import Settings as Task
from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import Decision, answer, beside, claim, decided, need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, log_axis, time_series
from scaling_law.experiment.findings import (
    AGAIN,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Series,
    Table,
)
from scaling_law.experiment.groups import every, grouped, left_out, task_settings
from scaling_law.experiment.memorising import (
    GENERALISED,
    MEMORISED,
    TRAIN,
    VAL,
    Learned,
    accuracy_panel,
    learned,
    middle_time,
)
from scaling_law.experiment.power_law import PowerLaw, fit_power_law
from scaling_law.experiment.seeds import (
    SeedNoise,
    Time,
    log_falls,
    median_over,
    pooled_noise,
    range_text,
    ratio,
    shares,
)
from scaling_law.spec.run import RunSpec
from scaling_law.spec.values import Number
from scaling_law.units import count_of

# A run that has not generalised is near chance, which is 1 in 59 or in 31, not half way there.
NOT_GENERALISED = 0.2
FALLEN = 0.5  # accuracy on validation below which a run that had generalised has fallen back
LATE = 4.0  # times the steps to memorise, from which on generalising comes late
AXES = {"decay": "weight decay", "share": "share of pairs trained on", "rate": "learning rate"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the analysis: the values from which each axis alone is varied.

    ``decay`` is the weight decay;
    ``share`` is the share of pairs that is trained on;
    ``rate`` is the learning rate.
    """

    decay: Annotated[float, Number("weight decay to vary from", above=0)] = 1.0
    share: Annotated[float, Number("share of pairs to vary from", above=0, below=1)] = 0.4
    rate: Annotated[float, Number("learning rate to vary from", above=0)] = 0.01


@dataclass(frozen=True, order=True)
class Setting:
    """What a group of seeds has in common.

    ``model`` is the architecture;
    ``together`` says whether swapped pairs are in the same split;
    ``decay`` is the weight decay;
    ``share`` is the share of pairs that is trained on;
    ``rate`` is the learning rate.
    """

    model: str
    together: bool
    decay: float
    share: float
    rate: float

    @property
    def name(self) -> str:
        """The name in measures: ``mlp.wd1.share0.4.lr0.01``."""
        name = f"{self.model}.wd{self.decay:g}.share{self.share:g}.lr{self.rate:g}"
        return f"{name}.together" if self.together else name


@dataclass(frozen=True)
class Seen(Learned):
    """What one run did.

    ``train`` is its last accuracy on the training pairs;
    ``val`` is its last accuracy on validation;
    ``fallen`` is how many measurements after it generalised are below ``FALLEN``;
    ``lowest`` is the lowest of all measurements after it generalised, None where there is none.
    """

    train: float
    val: float
    fallen: int
    lowest: float | None

    @property
    def steps(self) -> int:
        """The steps that it was trained for."""
        return self.generalised.within

    @property
    def ratio(self) -> float | None:
        """Steps to generalise over steps to memorise; None where it did not do both."""
        return ratio(self.generalised, self.memorised)

    @property
    def at_least(self) -> float:
        """The ratio, or what it exceeds where the run has memorised but not generalised."""
        assert self.memorised.step, "a precondition of every claim"
        return (self.generalised.step or self.steps) / self.memorised.step


def setting_of(spec: RunSpec) -> Setting | None:
    """The setting that a run is one seed of; None for a run of another task."""
    task = task_settings(spec, "modular_addition", Task)
    if task is None:
        return None
    model = spec.model.architecture.name
    decay, rate = spec.optim.weight_decay, spec.optim.lr
    return Setting(model, task.swapped_together, decay, task.train_frac, rate)


Runs = Mapping[Setting, Sequence[Run]]


@dataclass(frozen=True)
class Group:
    """What the runs of all settings did.

    ``base`` is the setting from which each axis alone is varied;
    ``seen`` is what the seeds of each setting did, settings in order.
    """

    base: Setting
    seen: Mapping[Setting, Sequence[Seen]]

    @property
    def middle(self) -> Sequence[Seen]:
        """The runs of the setting that is varied."""
        return self.seen.get(self.base, ())

    def along(self, axis: str) -> dict[float, Sequence[Seen]]:
        """The runs by their value of an axis; all other values are those of the base.

        Without weight decay nothing generalises: that value is no part of its axis.
        """
        return {
            getattr(setting, axis): ones
            for setting, ones in self.seen.items()
            if replace(setting, **{axis: getattr(self.base, axis)}) == self.base
            and setting.decay > 0
        }


def group_of(groups: Runs, settings: Settings) -> Group:
    """What the runs did. The axes are those of one model and one way to hold pairs out.

    They are the last by name; of the two ways, that which holds swapped pairs out together.
    """
    model, together = max(((s.model, s.together) for s in groups), default=("", False))
    return Group(
        Setting(model, together, settings.decay, settings.share, settings.rate),
        {s: [one for run in runs if (one := seen(run))] for s, runs in groups.items()},
    )


def groups_of(evidence: Evidence) -> Runs:
    """The runs of each setting that measured accuracy, settings in order."""
    return grouped(
        (setting, run)
        for run in evidence.ended
        if (setting := setting_of(run.spec)) is not None and seen(run) is not None
    )


def seen(run: Run) -> Seen | None:
    """What a run did; None where it did not measure accuracy."""
    if (when := learned(run)) is None:
        return None
    train, val = (
        [p.metrics[name] for p in run.curve if name in p.metrics] for name in (TRAIN, VAL)
    )
    late = math.inf if when.generalised.step is None else when.generalised.step
    after = [p.metrics[VAL] for p in run.curve if VAL in p.metrics and p.step > late]
    return Seen(
        run,
        when.memorised,
        when.generalised,
        when.on_memorising,
        train=train[-1],
        val=val[-1],
        fallen=sum(accuracy < FALLEN for accuracy in after),
        lowest=min(after, default=None),
    )


def analyse(evidence: Evidence) -> Findings:
    """Return the steps to memorise and to generalise of every setting, over seeds."""
    groups = groups_of(evidence)
    settings = evidence.settings if isinstance(evidence.settings, Settings) else Settings()
    runs = group_of(groups, settings)
    claims = (_late(runs), *_comparisons(runs, _planned(evidence)))
    others = left_out(evidence, len(every(groups)), "of another task or without accuracies")
    return answer(
        claims,
        lambda: _words(claims, runs),
        measures=_measures(runs),
        tables=(_table(runs) if groups else None,),
        figures=(
            (_times(runs), _accuracies(groups, runs.base))
            if len(claims) > 1
            else (_accuracies(groups, runs.base), _times(runs))
        ),
        literature=_literature(runs),
        notes=_notes(runs, compares=len(claims) > 1, others=others),
    )


def _planned(evidence: Evidence) -> dict[str, set[object]]:
    """The values of each axis in the config, by its key, as they are written."""
    entries = evidence.config.get("grid") or ()
    values: dict[str, set[object]] = {}
    for entry in entries:
        for key, several in (entry.get("axes") or {}).items():
            values.setdefault(key, set()).update(several)
    return values


def _comparisons(runs: Group, planned: Mapping[str, set[object]]) -> tuple[Claim, ...]:
    """The claims that compare settings, about the axes that the config or the runs have."""

    def has(axis: str, key: str) -> bool:
        values = planned.get(key, set()) | {
            getattr(setting, axis)
            for setting in runs.seen
            if setting.together == runs.base.together
        }
        return bool(values - {getattr(runs.base, axis)})

    claims: list[Claim] = []
    decays = has("decay", "optim.weight_decay")
    if decays:
        claims.append(_needs_decay(runs))
        claims.append(_falls("faster_with_decay", runs, "decay"))
    if has("share", "data.train_frac"):
        claims.append(_falls("faster_with_data", runs, "share"))
    if has("rate", "optim.lr"):
        claims.append(_falls("faster_with_rate", runs, "rate"))
    if decays:
        claims.append(_power(runs))
    return tuple(claims)


def _notes(runs: Group, *, compares: bool, others: list[str]) -> list[str]:
    notes = []
    if not compares:
        notes.append("this config compares no settings")
    mine = runs.middle
    before = [one.on_memorising for one in mine if one.on_memorising is not None]
    if before and max(before) > NOT_GENERALISED and not runs.base.together:
        notes.append(
            f"on memorising a run predicts {shares(before)} of all other pairs: those whose swapped"
            " pair is among those of training"
        )
    fallen = [one for one in mine if one.fallen]
    if fallen:
        lowest = min(one.lowest for one in fallen if one.lowest is not None)
        notes.append(
            f"in {len(fallen)} of {len(mine)} seeds accuracy falls below {FALLEN:g} again after it"
            f" first reached {GENERALISED:.0%}, at"
            f" {count_of(sum(one.fallen for one in fallen), 'measurement')},"
            f" to {lowest:.2f} at the lowest"
        )
    return [*notes, *others]


def _need_memorised(ones: Sequence[Seen]) -> None:
    """The precondition of every claim: runs that do not learn say nothing about generalising."""
    low = [one.train for one in ones if one.memorised.step is None]
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
        "it needs at least 2: " + AGAIN,
    )


def _late(runs: Group) -> Claim:
    ones = runs.middle

    def decide() -> Decision:
        _need_seeds(ones, "of this setting")
        _need_memorised(ones)
        late = [one for one in ones if one.generalised.step is None]
        within = (
            f"{len(late)} of {len(ones)} seeds have not generalised in"
            f" {max((one.steps for one in late), default=0):,} steps"
        )
        need(2 * len(late) < len(ones), within, "train for longer")
        # of a seed that has not generalised the ratio is a bound, which says nothing below LATE
        soon = min((one.at_least for one in late), default=math.inf)
        need(
            soon >= LATE,
            f"{within}, {soon:.1f} times those to memorise",
            "train for longer",
        )
        ratios = sorted(one.ratio for one in ones if one.ratio is not None)
        words = f"{', '.join(f'{value:.1f}' for value in ratios)} times"
        holds, said = decided(
            [math.log(one.at_least / LATE) for one in ones],
            f"{words}; {within if late else 'every seed generalises'}; the mean is"
            f"{' at least' if late else ''}",
            show=lambda mean: mean.times(LATE).text,
        )
        need(holds or not late, said, "train for longer")  # a bound contradicts nothing
        return holds, said

    return claim(
        "generalises_late",
        f"with weight decay {runs.base.decay:g} and {runs.base.share:.0%} of the pairs, most seeds"
        f" generalise, and on average after more than {LATE:g} times the steps it takes to"
        " memorise",
        decide,
    )


def _needs_decay(runs: Group) -> Claim:
    ones = runs.seen.get(replace(runs.base, decay=0.0), ())

    def decide() -> Decision:
        _need_seeds(ones, "without weight decay")
        _need_memorised(ones)
        highest = max(one.val for one in ones)
        words = (
            f"at most {highest:.3f} after {min(one.steps for one in ones)} steps; below"
            f" {NOT_GENERALISED} by"
        )
        below = [NOT_GENERALISED - one.val for one in ones]
        # seeds that predict nothing are all at 0: what a seed changes shows at other settings
        noise = pooled_noise([one.val for one in group] for group in runs.seen.values())
        return decided(below, words, show=lambda mean: mean.text, noise=noise)

    return claim(
        "needs_weight_decay",
        "without weight decay the network does not generalise (mean validation accuracy below"
        f" {NOT_GENERALISED})",
        decide,
    )


def _falls(name: str, runs: Group, axis: str) -> Claim:
    """Whether a seed generalises sooner at the last value of an axis than at the first."""
    groups = runs.along(axis)

    def decide() -> Decision:
        need(
            len(groups) > 1,
            f"finished runs have {count_of(len(groups), 'value')} of the {AXES[axis]}",
            "it needs at least two: " + AGAIN,
        )
        _need_memorised(every(groups))
        ends = min(groups), max(groups)
        first, last = ({one.seed: one.generalised for one in groups[end]} for end in ends)
        both = sorted(first.keys() & last.keys())
        need(
            len(both) > 1,
            f"{count_of(len(both), 'seed')} finished at both {AXES[axis]} {ends[0]:g} and"
            f" {ends[1]:g}",
            "it needs at least 2: " + AGAIN,
        )
        pairs = [(first[seed], last[seed]) for seed in both]
        each = ", ".join(f"{before.text} to {after.text}" for before, after in pairs)
        middles = ", ".join(
            f"{middle_time(group, 'generalised').text} at {value:g}"
            for value, group in groups.items()
        )
        words = f"seed by seed from {ends[0]:g} to {ends[1]:g}: {each}; medians {middles}"
        falls = log_falls(pairs)
        never = any(time.step is None for pair in pairs for time in pair)
        longer = "more seeds, or longer training"
        need(falls is not None, f"{words}: a seed never generalises at either end", longer)
        assert falls is not None
        least = " at least" if never else ""
        return decided(
            falls,
            f"{words}; sooner by a factor of{least}",
            show=lambda mean: mean.factor.text,
            noise=_noise(runs),
        )

    return claim(
        name, f"steps to generalise fall from the smallest {AXES[axis]} to the largest", decide
    )


def _noise(runs: Group) -> SeedNoise:
    """The noise of the log ratio of two times to generalise, pooled over settings.

    Settings count in which every seed generalises.
    """
    logs = [
        [math.log(one.generalised.step) for one in ones if one.generalised.step]
        for ones in runs.seen.values()
        if all(one.generalised.step for one in ones)
    ]
    return pooled_noise(own for own in logs if own).of_difference


def _law(runs: Group) -> PowerLaw | str:
    """Steps to generalise as a power of the weight decay, where every seed generalises."""
    whole = {
        decay: [one.generalised.step for one in group if one.generalised.step is not None]
        for decay, group in runs.along("decay").items()
        if all(one.generalised.step is not None for one in group)
    }
    fit = fit_power_law(whole)
    if isinstance(fit, str):
        return f"every seed generalises at {count_of(len(whole), 'weight decay')}: {fit}"
    return fit


def _power(runs: Group) -> Claim:
    groups = runs.along("decay")

    def decide() -> Decision:
        _need_memorised([one for group in groups.values() for one in group])
        law = _law(runs)
        if isinstance(law, str):
            need(False, law, "more weight decays, or longer training")
        assert isinstance(law, PowerLaw)
        low, high = law.interval
        need(
            high < 0 and high - low <= abs(law.exponent),
            f"{law.text}, which does not determine it",
            "more weight decays or seeds",
        )
        return low <= -1 <= high, f"{law.text}, steps scatter by {law.scatter:.0%} about the law"

    return claim(
        "inverse_decay",
        "steps to generalise are inversely proportional to weight decay (exponent -1)",
        decide,
    )


def _words(claims: Sequence[Claim], runs: Group) -> str:
    mine = runs.middle
    words = (
        f"With weight decay {runs.base.decay:g} the network memorises its training set after"
        f" {middle_time(mine, 'memorised').text} steps and first reaches"
        f" {GENERALISED:.0%} on all other pairs after {middle_time(mine, 'generalised').text}"
    )
    if late := sum(one.generalised.step is None for one in mine):
        words += f" (median; {late} of {len(mine)} seeds have not by the end)"
    standing = {one.name: one.established for one in claims}
    if standing.get("needs_weight_decay"):
        words += "; without weight decay it does not generalise at all"
    if standing.get("inverse_decay") is not None and isinstance(law := _law(runs), PowerLaw):
        words += f"; the steps to generalise are a power of the weight decay, {law.text}"
    return f"{words}."


def _measures(runs: Group) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for setting, group in runs.seen.items():
        name = setting.name
        measures[f"memorise_steps.{name}"] = middle_time(group, "memorised").step
        measures[f"generalise_steps.{name}"] = middle_time(group, "generalised").step
        measures[f"ratio.{name}"] = median_over([one.ratio for one in group])
        measures[f"generalised_share.{name}"] = sum(
            one.generalised.step is not None for one in group
        ) / len(group)
        measures[f"val_accuracy.{name}"] = median_over([one.val for one in group])
    law = _law(runs)
    measures["decay_exponent"] = law.exponent if isinstance(law, PowerLaw) else None
    measures["decay_exponent_low"] = law.interval[0] if isinstance(law, PowerLaw) else None
    measures["decay_exponent_high"] = law.interval[1] if isinstance(law, PowerLaw) else None
    return measures


def _table(runs: Group) -> Table:
    return Table(
        caption=f"Steps to {MEMORISED:.0%} accuracy on the training pairs (memorise) and to"
        f" {GENERALISED:.0%} on all others (generalise), by setting: median over seeds, and each"
        " seed; as of the first measurement at that accuracy",
        head=(
            "model", "swapped pairs", "weight decay", "share of pairs", "learning rate", "seeds",
            "memorise", "generalise", "ratio", "each seed", "last accuracy on validation",
            "steps trained",
        ),
        rows=tuple(
            (
                setting.model,
                "together" if setting.together else "apart",
                f"{setting.decay:g}",
                f"{setting.share:g}",
                f"{setting.rate:g}",
                len(group),
                middle_time(group, "memorised").text,
                middle_time(group, "generalised").text,
                "–" if (r := median_over([one.ratio for one in group])) is None else f"{r:.1f}",
                ", ".join(f"{_step(one.memorised)}/{_step(one.generalised)}" for one in group),
                f"{median_over([one.val for one in group]):.3f}",
                max(one.steps for one in group),
            )
            for setting, group in runs.seen.items()
        ),
        text_columns=2,
    )  # fmt: skip


def _step(time: Time) -> str:
    return "never" if time.step is None else time.text


def _accuracies(groups: Runs, base: Setting) -> Figure | None:
    """Accuracy against steps at three weight decays: training dashed, validation solid."""
    mine = [s for s in groups if replace(s, decay=base.decay) == base]
    shown = {0.0, min((s.decay for s in mine if s.decay), default=base.decay), base.decay}
    panels = [
        accuracy_panel(f"weight decay {setting.decay:g}", groups[setting])
        for setting in mine
        if setting.decay in shown
    ]
    return figure(
        "grokking_accuracy",
        "Accuracy on the training pairs and on all others",
        "Each line is a seed.",
        panels,
    )


def _times(runs: Group) -> Figure | None:
    """Steps to memorise and to generalise along each axis."""
    panels = []
    for axis, label in AXES.items():
        groups = runs.along(axis)
        series = [
            time_series(
                f"to {what}",
                {x: [getattr(one, key) for one in ones] for x, ones in groups.items()},
                line=line,
            )
            for what, key, line in (
                ("memorise", "memorised", True),
                ("generalise", "generalised", axis != "decay"),
            )
        ]
        if axis == "decay" and isinstance(law := _law(runs), PowerLaw):
            points = tuple((x, law.at(x)) for x in groups)
            series.append(
                Series(label=f"power law, {law.text}", points=points, marks=False, dashed=True)
            )
        panels.append(Panel(x=log_axis(label, groups), y=log_axis("steps"), series=tuple(series)))
    return figure(
        "grokking_time",
        "Steps to memorise the training pairs and to generalise to all others",
        f"Each axis alone is varied from weight decay {runs.base.decay:g}, {runs.base.share:.0%} of"
        f" the pairs and learning rate {runs.base.rate:g}. Points: median over seeds; bars: the"
        " fastest and the slowest seed that did. Hollow points with an arrow: half of the seeds or"
        " more had not by then.",
        panels,
    )


def _literature(runs: Group) -> tuple[Published, ...]:
    ones = [one for group in runs.along("share").values() for one in group]
    measured = range_text(one.ratio for one in ones)
    law = _law(runs)
    where = f", by seed and share of pairs ({runs.base.model}, weight decay {runs.base.decay:g})"
    return (
        beside(
            "steps to generalise over steps to memorise",
            theirs="about 1,000 (modular division, transformer, half of the pairs)",
            ours=measured and measured + where,
            source="Power 2022, arXiv 2201.02177, figure 1",
        ),
        beside(
            "steps to generalise against weight decay",
            theirs="inversely proportional (gradient flow, small weight decay, large initial"
            " weights)",
            ours=law.text if isinstance(law, PowerLaw) else None,
            source="Lyu 2023, arXiv 2311.18817",
        ),
        beside(
            "an MLP with quadratic activation groks modular addition",
            theirs="yes, even without weight decay (squared error, plain gradient descent)",
            ours="yes, with weight decay (cross-entropy, AdamW)"
            if measured and runs.base.model == "mlp"
            else None,
            source="Gromov 2023, arXiv 2301.02679",
        ),
    )


# Of the planted runs: steps to memorise, and to generalise at the shared values.
_MEMORISE, _BASE = 55, 380


def _planted(spec: RunSpec) -> Outcome:
    """Accuracies that jump at the planted steps, 5% later with each seed.

    Steps to generalise are powers of weight decay, share and learning rate.
    """
    setting = setting_of(spec)
    assert setting is not None, "planted in the experiment's own plan"
    generalise = math.inf
    if setting.decay:
        generalise = (
            _BASE
            * setting.decay**-0.75
            * (setting.share / Settings.share) ** -2.5
            * (setting.rate / Settings.rate) ** -0.6
        )
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
    settings=Settings,
    planted=Planted(
        outcome=_planted,
        measures={
            "memorise_steps.mlp.wd1.share0.4.lr0.01": (58, 60),
            "generalise_steps.mlp.wd1.share0.4.lr0.01": (399, 400),
            "generalise_steps.mlp.wd0.3.share0.4.lr0.01": (980, 990),
            "ratio.mlp.wd1.share0.4.lr0.01": (6.6, 6.8),
            "generalised_share.mlp.wd0.share0.4.lr0.01": (0, 0),
            "decay_exponent": (-0.8, -0.7),
            "decay_exponent_high": (-0.75, -0.65),
        },
        claims={
            "generalises_late": True,
            "needs_weight_decay": True,
            "faster_with_decay": True,
            "faster_with_data": True,
            "faster_with_rate": True,
            "inverse_decay": False,
        },
    ),
)
