"""Repetition: what text is worth when it is read again.

    slaw run repetition
    slaw report results/repetition       # R_D*, epochs within 2% of new text; two figures

Muennighoff 2023 (arXiv 2305.16264) trains on U different tokens several times over: D tokens read
are worth D' = U (1 + R_D* (1 - exp(-(D / U - 1) / R_D*))) new ones, with R_D* of 15.39, and up to
four epochs cost hardly any loss. Here one model reads several U, in sequences drawn from all of the
text, for more and more epochs, beside runs that read as many new tokens. Horizons of one U branch
from one trunk, each with its own cooldown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import (
    Decision,
    all_decided,
    answer,
    beside,
    claim,
    decided,
    need,
)
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.figures import figure, log_axis, mean_series
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
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.repeated_runs import BySeed, RepeatedRuns, read_repeated
from scaling_law.experiment.repeats import (
    POWER,
    SATURATING,
    RepeatLaw,
    Worth,
    fit_repeats,
)
from scaling_law.experiment.seeds import Mean, mean_over, mean_text, paired
from scaling_law.experiment.text_amounts import amount_of
from scaling_law.spec.run import RunSpec
from scaling_law.spec.values import Number
from scaling_law.units import format_count

THEIRS = 15.39  # R_D* of Muennighoff 2023, on C4
NEAR = 0.02  # share of the loss by which repeats may be worse and count as nearly new
FREE = 4  # epochs that cost hardly any loss in Muennighoff 2023
MISFIT = 0.01  # largest misfit of a law that holds
WIDE = 4.0  # an interval of R_D* of this ratio or more determines nothing
FITTED = 8  # epochs up to which the laws are fitted whose predictions of more are compared


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the analysis.

    ``most_epochs`` is the most epochs that R_D* is fitted to: beyond, a model that overfits loses
    by repeats, which no law of their worth allows.
    """

    most_epochs: Annotated[float, Number("most epochs of the fit", above=1, high=1e6)] = 16.0


def analyse(evidence: Evidence) -> Findings:
    """Return what repeats are worth, and how far they are as good as new text."""
    seen = read_repeated(evidence)
    settings = evidence.settings if isinstance(evidence.settings, Settings) else Settings()
    most = settings.most_epochs
    law, off = fit_repeats(seen.up_to(most)), seen.read_off(most)
    ahead = {worth.name: _ahead(seen, worth) for worth in (SATURATING, POWER)}
    used = sum(map(len, seen.new.values())) + sum(map(len, seen.again.values()))
    which = "of a part of the text that they read once, of another size or recipe, or on a task"
    return answer(
        (
            _costs(seen),
            _nearly_new(seen),
            _fits(seen, law),
            _published(seen, law, off),
            _shape(seen, ahead),
        ),
        lambda: _words(seen, law, off),
        measures=_measures(seen, law, off, ahead),
        tables=(_table(seen, law),),
        figures=(_loss_figure(seen, law), _worth_figure(seen, off)),
        literature=_literature(seen, law, off),
        notes=[*_notes(seen, law, most), *left_out(evidence, used, which)],
        units={"repeats": "repeats", "misfit": "share", "excess": "share", "near": "epochs"},
    )


def _need_runs(seen: RepeatedRuns) -> None:
    need(bool(seen.new), "no run on new text has finished", AGAIN)
    need(bool(seen.again), "no run that reads its text again has finished", AGAIN)
    excesses = seen.excesses
    need(bool(excesses), "no run on new text reads as many tokens as one that repeats", AGAIN)
    need(min(map(len, excesses.values())) > 1, "one seed of some setting has finished", AGAIN)


def _most(seen: RepeatedRuns) -> dict[int, list[float]]:
    """The excesses at the most epochs of each amount of text."""
    last = dict(seen.excesses.keys())  # settings are in order: the most tokens stay
    return {unique: seen.excess(unique, tokens) for unique, tokens in last.items()}


def _costs(seen: RepeatedRuns) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        most = _most(seen)
        each = {f"of {format_count(unique)} tokens": values for unique, values in most.items()}
        return all_decided(each, "at the most epochs by", show=lambda mean: mean.percent)

    return claim(
        "repeats_cost", "at the most epochs the loss is above that of as many new tokens", decide
    )


