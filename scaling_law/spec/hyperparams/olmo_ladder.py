"""LR falls with the cube root of N, batch grows with N^(2/3) (Porian 2024, as OLMo's ladder)."""

from __future__ import annotations

from scaling_law.parts import NoSettings
from scaling_law.spec.hyperparams import Rule, RuleChoice, Sizing, choice


def choose(sizing: Sizing, settings: NoSettings) -> RuleChoice:
    """LR = .0047 (N / 108e6)^(-1/3), halved for WSD; batch = 160 * 2048 (N / 108e6)^(2/3) tokens.

    Porian 2024, arXiv 2406.19146, as the OLMo ladder uses it.
    """
    ratio = sizing.params / 108e6
    return choice(
        sizing,
        lr=0.0047 * ratio ** (-1 / 3) * (0.5 if sizing.shares_trunk else 1.0),
        batch_tokens=160 * 2048 * ratio ** (2 / 3),
    )


RULE = Rule(choose=choose, measured_params=(5e6, 901e6))
