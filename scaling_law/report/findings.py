"""State a sweep's findings: the forecast, its law, and how far either can be trusted."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from scaling_law.files.record import NATS, short_unit, unit_in_full
from scaling_law.fit.checks.select_law import CLEARLY_BETTER
from scaling_law.fit.points.points import counted_params
from scaling_law.fit.points.stated import params_words
from scaling_law.fit.prediction_text import cause_words, law_words, loss_words
from scaling_law.fit.result import (
    FitResult,
    Prediction,
    exponent_words,
    interval_words,
)
from scaling_law.forecast.published import COMPARISON_CAVEAT
from scaling_law.forecast.text import shown_comparison
from scaling_law.report.evidence import Fitted, LawEvidence
from scaling_law.report.page import (
    Section,
    bullets,
    card,
    listing,
    note,
    paragraph,
    percent,
    sentence,
    signed_percent,
    table,
    text,
)
from scaling_law.report.style import power_of_ten
from scaling_law.units import (
    NOT_DETERMINED,
    count_of,
    format_count,
    is_determined,
    rounded_count,
    weight_words,
)

_COUNTED = {
    "total": "total (every one)",
    "non_embedding": "non-embedding (blocks and final norm)",
    "matmul": "matmul (blocks and head: every matrix that multiplies activations)",
}
_HEADS = {"kaplan_n": "Kaplan, size", "kaplan_d": "Kaplan, tokens", "kaplan_c": "Kaplan, compute"}


def answer(evidence: LawEvidence) -> Section:
    """The forecast, the compute-optimal shape and the verdict, before anything else."""
    fitted = evidence.fitted
    if fitted is None:
        body = note(f"No law could be fitted: {evidence.why_no_fit}")
        body += paragraph("What is known of the runs is below.")
        return Section(anchor="answer", heading="The answer", body=body)
    cards = [
        _forecast_card(fitted, evidence.target_params),
        _shape_card(fitted, evidence.target_params),
        _trust_card(fitted),
    ]
    refused = "" if fitted.forecast is None else fitted.forecast.prediction.refused
    body = note(sentence(refused)) if refused else ""
    body += f'<div class="cards">{"".join(cards)}</div>\n'
    if fitted.forecast is None:
        return Section(anchor="answer", heading="The answer", body=body)
    prediction = fitted.forecast.prediction
    body += "<h3>Why the interval is this wide</h3>\n"
    whys = [law_words(prediction)] if prediction.over_laws else []
    whys += [cause_words(prediction)] if prediction.variance_shares else []
    body += bullets([sentence(words) for words in (*whys, *prediction.warnings)])
    body += _comparison(prediction, fitted.forecast.rows, fitted.points.loss_unit)
    body += "<details><summary>As slaw extrapolate prints it</summary>"
    body += listing(fitted.forecast.text) + "</details>\n"
    return Section(anchor="answer", heading="The answer", body=body)


def _forecast_card(fitted: Fitted, target_params: float) -> str:
    counted = counted_params(fitted.points.convention["params"])
    heading = f"Loss of a model of {format_count(target_params)} {counted}"
    if fitted.forecast is None:
        return card(heading, "no forecast", [sentence(fitted.why_no_forecast)])
    prediction = fitted.forecast.prediction
    words = [f"At its compute-optimal tokens, about {_tokens_words(prediction)}."]
    figure, interval = loss_words(prediction)
    return card(
        heading, f"{figure} {short_unit(fitted.points.loss_unit)}", [sentence(interval), *words]
    )


def _tokens_words(prediction: Prediction) -> str:
    tokens = prediction.tokens_for_params or prediction.tokens or math.nan
    words = _amount(tokens, 3)  # as the target is given below
    if prediction.tokens_for_params_interval:
        low, high = prediction.tokens_for_params_interval
        known = is_determined(low, high)
        words += f" ({_amount(low, 2)} to {_amount(high, 2)})" if known else f" ({NOT_DETERMINED})"
    return words


def _amount(value: float, digits: int) -> str:
    """A count in words; powers of ten where the suffixes end."""
    words = rounded_count(value, digits)
    return power_of_ten(value) if "e" in words else words


def _shape_card(fitted: Fitted, target_params: float) -> str:
    heading = "Compute-optimal shape"
    if fitted.exponent is None or fitted.outlook.split is None:
        usable = fitted.best.usable
        why = "The law has no compute-optimal split." if usable else "No law to split by."
        return card(heading, "not determined", [why])
    exponent, interval = fitted.exponent
    words = []
    if interval is not None:
        level = f"{100 * fitted.level:g}%"
        words.append(f"{level} interval of the exponent {interval[0]:.2f} to {interval[1]:.2f}.")
    words.append("The exponent is the forecast's, in the middle of the data.")
    words.append("Kaplan 2020 found 0.73, Chinchilla 2022 0.50.")
    middle = fitted.middle_flops
    params = fitted.outlook.split.params(middle)
    words.append(
        f"Within the data about {rounded_count(middle / 6 / params**2, 2)} tokens per parameter"
        f" (parameters: {fitted.points.convention['params'].replace('_', '-')})."
    )
    return card(heading, "size grows as compute", words, raised=f"{exponent:.2f}")


def _trust_card(fitted: Fitted) -> str:
    check = fitted.summary["validation"]
    reach = check["trust_flops_factor"]
    largest = fitted.points.data_range["flops"][1]
    big = "not beyond the data"
    if reach is not None:
        big = f"about {reach:g}× the largest run"
    words = [sentence(check["verdict"])]
    if reach is not None:
        words.append(f"That is up to {power_of_ten(largest * reach)} FLOPs.")
    return card("How far to trust it", big, words)


def _comparison(prediction: Prediction, rows: Sequence[dict[str, Any]], unit: str) -> str:
    if not rows:
        return ""
    shown = shown_comparison(prediction, rows, "–")
    loss = f"loss ({short_unit(unit)})"
    if unit != NATS:
        loss = f"loss (ours: {short_unit(unit)}; published: {short_unit(NATS)})"
    head = (
        "law", loss, "optimal tokens for this size", "best size for this compute",
        "best tokens for this compute", "exponent a", "parameters counted",
    )  # fmt: skip
    caption = f"Beside the published laws at the same target. {sentence(COMPARISON_CAVEAT)}"
    caption += "".join(f" {sentence(note)}" for note in shown.notes)
    words = (0, len(shown.columns) - 1)
    return table(caption, shown.of(head), [shown.of(row) for row in shown.rows], words)


def law(evidence: LawEvidence) -> Section | None:
    """The parameters of every law with their intervals, and what is counted."""
    fitted = evidence.fitted
    if fitted is None:
        return None
    best, convention = fitted.best, fitted.points.convention
    own = convention["params"]
    counted = params_words({**convention, "params": _COUNTED.get(own, own)})
    body = (
        _used(fitted)
        if best.usable
        else note(
            f"No joint law could be fitted; {best.law.name}: {best.status}."
            f" {sentence(best.message)}"
        )
    )
    body += paragraph(
        f"N: parameters, {counted}. D: tokens. FLOPs: {convention['flops']}. Loss:"
        f" {unit_in_full(fitted.points.loss_unit)}. Intervals at {100 * fitted.level:g}%"
        f"{': ' + best.interval_method if best.interval_method else ' are not available'}."
    )
    body += bullets(
        [sentence(words) for words in dict.fromkeys([*fitted.points.notes, *best.notes])]
    )
    body += _law_table(fitted) + _scores(fitted) + _conventions(fitted)
    return Section(anchor="law", heading="The law", body=body)


def _used(fitted: Fitted) -> str:
    """What forecasts rest on, how the law shown was chosen, and how well it fits."""
    best = fitted.best
    rollouts = max((score["n_rollouts"] for score in fitted.summary["scores"]), default=0)
    chosen = (
        "the first of the joint laws that converged: the runs do not allow all rollouts that would"
        " choose one"
    )
    if any(score["rollout_rms"] is not None for score in fitted.summary["scores"]):
        chosen = (
            "the first of the joint laws, in the order of their table, that none beats clearly "
            f"(by {100 * (1 - CLEARLY_BETTER):g}%) in {rollouts} "
            f"{'rollout' if rollouts == 1 else 'rollouts'}: fitted to the cheaper or smaller runs, "
            "asked to predict the more expensive or larger"
        )
    return (
        f"<p>{_forecast_words(fitted)} The law shown is the {text(best.law.name)} law, "
        f"{_formula(best.law.latex)}, {chosen}. Fitted to {best.n_points} annealed points from "
        f"{best.n_clusters} independent trunks; {best.n_starts_agreeing} of {best.n_starts} "
        f"starts agree; rms residual {percent(best.rms_log_residual)} of loss.</p>\n"
    )


def _forecast_words(fitted: Fitted) -> str:
    """What forecasts rest on, as a sentence."""
    weights = fitted.known.worlds.laws if fitted.known.worlds else {}
    if len(weights) < 2:
        return "Forecasts use one law."
    said = ", ".join(f"{text(name)} {weight_words(share)}" for name, share in weights.items())
    return f"Forecasts are over {count_of(len(weights), 'law')} by their weights: {said}."


def _formula(latex: str) -> str:
    """The few commands that the laws use, as HTML."""
    words = text(latex)
    for name, sign in (("alpha", "α"), ("beta", "β"), ("gamma", "γ"), ("infty", "∞")):
        words = words.replace(f"\\{name}", sign)
    words = re.sub(r"_(\w|∞)", r"<sub>\1</sub>", words)
    return re.sub(r"\^\{([^}]*)\}", r"<sup>\1</sup>", words.replace("-", "−"))


def _law_table(fitted: Fitted) -> str:
    rows = []
    for name, fit in fitted.known.laws.items():
        where = str(fitted.summary["laws"][name]["fitted_on"])
        words = [_parameter(fit, parameter) for parameter in fit.params]
        status = fit.status + (f": {fit.message}" if fit.message else "")
        rows.append((_HEADS.get(name, name), "\n".join(words) or "–", where, status))
    for name, why in fitted.known.unread.items():
        where = str(fitted.summary["laws"][name]["fitted_on"])
        rows.append((name, "–", where, f"not read: {why}"))
    return table(
        "Every law that was fitted, its parameters with their intervals; no bound: the data set "
        "none on that side, the law's own limit ended it (0 for an irreducible loss). Full "
        "precision is in fits/fit.json",
        ("law", "parameters", "fitted to", "status"), rows, 4,
    )  # fmt: skip


def _parameter(fit: FitResult, name: str) -> str:
    words = f"{name} = {fit.params[name]:.4g}"
    if name in fit.intervals:
        low, high = fit.intervals[name]
        words += f" {interval_words(low, high)}"
    return words


def _scores(fitted: Fitted) -> str:
    rows = []
    for score in fitted.summary["scores"]:
        used = fitted.best.usable and score["law"] == fitted.known.best_law
        name = score["law"] + (" (used)" if used else "")
        names = ("rollout_rms", "rms_log_residual", "held_out_rms", "held_out_worst")
        errors = [percent(score[name]) for name in names]
        rows.append((name, *errors, signed_percent(score["mean_residual"]), score["status"]))
    return table(
        "The joint laws, measured over predicted loss − 1: on rollouts, by which the law that "
        "is shown is chosen; on all points; and for the largest sizes predicted from the "
        "others",
        ("law", "rollouts, rms", "all points, rms", "largest sizes, rms",
         "largest sizes, worst", "largest sizes, mean", "status"),
        rows, (0, 6),
    )  # fmt: skip


def _conventions(fitted: Fitted) -> str:
    rows = []
    for row in fitted.summary["by_convention"]:
        interval = None if row["a_low"] is None else (row["a_low"], row["a_high"])
        values = [row[k] for k in ("E", "alpha", "beta")]
        shown = ["–" if value is None else f"{value:.3f}" for value in values]
        name = row["params"].replace("_", "-")
        rows.append((row["law"], _exponent(row["a"], interval), name, *shown, exponent_words(row)))
    counted = fitted.points.convention["params"].replace("_", "-")
    for name in ("isoflop", "envelope"):
        line, result = fitted.line(name), fitted.summary[name]
        if line is None:
            words = result["status"] + ": " + result["reason"]
            rows.append((name, "–", counted, "–", "–", "–", words))
            continue
        a = _exponent(line.exponent, line.interval)
        rows.append((name, a, counted, "–", "–", "–", result["status"]))
    return table(
        "The exponent a of size ~ compute^a depends on the law and on what counts as size",
        ("law or approach", "a", "parameters counted", "E", "α", "β", "status"),
        rows,
        (0, 2, 6),
    )


def _exponent(value: float | None, interval: tuple[float, float] | None) -> str:
    """With its interval, where it has one."""
    words = "–" if value is None else f"{value:.3f}"
    return words + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


def checks(evidence: LawEvidence) -> Section | None:
    """Held-out runs, rollouts, seed noise and order."""
    if evidence.fitted is None:
        return None
    validation = evidence.fitted.summary["validation"]
    body = paragraph(sentence(validation["verdict"])) + _folds(validation)
    noise = validation["seed_noise_log"]
    items = [] if noise is None else [
        f"Seed noise: {100 * noise:.2f}% of loss (one standard deviation, "
        f"{validation['seed_groups']} groups of repeats)."
    ]  # fmt: skip
    items.append(
        f"Loss rose where it should fall in {len(validation['rises'])} of"
        f" {validation['pairs_compared']} comparisons of neighbours."
    )
    items += [
        f"{rise['higher']} is {100 * math.expm1(rise['rise_log']):.2f}% above {rise['lower']} "
        f"(noise explains {100 * math.expm1(rise['allowed_log']):.2f}%)."
        for rise in validation["rises"]
    ]
    items += [
        sentence(words)
        for words in dict.fromkeys([*validation["reasons"].values(), *validation["notes"]])
    ]
    return Section(anchor="checks", heading="Checks", body=body + bullets(items))


def _folds(validation: dict[str, Any]) -> str:
    """The runs held out of a fit of the law, and how well it predicts them."""
    rows = []
    for kind, words in (
        ("leave_size_out", "left out"), ("rollout_params", "rollout"), ("rollout_flops", "rollout"),
    ):  # fmt: skip
        for fold in validation[kind]:
            why = fold["status"] + (f": {fold['reason']}" if fold["reason"] else "")
            factor = fold["factors"].get("flops")
            errors = [percent(fold[k]) for k in ("median_abs_error", "p90_abs_error")]
            rows.append(
                (
                    f"{words}: {fold['held_out']}",
                    fold["n_fitted"],
                    fold["n_held_out"],
                    "–" if factor is None else f"{factor:.2g}×",
                    *errors,
                    signed_percent(fold["mean_residual"]),
                    why,
                )
            )
    head = (
        "held out", "points fitted", "points predicted", "FLOPs beyond the fit",
        "median error", "90% within", "mean, signed", "status",
    )  # fmt: skip
    caption = (
        f"The {validation['law']} law fitted without some runs, which it then predicts: measured"
        " over predicted loss − 1"
    )
    return table(caption, head, rows, (0, 7)) if rows else ""
