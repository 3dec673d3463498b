"""A comparison of recipes as lines for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scaling_law import text_columns
from scaling_law.errors import reason_lines
from scaling_law.files.record import unit_in_full
from scaling_law.fit.recipes.compare_points import AtScale, PointComparison, Verdict
from scaling_law.fit.recipes.compare_sources import Comparisons
from scaling_law.fit.summary import left_out_lines
from scaling_law.units import count_of, format_count, format_ratio


def format_comparisons(all_of: Comparisons) -> str:
    """Every recipe against the base, a block each; of several, first a table."""
    blocks = ["\n".join(_opening(all_of))]
    blocks += ["\n".join(_block(one)) for one in all_of.compared]
    return "\n\n".join(blocks)


def _opening(all_of: Comparisons) -> list[str]:
    """The base, what a multiplier is, and a row for each of several recipes, the best first.

    A row has the multiplier that the verdict is on, or that of the largest runs.
    """
    lines = [
        f"base: {all_of.base}",
        "compute multiplier: the compute that the base needs for a recipe's loss, over the recipe's"
        " own; above 1x the recipe saves compute",
        *(f"note: {words}" for words in all_of.notes),
    ]
    if len(all_of.compared) + len(all_of.not_compared) == 1:
        return lines
    rows = sorted(map(_row, all_of.compared), key=lambda row: -row[0])
    lines += text_columns.left([("recipe", "multiplier", "at", ""), *(row[1] for row in rows)])
    return lines + [f"not compared: {line}" for line in reason_lines(all_of.not_compared)]


def _row(one: PointComparison) -> tuple[float, tuple[str, ...]]:
    """The multiplier of a recipe, and its row."""
    if one.verdict is None:
        estimate, flops, outcome = one.at[-1].compute, one.at[-1].flops, ""
    else:
        estimate, flops, outcome = one.verdict.estimate, one.verdict.flops, one.verdict.outcome
    return estimate.value, (one.names[1], estimate.text, f"{format_count(flops)} FLOPs", outcome)


def _block(one: PointComparison) -> list[str]:
    lines = [one.names[1]]
    if one.verdict is not None:
        lines.append(_verdict_line(one.verdict))
    lines += text_columns.left(_scale_rows(one))
    lines.append(_trend_line(one))
    if one.targets:
        lines.append("beyond the runs the trend is continued, which nothing here has tested")
    lines.append(
        f"{count_of(one.runs[1], 'run')} against {one.runs[0]} of the base;"
        f" params: {one.convention}; FLOPs: {one.flops}; loss: {unit_in_full(one.unit)};"
        f" intervals at {100 * one.level:g}%"
    )
    lines.append(
        f"the base's compute grows as the runs' does (params as compute^{one.path_share:.2f});"
        f" seeds of one run differ by {100 * one.noise:.2g}%"
    )
    if one.why_no_clock:
        lines.append(f"not by the clock: {one.why_no_clock}")
    for whose, runs in zip(("the base", one.names[1]), one.dropped, strict=True):
        lines += left_out_lines(runs, f"left out of {whose}")
    return [*lines, *(f"note: {words}" for words in one.notes)]


def _scale_rows(one: PointComparison) -> list[Sequence[str]]:
    """A row for each scale and target; the clock's column only where there is one."""
    clock = ["by the clock"] if any(at.clock for at in one.at) else []
    head = ["  params", "tokens", "FLOPs", "multiplier", *clock, ""]
    return [head, *(_scale_row(at) for at in (*one.at, *one.targets))]


def _scale_row(at: AtScale) -> Sequence[str]:
    beyond = _beyond(at.beyond).removeprefix(", ")
    clock = [] if at.clock is None else [at.clock.text]
    counts = (format_count(at.params), format_count(at.tokens), format_count(at.flops))
    return (f"  {counts[0]}", *counts[1:], at.compute.text, *clock, beyond)


def _beyond(factor: float) -> str:
    """``, 3.2 times beyond the runs``, or nothing within them."""
    return f", {format_ratio(factor)} times beyond the runs" if factor > 1.05 else ""


def _trend_line(one: PointComparison) -> str:
    trend = one.trend
    if trend is None:
        return f"whether it changes with scale is not known: {one.why_no_trend}"
    words = f"trend: {trend.per_tenfold.text} for each tenfold of the compute"
    if not trend.changes:
        return f"{words}: no change with scale is seen"
    return f"{words}: it {'falls' if trend.high < 0 else 'rises'} with scale"


def _verdict_line(verdict: Verdict) -> str:
    by = " by the clock" if verdict.by == "clock" else ""
    words = (
        f"{verdict.outcome}: {verdict.estimate.text}{by} at {format_count(verdict.flops)} FLOPs"
        f"{_beyond(verdict.beyond)}; the bar is at least {verdict.at_least:g}x"
    )
    if verdict.outcome != "undecided":
        return words
    ways = []
    if verdict.seeds_needed is not None:
        ways.append(
            f"{count_of(verdict.seeds_needed, 'further seed')} of every size and horizon"
            f" ({count_of(verdict.runs_needed or 0, 'run')})"
        )
    if verdict.sizes_needed is not None:
        ways.append(f"{count_of(verdict.sizes_needed, 'larger size')} with one run of each recipe")
    if not ways:
        near = math.isclose(verdict.estimate.value, verdict.at_least, rel_tol=0.02)
        why = "the estimate lies at the bar" if near else "it is too uncertain there"
        return f"{words}; neither 32 seeds nor 4 larger sizes would decide: {why}"
    return f"{words}; if the estimate stays, {' or '.join(ways)} would decide"
