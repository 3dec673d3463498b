"""A prediction as text and as JSON: the answer first, in the digits that its interval supports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scaling_law import text_columns
from scaling_law.files.record import unit_in_full
from scaling_law.fit.flops_count import COUNTED_BY_SOURCE
from scaling_law.fit.points.stated import params_words
from scaling_law.fit.prediction_text import (
    cause_words,
    distance_text,
    loss_text,
    loss_unit,
    loss_words,
    own_loss_lines,
    target_text,
    warning_lines,
)
from scaling_law.fit.result import FitResult, Prediction, finite_json, status_words
from scaling_law.forecast.extrapolate import counted_as
from scaling_law.forecast.published import COMPARISON_CAVEAT, WHY_OUTSIDE
from scaling_law.units import NOT_DETERMINED, count_of, count_range, format_count


def prediction_json(prediction: Prediction, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One strict JSON document: every field of the prediction, and the comparison's ``rows``.

    ``figures_refused`` names the fields whose figures the text does not give, but their ranges.
    """
    fields: dict[str, Any] = finite_json(prediction)
    refused = list(prediction.figures_refused)
    return {
        **fields,
        "figures_refused": refused,
        "comparison": finite_json(list(rows)),
        "caveat": COMPARISON_CAVEAT,
    }


def format_prediction(
    prediction: Prediction,
    fit: FitResult,
    rows: Sequence[dict[str, Any]],
    decision: Sequence[str] = (),
    *,
    origin: str = "",
) -> str:
    """The forecast for a terminal, the answer first; ``origin`` says what it rests on.

    Where no figure may be quoted the answer is why, and the range comes after it.
    """
    loss = f"{loss_text(prediction)} at {target_text(prediction)}"
    first = [prediction.refused, loss, origin] if prediction.refused else [origin, loss]
    lines = [line for line in first if line]
    if prediction.beyond_data:
        lines.append(distance_text(prediction))
    lines += ["", *_optimum_lines(prediction), *decision]
    if prediction.variance_shares:
        lines += own_loss_lines(prediction)
        lines.append(cause_words(prediction))
    elif prediction.interval_parts:
        causes = ", ".join(
            f"{name.replace('_', ' ')} {_percent(-low)} {_percent(high)}"
            for name, (low, high) in prediction.interval_parts.items()
        )
        lines.append(f"the interval's parts, in loss, joined in quadrature of logs: {causes}")
    lines.append(_law_line(prediction, fit))
    lines.append(_convention_text(prediction, fit))
    if rows:
        shown = shown_comparison(prediction, rows)
        lines += ["", *text_columns.left([shown.of(_HEAD), *map(shown.of, shown.rows)])]
        lines += [f"note: {note}" for note in shown.notes]
        if prediction.tokens_unique is not None:
            lines.append("note: repeats count under every law as Muennighoff 2023 has them")
        lines.append(f"note: {COMPARISON_CAVEAT}")
    if fit.n_points == 0:
        lines += [f"note: {note}" for note in fit.notes]
    return "\n".join([*lines, *warning_lines(prediction.warnings)])


def _percent(log_change: float) -> str:
    change = 100 * math.expm1(min(log_change, 20.0))
    return f"{change:+.1f}%" if abs(change) < 10 else f"{change:+.0f}%"


def _optimum_lines(prediction: Prediction) -> list[str]:
    """The law's compute-optimal figures; far beyond the data only their intervals."""
    lines = []
    if prediction.flops_interval is not None:
        lines.append(f"compute for this loss: {count_range(*prediction.flops_interval, 'FLOPs')}")
    plain = "with nothing repeated, " if prediction.tokens_unique is not None else ""
    if prediction.is_best_split and not plain:
        lines.append(_best_split_line(prediction))
    else:
        lines += [plain + line for line in _split_lines(prediction)]
    if prediction.params_exponent is not None:
        words = f"{prediction.params_exponent:.2f}"
        if prediction.params_exponent_interval:
            low, high = prediction.params_exponent_interval
            words += f" [{low:.2f}, {high:.2f}]"
        # over worlds even one law's exponent is another than that of its best parameters
        near = " of the forecast" if prediction.variance_shares else ""
        near += f" near {format_count(prediction.flops)} FLOPs" if prediction.flops else ""
        lines.append(
            f"params ~ compute^a{near}: a = {words} (Kaplan 2020: .73, Chinchilla 2022: .50)"
        )
    return lines


def _best_split_line(prediction: Prediction) -> str:
    words = "this is the best split of these FLOPs"
    if prediction.refused:
        words = "this is the middle of the best splits of these FLOPs (their range: see below)"
    size, interval = prediction.params, prediction.tokens_for_params_interval
    if size is not None and interval:
        words += (
            f"; interval of the tokens best for {format_count(size)} params: {_range(interval)}"
        )
    if prediction.tokens is not None:  # chosen here: the interval leaves out their uncertainty
        whose = "the loss is" if prediction.low_nats is None else "the loss and its interval are"
        words += f"; {whose} for exactly {format_count(prediction.tokens)} tokens"
    return words


