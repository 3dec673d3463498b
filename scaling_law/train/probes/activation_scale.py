"""How large the residual stream is, on examples of ``val``: what layers read and add up to.

``rms.layers.0`` is the root mean square of the stream after the first layer, ``largest.layers.0``
its largest magnitude; ``rms.embedding`` is what the first layer reads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe
from scaling_law.train.probes._layers import stream_keys

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject


def measure(subject: Subject, settings: NoSettings) -> dict[str, float]:
    """Return both by layer."""
    squares: list[float] = []
    largest: list[float] = []
    numbers = 0
    for batch in subject.batches("val"):
        states = [state.float() for state in subject.inside(batch, "stream")]
        squares = squares or [0.0] * len(states)
        largest = largest or [0.0] * len(states)
        for at, state in enumerate(states):
            squares[at] += float(state.double().square().sum())
            largest[at] = max(largest[at], float(state.abs().max()))
        numbers += states[0].numel()
    keys = stream_keys(len(squares))
    rms = [math.sqrt(whole / numbers) for whole in squares]
    return {
        f"{name}.{key}": value
        for name, values in (("rms", rms), ("largest", largest))
        for key, value in zip(keys, values, strict=True)
    }


PROBE = Probe(measure=measure, unit="activation", passes=1, needs="stream")
