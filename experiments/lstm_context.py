"""The loss of an LSTM and a Transformer by position in a long context.

    slaw run lstm_context
    slaw report results/lstm_context    # where each stops gaining, where the lines cross

Kaplan 2020 (arXiv 2001.08361, figure 7) finds that LSTMs keep up with Transformers for the first
tokens of a context and stop gaining within a hundred of them. Both read the same text here, so
that the difference of their losses at a position has no noise of the text; what one of them gains
from a block of positions to the next has some, which all seeds share.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, decided, need
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.figures import figure, log_axis, mean_series
from scaling_law.experiment.findings import AGAIN, Axis, Claim, Figure, Findings, Panel, Table
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.multiplier import Arm, arms_of, need_fair, rates_note
from scaling_law.experiment.seeds import Mean, mean_over, mean_text
from scaling_law.spec.data import DataSpec
from scaling_law.spec.model import Model
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

LSTM, BASE = "LSTM", "Transformer"
METRIC = "position_loss.val."
STOPPED = 0.02  # nats: a block that gains less on the block before it gains nothing that counts
LATE = 32  # positions after this one are late


def kind_of(model: Model) -> str:
    """``LSTM`` or ``Transformer``; another architecture by its own name."""
    name = model.architecture.name
    return {"gpt": BASE, "lstm": LSTM}.get(name, name)


@dataclass(frozen=True)
class Block:
    """Positions ``first`` to ``last`` of the context, counted from 1."""

    first: int
    last: int

    @property
    def text(self) -> str:
        """``33-64``."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def middle(self) -> float:
        """The geometric middle, where figures draw it."""
        return math.sqrt(self.first * self.last)


def blocks_of(metrics: Mapping[str, float]) -> dict[Block, float]:
    """The loss of each block of positions in nats per token, in order; {} without the probe."""
    losses = {}
    for name, loss in metrics.items():
        if name.startswith(METRIC):
            first, _, last = name.removeprefix(METRIC).partition("-")
            losses[Block(int(first), int(last or first))] = loss
    return dict(sorted(losses.items(), key=lambda item: item[0].first))


@dataclass(frozen=True)
class Seen:
    """What the runs show, at the longest horizon that both have.

    ``arms`` are the LSTM and the Transformer, () where one is missing; ``tokens`` is the horizon;
    ``losses`` are the losses by architecture, seed and block, of the seeds that both have.
    """

    arms: tuple[Arm, ...]
    tokens: int
    losses: Mapping[str, Mapping[int, Mapping[Block, float]]]

    @property
    def seeds(self) -> list[int]:
        """The seeds that both have."""
        return sorted(self.losses.get(LSTM, {}))

    @property
    def blocks(self) -> list[Block]:
        """The blocks of positions, in order."""
        return list(self.losses[LSTM][self.seeds[0]]) if self.seeds else []

    def gains(self, kind: str, block: Block) -> list[float]:
        """What a block gains on the one before it, by seed, in nats."""
        before = self.blocks[self.blocks.index(block) - 1]
        return [by[before] - by[block] for by in (self.losses[kind][s] for s in self.seeds)]

    def leads(self, block: Block) -> list[float]:
        """By how much the LSTM's loss is lower in a block, by seed, in nats."""
        return [self.losses[BASE][s][block] - self.losses[LSTM][s][block] for s in self.seeds]

    def stop(self, kind: str) -> Block | None:
        """The last block whose gain counts on average; None where no block gains."""
        gaining = [b for b in self.blocks[1:] if fmean(self.gains(kind, b)) >= STOPPED]
        return gaining[-1] if gaining else None

    @property
    def crossing(self) -> Block | None:
        """The block from which on the Transformer's loss is the lower one; None for none."""
        passed = itertools.takewhile(lambda b: fmean(self.leads(b)) < 0, reversed(self.blocks))
        return next(reversed(list(passed)), None)


def read(evidence: Evidence) -> Seen:
    """Return what the runs show."""
    arms = {arm.kind: arm for arm in arms_of(evidence, kind_of)}
    if not {LSTM, BASE} <= arms.keys():
        return Seen((), 0, {})
    pair = (arms[LSTM], arms[BASE])
    shared = set(pair[0].horizons) & set(pair[1].horizons)
    if not shared:
        return Seen(pair, 0, {})
    tokens = max(shared)
    losses = {
        arm.kind: {seed: blocks_of(m) for seed, m in arm.horizons[tokens].metrics.items()}
        for arm in pair
    }
    both = [s for s in losses[LSTM] if losses[LSTM][s] and
            losses[LSTM][s].keys() == losses[BASE].get(s, {}).keys()]  # fmt: skip
    return Seen(pair, tokens, {kind: {s: by[s] for s in both} for kind, by in losses.items()})


