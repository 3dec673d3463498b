"""The share of the gradient that is lost in fp16 without a loss scale.

It is the share of numbers that are 0 without a scale and not with one of 2^16, among those that are
not 0 with it (Micikevicius 2018, arXiv 1710.03740). In fp32 and bf16, whose exponents reach
further, it is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject

SCALE = 2.0**16


def measure(subject: Subject, settings: NoSettings) -> float:
    """Return the share over all weights, by the gradient of the first batch of ``train``."""
    batch = next(iter(subject.batches("train")))
    _, plain = subject.gradient(batch)
    _, scaled = subject.gradient(batch, SCALE)
    lost = sum(float(((plain[name] == 0) & (g != 0)).sum()) for name, g in scaled.items())
    return lost / max(1.0, sum(float((g != 0).sum()) for g in scaled.values()))


PROBE = Probe(measure=measure, unit="share", when="end", passes=1)
