"""Make a rule of a measured power law of the learning rate, as ``slaw tune`` writes it."""

from __future__ import annotations

import dataclasses

from scaling_law.parts import NoSettings
from scaling_law.spec.hyperparams import Rule, RuleChoice, Sizing, beta2_for, choice
from scaling_law.units import format_count

Range = tuple[float, float]
# Steps of a batch, or of a horizon, round what a range allows.
_ROUNDING = 1.02


def power_law_rule(
    *,
    lr: float,
    params: float,
    tokens: float,
    batch_tokens: float,
    params_exponent: float,
    tokens_exponent: float,
    batch_exponent: float,
    measured_params: Range,
    measured_tokens: Range,
    measured_batch_tokens: Range,
    trusted_params: Range,
    trusted_tokens: Range,
    best_batch_tokens: float,
    weight_decay: float = 0.0,
    decay_exponent: float = 0.0,
    measured_weight_decay: Range | None = None,
    best_weight_decay: float | None = None,
) -> Rule:
    """Return the rule lr (N / params)^a (D / tokens)^b (B / batch_tokens)^c (wd / weight_decay)^d.

    N are the non-embedding parameters, D the geometric mean of the horizons' tokens, B the config's
    batch, or else ``best_batch_tokens``, and wd its weight decay. The rule refuses what lies
    outside the trusted ranges, which held-out runs support, and batches and weight decays outside
    those that were measured; ``best_weight_decay`` is the one that it then names. Without
    ``measured_weight_decay``, as in rules of earlier versions, weight decay is not looked at.
    """

    def choose(sizing: Sizing, settings: NoSettings) -> RuleChoice:
        # measured batches may be smaller than the fewest sequences of the other rules
        n_ctx = sizing.model.n_ctx
        batch = sizing.batch_tokens or max(1, round(best_batch_tokens / n_ctx)) * n_ctx
        asked = (
            ("non-embedding params", sizing.params, measured_params, trusted_params),
            ("training tokens", sizing.middle_tokens, measured_tokens, trusted_tokens),
            ("tokens a step", batch, measured_batch_tokens, measured_batch_tokens),
        )
        for what, value, measured, trusted in asked:
            _refuse_beyond(what, value, measured, trusted)
        if sizing.weight_decay is not None and measured_weight_decay is not None:
            _refuse_decay(sizing.weight_decay, measured_weight_decay, best_weight_decay)
        rate = lr * (sizing.params / params) ** params_exponent
        rate *= (sizing.middle_tokens / tokens) ** tokens_exponent
        rate *= (batch / batch_tokens) ** batch_exponent
        if decay_exponent:
            decay = best_weight_decay if sizing.weight_decay is None else sizing.weight_decay
            rate *= ((decay or weight_decay) / weight_decay) ** decay_exponent
        chosen = choice(sizing, lr=rate, batch_tokens=batch)
        return dataclasses.replace(chosen, batch_tokens=batch, beta2=beta2_for(batch))

    return Rule(choose=choose, measured_params=measured_params, measured_tokens=measured_tokens)


def _refuse_beyond(what: str, value: float, measured: Range, trusted: Range) -> None:
    """Raise ``ValueError`` for a value outside the trusted range."""
    low, high = trusted
    if low / _ROUNDING <= value <= high * _ROUNDING:
        return
    held_out = (
        f", and held-out runs support it up to {format_count(high)}" if high > measured[1] else ""
    )
    raise ValueError(
        f"this rule was measured at {format_count(measured[0])} to {format_count(measured[1])}"
        f" {what}{held_out}; found {format_count(value)}; tune there (slaw tune), or choose another"
        " rule"
    )


def _refuse_decay(value: float, measured: Range, best: float | None) -> None:
    """Raise ``ValueError`` for a weight decay beyond those measured, with which the rate moves."""
    low, high = measured
    if low / _ROUNDING <= value <= high * _ROUNDING:
        return
    where = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    use = measured[0] if best is None else best
    raise ValueError(
        f"this rule was measured at a weight decay of {where}, with which the best learning rate"
        f" moves; found {value:g}; set optim.weight_decay={use:g}, tune at yours (slaw tune), or"
        " choose another rule"
    )
