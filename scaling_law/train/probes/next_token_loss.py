"""The next token's loss on ``val``, whatever the run's own objective is.

Attention is causal and each token counts alike, so that runs of several objectives compare. An
objective that never learned to predict from the left alone has a high loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.files.record import NATS
from scaling_law.parts import NoSettings
from scaling_law.train.objectives.next_token import OBJECTIVE
from scaling_law.train.probes import Probe, needs_ids

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject


def measure(subject: Subject, settings: NoSettings) -> float:
    """Return the mean loss of a token."""
    plain = subject.under(OBJECTIVE, NoSettings())
    total = weight = 0.0
    for batch in plain.batches("val"):
        losses, weights = plain.losses(batch)
        total += float((losses.double() * weights).sum())
        weight += float(weights.sum())
    return total / weight


PROBE = Probe(measure=measure, unit=NATS, passes=1, refusal=needs_ids)
