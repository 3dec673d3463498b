"""Overfitting against a model's size and the amount of text that it reads again and again.

    slaw run overfitting
    slaw report results/overfitting      # how text must grow with size; two figures

Kaplan 2020 (arXiv 2001.08361, section 4.2) finds that the loss on D tokens, with training stopped
at its best point, exceeds that on unlimited text by a share that depends on N^0.74 / D alone, N
being the parameters: text must grow as N^0.74 to keep that excess as it is. A run's loss is the
lowest of its curve on validation; its gap is validation loss minus training loss at the end. The
excess and the gap are two quantities, and a power of N is fitted to each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

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
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Series,
    Table,
)
from scaling_law.experiment.groups import every, grouped, left_out
from scaling_law.experiment.power_law import PowerLaw, fit_power_law
from scaling_law.experiment.seeds import LEVEL, mean_over, paired, range_text
from scaling_law.spec.counts import count_params
from scaling_law.spec.data import DataSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of, format_count

KAPLAN = 0.74
SHOWN = 0.01  # smallest overfitting that is told from the noise of the validation text
MISFIT = 0.25  # largest misfit of one power of N^s / D to all overfitting
_POWERS = (-2.0, 3.0)  # the range of s that is tried


@dataclass(frozen=True, order=True)
class Setting:
    """What a group of seeds has in common.

    ``params`` are the non-embedding parameters; ``tokens`` is the text that is read again and
    again, infinite where a run reads each token once.
    """

    params: int
    tokens: float

    @property
    def name(self) -> str:
        """The name in measures: ``n3072.d8000``, ``n3072.all``."""
        text = "all" if math.isinf(self.tokens) else f"d{self.tokens:.0f}"
        return f"n{self.params}.{text}"


@dataclass(frozen=True)
class Seen:
    """What one run did.

    ``seed`` is its seed; ``loss`` is its lowest validation loss, in nats per token; ``gap`` is
    validation loss minus training loss at the end, in nats; ``last`` says whether its lowest loss
    is the last one.
    """

    seed: int
    loss: float
    gap: float
    last: bool


Groups = Mapping[Setting, Sequence[Seen]]


def setting_of(spec: RunSpec) -> Setting | None:
    """The setting that a run is one seed of; None for a run on a task."""
    if not isinstance(spec.data, DataSpec):
        return None
    tokens = spec.data.unique_tokens
    params = count_params(spec.model).non_embedding
    return Setting(params, math.inf if tokens is None else float(tokens))


def seen(run: Run) -> Seen | None:
    """What a run did; None where it has no curve."""
    points = [p for p in run.curve if p.step > 0 and p.val_loss_nats is not None]
    losses = [p.val_loss_nats for p in points if p.val_loss_nats is not None]
    if not losses:
        return None
    gap = losses[-1] - points[-1].train_loss_nats
    return Seen(run.spec.seed, min(losses), gap, losses[-1] == min(losses))


def groups_of(evidence: Evidence) -> Groups:
    """What the runs of each setting did, settings in order."""
    return grouped(
        (setting, one)
        for run in evidence.ended
        if (setting := setting_of(run.spec)) is not None and (one := seen(run)) is not None
    )


def excess_of(groups: Groups) -> dict[Setting, float]:
    """The share by which the loss on limited text exceeds that on all of it."""
    excess = {}
    for setting, group in groups.items():
        whole = groups.get(Setting(setting.params, math.inf))
        if whole and not math.isinf(setting.tokens):
            excess[setting] = fmean(o.loss for o in group) / fmean(o.loss for o in whole) - 1
    return excess


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Overfitting as a power of one ratio, N^s / D.

    ``power`` is s; ``interval`` is its (low, high) at ``LEVEL``; ``law`` is the power law in the
    ratio.
    """

    power: float
    interval: tuple[float, float]
    law: PowerLaw

    @property
    def text(self) -> str:
        """``0.70 (0.55 to 0.86)``."""
        low, high = self.interval
        return f"{self.power:.2f} ({low:.2f} to {high:.2f})"


def _falls_behind(groups: Groups) -> list[str]:
    """The steps from one size to the next at which the excess does not rise by more than seeds do.

    Only texts on which some size overfits count.
    """
    excess = excess_of(groups)
    steps = []
    for tokens in sorted({s.tokens for s, value in excess.items() if value >= SHOWN}):
        sizes = [s for s in excess if s.tokens == tokens]
        for smaller, larger in itertools.pairwise(sizes):
            below, above = (
                [
                    one.loss / fmean(o.loss for o in groups[Setting(s.params, math.inf)]) - 1
                    for one in groups[s]
                ]
                for s in (smaller, larger)
            )
            if max(below) >= min(above):
                steps.append(
                    f"{fmean(below):.1%} to {fmean(above):.1%} from {smaller.params:,} to"
                    f" {larger.params:,} parameters at {format_count(tokens)} tokens"
                )
    return steps


