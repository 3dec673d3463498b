"""L2 norm of all weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe, l2_norm

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject


def measure(subject: Subject, settings: NoSettings) -> float:
    """The norm."""
    return l2_norm(subject.model.parameters())


PROBE = Probe(measure=measure, unit="L2 norm", passes=0)
