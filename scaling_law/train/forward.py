"""Combine a model and its objective: from a batch to its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scaling_law.data.batch import Batch
from scaling_law.errors import RunFailed
from scaling_law.train.objectives import Objective
from scaling_law.train.tensors import Tensors


@runtime_checkable
class OwnLoss(Protocol):
    """A model that computes the next token's loss itself, without holding all logits."""

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean nats per token over ids [B, T]."""
        ...

    def sequence_losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean nats per token of each sequence, [B]."""
        ...


def tensors_of(batch: Batch) -> Tensors:
    """Return a batch as tensors in the host's memory. Raises ``ValueError`` for a bad batch."""
    if len(batch.inputs) != len(batch.targets):
        raise ValueError(f"{len(batch.inputs)} inputs and {len(batch.targets)} targets")
    weights = batch.weights
    if weights is not None:
        if weights.shape != batch.targets.shape:
            raise ValueError(
                f"weights of shape {list(weights.shape)}, expected that of the targets,"
                f" {list(batch.targets.shape)}"
            )
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise ValueError("expected weights of at least 0, finite, and one above 0")
    return Tensors(
        inputs=_tensor(batch.inputs),
        targets=_tensor(batch.targets),
        weights=None if weights is None else _tensor(weights.astype(np.float32, copy=False)),
        prefix=None if batch.prefix is None else _tensor(batch.prefix),
        components=None if batch.components is None else _tensor(batch.components),
    )


def _tensor(array: NDArray[Any]) -> Tensor:
    kind = np.float32 if np.issubdtype(array.dtype, np.floating) else np.int64
    return torch.from_numpy(array.astype(kind, copy=False))


@runtime_checkable
class ExtraLoss(Protocol):
    """A model whose training minimises more than the objective's loss, such as a balance."""

    def extra_loss(self) -> Tensor:
        """What the last batch that was read for training adds to its mean loss; asked once."""
        ...


class Trainable:
    """A model with the objective that it is trained for.

    ``settings`` are the objective's; ``compiled``, if any, replaces the model's own loss. Raises
    ``RunFailed`` for a batch or a loss that breaks its contract.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        settings: Any = None,
        compiled: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.model, self.objective, self.settings = model, objective, settings
        self._own = model if objective.fast and isinstance(model, OwnLoss) else None
        self._loss = compiled or (self._own.loss if self._own is not None else None)
        for module in model.modules():
            if hasattr(module, "causal"):
                setattr(module, "causal", objective.attention != "full")  # noqa: B010

    @property
    def is_fast(self) -> bool:
        """Say whether the model computes the loss itself, where all targets count alike."""
        return self._own is not None

    def loss(self, batch: Tensors) -> Tensor:
        """The weighted mean of the targets' losses."""
        if self._loss is not None and _is_plain(batch):
            return self._loss(batch.inputs, batch.targets)
        losses = self.target_losses(batch)
        if batch.weights is None:
            return losses.mean()
        return _counted(losses, batch.weights).sum() / batch.weights.sum()

    def extra_loss(self) -> Tensor | None:
        """What training minimises beside ``loss`` of the last batch; None where there is nothing.

        It is no part of the losses that are recorded, so that they compare between models.
        """
        return self.model.extra_loss() if isinstance(self.model, ExtraLoss) else None

    def example_losses(self, batch: Tensors) -> tuple[Tensor, Tensor]:
        """The weighted mean loss of each example, [B], and its weight, [B]."""
        if self._own is not None and _is_plain(batch):
            losses = self._own.sequence_losses(batch.inputs, batch.targets)
            return losses, torch.full_like(losses, batch.targets.shape[1])
        each = self.target_losses(batch).flatten(1)
        weights = torch.ones_like(each) if batch.weights is None else batch.weights.flatten(1)
        whole = weights.sum(dim=1)
        # an example without weight has the loss 0 and does not count
        return _counted(each, weights).sum(dim=1) / whole.clamp_min(1e-30), whole

    def outputs(self, batch: Tensors) -> Tensor:
        """The model's outputs at the targets' positions, the last ones: [B, T', ...]."""
        seen = () if batch.prefix is None else (batch.prefix,)
        outputs: Tensor = self.model(batch.inputs, *seen)
        if outputs.ndim > 2 and outputs.shape[1] < batch.targets.shape[1]:
            raise RunFailed(
                f"the model's outputs of an example are {outputs.shape[1]}, its targets"
                f" {batch.targets.shape[1]}: choose data and architecture that fit each other"
            )
        if outputs.ndim > 2 and outputs.shape[1] > batch.targets.shape[1]:
            outputs = outputs[:, -batch.targets.shape[1] :]
        return outputs

    def target_losses(self, batch: Tensors) -> Tensor:
        """The loss of each target, [B, T'], in the shape of the targets."""
        losses = self.objective.loss(self.outputs(batch), batch.targets, self.settings)
        if losses.shape != batch.targets.shape:
            raise RunFailed(
                f"the objective's loss is of shape {list(losses.shape)}, expected one for each"
                f" target, {list(batch.targets.shape)}"
            )
        return losses


def _is_plain(batch: Tensors) -> bool:
    """Say whether every position has a target, all count alike, and none sees a later one."""
    plain = batch.weights is None and batch.prefix is None
    return plain and batch.targets.shape == batch.inputs.shape


def _counted(losses: Tensor, weights: Tensor) -> Tensor:
    """Return losses times weights; a loss with weight 0 may be infinite."""
    return torch.where(weights > 0, losses * weights, 0.0)
