"""LR from N and D, batch from D, fitted to thousands of runs (Step Law, arXiv 2503.04715)."""

from __future__ import annotations

from scaling_law.parts import NoSettings
from scaling_law.spec.hyperparams import Rule, RuleChoice, Sizing, choice

MEASURED_TOKENS = (2e9, 100e9)


def choose(sizing: Sizing, settings: NoSettings) -> RuleChoice:
    """LR = 1.79 N^-.713 D^.307, batch = .58 D^.571 tokens, D the horizons' geometric mean.

    In the LR, D stays at most the most tokens it was measured on: the LR grows with D, and a run
    far longer would diverge.
    """
    tokens = sizing.middle_tokens
    return choice(
        sizing,
        lr=1.79 * sizing.params**-0.713 * min(tokens, MEASURED_TOKENS[1]) ** 0.307,
        batch_tokens=0.58 * tokens**0.571,
    )


RULE = Rule(choose=choose, measured_params=(60e6, 1e9), measured_tokens=MEASURED_TOKENS)
