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
from collections.abc import Mapping, Sequence
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
    Series,
    Table,
)
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.multiplier import (
    Arm,
    Versus,
    arms_of,
    compare,
    extrapolated_note,
    need_fair,
    rates_note,
    sign_of,
    uncompared_note,
)
from scaling_law.experiment.seeds import mean_over
from scaling_law.experiment.speedup import SizeTrend, size_trend
from scaling_law.experiment.standard_error import StandardError
from scaling_law.spec.counts import count_params
from scaling_law.spec.data import DataSpec
from scaling_law.spec.model import Model
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of, format_count

BASE, LSTM = "Transformer", "LSTM"
SAME_SIZE = 0.15  # largest difference of log parameters between two models of one size
METRIC = "position_loss.val."
# Farther than this beyond the largest size no crossing of the lines is named.
REACH = 10.0
APART = 1.04  # factor of parameters between marks of one size in a figure
PLANTED_RATE = 0.03


def kind_of(model: Model) -> str:
    """``LSTM`` or ``Transformer``; another architecture by its own name."""
    name = model.architecture.name
    return {"gpt": BASE, "lstm": LSTM}.get(name, name)


def by_size(arms: Sequence[Arm]) -> list[list[Versus]]:
    """The LSTM against the Transformer of each size, horizons in order, each at its best rate."""
    bases = [arm for arm in arms if arm.kind == BASE]
    sizes = []
    for arm in arms:
        if arm.kind != LSTM or not bases:
            continue
        base = min(bases, key=lambda base: abs(math.log(base.params / arm.params)))
        if abs(math.log(base.params / arm.params)) <= SAME_SIZE:
            sizes += compare([arm], base)
    return sizes


@dataclass(frozen=True, kw_only=True)
class Trend:
    """How the compute multiplier changes with size at the longest horizon.

    ``power`` is the power of the parameters that it goes with; ``crossing`` are the parameters at
    which the line through all sizes is 1, None where it is flat.
    """

    power: SizeTrend
    crossing: float | None

    @property
    def side(self) -> int:
        """-1 where the power's interval lies below 0, 1 where it lies above, else 0."""
        low, high = self.power.interval
        return int(low > 0) - int(high < 0)


def trend_of(sizes: Sequence[Sequence[Versus]]) -> Trend | None:
    """The line of log multiplier in log parameters; None below 3 sizes with two seeds."""
    last = [compared[-1] for compared in sizes]
    power = size_trend(
        [
            (one.base.params, one.log, StandardError(one.error, one.freedom))
            for one in last
            if one.freedom
        ]
    )
    if power is None:
        return None
    steps = -power.level / power.exponent if power.exponent else math.inf
    return Trend(power=power, crossing=power.middle * math.exp(steps) if abs(steps) < 100 else None)


def analyse(evidence: Evidence) -> Findings:
    """Return what the LSTM saves, and how that goes with size and position."""
    arms = arms_of(evidence, kind_of)
    sizes = by_size(arms)
    trend = trend_of(sizes)
    claims = (
        _saves(sizes),
        _trend(sizes, trend),
        _gains_less(sizes),
    )
    read = sum(isinstance(run.spec.data, DataSpec) for run in evidence.ended)
    notes = left_out(evidence, read, "on a task")
    compared = [one for horizons in sizes for one in horizons]
    notes += extrapolated_note(compared) + uncompared_note(arms, compared)
    notes += rates_note(evidence, [arm for c in sizes for arm in (c[0].arm, c[0].base)])
    return answer(
        claims,
        lambda: _words(claims, sizes, trend),
        measures=_measures(sizes, trend),
        tables=(_size_table(sizes),),
        figures=(_size_figure(sizes), _position_figure(sizes)),
        literature=_literature(sizes),
        notes=notes,
        units={"multiplier": "times the compute", "gain": "nats", "loss": "nats per token"},
        multipliers=[one.multiplier for one in compared],
    )


def _need_sizes(sizes: Sequence[Sequence[Versus]]) -> None:
    need(len(sizes) >= 3, f"{len(sizes)} sizes have both architectures at two horizons", AGAIN)
    need(all(c[-1].freedom for c in sizes), "one seed has finished of some size", AGAIN)
    need_fair((c[-1].arm, c[-1].base) for c in sizes)


def _saves(sizes: Sequence[Sequence[Versus]]) -> Claim:
    def decide() -> Decision:
        _need_sizes(sizes)
        last = [compared[-1] for compared in sizes]
        words = "; ".join(
            f"{one.multiplier.text} at {format_count(one.base.params)} parameters in matrices"
            for one in last
        )
        sides = {one.multiplier.side for one in last}
        need(0 not in sides, f"an interval holds 1: {words}", "it needs more seeds")
        return sides == {1}, words

    return claim(
        "lstm_saves_compute",
        "at every size the LSTM needs less compute than the Transformer for its loss at the longest"
        " horizon",
        decide,
    )


