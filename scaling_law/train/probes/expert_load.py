"""How evenly a mixture of experts spreads the tokens of ``val``, by layer.

``share.layers.0.experts.2`` is the share of tokens that go through the third expert of the first
layer: A/E for an even load of E experts of which a token goes through A. ``imbalance.layers.0`` is
E times the sum of the squares of the experts' shares of all choices: 1 for even loads, E where one
expert has all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from torch import Tensor

    from scaling_law.train.subject import Subject


def measure(subject: Subject, settings: NoSettings) -> dict[str, float]:
    """Return the shares of tokens by layer and expert, and the imbalance by layer."""
    loads: list[Tensor] = []  # of each layer, choices by expert
    tokens = 0
    for batch in subject.batches("val"):
        layers = [chosen.double().flatten(0, -2) for chosen in subject.inside(batch, "experts")]
        sums = [chosen.sum(dim=0) for chosen in layers]
        loads = [a + b for a, b in zip(loads, sums, strict=True)] if loads else sums
        tokens += len(layers[0])
    numbers = {}
    for at, load in enumerate(loads):
        for expert, count in enumerate(load.tolist()):
            numbers[f"share.layers.{at}.experts.{expert}"] = count / tokens
        numbers[f"imbalance.layers.{at}"] = float(len(load) * (load / load.sum()).square().sum())
    return numbers


PROBE = Probe(
    measure=measure,
    unit="share of tokens; imbalance, 1 for even loads",
    passes=1,
    needs="experts",
)
