"""The text of a suite for a terminal: every figure with its convention, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable

from scaling_law.errors import by_reason, listed
from scaling_law.files.record import unit_in_full
from scaling_law.fit.approaches.isoflop_curves import AKIMA, PARABOLA
from scaling_law.fit.approaches.parametric import MAX_CONDITION
from scaling_law.fit.checks.select_law import why_chosen
from scaling_law.fit.checks.text import plain_verdict
from scaling_law.fit.points.stated import params_words
from scaling_law.fit.result import (
    FIXED_EXPONENT,
    FitResult,
    exponent_words,
    interval_words,
    status_words,
)
from scaling_law.fit.suite import FitSuite
from scaling_law.units import count_of, format_count, weight_words

# Explains the last line of every law.
_LEGEND = (
    "    (starts agree: independent searches that ended at this optimum; rms residual: the typical"
    " miss;",
    "    condition: how far parameters trade off against each other: 1 not at all, above"
    f" {MAX_CONDITION:g} refused)",
)
_MOST_REASONS = 4  # lines of a screen
_MOST_NAMED = 3  # runs of one line; more are counted
_SCALES = frozenset(("A", "B", "N_c", "D_c", "C_c", "K"))


def format_suite(suite: FitSuite) -> str:
    """One page: the law and how far it may be trusted, then everything that was fitted."""
    return "\n".join(
        [
            *_head(suite),
            "",
            *_answer_lines(suite),
            "",
            *_score_lines(suite),
            "",
            *_allocation_lines(suite),
            "",
            *_other_lines(suite),
            *left_out_lines(suite.points.dropped),
        ]
    )


def format_brief(suite: FitSuite) -> str:
    """One screen: the law, what forecasts use, how far to trust them, and what was left out.

    Laws that the settings name are shown too.
    """
    best = suite.joint_law
    lines = [*_head(suite), ""]
    if best is None:
        lines.append("no joint law could be fitted:")
        reasons = by_reason(
            (name, f"{status_words(fit.status)}; {fit.message}")
            for name, fit in suite.laws.items()
            if not fit.params
        )
        lines += [f"    {', '.join(names)}: {why}" for why, names in reasons.items()]
    else:
        lines += [
            f"law {suite.best_law}, {why_chosen(best)}:",
            *(f"    {words}" for words in _params(best)),
            f"it misses its own points by {100 * best.rms_log_residual:.2f}% of loss (rms)"
            f"{_beside_noise(suite)}",
            _forecast_line(suite),
        ]
        lines += [f"note: {note}" for note in best.notes if note not in suite.notes]
    for name in suite.settings.laws:
        if name != suite.best_law:
            lines += ["", *_law(suite, name, suite.laws[name])]
    verdict = "no law, so no forecast"
    if best is not None:
        verdict = plain_verdict(suite.validation, suite.points)
    lines += ["", f"verdict: {verdict}", *_exponent_lines(suite)]
    others = [
        f"{score.law} {100 * score.rms_log_residual:.2f}%"
        for score in suite.scores
        if score.law != suite.best_law and math.isfinite(score.rms_log_residual)
    ]
    if others:
        lines.append(f"other joint laws, by their rms miss: {', '.join(others)}")
    return "\n".join([*lines, *_dropped_counts(suite)])


def _forecast_line(suite: FitSuite) -> str:
    """What forecasts rest on: several laws by their weights, or this one."""
    weights = suite.forecast_weights
    if len(weights) > 1:
        said = ", ".join(f"{name} {weight_words(share)}" for name, share in weights.items())
        others = "" if suite.best_law in weights else "other "
        return (
            f"{suite.best_law} describes these runs; forecasts are over {len(weights)} {others}laws"
            f" by their weights: {said}"
        )
    notes = suite.worlds.notes if suite.worlds else ()
    return f"forecasts: {'; '.join(notes) or 'this law alone'}"


def _beside_noise(suite: FitSuite) -> str:
    noise = suite.validation.seed_noise_log
    return "" if noise is None else f"; seeds of one run differ by {100 * noise:.2f}%"


def _exponent_lines(suite: FitSuite) -> list[str]:
    """The exponent of the compute-optimal size under the law."""
    count = suite.points.convention["params"]
    for row in suite.by_convention:
        if (row["law"], row["params"]) == (suite.best_law, count) and row["a"] is not None:
            words = f"{row['a']:.2f}"
            if row["a_low"] is not None:
                words += f" [{row['a_low']:.2f}, {row['a_high']:.2f}]"
            elif row.get("a_fixed"):
                words += f", {FIXED_EXPONENT}"
            return [
                f"compute-optimal size ~ compute^a under {suite.best_law}: a = {words}"
                " (Kaplan 2020: .73, Chinchilla 2022: .50)"
            ]
    return []


def _dropped_counts(suite: FitSuite) -> list[str]:
    """The runs left out, by reason: a line each, the rest in one; few are named, many counted."""
    reasons = sorted(by_reason(suite.points.dropped).items(), key=lambda item: -len(item[1]))
    lines = [
        f"left out, {reason}:"
        f" {listed(runs) if len(runs) <= _MOST_NAMED else count_of(len(runs), 'run')}"
        for reason, runs in reasons[:_MOST_REASONS]
    ]
    rest = reasons[_MOST_REASONS:]
    if rest:
        number = count_of(sum(len(runs) for _, runs in rest), "run")
        lines.append(f"left out, for {count_of(len(rest), 'other reason')}: {number}")
    return lines


def _head(suite: FitSuite) -> list[str]:
    points, ranges = suite.points, suite.points.data_range
    spans = ", ".join(
        f"{name} {format_count(low)} to {format_count(high)}"
        for name, (low, high) in ranges.items()
    )
    convention = points.convention
    unknown = "" if points.annealed else "; whether their learning rates decayed is not stated"
    lines = [
        f"{count_of(len(points), points.called.removesuffix('s'))} from"
        f" {count_of(points.n_clusters, 'independent trunk')}"
        f" ({count_of(len(set(points.size)), 'size')}{unknown});"
        f" {count_of(len(points.dropped), 'run')} left out",
        f"range: {spans}",
        f"params: {params_words(convention)}; FLOPs: {convention['flops']}; {_fitted(suite)};"
        f" {_intervals(suite)}",
    ]
    return lines + [f"note: {note}" for note in suite.notes]


def _intervals(suite: FitSuite) -> str:
    """The level of the intervals, or that there are none."""
    if not suite.settings.resamples:
        return "no intervals (--resamples 0)"
    if not any(fit.intervals for fit in suite.laws.values()):
        return "no intervals"
    return f"intervals at {100 * suite.settings.level:g}%"


def _fitted(suite: FitSuite) -> str:
    """What the laws describe, with its unit."""
    if suite.settings.metric is None:
        return f"loss: {unit_in_full(suite.points.loss_unit)}"
    return f"fitted in place of the loss: {suite.points.loss_unit}"


def _answer_lines(suite: FitSuite) -> list[str]:
    """The law, what forecasts rest on, the verdict, and the seed noise."""
    check, best = suite.validation, suite.joint_law
    if best is None:
        lines = ["no joint law could be fitted: each law below says what it lacks"]
    else:
        lines = [
            f"the law, {why_chosen(best)}:",
            *_law(suite, suite.best_law, best),
            *_LEGEND,
            f"intervals: {best.interval_method or 'none'}",
            _forecast_line(suite),
        ]
        said = [*suite.notes, *(note for note in best.notes if note.startswith("no intervals"))]
        lines += [f"note ({best.law.name}): {note}" for note in best.notes if note not in said]
    lines.append(f"verdict ({suite.best_law or 'no law'}): {check.verdict}")
    if check.seed_noise_log is not None:
        noise = f"{100 * check.seed_noise_log:.2f}% of loss (standard deviation)"
    else:
        noise = check.reasons.get("seed_noise_log", "not measured")
    lines.append(f"seed noise: {noise}")
    return lines


def _law(suite: FitSuite, name: str, fit: FitResult) -> list[str]:
    """A law's parameters, and how well they are determined."""
    lines = [
        f"{name}: {status_words(fit.status)}, on {suite.fitted_on[name]}:"
        f" {count_of(fit.n_points, 'point')}, {count_of(fit.n_clusters, 'trunk')}"
        + (f"; {fit.message}" if fit.message else "")
    ]
    if not fit.params:
        return lines
    lines += [f"    {words}" for words in _params(fit)]
    if not fit.intervals:
        lines += [f"    {note}" for note in fit.notes if note.startswith("no intervals")]
    lines.append(
        f"    {fit.n_starts_agreeing} of {fit.n_starts} starts agree; rms residual"
        f" {100 * fit.rms_log_residual:.2f}% of loss; condition {fit.condition_number:.1e}"
    )
    return lines


