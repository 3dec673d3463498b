"""How many parameters a rounded model is worth, and how that goes with the bits of its weights.

A model of N parameters whose weights have P bits loses as much as one of N (1 - e^(-P / gamma))
parameters without rounding, at equal tokens (Kumar 2024, arXiv 2411.04330, equation 3). The losses
of models without rounding, at several sizes, are the curve that says what a loss is worth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from scaling_law.experiment.seeds import LEVEL
from scaling_law.units import count_of

# Bits that gamma is tried at, and how many values.
_GAMMAS, _STEPS = (0.05, 50.0), 1500
FEWEST = 3  # cells of size and bits, by which one number is more than an interpolation


@dataclass(frozen=True)
class SizeCurve:
    """The loss of models without rounding against their size, at equal tokens.

    ``points`` are (log parameters, log loss), rising in the parameters and falling in the loss;
    lines join them, and the first and the last line go on beyond them.
    """

    points: tuple[tuple[float, float], ...]

    def log_loss(self, log_params: float) -> float:
        """The log loss of a size."""
        (x0, y0), (x1, y1) = self._line(0, log_params)
        return y0 + (log_params - x0) / (x1 - x0) * (y1 - y0)

    def log_params(self, log_loss: float) -> float:
        """The log size of a loss."""
        (x0, y0), (x1, y1) = self._line(1, log_loss)
        return x0 + (log_loss - y0) / (y1 - y0) * (x1 - x0)

    def _line(self, axis: int, at: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """The ends of the line that has a coordinate, or that is nearest to it."""
        lines = list(pairwise(self.points))
        rises = axis == 0
        for line in lines[:-1]:
            end = line[1][axis]
            if at <= end if rises else at >= end:
                return line
        return lines[-1]


def size_curve(losses: Mapping[float, float]) -> SizeCurve | str:
    """Return the curve through the losses by parameters, or why there is none."""
    points = tuple((math.log(x), math.log(y)) for x, y in sorted(losses.items()))
    if len(points) < 2:
        return f"{count_of(len(points), 'size')} without rounding, and a curve needs 2"
    if any(after[1] >= before[1] for before, after in pairwise(points)):
        return "without rounding the loss does not fall with every size"
    return SizeCurve(points)


@dataclass(frozen=True, kw_only=True)
class Gamma:
    """The fitted bits of the law.

    ``value`` is gamma in bits: a model of so many bits is worth 63% of its parameters;
    ``interval`` is its (low, high) at ``LEVEL``, as wide as the cells scatter about the law, and no
    narrower than the error of their means makes it;
    ``misfit`` is the root mean square of the distance from the law in log loss;
    ``cells`` are the sizes and bits that it was fitted to.
    """

    value: float
    interval: tuple[float, float]
    misfit: float
    cells: int

    @property
    def text(self) -> str:
        """``1.32 bits (1.2 to 1.46)``."""
        low, high = self.interval
        return f"{self.value:.2f} bits ({low:.2f} to {high:.2f})"

    def share(self, bits: float) -> float:
        """The share of its parameters that a model of so many bits is worth."""
        return share_of(bits, self.value)


def share_of(bits: float, gamma: float) -> float:
    """1 - e^(-bits / gamma)."""
    return -math.expm1(-bits / gamma)


def fit_gamma(
    curve: SizeCurve,
    rises: Mapping[tuple[int, int], float],
    *,
    error: float = 0.0,
    of: int = 1,
) -> Gamma | str:
    """Return the law through the rises of log loss by (parameters, bits), or why there is none.

    The interval holds every gamma whose squares are no larger than Student's t allows (profile).
    ``error`` is the standard error of a rise by its seeds: few cells that happen to lie on the law
    show no smaller one. ``of`` is how many gammas are compared (Bonferroni).
    """
    from scaling_law.fit.solver.student import t_reach  # loads numpy

    if len(rises) < FEWEST:
        return f"{count_of(len(rises), 'cell')} of size and bits, and gamma needs {FEWEST}"
    if max(rises.values()) <= 0:
        return "no cell has a higher loss than without rounding"
    low, high = _GAMMAS
    tried = [low * (high / low) ** (k / (_STEPS - 1)) for k in range(_STEPS)]
    logs = {params: math.log(params) for params, _ in rises}
    plain = {params: curve.log_loss(log) for params, log in logs.items()}
    squares = []
    for gamma in tried:
        shares = {bits: math.log(share_of(bits, gamma)) for _, bits in rises}
        squares.append(
            sum(
                (rise + plain[params] - curve.log_loss(logs[params] + shares[bits])) ** 2
                for (params, bits), rise in rises.items()
            )
        )
    best, free = min(range(_STEPS), key=squares.__getitem__), len(rises) - 1
    variance = max(squares[best] / free, error**2)
    allowed = squares[best] + t_reach(free, 1 - (1 - LEVEL) / of) ** 2 * variance
    inside = [k for k, square in enumerate(squares) if square <= allowed]
    if inside[0] == 0 or inside[-1] == _STEPS - 1:
        return "the losses do not bound gamma: they are too few, or too noisy"
    return Gamma(
        value=tried[best],
        interval=(tried[inside[0]], tried[inside[-1]]),
        misfit=math.sqrt(squares[best] / len(rises)),
        cells=len(rises),
    )
