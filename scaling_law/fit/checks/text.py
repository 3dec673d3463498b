"""The text of ``slaw validate``: the errors of every hold-out, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from scaling_law import text_columns
from scaling_law.fit.checks.hold_out import (
    LEAST_HELD_OUT,
    LEAST_SIZES_HELD_OUT,
    PASS_MEDIAN_FRAC,
    PASS_P90_FRAC,
    HeldOut,
)
from scaling_law.fit.checks.validate import Validation
from scaling_law.fit.points.points import FitPoints
from scaling_law.units import count_of, format_count

_TITLES = (
    ("leave_size_out", "each size left out"),
    ("leave_trunk_out", "each trunk left out"),
    ("rollout_params", "rollout by params: fit the small, predict the large"),
    ("rollout_tokens", "rollout by tokens: fit the short, predict the long"),
    ("rollout_flops", "rollout by FLOPs: fit the cheap, predict the expensive"),
    ("expanding", "expanding window: each block of FLOPs from all before it"),
)
_HEAD = ("held out", "fitted", "scored", "FLOPs", "median", "90%", "worst", "mean", "coverage")


def plain_verdict(check: Validation, points: FitPoints) -> str:
    """The verdict in plain words: how far forecasts may be trusted, and what says so."""
    trust = check.trust_flops_factor
    if trust is None:
        return check.verdict
    rollouts = (*check.rollout_params, *check.rollout_flops)
    # the check rounds the factor down: the nearest rollout that passed is the one it rests on
    shown = min(
        (rollout for rollout in rollouts if rollout.passed),
        key=lambda rollout: abs(rollout.factors["flops"] - trust),
    )
    largest = points.data_range["flops"][1]
    share = "all" if shown.n_held_out < LEAST_HELD_OUT else "nine in ten"
    return (
        f"trust forecasts up to {trust:g}x the compute of the largest run"
        f" ({format_count(trust * largest)} FLOPs), no further: fitted without the"
        f" {count_of(shown.n_held_out, 'run')} that lie that far beyond the others, the law "
        f"predicts {share}"
        f" of them within {100 * (shown.p90_abs_error or 0.0):.2g}%"
    )


def format_validation(check: Validation, points: FitPoints) -> str:
    """Tables of errors and coverage, then order, noise and the verdict in words."""
    lines = [
        f"law {check.law} on {count_of(len(points), 'point')} from"
        f" {count_of(points.n_clusters, 'independent trunk')}",
        "errors are measured / predicted - 1, in %: median, 90% and worst of their sizes, mean",
        "with its sign; coverage: share of held-out runs within their interval",
    ]
    for name, title in _TITLES:
        rows = getattr(check, name)
        lines += ["", title]
        if not rows:
            lines.append(f"    {check.reasons.get(name, 'not possible with these points')}")
            continue
        lines += _table(rows)
    lines += [""]
    if check.seed_noise_log is None:
        lines.append(f"seed noise: {check.reasons.get('seed_noise_log', 'not measured')}")
    else:
        lines.append(
            f"seed noise: {100 * check.seed_noise_log:.2f}% of loss (standard deviation, from"
            f" {check.seed_groups} repeated points)"
        )
    lines.append(
        f"order: loss rose in {len(check.rises)} of {check.pairs_compared} neighbouring pairs"
    )
    lines += [
        f"    along {rise.along}: {rise.lower} to {rise.higher} by {100 * rise.rise_log:.2g}%"
        for rise in check.rises[:5]
    ]
    lines.append(
        f"verdict: {check.verdict}\n"
        f"(a rollout passes with a median error of at most {100 * PASS_MEDIAN_FRAC:g}%, from"
        f" {LEAST_HELD_OUT} runs on, and 90% of the runs within {100 * PASS_P90_FRAC:g}%; trust"
        " goes as far as the longest rollout that passes with all shorter ones and no farther, from"
        f" {LEAST_HELD_OUT} held-out runs of {LEAST_SIZES_HELD_OUT} sizes on)"
    )
    return "\n".join(lines)


def _table(rows: Sequence[HeldOut]) -> list[str]:
    table: list[tuple[str, ...]] = [_HEAD]
    for row in rows:
        head = (row.held_out, str(row.n_fitted), str(row.n_held_out))
        factor = f"{row.factors['flops']:.2g}x"
        if row.median_abs_error is None:
            table.append((*head, factor, f"refused: {row.reason}"))
            continue
        errors = (row.median_abs_error, row.p90_abs_error or 0.0, row.max_abs_error or 0.0)
        coverage = "-" if row.coverage is None else f"{100 * row.coverage:.0f}%"
        words = [f"{100 * error:.2f}%" for error in errors]
        mean = f"{100 * (row.mean_residual or 0.0):+.2f}%"
        table.append((*head, factor, *words, mean, coverage))
    return text_columns.left(table, "    ")
