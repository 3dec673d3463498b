"""An LSTM against a Transformer: the compute that it saves by size, and its loss by position.

    slaw run architectures
    slaw report results/architectures    # multipliers, whether the lines cross; two figures

Kaplan 2020 (arXiv 2001.08361, figure 7) finds that LSTMs keep up with Transformers only for the
first tokens of a context and fall behind at larger size. ``experiment.multiplier`` says what a
compute multiplier is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
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
from scaling_law.experiment.multiplier import (
    Cells,
    Seen,
    Versus,
    best_rates,
    better_rates,
    cells_of,
    loss_text,
    sign_of,
    versus,
)
from scaling_law.experiment.seeds import mean_over
from scaling_law.spec.counts import count_params
from scaling_law.spec.model import Model
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

BASE, LSTM = "Transformer", "LSTM"
SAME_SIZE = 0.15  # largest difference of log parameters between two models of one size
METRIC = "position_loss.val."
# Farther than this beyond the largest size no crossing of the lines is named.
REACH = 10.0
PLANTED_RATE = 0.03


def kind_of(model: Model) -> str:
    """``LSTM`` or ``Transformer``; another architecture by its own name."""
    name = model.architecture.name
    return {"gpt": BASE, "lstm": LSTM}.get(name, name)


def by_size(cells: Cells) -> list[list[Versus]]:
    """The LSTM against the Transformer of each size, horizons in order, each at its best rate."""
    ours, theirs = best_rates(cells, LSTM), best_rates(cells, BASE)
    sizes = []
    for params in sorted({n for n, _ in ours}):
        near = min({n for n, _ in theirs}, key=lambda n: abs(math.log(n / params)), default=None)
        if near is None or abs(math.log(near / params)) > SAME_SIZE:
            continue
        arms = [cell for (n, _), cell in ours.items() if n == params]
        bases = [cell for (n, _), cell in theirs.items() if n == near]
        if compared := versus(cells, arms, bases):
            sizes.append(compared)
    return sizes


@dataclass(frozen=True, kw_only=True)
class Trend:
    """How the compute multiplier changes with size.

    ``power`` is the power of the parameters that it goes with, one value a seed; ``crossing`` are
    the parameters at which the line through all sizes is 1, None where it is flat.
    """

    power: tuple[float, ...]
    crossing: float | None


def trend_of(sizes: Sequence[Sequence[Versus]]) -> Trend | None:
    """The line of log multiplier in log parameters at the longest horizon; None below 3 sizes."""
    last = [compared[-1] for compared in sizes]
    seeds = set.intersection(*(set(one.logs) for one in last)) if last else set()
    if len(last) < 3 or not seeds:
        return None
    xs = [math.log(one.base.params) for one in last]
    middle = fmean(xs)
    width = sum((x - middle) ** 2 for x in xs)
    powers = tuple(
        sum((x - middle) * one.logs[seed] for x, one in zip(xs, last, strict=True)) / width
        for seed in sorted(seeds)
    )
    power, level = fmean(powers), fmean(one.logs[seed] for one in last for seed in seeds)
    steps = middle - level / power if power else math.inf
    return Trend(power=powers, crossing=math.exp(steps) if abs(steps) < 100 else None)


def analyse(evidence: Evidence) -> Findings:
    """Return what the LSTM saves, and how that goes with size and position."""
    cells = cells_of(evidence, kind_of)
    sizes = by_size(cells)
    trend = trend_of(sizes)
    claims = (
        _saves(sizes),
        _trend(sizes, trend),
        _gains_less(cells, sizes),
    )
    notes = left_out(evidence, sum(map(len, cells.values())), "on a task or without a loss")
    return answer(
        claims,
        lambda: _words(claims, sizes, trend),
        measures=_measures(cells, sizes, trend),
        tables=(_size_table(cells, sizes),),
        figures=(_size_figure(cells, sizes), _position_figure(cells, sizes)),
        literature=_literature(sizes),
        notes=[*notes, *_notes(cells, sizes)],
        units={"multiplier": "times the compute", "gain": "nats", "loss": "nats per token"},
    )


def _need_sizes(sizes: Sequence[Sequence[Versus]]) -> None:
    need(len(sizes) >= 3, f"{len(sizes)} sizes have both architectures at two horizons", AGAIN)
    need(all(len(c[-1].logs) > 1 for c in sizes), "one seed has finished of some size", AGAIN)


def _saves(sizes: Sequence[Sequence[Versus]]) -> Claim:
    def decide() -> Decision:
        _need_sizes(sizes)
        last = [compared[-1] for compared in sizes]
        words = "; ".join(
            f"{one.multiplier.text} times at {format_count(one.base.params)} parameters"
            for one in last
        )
        need(all(one.side for one in last), f"an interval holds 1: {words}", "it needs more seeds")
        return all(one.side < 0 for one in last), words

    return claim(
        "lstm_saves_compute",
        "at every size the LSTM needs less compute than the Transformer for its loss at the longest"
        " horizon",
        decide,
    )


def _trend(sizes: Sequence[Sequence[Versus]], trend: Trend | None) -> Claim:
    def decide() -> Decision:
        _need_sizes(sizes)
        need(trend is not None, "the sizes have no seed in common", AGAIN)
        assert trend is not None
        mean = mean_over(trend.power)
        assert mean is not None
        words = f"the multiplier goes as N^{mean.text}; {_crossing(sizes, trend)}"
        need(sign_of(mean) != 0, words, "it needs more seeds or sizes farther apart")
        return sign_of(mean) > 0, words

    return claim(
        "lstm_lead_shrinks_with_size",
        "the LSTM's compute multiplier rises with size, so that the Transformer gains on it",
        decide,
    )


def _crossing(sizes: Sequence[Sequence[Versus]], trend: Trend) -> str:
    """Say where the lines of the two architectures cross."""
    seen = [compared[-1].base.params for compared in sizes]
    at = trend.crossing
    if at is not None and seen[0] <= at <= seen[-1]:
        return f"the lines cross at {format_count(at)} parameters"
    words = "the lines do not cross within the sizes seen"
    power = mean_over(trend.power)
    is_sure = power is not None and sign_of(power) > 0
    if is_sure and at is not None and seen[-1] < at <= REACH * seen[-1]:
        words += (
            f" and would, if the trend lasted, at {format_count(at)} parameters,"
            f" {at / seen[-1]:.1f} times beyond the largest"
        )
    return words


def _positions(seen: Seen) -> dict[str, float]:
    """The loss of each block of positions, by the block's name; {} without the probe."""
    metrics = seen.metrics
    return {key.removeprefix(METRIC): metrics[key] for key in metrics if key.startswith(METRIC)}