def _need_rise(groups: Groups) -> None:
    """The precondition of a power of N: the excess rises with N at each amount of text."""
    flat = _falls_behind(groups)
    need(
        not flat,
        "the excess of the lowest loss does not rise with size by more than seeds differ"
        f" ({'; '.join(flat)})",
        "it needs sizes that limit the loss on all of the text: smaller models, text that is harder"
        " to predict, or more seeds",
    )


def fit_ratio(excess: Mapping[Setting, float]) -> Ratio | str:
    """Return the s at which the values are closest to one power law of N^s / D, or why none is.

    They are excesses, or gaps.

    The interval holds every s whose best law is no worse than Student's t allows (profile).
    """
    import numpy as np

    from scaling_law.fit.solver.student import t_reach

    shown = {setting: value for setting, value in excess.items() if value >= SHOWN}
    count = len({s.params for s in shown})
    if len(shown) < 5 or count < 2 or len({s.tokens for s in shown}) < 2:
        return (
            f"{len(shown)} settings of {count_of(count, 'size')} overfit by {SHOWN:.0%} or more,"
            " and 5 of 2 sizes and 2 texts are needed"
        )
    powers = np.linspace(*_POWERS, 501)
    sizes, texts, logs = (
        np.log(list(values))
        for values in ((s.params for s in shown), (s.tokens for s in shown), shown.values())
    )
    ratios = powers[:, np.newaxis] * sizes - texts
    apart = ratios - ratios.mean(axis=1, keepdims=True)
    rest = logs - logs.mean()
    squares = np.maximum(0, rest @ rest - (apart @ rest) ** 2 / (apart**2).sum(axis=1))
    best, free = int(np.argmin(squares)), len(shown) - 3
    allowed = squares[best] * (1 + t_reach(free, LEVEL) ** 2 / free)
    inside = np.flatnonzero(squares <= allowed)
    low, high = inside[0] - 1, inside[-1] + 1  # the first powers that are excluded
    if low < 0 or high == len(powers):
        return "overfitting does not bound how text must grow with size"
    power = float(powers[best])
    law = fit_power_law({s.params**power / s.tokens: [value] for s, value in shown.items()})
    if isinstance(law, str):
        return law
    return Ratio(power=power, interval=(float(powers[low]), float(powers[high])), law=law)


def analyse(evidence: Evidence) -> Findings:
    """Return how overfitting depends on size and text, beside Kaplan's power."""
    groups = groups_of(evidence)
    excess = excess_of(groups)
    ratio = fit_ratio(excess)
    of_gap = fit_ratio(gaps := _gaps(groups))
    claims = (_grows(groups), _one_ratio(groups, excess, ratio), _kaplan(groups, ratio))
    others = left_out(evidence, len(every(groups)), "on a task or without a curve")
    fitted = ratio if isinstance(ratio, Ratio) else None
    gap = of_gap if isinstance(of_gap, Ratio) else None
    flat = bool(groups) and bool(_falls_behind(groups))
    return answer(
        claims,
        lambda: _words(claims, ratio, of_gap),
        measures={
            "power": fitted.power if fitted else None,
            "exponent": fitted.law.exponent if fitted else None,
            "misfit": fitted.law.misfit if fitted else None,
            "gap_power": gap.power if gap else None,
            "gap_exponent": gap.law.exponent if gap else None,
            "gap_misfit": gap.law.misfit if gap else None,
            **{f"gap.{s.name}": fmean(o.gap for o in group) for s, group in groups.items()},
            **{f"excess.{s.name}": value for s, value in excess.items()},
        },
        tables=(_table(groups, excess),),
        figures=(
            _ratio_figure(
                (
                    "excess of the lowest loss",
                    "share of the loss on all of the text",
                    excess,
                    ratio,
                ),
                ("gap at the end", "nats per token", gaps, of_gap),
            ),
            _gap_figure(groups),
        ),
        literature=(
            beside(
                "power of the parameters with which text must grow to keep the excess of the lowest"
                " loss, D ~ N^s",
                theirs="0.74 (WebText2, up to 1.5 billion parameters)",
                ours=f"{fitted.text}, Markov text"
                + (", but the excess does not rise with every step in size" if flat else "")
                if fitted
                else None,
                source="Kaplan 2020, arXiv 2001.08361, equation 4.4",
            ),
            beside(
                "the same power, to keep the gap at the end of training",
                theirs="another measure: 0.74 is of the lowest loss",
                ours=f"{gap.text}, misfit {gap.law.misfit:.0%}" if gap else None,
                source="Kaplan 2020, arXiv 2001.08361, equation 4.4",
            ),
        ),
        notes=(*_notes(groups, flat), *others),
    )


