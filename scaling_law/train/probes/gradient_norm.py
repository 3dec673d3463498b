"""L2 norm of the loss's gradient on one fixed batch of the training split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe, l2_norm

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject


def measure(subject: Subject, settings: NoSettings) -> float:
    """The norm."""
    _, gradients = subject.gradient(next(subject.batches("train")))
    return l2_norm(gradients.values())


PROBE = Probe(measure=measure, unit="L2 norm", passes=1)
