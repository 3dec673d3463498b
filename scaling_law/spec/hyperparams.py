"""Named rules that set peak LR, batch, beta2 and warm-up from a model's size and its tokens.

One trunk serves every horizon of a size, so a rule answers once per size. N is the
non-embedding parameters in every rule here, D tokens.

``olmo_ladder``  LR = .0047 (N / 108e6)^(-1/3), halved for WSD; batch = 160 * 2048 tokens *
                 (N / 108e6)^(2/3) (Porian 2024, arXiv 2406.19146, as the OLMo ladder uses it).
``steplaw``      LR = 1.79 N^-.713 D^.307, batch = .58 D^.571 tokens (arXiv 2503.04715), with D
                 the geometric mean of the horizons. In the LR, D stays at most the most tokens
                 it was measured on: the LR grows with D, and a run far longer would diverge.
``slaw_small``   for the models of a small machine: LR with the exponent of ``olmo_ladder`` and
                 a lower, capped constant; batch from D as in ``steplaw``, because a
                 batch that grows with N leaves large models of a short horizon too few steps.

All: batch a power of two of sequences, at least 8 and at most 2^20 tokens, the largest that
has been validated (nanochat PR 850); beta2 .99 below 524,288 tokens a batch, else .95;
warm-up min(N tokens, 10% of the shortest horizon) (Porian 2024), N at most their largest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scaling_law.spec.counts import count_params
from scaling_law.spec.run import Model

MIN_BATCH_SEQS = 8
MAX_BATCH_TOKENS = 2**20
WIDE_BATCH_TOKENS = 524_288
WARMUP_FRAC = 0.1

# Non-embedding parameters that each rule was measured at: Porian 2024 (5M to 901M); arXiv
# 2503.04715 (60M to 1B, on 2B to 100B tokens); ours in benchmarks/NOTES.md.
MEASURED: dict[str, tuple[float, float]] = {
    "slaw_small": (14e3, 440e3),
    "olmo_ladder": (5e6, 901e6),
    "steplaw": (60e6, 1e9),
}

# Training tokens, of the rule whose LR depends on them (arXiv 2503.04715).
MEASURED_TOKENS: dict[str, tuple[float, float]] = {"steplaw": (2e9, 100e9)}

SMALL_LR_CONSTANT = 0.0008
SMALL_LR_MAX = 0.02


@dataclass(frozen=True, kw_only=True)
class RuleChoice:
    """What a rule says: ``lr`` peak, ``batch_tokens`` per step, ``warmup_tokens``.

    ``batch_wanted_tokens`` is its formula's batch, before rounding and the validated limit.
    """

    rule: str
    lr: float
    batch_tokens: int
    beta2: float
    warmup_tokens: float
    batch_wanted_tokens: float


def apply_rule(
    name: str, model: Model, *, shortest_tokens: float, longest_tokens: float, wsd: bool = True
) -> RuleChoice:
    """The choice of rule ``name`` for one size whose horizons span the given tokens.

    ``wsd`` halves the LR of the rules made for cosine decay. Raises ``ValueError`` for an
    unknown name.
    """
    size = count_params(model).non_embedding
    middle_tokens = math.sqrt(shortest_tokens * longest_tokens)
    if name == "olmo_ladder":
        lr = 0.0047 * (size / 108e6) ** (-1 / 3) * (0.5 if wsd else 1.0)
        wanted = 160 * 2048 * (size / 108e6) ** (2 / 3)
    elif name == "steplaw":
        lr = 1.79 * size**-0.713 * min(middle_tokens, MEASURED_TOKENS[name][1]) ** 0.307
        wanted = 0.58 * middle_tokens**0.571
    elif name == "slaw_small":
        lr = min(SMALL_LR_MAX, SMALL_LR_CONSTANT * (size / 108e6) ** (-1 / 3))
        wanted = 0.58 * middle_tokens**0.571
    else:
        raise ValueError(f"no rule is named {name!r}")
    batch_tokens = round_batch(wanted, model.n_ctx)
    return RuleChoice(
        rule=name,
        lr=float(f"{lr:.4g}"),  # four digits are more than the rule knows, and print whole
        batch_tokens=batch_tokens,
        beta2=beta2_for(batch_tokens),
        warmup_tokens=min(size, MEASURED["olmo_ladder"][1], WARMUP_FRAC * shortest_tokens),
        batch_wanted_tokens=wanted,
    )


def rule_for(params_non_embedding: float) -> str:
    """The rule that was measured at this size, or nearest to it; of two the one with data."""
    if params_non_embedding >= MEASURED["steplaw"][0]:
        return "steplaw"
    # between two ranges, the nearer end
    (_, small), (ladder, _) = MEASURED["slaw_small"], MEASURED["olmo_ladder"]
    return "slaw_small" if params_non_embedding < math.sqrt(small * ladder) else "olmo_ladder"


def round_batch(tokens: float, n_ctx: int) -> int:
    """The power of two of sequences nearest in ratio, within the validated range; in tokens."""
    largest = max(0, math.floor(math.log2(MAX_BATCH_TOKENS / n_ctx)))
    power = round(math.log2(max(tokens, 1.0) / n_ctx))
    smallest = int(math.log2(MIN_BATCH_SEQS))
    return int(2 ** max(smallest, min(largest, power)) * n_ctx)


def beta2_for(batch_tokens: int) -> float:
    """.99 for small batches, whose gradients are noisier, else .95 (Porian 2024)."""
    return 0.99 if batch_tokens < WIDE_BATCH_TOKENS else 0.95
