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
    """What a view may depend on beside the batch and the objective's settings.

    ``seed`` is for drawing at random: one of the run's own for each training step, and in an
    evaluation one for each batch of a split, the same for every run;
    ``vocab_size`` is the number of tokens that the model knows.
    """

    seed: int
    vocab_size: int


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What of a batch is predicted, and its loss.

    ``loss(outputs, targets, settings)`` gives the loss of each target, [B, T'], from the model's
    outputs at the targets' positions, [B, T', ...]; a batch's loss is their weighted mean;
    ``unit`` is the loss's, such as ``nats per token``;
    ``comparable`` names the family of losses on one scale: losses of two families are not compared;
    ``view(batch, settings, of)`` gives the batch that is trained on, as a pure function of its
    arguments; None takes the batch as the data have it;
    ``attention`` is ``causal``, or ``full`` where a position may see those after it: it sets the
    attribute ``causal`` of every module of the model that has one;
    ``fast`` says that the loss is the cross-entropy of each position's next token, which a model
    may compute by a way of its own (``train.forward.OwnLoss``), in a stack, or compiled;
    ``settings`` is a dataclass.
    """

    loss: Callable[[Tensor, Tensor, Any], Tensor]
    unit: str
    comparable: str
    view: Callable[[Batch, Any, ViewOf], Batch] | None = None
    attention: str = "causal"
    fast: bool = False
    settings: type = NoSettings

    def __post_init__(self) -> None:
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention is {self.attention!r}, expected {' or '.join(ATTENTIONS)}")
        if self.fast and self.attention != "causal":
            raise ValueError("a fast loss needs causal attention")
        for name in ("unit", "comparable"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
