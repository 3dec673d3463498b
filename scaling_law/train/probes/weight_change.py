"""How far each matrix has moved from its first values: the L2 norm of the change over theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe, l2_norm

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject


def measure(subject: Subject, settings: NoSettings) -> dict[str, float]:
    """Return the relative change by the matrix's name; one that starts at zero has none."""
    first = dict(subject.initial().named_parameters())
    moved = {}
    for name, weight in subject.model.named_parameters():
        if weight.ndim > 1 and (norm := l2_norm([first[name]])):
            moved[name] = l2_norm([weight.detach() - first[name].detach()]) / norm
    return moved


PROBE = Probe(measure=measure, unit="relative change", when="end", passes=0)
