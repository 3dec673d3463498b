"""The loss of a model on a batch of examples, whatever counts in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from scaling_law.data.batch import Batch
from scaling_law.train import device
from scaling_law.train.compiled import Loss
from scaling_law.train.model import GPT


class Examples(NamedTuple):
    """A ``Batch`` as tensors."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None

    @property
    def plain(self) -> bool:
        """Whether every position predicts the next and counts alike."""
        return self.weights is None and self.targets.shape == self.inputs.shape

    @property
    def total_weight(self) -> float:
        """What all targets count together."""
        return float(self.targets.numel() if self.weights is None else self.weights.sum())

    def split(self, size: int) -> list[Examples]:
        """Micro-batches of at most ``size`` examples."""
        starts = range(0, len(self.inputs), size)
        return [self._cut(slice(start, start + size)) for start in starts]

    def _cut(self, rows: slice) -> Examples:
        weights = None if self.weights is None else self.weights[rows]
        return Examples(self.inputs[rows], self.targets[rows], weights)

    def to(self, kind: str) -> Examples:
        """On a kind of device."""
        weights = None if self.weights is None else device.to_device(self.weights, kind)
        inputs, targets = (device.to_device(x, kind) for x in (self.inputs, self.targets))
        return Examples(inputs, targets, weights)


def tensors(batch: Batch) -> Examples:
    """The batch as tensors that share its memory."""
    weights = None if batch.weights is None else _tensor(batch.weights)
    return Examples(_tensor(batch.inputs), _tensor(batch.targets), weights)


def _tensor(array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(array)


def mean_loss(model: GPT, plain_loss: Loss, examples: Examples) -> Tensor:
    """The weighted mean of the targets' losses, in nats; by ``plain_loss`` where it can."""
    if examples.plain:
        return plain_loss(examples.inputs, examples.targets)
    losses, weights = _losses(model, examples)
    return (losses * weights).sum() / weights.sum()


def example_losses(model: GPT, examples: Examples) -> tuple[Tensor, Tensor]:
    """Each example's mean loss [B], in nats, and what it counts [B]."""
    if examples.plain:
        losses = model.sequence_losses(examples.inputs, examples.targets)
        return losses, torch.ones_like(losses)
    losses, weights = _losses(model, examples)
    counts = weights.sum(dim=1)
    return (losses * weights).sum(dim=1) / counts, counts


def _losses(model: GPT, examples: Examples) -> tuple[Tensor, Tensor]:
    """The loss and the weight of every target [B, T'], which are of the last positions."""
    last = examples.targets.shape[1]
    logits = model(examples.inputs)[:, -last:].float()
    losses = F.cross_entropy(logits.transpose(1, 2), examples.targets, reduction="none")
    weights = examples.weights
    return losses, torch.ones_like(losses) if weights is None else weights
