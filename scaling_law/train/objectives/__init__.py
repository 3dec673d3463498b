"""Objectives, one file each: ``objective: next_token`` is ``objectives/next_token.py``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from scaling_law.data.batch import Batch
from scaling_law.parts import NoSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

ATTENTIONS = ("causal", "full", "prefix")


# Positions of a context that ``Objective.infill`` may fill with ids that are no text.
INFILL_ROOM = 8


@dataclass(frozen=True, kw_only=True)
class ViewOf:
    """What a view may depend on besides the batch and the objective's settings.

    ``seed`` is for random draws: each training step of a run has its own, and in an evaluation each
    batch of a split has one that is the same for every run;
    ``vocab_size`` is the number of tokens that the model knows.
    """

    seed: int
    vocab_size: int


# From a batch and an objective's settings to another batch, as a pure function.
Change: TypeAlias = Callable[[Batch, Any, ViewOf], Batch]


@dataclass(frozen=True, kw_only=True)
class BatchLosses:
    """What the model loses on a training batch before its step.

    ``losses`` are those of each target, [B, T'], in the objective's unit;
    ``reference`` are the losses of another run's final model on the same targets, None where the
    objective reads no such run;
    ``components`` is [B] and numbers the component of each example, None where that is not known.
    """

    losses: NDArray[np.float64]
    reference: NDArray[np.float64] | None
    components: NDArray[np.int64] | None


class Weigher(ABC):
    """Weighs the targets of each training batch by the losses so far, and remembers what it must.

    A run asks it once before each step. Its state is part of the run's checkpoints, so that a run
    resumes to the same bits.
    """

    @abstractmethod
    def weigh(self, seen: BatchLosses) -> NDArray[np.float64]:
        """Return how much each target counts in the step, [B, T']; it learns from ``seen``."""

    @abstractmethod
    def measures(self) -> Mapping[str, tuple[float, str]]:
        """Numbers for the curve and the record by name, each with its unit."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs, as numbers and lists of them."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that ``state_dict`` gave."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The targets of a batch, and their loss.

    ``loss(outputs, targets, settings)`` gives the loss of each target, [B, T'], from the model's
    outputs at the targets' positions, [B, T', ...]; a batch's loss is their weighted mean;
    ``unit`` is the unit of the loss, such as ``nats per token``;
    ``comparable`` names the family of losses on one scale: losses of two families are not compared;
    ``view(batch, settings, of)`` gives the batch to train on, as a pure function of its
    arguments; None takes the batch as the data give it;
    ``augment(batch, settings, of)`` gives the batch that training reads in place of the data's, as
    a pure function, before ``view``; measurements, also those of training examples, read the
    batch that the data give. None changes nothing;
    ``infill(texts, starts, length, settings)`` gives the examples in which a span of ``length``
    tokens of each text [B, N] is predicted from what the objective can read around it, each token
    after those before it in the span. The spans begin at ``starts`` [B]; N is at most n_ctx less
    ``INFILL_ROOM``. The targets that count are the spans' tokens, text after text; None for an
    objective that fills in nothing;
    ``reads_text`` says that its ``view`` or ``augment`` needs text, a next token at each position,
    and says itself how much each target counts;
    ``refusal(settings, vocab_size, n_ctx)`` says why it cannot be trained with a vocabulary or
    context; "" where it can;
    ``attention`` is ``causal``; ``full`` where a position may see those after it; or ``prefix``
    where those of each example's first positions that the batch names (``Batch.prefix``) see one
    another and all others are causal. An architecture says which it has. It sets the attribute
    ``causal`` of every module of the model that has one;
    ``fast`` says that the loss is the cross-entropy of each position's next token, which a model
    may compute itself (``train.forward.OwnLoss``), in a stack, or compiled;
    ``weigher(components, settings)`` makes what weighs the targets of every training batch, where
    the data's components have these names; None weighs nothing. A held-out loss is not weighed;
    ``reads_components`` says that its weigher needs the component of each example, as a mixture
    gives it;
    ``reads_reference`` says that its weigher needs the losses of another run's final model, which
    the grid names as ``reference``;
    ``slowdown`` is the time of a training step over that of a step without its weigher;
    ``targets`` says what it predicts, ``ids`` or ``numbers``, so that other data are refused before
    they are trained on; "" takes either;
    ``settings`` is a dataclass.
    """

    loss: Callable[[Tensor, Tensor, Any], Tensor]
    unit: str
    comparable: str
    view: Change | None = None
    augment: Change | None = None
    infill: Callable[[NDArray[np.int64], NDArray[np.int64], int, Any], Batch] | None = None
    refusal: Callable[[Any, int, int], str] = lambda settings, vocab_size, n_ctx: ""
    attention: str = "causal"
    fast: bool = False
    weigher: Callable[[tuple[str, ...], Any], Weigher] | None = None
    reads_components: bool = False
    reads_reference: bool = False
    slowdown: float = 1.0
    targets: str = ""
    reads_text: bool = False
    settings: type = NoSettings

    def __post_init__(self) -> None:
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention is {self.attention!r}, expected {' or '.join(ATTENTIONS)}")
        if self.fast and self.attention != "causal":
            raise ValueError("a fast loss needs causal attention")
        if self.targets not in ("", "ids", "numbers"):
            raise ValueError(f"targets is {self.targets!r}, expected ids, numbers or nothing")
        for name in ("reads_components", "reads_reference"):
            if getattr(self, name) and self.weigher is None:
                raise ValueError(f"{name} is True, and the objective has no weigher that would")
        if not self.slowdown >= 1:
            raise ValueError(f"slowdown is {self.slowdown!r}, expected a number of at least 1")
        for name in ("unit", "comparable"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty, expected a text")