def _nearly_new(seen: RepeatedRuns) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        below = {
            f"of {format_count(unique)} tokens": [NEAR - value for value in values]
            for (unique, tokens), values in seen.excesses.items()
            if tokens == FREE * unique
        }
        need(bool(below), f"no text was read {FREE} times", AGAIN)
        return all_decided(below, f"below {NEAR:.0%} by", show=lambda mean: mean.percent)

    return claim(
        "four_epochs_are_nearly_new",
        f"{FREE} epochs end within {NEAR:.0%} of the loss of as many new tokens, at every amount",
        decide,
    )


def _need_law(seen: RepeatedRuns, law: RepeatLaw | str) -> RepeatLaw:
    _need_runs(seen)
    need(not isinstance(law, str), str(law), "other amounts of text, or more epochs")
    assert isinstance(law, RepeatLaw)
    return law


def _fits(seen: RepeatedRuns, law: RepeatLaw | str) -> Claim:
    def decide() -> Decision:
        own = _need_law(seen, law)
        return own.misfit <= MISFIT, f"misfit {own.misfit:.2%} at {own.points} settings"

    return claim(
        "saturating_law",
        f"one law in what tokens are worth describes all losses within {MISFIT:.0%}",
        decide,
    )


def _published(seen: RepeatedRuns, law: RepeatLaw | str, off: Mean | str) -> Claim:
    def decide() -> Decision:
        own = _need_law(seen, law)
        need(isinstance(off, Mean), str(off), "more amounts of text")
        assert isinstance(off, Mean)
        need(own.misfit <= MISFIT, f"the law misses the losses by {own.misfit:.1%}", "fewer epochs")
        need(off.interval is not None, "one seed has finished", AGAIN)
        assert off.interval is not None
        words = f"R_D* is {own.text} by the law, {off.text} read off"
        pairs = (own.interval, off.interval)
        inside = [low <= THEIRS <= high for low, high in pairs]
        need(len(set(inside)) == 1, f"{words}: one of them holds it", "more seeds")
        need(
            not inside[0] or all(high / low < WIDE for low, high in pairs),
            f"{words}: both hold it, and are too wide to tell",
            "more seeds, or more epochs",
        )
        return inside[0], words

    return claim("published_constant", f"R_D* is Muennighoff's {THEIRS:g}, within error", decide)


def _ahead(seen: RepeatedRuns, worth: Worth) -> dict[int, float]:
    """How far the law of up to ``FITTED`` epochs misses those of more, by seed: a share (rms)."""
    errors = {}
    for seed in sorted({seed for by in seen.new.values() for seed in by}):
        own = {key: {seed: by[seed]} for key, by in seen.losses.items() if seed in by}
        beyond = {key: by for key, by in own.items() if key[1] > FITTED * key[0]}
        law = fit_repeats({key: by for key, by in own.items() if key not in beyond}, worth)
        if beyond and isinstance(law, RepeatLaw):
            errors[seed] = law.rms(beyond)
    return errors


def _shape(seen: RepeatedRuns, ahead: Mapping[str, BySeed]) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        ours, other = ahead[SATURATING.name], ahead[POWER.name]
        both = sorted(ours.keys() & other.keys())
        need(len(both) > 1, f"fewer than two seeds give both laws up to {FITTED} epochs", AGAIN)
        gains = paired(other, ours)
        words = ", ".join(
            f"{name} {fmean(by[seed] for seed in both):.1%}" for name, by in ahead.items()
        )
        return decided(gains, f"{words}: closer by", show=lambda mean: mean.percent)

    return claim(
        "saturation_predicts_more_epochs",
        f"fitted up to {FITTED} epochs, saturating worth predicts more epochs better than a power",
        decide,
    )


def _near_text(seen: RepeatedRuns, unique: int) -> str:
    near = seen.near(unique, NEAR)
    if isinstance(near, str):
        return near
    return mean_text(near)


