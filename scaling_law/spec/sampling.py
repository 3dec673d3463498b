"""Specify the texts to draw from a trained model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Texts from a run's final weights.

    ``run``: its run id.
    ``count``: how many texts.
    ``tokens``: the length of each, in tokens.
    ``temperature``: the divisor of the logits.
    ``seed``: the seed of the random numbers.
    """

    run: str
    count: int
    tokens: int
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("count", "tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not 0 < self.temperature < 1e6:
            raise ValueError(f"temperature is {self.temperature}, expected above 0")