def _trend(sizes: Sequence[Sequence[Versus]], trend: Trend | None) -> Claim:
    def decide() -> Decision:
        _need_sizes(sizes)
        need(trend is not None, "the noise of seeds is not known at every size", AGAIN)
        assert trend is not None
        words = f"the multiplier goes as N^{trend.power.text}; {_crossing(sizes, trend)}"
        need(trend.side != 0, words, "it needs more seeds or sizes farther apart")
        return trend.side < 0, words

    return claim(
        "lstm_lead_shrinks_with_size",
        "the LSTM's compute multiplier falls with size, so that the Transformer gains on it",
        decide,
    )


def _crossing(sizes: Sequence[Sequence[Versus]], trend: Trend) -> str:
    """Say where the lines of the two architectures cross."""
    seen = [compared[-1].base.params for compared in sizes]
    at = trend.crossing
    if at is not None and seen[0] <= at <= seen[-1]:
        return f"the lines cross at {format_count(at)} parameters"
    words = "the lines do not cross within the sizes seen"
    if trend.side < 0 and at is not None and seen[-1] < at <= REACH * seen[-1]:
        words += (
            f" and would, if the trend lasted, at {format_count(at)} parameters,"
            f" {at / seen[-1]:.1f} times beyond the largest"
        )
    return words


def _positions(metrics: Mapping[str, float]) -> dict[str, float]:
    """The loss of each block of positions, by the block's name; {} without the probe."""
    return {key.removeprefix(METRIC): metrics[key] for key in metrics if key.startswith(METRIC)}


def _gains(metrics: Mapping[str, float]) -> dict[str, float]:
    """What each block of positions gains on the block before it, in nats, by the block's name."""
    positions = _positions(metrics)
    blocks = list(positions)
    return {
        block: positions[before] - positions[block] for before, block in itertools.pairwise(blocks)
    }


def _last_gains(sizes: Sequence[Sequence[Versus]]) -> list[tuple[str, float, float]]:
    """The last block of positions, and what LSTM and Transformer gain in it, by seed."""
    if not sizes:
        return []
    last, pairs = sizes[-1][-1], []
    arm, base = (one.horizons[last.tokens].metrics for one in (last.arm, last.base))
    for seed in arm.keys() & base.keys():
        ours, theirs = _gains(arm[seed]), _gains(base[seed])
        if ours and list(ours) == list(theirs):
            block = list(ours)[-1]
            pairs.append((block, ours[block], theirs[block]))
    return pairs


