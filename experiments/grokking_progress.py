"""What changes inside a network between memorising and generalising (grokking).

    slaw run grokking_progress                # an MLP, with and without weight decay
    slaw report results/grokking_progress     # progress measures against steps

Nanda 2023 (arXiv 2301.05217) finds that a transformer builds the circuit that generalises, which
computes with few frequencies, well before its validation accuracy shows it; Liu 2022 (arXiv
2210.01117) that it generalises as the norm of its weights falls. Measured are the norm and how few
frequencies the numbers have that ids are read as (probe ``fourier``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scaling_law.data.tasks.modular_addition import Settings as Task
from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import (
    Decision,
    answer,
    beside,
    claim,
    decided,
    decided_between,
    need,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import curve_series, figure, log_axis
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
from scaling_law.experiment.groups import left_out, task_settings
from scaling_law.experiment.memorising import TRAIN, VAL, Learned, learned
from scaling_law.experiment.seeds import median_over, range_text
from scaling_law.files.record import CurvePoint
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of

CHANCE = 0.1  # validation accuracy below which nothing shows yet
MOST = 0.5  # share of a rise that is most of it
NORM = "weight_norm"
TABLE, COLUMN = "fourier.table", "fourier.column"
MEASURES = {COLUMN: "column", TABLE: "table", NORM: "norm"}


@dataclass(frozen=True)
class Seen(Learned):
    """What one run did; ``points`` are its measurements by step."""

    points: tuple[CurvePoint, ...]

    @property
    def decay(self) -> float:
        """Its weight decay."""
        return self.run.spec.optim.weight_decay

    def at(self, step: float, metric: str) -> float:
        """A metric at the last measurement up to a step."""
        return [point.metrics[metric] for point in self.points if point.step <= step][-1]

    @property
    def silent(self) -> int:
        """The last step before generalising at which the validation accuracy was near chance."""
        end = self.generalised.step or math.inf
        lows = [p.step for p in self.points if p.metrics[VAL] < CHANCE and p.step < end]
        return lows[-1] if lows else self.points[0].step

    def early(self, metric: str) -> float | None:
        """The share of a metric's change up to generalising that came while nothing showed.

        None for a run that did not generalise, or whose metric did not rise.
        """
        if self.generalised.step is None:
            return None
        first = self.points[0].metrics[metric]
        whole = self.at(self.generalised.step, metric) - first
        return (self.at(self.silent, metric) - first) / whole if whole > 0 else None

    @property
    def norm_change(self) -> float | None:
        """The weight norm on generalising over that on memorising; None without both."""
        if self.generalised.step is None or self.memorised.step is None:
            return None
        return self.at(self.generalised.step, NORM) / self.at(self.memorised.step, NORM)


def seen(run: Run) -> Seen | None:
    """What a run did; None for another task, or without the measurements."""
    if task_settings(run.spec, "modular_addition", Task) is None:
        return None
    when = learned(run)
    points = tuple(p for p in run.curve if {TRAIN, VAL, *MEASURES} <= set(p.metrics))
    if when is None or not points:
        return None
    return Seen(run, when.memorised, when.generalised, when.on_memorising, points)


def _circuit(ones: Sequence[Seen]) -> str:
    """The measure of the frequencies: by column where each column is a unit with a frequency.

    That is the hidden layer of the MLP. The axes of a transformer's embedding mean nothing, so that
    only the frequencies of the whole table count.
    """
    names = {one.run.spec.model.architecture.name for one in ones}
    return COLUMN if names <= {"mlp"} else TABLE


def analyse(evidence: Evidence) -> Findings:
    """Return what changes before the validation accuracy does, over seeds."""
    every = [one for run in evidence.ended if (one := seen(run)) is not None]
    decayed = [one for one in every if one.decay > 0]
    plain = [one for one in every if one.decay == 0]
    claims = (
        _early(decayed),
        _begins(decayed, plain),
        _needs_decay(decayed, plain),
        _norm_falls(decayed),
    )
    return answer(
        claims,
        lambda: _words(claims, decayed),
        measures=_measures(decayed, plain) if every else {},
        tables=(_table(every) if every else None,),
        figures=(_figure(decayed, plain),),
        literature=_literature(decayed),
        notes=left_out(evidence, len(every), "of another task or without the three probes"),
    )


def _need_both(ones: Sequence[Seen]) -> None:
    """The precondition of every claim: seeds with weight decay that memorise, then generalise."""
    need(
        len(ones) > 1,
        f"{count_of(len(ones), 'seed')} with weight decay finished",
        "it needs at least 2: finish the sweep",
    )
    missing = sum(one.norm_change is None for one in ones)
    need(
        not missing,
        f"{missing} of {len(ones)} seeds with weight decay have not memorised and generalised in"
        f" {min(one.generalised.within for one in ones):,} steps",
        "train for longer",
    )


def _need_silence(ones: Sequence[Seen]) -> None:
    """The precondition of what comes before: on memorising, nothing else is predicted yet."""
    shown = max(one.at(one.memorised.step or 0, VAL) for one in ones)
    need(
        shown < CHANCE,
        f"on memorising, validation accuracy is {shown:.2f} already",
        f"it must be below {CHANCE:.0%} then (a model that takes a + b for b + a predicts the"
        " swapped pairs of training at once)",
    )


def _early(ones: Sequence[Seen]) -> Claim:
    metric = _circuit(ones)

    def decide() -> Decision:
        _need_both(ones)
        _need_silence(ones)
        shares = [share for one in ones if (share := one.early(metric)) is not None]
        need(
            len(shares) == len(ones),
            f"{metric} does not rise in {len(ones) - len(shares)} of {len(ones)} seeds",
            "another measure of progress",
        )
        steps = range_text(float(one.silent) for one in ones)
        words = f"{range_text(shares)} of the rise, up to step {steps}; above {MOST:g} by"
        return decided([share - MOST for share in shares], words, show=lambda mean: mean.text)

    return claim(
        "frequencies_first",
        "most of the rise of the power in few frequencies comes while validation accuracy is below"
        f" {CHANCE:.0%}",
        decide,
    )


def _need_plain(plain: Sequence[Seen]) -> None:
    need(
        len(plain) > 1,
        f"{count_of(len(plain), 'seed')} without weight decay finished",
        "it needs at least 2: " + AGAIN,
    )


def _begins(ones: Sequence[Seen], plain: Sequence[Seen]) -> Claim:
    metric = _circuit(ones)

    def decide() -> Decision:
        _need_both(ones)
        _need_silence(ones)
        _need_plain(plain)
        pairs = [
            (one.at(one.silent, metric), max(other.at(one.silent, metric) for other in plain))
            for one in ones
        ]
        words = range_text(high for high, _ in pairs), range_text(low for _, low in pairs)
        above = [high - low for high, low in pairs]
        said = f"{words[0]} against {words[1]}: above by"
        return decided(above, said, show=lambda mean: mean.text)

    return claim(
        "frequencies_begin_before",
        f"while validation accuracy is still below {CHANCE:.0%}, the power in few frequencies is"
        " already above that of every seed without weight decay at the same step",
        decide,
    )


def _needs_decay(ones: Sequence[Seen], plain: Sequence[Seen]) -> Claim:
    metric = _circuit(ones)

    def decide() -> Decision:
        _need_both(ones)
        _need_plain(plain)
        low, high = ([one.points[-1].metrics[metric] for one in group] for group in (plain, ones))
        words = (
            f"at most {max(low):.2f} without, at least {min(high):.2f} with; below {MOST:g} of that"
            " by"
        )
        half = [MOST * one for one in high]
        return decided_between(half, low, words, show=lambda mean: mean.text)

    return claim(
        "frequencies_need_decay",
        "without weight decay the power in few frequencies ends at less than half of that with it",
        decide,
    )


def _norm_falls(ones: Sequence[Seen]) -> Claim:
    def decide() -> Decision:
        _need_both(ones)
        changes = [change for one in ones if (change := one.norm_change) is not None]
        falls = [-math.log(change) for change in changes]
        said = f"{range_text(changes, 'times')} the norm on memorising: lower by a factor of"
        return decided(falls, said, show=lambda mean: mean.factor.text)

    return claim(
        "norm_falls",
        "the norm of the weights falls from memorising to generalising",
        decide,
    )


def _words(claims: Sequence[Claim], ones: Sequence[Seen]) -> str:
    standing = {one.name: one.established for one in claims}
    shares = range_text(one.early(_circuit(ones)) for one in ones)
    words = (
        f"The power in few frequencies makes {shares} of its rise while validation accuracy is"
        f" below {CHANCE:.0%}: the network "
        + (
            "changes gradually before it generalises suddenly"
            if standing["frequencies_first"]
            else "changes mostly as it generalises"
            + (", though it begins before" if standing["frequencies_begin_before"] else "")
        )
    )
    if standing["norm_falls"] is False:
        words += "; the norm of its weights does not fall meanwhile"
    return f"{words}."


def _measures(decayed: Sequence[Seen], plain: Sequence[Seen]) -> dict[str, float | None]:
    measures: dict[str, float | None] = {
        "silent_steps": median_over([float(one.silent) for one in decayed]),
        "memorise_steps": median_over([one.memorised.step for one in decayed]),
        "generalise_steps": median_over([one.generalised.step for one in decayed]),
        "norm_change": median_over([one.norm_change for one in decayed]),
    }
    for metric, name in MEASURES.items():
        if metric != NORM:
            measures[f"early.{name}"] = median_over([one.early(metric) for one in decayed])
        for group, ones in (("decay", decayed), ("plain", plain)):
            ends = [one.points[-1].metrics[metric] for one in ones]
            measures[f"end.{name}.{group}"] = median_over(ends)
    return measures


def _table(every: Sequence[Seen]) -> Table:
    return Table(
        caption="Each run: steps to memorise and to generalise, the last step with validation"
        f" accuracy below {CHANCE:.0%}; the measures at the start, then, and at the end",
        head=("weight decay", "seed", "memorise", "below", "generalise", *MEASURES),
        rows=tuple(
            (
                f"{one.decay:g}",
                one.run.spec.seed,
                one.memorised.text,
                one.silent,
                one.generalised.text,
                *(
                    " ".join(
                        f"{one.at(step, metric):.3g}"
                        for step in (one.points[0].step, one.silent, one.points[-1].step)
                    )
                    for metric in MEASURES
                ),
            )
            for one in sorted(every, key=lambda one: (one.decay, one.run.spec.seed))
        ),
    )


def _figure(decayed: Sequence[Seen], plain: Sequence[Seen]) -> Figure | None:
    """Accuracies, frequencies and norm against steps, one panel each."""
    metric = _circuit(decayed)

    def lines(name: str) -> tuple[Series, ...]:
        groups = (("with weight decay", decayed, False), ("without", plain, True))
        curves = [
            curve_series(label, one.run, name, dashed=dashed)
            for label, ones, dashed in groups
            for one in ones
        ]
        for label, times in (
            ("memorised", [(one, one.memorised.step) for one in decayed]),
            ("generalised", [(one, one.generalised.step) for one in decayed]),
        ):
            points = tuple((step, one.at(step, name)) for one, step in times if step is not None)
            curves.append(Series(label=label, points=points, line=False))
        return tuple(curves)

    accuracies = tuple(
        curve_series(label, one.run, name, dashed=name == TRAIN)
        for one in decayed
        for name, label in ((TRAIN, "training pairs"), (VAL, "all other pairs (validation)"))
    )
    middle = median_over([float(one.silent) for one in decayed])
    return figure(
        "grokking_progress",
        "What changes before the validation accuracy does",
        "Each line is a seed; the accuracies are those with weight decay."
        + (f" Validation accuracy is below {CHANCE:.0%} up to step {middle:g}." if middle else ""),
        (
            Panel(
                title="accuracy",
                x=log_axis("steps"),
                y=Axis(label="accuracy", low=-0.02, high=1.02),
                series=accuracies,
            ),
            Panel(
                title="power in few frequencies",
                x=log_axis("steps"),
                y=Axis(label=f"share of power ({metric})", low=0),
                series=lines(metric),
            ),
            Panel(
                title="norm of the weights",
                x=log_axis("steps"),
                y=Axis(label="L2 norm"),
                series=lines(NORM),
            ),
        ),
    )


def _literature(ones: Sequence[Seen]) -> tuple[Published, ...]:
    early = range_text(one.early(_circuit(ones)) for one in ones)
    change = range_text((one.norm_change for one in ones), "times")
    return (
        beside(
            "the circuit that generalises forms before validation accuracy shows it",
            theirs="yes, by restricted and excluded loss (a + b mod 113, one-layer transformer)",
            ours=early and f"another measure: {early} of the rise of the power in few frequencies",
            source="Nanda 2023, arXiv 2301.05217",
        ),
        beside(
            "the norm of the weights between memorising and generalising",
            theirs="falls; a network generalises once it is small enough",
            ours=change and f"{change} that on memorising",
            source="Liu 2022, arXiv 2210.01117",
        ),
    )


def _planted(spec: RunSpec) -> Outcome:
    """Frequencies concentrate from step 50 on, accuracy rises from 200 on, the norm falls."""
    decays = spec.optim.weight_decay > 0
    late = 1 + 0.05 * spec.seed
    curve = []
    for step in range(5, spec.total_steps + 1, 5):
        circuit = min(1.0, max(0.0, (step / late - 50) / 200)) if decays else 0.0
        shown = min(1.0, max(0.02, (step / late - 200) / 100)) if decays else 0.02
        metrics = {
            TRAIN: 1.0 if step >= 50 else 0.5,
            VAL: shown,
            NORM: (60 - 20 * circuit) * (1 + 0.001 * spec.seed * circuit),
            COLUMN: 0.1 + 0.8 * circuit,
            TABLE: 0.2 + 0.1 * circuit,
        }
        curve.append(planted_point(spec, step, metrics))
    return Outcome(curve=tuple(curve), metrics=curve[-1].metrics)


EXPERIMENT = Experiment(
    question="Does a network change gradually before it generalises suddenly?",
    reproduces="Nanda 2023 (progress measures), Liu 2022",
    parts={
        "source": ("modular_addition",),
        "architecture": ("mlp",),
        "probe": ("accuracy", "fourier", "weight_norm"),
    },
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "memorise_steps": (50, 50),
            "generalise_steps": (305, 315),
            "silent_steps": (215, 225),
            "early.column": (0.78, 0.82),
            "end.column.decay": (0.89, 0.91),
            "end.column.plain": (0.09, 0.11),
            "norm_change": (0.6, 0.7),
        },
        claims={
            "frequencies_first": True,
            "frequencies_begin_before": True,
            "frequencies_need_decay": True,
            "norm_falls": True,
        },
    ),
)
