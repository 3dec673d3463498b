"""The target of a forecast: a size, tokens, compute, a loss, or two of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NoReturn

from scaling_law.errors import ConfigError

# No budget, model or corpus is larger: what needs more cannot be reached.
LARGEST = 1e60


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to forecast. One variable alone is completed compute-optimally; None: not given.

    Raises ``ConfigError`` for impossible figures, and for larger ones than a forecast supports.

    ``params``: parameters, counted as the law counts them.
    ``tokens``: training tokens.
    ``flops``: training FLOPs, as the law's points count them: 6 x params x tokens, or as a table
        or trainer gives them (``fit.flops_count``).
    ``target_loss``: the loss to reach, in nats per token.
    """

    params: float | None = None
    tokens: float | None = None
    flops: float | None = None
    target_loss: float | None = None

    def __post_init__(self) -> None:
        given = self.given
        if len(given) > 2 or {"target_loss", "flops"} <= given.keys():
            refuse_together(given)
        for name, value in given.items():
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} is {value}: expected above 0 and finite")
            if value > LARGEST:
                raise ConfigError(f"{name} is {value:g}: expected at most {LARGEST:g}")
            if value < 1 and name != "target_loss":
                raise ConfigError(f"{name} is {value:g}: expected at least 1")

    @property
    def given(self) -> dict[str, float]:
        """What is given, by name."""
        every = {
            "params": self.params,
            "tokens": self.tokens,
            "flops": self.flops,
            "target_loss": self.target_loss,
        }
        return {name: float(value) for name, value in every.items() if value is not None}


@dataclass(frozen=True)
class Times:
    """A figure given as a multiple of the largest one that the law was fitted to: ``10x``.

    ``factor``: how many times the largest.
    """

    factor: float

    def of(self, name: str, law: str, data_range: Mapping[str, tuple[float, float]]) -> float:
        """The figure. Raises ``ConfigError`` where the law has no largest one."""
        if name not in data_range:
            raise ConfigError(
                f"{name} {self.factor:g}x: law {law} does not say how far its data reach in {name};"
                " give a figure"
            )
        return self.factor * data_range[name][1]


def refuse_together(given: Collection[str]) -> NoReturn:
    """Raises ``ConfigError`` for variables that do not make one target."""
    raise ConfigError(
        f"{', '.join(given) or 'no target'} given: expected one of params, tokens, flops, "
        "target loss, or params or tokens with one more (not flops with target loss)"
    )
