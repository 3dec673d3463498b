"""The exponent of the error against the intrinsic dimension of the data.

    slaw run manifold
    slaw report results/manifold     # an exponent for each dimension, beside those that are known

Sharma and Kaplan 2020 (arXiv 2004.10802) predict that the squared error of a network falls with its
parameters as N^(-4/d) on data of intrinsic dimension d, because the network is linear on pieces of
the manifold. Two estimators whose exponents follow by hand stand beside it: means over M boxes,
whose squared error falls as M^(-2/d) (their distance from the truth as the side of a box,
M^(-1/d)), and the mean of n noisy numbers, whose squared error falls as 1/n.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.data.tasks.manifold import Settings as Task
from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import Decision, all_decided, answer, beside, claim, need
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.figures import figure, law_series, log_axis, mean_series
from scaling_law.experiment.findings import (
    AGAIN,
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Series,
    Table,
)
from scaling_law.experiment.groups import grouped, left_out
from scaling_law.experiment.inside import all_inside
from scaling_law.experiment.lack_of_fit import lack_of_law, shows_fit
from scaling_law.experiment.power_law import PowerLaw, exponents_of_seeds, fit_power_law
from scaling_law.experiment.seeds import mean_over, range_text
from scaling_law.spec.counts import count_params
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.run import RunSpec

NETWORK, SHORTER, BOXES, MEAN = "network", "shorter", "boxes", "mean"
NEAR = 0.25  # an exponent agrees with a prediction within this share of it
KNOWN = 0.15  # the same for an exponent that is known by hand
NEAR_DIMENSION = 0.15  # and an estimated dimension with the true one
CONVERGED = 0.15  # an exponent changes by at most this share after half of the steps
STRAIGHT = 0.25  # largest misfit of a power law to log errors
PROBE = "intrinsic_dimension"


@dataclass(frozen=True, order=True)
class Family:
    """Runs whose errors lie on one power law.

    ``kind`` is ``network`` (by parameters), ``shorter`` for networks trained for fewer steps,
    ``boxes`` (by boxes) or ``mean`` (by examples a box);
    ``dimension`` is the intrinsic dimension of the data.
    """

    kind: str
    dimension: int

    @property
    def name(self) -> str:
        """The name in measures: ``network.d4``."""
        return f"{self.kind}.d{self.dimension}" if self.kind != MEAN else MEAN

    @property
    def predicted(self) -> float:
        """The exponent that theory gives."""
        if self.kind == MEAN:
            return -1.0
        return (-2 if self.kind == BOXES else -4) / self.dimension


Errors = Mapping[Family, Mapping[float, Mapping[int, float]]]  # by place, then by data.seed


def place_of(spec: RunSpec) -> tuple[Family, float] | None:
    """The family of a run and its place in it; None for a run of another task or model."""
    if not isinstance(spec.data, TaskSpec) or spec.data.source.name != "manifold":
        return None
    task, params = spec.data.source.settings_as(Task), count_params(spec.model).total
    if spec.model.architecture.name == "dense":
        return Family(NETWORK, task.dimension), float(params)
    if spec.model.architecture.name != "boxes":
        return None
    if task.waves:
        return Family(BOXES, task.dimension), float(params)
    return Family(MEAN, task.dimension), spec.total_steps * spec.batch_tokens / params


def errors_of(evidence: Evidence) -> Errors:
    """The squared errors of each family by place and by the seed of the data, in order."""
    groups: dict[Family, dict[float, dict[int, float]]] = {}
    places = [(run, place) for run in evidence.ended if (place := place_of(run.spec))]
    longest = max((r.spec.total_steps for r, (f, _) in places if f.kind == NETWORK), default=0)
    for run, (family, x) in places:
        if run.record.val_loss_nats is not None:
            if family.kind == NETWORK and run.spec.total_steps < longest:
                family = Family(SHORTER, family.dimension)
            errors = groups.setdefault(family, {}).setdefault(x, {})
            errors[_seed(run.spec)] = run.record.val_loss_nats
    return {family: dict(sorted(groups[family].items())) for family in sorted(groups)}


def _seed(spec: RunSpec) -> int:
    assert isinstance(spec.data, TaskSpec)
    return spec.data.source.settings_as(Task).seed


def values_of(errors: Errors, family: Family) -> dict[float, list[float]]:
    """The errors of a family's seeds by place."""
    return {x: list(group.values()) for x, group in errors[family].items()}


