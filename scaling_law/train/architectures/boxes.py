"""Means over boxes, computed in float64.

Shapes: B examples, d numbers of an input, K outputs, M boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from scaling_law.spec.architectures.boxes import Shape, boxes_of
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import Module
from scaling_law.train.tensors import Tensors


class Boxes(nn.Module):
    """A prediction [M, K] for each box, at first 0. No seed changes them."""

    def __init__(self, model: OtherModel) -> None:
        super().__init__()
        self.per_side = model.values_as(Shape).per_side
        self.means = nn.Parameter(
            torch.zeros((boxes_of(model), model.outputs), dtype=torch.float64)
        )

    def box(self, inputs: Tensor) -> Tensor:
        """Numbers [B, ...] -> the box of each, [B]; the outer boxes have all beyond the cube."""
        along = ((inputs.flatten(1).double() + 1) * self.per_side / 2).floor().long()
        along = along.clamp(0, self.per_side - 1)
        place = torch.zeros_like(along[:, 0])
        for column in along.T:
            place = place * self.per_side + column
        return place

    def forward(self, inputs: Tensor) -> Tensor:
        """Numbers [B, ...] -> outputs [B, K]."""
        return self.means[self.box(inputs)]


@torch.no_grad()
def solve(module: Boxes, batches: Callable[[], Iterator[Tensors]]) -> None:
    """Set each box to the mean target of its examples, an empty one to the mean of all."""
    sums = torch.zeros_like(module.means)
    counts = torch.zeros_like(sums)
    for batch in batches():
        box, targets = module.box(batch.inputs), batch.targets.double()
        weights = torch.ones_like(targets) if batch.weights is None else batch.weights.double()
        sums.index_add_(0, box, targets * weights)
        counts.index_add_(0, box, weights)
    everywhere = sums.sum(dim=0) / counts.sum(dim=0)
    module.means.copy_(torch.where(counts > 0, sums / counts, everywhere))


MODULE = Module(build=lambda model, seed, gradient_checkpointing: Boxes(model), solve=solve)
