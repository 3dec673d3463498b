"""Data parallel (Li 2020, arXiv 2006.15704), by torch: every device has the whole model.

Devices add up their gradients bucket by bucket while the backward pass still runs.
"""

from __future__ import annotations

import contextlib
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from scaling_law.spec.model import Model
from scaling_law.train import architectures
from scaling_law.train.forward import Trainable
from scaling_law.train.group import Group
from scaling_law.train.parallel import Kind, Spread
from scaling_law.train.tensors import Tensors


class _Losses(nn.Module):
    """The forward pass that torch wraps."""

    def __init__(self, trainable: Trainable) -> None:
        super().__init__()
        self.model = trainable.model
        self._one = Spread(trainable)

    def forward(self, examples: Tensors) -> tuple[Tensor, Tensor | None]:
        """As ``Spread.losses``."""
        return self._one.losses(examples)


class _DataParallel(Spread):
    def __init__(self, trainable: Trainable, group: Group) -> None:
        super().__init__(trainable)
        # torch takes the mean over processes
        self.factor = float(group.size)
        # gradients lie in the buckets that are exchanged, which would else be as large again
        self._wrapped = DistributedDataParallel(
            _Losses(trainable), forward_sync_buffers=False, gradient_as_bucket_view=True
        )

    def losses(self, examples: Tensors) -> tuple[Tensor, Tensor | None]:
        losses: tuple[Tensor, Tensor | None] = self._wrapped(examples)
        return losses

    def exchanging(self, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if is_last else self._wrapped.no_sync()


def build(model: Model, seed: int, gradient_checkpointing: bool, kind: str) -> nn.Module:
    """The whole model: every process builds the same one."""
    return architectures.build(model, seed, gradient_checkpointing).to(kind)


KIND = Kind(build=build, spread=_DataParallel)
