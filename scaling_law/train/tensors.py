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
    ``prefix`` and ``components`` are [B], as in ``Batch``;
    ``share`` is the share of the whole batch's weight that these examples have.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None
    prefix: Tensor | None = None
    components: Tensor | None = None
    share: float = 1.0

    def of_rank(self, rank: int, size: int) -> Tensors:
        """Return the examples of one of ``size`` processes that share the batch evenly."""
        return self if size == 1 else self._parts(len(self.inputs) // size)[rank]

    def split(self, examples: int, *, all_parts: bool = False) -> list[Tensors]:
        """Split the batch into parts of at most so many examples, without parts of weight 0.

        With ``all_parts`` those stay, their targets weighed alike and their share 0: processes
        that train together take as many parts each.
        """
        parts = self._parts(examples)
        return parts if all_parts else [part for part in parts if part.share > 0]

    def _parts(self, examples: int) -> list[Tensors]:
        total = len(self.inputs)
        if total <= examples:
            return [self]
        weights: Any = [None] * total
        prefixes, components = (
            [None] * total if numbers is None else torch.split(numbers, examples)
            for numbers in (self.prefix, self.components)
        )
        shares = [
            self.share * (min(examples, total - start) / total)
            for start in range(0, total, examples)
        ]
        if self.weights is not None:
            weights = torch.split(self.weights, examples)
            whole = float(self.weights.double().sum())
            shares = [self.share * (float(part.double().sum()) / whole) for part in weights]
            weights = [part if share else None for part, share in zip(weights, shares, strict=True)]
        parts = zip(
            torch.split(self.inputs, examples),
            torch.split(self.targets, examples),
            weights[: len(shares)],
            prefixes[: len(shares)],
            components[: len(shares)],
            shares,
            strict=True,
        )
        return [
            Tensors(
                inputs=inputs,
                targets=targets,
                weights=weight,
                prefix=prefix,
                components=component,
                share=share,
            )
            for inputs, targets, weight, prefix, component, share in parts
        ]

    def to(self, kind: str) -> Tensors:
        """Return the batch on a device."""
        if kind == "cpu":
            return self
        return Tensors(
            inputs=device.to_device(self.inputs, kind),
            targets=device.to_device(self.targets, kind),
            weights=None if self.weights is None else device.to_device(self.weights, kind),
            prefix=None if self.prefix is None else device.to_device(self.prefix, kind),
            components=None if self.components is None else device.to_device(self.components, kind),
            share=self.share,
        )
