"""The error on small images against training examples and the size of a network.

    slaw run images
    slaw report results/images       # a law of the error for each network; two figures

Fashion-MNIST is read from Debian's package dataset-fashion-mnist where it is installed; otherwise
the images are synthetic, and the findings say so. A run's error is the share of test images that it
gets wrong at the point of its curve with the highest accuracy on validation images, which are
others. Hestness 2017 (arXiv 1712.00409) fits such errors with a n^-b + c.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.data.tasks.images import Settings as Task
from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import (
    Decision,
    PreconditionError,
    all_decided,
    answer,
    beside,
    claim,
    need,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, law_series, log_axis, mean_series
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
from scaling_law.experiment.lack_of_fit import fits_within, lack_of_law
from scaling_law.experiment.power_law import PowerLaw, fit_power_law_with_floor
from scaling_law.experiment.seeds import mean_over, range_text
from scaling_law.spec.counts import count_params
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of

MLP, CONVNET = "dense", "convnet"
NAMES = {MLP: "MLP", CONVNET: "convnet"}
SYMBOLS = {"examples": "n", "params": "N"}
MISFIT = 0.05  # largest misfit, as a share of the error, of a law that describes the errors
TRAINED = 1.1  # largest error after half of the steps over that after all of them
SMALLER = 0.85  # error of the largest network over that of the smallest, at most


@dataclass(frozen=True, order=True)
class Setting:
    """What a group of seeds has in common.

    ``model`` is the architecture; ``params`` are its parameters; ``examples`` is the number of
    training images; ``steps`` is how long it is trained.
    """

    model: str
    params: int
    examples: int
    steps: int


@dataclass(frozen=True)
class Seen:
    """What one run did.

    ``draw`` is the seed of its training images; ``error`` is the share of test images that it gets
    wrong at its best point; ``best`` is the step of that point; ``train`` is the error on training
    images at the end.
    """

    draw: int
    error: float
    best: int
    train: float


Groups = Mapping[Setting, Sequence[Seen]]
Errors = dict[float, dict[int, float]]  # by examples or parameters, then by draw


def setting_of(spec: RunSpec) -> Setting | None:
    """The setting that a run is one seed of; None for a run of another task or model."""
    task = task_settings(spec, "images", Task)
    if task is None or spec.model.architecture.name not in NAMES:
        return None
    params = count_params(spec.model).total
    return Setting(spec.model.architecture.name, params, task.train_examples, spec.total_steps)


def seen(run: Run) -> Seen | None:
    """What a run did; None where it did not measure its accuracies, and for another task."""
    task = task_settings(run.spec, "images", Task)
    train, chosen, tested = names = ("accuracy.train", "accuracy.val", "accuracy.val:test")
    points = [p for p in run.curve if all(name in p.metrics for name in names)]
    if not points or task is None:
        return None
    best = max(points, key=lambda point: point.metrics[chosen])
    return Seen(task.seed, 1 - best.metrics[tested], best.step, 1 - points[-1].metrics[train])


def groups_of(evidence: Evidence) -> Groups:
    """What the runs of each setting did, settings in order."""
    pairs = ((setting_of(run.spec), seen(run)) for run in evidence.ended)
    return grouped((setting, one) for setting, one in pairs if setting and one)


def images_of(evidence: Evidence) -> tuple[str, ...]:
    """Which images the runs were trained on, as their records say."""
    return tuple(sorted({run.record.versions.get("images", "unknown") for run in evidence.ended}))


def errors_by(groups: Groups, model: str, by: str) -> Errors:
    """The errors of a model's draws by ``examples`` or ``params``, of the longest runs.

    The other one is that of which there are most.
    """
    longest = max((s.steps for s in groups if s.model == model), default=0)
    mine = [s for s in groups if (s.model, s.steps) == (model, longest)]
    other = {"examples": "params", "params": "examples"}[by]
    counts = [getattr(s, other) for s in mine]
    most = max(counts, key=lambda value: (counts.count(value), value), default=0)
    return {
        float(getattr(s, by)): {one.draw: one.error for one in groups[s]}
        for s in mine
        if getattr(s, other) == most
    }


def lists(errors: Errors) -> dict[float, list[float]]:
    """The errors of all draws."""
    return {x: list(by.values()) for x, by in errors.items()}


def lower_by(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """The logs of the factors by which ours are below theirs, of each draw with both."""
    return [math.log(theirs[draw] / ours[draw]) for draw in sorted(ours.keys() & theirs.keys())]


def analyse(evidence: Evidence) -> Findings:
    """Return the law of the error by examples and by parameters, and which network is better."""
    groups, images = groups_of(evidence), images_of(evidence)
    laws = {
        (model, by): fit_power_law_with_floor(lists(errors_by(groups, model, by)))
        for model, by in ((MLP, "examples"), (MLP, "params"))
    }
    claims = (
        _law(groups, laws, "examples"),
        _law(groups, laws, "params"),
        _larger(groups),
        _convolutions(groups),
    )
    notes = [f"the images are {' and '.join(images)}"] if groups else []
    if "synthetic" in images:
        notes += ["for Fashion-MNIST install Debian's package dataset-fashion-mnist; a new --out"]
    why = "of another task or model or without accuracies"
    notes += left_out(evidence, len(every(groups)), why)
    return answer(
        claims,
        lambda: _words(claims, groups, laws, images),
        measures=_measures(groups, laws),
        tables=(_table(groups),),
        figures=(_figure(groups, laws, images),),
        literature=_literature(groups, laws, images),
        notes=notes,
    )


Laws = Mapping[tuple[str, str], PowerLaw | str]


def _need_seeds(errors: Errors, model: str) -> None:
    few = [f"{x:,.0f}" for x, group in errors.items() if len(group) < 2]
    need(bool(errors), f"no run of the {NAMES[model]} finished", AGAIN)
    need(not few, f"one seed of the {NAMES[model]} finished at {', '.join(few)}", AGAIN)


def _need_trained(groups: Groups) -> None:
    """Errors of runs that are too short say how long these were trained."""
    whole = max(
        (s for s in groups if s.model == MLP), key=lambda s: (s.examples, s.params, s.steps)
    )
    halves = {
        one.draw: one.error
        for s in groups
        if (s.model, s.params, s.examples) == (MLP, whole.params, whole.examples)
        and 0.4 <= s.steps / whole.steps <= 0.6
        for one in groups[s]
    }
    need(
        bool(halves),
        f"no MLP was trained for half of the {whole.steps:,} steps on {whole.examples:,} images",
        AGAIN,
    )
    mean = mean_over(lower_by({one.draw: one.error for one in groups[whole]}, halves))
    need(
        mean is not None and mean.interval is not None,
        "fewer than two draws have both half and all of the steps",
        AGAIN,
    )
    assert mean is not None and mean.factor.interval is not None
    need(
        mean.factor.interval[1] <= TRAINED,
        f"after half of the steps the error at {whole.examples:,} images is {mean.factor.text}"
        " times that after all of them",
        f"it must be at most {TRAINED:g} times: more steps, or more draws",
    )


def _law(groups: Groups, laws: Laws, by: str) -> Claim:
    """Whether the MLP's error follows a power law with a floor."""
    word = {"examples": "training images", "params": "parameters"}[by]

    def decide() -> Decision:
        _need_seeds(errors_by(groups, MLP, by), MLP)
        _need_trained(groups)
        law = laws[MLP, by]
        if isinstance(law, str):
            raise PreconditionError(law, f"more values of {word}, or more seeds")
        lack = lack_of_law(law, errors_by(groups, MLP, by), fitted=3)
        because = (
            f"error = {law.formula(SYMBOLS[by])}, {law.text}, misfit"
            f" {lack if isinstance(lack, str) else lack.text} over {law.points} values"
        )
        return fits_within({"": lack}, MISFIT, because)

    return claim(
        f"law_by_{by}",
        f"the MLP's error against {word} is a power law with a floor, within {MISFIT:.0%} (root"
        " mean square)",
        decide,
    )


