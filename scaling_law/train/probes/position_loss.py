"""The next token's loss by its position in the context, on ``val``.

Blocks of positions double: 1, 2, 3-4, 5-8, and so on (Kaplan 2020, arXiv 2001.08361, figure 7,
shows the loss of each position).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe, needs_ids

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject


def blocks(count: int) -> list[tuple[int, int]]:
    """The (first, last) positions of each block, from 1; the last block ends at ``count``."""
    ends = [1]
    while ends[-1] < count:
        ends.append(min(2 * ends[-1], count))
    return [(before + 1, end) for before, end in zip([0, *ends], ends, strict=False)]


def measure(subject: Subject, settings: NoSettings) -> dict[str, float]:
    """Return the mean nats of each block of positions; each target counts with its weight."""
    import torch
    import torch.nn.functional as F  # noqa: N812 - torch's own idiom

    losses, weights = [], []
    for batch in subject.batches("val"):
        if batch.targets.is_floating_point():
            raise ValueError("position_loss needs targets that are ids, found numbers")
        logits = subject.forward(batch).float().flatten(0, 1)
        each = F.cross_entropy(logits, batch.targets.flatten(), reduction="none")
        weight = torch.ones_like(each) if batch.weights is None else batch.weights.flatten()
        losses.append((each * weight).view(batch.targets.shape).double().sum(dim=0))
        weights.append(weight.view(batch.targets.shape).double().sum(dim=0))
    loss, weight = torch.stack(losses).sum(dim=0), torch.stack(weights).sum(dim=0)
    means = {}
    for first, last in blocks(len(loss)):
        whole = float(weight[first - 1 : last].sum())
        if whole > 0:
            key = str(first) if first == last else f"{first}-{last}"
            means[f"val.{key}"] = float(loss[first - 1 : last].sum()) / whole
    return means


PROBE = Probe(measure=measure, unit="nats per token", when="end", passes=1, refusal=needs_ids)
