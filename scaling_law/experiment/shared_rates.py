"""What it costs horizons that branch from one trunk to share its learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scaling_law.experiment.tuning import Optimum, Trunk


@dataclass(frozen=True)
class Shared:
    """What horizons of one trunk lose by sharing a learning rate.

    ``cells`` are the horizons, by tokens;
    ``lr`` is the one rate: the geometric mean of the best rates of the shortest and the longest;
    ``excesses`` are the shares of its lowest loss that it costs each.
    """

    cells: tuple[Optimum, ...]
    lr: float
    excesses: tuple[float, ...]


def shared_rates(optima: Iterable[Optimum]) -> list[Shared]:
    """Return what each trunk's horizons lose.

    A trunk of one horizon shares nothing, and one with a horizon without a best rate is left out.
    """
    trunks: dict[Trunk, list[Optimum]] = {}
    for best in optima:
        trunks.setdefault(best.cell.trunk, []).append(best)
    shared = []
    for own in trunks.values():
        cells = tuple(sorted(own, key=lambda best: best.cell.tokens))
        rates = [best.lr for best in cells if best.lr is not None]
        if len(rates) < 2 or len(rates) < len(cells):
            continue
        lr = math.sqrt(rates[0] * rates[-1])
        shared.append(Shared(cells, lr, tuple(best.excess(lr) for best in cells)))
    return shared


def fairest_rate(cells: Sequence[Optimum]) -> float:
    """Return the rate at which the horizon that loses most, as a share of its loss, loses least.

    Every horizon needs a best rate. What it loses rises on both sides of that, so that the most of
    all falls and then rises between the lowest and the highest of these rates.
    """
    rates = [best.lr for best in cells if best.lr is not None]
    low, high = math.log(min(rates)), math.log(max(rates))

    def most(log_rate: float) -> float:
        return max(best.excess(math.exp(log_rate)) for best in cells)

    while high - low > 1e-9:
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if most(left) <= most(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)