def _other_lines(suite: FitSuite) -> list[str]:
    """Every other law, and the profiles."""
    best = suite.joint_law
    usable = best is not None
    others = {name: fit for name, fit in suite.laws.items() if fit is not best}
    lines = ["other laws" if usable else "laws"] if others else []
    for name, fit in others.items():
        lines += _law(suite, name, fit)
    if not usable and any(fit.params for fit in others.values()):
        lines += _LEGEND
    lines += [
        f"profile ({p.law}, least squares in log loss): {p.text}: values that fit nearly as well"
        " with the other parameters fitted again"
        for p in suite.profiles
    ]
    return lines


def _score_lines(suite: FitSuite) -> list[str]:
    """Residuals and errors on the held-out largest sizes, law by law."""
    lines = [
        "joint laws: rms residual | rollouts, rms | largest sizes predicted from the others,"
        " measured over predicted - 1"
    ]
    for score in suite.scores:
        if not math.isfinite(score.rms_log_residual):
            lines.append(f"    {score.law:<11} not fitted")
            continue
        words = "not possible"
        if math.isfinite(score.held_out_rms):
            words = (
                f"rms {100 * score.held_out_rms:.2f}%, worst {100 * score.held_out_worst:.2f}%,"
                f" mean {100 * score.mean_residual:+.2f}% ({score.size_factor:.2g}x larger)"
            )
        mark = "  <- the law above" if score.law == suite.best_law else ""
        rolled = (
            f"{100 * score.rollout_rms:.2f}%" if math.isfinite(score.rollout_rms) else "refused"
        )
        lines.append(
            f"    {score.law:<11} {100 * score.rms_log_residual:.2f}% | {rolled} | {words}{mark}"
        )
    return lines


