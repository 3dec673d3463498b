"""The loss on ``val`` of guessing each target by its frequency there, whatever comes before it.

No model that ignores what it reads has a lower loss. It does not depend on the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.files.record import NATS
from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject


def measure(subject: Subject, settings: NoSettings) -> float:
    """Return the entropy of the targets' frequencies; each target counts with its weight."""
    import torch

    targets, weights = [], []
    for batch in subject.batches("val"):
        if batch.targets.is_floating_point():
            raise ValueError("guess_loss needs targets that are ids, found numbers")
        targets.append(batch.targets.flatten())
        ones = torch.ones_like(batch.targets, dtype=torch.float32)
        weights.append((ones if batch.weights is None else batch.weights).flatten())
    counts = torch.bincount(torch.cat(targets).cpu(), torch.cat(weights).cpu().double())
    shares = counts[counts > 0] / counts.sum()
    return -float((shares * shares.log()).sum())


PROBE = Probe(measure=measure, unit=NATS, when="end", passes=0)
