"""Registered forecasts and their scores, for a terminal and as the cells of a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from scaling_law import text_columns
from scaling_law.errors import listed
from scaling_law.files.record import short_unit
from scaling_law.fit.prediction_text import interval_decimals
from scaling_law.forecast.register import Registration
from scaling_law.forecast.registered import RegisteredForecast, RegisteredTarget
from scaling_law.forecast.score import ForecastScore, Score, ScoredRun, Tally
from scaling_law.units import count_of, format_count, outward_range

SCORE_WORDS = (
    "log score: log density that the forecast gave to the measured log loss; higher is better, and"
    " 0.7 more is twice the density"
)


def target_words(target: RegisteredTarget) -> str:
    """``10M params, 200M tokens``."""
    words = f"{format_count(target.params)} params, {format_count(target.tokens)} tokens"
    if target.tokens_unique is not None and target.tokens > 1.01 * target.tokens_unique:
        words += f" ({target.tokens / target.tokens_unique:.3g} epochs)"
    return words


def loss_cells(target: RegisteredTarget) -> tuple[str, str]:
    """The loss and its interval, in the digits that the interval supports."""
    if target.refused:  # so far beyond the data only the range may be quoted
        return "-", " to ".join(outward_range(target.low, target.high))
    decimals = interval_decimals(target.low, target.high)
    return f"{target.loss:.{decimals}f}", f"{target.low:.{decimals}f} to {target.high:.{decimals}f}"


def run_cells(run: ScoredRun) -> tuple[str, str, str, str]:
    """The measured loss, its distance from the forecast, whether inside, and the log score."""
    score = run.log_score
    return (
        f"{run.loss:.4f}",
        percent(run.log_error),
        "inside" if run.inside else "above" if run.loss > run.target.high else "below",
        "-" if score is None else f"{score:.2f}",
    )


def percent(log_change: float) -> str:
    """A difference of logarithms as a share: ``+0.35%``."""
    return f"{100 * math.expm1(log_change):+.2f}%"


def tally_words(one: Tally) -> str:
    """The scores of several runs in a sentence."""
    score = "" if one.log_score is None else f"; log score {one.log_score:.2f} a run"
    return (
        f"measured losses {percent(one.bias_log)} from the forecasts on average"
        f" (rms {100 * one.rms_log:.2f}%); {one.inside} of {one.runs} inside the interval"
        f" ({one.expected:.3g} expected), {one.inside_half} of {one.runs} between the quartiles"
        f" ({one.runs / 2:.3g} expected){score}"
    )


def format_registration(registration: Registration) -> str:
    """What was registered, where, and what to do next."""
    forecast = registration.forecast
    lines = [
        f"registered {forecast.name}: {count_of(len(forecast.targets), 'target')},"
        f" {forecast.registered_at}, in {registration.path}",
        f"{forecast.origin}; data digest {forecast.data_digest}"
        f" ({count_of(len(forecast.runs), 'run')}), code {_code(forecast)}",
        f"seal {forecast.seal}: note it elsewhere, to show later that the file is the same",
        "",
        *_target_lines(forecast),
    ]
    reasons: dict[str, list[str]] = {}
    for run, why in registration.left_out:
        reasons.setdefault(why, []).append(run)
    for why, runs in reasons.items():
        lines.append(f"left out: {count_of(len(runs), 'planned run')} ({listed(runs, 2)}): {why}")
    farthest = max(forecast.targets, key=lambda target: target.flops_factor or 0.0)
    if farthest.warnings:
        lines.append(f"of {target_words(farthest)}, the farthest (those of all are in the file):")
    lines += [f"warning: {words}" for words in farthest.warnings]
    source = forecast.source
    lines.append(f"next, with the runs done: slaw forecast --score --results {source}")
    return "\n".join(lines)


def _code(forecast: RegisteredForecast) -> str:
    commit = forecast.code["git_commit"]
    head, plus, changed = commit.partition("+")
    return f"slaw {forecast.code['slaw']}, {head[:12] if len(head) == 40 else head}{plus}{changed}"


def _target_lines(forecast: RegisteredForecast) -> list[str]:
    head = (
        "target",
        "FLOPs / largest",
        f"loss ({short_unit(forecast.unit)})",
        f"{100 * forecast.level:g}% interval",
    )
    rows = [
        (
            target_words(target),
            "-" if target.flops_factor is None else f"{target.flops_factor:.3g}x",
            *loss_cells(target),
        )
        for target in forecast.targets
    ]
    return text_columns.left([head, *rows])


def format_registered(folder: Path, forecasts: Sequence[RegisteredForecast]) -> str:
    """Every registered forecast with its targets."""
    lines = [f"{count_of(len(forecasts), 'registered forecast')} in {folder}"]
    for forecast in forecasts:
        lines += [
            "",
            f"{forecast.name}: registered {forecast.registered_at}, by {_code(forecast)}",
            forecast.origin,
            f"data digest {forecast.data_digest}, seal {forecast.seal}",
            *_target_lines(forecast),
        ]
    return "\n".join(lines)


def format_score(score: Score) -> str:
    """Every scored run, then each forecast's scores and those of all."""
    scored = [one for one in score.forecasts if one.scored]
    units = {one.forecast.unit for one in scored}
    unit = f" ({short_unit(units.pop())})" if len(units) == 1 else ""
    head = (
        "forecast", "target", f"loss{unit}", "interval", "measured", "off", "", "log score", "run",
    )  # fmt: skip
    rows = [
        (
            one.forecast.name,
            target_words(run.target),
            *loss_cells(run.target),
            *run_cells(run),
            run.run_id,
        )
        for one in scored
        for run in one.scored
    ]
    lines = [*text_columns.left([head, *rows]), ""]
    for one in score.forecasts:
        lines += _forecast_lines(one)
    if score.tally is not None and len(scored) > 1:
        lines.append(f"all, {_runs(score.tally)}: {tally_words(score.tally)}")
    if score.unmatched:
        lines.append(
            f"{count_of(len(score.unmatched), 'later run')} at no registered target:"
            f" {listed(score.unmatched)}"
        )
    lines.append(f"({SCORE_WORDS})")
    return "\n".join(lines)


def _runs(one: Tally) -> str:
    return count_of(one.runs, "run")


def _forecast_lines(one: ForecastScore) -> list[str]:
    name = one.forecast.name
    if one.refused:
        return [f"{name}: not scored: {one.refused}"]
    own = one.tally
    lines = [] if own is None else [f"{name}, {_runs(own)}: {tally_words(own)}"]
    if one.open:
        places = listed([target_words(target) for target in one.open])
        lines.append(f"{name}, open: {count_of(len(one.open), 'target')} without a run ({places})")
    lines += [f"{name}, left out: {run}: {why}" for run, why in one.left_out]
    return lines + [f"warning: {name}: {words}" for words in one.warnings]
