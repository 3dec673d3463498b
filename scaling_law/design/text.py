"""The text of ``slaw plan --target``: the runs, what each is for, and the expected forecast."""

from __future__ import annotations

import math
from pathlib import Path

from scaling_law import text_columns
from scaling_law.design.propose import ChosenRun, Proposal
from scaling_law.fit.result import Prediction
from scaling_law.plan.table import epochs_text
from scaling_law.units import count_of, format_count, format_seconds, outward_range

_HEAD = (
    ("run", "params", "params", "params", "tokens", "tokens", "epochs", "FLOPs", "time",
     "variance"),
    ("", "non-emb", "matmul", "total", "", "/param", "", "alone", "own", "without"),
)  # fmt: skip

# A change of the variance that would print as 0.0%.
_NO_GAIN = 5e-4
# Intervals whose ratios of ends differ by less read the same.
_SAME_WIDTH = 1.01


def render(proposal: Proposal, written: Path | None, sweep: Path | None) -> str:
    """The proposal for a terminal.

    ``written`` is the path of its YAML, ``sweep`` the folder whose next batch it is.
    """
    now, plan = proposal.now, proposal.plan
    trunks = len({(run.params_total, run.seed) for run in proposal.chosen})
    sizes = len({run.params_total for run in proposal.chosen})
    noise = proposal.noise
    return "\n".join(
        [
            f"target: {target_words(now)}, {format_count(now.flops or 0)} FLOPs",
            f"chosen of {proposal.candidates} candidates: {count_of(len(proposal.chosen), 'run')},"
            f" {trunks} independent trunks or single runs, {count_of(sizes, 'size')}",
            "",
            *text_columns.numbers([*_HEAD, *map(_row, proposal.chosen)]),
            _gain_words(proposal),
            "",
            f"cost: {plan.flops_total:.3g} exact FLOPs, about"
            f" {format_seconds(plan.seconds_estimate)} on {plan.slots} at once (budget"
            f" {proposal.goal.budget.text}; branching saves {plan.saving_frac:.0%})",
            *_expectation(proposal),
            f"assumed: {proposal.prior.origin}; noise of a run {_percent(noise.run_log)}, of a"
            f" trunk {_percent(noise.trunk_log)}, misfit of the law {_percent(noise.misfit_log)}",
            *_repeats(proposal),
            *(f"left out: {note}" for note in proposal.notes),
            *(f"warning: {words}" for words in proposal.after.warnings),
            "",
            *_next(proposal, written, sweep),
        ]
    )


def target_words(target: Prediction) -> str:
    """``1M params on 10.6M tokens``: a loss belongs to both."""
    return f"{format_count(target.params or 0)} params on {format_count(target.tokens or 0)} tokens"


def _row(run: ChosenRun) -> tuple[str, ...]:
    return (
        run.label,
        format_count(run.params_non_embedding),
        format_count(run.params_matmul),
        format_count(run.params_total),
        format_count(run.tokens),
        f"{run.tokens_per_param:.3g}",
        epochs_text(run.epochs),
        f"{run.flops:.2e}",
        format_seconds(run.seconds),
        "about 0" if abs(run.gain_frac) < _NO_GAIN else f"{100 * run.gain_frac:+.1f}%",
    )


def _gain_words(proposal: Proposal) -> str:
    words = "variance without: how much larger the forecast's variance would be without that run"
    if min(run.gain_frac for run in proposal.chosen) > -_NO_GAIN:
        return words
    return f"{words}; below 0: bought as a seed, size or horizon that shows noise and misfit"


def _repeats(proposal: Proposal) -> list[str]:
    """Say which runs read their text more than once; repeated text teaches less than new text."""
    epochs = {run.label: run.epochs for run in proposal.chosen}
    if any(value is None for value in epochs.values()):
        return ["epochs: unknown until `slaw data prepare`"]
    again = [label for label, value in epochs.items() if value is not None and value > 1]
    if not again:
        return []
    most = max(value for value in epochs.values() if value is not None)
    return [
        f"repeated text: {len(again)} of {count_of(len(epochs), 'run')} read the training text more"
        f" than once, up to {epochs_text(most)} times"
    ]


def _percent(log: float) -> str:
    return f"{100 * log:.2g}%"


def _expectation(proposal: Proposal) -> list[str]:
    after, level = proposal.after, f"{100 * proposal.goal.level:g}%"
    ends = after.low_nats or math.nan, after.high_nats or math.nan
    refused = bool(after.refused)
    beyond = ", ".join(
        f"{name} {math.log10(ratio):.1f}" if ratio > 1 else f"{name} within"
        for name, ratio in after.beyond_data.items()
    )
    lines = [
        f"before: {_range(*proposal.before, refused)} nats at the target,"
        f" {target_words(proposal.now)}; by the {after.law} law alone"
        f" {_range(*proposal.before_alone, False)} ({proposal.before_from})",
        f"expected after: {_range(*ends, refused)} nats ({level} interval over the laws);"
        f" by the {after.law} law alone {_range(*proposal.alone, False)}",
        *_why_wider(proposal),
        f"orders of magnitude from the largest run to the target: {beyond}"
        " (FLOPs of runs: exact; of the target: 6 x params x tokens)",
    ]
    return [*lines, after.refused] if after.refused else lines


def _why_wider(proposal: Proposal) -> list[str]:
    """The part of the interval that grows, where the expected one is wider than the one so far."""
    now, then = proposal.now.interval_parts, proposal.after.interval_parts
    low, high = proposal.after.low_nats, proposal.after.high_nats
    if not (proposal.now.source == "fitted" and now and then and low and high):
        return []
    if high / low <= _SAME_WIDTH * proposal.before[1] / proposal.before[0]:
        return []
    if then.keys() != now.keys():  # one of them is of one law alone
        return []
    name = max(then, key=lambda part: sum(then[part]) - sum(now[part]))
    ends = (f"-{_change(-parts[name][0])} +{_change(parts[name][1])}" for parts in (now, then))
    return [
        f"wider after than before, by the interval's part for {name.replace('_', ' ')}:"
        f" {' before, '.join(ends)} after (as such runs give on average; the trained ones may"
        " agree better by chance)"
    ]


def _change(log: float) -> str:
    change = abs(100 * math.expm1(min(log, 20.0)))
    return f"{change:.1f}%" if change < 10 else f"{change:.0f}%"


def _range(low: float, high: float, refused: bool) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "unknown"
    if refused:
        return " to ".join(outward_range(low, high))
    decimals = min(max(math.ceil(-math.log10(max(high - low, 1e-9) / 2)), 1), 3)
    return f"{low:.{decimals}f} to {high:.{decimals}f}"


def _next(proposal: Proposal, written: Path | None, sweep: Path | None) -> list[str]:
    out = f" --out {sweep}" if sweep else ""
    if written is None:
        name = f"{proposal.config.name}{'-next' if sweep else ''}.yaml"
        return [f"not saved; --write {name} saves this sweep for slaw run {name}{out}"]
    return [f"written: {written}", f"next: slaw run {written}{out}"]