def _larger(groups: Groups) -> Claim:
    def decide() -> Decision:
        words, each = [], {}
        for model, name in NAMES.items():
            errors = errors_by(groups, model, "params")
            _need_seeds(errors, model)
            need(len(errors) > 2, f"the {name} has {count_of(len(errors), 'size')}", AGAIN)
            small, large = errors[min(errors)], errors[max(errors)]
            words.append(f"{name}: {range_text(small.values())}, then {range_text(large.values())}")
            margin = math.log(SMALLER)
            each[f"({name})"] = [fall + margin for fall in lower_by(large, small)]
        return all_decided(
            each,
            f"{'; '.join(words)}; {SMALLER:g} times the smallest's over the largest's",
            show=lambda mean: mean.factor.text,
        )

    return claim(
        "larger_is_better",
        f"the largest network of each kind errs less than {SMALLER:g} times as often as its"
        " smallest",
        decide,
    )


def _pairs(groups: Groups) -> list[tuple[int, dict[int, float], int, dict[int, float]]]:
    """Each convnet's parameters and errors, with those of the smallest MLP that is no smaller."""
    mlp, pairs = errors_by(groups, MLP, "params"), []
    for params, errors in errors_by(groups, CONVNET, "params").items():
        larger = min((size for size in mlp if size >= params), default=None)
        if larger is not None:
            pairs.append((int(params), errors, int(larger), mlp[larger]))
    return pairs