def dimensions_of(evidence: Evidence) -> dict[int, list[float]]:
    """TwoNN's estimates by true dimension, one for each draw of the data.

    Networks of all sizes and steps see the same inputs of a draw, which say so once.
    """
    read = ((run.spec, place_of(run.spec), run.record.metrics.get(PROBE)) for run in evidence.ended)
    draws = grouped(
        ((place[0].dimension, _seed(spec)), value)
        for spec, place, value in read
        if place is not None and place[0].kind == NETWORK and value is not None
    )
    return grouped((dimension, fmean(own)) for (dimension, _), own in draws.items())


Laws = Mapping[Family, PowerLaw | str]


def analyse(evidence: Evidence) -> Findings:
    """Return the exponent of each family beside what theory gives, and TwoNN's dimensions."""
    errors, estimates = errors_of(evidence), dimensions_of(evidence)
    laws: Laws = {family: fit_power_law(values_of(errors, family)) for family in errors}
    claims = (
        _slower_with_dimension(errors, laws),
        _four_over_d(errors, laws),
        _two_nn(estimates),
        _classical(errors, laws, BOXES, "boxes_as_known", "means over M boxes falls as M^(-2/d)"),
        _classical(errors, laws, MEAN, "mean_as_known", "a mean of n numbers falls as 1/n"),
    )
    used = sum(place_of(run.spec) is not None for run in evidence.ended)
    return answer(
        claims,
        lambda: _words(claims, laws),
        measures=_measures(laws, estimates),
        tables=(_table(errors, laws, estimates),),
        figures=(_error_figure(errors, laws), _exponent_figure(laws)),
        literature=_literature(laws, estimates),
        notes=left_out(evidence, used, "of another task or model"),
    )


def _fitted(
    errors: Errors, laws: Laws, kind: str, *, straight: bool = True
) -> dict[Family, PowerLaw]:
    """The laws of a kind, by dimension. A law needs seeds at every size.

    Unless only exponents are compared it must also be ``straight``.
    """
    mine = {family: law for family, law in laws.items() if family.kind == kind}
    need(bool(mine), f"no run of a {kind} finished", AGAIN)
    whole: dict[Family, PowerLaw] = {}
    for family, law in mine.items():
        few = min(len(group) for group in errors[family].values())
        need(few > 1, f"one seed of a size of {family.name} finished", AGAIN)
        if isinstance(law, str):
            need(False, f"{family.name}: {law}", AGAIN)
        assert isinstance(law, PowerLaw)
        lack = lack_of_law(law, errors[family], fitted=2, logs=True)
        said = lack if isinstance(lack, str) else lack.words(lambda value: f"{value:.0%}")
        need(
            shows_fit(lack, STRAIGHT) or not straight,
            f"the errors of the {family.kind} at d = {family.dimension} lie off a power law by"
            f" {said}",
            f"it takes at most {STRAIGHT:.0%}, noise aside: more draws, more steps for the large"
            " sizes, or sizes closer together",
        )
        whole[family] = law
    return whole


def _listed(laws: Mapping[Family, PowerLaw]) -> str:
    return ", ".join(f"{law.exponent_text} at d = {f.dimension}" for f, law in laws.items())


def _slopes(errors: Errors, families: Iterable[Family]) -> dict[Family, dict[int, float]]:
    """The exponents of each draw of the data, of draws with enough sizes."""
    return {family: exponents_of_seeds(errors[family]) for family in families}


def _ratios(errors: Errors, families: Iterable[Family]) -> dict[str, list[float]]:
    """The exponents of each draw over that of theory, by the words for a family."""
    return {
        f"at d = {family.dimension}": [slope / family.predicted for slope in by.values()]
        for family, by in _slopes(errors, families).items()
    }


def _slower_with_dimension(errors: Errors, laws: Laws) -> Claim:
    def decide() -> Decision:
        mine = _fitted(errors, laws, NETWORK, straight=False)
        need(len(mine) > 1, "the runs have one dimension", "it needs two: " + AGAIN)
        slopes = _slopes(errors, mine)
        each = {
            f"from d = {less.dimension} to {more.dimension}": [
                slopes[more][seed] - slopes[less][seed]
                for seed in sorted(slopes[less].keys() & slopes[more])
            ]
            for less, more in itertools.pairwise(mine)
        }
        words = f"exponents {_listed(mine)}; draw by draw they rise by"
        return all_decided(each, words, show=lambda mean: mean.text)

    return claim(
        "slower_with_dimension",
        "the higher the intrinsic dimension, the more slowly a network's error falls with its"
        " parameters, on average over draws of the teacher",
        decide,
    )