def _gaps(groups: Groups) -> dict[Setting, float]:
    """Validation minus training loss at the end on limited text, means over seeds, in nats."""
    return {s: fmean(o.gap for o in g) for s, g in groups.items() if not math.isinf(s.tokens)}


def _notes(groups: Groups, flat: bool) -> list[str]:
    notes = []
    if flat:
        whole = [
            fmean(one.loss for one in group) for s, group in groups.items() if math.isinf(s.tokens)
        ]
        notes.append(
            "the excess does not rise with every step in size: the loss on all of the text differs"
            f" little between the sizes ({range_text(whole)} nats per token). Of text that is a"
            " Markov chain of order 1 every size can hold the 702 free probabilities (27 symbols,"
            " 26 each); Kaplan's models are limited by their size"
        )
    return notes


def _need_whole(groups: Groups) -> None:
    """Every size needs seeds, and a run on all of the text."""
    need(bool(groups), "no run finished", AGAIN)
    few = [s.name for s, group in groups.items() if len(group) < 2]
    need(not few, f"one seed finished of {', '.join(few)}", AGAIN)
    lacking = [n for n in {s.params for s in groups} if Setting(n, math.inf) not in groups]
    need(not lacking, f"no run on all of the text at {lacking} parameters", AGAIN)


def _wider(groups: Groups, wide: Setting, narrow: Setting) -> list[float]:
    """By how much the gap of one setting is wider than another's, in nats, of each seed of both."""
    ours, theirs = ({one.seed: one.gap for one in groups[setting]} for setting in (wide, narrow))
    return paired(ours, theirs)


def _grows(groups: Groups) -> Claim:
    def decide() -> Decision:
        _need_whole(groups)
        gaps = _gaps(groups)
        sizes, texts = sorted({s.params for s in gaps}), sorted({s.tokens for s in gaps})
        need(len(sizes) > 1 and len(texts) > 1, "the runs have one size or one text", AGAIN)
        whole = all(Setting(n, d) in gaps for n in sizes for d in texts)
        need(whole, "some sizes have not finished on every text", AGAIN)
        # between large models it may not grow: they have all memorised the text
        first, last = sizes[0], sizes[-1]
        each = {
            f"from {first:,} to {last:,} parameters at {format_count(d)} tokens": _wider(
                groups, Setting(last, d), Setting(first, d)
            )
            for d in texts
        }
        each |= {
            f"from {format_count(more)} to {format_count(less)} tokens at {n:,} parameters": _wider(
                groups, Setting(n, less), Setting(n, more)
            )
            for less, more in itertools.pairwise(texts)
            for n in sizes
        }
        return all_decided(each, "wider by")

    return claim(
        "gap_grows_with_size",
        "at the end of training the gap between validation and training loss is larger for the"
        " largest model than for the smallest at every amount of text, and falls with the text at"
        " every size",
        decide,
    )


def _one_ratio(groups: Groups, excess: Mapping[Setting, float], ratio: Ratio | str) -> Claim:
    def decide() -> Decision:
        _need_whole(groups)
        late = [
            s.name
            for s, value in excess.items()
            if value >= SHOWN and all(one.last for one in groups[s])
        ]
        need(
            not late,
            f"{', '.join(late)} overfits, and its loss still falls when training ends",
            "more steps",
        )
        if isinstance(ratio, str):
            raise PreconditionError(ratio, "less text, or larger models")
        _need_rise(groups)
        return ratio.law.misfit <= MISFIT, (
            f"s = {ratio.text}, overfitting as the ratio to the power"
            f" {ratio.law.exponent:.2f}, misfit {ratio.law.misfit:.0%} over"
            f" {ratio.law.points} settings"
        )

    return claim(
        "one_ratio",
        "the share by which limited text raises the lowest loss is a power of N^s / D for one s"
        f" (misfit at most {MISFIT:.0%})",
        decide,
    )


def _kaplan(groups: Groups, ratio: Ratio | str) -> Claim:
    def decide() -> Decision:
        _need_whole(groups)
        if isinstance(ratio, str):
            raise PreconditionError(ratio, "less text, or larger models")
        _need_rise(groups)
        low, high = ratio.interval
        return low <= KAPLAN <= high, f"s = {ratio.text}"

    return claim(
        "kaplans_power",
        f"the interval of the s of the lowest loss holds Kaplan's {KAPLAN:g}",
        decide,
    )


