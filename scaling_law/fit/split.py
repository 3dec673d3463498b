"""The compute-optimal split of a budget between parameters and tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

# Beyond this a natural logarithm no longer fits a float's exponent.
_LARGEST_LOG = 700.0


def bounded_exp(value: float) -> float:
    """exp(value), limited to the range of floats."""
    return math.exp(max(-_LARGEST_LOG, min(value, _LARGEST_LOG)))


class BestSplit(Protocol):
    """The best split of every budget: a law's own, or that of a forecast over several laws."""

    def params(self, flops: float) -> float:
        """Compute-optimal parameters for a budget in FLOPs."""

    def tokens(self, flops: float) -> float:
        """Compute-optimal tokens for a budget in FLOPs."""

    def tokens_for_params(self, params: float) -> float:
        """The tokens for which this many parameters are compute-optimal."""

    def params_for_tokens(self, tokens: float) -> float:
        """The parameters for which this many tokens are compute-optimal."""


@dataclass(frozen=True)
class Split:
    """Compute-optimal split under C = 6ND: params = exp(log_scale) * (flops / 6)^exponent.

    ``exponent``: a in params ~ flops^a; tokens grow with 1 - a.
    ``log_scale``: natural logarithm of the parameters at 6 FLOPs.
    """

    exponent: float
    log_scale: float

    def params(self, flops: float) -> float:
        """Compute-optimal parameters for a budget in FLOPs."""
        return bounded_exp(self.log_scale + self.exponent * math.log(flops / 6))

    def tokens(self, flops: float) -> float:
        """Compute-optimal tokens for a budget in FLOPs."""
        return flops / 6 / self.params(flops)

    def flops_for_params(self, params: float) -> float:
        """The FLOPs at which this many parameters are compute-optimal."""
        return 6 * bounded_exp((math.log(params) - self.log_scale) / self.exponent)

    def tokens_for_params(self, params: float) -> float:
        """The tokens for which this many parameters are compute-optimal."""
        log_params = math.log(params)
        return bounded_exp((log_params - self.log_scale) / self.exponent - log_params)

    def params_for_tokens(self, tokens: float) -> float:
        """The parameters for which this many tokens are compute-optimal."""
        share = self.log_scale + self.exponent * math.log(tokens)
        return bounded_exp(share / (1 - self.exponent))

    @property
    def figures(self) -> dict[str, float]:
        """The split as it is published: params = G (flops / 6)^a, tokens = (flops / 6)^b / G."""
        return {"a": self.exponent, "b": 1 - self.exponent, "G": bounded_exp(self.log_scale)}

    @classmethod
    def from_figures(cls, figures: Mapping[str, float]) -> Split:
        """The split of these a and G. Raises ``KeyError``, ``TypeError`` or ``ValueError``."""
        return cls(figures["a"], math.log(figures["G"]))
