"""Augmentation: is text that is read many times better read changed in each epoch?

    slaw run augmentation
    slaw report results/augmentation   # each way of changing it against plain repeats; two figures

A model reads a little text for several epochs: plainly, or so that no epoch is like another. Tokens
that it reads are hidden or replaced (objective ``noised``), neighbouring words change places
(``swapped_words``), or the text is cut into sequences elsewhere (``data.windows: shifted``). New
text, each token read once, is the upper bound. Only what training reads changes, never the
validation text. A share of changed tokens is chosen for each seed on the other seeds, so that the
choice does not flatter it. A strong weight decay, which the literature advises against repeats, is
the rival: does it do as much, and does changed text still gain with it?
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, decided, need
from scaling_law.experiment.changed_text import (
    KINDS,
    MASKING,
    NEW,
    NOISE,
    PLAIN,
    REPLACING,
    SHIFTING,
    SWAPPING,
    WORDS,
    ChangedText,
    arm_of,
    below,
    read_changed,
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
    Table,
)
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.seeds import Mean, mean_over, mean_text, with_ends
from scaling_law.experiment.text_amounts import amount_of
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of, format_count


def analyse(evidence: Evidence) -> Findings:
    """Return what changed text gains over plain repeats, and what it costs text read once."""
    seen = read_changed(evidence)
    used = sum(len(by) for arm in seen.losses.values() for by in arm.values())
    which = (
        "of another size, recipe or amount of text, changed in several ways, or with another"
        " setting of its objective"
    )
    return answer(
        (
            _beats_repeats(seen),
            *(_kind_beats_repeats(seen, kind) for kind in KINDS),
            _beats_stopping(seen),
            _short_of_new(seen),
            _noise_costs_once(seen),
            _decay_beats_noise(seen),
            _adds_to_decay(seen),
        ),
        lambda: _words(seen),
        measures=_measures(seen),
        tables=(_table(seen),),
        figures=(_epochs_figure(seen), _gains_figure(seen)),
        literature=_literature(seen),
        notes=[*_notes(seen), *left_out(evidence, used, which)],
        units={"gain": "nats", "loss": "nats per token", "closed": "share", "worth": "tokens",
               "cost": "nats", "gap": "nats"},
    )  # fmt: skip


def _need_gap(seen: ChangedText) -> None:
    need(bool(seen.ends(PLAIN)), "no plain repeats have finished", AGAIN)
    need(bool(seen.ends(NEW)), "no run on as many new tokens has finished", AGAIN)
    costs, words = decided(seen.gap, "new text ends lower by")
    need(costs, f"{words}: repeats cost nothing", "less text, or more epochs")


def _beats_repeats(seen: ChangedText) -> Claim:
    def decide() -> Decision:
        _need_gap(seen)
        need(bool(seen.arms(*KINDS)), "no run on changed text has finished", AGAIN)
        return decided(seen.gain(*KINDS), "the best one ends lower by")

    return claim(
        "changed_text_beats_repeats",
        "at the most epochs the best way of changing the text ends below plain repeats",
        decide,
    )


def _kind_beats_repeats(seen: ChangedText, kind: str) -> Claim:
    def decide() -> Decision:
        _need_gap(seen)
        need(bool(seen.arms(kind)), "no such run has finished", AGAIN)
        return decided(seen.gain(kind), "lower by")

    says = f"at the most epochs {kind} {_OBJECTS[kind]} ends below plain repeats"
    return claim(f"{kind}_beats_repeats", says, decide)


_OBJECTS = {
    MASKING: "tokens that are read",
    REPLACING: "tokens that are read",
    SWAPPING: "words",
    SHIFTING: "the places where sequences begin",
}


def _beats_stopping(seen: ChangedText) -> Claim:
    def decide() -> Decision:
        _need_gap(seen)
        horizons = seen.horizons(PLAIN)
        need(len(horizons) > 1, "plain repeats have one number of epochs", AGAIN)
        plain = seen.of(seen.arms(PLAIN), horizons)
        need(bool(plain), "fewer than two seeds have all numbers of epochs", AGAIN)
        ours = seen.of(seen.arms(*KINDS), [n for n in horizons if n > seen.unique])
        return decided(below(ours, plain), "lower by")

    return claim(
        "changed_text_beats_stopping",
        "the best way of changing the text ends below plain repeats at their best number of epochs",
        decide,
    )


def _short_of_new(seen: ChangedText) -> Claim:
    def decide() -> Decision:
        _need_gap(seen)
        need(bool(seen.ends(*KINDS)), "no run on changed text has finished", AGAIN)
        return decided(below(seen.ends(NEW), seen.ends(*KINDS)), "new text ends lower by")

    return claim(
        "changed_text_is_short_of_new",
        "as many new tokens end below the best way of changing the text",
        decide,
    )


def _costs(seen: ChangedText, *kinds: str) -> list[float]:
    """How far the least harmful of some kinds ends above plain text that is read once, by seed."""
    ours, plain = (seen.of(seen.arms(*of), [seen.unique]) for of in (kinds, (PLAIN,)))
    return below(plain, ours)


def _noise_costs_once(seen: ChangedText) -> Claim:
    def decide() -> Decision:
        costs = _costs(seen, *NOISE)
        need(bool(costs), "no run on plain text and on noise has read it once", AGAIN)
        return decided(costs, "the least harmful ends higher by")

    return claim(
        "noise_costs_text_read_once",
        "in a single epoch masking and replacing tokens ends above plain text",
        decide,
    )


def _decay_gain(seen: ChangedText) -> list[float]:
    """How far plain repeats with the strong weight decay end below those without."""
    if seen.strong is None:
        return []
    return below(seen.ends(PLAIN, decay=seen.strong), seen.ends(PLAIN))


def _decay_beats_noise(seen: ChangedText) -> Claim:
    def decide() -> Decision:
        _need_gap(seen)
        need(seen.strong is not None, "plain repeats have one weight decay", AGAIN)
        decayed, noised = seen.ends(PLAIN, decay=seen.strong), seen.ends(*NOISE)
        return decided(below(decayed, noised), "below the best noise by")

    return claim(
        "weight_decay_beats_noise",
        "plain repeats with a strong weight decay end below masking and replacing without it",
        decide,
    )


def _adds_to_decay(seen: ChangedText) -> Claim:
    def decide() -> Decision:
        need(seen.strong is not None, "plain repeats have one weight decay", AGAIN)
        need(bool(seen.arms(*KINDS, decay=seen.strong)), "no changed text had it", AGAIN)
        return decided(seen.gain(*KINDS, decay=seen.strong), "the best one ends lower by")

    return claim(
        "changed_text_adds_to_weight_decay",
        "with the strong weight decay, too, the best way of changing the text ends below repeats",
        decide,
    )


def _mean_text(values: Sequence[float]) -> str:
    mean = mean_over(values)
    return mean.text if mean else "not known"


def _percent(mean: Mean | None) -> str:
    if mean is None:
        return "-"
    if mean.interval is None:
        return f"{mean.value:.0%} ({count_of(mean.seeds, 'seed')}, no interval)"
    return f"{mean.value:.0%} ({mean.interval[0]:.0%} to {mean.interval[1]:.0%})"


def _epochs(seen: ChangedText) -> str:
    return f"{seen.most / seen.unique:g}" if seen.unique else "no"


def _words(seen: ChangedText) -> str:
    gains = {kind: mean for kind in KINDS if (mean := mean_over(seen.gain(kind)))}
    order = sorted(gains, key=lambda kind: -gains[kind].value)
    words = (
        f"{format_count(seen.unique)} tokens read {_epochs(seen)} times end"
        f" {_mean_text(seen.gap)} nats above as many new tokens. Changing them in each epoch lowers"
        f" the loss: {', '.join(f'{kind} by {gains[kind].value:.3f}' for kind in order)}."
    )
    if seen.best:
        words += f" {seen.best.capitalize()} closes {_percent(seen.closed(seen.best))} of the gap."
    if seen.strong is not None:
        more = _mean_text(seen.gain(*KINDS, decay=seen.strong))
        words += (
            f" A weight decay of {seen.strong:g} alone lowers it by"
            f" {_mean_text(_decay_gain(seen))}; with it, the best change gains {more} more."
        )
    return words


def _measures(seen: ChangedText) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    gains = (
        ("gap", seen.gap),
        ("gain.best", seen.gain(*KINDS)),
        *((f"gain.{kind}", seen.gain(kind)) for kind in KINDS),
        ("gain.weight_decay", _decay_gain(seen)),
        ("gain.with_decay", seen.gain(*KINDS, decay=seen.strong) if seen.strong else []),
    )
    costs = ((f"cost.{kind}", _costs(seen, kind)) for kind in KINDS if kind != SHIFTING)
    for name, mean in (
        *((name, mean_over(values)) for name, values in gains),
        *((f"closed.{kind}", seen.closed(kind)) for kind in KINDS),
        *((name, mean_over(values)) for name, values in costs),
    ):
        measures |= with_ends(name, mean)
    for arm in sorted(seen.losses):
        decayed = f".decay{arm.decay:g}" if arm.decay == seen.strong else ""
        for tokens, by in sorted(seen.losses[arm].items()):
            epochs = f"{tokens / seen.unique:g}" if seen.unique else "new"
            measures[f"loss.{arm.name}{decayed}.e{epochs}"] = fmean(by.values())
    return measures


def _table(seen: ChangedText) -> Table | None:
    rows = []
    plain = seen.ends(PLAIN)
    for arm in sorted(seen.losses, key=lambda one: (one.decay, _ORDER.index(one.kind), one.share)):
        ends = dict(seen.losses[arm].get(seen.most, {}))
        once = dict(seen.losses[arm].get(seen.unique, {}))
        worth = seen.worth(arm)
        changed = arm.kind != PLAIN or arm.decay == seen.strong
        one = mean_over(list(once.values()))
        rows.append(
            (
                arm.text,
                f"{arm.decay:g}",
                f"{one.value:.3f}" if one else "-",
                mean_text(ends.values()),
                _mean_text(below(ends, plain)) if changed and plain and ends else "-",
                format_count(fmean(worth)) if ends and len(worth) == len(ends) else "-",
            )
        )
    if not rows:
        return None
    return Table(
        caption="Validation loss in nats per token after one epoch and after the most, how far the"
        " latter is below plain repeats, and the new tokens with that loss",
        head=("text is read", "weight decay", "1 epoch", f"{_epochs(seen)} epochs", "lower by",
              "worth"),
        rows=tuple(rows),
        text_columns=2,
    )  # fmt: skip


_ORDER = (PLAIN, *KINDS, NEW)


def _epochs_figure(seen: ChangedText) -> Figure | None:
    series = []
    for kind in _ORDER:
        values = {
            tokens / seen.unique: list(seen.of(seen.arms(kind), [tokens]).values())
            for tokens in seen.horizons(kind)
            if seen.unique
        }
        series.append(mean_series(WORDS[kind], values))
    panel = Panel(
        x=log_axis("epochs", sorted({n / seen.unique for n in seen.horizons(PLAIN)})),
        y=Axis(label="validation loss, nats per token"),
        series=tuple(series),
    )
    caption = (
        "Means with their intervals, each number of epochs a training of its own end. Of two shares"
        " of changed tokens each seed shows the one that is better on the others. New text reads"
        " as many tokens."
    )
    return figure("augmentation", "Text read again, changed in each epoch", caption, [panel])


def _gains_figure(seen: ChangedText) -> Figure | None:
    kinds = [kind for kind in KINDS if seen.gain(kind)]
    places = {WORDS[kind]: float(place) for place, kind in enumerate(kinds)}
    usual = {places[WORDS[kind]]: seen.gain(kind) for kind in kinds}
    series = [mean_series("usual weight decay", usual, line=False)]
    if seen.strong is not None:
        decayed = {places[WORDS[kind]] + 0.15: seen.gain(kind, decay=seen.strong) for kind in kinds}
        series.append(mean_series(f"weight decay {seen.strong:g}", decayed, line=False))
    panel = Panel(
        x=Axis(label="how the text is changed", values=places, low=-0.5, high=len(places) - 0.5),
        y=Axis(label="loss below plain repeats, nats per token"),
        series=tuple(series),
    )
    caption = (
        "At the most epochs, against plain repeats with the same weight decay. Means with their"
        " intervals."
    )
    return figure("augmentation_gains", "What changing the text gains", caption, [panel])


def _notes(seen: ChangedText) -> list[str]:
    notes = [
        "all seeds read the same text, so that intervals do not hold what another text would change"
    ]
    edges = []
    for kind in KINDS:
        arms = [arm for arm in seen.arms(kind) if seen.most in seen.losses[arm]]
        means = {arm: fmean(seen.losses[arm][seen.most].values()) for arm in arms}
        if len(means) > 1 and (best := min(arms, key=means.__getitem__)) == arms[-1]:
            edges.append(f"{kind} ({best.share:.0%})")
    if edges:
        notes.append(
            f"the largest share is best, and a larger one may be better: {', '.join(edges)}"
        )
    if seen.strong is not None:
        notes.append("both weight decays have the learning rate of the config, which is not tuned")
    return notes


def _literature(seen: ChangedText) -> tuple[Published, ...]:
    gains = {kind: f"{kind} {_mean_text(gain)} nats" for kind in KINDS if (gain := seen.gain(kind))}
    noise = "; ".join(gains[kind] for kind in NOISE if kind in gains)
    worth = [
        f"{arm.text} {fmean(tokens) / fmean(plain):.2g} times"
        for arm in seen.arms(*NOISE)
        for plain in [[w for one in seen.arms(PLAIN) for w in seen.worth(one)]]
        if plain and (tokens := seen.worth(arm))
    ]
    decay = _decay_gain(seen)
    with_decay = [
        f"{kind} {_mean_text(gain)}"
        for kind in NOISE
        if seen.strong is not None and (gain := seen.gain(kind, decay=seen.strong))
    ]
    return (
        beside(
            "masking and random replacement of tokens against plain repeats",
            theirs="both delay overfitting and lower the loss; replacement is the best single one",
            ours=noise,
            source="Chen 2026, arXiv 2606.16246, abstract",
        ),
        beside(
            "what noise in the inputs is worth in unique text",
            theirs="1.3 times as much (an auxiliary loss on masked inputs, strong weight decay)",
            ours=", ".join(worth) and f"in new tokens read: {', '.join(worth)}",
            source="Xu 2026, arXiv 2606.06888, abstract",
        ),
        beside(
            "noise in the inputs with a strong weight decay",
            theirs="still lowers the loss",
            ours=(with_decay and f"lowers it by: {', '.join(with_decay)} nats") or None,
            source="Xu 2026, arXiv 2606.06888, abstract",
        ),
        beside(
            "weight decay in place of masked inputs",
            theirs="similar gains by weight decay and by dropout",
            ours=f"weight decay gains {_mean_text(decay)} nats, {noise}" if decay else None,
            source="Gao 2025, arXiv 2510.04071, abstract",
        ),
        beside(
            "regularisation against repeats",
            theirs="dropout helps much, most other techniques do not",
            ours=f"weight decay gains {_mean_text(decay)} nats" if decay else None,
            source="Xue 2023, arXiv 2305.13230, abstract",
        ),
        beside(
            "epochs up to which plain repeats are nearly as good as new text",
            theirs="4",
            ours=_excesses(seen),
            source="Muennighoff 2023, arXiv 2305.16264, section 6",
        ),
    )


def _excesses(seen: ChangedText) -> str | None:
    words = []
    for tokens in seen.horizons(PLAIN):
        plain, new = (seen.of(seen.arms(kind), [tokens]) for kind in (PLAIN, NEW))
        above = [plain[seed] / new[seed] - 1 for seed in plain if seed in new]
        if tokens > seen.unique and above:
            words.append(f"{fmean(above):+.1%} after {tokens / seen.unique:g}")
    return ", ".join(words) and f"above new text by {', '.join(words)} epochs"


_GAP = 0.02  # planted: nats that each repeat costs
_LEFT = {PLAIN: 1.0, MASKING: 0.8, REPLACING: 0.7, SWAPPING: 0.75, SHIFTING: 0.3, NEW: 0.0}


def _planted(spec: RunSpec) -> Outcome:
    """A loss that falls with new tokens; a change leaves a share of what repeats cost."""
    arm, unique = arm_of(spec), amount_of(spec)
    assert arm is not None, "planted in the experiment's own plan"
    repeats = spec.tokens / unique - 1 if unique else 0.0
    left = _LEFT[arm.kind] * (0.5 if arm.decay >= 1 else 1.0)
    loss = 3.0 - 0.1 * math.log2(spec.tokens / 16384) + _GAP * repeats * left
    loss += 0.02 * (arm.kind in NOISE) + 0.01 * arm.share
    return Outcome(val_loss_nats=loss + 1e-3 * math.sin(1 + 5 * spec.seed + 9 * left + spec.tokens))


EXPERIMENT = Experiment(
    question="Where little text is read many times, is it better to read it changed in each epoch?",
    reproduces="Chen 2026 (augmentation of repeated text), Xu 2026 (masked inputs)",
    parts={"objective": ("noised", "swapped_words")},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "gap": (0.29, 0.31),
            "gain.shifting": (0.2, 0.22),
            "closed.shifting": (0.68, 0.72),
            "gain.with_decay": (0.1, 0.11),
        },
        claims={
            "changed_text_beats_repeats": True,
            **{f"{kind}_beats_repeats": True for kind in KINDS},
            "changed_text_is_short_of_new": True,
            "noise_costs_text_read_once": True,
            "weight_decay_beats_noise": True,
            "changed_text_adds_to_weight_decay": True,
        },
    ),
)