def _gains(seen: Seen) -> dict[str, float]:
    """What each block of positions gains on the block before it, in nats, by the block's name."""
    positions = _positions(seen)
    blocks = list(positions)
    return {
        block: positions[before] - positions[block] for before, block in itertools.pairwise(blocks)
    }


def _last_gains(cells: Cells, sizes: Sequence[Sequence[Versus]]) -> list[tuple[str, float, float]]:
    """The last block of positions, and what LSTM and Transformer gain in it, by seed."""
    if not sizes:
        return []
    last, pairs = sizes[-1][-1], []
    for seed in last.logs:
        ours, theirs = _gains(cells[last.arm][seed]), _gains(cells[last.base][seed])
        if ours and list(ours) == list(theirs):
            block = list(ours)[-1]
            pairs.append((block, ours[block], theirs[block]))
    return pairs


def _gains_less(cells: Cells, sizes: Sequence[Sequence[Versus]]) -> Claim:
    def decide() -> Decision:
        pairs = _last_gains(cells, sizes)
        need(len(pairs) > 1, f"{len(pairs)} pairs of runs have the loss by position", AGAIN)
        ours = mean_over([gain for _, gain, _ in pairs])
        theirs = mean_over([gain for _, _, gain in pairs])
        assert ours is not None and theirs is not None
        words = (
            f"positions {pairs[0][0]} gain {ours.text} nats on those before with the LSTM,"
            f" {theirs.text} with the Transformer"
        )
        less = mean_over([b - a for _, a, b in pairs])
        assert less is not None
        need(sign_of(less) != 0, words, "it needs more seeds or a longer context")
        return sign_of(less) > 0, words

    return claim(
        "lstm_gains_less_late",
        "from the context's first half to its second the LSTM's loss falls by less than the"
        " Transformer's, at the largest size",
        decide,
    )


