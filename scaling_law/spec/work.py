"""What a probe has to do for a measurement, which a plan turns into seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.model import Model


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a plan knows of a measurement.

    ``model`` is the model that is measured;
    ``split_tokens`` are the tokens of the examples that a measurement reads of each split;
    ``n_targets`` is how many of an example's positions have a target;
    ``inputs`` and ``targets`` are ``ids`` or ``numbers``;
    ``infills`` says that the objective fills in spans.
    """

    model: Model
    split_tokens: Mapping[str, float]
    n_targets: int
    inputs: str = "ids"
    targets: str = "ids"
    infills: bool = True

    @property
    def is_text(self) -> bool:
        """Whether every position has a target, which is an id."""
        return self.targets == "ids" and self.n_targets == self.model.n_ctx

    def examples(self, split: str) -> int:
        """The most examples of a split that a measurement reads."""
        return max(1, int(self.split_tokens[split] // self.model.n_ctx))

    @property
    def validation(self) -> dict[str, float]:
        """The tokens of ``val`` and of every ``val:NAME``."""
        return {name: count for name, count in self.split_tokens.items() if name != "train"}


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one measurement takes.

    ``read_tokens`` are the tokens that the model reads in forward passes; a backward pass counts as
    two forward passes;
    ``drawn_tokens`` are the tokens that are drawn from its outputs;
    ``own_steps`` are training steps of small networks of the probe's own;
    ``own_flops`` are the FLOPs of all these steps.
    """

    read_tokens: float = 0.0
    drawn_tokens: float = 0.0
    own_steps: float = 0.0
    own_flops: float = 0.0

    def __add__(self, other: Work) -> Work:
        """Both, one after the other."""
        return Work(
            read_tokens=self.read_tokens + other.read_tokens,
            drawn_tokens=self.drawn_tokens + other.drawn_tokens,
            own_steps=self.own_steps + other.own_steps,
            own_flops=self.own_flops + other.own_flops,
        )


def continuing(model: Model, prompts: float, prompt_tokens: int, tokens: int) -> Work:
    """Continue so many prompts of one length by ``tokens`` each.

    A model with a key/value cache reads each token once; another one reads the whole text again
    for each token that it draws.
    """
    read = prompt_tokens + tokens - 1
    if not architecture_of(model).cache_numbers(model):
        read = sum(prompt_tokens + drawn for drawn in range(tokens))
    return Work(read_tokens=prompts * read, drawn_tokens=prompts * tokens)