def analyse(evidence: Evidence) -> Findings:
    """Return where each architecture stops gaining, and where their losses cross."""
    seen = read(evidence)
    claims = (_stops(seen), _gains_longer(seen), _crosses(seen))
    on_text = sum(isinstance(run.spec.data, DataSpec) for run in evidence.ended)
    return answer(
        claims,
        lambda: _words(seen, claims),
        measures=_measures(seen),
        tables=(_table(seen),),
        figures=(_figure(seen),),
        literature=(
            beside(
                "the position from which on an LSTM gains nothing",
                theirs="fewer than 100 of 1,024 (subwords)",
                ours=_stop_text(seen, LSTM) if seen.seeds else None,
                source="Kaplan 2020, arXiv 2001.08361, figure 7",
            ),
            beside(
                "the context that an LSTM uses",
                theirs="about 200 words, their order within 50",
                ours=_stop_text(seen, LSTM) if seen.seeds else None,
                source="Khandelwal 2018, arXiv 1805.04623",
            ),
        ),
        notes=left_out(evidence, on_text, "on a task") + rates_note(evidence, seen.arms),
        units={"loss": "nats per token", "lead": "nats", "late_gain": "nats", "stop": "positions",
               "crossing": "positions"},
    )  # fmt: skip


def _need_runs(seen: Seen) -> None:
    need(bool(seen.arms), "no run of one of the architectures has finished", AGAIN)
    count = len(seen.seeds)
    need(count > 1, f"{count} seeds of both have the loss by position", AGAIN)
    last = seen.blocks[-1].last
    need(
        last > 2 * LATE, f"the context has {last} positions", f"more than {2 * LATE} (model.n_ctx)"
    )
    lstm, base = seen.arms
    need_fair([(lstm, base)])