def _words(
    claims: Sequence[Claim],
    sizes: Sequence[Sequence[Versus]],
    trend: Trend | None,
) -> str:
    standing = {one.name: one.established for one in claims}
    first, last = sizes[0][-1], sizes[-1][-1]
    verb = "less" if standing["lstm_saves_compute"] else "not always less"
    words = (
        f"The LSTM needs {verb} compute than the Transformer for its loss:"
        f" {first.multiplier.value:.2f} times at {format_count(first.base.params)} parameters,"
        f" {last.multiplier.value:.2f} at {format_count(last.base.params)}"
    )
    tale = {
        True: "its lead shrinks with size",
        False: "its lead does not shrink with size",
        None: "whether its lead shrinks with size is not established",
    }
    words += f"; {tale[standing['lstm_lead_shrinks_with_size']]}"
    if trend is not None:
        words += f", and {_crossing(sizes, trend)}"
    late = {True: "less", False: "no less", None: None}[standing["lstm_gains_less_late"]]
    if late:
        words += f". In the second half of the context it gains {late} than the Transformer"
    return f"{words}."


def _measures(
    cells: Cells,
    sizes: Sequence[Sequence[Versus]],
    trend: Trend | None,
) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for compared in sizes:
        for one in compared:
            name = f"lstm.n{one.base.params}.d{one.base.tokens}"
            measures[f"multiplier.{name}"] = one.multiplier.value
            measures[f"difference.{name}"] = fmean(one.differences.values())
    measures["multiplier_power"] = fmean(trend.power) if trend else None
    gains = _last_gains(cells, sizes)
    measures["late_gain.lstm"] = fmean(g[1] for g in gains) if gains else None
    measures["late_gain.transformer"] = fmean(g[2] for g in gains) if gains else None
    return measures


def _size_table(cells: Cells, sizes: Sequence[Sequence[Versus]]) -> Table | None:
    if not sizes:
        return None
    return Table(
        caption="LSTM and Transformer of one size, each with its better learning rate: validation"
        " loss in nats per token and the LSTM's compute multiplier, means over seeds",
        head=(
            "parameters", "LSTM's", "tokens", "rates, LSTM and Transformer", "LSTM", "Transformer",
            "multiplier",
        ),
        rows=tuple(
            (
                format_count(one.base.params),
                format_count(one.arm.params),
                format_count(one.base.tokens),
                f"{one.arm.lr:g}, {one.base.lr:g}",
                loss_text(cells[one.arm]),
                loss_text(cells[one.base]),
                one.multiplier.text,
            )
            for compared in sizes
            for one in compared
        ),
        text_columns=4,
    )  # fmt: skip


def _size_figure(cells: Cells, sizes: Sequence[Sequence[Versus]]) -> Figure | None:
    losses: dict[str, dict[float, list[float]]] = {}
    for compared in sizes:
        for one in compared:
            for cell, kind in ((one.arm, LSTM), (one.base, BASE)):
                group = losses.setdefault(f"{kind}, {format_count(cell.tokens)} tokens", {})
                group[cell.params] = [seen.loss for seen in cells[cell].values()]
    multipliers: dict[str, dict[float, list[float]]] = {}
    for compared in sizes:
        for one in compared:
            group = multipliers.setdefault(f"{format_count(one.base.tokens)} tokens", {})
            group[one.base.params] = [math.exp(value) for value in one.logs.values()]
    axis = log_axis("parameters in matrices", [c[-1].base.params for c in sizes] or None)
    return figure(
        "architectures_size",
        "LSTM and Transformer by size",
        "Points: means over seeds with their intervals; right: what the LSTM's compute must be"
        " multiplied with to reach the Transformer's loss.",
        [
            Panel(
                title="validation loss",
                x=axis,
                y=Axis(label="nats per token"),
                series=tuple(mean_series(label, group) for label, group in losses.items()),
            ),
            Panel(
                title="the LSTM's compute multiplier",
                x=axis,
                y=log_axis("times the Transformer's compute"),
                series=tuple(
                    mean_series(label, group, geometric=True)
                    for label, group in multipliers.items()
                ),
            ),
        ],
    )