def _four_over_d(errors: Errors, laws: Laws) -> Claim:
    def decide() -> Decision:
        mine = _fitted(errors, laws, NETWORK)
        shorter = _fitted(errors, laws, SHORTER)
        whole, half = _slopes(errors, mine), _slopes(errors, shorter)
        moved = {
            f"at d = {family.dimension}": [
                slope / before[seed] - 1 for seed, slope in by.items() if seed in before
            ]
            for family, by in whole.items()
            if (before := half.get(Family(SHORTER, family.dimension)))
        }
        need(bool(moved), "no network was trained for half of the steps", AGAIN)
        words = f"exponents are {_listed(mine)}; from half of the steps to all they change by"
        converged, said = all_inside(
            moved, -CONVERGED, CONVERGED, words, show=lambda mean: mean.percent
        )
        need(
            converged,
            said,
            f"they must agree within {CONVERGED:.0%}: more steps, or another learning rate",
        )
        return all_inside(_ratios(errors, mine), 1 - NEAR, 1 + NEAR, "over -4/d they are")

    return claim(
        "four_over_d",
        f"the exponents of networks are -4/d within {NEAR:.0%}, at every dimension",
        decide,
    )


def _two_nn(estimates: Mapping[int, Sequence[float]]) -> Claim:
    def decide() -> Decision:
        need(bool(estimates), f"no run has the probe {PROBE}", f"probes: [{PROBE}]")
        shares = {f"at d = {d}": [one / d for one in group] for d, group in estimates.items()}
        listed = ", ".join(f"{range_text(g)} for d = {d}" for d, g in estimates.items())
        near = 1 - NEAR_DIMENSION, 1 + NEAR_DIMENSION
        return all_inside(shares, *near, f"{listed}; over the true one")

    return claim(
        "two_nn_finds_dimension",
        f"TwoNN's estimate from 2,048 inputs is the true dimension within {NEAR_DIMENSION:.0%}",
        decide,
    )


def _classical(errors: Errors, laws: Laws, kind: str, name: str, says: str) -> Claim:
    def decide() -> Decision:
        mine = _fitted(errors, laws, kind)
        words = f"exponents {_listed(mine)}; by draws over that of theory"
        return all_inside(_ratios(errors, mine), 1 - KNOWN, 1 + KNOWN, words)

    return claim(name, f"the squared error of {says}, within {KNOWN:.0%}", decide)


def _words(claims: Sequence[Claim], laws: Laws) -> str:
    mine = {f: law for f, law in laws.items() if f.kind == NETWORK and isinstance(law, PowerLaw)}
    listed = ", ".join(
        f"{law.exponent:.2f} at d = {f.dimension} (-4/d = {f.predicted:.2f})"
        for f, law in mine.items()
    )
    if not claims[0].established:
        return f"A network's error does not fall more slowly with each dimension: {listed}."
    tail = {
        True: "as -4/d",
        False: "but not everywhere as -4/d",
        None: "and whether as -4/d is not established",
    }[claims[1].established]
    return (
        f"The error of a network falls the more slowly with its parameters the higher the intrinsic"
        f" dimension of its data, {tail}: exponents {listed}."
    )


def _measures(laws: Laws, estimates: Mapping[int, Sequence[float]]) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for family, law in laws.items():
        measures[f"exponent.{family.name}"] = law.exponent if isinstance(law, PowerLaw) else None
    for dimension, group in estimates.items():
        measures[f"two_nn.d{dimension}"] = fmean(group)
    return measures


_BY = {NETWORK: "parameters", SHORTER: "parameters", BOXES: "boxes", MEAN: "examples a box"}


def _table(errors: Errors, laws: Laws, estimates: Mapping[int, Sequence[float]]) -> Table | None:
    if not errors:
        return None
    rows = []
    for family, values in errors.items():
        law, group = laws[family], estimates.get(family.dimension, ())
        mean = mean_over(group) if family.kind in (NETWORK, SHORTER) else None
        rows.append(
            (
                family.kind,
                _BY[family.kind],
                family.dimension,
                "–" if mean is None else f"{mean.value:.2f}",
                len(values),
                range_text(fmean(group.values()) for group in values.values()),
                law.exponent_text if isinstance(law, PowerLaw) else law,
                f"{family.predicted:.2f}",
                f"{law.misfit:.1%}" if isinstance(law, PowerLaw) else "–",
            )
        )
    return Table(
        caption="Squared error on validation (targets of mean square about 1, without noise) by"
        " size: exponent of the power law through the means over seeds, with its interval",
        head=(
            "estimator", "by", "dimension", "TwoNN", "sizes", "errors", "exponent", "theory",
            "misfit",
        ),
        rows=tuple(rows),
        text_columns=2,
    )  # fmt: skip


