"""Specify how a trained model continues a prompt, and the texts to draw from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from scaling_law.decode import build
from scaling_law.spec.to_json import to_json


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a model continues a prompt, token by token.

    ``tokens``: the most tokens to draw.
    ``temperature``: the divisor of the logits; 0 takes the likeliest token.
    ``top_k``: how many of the likeliest tokens may be drawn; None for all.
    ``top_p``: the probability that the likeliest tokens must have together to be all that may be
    drawn, after ``temperature`` and ``top_k``; None for all.
    ``seed``: the seed of the random numbers.
    """

    tokens: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ValueError(f"tokens is {self.tokens}, expected at least 1")
        if not 0 <= self.temperature < 1e6:
            raise ValueError(f"temperature is {self.temperature}, expected 0 or above")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}, expected at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}, expected above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class Draw(Sampling):
    """Texts from a run's final weights, each of ``tokens`` tokens.

    ``run``: its run id.
    ``count``: how many texts.
    """

    run: str
    count: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise ValueError(f"count is {self.count}, expected at least 1")
        if self.temperature == 0:
            raise ValueError("temperature is 0, expected above 0: all texts would be the same")

    @property
    def name(self) -> str:
        """``RUN-1a2b3c4d``: the run, and a hash that differs where any setting does."""
        content = json.dumps(to_json(self), sort_keys=True).encode()
        return f"{self.run}-{hashlib.sha256(content).hexdigest()[:8]}"


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """Continuations of one prompt.

    ``sampling``: how each is drawn.
    ``count``: how many.
    ``text``: the prompt; None where it is given as ids, or is the start of a document.
    ``ids``: the prompt's token ids; None where it is a text, or is the start of a document.
    ``stop``: texts that end a continuation and are left out of it.
    ``device``: where the model runs.
    ``streams``: whether each token is shown as it is drawn, one continuation after the other.
    """

    sampling: Sampling
    count: int = 1
    text: str | None = None
    ids: tuple[int, ...] | None = None
    stop: tuple[str, ...] = ()
    device: str = "auto"
    streams: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}, expected at least 1")
        if self.text is not None and self.ids is not None:
            raise ValueError("a prompt is a text or ids, not both")
        if self.text == "" or self.ids == () or "" in self.stop:
            raise ValueError("an empty prompt or stop text, expected at least one token")


def prompted_from_json(data: dict[str, Any]) -> Prompted:
    """The inverse of ``to_json``. Raises ``KeyError``, ``TypeError`` or ``ValueError``."""
    ids = None if data["ids"] is None else tuple(data["ids"])
    nested = {"sampling": build(Sampling, data["sampling"]), "ids": ids}
    return build(Prompted, {**data, **nested, "stop": tuple(data["stop"])})
