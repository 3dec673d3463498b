"""Curriculum: is a text learnt better where its easy documents are read first?

    slaw run curriculum
    slaw report results/curriculum    # both orders against shuffled text, with and without its end

The corpus ``graded`` cuts one domain into thirds by how far its documents compress, or by their
length. Every run reads as much of each third: shuffled all along, the easy third first, or the hard
one first. An order lasts for the whole run, or until the cooldown, which then reads all thirds, so
that the order is told apart from what was read last. Scores are the mean loss over the thirds.

Differences are of the same seed, so that what a seed does to all orders cancels. Each has the noise
of its own pairs: that of all orders is too narrow for an order that scatters more than others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

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
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, mean_series
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
from scaling_law.experiment.groups import grouped, left_out
from scaling_law.experiment.seeds import LEVEL, Mean, all_beyond_error, mean_over, paired, with_ends
from scaling_law.spec.data import DataSpec
from scaling_law.spec.mix import COOLDOWN, Mix
from scaling_law.spec.run import RunSpec

GRADES = ("easy", "medium", "hard")
SHUFFLED, EASY, HARD = "shuffled", "easy first", "hard first"
WHOLE, MIXED = "whole run", "until the cooldown"
GRADINGS = ("compression", "length")
_LOSS = "loss.val:"
MARGIN = 0.02  # nats per token: an order that gains less is no use


@dataclass(frozen=True, kw_only=True)
class Order:
    """In which order a run reads the thirds.

    ``by`` is what sorts documents into thirds; ``first`` is what it reads first; ``lasts`` says how
    long the order lasts.
    """

    by: str
    first: str
    lasts: str


def order_of(spec: RunSpec) -> Order | None:
    """The order of a run; None for a run of another text or mixture."""
    mix, data = spec.mix, spec.data
    if mix is None or not isinstance(data, DataSpec) or data.corpus_part is None:
        return None
    by = dict(data.corpus_part.settings).get("by", GRADINGS[0])
    if data.corpus_part.name != "graded" or any(phase.shares is None for phase in mix.phases):
        return None
    if len(mix.phases) == 1:
        return Order(by=str(by), first=SHUFFLED, lasts=WHOLE)
    first = {"easy": EASY, "hard": HARD}.get(_largest(mix))
    lasts = MIXED if COOLDOWN in (phase.until for phase in mix.phases) else WHOLE
    return None if first is None else Order(by=str(by), first=first, lasts=lasts)


def _largest(mix: Mix) -> str:
    """The component that the first phase reads most."""
    return max(mix.phases[0].shares or (), key=lambda pair: pair[1])[0]


Losses = Mapping[int, Mapping[str, float]]  # by seed and third, in nats per token


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the runs show: ``losses`` on each third, by order; ``used`` is how many runs count."""

    losses: Mapping[Order, Losses]
    used: int

    def changes(self, order: Order, thirds: Sequence[str] = GRADES) -> list[float]:
        """How far runs of an order end above shuffled ones, in nats, one a seed."""
        plain = Order(by=order.by, first=SHUFFLED, lasts=WHOLE)
        return paired(self.means(order, thirds), self.means(plain, thirds))

    def means(self, order: Order, thirds: Sequence[str] = GRADES) -> dict[int, float]:
        """The mean loss on some thirds by seed, in nats per token."""
        return {
            seed: fmean(own[third] for third in thirds)
            for seed, own in self.losses.get(order, {}).items()
        }


def _losses_of(run: Run) -> dict[str, float] | None:
    losses = {grade: run.record.metrics.get(f"{_LOSS}{grade}") for grade in GRADES}
    known = {grade: loss for grade, loss in losses.items() if loss is not None}
    return known if len(known) == len(GRADES) else None


def read(evidence: Evidence) -> Seen:
    """Return what the runs show."""
    losses: dict[Order, dict[int, Mapping[str, float]]] = {}
    for run in evidence.ended:
        order, own = order_of(run.spec), _losses_of(run)
        if order is not None and own is not None:
            losses.setdefault(order, {})[run.spec.seed] = own
    return Seen(losses=losses, used=sum(map(len, losses.values())))


def analyse(evidence: Evidence) -> Findings:
    """Return what the order changes."""
    seen = read(evidence)
    claims = (
        _none_beats_shuffled(seen),
        *(_helps(seen, by, lasts) for lasts in (WHOLE, MIXED) for by in GRADINGS),
        *(_better_first(seen, by) for by in GRADINGS),
        *(_recency(seen, by) for by in GRADINGS),
        *(_mends(seen, by) for by in GRADINGS),
    )
    return answer(
        claims,
        lambda: _words(seen, unbeaten=claims[0].established is True),
        measures=_measures(seen),
        tables=(_table(seen),),
        figures=(_figure(seen),),
        literature=_literature(seen),
        notes=left_out(evidence, seen.used, "of other text or mixtures"),
        units={"change": "nats per token"},
    )