def _words(seen: RepeatedRuns, law: RepeatLaw | str, off: Mean | str) -> str:
    listed = ", ".join(f"{_near_text(seen, u)} of {format_count(u)} tokens" for u in seen.amounts)
    words = (
        f"Text read again ends within {NEAR:.0%} of the loss of as much new text up to this many"
        f" epochs: {listed}"
    )
    if isinstance(off, Mean):
        words += f". Read off the losses on new text, R_D* is {off.text}"
    if isinstance(law, str):
        return f"{words}. Muennighoff's law of loss cannot be fitted: {law}."
    if law.misfit > MISFIT:
        return f"{words}. Muennighoff's law of loss misses these by {law.misfit:.1%}."
    return f"{words}; by Muennighoff's law of loss it is {law.text}, and theirs is {THEIRS:g}."


def _measures(
    seen: RepeatedRuns, law: RepeatLaw | str, off: Mean | str, ahead: Mapping[str, BySeed]
) -> dict[str, float | None]:
    own = law if isinstance(law, RepeatLaw) else None
    measures: dict[str, float | None] = {}
    for name, value, interval in (
        ("law", own.number if own else None, own.interval if own else None),
        ("read_off", *((off.value, off.interval) if isinstance(off, Mean) else (None, None))),
    ):
        measures[f"repeats.{name}"] = value
        measures[f"repeats.{name}.low"], measures[f"repeats.{name}.high"] = interval or (None, None)
    measures["beta"] = own.beta if own else None
    measures["misfit"] = own.misfit if own else None
    for name, by in ahead.items():
        measures[f"misfit.ahead.{name}"] = fmean(by.values()) if by else None
    for unique in seen.amounts:
        near = seen.near(unique, NEAR)
        measures[f"near.u{unique}"] = None if isinstance(near, str) else fmean(near)
    for (unique, tokens), values in seen.excesses.items():
        measures[f"excess.u{unique}.e{tokens / unique:g}"] = fmean(values)
    return measures


def _table(seen: RepeatedRuns, law: RepeatLaw | str) -> Table | None:
    rows = []
    for (unique, tokens), by in sorted(seen.again.items()):
        excess = mean_over(seen.excess(unique, tokens))
        worth = list(seen.worth(unique, tokens).values())
        rows.append(
            (
                format_count(unique),
                f"{tokens / unique:g}",
                mean_text(by.values()),
                _percent(excess),
                format_count(fmean(worth)) if len(worth) == len(by) else "-",
                f"{law.at(unique, tokens):.3f}" if isinstance(law, RepeatLaw) else "-",
            )
        )
    if not rows:
        return None
    return Table(
        caption="Validation loss in nats per token of text read again, how far it is above that of"
        " as many new tokens, the new tokens with that loss, and the fitted law's loss",
        head=("different tokens", "epochs", "loss", "above new text", "worth", "law"),
        rows=tuple(rows),
        text_columns=2,
    )


def _percent(mean: Mean | None) -> str:
    if mean is None:
        return "-"
    if mean.interval is None:
        return f"{mean.value:+.1%} (one seed)"
    low, high = mean.interval
    return f"{mean.value:+.1%} ({low:+.1%} to {high:+.1%})"


def _loss_figure(seen: RepeatedRuns, law: RepeatLaw | str) -> Figure | None:
    named = {"new text": {(d, d): by for d, by in seen.new.items()}} | {
        f"{format_count(unique)} tokens": {k: by for k, by in seen.again.items() if k[0] == unique}
        for unique in seen.amounts
    }
    series = []
    for label, runs in named.items():
        series.append(
            mean_series(label, {float(d): list(by.values()) for (_, d), by in sorted(runs.items())},
                        line=isinstance(law, str))
        )  # fmt: skip
        if isinstance(law, RepeatLaw):
            points = tuple((float(d), law.at(u, d)) for u, d in sorted(runs))
            series.append(Series(label=label, points=points, marks=False, dashed=True))
    panel = Panel(
        x=log_axis("tokens read"), y=Axis(label="validation loss, nats per token"),
        series=tuple(series),
    )  # fmt: skip
    caption = "Means over seeds; broken: E + B D'^-beta with Muennighoff's D'."
    return figure("repetition_loss", "The loss of text that is read again", caption, [panel])