def _position_figure(cells: Cells, sizes: Sequence[Sequence[Versus]]) -> Figure | None:
    if not sizes:
        return None
    last, series = sizes[-1][-1], []
    for cell, kind in ((last.arm, LSTM), (last.base, BASE)):
        values: dict[float, list[float]] = {}
        for seen in cells[cell].values():
            for block, loss in _positions(seen).items():
                ends = [int(end) for end in block.split("-")]
                values.setdefault(math.sqrt(ends[0] * ends[-1]), []).append(loss)
        series.append(mean_series(kind, values))
    return figure(
        "architectures_position",
        "Loss by position in the context",
        f"At {format_count(last.base.params)} parameters and {format_count(last.base.tokens)}"
        " tokens; a point is a block of positions, at its geometric middle.",
        [
            Panel(
                x=log_axis("position in the context"),
                y=Axis(label="nats per token"),
                series=tuple(series),
            )
        ],
    )


def _literature(sizes: Sequence[Sequence[Versus]]) -> tuple[Published, ...]:
    lstm = "; ".join(
        f"{c[-1].multiplier.value:.2f} times the compute at {format_count(c[-1].base.params)}"
        for c in sizes
    )
    return (
        beside(
            "LSTM against Transformer at equal non-embedding parameters",
            theirs="behind at every position but the first ones, more so at larger size",
            ours=lstm or None,
            source="Kaplan 2020, arXiv 2001.08361, figure 7",
        ),
    )


def _notes(cells: Cells, sizes: Sequence[Sequence[Versus]]) -> list[str]:
    notes = []
    chosen = [cell for c in sizes for one in c for cell in (one.arm, one.base)]
    if better := better_rates(cells, chosen):
        notes.append(
            "another learning rate than the one with most seeds does better on the seeds that both"
            f" have: {'; '.join(better)}"
        )
    return notes


def _planted(spec: RunSpec) -> Outcome:
    """Loss 8 N^-0.1 D^-0.05; the LSTM takes 0.2 (N / 10,000)^0.3 of the tokens for it."""
    params, is_lstm = count_params(spec.model).matmul, kind_of(spec.model) == LSTM
    share = 0.2 * (params / 10_000) ** 0.3 if is_lstm else 1.0
    loss = 8 * params**-0.1 * (spec.tokens / share) ** -0.05
    loss *= 1 + 0.01 * (spec.optim.lr != PLANTED_RATE) + 0.001 * spec.seed
    step = 0.05 if is_lstm else 0.1
    blocks = ("1", "2", "3-4", "5-8", "9-16", "17-32", "33-64")
    positions = {f"{METRIC}{block}": 4 - step * at for at, block in enumerate(blocks)}
    return Outcome(val_loss_nats=loss, metrics=positions)


EXPERIMENT = Experiment(
    question="What compute does an LSTM save against a Transformer, and does that last with size?",
    reproduces="Kaplan 2020 (LSTM against Transformer, by size and position)",
    parts={"architecture": ("lstm",), "probe": ("position_loss",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"multiplier_power": (0.2, 0.6), "late_gain.lstm": (0.049, 0.051)},
        claims={
            "lstm_saves_compute": True,
            "lstm_lead_shrinks_with_size": True,
            "lstm_gains_less_late": True,
        },
    ),
)