def _words(claims: Sequence[Claim], ratio: Ratio | str, of_gap: Ratio | str) -> str:
    if not claims[0].established:
        return (
            "The gap between validation and training loss does not grow with size and with less"
            f" text: {claims[0].because}."
        )
    words = (
        "The larger the model and the less text it repeats, the wider the gap between validation"
        " and training loss at the end of training"
    )
    if isinstance(of_gap, Ratio):
        words += f"; text must grow about as N^{of_gap.text} to keep that gap as it is"
    if not claims[1].established or isinstance(ratio, str):
        return (
            f"{words}. How text must grow to keep the excess of the lowest loss over that on all of"
            " the text, which Kaplan's 0.74 is about, is not established."
        )
    standing = claims[2].established
    tail = "which agrees with" if standing else "which differs from"
    return (
        f"{words}. To keep the excess of the lowest loss over that on all of the text as it is,"
        f" text must grow as N^{ratio.text}, {tail} Kaplan's 0.74."
    )


def _table(groups: Groups, excess: Mapping[Setting, float]) -> Table | None:
    if not groups:
        return None
    return Table(
        caption="Lowest validation loss (nats per token), its excess over that on all of the text,"
        " and validation minus training loss at the end: means over seeds",
        head=("parameters", "tokens repeated", "lowest loss", "excess", "gap at the end"),
        rows=tuple(
            (
                f"{s.params:,}",
                "all, once" if math.isinf(s.tokens) else format_count(s.tokens),
                mean.text if (mean := mean_over([one.loss for one in group])) else "–",
                f"{excess[s]:.1%}" if s in excess else "–",
                f"{fmean(one.gap for one in group):.3f}",
            )
            for s, group in groups.items()
        ),
        text_columns=2,
    )


def _gap_figure(groups: Groups) -> Figure | None:
    series = [
        mean_series(
            f"{params:,} parameters",
            {
                s.tokens: [one.gap for one in group]
                for s, group in groups.items()
                if s.params == params and not math.isinf(s.tokens)
            },
        )
        for params in sorted({s.params for s in groups})
    ]
    return figure(
        "overfitting_gap",
        "Validation minus training loss at the end of training",
        "Points: mean over seeds with its interval.",
        [
            Panel(
                x=log_axis("tokens of text, read again and again"),
                y=Axis(label="gap (nats per token)"),
                series=tuple(series),
            )
        ],
    )


def _ratio_figure(*shown: tuple[str, str, Mapping[Setting, float], Ratio | str]) -> Figure | None:
    """A panel for each quantity that has a fit: its title, its unit, its values, its fit."""
    panels = []
    for title, unit, values, ratio in shown:
        if isinstance(ratio, str):
            continue
        series: list[Series] = [
            Series(
                label=f"{params:,} parameters",
                points=tuple(
                    (s.params**ratio.power / s.tokens, value)
                    for s, value in values.items()
                    if s.params == params and value >= SHOWN
                ),
                line=False,
            )
            for params in sorted({s.params for s in values})
        ]
        xs = [x for one in series for x, _ in one.points]
        series.append(law_series(f"power {ratio.law.exponent:.2f}", ratio.law, xs))
        panels.append(
            Panel(
                title=f"{title}, s = {ratio.text}",
                x=log_axis(f"N^{ratio.power:.2f} / D"),
                y=log_axis(unit),
                series=tuple(series),
            )
        )
    return figure(
        "overfitting_ratio",
        "The excess of the lowest loss and the gap at the end, each against its N^s / D",
        f"Settings of {SHOWN:g} or more, by parameters; broken line: the power law through all.",
        panels,
    )


def _planted(spec: RunSpec) -> Outcome:
    """A loss of 2, higher by 0.5 N^0.74 / D of itself after half of the steps; 0.1% each seed."""
    setting = setting_of(spec)
    assert setting is not None, "planted in the experiment's own plan"
    excess = 15 * setting.params**KAPLAN / setting.tokens
    loss = 2.0 * (1 + 0.001 * spec.seed)
    curve = []
    for share, more in ((0.25, 1.1), (0.5, 1.0), (1.0, 1.0 + excess)):
        value = loss * (1 + excess) * more
        point = planted_point(spec, round(share * spec.total_steps), {})
        curve.append(replace(point, val_loss_nats=value, train_loss_nats=loss))
    return Outcome(val_loss_nats=value, curve=tuple(curve))


EXPERIMENT = Experiment(
    question="How does overfitting depend on a model's size and on the amount of text that it"
    " repeats?",
    reproduces="Kaplan 2020 (overfitting depends on N^0.74 / D)",
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"power": (0.73, 0.75), "exponent": (0.99, 1.01)},
        claims={"gap_grows_with_size": True, "one_ratio": True, "kaplans_power": True},
    ),
)
