"""L2 norms of the loss's gradient by layer and role, on one fixed batch of the training split.

``layers.0.attention`` are all weights of the first layer's attention. The squares of all norms add
up to that of the probe ``gradient_norm``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe, l2_norm
from scaling_law.train.probes._layers import by_group

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject


def measure(subject: Subject, settings: NoSettings) -> dict[str, float]:
    """Return the norms by group of weights."""
    _, gradients = subject.gradient(next(subject.batches("train")))
    return {
        group: l2_norm(gradients[name] for name in names)
        for group, names in by_group(gradients).items()
    }


PROBE = Probe(measure=measure, unit="L2 norm", passes=1)
