"""How one run's model lies on several devices, one file a kind: ``kind: ddp`` is ``ddp.py``.

A file exports ``KIND = Kind(build, spread)``; ``spec.parallel.STAGES`` has its stage.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scaling_law.spec.model import Model
from scaling_law.spec.parallel import Parallel
from scaling_law.train.forward import Trainable
from scaling_law.train.group import Group
from scaling_law.train.tensors import Tensors


class Spread:
    """A model that this process trains, alone; a kind's own class trains it with others.

    ``factor`` is what a loss is multiplied by, so that the gradients of all processes add up to
    those of the whole batch;
    ``shards`` says that this process has a share of each weight and of the optimizer's state.
    """

    factor: float = 1.0
    shards: bool = False

    def __init__(self, trainable: Trainable) -> None:
        self.trainable = trainable

    def losses(self, examples: Tensors) -> tuple[Tensor, Tensor | None]:
        """The mean loss of these examples, and what training minimises beside it."""
        return self.trainable.loss(examples), self.trainable.extra_loss()

    def exchanging(self, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """A context around one micro-batch; gradients are exchanged in the last one of a step."""
        return contextlib.nullcontext()

    def clip(self, limit: float | None) -> float:
        """Scale the gradient to the norm ``limit``, if it is longer; return its norm before."""
        weights: Iterable[nn.Parameter] = self.trainable.model.parameters()
        return float(torch.nn.utils.clip_grad_norm_(weights, limit or math.inf))

    def whole(self, tensor: Tensor) -> Tensor:
        """A copy of a weight of which every process has a share."""
        return tensor.clone()

    def share_of(self, whole: Tensor, like: Tensor) -> Tensor:
        """This process's share of a tensor that all have, where ``like`` is one of its shape."""
        return whole

    def load_weights(self, whole: Mapping[str, Tensor]) -> None:
        """Put whole weights, by name, into the model."""
        model = self.trainable.model
        like = model.state_dict()
        shares = {name: self.share_of(w, like.get(name, w)) for name, w in whole.items()}
        model.load_state_dict(shares)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind.

    ``build(model, seed, gradient_checkpointing, kind)`` is ``train.architectures.build``, spread
    over the devices of the group; ``kind`` is that of the devices;
    ``spread(trainable, group)`` is how the loop trains it.
    """

    build: Callable[[Model, int, bool, str], nn.Module]
    spread: Callable[[Trainable, Group], Spread]


def kind_of(parallel: Parallel) -> Kind:
    """The kind that a run asks for."""
    kind: Kind = importlib.import_module(f"{__name__}.{parallel.kind}").KIND
    return kind