def _convolutions(groups: Groups) -> Claim:
    def decide() -> Decision:
        for model in NAMES:
            _need_seeds(errors_by(groups, model, "params"), model)
        pairs = _pairs(groups)
        need(len(pairs) > 1, f"{len(pairs)} convnets have an MLP of their size", AGAIN)
        words = [
            f"{fmean(conv.values()):.3f} with {small:,} against {fmean(mlp.values()):.3f} with"
            f" {large:,}"
            for small, conv, large, mlp in pairs
        ]
        return all_decided(
            {f"at {small:,} parameters": lower_by(conv, mlp) for small, conv, _, mlp in pairs},
            f"{'; '.join(words)}; less often by a factor of",
            show=lambda mean: mean.factor.text,
        )

    return claim(
        "convolutions_are_better",
        "a convnet errs less often than an MLP of as many parameters or more, at every size",
        decide,
    )


def _words(claims: Sequence[Claim], groups: Groups, laws: Laws, images: Iterable[str]) -> str:
    law = laws[MLP, "examples"]
    assert isinstance(law, PowerLaw), "the first claim is decided"
    where = f"On {' and '.join(images)} images" if "synthetic" in images else "On Fashion-MNIST"
    if claims[0].established is False:
        return f"{where} no power law with a floor describes the MLP's error: {claims[0].because}."
    words = (
        f"{where} an MLP's error falls with n training images as {law.formula('n')}, exponent"
        f" {law.exponent_text}"
    )
    if claims[-1].established:
        small, conv, large, mlp = max(_pairs(groups), key=lambda pair: pair[0])
        words += (
            f"; a convnet needs fewer parameters ({fmean(conv.values()):.3f} with {small:,}, an MLP"
            f" {fmean(mlp.values()):.3f} with {large:,})"
        )
    return words + "."


def _measures(groups: Groups, laws: Laws) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for (model, by), law in laws.items() if groups else ():
        fitted = law if isinstance(law, PowerLaw) else None
        for name in ("exponent", "floor", "misfit"):
            measures[f"{name}.{model}.{by}"] = getattr(fitted, name) if fitted else None
    for s, group in groups.items():
        name = f"error.{s.model}.params{s.params}.examples{s.examples}.steps{s.steps}"
        measures[name] = fmean(one.error for one in group)
    return measures


def _table(groups: Groups) -> Table | None:
    if not groups:
        return None
    return Table(
        caption="Share of test images that are classified wrongly, at the point of the curve with"
        " the highest accuracy on validation images: mean over seeds with its interval. Training"
        " error at the end",
        head=(
            "network", "parameters", "training images", "steps", "error", "training error",
            "best step",
        ),
        rows=tuple(
            (
                NAMES[s.model],
                f"{s.params:,}",
                f"{s.examples:,}",
                f"{s.steps:,}",
                mean.text if (mean := mean_over([one.error for one in group])) else "–",
                f"{fmean(one.train for one in group):.3f}",
                range_text(float(one.best) for one in group),
            )
            for s, group in groups.items()
        ),
    )  # fmt: skip