def _stops(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        last = seen.blocks[-1]
        gains = seen.gains(LSTM, last)
        words = f"positions {last.text} gain {mean_text(gains)} nats on those before: less by"
        return decided([STOPPED - gain for gain in gains], words)

    return claim(
        "lstm_stops",
        f"the LSTM gains less than {STOPPED:g} nats from the context's first half to its second",
        decide,
    )


def _late_gains(seen: Seen, kind: str) -> list[float]:
    """What the last block gains on the last one that is not late, by seed, in nats."""
    early = [block for block in seen.blocks if block.last <= LATE]
    if not early:
        return []
    return [by[early[-1]] - by[seen.blocks[-1]] for by in seen.losses[kind].values()]


def _gains_longer(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        ours, theirs = (_late_gains(seen, kind) for kind in (LSTM, BASE))
        more = [b - a for a, b in zip(ours, theirs, strict=True)]
        words = (
            f"beyond position {LATE} the Transformer gains {mean_text(theirs)} nats, the LSTM"
            f" {mean_text(ours)}"
        )
        return decided(more, f"{words}: more by")

    return claim(
        "transformer_gains_longer",
        f"beyond position {LATE} the Transformer's loss falls by more than the LSTM's",
        decide,
    )


def _crosses(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_runs(seen)
        last = seen.blocks[-1]
        leads = seen.leads(last)
        words = f"the LSTM's loss at positions {last.text} is lower by"
        if (at := seen.crossing) is not None:
            words = f"the lines cross before position {at.first}; {words}"
        ahead, because = decided(leads, words)
        return not ahead, because

    return claim(
        "lines_cross",
        "at the end of the context the Transformer's loss is below the LSTM's",
        decide,
    )


def _stop_text(seen: Seen, kind: str) -> str:
    last = seen.stop(kind)
    if last is None:
        return "gains nowhere"
    if last == seen.blocks[-1]:
        return f"still gains at positions {last.text}, the last ones"
    return f"gains up to position {last.last} of {seen.blocks[-1].last} (bytes)"


def _words(seen: Seen, claims: Sequence[Claim]) -> str:
    _, longer, crosses = claims
    parts = [f"the {kind} {_stop_text(seen, kind)}" for kind in (LSTM, BASE)]
    leads = {block: fmean(seen.leads(block)) for block in seen.blocks}
    words = f"In a context of {seen.blocks[-1].last} positions {', '.join(parts)}"
    if crosses.established is None:
        words += f"; whether the lines cross is not established: {crosses.because}"
    elif crosses.established:
        words += f"; {crosses.because}"
    else:
        block = max(leads, key=lambda block: leads[block])
        words += (
            f"; the lines do not cross by the end: {crosses.because}, and by most,"
            f" {leads[block]:.3g}, at positions {block.text}"
        )
    if longer.established is not None:
        words += f". {longer.because[0].upper()}{longer.because[1:]}"
    return f"{words}."


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for kind in (LSTM, BASE):
        stop = seen.stop(kind) if seen.seeds else None
        late: Mean | None = mean_over(_late_gains(seen, kind)) if seen.seeds else None
        measures[f"stop.{kind.lower()}"] = None if stop is None else float(stop.last)
        measures[f"late_gain.{kind.lower()}"] = None if late is None else late.value
    crossing = seen.crossing if seen.seeds else None
    measures["crossing"] = None if crossing is None else float(crossing.first)
    for block in seen.blocks:
        measures[f"lead.{block.text}"] = fmean(seen.leads(block))
    return measures


def _table(seen: Seen) -> Table | None:
    if not seen.seeds:
        return None
    rows = []
    for at, block in enumerate(seen.blocks):
        losses = [[by[block] for by in seen.losses[kind].values()] for kind in (LSTM, BASE)]
        gains = [mean_text(seen.gains(kind, block)) if at else "-" for kind in (LSTM, BASE)]
        rows.append((block.text, *(f"{fmean(each):.4f}" for each in losses), *gains,
                     mean_text(seen.leads(block))))  # fmt: skip
    lstm, base = seen.arms
    return Table(
        caption=f"The loss by position (nats per token, means over seeds) of the LSTM"
        f" ({format_count(lstm.params)} parameters in matrices, rate"
        f" {lstm.rate_text(seen.tokens)}) and the Transformer ({format_count(base.params)}, rate"
        f" {base.rate_text(seen.tokens)}) at {format_count(seen.tokens)} tokens, at the rates of"
        " lowest loss that were tried; what a block gains on the one before; by how much the"
        " LSTM's loss is lower",
        head=("positions", LSTM, BASE, "LSTM gains", "Transformer gains", "LSTM's lead"),
        rows=tuple(rows),
    )


def _figure(seen: Seen) -> Figure | None:
    if not seen.seeds:
        return None
    losses = [
        mean_series(
            kind,
            {
                block.middle: [by[block] for by in seen.losses[kind].values()]
                for block in seen.blocks
            },
        )
        for kind in (LSTM, BASE)
    ]
    leads = mean_series("LSTM's lead", {block.middle: seen.leads(block) for block in seen.blocks})
    return figure(
        "lstm_context",
        "LSTM and Transformer by position in the context",
        "A point is a block of positions, at its geometric middle: means over seeds with their"
        " intervals. Right: above 0 the LSTM's loss is lower.",
        [
            Panel(
                title="loss",
                x=log_axis("position in the context"),
                y=Axis(label="nats per token"),
                series=tuple(losses),
            ),
            Panel(
                title="the LSTM's lead",
                x=log_axis("position in the context"),
                y=Axis(label="nats per token"),
                series=(leads,),
            ),
        ],
    )


def _planted(spec: RunSpec) -> Outcome:
    """An LSTM that is 0.1 lower and gains nothing beyond 64 positions; a Transformer that does."""
    is_lstm = kind_of(spec.model) == LSTM
    away = math.log(spec.optim.lr / (0.03 if is_lstm else 0.012))
    noise = 1e-4 * math.sin(1e3 * spec.optim.lr + 7 * spec.seed)
    base = 3.0 + 0.01 * away**2 + 0.001 * spec.seed + noise
    metrics, last = {}, 0
    for at in range(9):
        first, last = last + 1, 2**at
        fall = 0.1 * (min(at, 6) if is_lstm else at)
        name = str(last) if first == last else f"{first}-{last}"
        metrics[f"{METRIC}{name}"] = base - fall - (0.1 if is_lstm else 0.0)
    return Outcome(val_loss_nats=base - (0.05 if is_lstm else 0.0), metrics=metrics)


EXPERIMENT = Experiment(
    question="Where in a context does an LSTM stop gaining, and where does a Transformer pass it?",
    reproduces="Kaplan 2020 (loss by position, LSTM against Transformer)",
    parts={"architecture": ("lstm",), "probe": ("position_loss",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "stop.lstm": (64, 64),
            "stop.transformer": (256, 256),
            "crossing": (129, 129),
            "late_gain.transformer": (0.29, 0.31),
        },
        claims={"lstm_stops": True, "transformer_gains_longer": True, "lines_cross": True},
    ),
)
