"""``slaw downstream``: metrics at a target, by the loss and without it, and recipes in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law import text_columns
from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.points.dataset import unfinished_notes
from scaling_law.fit.result import finite_json
from scaling_law.forecast.downstream.measured import (
    LEAST_RUNS,
    Measured,
    Reading,
    metrics_of,
    read_measured,
)
from scaling_law.forecast.downstream.ranking import Ranking, rank
from scaling_law.forecast.downstream.two_step import Check, Interval, Predicted, TwoStep
from scaling_law.forecast.target import Target
from scaling_law.units import count_of, format_count

_MISSED = 0.3  # a share of held-out runs inside that is lower than the level by more is too low
_MOST = 12  # runs left out that are listed one by one


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of each metric.

    ``target`` is where, None for only a check on the largest size;
    ``law`` is the law of the first step, "" for the one that fits best;
    ``ceiling`` is the metric's highest value, None to fit it; ``level`` is that of intervals.
    """

    target: Target | None = None
    law: str = ""
    ceiling: float | None = 1.0
    level: float = 0.9


@dataclass(frozen=True, kw_only=True)
class MetricAnswer:
    """One metric of one recipe.

    ``metric`` is its name; ``measured`` are its runs; ``ways`` are the fits;
    ``predicted`` is the answer at the target, None where none was asked for;
    ``check`` is how the largest size was predicted, or why it was not.
    """

    metric: str
    measured: Measured
    ways: TwoStep
    predicted: Predicted | None
    check: Check | str


