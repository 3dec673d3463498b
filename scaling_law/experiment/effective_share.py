"""What text is worth of which a share is worse: D_eff / D, as a shape of the good share Q = 1 - q.

power    D_eff = Q^k D
weight   D_eff = (Q + w q) D: a worse token counts w of a good one
square   D_eff = Q^2 D, which circulates
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import TypeAlias

SQUARE = 2.0  # the power that circulates
_WEIGHTS = 1001  # weights of a worse token that are tried
_LEAST = -0.25  # the least of them: worse tokens may do harm

Ratios: TypeAlias = Mapping[tuple[float, int], float]  # D_eff / D by share of worse text and tokens
# A shape that is fitted to ratios gives the ratio of another share.
Shape: TypeAlias = Callable[[Ratios], Callable[[float], float]]


def power_of(ratios: Ratios) -> float:
    """The power of Q that the ratios have, by least squares of logarithms."""
    pairs = [(math.log(1 - share), math.log(ratio)) for (share, _), ratio in ratios.items()]
    return sum(x * y for x, y in pairs) / sum(x * x for x, _ in pairs)


def weight_of(ratios: Ratios) -> float:
    """The weight of a worse token that the ratios have, by least squares of logarithms."""

    def miss(weight: float) -> float:
        worth = [(1 - share + weight * share, ratio) for (share, _), ratio in ratios.items()]
        if min(worth)[0] <= 0:
            return math.inf
        return sum(math.log(ratio / value) ** 2 for value, ratio in worth)

    tried = (_LEAST + k * (1 - _LEAST) / (_WEIGHTS - 1) for k in range(_WEIGHTS))
    return min(tried, key=miss)


def _power(ratios: Ratios) -> Callable[[float], float]:
    power = power_of(ratios)
    return lambda share: (1 - share) ** power


def _weighted(ratios: Ratios) -> Callable[[float], float]:
    weight = weight_of(ratios)
    return lambda share: max(1 - share + weight * share, 1e-9)


def _square(ratios: Ratios) -> Callable[[float], float]:
    return lambda share: (1 - share) ** SQUARE


SHAPES: Mapping[str, Shape] = {"power": _power, "weight": _weighted, "square": _square}


def held_out(ratios: Ratios, shape: Shape) -> float | None:
    """The rms error, in logarithms, at shares that a shape is fitted without, each in its turn.

    None with fewer than three shares.
    """
    shares = {share for share, _ in ratios}
    if len(shares) < 3:
        return None
    errors = []
    for left in shares:
        ratio = shape({key: value for key, value in ratios.items() if key[0] != left})
        errors += [math.log(v / ratio(left)) for (share, _), v in ratios.items() if share == left]
    return math.sqrt(fmean(error**2 for error in errors))


def proportion_of(ratios: Ratios) -> float | None:
    """The power of D in D_eff: one for all shares, by least squares of logarithms."""
    top = bottom = 0.0
    for share in {share for share, _ in ratios}:
        pairs = [(math.log(d), math.log(r * d)) for (q, d), r in ratios.items() if q == share]
        middle = [fmean(column) for column in zip(*pairs, strict=True)]
        top += sum((x - middle[0]) * (y - middle[1]) for x, y in pairs)
        bottom += sum((x - middle[0]) ** 2 for x, _ in pairs)
    return top / bottom if bottom else None
