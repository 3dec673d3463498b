"""The share of hidden units that are never active on examples of ``val``, by layer.

A unit is active where its activation is above ``active`` times the root mean square of its layer's:
ReLU's and ReLU^2's dead units give exactly 0, GELU's and SwiGLU's a small number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.spec.values import Number
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from torch import Tensor

    from scaling_law.train.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the share.

    ``active`` is the least activation that counts, over the root mean square of its layer's.
    """

    active: Annotated[float, Number("share of the layer's rms", low=0, high=1)] = 1e-3


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Return the share by layer."""
    import torch

    largest: list[Tensor] = []  # of each layer, by unit
    squares: list[float] = []
    numbers = 0
    for batch in subject.batches("val"):
        layers = [units.double().flatten(0, -2) for units in subject.inside(batch, "units")]
        most = [units.abs().amax(dim=0) for units in layers]
        sums = [float(units.square().sum()) for units in layers]
        if largest:
            most = [torch.maximum(a, b) for a, b in zip(largest, most, strict=True)]
            sums = [a + b for a, b in zip(squares, sums, strict=True)]
        largest, squares = most, sums
        numbers += len(layers[0])
    return {
        f"layers.{at}": float(
            (most <= settings.active * (sum_ / numbers / len(most)) ** 0.5).double().mean()
        )
        for at, (most, sum_) in enumerate(zip(largest, squares, strict=True))
    }


PROBE = Probe(measure=measure, unit="share of units", passes=1, needs="units", settings=Settings)
