"""The next token's loss by its place in the document, on ``val``.

The last id of a text's vocabulary stands before each document; the token after it has the place 1.
Tokens of a document that began before the sequence do not count. Blocks of places double, as those
of ``position_loss``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe, needs_text
from scaling_law.train.probes.position_loss import blocks

if TYPE_CHECKING:
    from torch import Tensor

    from scaling_law.train.subject import Subject


def places(ids: Tensor, separator: int) -> Tensor:
    """Return the place of the token after each of ids [B, T]; 0 before the first document."""
    import torch

    at = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
    began = torch.where(ids == separator, at, -1).cummax(dim=1).values
    return torch.where(began >= 0, at - began + 1, 0)


def measure(subject: Subject, settings: NoSettings) -> dict[str, float]:
    """Return the mean nats of each block of places that has a token, the separator left out."""
    import torch
    import torch.nn.functional as F  # noqa: N812 - torch's own idiom

    losses, where = [], []
    for batch in subject.batches("val"):
        if batch.targets.shape != batch.inputs.shape or batch.targets.is_floating_point():
            raise ValueError("document_loss needs text, a target of ids at every position")
        logits = subject.forward(batch).float()
        separator = logits.shape[-1] - 1
        each = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
        counts = (batch.targets != separator).flatten()
        losses.append(each[counts].double())
        where.append(places(batch.inputs, separator).flatten()[counts])
    loss, place = torch.cat(losses), torch.cat(where)
    means = {}
    for first, last in blocks(max(1, int(place.max()))):
        inside = (place >= first) & (place <= last)
        if inside.any():
            key = str(first) if first == last else f"{first}-{last}"
            means[f"val.{key}"] = float(loss[inside].mean())
    return means


PROBE = Probe(measure=measure, unit="nats per token", when="end", passes=1, refusal=needs_text)
