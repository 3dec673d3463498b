"""Each position predicts the next token: cross-entropy in nats (Radford 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.files.record import NATS, NEXT_TOKEN
from scaling_law.parts import NoSettings
from scaling_law.train.objectives import Objective

if TYPE_CHECKING:
    from torch import Tensor


def loss(outputs: Tensor, targets: Tensor, settings: NoSettings) -> Tensor:
    """Return the nats of each target, [B, T], from logits [B, T, V]; the softmax is in fp32."""
    import torch.nn.functional as F  # noqa: N812 - torch's own idiom

    logits = outputs.float().reshape(-1, outputs.shape[-1])
    return F.cross_entropy(logits, targets.reshape(-1), reduction="none").view(targets.shape)


OBJECTIVE = Objective(loss=loss, unit=NATS, comparable=NEXT_TOKEN, fast=True, targets="ids")
