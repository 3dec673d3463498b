"""Each position predicts the next token: cross-entropy in nats (Radford 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaling_law.data.batch import Batch
from scaling_law.files.record import NATS, NEXT_TOKEN
from scaling_law.parts import NoSettings
from scaling_law.train.objectives import Objective
from scaling_law.train.objectives._marks import in_spans, predicted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


def cross_entropy(outputs: Tensor, targets: Tensor, settings: Any) -> Tensor:
    """Return the nats of each target, [B, T], from logits [B, T, V]; the softmax is in fp32."""
    import torch.nn.functional as F  # noqa: N812 - torch's own idiom

    logits = outputs.float().reshape(-1, outputs.shape[-1])
    return F.cross_entropy(logits, targets.reshape(-1), reduction="none").view(targets.shape)


def infill(
    texts: NDArray[np.int64], starts: NDArray[np.int64], length: int, settings: NoSettings
) -> Batch:
    """A span is predicted from the text before it alone."""
    return predicted(texts, in_spans(texts.shape, starts, length))


OBJECTIVE = Objective(
    loss=cross_entropy,
    unit=NATS,
    comparable=NEXT_TOKEN,
    infill=infill,
    fast=True,
    targets="ids",
)