def _split_lines(prediction: Prediction) -> list[str]:
    lines = []
    if prediction.params is not None and prediction.tokens_for_params is not None:
        words = best_words(prediction, "tokens_for_params")
        words += "" if words == NOT_DETERMINED else " tokens"
        interval = prediction.tokens_for_params_interval
        if interval and not prediction.refused:
            words += f" (interval {_range(interval)})"
        lines.append(f"compute-optimal for {format_count(prediction.params)} params: {words}")
    if prediction.params_optimal and prediction.tokens_optimal and prediction.flops:
        size, tokens = (best_words(prediction, f"{x}_optimal") for x in ("params", "tokens"))
        words = f"{size} params on {tokens} tokens"
        if size == tokens == NOT_DETERMINED:
            words = NOT_DETERMINED
        ends = prediction.params_optimal_interval, prediction.tokens_optimal_interval
        if ends[0] and ends[1] and not prediction.refused:
            both = dict.fromkeys((_range(ends[0]), _range(ends[1])))
            words += f" (interval {', '.join(both)})"
        lines.append(f"best split of {format_count(prediction.flops)} FLOPs: {words}")
    return lines


def _range(ends: tuple[float, float]) -> str:
    return count_range(*ends)


def best_words(prediction: Prediction, name: str) -> str:
    """``tokens_for_params``, ``params_optimal`` or ``tokens_optimal`` in words.

    As a figure, or where a fitted law's forecast is refused as the interval.
    """
    value, interval = getattr(prediction, name), getattr(prediction, f"{name}_interval")
    if value is None:
        return "-"
    if prediction.figures_refused:
        return _range(interval) if interval else "unknown"
    return format_count(value)


def _law_line(prediction: Prediction, fit: FitResult) -> str:
    """Where the law comes from, or the laws."""
    if prediction.over_laws:
        return f"{_origin(fit)}; slaw fit shows the parameters of one law, {prediction.law}"
    if prediction.form in ("", prediction.law):
        return f"law: {prediction.law}, {_origin(fit)}"
    return f"law: {prediction.law} (of the form {prediction.form}), {_origin(fit)}"


def _origin(fit: FitResult) -> str:
    if fit.n_points == 0:
        return fit.source
    trunks = count_of(fit.n_clusters, "trunk")
    return f"fitted to {count_of(fit.n_points, 'point')} from {trunks} ({status_words(fit.status)})"


def _convention_text(prediction: Prediction, fit: FitResult) -> str:
    counted = params_words(prediction.convention).replace("_", "-")
    text = f"conventions: params {counted}; FLOPs 6 x params x tokens"
    if how := COUNTED_BY_SOURCE.get(prediction.convention.get("flops", "")):
        factor = counted_as(fit).factor(prediction.params) if prediction.params else None
        text = f"conventions: params {counted}; FLOPs {how}"
        text += f", {factor:.3g} times 6 x params x tokens at this size" if factor else ""
    if fit.convention.get("flops") == "exact":
        text += " (the fit's own are exact: attention and"
        text += " what the parameter count leaves out make little difference at scale)"
    return f"{text}; loss in {unit_in_full(loss_unit(prediction))}"


def comparison_cells(
    prediction: Prediction, rows: Sequence[dict[str, Any]], dash: str = "-"
) -> list[tuple[str, ...]]:
    """The comparison in words, a row a law, the forecast's own first.

    Its cells are law, loss, tokens best for the size, best split (params, tokens), a, and the
    params counted; ``dash`` stands for no figure.
    """
    names = ("tokens_for_params", "params_optimal", "tokens_optimal")
    body = []
    for i, row in enumerate(rows):
        if i == 0:
            loss = loss_words(prediction)[0].removeprefix("about ")
            counts = [best_words(prediction, name) for name in names]
        else:
            known = row["loss_nats"] is not None and not row["outside"]
            loss = f"{row['loss_nats']:.2f}" if known else dash
            # a model has at least one parameter and one token
            counts = [format_count(row[name]) if row[name] >= 1 else dash for name in names]
        exponent = row["params_exponent"]
        body.append(
            (
                row["law"],
                loss,
                *(dash if words == "-" else words for words in counts),
                dash if exponent is None else f"{exponent:.2f}",
                (row["params_counted"] or dash).replace("_", "-"),
            )
        )
    return body


_HEAD = (
    "law", "loss", "tokens best for size", "best split: params", "tokens", "a", "params counted",
)  # fmt: skip
_LOSS, _FIGURES = 1, (1, 2, 3, 4)  # columns


@dataclass(frozen=True, kw_only=True)
class ShownComparison:
    """The comparison without what is empty.

    ``rows`` are all cells of the laws that have a figure, as ``comparison_cells`` orders them;
    ``columns`` are the numbers of the cells in which some published law has one;
    ``notes`` say why a loss is missing, and count the laws that are left out.
    """

    rows: tuple[tuple[str, ...], ...]
    columns: tuple[int, ...]
    notes: tuple[str, ...]

    def of(self, cells: Sequence[str]) -> tuple[str, ...]:
        """The cells of a row, or of the head, that are shown."""
        return tuple(cells[number] for number in self.columns)


def shown_comparison(
    prediction: Prediction, rows: Sequence[dict[str, Any]], dash: str = "-"
) -> ShownComparison:
    """The comparison as tables show it: laws and columns without any figure are left out."""
    own, *others = comparison_cells(prediction, rows, dash)
    known = [row for row in others if any(row[number] != dash for number in _FIGURES)]
    empty = {n for n in _FIGURES if known and all(row[n] == dash for row in known)}
    notes = []
    if any(row["outside"] for row in rows):
        what = "no published law has a loss to compare" if _LOSS in empty else f"loss {dash}"
        notes.append(f"{what}: {WHY_OUTSIDE}")
    if left := [row[0] for row in others if row not in known]:
        notes.append(
            f"left out: {count_of(len(left), 'law')} without a figure here, {', '.join(left)}"
        )
    return ShownComparison(
        rows=(own, *known),
        columns=tuple(n for n in range(len(own)) if n not in empty),
        notes=tuple(notes),
    )
