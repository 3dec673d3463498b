"""A batch as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scaling_law.train import device


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """A ``Batch`` as tensors: ids as int64, other numbers as fp32.

    ``inputs`` are ids [B, T] or numbers [B, ...];
    ``targets`` are [B, T'];
    ``weights`` are [B, T'], None where all targets count alike;
    ``share`` is the share of the whole batch's weight that these examples have.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None
    share: float = 1.0

    def split(self, examples: int) -> list[Tensors]:
        """Split the batch into parts of at most so many examples, without parts of weight 0."""
        total = len(self.inputs)
        if total <= examples:
            return [self]
        weights: Any = [None] * total
        shares = [min(examples, total - start) / total for start in range(0, total, examples)]
        if self.weights is not None:
            weights = torch.split(self.weights, examples)
            whole = float(self.weights.double().sum())
            shares = [float(part.double().sum()) / whole for part in weights]
        parts = zip(
            torch.split(self.inputs, examples),
            torch.split(self.targets, examples),
            weights[: len(shares)],
            shares,
            strict=True,
        )
        return [
            Tensors(inputs=inputs, targets=targets, weights=weight, share=share)
            for inputs, targets, weight, share in parts
            if share > 0
        ]

    def to(self, kind: str) -> Tensors:
        """Return the batch on a device."""
        if kind == "cpu":
            return self
        return Tensors(
            inputs=device.to_device(self.inputs, kind),
            targets=device.to_device(self.targets, kind),
            weights=None if self.weights is None else device.to_device(self.weights, kind),
            share=self.share,
        )