def _worth_figure(seen: RepeatedRuns, off: Mean | str) -> Figure | None:
    series = []
    most = max((d / u for u, d in seen.again), default=1.0)
    epochs = [most ** (k / 40) for k in range(41)]
    for unique in seen.amounts:
        points = {
            d / u: [worth / u for worth in seen.worth(u, d).values()]
            for u, d in sorted(seen.again)
            if u == unique
        }
        label = f"{format_count(unique)} tokens"
        series.append(mean_series(label, points, geometric=True, line=False))
    numbers = {"new text": math.inf, f"R_D* {THEIRS:g}, published": THEIRS}
    if isinstance(off, Mean):
        numbers[f"R_D* {off.value:.3g}, read off these runs"] = off.value
    for label, number in numbers.items():
        shape = [e if number == math.inf else SATURATING.tokens(1, e, number) for e in epochs]
        points_ = tuple(zip(epochs, shape, strict=True))
        series.append(Series(label=label, points=points_, marks=False, dashed=True))
    panel = Panel(
        x=log_axis("epochs", (1, 2, 4, 8, 16, 32)),
        y=log_axis("worth, in epochs of new text"),
        series=tuple(series),
    )
    caption = (
        "Points: new tokens that end at the same loss, over the tokens that differ; a loss below"
        " those of all new text has no point."
    )
    return (
        figure("repetition", "What reading again is worth", caption, [panel])
        if seen.again
        else None
    )


def _notes(seen: RepeatedRuns, law: RepeatLaw | str, most: float) -> list[str]:
    rising = [
        f"{format_count(unique)} from {tokens / unique:g} epochs"
        for unique in seen.amounts
        if (tokens := _turn(seen, unique)) is not None
    ]
    notes = []
    if beyond := len(seen.losses) - len(seen.up_to(most)):
        notes.append(
            f"settings of more than {most:g} epochs, which R_D* is not fitted to: {beyond}"
        )
    if rising:
        notes.append(
            f"the loss rises with further epochs of {', '.join(rising)} on: the model overfits, and"
            " no law of what repeats are worth allows that"
        )
    if isinstance(law, RepeatLaw):
        notes.append(
            "the law has one size, so that the worth of parameters that the text does not fill"
            " (their R_N*) is part of R_D*"
        )
    return notes


def _turn(seen: RepeatedRuns, unique: int) -> int | None:
    """The tokens read at the lowest mean loss of an amount, None where it is the last."""
    means = {d: fmean(by.values()) for (u, d), by in seen.again.items() if u == unique}
    lowest = min(means, key=lambda tokens: means[tokens])
    return None if lowest == max(means) else lowest


def _literature(seen: RepeatedRuns, law: RepeatLaw | str, off: Mean | str) -> tuple[Published, ...]:
    source = "Muennighoff 2023, arXiv 2305.16264"
    ours = [f"{law.text} by the law"] if isinstance(law, RepeatLaw) else []
    ours += [f"{off.text} read off"] if isinstance(off, Mean) else []
    return (
        beside(
            "R_D*, the repeats after which another is worth 1/e of new text",
            theirs=f"{THEIRS:g} (C4, up to 8.7B parameters)",
            ours=", ".join(ours),
            source=f"{source}, table 1",
        ),
        beside(
            f"epochs up to which repeats are nearly as good (here: within {NEAR:.0%} of the loss)",
            theirs="4",
            ours="; ".join(
                f"{_near_text(seen, u)} of {format_count(u)} tokens" for u in seen.amounts
            ),
            source=f"{source}, section 6",
        ),
    )


_PLANTED = 9.0  # R_D*


def _planted(spec: RunSpec) -> Outcome:
    """The law with R_D* of ``_PLANTED``, beside it a little noise."""
    unique = min(amount_of(spec) or spec.tokens, spec.tokens)
    worth = SATURATING.tokens(unique, spec.tokens, _PLANTED)
    wave = math.sin(1 + 5 * spec.seed + 7 * math.log(spec.tokens) + unique)
    return Outcome(val_loss_nats=(1.0 + 40 * worth**-0.3) * (1 + 1e-3 * wave))


EXPERIMENT = Experiment(
    question="What is text worth when it is read again?",
    reproduces="Muennighoff 2023 (repeated data)",
    settings=Settings,
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "repeats.law": (0.8 * _PLANTED, 1.25 * _PLANTED),
            "repeats.read_off": (0.7 * _PLANTED, 1.4 * _PLANTED),
            "misfit": (0.0, 0.002),
        },
        claims={
            "repeats_cost": True,
            "saturating_law": True,
            "published_constant": False,
            "saturation_predicts_more_epochs": True,
        },
    ),
)