def _gains_less(sizes: Sequence[Sequence[Versus]]) -> Claim:
    def decide() -> Decision:
        pairs = _last_gains(sizes)
        need(len(pairs) > 1, f"{len(pairs)} pairs of runs have the loss by position", AGAIN)
        need_fair([(sizes[-1][-1].arm, sizes[-1][-1].base)])
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
    verb = "more" if standing["lstm_saves_compute"] else "not always more"
    words = (
        f"The Transformer needs {verb} compute than the LSTM for its loss:"
        f" {first.multiplier.text} times at {format_count(first.base.params)} parameters in"
        f" matrices, {last.multiplier.text} at {format_count(last.base.params)} (intervals at 90%,"
        f" {count_of(len(last.logs), 'seed')}, {format_count(last.tokens)} tokens)"
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


def _measures(sizes: Sequence[Sequence[Versus]], trend: Trend | None) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for compared in sizes:
        for one in compared:
            name = f"lstm.n{one.base.params}.d{one.tokens}"
            measures[f"multiplier.{name}"] = one.multiplier.value
            low, high = one.multiplier.interval or (None, None)
            measures[f"multiplier.{name}.low"], measures[f"multiplier.{name}.high"] = low, high
            measures[f"difference.{name}"] = fmean(one.differences.values())
    measures["multiplier_power"] = trend.power.exponent if trend else None
    gains = _last_gains(sizes)
    measures["late_gain.lstm"] = fmean(g[1] for g in gains) if gains else None
    measures["late_gain.transformer"] = fmean(g[2] for g in gains) if gains else None
    return measures


def _size_table(sizes: Sequence[Sequence[Versus]]) -> Table | None:
    if not sizes:
        return None
    return Table(
        caption="LSTM and Transformer of one size, each at its best learning rate (90% interval):"
        " validation loss there in nats per token, mean over seeds, and the LSTM's compute"
        " multiplier",
        head=(
            "parameters", "LSTM's", "tokens", "LSTM's rate", "Transformer's rate", "LSTM",
            "Transformer", "multiplier",
        ),
        rows=tuple(
            (
                format_count(one.base.params),
                format_count(one.arm.params),
                format_count(one.tokens),
                one.arm.rate_text(one.tokens),
                one.base.rate_text(one.tokens),
                one.arm.loss_text(one.tokens),
                one.base.loss_text(one.tokens),
                one.multiplier.text,
            )
            for compared in sizes
            for one in compared
        ),
        text_columns=5,
    )  # fmt: skip


def _tokens(tokens: int) -> str:
    return f"{format_count(tokens)} tokens"


def _size_figure(sizes: Sequence[Sequence[Versus]]) -> Figure | None:
    losses: dict[str, dict[float, list[float]]] = {}
    groups: dict[int, list[Versus]] = {}
    for compared in sizes:
        for one in compared:
            for arm, kind in ((one.arm, LSTM), (one.base, BASE)):
                group = losses.setdefault(f"{kind}, {_tokens(one.tokens)}", {})
                logs = arm.horizons[one.tokens].logs
                group[arm.params] = [math.exp(value) for value in logs.values()]
            groups.setdefault(one.tokens, []).append(one)
    longest = max(groups, default=0)
    multipliers = []
    for place, (tokens, several) in enumerate(sorted(groups.items())):
        # beside each other, so that no interval hides another
        shift = APART ** (place - (len(groups) - 1) / 2)
        means = [(shift * one.base.params, one.multiplier) for one in several]
        multipliers.append(
            Series(
                label=f"multiplier, {_tokens(tokens)}",
                points=tuple((x, mean.value) for x, mean in means),
                intervals=tuple(mean.interval or (mean.value, mean.value) for _, mean in means),
                dashed=tokens < longest,
            )
        )
    axis = log_axis("parameters in matrices", [c[-1].base.params for c in sizes] or None)
    return figure(
        "architectures_size",
        "LSTM and Transformer by size, each at its best learning rate",
        "Means over seeds with their intervals at 90%; broken: the shorter horizon. Right: the"
        " compute that the Transformer needs for the LSTM's loss, over the LSTM's; the horizons of"
        " one size are drawn beside each other.",
        [
            Panel(
                title="validation loss",
                x=axis,
                y=Axis(label="nats per token"),
                series=tuple(
                    mean_series(label, group, dashed=not label.endswith(_tokens(longest)))
                    for label, group in losses.items()
                ),
            ),
            Panel(
                title="the LSTM's compute multiplier",
                x=axis,
                y=log_axis("compute multiplier"),
                series=tuple(multipliers),
            ),
        ],
    )


def _position_figure(sizes: Sequence[Sequence[Versus]]) -> Figure | None:
    if not sizes:
        return None
    last, series = sizes[-1][-1], []
    for arm, kind in ((last.arm, LSTM), (last.base, BASE)):
        values: dict[float, list[float]] = {}
        for metrics in arm.horizons[last.tokens].metrics.values():
            for block, loss in _positions(metrics).items():
                ends = [int(end) for end in block.split("-")]
                values.setdefault(math.sqrt(ends[0] * ends[-1]), []).append(loss)
        series.append(mean_series(kind, values))
    return figure(
        "architectures_position",
        f"Loss by position in the context, {format_count(last.base.params)} parameters in"
        f" matrices, {_tokens(last.tokens)}",
        "At the rate of lowest loss that was tried: means over seeds, with intervals at 90%. A"
        " point is a block of positions, at its geometric middle.",
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
        f"compute multiplier {c[-1].multiplier.text} at {format_count(c[-1].base.params)}"
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


def _planted(spec: RunSpec) -> Outcome:
    """Loss 8 N^-0.1 D^-0.05; the LSTM takes 0.2 (N / 10,000)^0.3 of the tokens for it."""
    params, is_lstm = count_params(spec.model).matmul, kind_of(spec.model) == LSTM
    share = 0.2 * (params / 10_000) ** 0.3 if is_lstm else 1.0
    away = math.log(spec.optim.lr / PLANTED_RATE)
    noise = 2e-4 * math.sin(1e3 * spec.optim.lr + 7 * spec.seed + params)
    loss = 8 * params**-0.1 * (spec.tokens / share) ** -0.05
    loss *= math.exp(0.01 * away**2 + 0.001 * spec.seed + noise)
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
        measures={"multiplier_power": (-0.6, -0.2), "late_gain.lstm": (0.049, 0.051)},
        claims={
            "lstm_saves_compute": True,
            "lstm_lead_shrinks_with_size": True,
            "lstm_gains_less_late": True,
        },
    ),
)
