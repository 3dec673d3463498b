"""Optimizers, one file each: ``optim: {name: adamw}`` is ``optimizers/adamw.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaling_law.parts import NoSettings
from scaling_law.spec.optim import OptimSpec

if TYPE_CHECKING:
    import torch

    Groups = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """An update rule.

    ``make(groups, optim, settings, device)`` gives a ``torch.optim.Optimizer`` whose state is in
    its ``state_dict``; each group has its ``params``, its ``weight_decay``, and its ``lr``. The
    loop sets the learning rate of every group before each step;
    ``state_bytes_per_param`` is its state without weight and gradient, in bytes a parameter;
    ``settings`` is a dataclass; fields that ``OptimSpec`` has too are recorded there;
    ``stacks`` says that the runs of a stack may share one program with it: its state is tensors of
    the weights' shapes and its update is elementwise.
    """

    make: Callable[[Groups, OptimSpec, Any, str], torch.optim.Optimizer]
    state_bytes_per_param: float
    settings: type = NoSettings
    stacks: bool = False
