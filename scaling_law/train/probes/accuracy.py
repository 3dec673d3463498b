"""The share of targets that the likeliest output predicts, on ``train`` and all ``val`` splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe, needs_ids

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject


def measure(subject: Subject, settings: NoSettings) -> dict[str, float]:
    """Return the share by split; each target counts with its weight."""
    return {split: _accuracy(subject, split) for split in subject.splits}


def _accuracy(subject: Subject, split: str) -> float:
    right = counted = 0.0
    for batch in subject.batches(split):
        if batch.targets.is_floating_point():
            raise ValueError("accuracy needs targets that are ids, found numbers")
        hits = subject.forward(batch).argmax(dim=-1) == batch.targets
        weights = hits.new_ones(hits.shape) if batch.weights is None else batch.weights
        right += float((hits * weights).sum())
        counted += float(weights.sum())
    return right / counted


PROBE = Probe(measure=measure, unit="share of targets", refusal=needs_ids)
