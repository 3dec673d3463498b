"""A prediction as text and as JSON: the answer first, no digit that its interval does not bear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scaling_law import columns
from scaling_law.fit.published import COMPARISON_CAVEAT
from scaling_law.outcome import FitResult, Prediction, finite_json
from scaling_law.units import format_count, outward_range, rounded_count


def prediction_json(prediction: Prediction, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One strict JSON document: every field of the prediction, and the comparison's ``rows``."""
    fields: dict[str, Any] = finite_json(prediction)
    return {**fields, "comparison": finite_json(list(rows)), "caveat": COMPARISON_CAVEAT}


def format_prediction(
    prediction: Prediction,
    fit: FitResult,
    rows: Sequence[dict[str, Any]],
    decision: Sequence[str] = (),
) -> str:
    """The forecast for a terminal: the answer first, no digit that the interval does not bear."""
    lines = [f"{_loss_text(prediction)} at {_target_text(prediction)}"]
    if prediction.refused:
        lines.append(prediction.refused)
    if prediction.beyond_data:
        lines.append(_distance_text(prediction))
    lines += ["", *_optimum_lines(prediction), *decision]
    if prediction.interval_parts:
        causes = ", ".join(
            f"{name.replace('_', ' ')} {_percent(-low)} {_percent(high)}"
            for name, (low, high) in prediction.interval_parts.items()
        )
        lines.append(f"the interval's parts, in loss, joined in quadrature of logs: {causes}")
    lines.append(f"law: {prediction.law}, {_origin(fit)}")
    lines.append(_convention_text(prediction, fit))
    if rows:
        digits = 1 if prediction.refused else 2
        lines += [
            "",
            *_table(rows, digits, loss_words(prediction)[0]),
            f"note: {COMPARISON_CAVEAT}",
        ]
    if fit.n_points == 0:
        lines += [f"note: {note}" for note in fit.notes]
    return "\n".join([*lines, *(f"warning: {words}" for words in prediction.warnings)])


def _distance_text(prediction: Prediction) -> str:
    words = []
    for name, ratio in prediction.beyond_data.items():
        below = prediction.below_data.get(name, 0.0)
        if ratio > 1:
            words.append(f"{name} {math.log10(ratio):.1f}")
        elif below > 1:
            words.append(f"{name} {math.log10(below):.1f} below the smallest")
        else:
            words.append(f"{name} within")
    return f"orders of magnitude beyond the largest fitted: {', '.join(words)}"


def _percent(log_change: float) -> str:
    change = 100 * math.expm1(min(log_change, 20.0))
    return f"{change:+.1f}%" if abs(change) < 10 else f"{change:+.0f}%"


def loss_words(prediction: Prediction) -> tuple[str, str]:
    """The loss in nats per token and its interval, in no digit that the interval does not bear.

    Refused far beyond the data: only the range, rounded outwards. Without an interval the
    second text says so.
    """
    low, high = prediction.low_nats, prediction.high_nats
    if low is None or high is None or prediction.level is None:
        return f"about {prediction.loss_nats:.{2 if prediction.refused else 3}f}", "no interval"
    level = f"{100 * prediction.level:g}% interval"
    if max(prediction.interval_parts.get("laws", (0.0, 0.0))) > 0:
        level += " stretched over the laws"
    if prediction.refused:
        return " to ".join(outward_range(low, high)), level
    decimals = min(max(math.ceil(-math.log10((high - low) / 2)), 1), 3) if high > low else 3
    ends = f"{low:.{decimals}f} to {high:.{decimals}f}"
    return f"{prediction.loss_nats:.{decimals}f}", f"{level} {ends}"


def _loss_text(prediction: Prediction) -> str:
    figure, interval = loss_words(prediction)
    lead = "loss somewhere in" if prediction.refused and " to " in figure else "loss"
    return f"{lead} {figure} nats per token ({interval})"


def _target_text(prediction: Prediction) -> str:
    parts = (
        (prediction.params, "params"),
        (prediction.tokens, "tokens"),
        (prediction.flops, "FLOPs"),
    )
    return ", ".join(f"{format_count(value)} {name}" for value, name in parts if value is not None)


def _optimum_lines(prediction: Prediction) -> list[str]:
    """Compute-optimal tokens, with as many digits as their interval bears."""
    lines = []
    if prediction.flops_interval is not None:
        low, high = prediction.flops_interval
        ends = f"{rounded_count(low, 2)} to {'any' if high == math.inf else rounded_count(high, 2)}"
        lines.append(f"compute for this loss: {ends} FLOPs ({prediction.law} alone)")
    size, tokens = prediction.params, prediction.tokens_for_params
    if size is not None and tokens is not None:
        words = f"about {rounded_count(tokens, 1 if prediction.refused else 2)}"
        if prediction.tokens_for_params_interval:
            low, high = prediction.tokens_for_params_interval
            words += f", interval {rounded_count(low, 2)} to {rounded_count(high, 2)}"
        lines.append(f"compute-optimal tokens for {format_count(size)} params: {words}")
    if prediction.params_optimal and prediction.tokens_optimal and prediction.flops:
        digits = 1 if prediction.refused else 2
        lines.append(
            f"best split of {format_count(prediction.flops)} FLOPs: about"
            f" {rounded_count(prediction.params_optimal, digits)} params on"
            f" {rounded_count(prediction.tokens_optimal, digits)} tokens"
        )
    if prediction.params_exponent is not None:
        words = f"{prediction.params_exponent:.2f}"
        if prediction.params_exponent_interval:
            low, high = prediction.params_exponent_interval
            words += f" [{low:.2f}, {high:.2f}]"
        lines.append(f"params ~ compute^a: a = {words} (Kaplan 2020: .73, Chinchilla 2022: .50)")
    return lines


def _origin(fit: FitResult) -> str:
    if fit.n_points == 0:
        return fit.source
    return f"fitted to {fit.n_points} points from {fit.n_clusters} trunks ({fit.status})"


def _convention_text(prediction: Prediction, fit: FitResult) -> str:
    counted = prediction.convention.get("params", "").replace("_", "-")
    text = f"conventions: params {counted}; FLOPs 6 x params x tokens"
    if fit.convention.get("flops") == "exact":
        text += " (the fit's own are exact: attention and"
        text += " what the parameter count leaves out make little difference at scale)"
    return f"{text}; loss in nats per token, natural logarithm"


def _table(rows: Sequence[dict[str, Any]], digits: int, figure: str) -> list[str]:
    """The comparison; the forecast's own row: ``figure`` is its loss, ``digits`` of counts."""
    head = (
        "law",
        "loss",
        "tokens best for size",
        "best split: params",
        "tokens",
        "a",
        "params counted",
    )
    body = []
    for row in rows:
        mine = row["low_nats"] is not None
        other = "-" if row["loss_nats"] is None else f"{row['loss_nats']:.2f}"
        loss = figure if mine else other
        counts = [row[name] for name in ("tokens_for_params", "params_optimal", "tokens_optimal")]
        exponent = row["params_exponent"]
        body.append(
            (
                row["law"],
                loss,
                *("-" if x is None else rounded_count(x, digits if mine else 2) for x in counts),
                "-" if exponent is None else f"{exponent:.2f}",
                (row["params_counted"] or "-").replace("_", "-"),
            )
        )
    return columns.left([head, *body])
