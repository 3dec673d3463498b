"""Filtering: drop worse text, keep it, or read the good text again.

    slaw run filtering
    slaw report results/filtering     # a filter on and off, the epochs at break-even; two figures

A share of the documents is spoiled (the rule ``spoil`` of ``data.clean``), and a filter such as
``compression`` drops some of them, and good ones too. It is judged twice, on the same good
validation text: at equal kept data, where as many tokens are read with it as without it, and at
equal raw data, where what it leaves of the tokens is read again until it is as many. And where too
little good text is at hand: that text read E times is compared with as many tokens of which a share
1 - 1/E is spoiled, so that both have as much good text (Muennighoff 2023, arXiv 2305.16264,
compares repeats with filters that they loosen). At break-even both end at the same loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from scaling_law.data.cleaners.spoil import Settings as Spoil
from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, decided, need
from scaling_law.experiment.crossing import crossing
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
    Table,
)
from scaling_law.experiment.groups import left_out, of_one_recipe, of_one_size, rule_settings
from scaling_law.experiment.seeds import Mean, mean_over, mean_text, paired, with_ends
from scaling_law.experiment.text_amounts import amount_of
from scaling_law.spec.data import DataSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

NEAR = 0.03  # relative distance within which a share of good text and a number of epochs agree

BySeed = Mapping[int, float]


@dataclass(frozen=True, order=True)
class Arm:
    """What a group of seeds has in common.

    ``share`` is the share of documents that are spoiled; ``filters`` are the other rules;
    ``unique`` is how many different tokens were read again and again, 0 where all were new;
    ``tokens`` is how many were read.
    """

    share: float
    filters: tuple[str, ...]
    unique: int
    tokens: int

    @property
    def epochs(self) -> float:
        """How often each token was read."""
        return self.tokens / self.unique if self.unique else 1.0

    @property
    def text(self) -> str:
        """``60% spoiled, compression, 1.47 epochs``."""
        words = [f"{self.share:.0%} spoiled" if self.share else "good text", *self.filters]
        return ", ".join([*words, f"{self.epochs:.3g} epochs"] if self.unique else words)

    @property
    def name(self) -> str:
        """The name in measures: ``q60.compression.e1.47``."""
        words = [f"q{100 * self.share:g}", *self.filters]
        return ".".join([*words, f"e{self.epochs:.3g}"] if self.unique else words)


def arm_of(spec: RunSpec) -> Arm | None:
    """The arm that a run is one seed of; None for a task, or a share of a text."""
    if not isinstance(spec.data, DataSpec) or spec.data.unique_share is not None:
        return None
    spoil = rule_settings(spec, "spoil", Spoil)
    rules = (rule.name for rule in spec.data.clean or ())
    return Arm(
        share=0.0 if spoil is None else spoil.share,
        filters=tuple(name for name in rules if name != "spoil"),
        unique=amount_of(spec) or 0,
        tokens=spec.tokens,
    )


@dataclass(frozen=True)
class Seen:
    """What the runs show: the losses on good text in nats per token, by arm and seed."""

    losses: Mapping[Arm, BySeed] = field(default_factory=dict)

    def arms(self, *, good: bool, filtered: bool, again: bool) -> list[Arm]:
        """The arms of a kind, in order."""
        return [
            arm
            for arm in sorted(self.losses)
            if (arm.share == 0, bool(arm.filters), arm.unique > 0) == (good, filtered, again)
        ]

    def above(self, arm: Arm | None, other: Arm | None) -> list[float]:
        """How far the loss of an arm is above that of another, in nats, of each seed with both."""
        mine, theirs = (self.losses.get(one, {}) if one else {} for one in (arm, other))
        return paired(mine, theirs)

    @property
    def filtered(self) -> Arm | None:
        """The filtered text of which as many tokens were read as without the filter."""
        return next(iter(self.arms(good=False, filtered=True, again=False)), None)

    @property
    def filtered_again(self) -> Arm | None:
        """What the filter leaves of the raw text, read until it is as many tokens."""
        return next(iter(self.arms(good=False, filtered=True, again=True)), None)

    def unfiltered(self, arm: Arm | None) -> Arm | None:
        """The arm without the filter."""
        plain = arm and Arm(arm.share, (), 0, arm.tokens)
        return plain if plain in self.losses else None

    def good(self, arm: Arm | None) -> Arm | None:
        """As many tokens of good text."""
        plain = arm and Arm(0.0, (), 0, arm.tokens)
        return plain if plain in self.losses else None

    @property
    def pairs(self) -> list[tuple[Arm, Arm]]:
        """(good text read again, more text with as much good text), by epochs."""
        worse = self.arms(good=False, filtered=False, again=False)
        pairs = [
            (mine, other)
            for mine in self.arms(good=True, filtered=False, again=True)
            for other in worse
            if other.tokens == mine.tokens and abs(mine.epochs * (1 - other.share) - 1) <= NEAR
        ]
        return sorted(pairs, key=lambda pair: pair[0].epochs)

    @property
    def break_even(self) -> list[float] | str:
        """The epochs at which both ends of a pair have one loss, by seed, or why unknown."""
        seeds = set.intersection(*({*self.losses[arm]} for pair in self.pairs for arm in pair))
        epochs = []
        for seed in sorted(seeds):
            curve = [
                (mine.epochs, self.losses[mine][seed] - self.losses[other][seed])
                for mine, other in self.pairs
            ]
            if curve[0][1] > 0:
                return f"fewer than {curve[0][0]:.3g} epochs"
            last = crossing(curve, 0.0)
            if last is None:
                return f"more than {curve[-1][0]:.3g} epochs"
            epochs.append(last)
        return epochs or "no seed has all of the runs"


def read(evidence: Evidence) -> Seen:
    """Return the losses of the runs on text."""
    losses: dict[Arm, dict[int, float]] = {}
    for run in of_one_size(of_one_recipe(evidence.ended, "data.clean")):
        arm, loss = arm_of(run.spec), run.record.val_loss_nats
        if arm is not None and loss is not None:
            losses.setdefault(arm, {})[run.spec.seed] = loss
    return Seen(losses)


def analyse(evidence: Evidence) -> Findings:
    """Return what a filter gains, and when worse text is better than the same text again."""
    seen = read(evidence)
    used = sum(map(len, seen.losses.values()))
    even = seen.break_even if seen.pairs else "no pair has finished"
    return answer(
        (
            _gains(seen, "equal_kept", "as many tokens of filtered text", seen.filtered),
            _gains(seen, "equal_raw", "what the filter leaves of the text", seen.filtered_again),
            _short(seen),
            _repeats(seen),
            _worse(seen),
        ),
        lambda: _words(seen, even),
        measures=_measures(seen, even),
        tables=(_table(seen),),
        figures=(_filter_figure(seen), _pair_figure(seen)),
        literature=_literature(even),
        notes=[*_notes(seen), *left_out(evidence, used, "of another size or recipe, or on a task")],
        units={"loss": "nats per token", "gain": "nats per token", "again": "nats per token"},
    )


def _gains(seen: Seen, name: str, what: str, arm: Arm | None) -> Claim:
    def decide() -> Decision:
        need(arm is not None, f"{what}: no run has finished", AGAIN)
        plain = seen.unfiltered(arm)
        need(plain is not None, "no run without the filter has finished", AGAIN)
        return decided(seen.above(plain, arm), "lower by")

    return claim(
        f"filter_helps_at_{name}", f"{what} gives a lower loss than the text without the filter",
        decide,
    )  # fmt: skip


def _short(seen: Seen) -> Claim:
    def decide() -> Decision:
        arm, good = seen.filtered, seen.good(seen.filtered)
        need(arm is not None, "no run on filtered text has finished", AGAIN)
        need(good is not None, "no run on good text has finished", AGAIN)
        return decided(seen.above(arm, good), "above by")

    return claim(
        "filter_is_short_of_good",
        "filtered text gives a higher loss than as many tokens of good text",
        decide,
    )


def _pair_words(seen: Seen) -> str:
    return ", ".join(
        f"{fmean(values):+.3f} nats at {mine.epochs:.3g} epochs"
        for mine, other in seen.pairs
        if (values := seen.above(mine, other))
    )


def _repeats(seen: Seen) -> Claim:
    def decide() -> Decision:
        need(bool(seen.pairs), "no good text has been read again beside worse text", AGAIN)
        below = [-above for above in seen.above(*seen.pairs[0])]
        return decided(below, f"{_pair_words(seen)}; at the fewest below by")

    return claim(
        "few_repeats_beat_worse_text",
        "at the fewest epochs, reading good text again ends below adding worse text",
        decide,
    )


def _worse(seen: Seen) -> Claim:
    def decide() -> Decision:
        need(len(seen.pairs) > 1, "fewer than two pairs have finished", AGAIN)
        above = seen.above(*seen.pairs[-1])
        return decided(above, f"{_pair_words(seen)}; at the most above by")

    return claim(
        "worse_text_beats_many_repeats",
        "at the most epochs, adding worse text ends below reading the same good text again",
        decide,
    )


def _even_text(even: list[float] | str) -> str:
    mean = None if isinstance(even, str) else mean_over(even)
    return f"{mean.text} epochs" if mean else str(even)


def _mean(seen: Seen, arm: Arm | None, other: Arm | None) -> Mean | None:
    return mean_over(seen.above(arm, other))


def _words(seen: Seen, even: list[float] | str) -> str:
    words = []
    for what, arm in (("equal kept", seen.filtered), ("equal raw", seen.filtered_again)):
        gain = _mean(seen, seen.unfiltered(arm), arm)
        if gain:
            words.append(f"{gain.text} nats at {what} data")
    arm = seen.filtered
    rule = " and ".join(arm.filters) if arm else "-"
    spoiled = f"{arm.share:.0%}" if arm else "part"
    gains = ", and by ".join(words)
    return (
        f"Of text of which {spoiled} is spoiled, the rule {rule} lowers the loss by {gains}."
        f" Reading good text again and adding worse text break even at {_even_text(even)}."
    )


def _measures(seen: Seen, even: list[float] | str) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for name, mean in (
        ("gain.equal_kept", _mean(seen, seen.unfiltered(seen.filtered), seen.filtered)),
        ("gain.equal_raw", _mean(seen, seen.unfiltered(seen.filtered_again), seen.filtered_again)),
        ("break_even_epochs", None if isinstance(even, str) else mean_over(even)),
    ):
        measures |= with_ends(name, mean)
    for mine, other in seen.pairs:
        values = seen.above(mine, other)
        measures[f"again.e{mine.epochs:.3g}"] = fmean(values) if values else None
    for arm, by in sorted(seen.losses.items()):
        measures[f"loss.{arm.name}"] = fmean(by.values())
    return measures


def _table(seen: Seen) -> Table | None:
    rows = []
    for arm, by in sorted(seen.losses.items()):
        good = seen.good(arm)
        above = _mean(seen, arm, good) if good != arm else None
        rows.append((arm.text, format_count(arm.tokens), mean_text(by.values()),
                     above.text if above else "-"))  # fmt: skip
    if not rows:
        return None
    return Table(
        caption="Loss on good text in nats per token, and how far it is above that of as many good"
        " tokens",
        head=("text", "tokens", "loss", "above good text"),
        rows=tuple(rows),
        text_columns=2,
    )


def _filter_figure(seen: Seen) -> Figure | None:
    arm = seen.filtered
    named = {
        "good text": seen.good(arm),
        "filtered, equal kept": arm,
        "filtered, equal raw": seen.filtered_again,
        "not filtered": seen.unfiltered(arm),
    }
    places = {label: float(place) for place, label in enumerate(named)}
    values = {places[label]: list(seen.losses[one].values()) for label, one in named.items() if one}
    panel = Panel(
        x=Axis(label="text", values=places, low=-0.5, high=len(named) - 0.5),
        y=Axis(label="loss on good text, nats per token"),
        series=(mean_series("mean over seeds", values, line=False),),
    )
    return figure("filtering", "A filter on and off", "Means with their intervals.", [panel])


def _pair_figure(seen: Seen) -> Figure | None:
    again, more = (
        {pair[0].epochs: list(seen.losses[pair[side]].values()) for pair in seen.pairs}
        for side in (0, 1)
    )
    panel = Panel(
        x=log_axis("epochs of the good text", sorted(round(x, 1) for x in again)),
        y=Axis(label="loss on good text, nats per token"),
        series=(
            mean_series("good text, read again", again),
            mean_series("as much good text, and worse text", more),
        ),
    )
    caption = "At each number of epochs both read as many tokens, and have as much good text."
    return figure("filtering_break_even", "Repeat good text, or add worse text", caption, [panel])


def _notes(seen: Seen) -> list[str]:
    arm = seen.filtered_again
    if arm is None:
        return []
    return [
        f"at equal raw data {1 / arm.epochs:.0%} of the tokens are kept, which is the config's"
        " (unique_tokens); `slaw data prepare` counts what the filter keeps"
    ]


def _literature(even: list[float] | str) -> tuple[Published, ...]:
    return (
        beside(
            "epochs up to which reading filtered text again is better than loosening the filter",
            theirs="filters gain on noisy text (OSCAR), hardly on clean text (C4); no number",
            ours=_even_text(even),
            source="Muennighoff 2023, arXiv 2305.16264, section 7",
        ),
    )


def _planted(spec: RunSpec) -> Outcome:
    """A loss that falls with good tokens, of which repeats cost little until 10 epochs."""
    arm = arm_of(spec)
    assert arm is not None, "planted in the experiment's own plan"
    share = arm.share * (0.7 if arm.filters else 1.0)
    loss = 2.5 + 0.3 * share**2 + 0.002 * max(0.0, arm.epochs - 1) + 0.02 * (arm.epochs > 10)
    return Outcome(val_loss_nats=loss * (1 + 1e-4 * math.sin(1 + 5 * spec.seed + 9 * arm.share)))


EXPERIMENT = Experiment(
    question="Is it better to filter worse text, to keep it, or to read the good text again?",
    reproduces="Muennighoff 2023 (repeats against filters)",
    parts={"cleaner": ("spoil", "compression")},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"gain.equal_kept": (0.05, 0.06), "gain.equal_raw": (0.05, 0.06)},
        claims={
            "filter_helps_at_equal_kept": True,
            "filter_helps_at_equal_raw": True,
            "filter_is_short_of_good": True,
            "few_repeats_beat_worse_text": True,
        },
    ),
)