@dataclass(frozen=True, kw_only=True)
class DownstreamAnswer:
    """The answer of ``slaw downstream``.

    ``metrics`` are the answers by metric and recipe; ``left_out`` are (run, reason);
    ``failed`` are (recipe or metric, reason);
    ``rankings`` are (metric, order of recipes or why there is none), empty without ``--by``;
    ``level`` is that of the intervals; ``notes`` say how the runs were read.
    """

    metrics: tuple[MetricAnswer, ...]
    left_out: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str], ...]
    rankings: tuple[tuple[str, Ranking | str], ...]
    level: float
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of ``slaw downstream --json``."""
        plain: dict[str, Any] = finite_json(
            {
                "level": self.level,
                "notes": list(self.notes),
                "metrics": [_metric_json(one) for one in self.metrics],
                "left_out": [{"name": name, "why": why} for name, why in self.left_out],
                "failed": [{"name": name, "why": why} for name, why in self.failed],
                "rankings": [
                    {"metric": metric, **({"why_none": ranking} if isinstance(ranking, str)
                                          else dataclasses.asdict(ranking))}
                    for metric, ranking in self.rankings
                ],
            }
        )  # fmt: skip
        return plain


def answer(
    source: Path, metrics: Sequence[str], reading: Reading, question: Question
) -> DownstreamAnswer:
    """Answer for each metric. Raises ``ConfigError``, ``FitError`` where no metric has one."""
    if not source.exists():
        raise ConfigError(f"{source}: no such file or folder; expected a sweep or a table")
    if not metrics:
        there = ", ".join(metrics_of(source, reading)) or "none, so there is nothing to predict"
        raise ConfigError(f"{source}: name a metric with --metric; its runs have {there}")
    answers: list[MetricAnswer] = []
    left_out: dict[tuple[str, str], None] = {}
    failed: list[tuple[str, str]] = []
    rankings: list[tuple[str, Ranking | str]] = []
    notes = dict.fromkeys(unfinished_notes([source]))
    for metric in metrics:
        every = read_measured(source, dataclasses.replace(reading, metric=metric))
        left_out |= dict.fromkeys(pair for one in every for pair in one.left_out)
        notes |= dict.fromkeys(note for one in every for note in one.points.notes)
        recipes = [one for one in every if len(one) >= LEAST_RUNS]
        failed += [
            (
                f"{metric} {one.name}".strip(),
                f"{count_of(len(one), 'run')} with the metric; expected {LEAST_RUNS} or more",
            )
            for one in every
            if len(one) < LEAST_RUNS
        ]
        for one in recipes:
            ways = TwoStep(one, question.law, question.ceiling, question.level)
            try:
                _check_values(one, metric, question.ceiling)
                ways.fit()
                predicted = ways.predict(question.target) if question.target else None
                answers.append(
                    MetricAnswer(
                        metric=metric,
                        measured=one,
                        ways=ways,
                        predicted=predicted,
                        check=ways.check(),
                    )
                )
            except FitError as problem:
                failed.append((f"{metric} {one.name}".strip(), str(problem)))
        if reading.by:
            try:
                rankings.append((metric, rank(recipes, level=question.level)))
            except FitError as problem:
                rankings.append((metric, str(problem)))
    if not answers and not any(not isinstance(one, str) for _, one in rankings):
        lines = [f"{name}: {why}" for name, why in failed]
        raise FitError(*(lines or [f"{source}: no run has {', '.join(metrics)}"]))
    return DownstreamAnswer(
        metrics=tuple(answers),
        left_out=tuple(left_out),
        failed=tuple(failed),
        rankings=tuple(rankings),
        level=question.level,
        notes=tuple(notes),
    )


def _check_values(measured: Measured, metric: str, ceiling: float | None) -> None:
    """Raises ``ConfigError`` for values that no sigmoid from floor to ceiling has.

    Raises ``FitError`` where all runs have one value.
    """
    low, high = float(measured.values.min()), float(measured.values.max())
    if low == high:
        raise FitError(
            f"all {len(measured)} runs have {low:g}; a metric that does not change says nothing of"
            " larger models: add larger runs, or name another metric"
        )
    top = 1.0 if ceiling is None else ceiling
    if not measured.floor < top:
        raise ConfigError(f"{metric}: a floor of {measured.floor:g} and a ceiling of {top:g}")
    span = top - measured.floor
    if high > top + 1e-9 or low < measured.floor - span:
        raise ConfigError(
            f"{metric}: values from {low:g} to {high:g}, and a floor of {measured.floor:g} and a"
            f" ceiling of {top:g}; state others with --floor and --ceiling"
        )


def _metric_json(one: MetricAnswer) -> dict[str, Any]:
    fit = one.ways.of_loss
    return {
        "metric": one.metric,
        "recipe": one.measured.name,
        "runs": len(one.measured),
        "loss": one.measured.loss_name,
        "law": one.ways.laws[0].law.name,
        "floor": fit.sigmoid.floor,
        "ceiling": fit.sigmoid.ceiling,
        "of_loss": {"weights": list(fit.sigmoid.weights), "scatter": fit.scatter},
        "of_params_and_tokens": {
            "weights": list(one.ways.of_size.sigmoid.weights),
            "scatter": one.ways.of_size.scatter,
        },
        "predicted": None if one.predicted is None else {
            "params": one.predicted.loss.params,
            "tokens": one.predicted.loss.tokens,
            "loss": one.predicted.loss.loss_nats,
            "loss_low": one.predicted.loss.low_nats,
            "loss_high": one.predicted.loss.high_nats,
            "two_steps": dataclasses.asdict(one.predicted.two_steps),
            "one_step": dataclasses.asdict(one.predicted.one_step),
        },
        "check": {"why_none": one.check} if isinstance(one.check, str)
        else dataclasses.asdict(one.check),
    }  # fmt: skip


def format_downstream(answer: DownstreamAnswer) -> str:
    """The answer as lines."""
    blocks = [_metric_text(one, answer.level) for one in answer.metrics]
    blocks += [_ranking_text(metric, one) for metric, one in answer.rankings]
    if answer.notes:
        blocks.append([f"note: {note}" for note in answer.notes])
    if answer.left_out:
        lines = [f"    {name}: {why}" for name, why in answer.left_out[:_MOST]]
        if len(answer.left_out) > _MOST:
            lines.append(f"    and {len(answer.left_out) - _MOST} more; --json lists all")
        blocks.append([f"left out: {count_of(len(answer.left_out), 'run')}", *lines])
    if answer.failed:
        blocks.append(["no answer:", *(f"    {name}: {why}" for name, why in answer.failed)])
    return "\n\n".join("\n".join(block) for block in blocks)


def _metric_text(one: MetricAnswer, level: float) -> list[str]:
    measured, sigmoid = one.measured, one.ways.of_loss.sigmoid
    name = f"{one.metric}, {measured.name}" if measured.name else one.metric
    fitted = "fitted" if one.ways.ceiling is None else "stated"
    lines = [
        f"{name}: {count_of(len(measured), 'run')} of"
        f" {count_of(measured.points.n_clusters, 'trunk')}",
        f"floor {sigmoid.floor:g} ({measured.floor_from}), ceiling {sigmoid.ceiling:.4g}"
        f" ({fitted})",
        f"by way of the loss ({measured.loss_name}), law {one.ways.laws[0].law.name}:"
        f" runs scatter by {one.ways.of_loss.scatter:.4f} around the sigmoid",
    ]
    if one.predicted is not None:
        loss = one.predicted.loss
        assert loss.params is not None and loss.tokens is not None
        lines.append(
            f"at {format_count(loss.params)} params and {format_count(loss.tokens)} tokens, with"
            f" {level:.0%} intervals of a new run:"
        )
        span = "" if loss.low_nats is None else f" [{loss.low_nats:.4g}, {loss.high_nats:.4g}]"
        lines += text_columns.left(
            [
                ("loss", f"{loss.loss_nats:.4g}{span}"),
                ("two steps, by the loss", _words(one.predicted.two_steps)),
                ("one step, by params and tokens", _words(one.predicted.one_step)),
            ],
            "    ",
        )
        lines += [f"    {warning}" for warning in loss.warnings]
    check = one.check
    if isinstance(check, str):
        lines.append(check)
    else:
        lines.append(
            f"the largest size ({check.size}, {count_of(check.runs, 'run')}) from all smaller ones:"
            f" two steps are off by {check.two_steps:.4f}, {check.two_steps_inside:.0%} inside; one"
            f" step by {check.one_step:.4f}, {check.one_step_inside:.0%} inside"
        )
        ways = (("two steps", check.two_steps_inside), ("one step", check.one_step_inside))
        narrow = [way for way, inside in ways if inside < level - _MISSED]
        if narrow:
            lines.append(
                f"do not rely on the interval of {' or of '.join(narrow)}: it is too narrow"
            )
    return lines


def _words(one: Interval) -> str:
    return f"{one.value:.4f} [{one.low:.4f}, {one.high:.4f}]"


def _ranking_text(metric: str, ranking: Ranking | str) -> list[str]:
    if isinstance(ranking, str):
        return [f"{metric}: recipes are not ranked: {ranking}"]
    rows = [("size", "tokens", "compute", "by the metric", "by the loss")]
    rows += [
        (
            one.size,
            format_count(one.tokens),
            f"{one.compute_share:.2%}",
            _decided(one.by_metric),
            _decided(one.by_loss),
        )
        for one in ranking.decisions
    ]
    order = "the best first"
    if ranking.lower_is_better:
        order = "the lowest first: the metric falls with the loss"
    return [
        f"{metric}: recipes at the largest size ({ranking.size}, {format_count(ranking.tokens)}"
        f" tokens), {order}",
        *text_columns.left([(name, f"{value:.4f}") for name, value in ranking.recipes], "    "),
        "decision accuracy: the share of pairs that smaller runs put in that order (.5 is"
        f" guessing), with {ranking.level:.0%} intervals over recipes; compute is a share of the"
        " largest size's",
        *text_columns.left(rows, "    "),
        *(f"    {size} does not compare: {why}" for size, why in ranking.left_out),
    ]


def _decided(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.2f} [{value[1]:.2f}, {value[2]:.2f}]"
