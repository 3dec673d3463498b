"""Objectives, one file each: ``objective: next_token`` is ``objectives/next_token.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaling_law.data.batch import Batch
from scaling_law.parts import NoSettings

if TYPE_CHECKING:
    from torch import Tensor

ATTENTIONS = ("causal", "full")


@dataclass(frozen=True, kw_only=True)
class ViewOf:
    """What a view may depend on besides the batch and the objective's settings.

    ``seed`` is for random draws: each training step of a run has its own, and in an evaluation each
    batch of a split has one that is the same for every run;
    ``vocab_size`` is the number of tokens that the model knows.
    """

    seed: int
    vocab_size: int


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The targets of a batch, and their loss.

    ``loss(outputs, targets, settings)`` gives the loss of each target, [B, T'], from the model's
    outputs at the targets' positions, [B, T', ...]; a batch's loss is their weighted mean;
    ``unit`` is the unit of the loss, such as ``nats per token``;
    ``comparable`` names the family of losses on one scale: losses of two families are not compared;
    ``view(batch, settings, of)`` gives the batch to train on, as a pure function of its
    arguments; None takes the batch as the data give it;
    ``attention`` is ``causal``, or ``full`` where a position may see those after it: it sets the
    attribute ``causal`` of every module of the model that has one;
    ``fast`` says that the loss is the cross-entropy of each position's next token, which a model
    may compute itself (``train.forward.OwnLoss``), in a stack, or compiled;
    ``targets`` says what it predicts, ``ids`` or ``numbers``, so that other data are refused before
    they are trained on; "" takes either;
    ``settings`` is a dataclass.
    """

    loss: Callable[[Tensor, Tensor, Any], Tensor]
    unit: str
    comparable: str
    view: Callable[[Batch, Any, ViewOf], Batch] | None = None
    attention: str = "causal"
    fast: bool = False
    targets: str = ""
    settings: type = NoSettings

    def __post_init__(self) -> None:
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention is {self.attention!r}, expected {' or '.join(ATTENTIONS)}")
        if self.fast and self.attention != "causal":
            raise ValueError("a fast loss needs causal attention")
        if self.targets not in ("", "ids", "numbers"):
            raise ValueError(f"targets is {self.targets!r}, expected ids, numbers or nothing")
        for name in ("unit", "comparable"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty, expected a text")