def _figure(groups: Groups, laws: Laws, images: Iterable[str]) -> Figure | None:
    panels = []
    for by, label in (("examples", "training images"), ("params", "parameters")):
        series: list[Series] = []
        for model, name in NAMES.items():
            values = lists(errors_by(groups, model, by))
            law = laws.get((model, by), "")
            if isinstance(law, PowerLaw):
                text = f"{name}: {law.formula(SYMBOLS[by])}"
                series.append(mean_series(text, values, line=False))
                series.append(law_series(text, law, values))
            elif len(values) > 1:
                series.append(mean_series(name, values))
        panels.append(
            Panel(
                title=f"by {label}",
                x=log_axis(label),
                y=log_axis("share of test images wrong"),
                series=tuple(series),
            )
        )
    return figure(
        "images_error",
        f"Error on {' and '.join(images)} test images",
        "Points: mean over seeds with its interval; broken lines: the fitted laws.",
        panels,
    )


def _literature(groups: Groups, laws: Laws, images: Iterable[str]) -> tuple[Published, ...]:
    law = laws[MLP, "examples"]
    lowest = {
        model: min((fmean(o.error for o in g) for s, g in groups.items() if s.model == model))
        for model in {s.model for s in groups}
    }
    real = "Fashion-MNIST" in tuple(images)

    def at_most(model: str) -> str | None:
        if not real or model not in lowest:
            return None
        most = max(s.examples for s in groups if s.model == model)
        return f"{lowest[model]:.3f} at 14 x 14 pixels and up to {most:,} training images"

    return (
        beside(
            "exponent of the error by training examples, a n^-b + c",
            theirs="0.07 to 0.35 (image, text and speech models)",
            ours=f"{-law.exponent:.2f} ({-law.interval[1]:.2f} to {-law.interval[0]:.2f}, MLP)"
            if isinstance(law, PowerLaw)
            else None,
            source="Hestness 2017, arXiv 1712.00409",
        ),
        beside(
            "error of an MLP on Fashion-MNIST",
            theirs="0.117 (256-128-100 units, 60,000 training images of 28 x 28)",
            ours=at_most(MLP),
            source="benchmark table of the Fashion-MNIST package",
        ),
        beside(
            "error of two convolutions with pooling on Fashion-MNIST",
            theirs="0.084 to 0.124 (60,000 training images of 28 x 28)",
            ours=at_most(CONVNET),
            source="benchmark table of the Fashion-MNIST package",
        ),
    )


def _planted(spec: RunSpec) -> Outcome:
    """Errors of 3 n^-0.5 + 20 N^-0.7 + 0.1; the convnet's half as high, half of the steps' 5% more.

    Each seed adds 1%, and 0.5% up or down by place.
    """
    setting = setting_of(spec)
    assert setting is not None, "planted in the experiment's own plan"
    assert isinstance(spec.data, TaskSpec)
    error = 3 * setting.examples**-0.5 + 20 * setting.params**-0.7 + 0.1
    error *= {MLP: 1.0, CONVNET: 0.5}[setting.model]
    error *= 1.05 if setting.steps == 500 else 1.0
    seed = spec.data.source.settings_as(Task).seed
    error *= 1 + 0.01 * seed + 0.005 * math.sin(7 * seed + setting.examples + setting.params)
    curve = []
    for share in (0.25, 0.6, 1.0):
        now = error * (1 + 0.01 * (1 - share))
        right = {"accuracy.train": 1.0, "accuracy.val": 1 - now, "accuracy.val:test": 1 - now}
        curve.append(planted_point(spec, round(share * spec.total_steps), right))
    return Outcome(curve=tuple(curve), metrics=curve[-1].metrics)


EXPERIMENT = Experiment(
    question="How does the error on small images fall with training examples and with a network's"
    " size?",
    reproduces="Hestness 2017 (error of image classifiers by examples)",
    parts={
        "source": ("images",),
        "architecture": (MLP, CONVNET),
        "objective": ("next_token",),
        "probe": ("accuracy",),
    },
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "exponent.dense.examples": (-0.51, -0.49),
            "exponent.dense.params": (-0.75, -0.65),
        },
        claims={
            "law_by_examples": True,
            "law_by_params": True,
            "larger_is_better": True,
            "convolutions_are_better": True,
        },
    ),
)