def _params(fit: FitResult) -> list[str]:
    words = []
    for name, value in fit.params.items():
        digits = ".4g" if name in _SCALES or abs(value) >= 10 else ".4f"
        text = f"{name} = {value:{digits}}"
        if name in fit.intervals:
            low, high = fit.intervals[name]
            text += f" {interval_words(low, high, digits)}"
        words.append(text)
    return words


def _allocation_lines(suite: FitSuite) -> list[str]:
    """Three approaches and three conventions beside Kaplan's and Chinchilla's exponents."""
    lines = ["compute-optimal size ~ compute^a (Kaplan 2020: .73, Chinchilla 2022: .50)"]
    for row in suite.by_convention:
        words = "refused" if row["a"] is None else f"a = {row['a']:.3f}"
        if row["a_low"] is not None:
            words += f" [{row['a_low']:.3f}, {row['a_high']:.3f}]"
        count = row["params"].replace("_", "-")
        lines.append(f"    {row['law'] + ',':<11} {count:<14} {words}  ({exponent_words(row)})")
    how = {AKIMA: "  (local interpolation)", PARABOLA: "  (parabolas)"}[suite.isoflop.curve]
    for name, result, by in (("IsoFLOP", suite.isoflop, how), ("envelope", suite.envelope, "")):
        count = suite.points.convention["params"].replace("_", "-")
        words = f"refused: {result.reason}"
        if line := result.lines.get("params"):
            words = f"a = {line.exponent:.3f}"
            if line.interval is not None:
                words += f" [{line.interval[0]:.3f}, {line.interval[1]:.3f}]"
            words += by
        lines.append(f"    {name + ',':<11} {count:<14} {words}")
    return lines


def left_out_lines(dropped: Iterable[tuple[str, str]], what: str = "left out") -> list[str]:
    """Return a line a reason with the runs that it holds for; ``dropped`` are (run id, reason)."""
    return [f"{what}, {reason}: {listed(runs)}" for reason, runs in by_reason(dropped).items()]