def _error_figure(errors: Errors, laws: Laws) -> Figure | None:
    panels = []
    for kind, label in _BY.items():
        if kind == SHORTER:
            continue
        series: list[Series] = []
        for family in (f for f in errors if f.kind == kind):
            law = laws[family]
            values = values_of(errors, family)
            series.append(
                mean_series(f"d = {family.dimension}", values, geometric=True, line=False)
            )
            if isinstance(law, PowerLaw):
                series.append(law_series(f"d = {family.dimension}", law, values))
        if series:
            x, y = log_axis(label), log_axis("squared error")
            panels.append(Panel(title=f"{kind}, by {label}", x=x, y=y, series=tuple(series)))
    return figure(
        "manifold_error",
        "Squared error against size, by the intrinsic dimension d of the data",
        "Points: geometric mean over seeds with its interval; broken lines: power laws.",
        panels,
    )


def _exponent_figure(laws: Laws) -> Figure | None:
    series: list[Series] = []
    for kind, theory in ((NETWORK, "4/d"), (SHORTER, ""), (BOXES, "2/d")):
        mine = {f: w for f, w in laws.items() if f.kind == kind and isinstance(w, PowerLaw)}
        if not mine:
            continue
        label = "network, half of the steps" if kind == SHORTER else f"{kind}, by {_BY[kind]}"
        series.append(
            Series(
                label=label,
                points=tuple((float(f.dimension), -w.exponent) for f, w in mine.items()),
                intervals=tuple((-w.interval[1], -w.interval[0]) for w in mine.values()),
                line=False,
            )
        )
        if theory:
            points = tuple((float(f.dimension), -f.predicted) for f in mine)
            series.append(Series(label=theory, points=points, marks=False, dashed=True))
    return figure(
        "manifold_exponent",
        "Exponent of the error against the intrinsic dimension of the data",
        "Points: measured, with intervals; broken lines: theory.",
        [
            Panel(
                x=Axis(label="intrinsic dimension"),
                y=Axis(label="exponent of the error, with a minus", low=0.0),
                series=tuple(series),
            )
        ],
    )


def _literature(laws: Laws, estimates: Mapping[int, Sequence[float]]) -> tuple[Published, ...]:
    def slopes(kind: str) -> str | None:
        mine = {f: w for f, w in laws.items() if f.kind == kind and isinstance(w, PowerLaw)}
        listed = ", ".join(f"{-w.exponent:.2f} at d = {f.dimension}" for f, w in mine.items())
        return listed or None

    estimated = ", ".join(f"{fmean(group):.1f} for d = {d}" for d, group in estimates.items())
    return (
        beside(
            "exponent of a network's loss by parameters",
            theirs="about 4/d: 1.33, 0.8 and 0.5 at d = 3, 5 and 8 (students of random networks)",
            ours=slopes(NETWORK),
            source="Sharma and Kaplan 2020, arXiv 2004.10802",
        ),
        beside(
            "exponent of a piecewise constant fit by its pieces",
            theirs="2/d for the squared error",
            ours=slopes(BOXES),
            source="by hand: the side of a box is M^(-1/d)",
        ),
        beside(
            "dimension by the two nearest neighbours",
            theirs="the true one, too low for high dimensions at a few thousand points",
            ours=estimated or None,
            source="Facco 2017, arXiv 1803.06992",
        ),
    )


def _planted(spec: RunSpec) -> Outcome:
    """Errors on the predicted power laws, 2% higher with each seed; dimensions 2% too low."""
    place = place_of(spec)
    assert place is not None, "planted in the experiment's own plan"
    family, x = place
    estimate = 0.98 * family.dimension
    return Outcome(
        val_loss_nats=(1 + 0.02 * _seed(spec)) * x**family.predicted,
        curve=(planted_point(spec, spec.total_steps, {PROBE: estimate}),),
        metrics={PROBE: estimate},
    )


EXPERIMENT = Experiment(
    question="How fast does the error fall with parameters on data of a given intrinsic dimension?",
    reproduces="Sharma and Kaplan 2020 (exponent 4/d), Facco 2017 (TwoNN)",
    parts={
        "source": ("manifold",),
        "architecture": ("dense", "boxes"),
        "objective": ("squared_error",),
        "probe": (PROBE,),
    },
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "exponent.network.d5": (-0.801, -0.799),
            "exponent.network.d8": (-0.501, -0.499),
            "exponent.boxes.d4": (-0.501, -0.499),
            "exponent.mean": (-1.001, -0.999),
            "two_nn.d5": (4.89, 4.91),
        },
        claims={
            "slower_with_dimension": True,
            "four_over_d": True,
            "two_nn_finds_dimension": True,
            "boxes_as_known": True,
            "mean_as_known": True,
        },
    ),
)
