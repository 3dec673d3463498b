"""Data scaling: the loss of one model against the amount of text, at its best epoch.

    slaw run data_scaling
    slaw report results/data_scaling     # the exponent, the three regimes; a figure

Hestness 2017 (arXiv 1712.00409) describes three regimes as a training set grows: a model that has
seen too little is no better than guessing, then its error falls as a power of the amount, and at
last it reaches a floor. Here a model reads parts of one text again and again at a constant rate,
and the lowest validation loss of its curve counts. Guessing is to predict each token by its
frequency (probe ``guess_loss``); the floor is that of E + B D^-b. A larger model on the most text
says whether the floor is the text's or the model's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import Decision, answer, beside, claim, nats, need
from scaling_law.experiment.best_epoch import Ended, ended
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
from scaling_law.experiment.groups import left_out, of_one_recipe
from scaling_law.experiment.lack_of_fit import Lack, fits_within, lack_of_law, shows_fit
from scaling_law.experiment.power_law import (
    FEWEST,
    PowerLaw,
    fit_power_law_of_seeds,
    fit_power_law_with_floor,
)
from scaling_law.experiment.seeds import jackknifed, mean_over
from scaling_law.experiment.text_amounts import amount_of, amount_read
from scaling_law.spec.counts import count_params
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of, format_count

GUESS = "guess_loss"
NEAR_FLOOR = 0.02  # share of the floor by which a loss may be above it and counts as the floor
MISFIT = 0.01  # largest misfit of a power law that holds
CHARACTERS, WORDS = 0.0936, 0.066  # exponents of language models in Hestness 2017
REGIMES = ("guessing", "power law", "floor")

BySeed = Mapping[int, Ended]


@dataclass(frozen=True)
class Seen:
    """What the runs show.

    ``params`` is the size that several amounts of text were read by, in non-embedding parameters;
    ``runs`` are its best epochs by amount of text, in tokens, and seed;
    ``larger`` are those of other sizes on the most text, by size and seed;
    ``guess`` is the loss of guessing by frequency, in nats per token; None where no run measured
    it.
    """

    params: int = 0
    runs: Mapping[int, BySeed] = field(default_factory=dict)
    larger: Mapping[int, BySeed] = field(default_factory=dict)
    guess: float | None = None

    def losses(self, amount: int) -> dict[int, float]:
        """The losses at an amount, by seed."""
        return {seed: one.loss for seed, one in self.runs[amount].items()}

    def mean(self, amount: int) -> float:
        """The mean loss at an amount."""
        return fmean(self.losses(amount).values())

    @cached_property
    def learning(self) -> list[int]:
        """The amounts from which a model is better than guessing; all where that is not known."""
        guess = math.inf if self.guess is None else self.guess
        return [amount for amount in sorted(self.runs) if self.mean(amount) < guess]

    @cached_property
    def law(self) -> PowerLaw | str:
        """The power law with a floor of the amounts beyond guessing, or why there is none."""
        return fit_power_law_with_floor(
            {amount: list(self.losses(amount).values()) for amount in self.learning}
        )

    def regime(self, amount: int) -> str:
        """The regime of an amount."""
        if amount not in self.learning:
            return REGIMES[0]
        floor = self.law.floor if isinstance(self.law, PowerLaw) else 0.0
        return REGIMES[2] if self.mean(amount) <= floor * (1 + NEAR_FLOOR) else REGIMES[1]

    def amounts(self, regime: str) -> list[int]:
        """The amounts of a regime."""
        return [amount for amount in sorted(self.runs) if self.regime(amount) == regime]

    @property
    def short(self) -> list[str]:
        """The amounts below the floor with runs that end before their best epoch, with counts."""
        return [
            f"{format_count(amount)} ({count} of {len(by)})"
            for amount, by in sorted(self.runs.items())
            if self.regime(amount) != REGIMES[2]
            and (count := sum(not one.rises for one in by.values()))
        ]

    @cached_property
    def plain(self) -> PowerLaw | str:
        """The power law without floor through the amounts of the middle regime, or why none."""
        return fit_power_law_of_seeds(
            {amount: self.losses(amount) for amount in self.amounts(REGIMES[1])}
        )

    @cached_property
    def lack(self) -> Lack | str:
        """How far the law with a floor itself misses the means, or why that is not known."""
        if isinstance(self.law, str):
            return self.law
        values = {float(d): self.losses(d) for d in self.learning}
        return lack_of_law(self.law, values, fitted=3)

    @cached_property
    def plain_lack(self) -> Lack | str:
        """The same of the power law without floor."""
        if isinstance(self.plain, str):
            return self.plain
        values = {float(d): self.losses(d) for d in self.amounts(REGIMES[1])}
        return lack_of_law(self.plain, values, fitted=2)


def read(evidence: Evidence) -> Seen:
    """Return what the runs on parts of a text show."""
    by_size: dict[int, dict[int, dict[int, Ended]]] = {}
    guesses = []
    for run in of_one_recipe(evidence.ended):
        amount, one = amount_read(run), ended(run)
        if amount is None or one is None:
            continue
        size = count_params(run.spec.model).non_embedding
        by_size.setdefault(size, {}).setdefault(amount, {})[run.spec.seed] = one
        guesses += _guess(run)
    if not by_size:
        return Seen()
    params = max(by_size, key=lambda size: (len(by_size[size]), -size))
    most = max(by_size[params])
    larger = {
        size: runs[most] for size, runs in sorted(by_size.items()) if size > params and most in runs
    }
    return Seen(params, by_size[params], larger, fmean(guesses) if guesses else None)


def _guess(run: Run) -> list[float]:
    value = run.record.metrics.get(GUESS)
    return [] if value is None else [value]


def analyse(evidence: Evidence) -> Findings:
    """Return the exponent of the loss in the amount of text, and the three regimes."""
    seen = read(evidence)
    used = sum(map(len, seen.runs.values())) + sum(map(len, seen.larger.values()))
    return answer(
        (_three(seen), _power(seen), _hestness(seen), _models(seen), _limited(seen)),
        lambda: _words(seen),
        measures=_measures(seen),
        tables=(_table(seen),),
        figures=(_figure(seen),),
        literature=_literature(seen),
        notes=left_out(evidence, used, "on all of a text, on a task, or of another size or recipe"),
        units={"loss": "nats per token", "floor": "nats per token", "guess": "nats per token",
               "misfit": "share", "from": "tokens"},
    )  # fmt: skip


def _need_runs(seen: Seen) -> None:
    need(bool(seen.runs), "no run on a part of the text has finished", AGAIN)
    few = [format_count(amount) for amount, by in sorted(seen.runs.items()) if len(by) < 2]
    need(not few, f"one seed has finished on {', '.join(few)} tokens", AGAIN)
    need(seen.guess is not None, f"no run measured {GUESS}", f"probes: [{GUESS}]")


def _range(seen: Seen, regime: str) -> str:
    amounts = [format_count(amount) for amount in seen.amounts(regime)]
    return (
        f"{amounts[0]} to {amounts[-1]}" if len(amounts) > 1 else amounts[0] if amounts else "none"
    )


def _three(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        need(not isinstance(seen.law, str), str(seen.law), "more amounts of text")
        counts = {regime: len(seen.amounts(regime)) for regime in REGIMES}
        words = ", ".join(f"{regime} at {_range(seen, regime)} tokens" for regime in REGIMES)
        lacking = [regime for regime, count in counts.items() if count < 2]
        need(
            not lacking,
            f"{words}: fewer than two amounts for {' and '.join(lacking)}",
            "less text for guessing, more text or a smaller model for the floor",
        )
        order = [REGIMES.index(seen.regime(amount)) for amount in sorted(seen.runs)]
        return order == sorted(order), words

    return claim(
        "three_regimes",
        "as the text grows, the model first guesses, then follows a power law, then stays at a"
        " floor",
        decide,
    )


def _power(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        need(not isinstance(seen.law, str), str(seen.law), "more amounts of text")
        assert isinstance(seen.law, PowerLaw)
        law = seen.law
        need(
            law.points > FEWEST + 1,
            f"{count_of(law.points, 'amount')} beyond guessing",
            f"it takes more than {FEWEST + 1}: further parts of the text",
        )
        lack = seen.lack
        said = lack if isinstance(lack, str) else lack.text
        words = f"{law.formula('D')}, {law.text}, misfit {said} at {law.points} amounts"
        return fits_within({"": lack}, MISFIT, words)

    return claim(
        "power_law_and_floor",
        f"beyond guessing the loss is a power of the text above a floor, within {MISFIT:.0%}",
        decide,
    )


def _hestness(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        count = len(seen.amounts(REGIMES[1]))
        need(
            not isinstance(seen.plain, str) and count > FEWEST + 1,
            f"{count_of(count, 'amount')} between guessing and the floor",
            f"it takes more than {FEWEST + 1}: further parts of the text",
        )
        assert isinstance(seen.plain, PowerLaw)
        law = seen.plain
        lack = seen.plain_lack
        said = lack if isinstance(lack, str) else lack.text
        need(
            shows_fit(lack, MISFIT),
            f"{law.text}, and the losses are {said} (rms) off a line in logarithms, not shown to"
            f" be within {MISFIT:.0%}",
            "models that grow with the text, so that no floor bends it, or more seeds",
        )
        low, high = law.interval
        inside = low <= -CHARACTERS <= high
        need(
            not inside or high - low < CHARACTERS,
            f"{law.text} holds it, and is too wide to tell",
            "more amounts, or more seeds",
        )
        return inside, law.text

    return claim(
        "hestness_exponent",
        f"the exponent between guessing and the floor is Hestness's -{CHARACTERS:g} for characters,"
        " within error",
        decide,
    )


def _below_floor(seen: Seen, ours: BySeed, seeds: Sequence[int]) -> float:
    """By how much a larger model of these seeds ends below the floor that they give, in nats."""
    values = {
        float(amount): [loss for seed, loss in seen.losses(amount).items() if seed in seeds]
        for amount in seen.learning
    }
    law = fit_power_law_with_floor(values)
    need(isinstance(law, PowerLaw), f"with one seed less {law}", "more seeds or amounts of text")
    assert isinstance(law, PowerLaw), "needed above"
    return law.floor - fmean(ours[seed].loss for seed in seeds)


def _models(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        need(bool(seen.larger), "no larger model has read the most text", AGAIN)
        need(not isinstance(seen.law, str), str(seen.law), "more amounts of text")
        assert isinstance(seen.law, PowerLaw)
        need(seen.law.floor > 0, "the fitted law has no floor", "more text")
        size = max(seen.larger)
        ours = seen.larger[size]
        seeds = sorted(ours)
        need(len(seeds) > 1, "one seed of the larger model has finished", AGAIN)
        apart = jackknifed(
            _below_floor(seen, ours, seeds),
            [_below_floor(seen, ours, [one for one in seeds if one != left]) for left in seeds],
        )
        assert apart.interval is not None, "it has two seeds"
        words = (
            f"{fmean(one.loss for one in ours.values()):.3f} nats at {format_count(size)}"
            f" parameters, the floor of {format_count(seen.params)} is {seen.law.floor:.3f}: below"
            f" it by {nats(apart)}, the floor fitted anew without each seed (jackknife)"
        )
        low, high = apart.interval
        need(low > 0 or high < 0, f"{words}: the interval includes no difference", "more seeds")
        return low > 0, words

    return claim(
        "floor_is_the_models", "a larger model on the same text ends below the floor", decide
    )


def _limited(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        amounts = [*seen.amounts(REGIMES[0]), *seen.amounts(REGIMES[1])]
        short = seen.short
        return not short, (
            f"the loss still fell at the end at {', '.join(short)} tokens"
            if short
            else f"{count_of(len(amounts), 'amount')} below the floor"
        )

    return claim(
        "text_is_the_limit",
        "below the floor every run passes its lowest loss, so that its text limits it",
        decide,
    )


def _bent(law: PowerLaw, lack: Lack | str) -> str:
    """What must be said beside a power law that is not shown to fit; "" where it is."""
    return "" if shows_fit(lack, MISFIT) else f"; the losses are {law.misfit:.1%} off it"


def _words(seen: Seen) -> str:
    assert isinstance(seen.law, PowerLaw), "the first claim needs it"
    law, plain = seen.law, seen.plain
    words = (
        f"A model of {format_count(seen.params)} parameters is no better than guessing by frequency"
        f" ({seen.guess:.3g} nats) at {_range(seen, REGIMES[0])} tokens; then its loss falls as"
        f" {law.formula('D')} (exponent {law.exponent_text}), to within {NEAR_FLOOR:.0%} of the"
        f" floor at {_range(seen, REGIMES[2])}"
    )
    if isinstance(plain, PowerLaw):
        bent = _bent(plain, seen.plain_lack)
        words += f". A power law without floor between them has the {plain.text}{bent}"
    if short := seen.short:
        words += f". The loss still fell at the last step at {', '.join(short)} tokens, which steps"
        words += " limit too"
    return f"{words}."


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {"guess": seen.guess}
    for name, law in (("plain", seen.plain), ("above_floor", seen.law)):
        own = law if isinstance(law, PowerLaw) else None
        measures[f"exponent.{name}"] = own.exponent if own else None
        measures[f"exponent.{name}.low"], measures[f"exponent.{name}.high"] = (
            own.interval if own else (None, None)
        )
        measures[f"misfit.{name}"] = own.misfit if own else None
    measures["floor"] = seen.law.floor if isinstance(seen.law, PowerLaw) else None
    for name, regime in (("power_law", REGIMES[1]), ("floor", REGIMES[2])):
        amounts = seen.amounts(regime)
        measures[f"from.{name}"] = float(amounts[0]) if amounts else None
    for amount in sorted(seen.runs):
        measures[f"loss.d{amount}"] = seen.mean(amount)
    for size, by in seen.larger.items():
        measures[f"loss.n{size}"] = fmean(one.loss for one in by.values())
    return measures


def _table(seen: Seen) -> Table | None:
    rows = []
    for amount in sorted(seen.runs):
        mean = mean_over(list(seen.losses(amount).values()))
        rising = sum(one.rises for one in seen.runs[amount].values())
        rows.append(
            (
                format_count(amount),
                seen.regime(amount),
                mean.text if mean else "-",
                f"{seen.law.at(amount):.3f}" if isinstance(seen.law, PowerLaw) else "-",
                f"{rising} of {len(seen.runs[amount])}",
            )
        )
    if not rows:
        return None
    return Table(
        caption=f"Lowest validation loss in nats per token of {format_count(seen.params)}"
        " parameters, the law with a floor, and the seeds whose loss rose again after it",
        head=("tokens", "regime", "loss", "law", "seeds past their best"),
        rows=tuple(rows),
        text_columns=2,
    )


def _figure(seen: Seen) -> Figure | None:
    amounts = sorted(seen.runs)
    named = {regime: seen.amounts(regime) for regime in REGIMES}
    series: list[Series] = [
        mean_series(regime, {float(a): list(seen.losses(a).values()) for a in own}, line=False)
        for regime, own in named.items()
        if own
    ]
    if amounts and seen.guess is not None:
        ends = (float(amounts[0]), float(amounts[-1]))
        points = tuple((x, seen.guess) for x in ends)
        series.append(
            Series(label="guessing by frequency", points=points, marks=False, dashed=True)
        )
    for label, law, lack, own in (
        ("power law with a floor", seen.law, seen.lack, seen.learning),
        ("power law", seen.plain, seen.plain_lack, named[REGIMES[1]]),
    ):
        if isinstance(law, PowerLaw) and shows_fit(lack, MISFIT):
            formula = law.formula("D")
            series.append(law_series(f"{label}: {formula}", law, map(float, own)))
    for size, by in seen.larger.items():
        values = {float(amounts[-1]): [one.loss for one in by.values()]}
        series.append(mean_series(f"{format_count(size)} parameters", values, line=False))
    panel = Panel(
        x=log_axis("tokens of text, read again and again"),
        y=log_axis("lowest loss, nats per token", (2, 2.5, 3, 3.5, 4, 5)),
        series=tuple(series),
    )
    caption = "Points: means over seeds with their intervals, coloured by regime."
    return figure("data_scaling", "Guessing, power law, floor", caption, [panel])


def _literature(seen: Seen) -> tuple[Published, ...]:
    plain = seen.plain if isinstance(seen.plain, PowerLaw) else None
    source = "Hestness 2017, arXiv 1712.00409"
    bent = _bent(plain, seen.plain_lack) if plain else ""
    return (
        beside(
            "exponent of the loss of characters in the amount of text",
            theirs=f"-{CHARACTERS:g} (the best model of each amount)",
            ours=f"{plain.exponent_text}, bytes, one model{bent}" if plain else None,
            source=f"{source}, section 4.2",
        ),
        beside(
            "exponent of the loss of words",
            theirs=f"-{WORDS:g} (the best model of each amount)",
            ours=None,
            source=f"{source}, section 4.2",
        ),
    )


_FLOOR, _FACTOR, _EXPONENT, _GUESS = 2.0, 10.0, 0.5, 2.6


def _planted(spec: RunSpec) -> Outcome:
    """A power law with a floor, which a larger model lowers."""
    params, amount = count_params(spec.model).non_embedding, amount_of(spec) or 1e9
    floor = _FLOOR if params < 1000 else 0.9 * _FLOOR
    loss = floor + _FACTOR * amount**-_EXPONENT
    loss *= 1 + 1e-3 * math.sin(1 + 5 * spec.seed + amount)
    points = ((spec.total_steps // 2, loss), (spec.total_steps, 1.02 * loss))
    return Outcome(
        val_loss_nats=1.02 * loss,
        curve=tuple(planted_point(spec, step, {}, val=value) for step, value in points),
        metrics={GUESS: _GUESS},
    )


EXPERIMENT = Experiment(
    question="How does the loss of one model fall with the amount of text, and where does it stop?",
    reproduces="Hestness 2017 (data scaling)",
    parts={"probe": (GUESS,)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "exponent.above_floor": (-_EXPONENT - 0.05, -_EXPONENT + 0.05),
            "floor": (0.97 * _FLOOR, 1.03 * _FLOOR),
        },
        claims={
            "three_regimes": True,
            "power_law_and_floor": True,
            "floor_is_the_models": True,
            "text_is_the_limit": True,
        },
    ),
)
