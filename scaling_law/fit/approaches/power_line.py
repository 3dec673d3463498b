"""Fit the lines of compute-optimal parameters and tokens against FLOPs, in log-log."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling_law.errors import FitError
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.result import finite_json
from scaling_law.fit.solver.student import t_reach


@dataclass(frozen=True, kw_only=True)
class PowerLine:
    """quantity = exp(log_coefficient) * flops^exponent, by log-log least squares.

    ``quantity``: ``params`` or ``tokens``, counted as the points count them.
    ``exponent``: of FLOPs.
    ``log_coefficient``: natural logarithm of the coefficient.
    ``interval``: (low, high) of the exponent at the result's level; None where there is none.
    ``interval_method``: how it was made, in words.
    ``flops_range``: (low, high) FLOPs of the points on the line.
    ``n_points``: number of points on the line.
    ``scatter_log``: standard deviation of log quantity about the line.
    """

    quantity: str
    exponent: float
    log_coefficient: float
    interval: tuple[float, float] | None
    interval_method: str
    flops_range: tuple[float, float]
    n_points: int
    scatter_log: float

    def at(self, flops: float) -> float:
        """The quantity at this many FLOPs, in its own unit, also beyond the points."""
        return math.exp(self.log_coefficient + self.exponent * math.log(flops))


class LinesResult:
    """What the results of the envelope and of IsoFLOP cells share: lines in FLOPs.

    ``lines``: ``params`` and ``tokens`` -> the line; empty when refused.
    """

    lines: dict[str, PowerLine]

    @property
    def exponents(self) -> dict[str, float]:
        """``a`` of params ~ flops^a and ``b`` of tokens ~ flops^b; empty when refused."""
        letters = {"params": "a", "tokens": "b"}
        return {letters[name]: line.exponent for name, line in self.lines.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values, non-finite numbers as null."""
        plain: dict[str, Any] = finite_json(self)
        return plain | {"exponents": self.exponents}


def power_line(quantity: str, flops: Floats, values: Floats, *, level: float) -> PowerLine:
    """Least squares of log ``values`` on log ``flops``, with an interval by Student's t(n - 2).

    It needs at least three points of at least two different FLOPs.
    """
    assert len(flops) >= 3 and len(set(flops.tolist())) >= 2
    x, y = np.log(flops), np.log(values)
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread
    residual = y - y.mean() - slope * centred
    free = len(x) - 2
    scatter = math.sqrt(float(residual @ residual) / free)
    half = t_reach(free, level) * scatter / math.sqrt(spread)
    return PowerLine(
        quantity=quantity,
        exponent=slope,
        log_coefficient=float(y.mean() - slope * x.mean()),
        interval=(slope - half, slope + half),
        interval_method=f"log-log regression, Student's t({free})",
        flops_range=(float(flops.min()), float(flops.max())),
        n_points=len(x),
        scatter_log=scatter,
    )


def check_level(level: float) -> None:
    """Raises ``FitError`` unless ``level`` is a confidence level between 0 and 1."""
    if not 0 < level < 1:
        raise FitError(f"level {level:g}: expected between 0 and 1, such as 0.9")
