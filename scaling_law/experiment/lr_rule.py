"""Write a measured law of the learning rate as a rule: a part file of the user's own."""

from __future__ import annotations

import dataclasses
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scaling_law.experiment.choice_costs import MARGIN, choice_costs
from scaling_law.experiment.lr_law import SYMBOLS, LrLaw
from scaling_law.experiment.seeds import LEVEL
from scaling_law.experiment.tuning import BestBatch, Tuning
from scaling_law.spec.model import DEFAULT_PARAMETRISATION
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

MARK = '"""Learning rate and batch as `slaw tune` measured them'
_VARIABLES = ("params", "tokens", "batch_tokens", "weight_decay")
_EXPONENTS = ("params", "tokens", "batch", "decay")
_MARGIN = f"{MARGIN:.1%} of loss, by the upper end of the interval"


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


def largest_free_batch(tuning: Tuning, batches: Sequence[BestBatch]) -> BatchChoice:
    """Return the largest batch that costs no more than ``MARGIN`` over the best one.

    Only batches that were compared with others at some size and horizon are candidates; without
    any it is the batch of most cells. ``batches`` are the best ones, of which those at the low edge
    of what was tried are counted.
    """
    costs = choice_costs(tuning, "batch_tokens")
    if costs is None:
        of_cells = Counter(best.cell.batch_tokens for best in tuning.optima if best.loss)
        return BatchChoice(of_cells.most_common(1)[0][0], "which was compared with no other")
    batch = costs.free[-1]
    larger = [one for one in costs.others if one.value > batch]
    if batch > costs.best:
        why = f"the largest that is shown to cost no more than {_MARGIN} ({costs.text})"
    elif larger:
        why = (
            f"of lowest loss; no larger one is shown to cost no more than {_MARGIN} ({costs.text})"
        )
    else:
        why = f"of lowest loss, and the largest that was compared ({costs.text})"
    if low := sum(one.edge == "low" for one in batches):
        why += (
            f"; the lowest loss is at the low edge of the batches in {low} of {len(batches)} pairs"
            " of size and horizon: a smaller batch than those tried may lower it further"
        )
    return BatchChoice(int(batch), why)


@dataclass(frozen=True)
class DecayChoice:
    """The weight decay at which a rule is to be used.

    ``weight_decay`` is the optimizer's; ``why`` says why it is this one.
    """

    weight_decay: float
    why: str

    @property
    def text(self) -> str:
        """``0.1, of lowest loss (over 0.1: 0.3 costs 0.20% (-0.10% to 0.50%))``."""
        return f"{self.weight_decay:g}, {self.why}"


def best_decay(tuning: Tuning, law: LrLaw) -> DecayChoice:
    """Return the weight decay of lowest loss among those that a law holds for."""
    low, high = law.ranges["weight_decay"]
    if low == high:
        return DecayChoice(low, "the only one that the law holds for")
    held = tuple(best for best in tuning.optima if low <= best.cell.weight_decay <= high)
    costs = choice_costs(dataclasses.replace(tuning, optima=held), "weight_decay")
    if costs is None:
        return DecayChoice(low, "which was compared with no other")
    alike = "" if len(costs.free) == 1 else f"; {_listed(costs.free)} cost no more than {_MARGIN}"
    return DecayChoice(costs.best, f"of lowest loss ({costs.text}){alike}")


def _listed(values: Sequence[float]) -> str:
    return " and ".join(f"{value:g}" for value in values)


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


def rule_source(
    law: LrLaw, batch: BatchChoice, decay: DecayChoice, measured_by: str, trained_by: str
) -> str:
    """Return the rule's file: the law, and the ranges outside which it refuses a config.

    ``measured_by`` says which runs it rests on, and ``trained_by`` what of them the rule does not
    see, as ``trained_by`` gives it.
    """
    centre = {name: law.centre.get(name, sum(law.ranges[name]) / 2) for name in _VARIABLES}
    checks = "; ".join(check.text for check in law.held_out) or "nothing could be"
    ranges = {name: law.ranges[name] for name in _VARIABLES}
    params, tokens = law.trusted("params"), law.trusted("tokens")
    exponents = "; ".join(f"{symbol} {law.exponent_text(name)}" for name, symbol in SYMBOLS.items())
    words = (
        f"{measured_by}: {law.cells} cells of {law.trunks} trunks.",
        f"It holds for {trained_by}.",
        f"{law.text}, with N non-embedding parameters, D the geometric mean of the horizons, B the"
        " batch, wd the weight decay.",
        f"Exponents, with {LEVEL:.0%} intervals: {exponents}.",
        f"Weight decay: {decay.text}. {_decay_words(law)}",
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
        *(
            f"    {word}_exponent={law.exponents.get(name, 0.0):.6g},"
            for name, word in zip(_VARIABLES, _EXPONENTS, strict=True)
        ),
        *(f"    measured_{name}={_pair(ranges[name])}," for name in _VARIABLES),
        f"    trusted_params={_pair(params)},",
        f"    trusted_tokens={_pair(tokens)},",
        f"    best_batch_tokens={batch.batch_tokens},",
        f"    best_weight_decay={decay.weight_decay:.6g},",
        ")",
    ]
    return "\n".join(lines) + "\n"


def _decay_words(law: LrLaw) -> str:
    """What the rule does with a config's weight decay, and what is known of such laws."""
    low, high = law.ranges["weight_decay"]
    known = "AdamW at a fixed timescale, batch / (lr wd D), has an exponent of -1 in wd"
    if "weight_decay" not in law.exponents:
        return (
            "The best learning rate moves with weight decay, and these runs do not say how"
            f" ({known}: Power Lines, arXiv 2505.13738): the rule refuses another weight decay."
        )
    return (
        f"The rule takes the config's, and refuses one outside {low:g} to {high:g} ({known}: Power"
        " Lines, arXiv 2505.13738)."
    )


def _pair(ends: tuple[float, float]) -> str:
    return f"({ends[0]:.6g}, {ends[1]:.6g})"
