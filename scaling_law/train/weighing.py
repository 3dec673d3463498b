"""Weigh the targets of a training batch before its step, as the run's objective says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scaling_law.errors import RunFailed
from scaling_law.train.forward import Trainable
from scaling_law.train.objectives import BatchLosses, Weigher
from scaling_law.train.tensors import Tensors


class Weighing:
    """A run's weigher, and the model whose losses it reads.

    ``name`` is the objective's, with which measures begin;
    ``reference`` is another run's final model, which does not change; None for a weigher that reads
    none.
    """

    def __init__(self, name: str, weigher: Weigher, reference: Trainable | None) -> None:
        self.name, self.weigher, self.reference = name, weigher, reference

    def weighed(
        self,
        trainable: Trainable,
        batch: Tensors,
        *,
        at_once: int,
        kind: str,
        autocast: Callable[[], Any],
    ) -> Tensors:
        """Return the batch with the weights that its targets have in the next step.

        They multiply those that the batch has. Both models read it first, ``at_once`` examples in
        one pass. Several devices each read the whole batch, so that all have the same weights.
        Raises ``RunFailed`` for weights that no loss can have.
        """

        def losses_of(model: Trainable) -> NDArray[np.float64]:
            return _losses(model, batch.split(at_once, all_parts=True), kind, autocast)

        seen = BatchLosses(
            losses=losses_of(trainable),
            reference=None if self.reference is None else losses_of(self.reference),
            components=None if batch.components is None else batch.components.numpy(),
        )
        if not np.isfinite(seen.losses).all():
            return batch  # the run has diverged, and its own check says so
        weights = self.weigher.weigh(seen)
        if weights.shape != seen.losses.shape or not _is_usable(weights):
            raise RunFailed(
                f"the objective {self.name} weighs the targets of a batch by {weights!s:.60},"
                " expected a number of at least 0 for each, one above 0"
            )
        each = torch.from_numpy(weights.astype(np.float32))
        return dataclasses.replace(
            batch, weights=each if batch.weights is None else each * batch.weights
        )

    def measures(self) -> tuple[dict[str, float], dict[str, str]]:
        """Return the weigher's numbers by metric, and their units."""
        given = {f"{self.name}.{key}": own for key, own in self.weigher.measures().items()}
        return {k: value for k, (value, _) in given.items()}, {k: u for k, (_, u) in given.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the weigher's state for a checkpoint."""
        return self.weigher.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the weigher's state."""
        self.weigher.load_state_dict(state)


@torch.no_grad()
def _losses(
    trainable: Trainable, parts: list[Tensors], kind: str, autocast: Callable[[], Any]
) -> NDArray[np.float64]:
    """The loss of each target of a batch, [B, T']."""
    model = trainable.model
    was_training = model.training
    model.eval()
    losses = []
    try:
        for part in parts:
            with autocast():
                losses.append(trainable.target_losses(part.to(kind)))
    finally:
        model.train(was_training)
    each: NDArray[np.float64] = torch.cat(losses).cpu().double().numpy()
    return each


def _is_usable(weights: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(weights).all() and (weights >= 0).all() and weights.any())
