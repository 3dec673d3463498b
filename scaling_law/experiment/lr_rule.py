"""Write a measured law of the learning rate as a rule: a part file of the user's own."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scaling_law.experiment.lr_law import LrLaw
from scaling_law.experiment.tuning import BestBatch, Optimum
from scaling_law.spec.model import DEFAULT_PARAMETRISATION
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

MARK = '"""Learning rate and batch as `slaw tune` measured them'
_VARIABLES = ("params", "tokens", "batch_tokens")


@dataclass(frozen=True)
class BatchChoice:
    """The batch that a rule gives.

    ``batch_tokens`` are the tokens of a step;
    ``why`` says why it is this one, and what the batches that were tried leave open.
    """

    batch_tokens: int
    why: str

    @property
    def text(self) -> str:
        """``256, the largest that costs no more than the noise``."""
        return f"{self.batch_tokens}, {self.why}"


def largest_free_batch(
    optima: Sequence[Optimum], batches: Sequence[BestBatch], noise: float
) -> BatchChoice:
    """Return the largest batch that costs no more than a unit of noise on average.

    ``noise`` is a share of loss. Where none of them is free, it is the one that costs least. Only
    batches that were compared with others at some size and horizon are candidates; without any it
    is the batch of most cells.
    """
    costs: dict[int, float] = {}
    for size in sorted({best.cell.batch_tokens for one in batches for best in one.cells}):
        known = [cost for one in batches if (cost := one.excess(size)) is not None]
        costs[size] = sum(known) / len(known)
    if not costs:
        of_cells = Counter(best.cell.batch_tokens for best in optima if best.loss is not None)
        return BatchChoice(of_cells.most_common(1)[0][0], "which was compared with no other")
    free = [size for size, cost in costs.items() if cost <= noise]
    if free:
        batch, why = max(free), "the largest that costs no more than the noise"
    else:
        batch = min(costs, key=lambda size: costs[size])
        why = f"which costs least ({100 * costs[batch]:.2f}% of loss on average)"
    if low := sum(one.edge == "low" for one in batches):
        why += (
            f"; the lowest loss is at the low edge of the batches in {low} of {len(batches)} pairs"
            " of size and horizon: a smaller batch than those tried may lower it further"
        )
    return BatchChoice(batch, why)


def why_no_rule(optima: Sequence[Optimum]) -> str:
    """Return why the cells give no rule although they give a law; "" where they do."""
    decays = sorted({best.cell.weight_decay for best in optima})
    if len(decays) < 2:
        return ""
    return (
        f"the runs have weight decays of {', '.join(f'{decay:g}' for decay in decays)}, and a rule"
        " does not see a config's weight decay; tune at one of them (optim.weight_decay)"
    )


def trained_by(spec: RunSpec) -> str:
    """What trained the runs that a rule rests on: ``optimizer adamw, schedule wsd, ...``."""
    model = spec.model
    part = model.parametrisation
    return (
        f"optimizer {spec.optim.component.name}, schedule {spec.schedule.shape}, architecture"
        f" {model.architecture.name}, parametrisation"
        f" {DEFAULT_PARAMETRISATION if part is None else part.name}, a context of {model.n_ctx}"
        f" and {model.vocab_size} ids"
    )


def rule_source(law: LrLaw, batch: BatchChoice, measured_by: str, trained_by: str) -> str:
    """Return the rule's file: the law, and the ranges outside which it refuses a config.

    ``measured_by`` says which runs it rests on, and ``trained_by`` what of them the rule does not
    see, as ``trained_by`` gives it. The law has no term for weight decay.
    """
    centre = {name: law.centre.get(name, sum(law.ranges[name]) / 2) for name in _VARIABLES}
    checks = "; ".join(check.text for check in law.held_out) or "nothing could be"
    ranges = {name: law.ranges[name] for name in _VARIABLES}
    params, tokens = law.trusted("params"), law.trusted("tokens")
    words = (
        f"{measured_by}: {law.cells} cells of {law.trunks} trunks.",
        f"It holds for {trained_by}.",
        f"{law.text}, with N non-embedding parameters, D the geometric mean of the horizons, B the"
        " batch.",
        f"Weight decay: {law.ranges['weight_decay'][0]:g}.",
        f"Batch: {batch.text}.",
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
        f"    best_batch_tokens={batch.batch_tokens},",
        ")",
    ]
    return "\n".join(lines) + "\n"


def _pair(ends: tuple[float, float]) -> str:
    return f"({ends[0]:.6g}, {ends[1]:.6g})"
