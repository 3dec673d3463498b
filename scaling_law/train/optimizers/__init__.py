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


def nothing_missing() -> None:
    """The ``missing`` of an optimizer that every installation has."""


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """An update rule.

    ``make(groups, optim, settings, device)`` gives a ``torch.optim.Optimizer`` whose state is in
    its ``state_dict``; each group has its ``params``, its ``weight_decay``, and its ``lr``. The
    loop sets the learning rate of every group before each step;
    ``state_bytes_per_param`` is its state without weight and gradient, in bytes a parameter;
    ``settings`` is a dataclass; fields that ``OptimSpec`` has too are recorded there;
    ``stacks`` says that the runs of a stack may share one program with it, and devices a share of
    the weights each: its state is tensors of the weights' shapes and its update is elementwise;
    ``by_role`` says that weights of different roles (``train.parametrisations``) are in different
    groups, each with its ``role``;
    ``missing`` says what must be installed first, None for nothing.

    An optimizer that evaluates other weights than it trains, such as their average, has the methods
    ``eval`` and ``train`` (``train.optim.Averages``).
    """

    make: Callable[[Groups, OptimSpec, Any, str], torch.optim.Optimizer]
    state_bytes_per_param: float
    settings: type = NoSettings
    stacks: bool = False
    by_role: bool = False
    missing: Callable[[], str | None] = nothing_missing