def _needed(seen: Seen, order: Order, thirds: Sequence[str] = GRADES) -> list[float]:
    values = seen.changes(order, thirds)
    need(len(values) > 1, f"{order.first} by {order.by} has not finished with two seeds", AGAIN)
    return values


def _lower(changes: Sequence[float]) -> Decision:
    """Whether the differences of two orders, one a seed, lie below 0."""
    return decided([-one for one in changes], "lower by")


def _none_beats_shuffled(seen: Seen) -> Claim:
    def decide() -> Decision:
        each = []
        for by in GRADINGS:
            for order in _orders(by):
                each.append(seen.changes(order))
                few = len(each[-1]) < 2
                need(not few, f"not all orders by {by} have finished with two seeds", AGAIN)
        means = [mean for values in each if (mean := mean_over(values))]
        lowest = min(mean.interval[0] for mean in means if mean.interval)
        values = [mean.value for mean in means]
        words = f"{len(each)} orders end {min(values):+.3f} to {max(values):+.3f} nats above it"
        words += f", the lowest end of their intervals is {lowest:+.3f}"
        unbeaten = all_beyond_error([[MARGIN + one for one in own] for own in each])
        need(unbeaten is not None, f"{words}, below {-MARGIN:g}", "more seeds")
        if unbeaten and lowest < -MARGIN:
            words += f", and no seed is below {-MARGIN:g}"
        return bool(unbeaten), words

    says = f"no order, of two gradings, beats shuffled text by {MARGIN:g} nats per token"
    return claim("none_beats_shuffled", says, decide)


def _name(by: str, lasts: str) -> str:
    return f"{by}_{'mixed_end' if lasts == MIXED else 'whole_run'}"


def _helps(seen: Seen, by: str, lasts: str) -> Claim:
    def decide() -> Decision:
        values = _needed(seen, Order(by=by, first=EASY, lasts=lasts))
        return _lower(values)

    says = f"reading documents that are easy by {by} first, {_long(lasts)}, beats shuffled text"
    return claim(f"easy_first_helps.{_name(by, lasts)}", says, decide)


def _long(lasts: str) -> str:
    return "for the whole run" if lasts == WHOLE else lasts


def _better_first(seen: Seen, by: str) -> Claim:
    """Easy first against hard first, where both end with all thirds."""

    def decide() -> Decision:
        easy, hard = (seen.means(Order(by=by, first=first, lasts=MIXED)) for first in (EASY, HARD))
        values = paired(easy, hard)
        need(len(values) > 1, "the two orders have not finished with two seeds", AGAIN)
        return _lower(values)

    says = f"easy first by {by} beats hard first where the cooldown reads all thirds"
    return claim(f"easy_beats_hard_first.{by}", says, decide)


def _recency(seen: Seen, by: str) -> Claim:
    """Orders of the whole run: the third that is read first ends higher than shuffled."""

    def decide() -> Decision:
        each = {}
        for first, third in ((EASY, "easy"), (HARD, "hard")):
            order = Order(by=by, first=first, lasts=WHOLE)
            each[f"on the {third} third"] = _needed(seen, order, (third,))
        return all_decided(each, "above by")

    says = f"by {by}, the third that is read first is forgotten: it ends above shuffled text"
    return claim(f"first_is_forgotten.{by}", says, decide)


def _mends(seen: Seen, by: str) -> Claim:
    """A cooldown over all thirds brings both orders nearer to shuffled text."""

    def decide() -> Decision:
        seeds = []
        for first in (EASY, HARD):
            whole, mixed = (
                _needed(seen, Order(by=by, first=first, lasts=lasts)) for lasts in (WHOLE, MIXED)
            )
            need(len(whole) == len(mixed), "the two have other seeds", AGAIN)
            seeds.append([after - before for before, after in zip(whole, mixed, strict=True)])
        return decided([-fmean(pair) for pair in zip(*seeds, strict=True)], "lower by")

    says = f"by {by}, a cooldown that reads all thirds lowers the loss of both orders"
    return claim(f"mixed_end_mends.{by}", says, decide)


def _words(seen: Seen, *, unbeaten: bool) -> str:
    parts = []
    for by in GRADINGS:
        words = []
        for first in (EASY, HARD):
            for lasts in (WHOLE, MIXED):
                mean = mean_over(seen.changes(Order(by=by, first=first, lasts=lasts)))
                if mean and mean.interval:
                    words.append(f"{first} {_long(lasts)} {_signed(mean)}")
        if words:
            parts.append(f"by {by}: {', '.join(words)}")
    said = "No order beats" if unbeaten else "Some order beats"
    said += f" shuffled text by {MARGIN:g} nats per token"
    return (
        f"{said}. Mean loss above it in nats per token (intervals at {LEVEL:.0%}),"
        f" {'; '.join(parts)}."
    )


def _signed(mean: Mean) -> str:
    """``+0.012 (+0.003 to +0.021)``."""
    return "{:+.3f} ({:+.3f} to {:+.3f})".format(mean.value, *(mean.interval or ()))


