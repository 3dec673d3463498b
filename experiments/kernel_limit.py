"""How fast a network approaches its tangent-kernel limit as its width grows.

    slaw run kernel_limit
    slaw report results/kernel_limit     # exponents of the width, beside those of theory

In the limit of infinite width, gradient descent moves a network along a fixed kernel, the same for
every draw of its first weights (Jacot 2018, arXiv 1806.07572). At width m the change of the kernel
during training falls as 1/m, as does the relative change of matrices between hidden layers; that
of the first and the last matrix falls as 1/sqrt(m) (Lee 2019, arXiv 1902.06720). The spread of the
first kernel over draws falls as 1/sqrt(m), as that of any mean of m terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import Decision, PreconditionError, answer, beside, claim, need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, law_series, log_axis, mean_series
from scaling_law.experiment.findings import AGAIN, Claim, Figure, Findings, Panel, Published, Table
from scaling_law.experiment.groups import every, grouped, left_out
from scaling_law.experiment.power_law import PowerLaw, fit_power_law
from scaling_law.spec.architectures.dense import Shape
from scaling_law.spec.run import RunSpec

NEAR = 0.15  # an exponent agrees with theory within this distance
LEARNT = 0.5  # training error at the end, over that at the first point, at most
ALIKE = 1.5  # largest training error at the end of a width over the smallest


@dataclass(frozen=True)
class Quantity:
    """What falls with the width.

    ``name`` is its name in measures and claims; ``words`` say what it is; ``metric`` is the
    record's; ``theory`` is the exponent of the width.
    """

    name: str
    words: str
    metric: str
    theory: float


QUANTITIES = (
    Quantity("kernel_change", "change of the kernel in training", "tangent_kernel.change", -1),
    Quantity(
        "hidden_change", "change of the matrix between hidden layers",
        "weight_change.hidden.1.weight", -1,
    ),
    Quantity("first_change", "change of the first matrix", "weight_change.hidden.0.weight", -0.5),
    Quantity("last_change", "change of the last matrix", "weight_change.output.weight", -0.5),
    Quantity(
        "kernel_spread", "spread of the first kernel over draws", "tangent_kernel.spread", -0.5
    ),
)  # fmt: skip

Values = Mapping[float, Sequence[float]]


def runs_by_width(evidence: Evidence) -> dict[float, list[Run]]:
    """The runs that measured the kernel, by width, in order."""
    return grouped(
        (float(_width(run.spec)), run)
        for run in evidence.ended
        if run.spec.model.architecture.name == "dense" and QUANTITIES[0].metric in _metrics(run)
    )


def _metrics(run: Run) -> Mapping[str, float]:
    return run.record.metrics


def _width(spec: RunSpec) -> int:
    width: int = spec.model.values_as(Shape).width
    return width


def values_of(groups: Mapping[float, Sequence[Run]], quantity: Quantity) -> Values:
    """A quantity's values by width."""
    return {
        width: [_metrics(run)[quantity.metric] for run in runs if quantity.metric in _metrics(run)]
        for width, runs in groups.items()
    }


def analyse(evidence: Evidence) -> Findings:
    """Return the exponent of each quantity beside that of theory."""
    groups = runs_by_width(evidence)
    laws = {one: fit_power_law(values_of(groups, one)) for one in QUANTITIES}
    claims = tuple(_as_theory(groups, one, laws[one]) for one in QUANTITIES)
    return answer(
        claims,
        lambda: _words(claims, laws),
        measures={
            f"exponent.{one.name}": law.exponent if isinstance(law, PowerLaw) else None
            for one, law in laws.items()
        },
        tables=(_table(groups, laws),),
        figures=(_figure(groups, laws),),
        literature=_literature(laws),
        notes=left_out(evidence, len(every(groups)), "without the probe tangent_kernel"),
    )


def _need_trained(groups: Mapping[float, Sequence[Run]]) -> None:
    """Runs that do not learn stay near their first weights at every width."""
    ends: dict[float, float] = {}
    for width, runs in groups.items():
        need(
            all(len(run.curve) > 1 for run in runs),
            f"a run of width {width:g} has no curve",
            "train it again",
        )
        left = max(_trained(run)[1] / _trained(run)[0] for run in runs)
        need(
            left <= LEARNT,
            f"a run of width {width:g} ends with {left:.2f} of its first training error",
            f"it must be at most {LEARNT:g}: more steps or a larger learning rate",
        )
        ends[width] = fmean(_trained(run)[1] for run in runs)
    apart = max(ends.values()) / min(ends.values())
    need(
        apart <= ALIKE,
        f"the training errors of the widths at the end are up to {apart:.2f} times each other",
        f"at most {ALIKE:g} times, or the widths have learnt different functions: fewer steps",
    )


def _trained(run: Run) -> tuple[float, float]:
    """The training error at the first and at the last point."""
    errors = [p.train_loss_nats for p in run.curve]
    return errors[0], errors[-1]


