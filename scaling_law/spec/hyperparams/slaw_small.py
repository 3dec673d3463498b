"""For the models of a small machine: a capped LR from N, batch from D as Step Law has it."""

from __future__ import annotations

from scaling_law.parts import NoSettings
from scaling_law.spec.hyperparams import Rule, RuleChoice, Sizing, choice

LR_CONSTANT = 0.0008
LR_MAX = 0.02


def choose(sizing: Sizing, settings: NoSettings) -> RuleChoice:
    """LR with the exponent of ``olmo_ladder`` and a lower, capped constant; batch = .58 D^.571.

    The batch follows D, because one that grows with N leaves large models of a short horizon too
    few steps. Measured in benchmarks/NOTES.md.
    """
    return choice(
        sizing,
        lr=min(LR_MAX, LR_CONSTANT * (sizing.params / 108e6) ** (-1 / 3)),
        batch_tokens=0.58 * sizing.middle_tokens**0.571,
    )


RULE = Rule(choose=choose, measured_params=(14e3, 440e3))
