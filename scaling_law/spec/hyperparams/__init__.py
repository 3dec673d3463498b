"""Rules that set peak LR, batch, beta2 and warm-up from a model's size and its tokens, one file
each: ``optim: {rule: steplaw}`` is ``hyperparams/steplaw.py``.

One trunk serves every horizon of a size, so a rule answers once per size. N is the
non-embedding parameters in every rule here, D tokens. They share ``choice``: batch a power of two
of sequences, at least 8 and at most 2^20 tokens, the largest that has been validated (nanochat
PR 850); beta2 .99 below 524,288 tokens a batch, else .95; warm-up min(N tokens, 10% of the
shortest horizon) (Porian 2024, arXiv 2406.19146), N at most their largest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scaling_law import parts
from scaling_law.parts import NoSettings, Reference
from scaling_law.spec.counts import count_params
from scaling_law.spec.model import Model

MIN_BATCH_SEQS = 8
MAX_BATCH_TOKENS = 2**20
WIDE_BATCH_TOKENS = 524_288
WARMUP_FRAC = 0.1
# The largest model of Porian 2024, in non-embedding parameters.
MAX_WARMUP_TOKENS = 901e6


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """What a rule decides for: one size, and the horizons that share its choice.

    ``model`` is the size;
    ``shortest_tokens`` and ``longest_tokens`` are its first and last horizon;
    ``shares_trunk`` says that the learning rate stays at its peak until a cooldown, as under wsd;
    ``batch_tokens`` are the tokens of a step where the config sets them, None where the rule does;
    ``weight_decay`` is the config's, None where no config asks.
    """

    model: Model
    shortest_tokens: float
    longest_tokens: float
    shares_trunk: bool = True
    batch_tokens: int | None = None
    weight_decay: float | None = None

    @property
    def params(self) -> int:
        """Non-embedding parameters."""
        return count_params(self.model).non_embedding

    @property
    def middle_tokens(self) -> float:
        """The geometric mean of the horizons."""
        return math.sqrt(self.shortest_tokens * self.longest_tokens)


@dataclass(frozen=True, kw_only=True)
class RuleChoice:
    """What a rule says.

    ``lr`` is the peak learning rate;
    ``batch_tokens`` are the tokens of a step, a multiple of the context;
    ``beta2`` is AdamW's;
    ``warmup_tokens`` are the tokens of the warm-up;
    ``batch_wanted_tokens`` is the batch of the rule's formula, before rounding and limits.
    """

    lr: float
    batch_tokens: int
    beta2: float
    warmup_tokens: float
    batch_wanted_tokens: float

    def __post_init__(self) -> None:
        for name in ("lr", "batch_tokens"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, expected above 0 and finite")
        if not 0 <= self.beta2 < 1:
            raise ValueError(f"beta2 is {self.beta2}, expected in [0, 1)")
        if not 0 <= self.warmup_tokens < math.inf:
            raise ValueError(f"warmup_tokens is {self.warmup_tokens}, expected at least 0")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule for learning rate, batch, beta2 and warm-up.

    ``choose(sizing, settings)`` decides for one size; ``choice`` helps to answer;
    ``measured_params`` are the fewest and the most non-embedding parameters that the rule was
    measured at, None where it is not measured;
    ``measured_tokens`` are the fewest and the most training tokens it was measured on, None for a
    rule whose LR does not depend on them;
    ``settings`` is a dataclass of the rule's own settings.
    """

    choose: Callable[[Sizing, Any], RuleChoice]
    measured_params: tuple[float, float] | None = None
    measured_tokens: tuple[float, float] | None = None
    settings: type = NoSettings


def choice(sizing: Sizing, *, lr: float, batch_tokens: float) -> RuleChoice:
    """A rule's answer from its formulas' LR and batch, with what the rules here have in common."""
    batch = round_batch(batch_tokens, sizing.model.n_ctx)
    return RuleChoice(
        lr=float(f"{lr:.4g}"),  # four digits are more than a rule knows, and print whole
        batch_tokens=batch,
        beta2=beta2_for(batch),
        warmup_tokens=min(sizing.params, MAX_WARMUP_TOKENS, WARMUP_FRAC * sizing.shortest_tokens),
        batch_wanted_tokens=batch_tokens,
    )


def load_rule(name: str) -> Rule:
    """The package's rule of that name. Raises ``ConfigError`` naming what there is."""
    rule: Rule = parts.load("rule", Reference(name=name))
    return rule


def rule_for(params_non_embedding: float) -> str:
    """The rule that was measured at this size, or nearest to it in ratio.

    Of several, the one that was measured on tokens as well goes first.
    """

    def distance(name: str) -> tuple[float, bool, str]:
        rule = load_rule(name)
        low, high = rule.measured_params or (math.inf, math.inf)
        beyond = max(low / params_non_embedding, params_non_embedding / high, 1.0)
        return beyond, rule.measured_tokens is None, name

    return min(parts.names("rule"), key=distance)


def round_batch(tokens: float, n_ctx: int) -> int:
    """The power of two of sequences nearest in ratio, within the validated range; in tokens."""
    largest = max(0, math.floor(math.log2(MAX_BATCH_TOKENS / n_ctx)))
    power = round(math.log2(max(tokens, 1.0) / n_ctx))
    smallest = int(math.log2(MIN_BATCH_SEQS))
    return int(2 ** max(smallest, min(largest, power)) * n_ctx)


def beta2_for(batch_tokens: int) -> float:
    """.99 for small batches, whose gradients are noisier, else .95 (Porian 2024)."""
    return 0.99 if batch_tokens < WIDE_BATCH_TOKENS else 0.95