def _as_theory(
    groups: Mapping[float, Sequence[Run]], quantity: Quantity, law: PowerLaw | str
) -> Claim:
    def decide() -> Decision:
        few = min((len(runs) for runs in groups.values()), default=0)
        need(few > 1, f"{'one seed' if few else 'no run'} of a width finished", AGAIN)
        if quantity.metric != "tangent_kernel.spread":  # that one needs no training
            _need_trained(groups)
        if isinstance(law, str):
            raise PreconditionError(law, AGAIN)
        shown = abs(law.exponent - quantity.theory) <= NEAR
        return shown, f"exponent {law.exponent_text}, misfit {law.misfit:.0%}, {law.points} widths"

    return claim(
        quantity.name,
        f"the {quantity.words} falls as width^{quantity.theory:g} (within {NEAR:g})",
        decide,
    )


def _words(claims: Sequence[Claim], laws: Mapping[Quantity, PowerLaw | str]) -> str:
    listed = ", ".join(
        f"the {one.words} as width^{law.exponent:.2f} (theory {one.theory:g})"
        for one, law in laws.items()
        if isinstance(law, PowerLaw)
    )
    lead = (
        "A wider network is closer to its tangent-kernel limit, as fast as theory says"
        if all(one.established for one in claims)
        else "A wider network is closer to its tangent-kernel limit, but not in all as theory says"
    )
    return f"{lead}: {listed}."


def _table(
    groups: Mapping[float, Sequence[Run]], laws: Mapping[Quantity, PowerLaw | str]
) -> Table | None:
    if not groups:
        return None
    widths = list(groups)
    return Table(
        caption="Relative changes from first weights to last, and relative spread of the first"
        f" kernel: means over seeds at width {widths[0]:g} and {widths[-1]:g}, and the exponent of"
        " the width with its interval",
        head=("what", f"at {widths[0]:g}", f"at {widths[-1]:g}", "exponent", "theory", "misfit"),
        rows=tuple(
            (
                one.words,
                *(_mean(values_of(groups, one)[width]) for width in (widths[0], widths[-1])),
                law.exponent_text if isinstance(law, PowerLaw) else law,
                f"{one.theory:g}",
                f"{law.misfit:.1%}" if isinstance(law, PowerLaw) else "–",
            )
            for one, law in laws.items()
        ),
    )


def _mean(values: Sequence[float]) -> str:
    return f"{fmean(values):.3g}" if values else "–"


def _figure(
    groups: Mapping[float, Sequence[Run]], laws: Mapping[Quantity, PowerLaw | str]
) -> Figure | None:
    def panel(title: str, names: Sequence[str]) -> Panel:
        series = []
        for one, law in laws.items():
            if one.name in names:
                values = values_of(groups, one)
                if isinstance(law, PowerLaw):
                    label = f"{one.words}: width^{law.exponent:.2f}"
                    series.append(mean_series(label, values, geometric=True, line=False))
                    series.append(law_series(label, law, values))
                else:
                    series.append(mean_series(one.words, values))
        return Panel(
            title=title, x=log_axis("width", groups), y=log_axis("relative change or spread"),
            series=tuple(series),
        )  # fmt: skip

    return figure(
        "kernel_limit",
        "Distance from the tangent-kernel limit against width",
        "Points: geometric mean over seeds with its interval; broken lines: power laws.",
        (
            panel("kernel", ("kernel_change", "kernel_spread")),
            panel("weights", ("first_change", "hidden_change", "last_change")),
        ),
    )


def _literature(laws: Mapping[Quantity, PowerLaw | str]) -> tuple[Published, ...]:
    ours = {
        one.name: law.exponent_text if isinstance(law, PowerLaw) else None
        for one, law in laws.items()
    }
    changes = [ours[name] for name in ("first_change", "hidden_change", "last_change")]
    listed = ", ".join(text for text in changes if text)
    return (
        beside(
            "exponent of the kernel's change by width",
            theirs="-1",
            ours=ours["kernel_change"],
            source="Lee 2019, arXiv 1902.06720",
        ),
        beside(
            "exponents of the changes of the first, a hidden and the last matrix by width",
            theirs="-1/2, -1 and -1/2",
            ours=listed or None,
            source="Lee 2019, arXiv 1902.06720",
        ),
        beside(
            "exponent of the first kernel's spread by width",
            theirs="the kernel tends to a fixed one; -1/2 as a mean of independent terms",
            ours=ours["kernel_spread"],
            source="Jacot 2018, arXiv 1806.07572",
        ),
    )


def _planted(spec: RunSpec) -> Outcome:
    """Quantities on the laws of theory, 1% higher with each seed, of runs that learn."""
    width = _width(spec)
    metrics = {q.metric: (1 + 0.01 * spec.seed) * width**q.theory for q in QUANTITIES}
    first = planted_point(spec, 1, {})
    last = replace(planted_point(spec, spec.total_steps, metrics), train_loss_nats=0.1)
    return Outcome(curve=(first, last), metrics=metrics)


EXPERIMENT = Experiment(
    question="How fast does a network approach its tangent-kernel limit as its width grows?",
    reproduces="Jacot 2018 (tangent kernel), Lee 2019 (changes of weights and kernel by width)",
    parts={
        "source": ("manifold",),
        "architecture": ("dense",),
        "objective": ("squared_error",),
        "optimizer": ("sgd",),
        "parametrisation": ("ntk",),
        "probe": ("tangent_kernel", "weight_change"),
    },
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            f"exponent.{one.name}": (one.theory - 0.001, one.theory + 0.001) for one in QUANTITIES
        },
        claims={one.name: True for one in QUANTITIES},
    ),
)