def _orders(by: str) -> list[Order]:
    pairs = [(first, lasts) for lasts in (WHOLE, MIXED) for first in (EASY, HARD)]
    return [Order(by=by, first=first, lasts=lasts) for first, lasts in pairs]


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for by in GRADINGS:
        for order in _orders(by):
            head = f"change.{_name(by, order.lasts)}.{order.first.replace(' ', '_')}"
            for name, thirds in (("mean", GRADES), *((grade, (grade,)) for grade in GRADES)):
                measures |= with_ends(f"{head}.{name}", mean_over(seen.changes(order, thirds)))
    return measures


def _table(seen: Seen) -> Table | None:
    rows = []
    for by in GRADINGS:
        for order in (Order(by=by, first=SHUFFLED, lasts=WHOLE), *_orders(by)):
            own = seen.losses.get(order, {})
            if own:
                thirds = [fmean(losses[grade] for losses in own.values()) for grade in GRADES]
                cells = (f"{value:.4f}" for value in (*thirds, fmean(thirds)))
                above = mean_over(seen.changes(order)) if order.first != SHUFFLED else None
                rows.append((by, order.first, order.lasts, *cells,
                             above.text if above else "–", str(len(own))))  # fmt: skip
    if not rows:
        return None
    return Table(
        caption="Loss on each third of the text and their mean, nats per token, means over seeds;"
        " how far the mean ends above shuffled text in the same seed, with its interval",
        head=("graded by", "order", "which lasts for", *GRADES, "mean", "above shuffled", "seeds"),
        rows=tuple(rows),
        text_columns=3,
    )


def _figure(seen: Seen) -> Figure | None:
    panels = []
    for by in GRADINGS:
        series = []
        for number, order in enumerate(_orders(by)):
            columns = {"mean": GRADES, **{grade: (grade,) for grade in GRADES}}
            beside = 0.12 * (number - 1.5)  # so that intervals do not cover each other
            values = {
                place + beside: seen.changes(order, thirds)
                for place, thirds in enumerate(columns.values())
            }
            label = f"{order.first}, {_long(order.lasts)}"
            series.append(mean_series(label, {x: own for x, own in values.items() if own},
                                      line=False))  # fmt: skip
        panels.append(
            Panel(
                title=f"graded by {by}",
                x=Axis(
                    label="third of the text",
                    low=-0.5,
                    high=len(GRADES) + 0.5,
                    values={word: float(x) for x, word in enumerate(("mean", *GRADES))},
                ),
                y=Axis(label="loss above shuffled text, nats per token"),
                series=tuple(series),
            )
        )
    caption = "Below 0 the order is better than shuffled text; intervals over seeds."
    return figure("curriculum", "What an order changes", caption, panels)


def _literature(seen: Seen) -> tuple[Published, ...]:
    groups = grouped(
        (order.lasts, fmean(values))
        for by in GRADINGS
        for order in _orders(by)
        if order.first == EASY and (values := seen.changes(order))
    )
    ours = "; ".join(
        f"{_long(lasts)} {', '.join(f'{value:+.3f}' for value in values)} nats"
        for lasts, values in groups.items()
    )
    return (
        beside(
            "easy text first, in language modelling",
            theirs="no consistent gain over shuffled text, by any of eight measures of difficulty",
            ours=ours or None,
            source="Campos 2021, arXiv 2108.02170",
        ),
        beside(
            "easy first, hard first and random order",
            theirs="alike in standard training (images)",
            ours=ours or None,
            source="Wu 2021, arXiv 2012.03107",
        ),
    )


def _planted_outcome(spec: RunSpec) -> Outcome:
    """What is read last is learnt best, unless the cooldown reads all; easy first helps."""
    order = order_of(spec)
    assert order is not None, "every run has an order"
    noise = 4e-4 * math.sin(1 + 7 * spec.seed + len(order.first) + len(order.lasts))
    metrics = {}
    for place, grade in enumerate(GRADES):
        change = 0.0
        if order.first != SHUFFLED:
            age = place if order.first == HARD else 2 - place  # 0 for what is read last
            recency = 0.12 if order.lasts == WHOLE else 0.01
            easy = -0.012 if order.lasts == WHOLE else -0.035
            change = recency * (age - 0.7) + (0.004 if order.first == HARD else easy)
        metrics[f"{_LOSS}{grade}"] = 2.0 + 0.2 * place + change + noise
    return Outcome(val_loss_nats=2.2, metrics=metrics)


EXPERIMENT = Experiment(
    question="Is a text learnt better where its easy documents are read first?",
    reproduces="Campos 2021, Wu 2021 (curricula against random order)",
    parts={"corpus": ("graded",)},
    reads_mixture=True,
    analyse=analyse,
    planted=Planted(
        outcome=_planted_outcome,
        measures={"change.compression_whole_run.easy_first.mean": (0.02, 0.03)},
        claims={
            "none_beats_shuffled": False,
            "easy_first_helps.compression_whole_run": False,
            "easy_first_helps.length_mixed_end": True,
            "easy_beats_hard_first.compression": True,
            "first_is_forgotten.length": True,
            "mixed_end_mends.compression": True,
        },
    ),
)
