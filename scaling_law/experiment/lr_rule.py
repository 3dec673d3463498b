"""Write a measured law of the learning rate as a rule: a part file of the user's own."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from scaling_law.experiment.lr_law import LrLaw
from scaling_law.experiment.tuning import BestBatch, Optimum
from scaling_law.units import format_count

MARK = '"""Learning rate and batch as `slaw tune` measured them'
_VARIABLES = ("params", "tokens", "batch_tokens")


def largest_free_batch(
    optima: Sequence[Optimum], batches: Sequence[BestBatch], noise: float
) -> int:
    """Return the largest batch that costs no more than a unit of noise on average.

    ``noise`` is a share of loss. Where none of them is free, it is the one that costs least.
    """
    sizes = sorted({best.cell.batch_tokens for best in optima if best.loss is not None})
    costs: dict[int, float] = {}
    for size in sizes:
        known = [cost for one in batches if (cost := one.excess(size)) is not None]
        costs[size] = sum(known) / len(known) if known else 0.0
    free = [size for size, cost in costs.items() if cost <= noise]
    return max(free) if free else min(costs, key=lambda size: costs[size])


def rule_source(law: LrLaw, batch_tokens: int, measured_by: str) -> str:
    """Return the rule's file: the law, and the ranges outside which it refuses a config.

    ``measured_by`` says which runs it rests on.
    """
    centre = {name: law.centre.get(name, sum(law.ranges[name]) / 2) for name in _VARIABLES}
    checks = "; ".join(check.text for check in law.held_out) or "nothing could be"
    ranges = {name: law.ranges[name] for name in _VARIABLES}
    params, tokens = law.trusted("params"), law.trusted("tokens")
    words = (
        f"{measured_by}: {law.cells} cells of {law.trunks} trunks.",
        f"{law.text}, with N non-embedding parameters, D the geometric mean of the horizons, B the"
        " batch.",
        f"Held out: {checks}.",
        f"It refuses sizes outside {format_count(params[0])} to {format_count(params[1])}"
        f" parameters, and horizons outside {format_count(tokens[0])} to"
        f" {format_count(tokens[1])} tokens.",
    )
    lines = [
        f"{MARK}.",
        "",
        *(line for sentence in words for line in textwrap.wrap(sentence, 98)),
        '"""',
        "",
        "from scaling_law.spec.hyperparams._power_law import power_law_rule",
        "",
        "RULE = power_law_rule(",
        f"    lr={law.lr:.6g},",
        *(f"    {name}={centre[name]:.6g}," for name in _VARIABLES),
        f"    params_exponent={law.exponents.get('params', 0.0):.6g},",
        f"    tokens_exponent={law.exponents.get('tokens', 0.0):.6g},",
        f"    batch_exponent={law.exponents.get('batch_tokens', 0.0):.6g},",
        *(f"    measured_{name}={_pair(ranges[name])}," for name in _VARIABLES),
        f"    trusted_params={_pair(params)},",
        f"    trusted_tokens={_pair(tokens)},",
        f"    best_batch_tokens={batch_tokens},",
        ")",
    ]
    return "\n".join(lines) + "\n"


def _pair(ends: tuple[float, float]) -> str:
    return f"({ends[0]:.6g}, {ends[1]:.6g})"
