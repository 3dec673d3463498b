"""Say what each value of a setting costs over the best one, and which cost no more than a margin.

    costs = choice_costs(tuning, "batch_tokens")
    costs.free                  # the values that cost no more than MARGIN, by their intervals

Every value is taken at its own best learning rate, and compared at the sizes, horizons and other
settings at which the best value is tuned as well. "Costs no more" is a test of equivalence: the
upper end of the interval lies below the margin (Schuirmann 1987, two one-sided tests). A wide
interval never makes a value free.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, TypeAlias

from scaling_law.experiment.seeds import LEVEL, pooled_noise
from scaling_law.experiment.tuning import SAME_HORIZON, Optimum, Tuning

Setting: TypeAlias = Literal["batch_tokens", "weight_decay"]
# The share of loss that a value may cost. Where loss falls as compute to the power of -.05 (Kaplan
# 2020, arXiv 2001.08361, equation 1.3), a tenth of the compute is worth as much.
MARGIN = 0.005


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a value costs over the best one.

    ``value`` is the setting's;
    ``share`` is the mean over sizes, as a share of loss;
    ``interval`` is its (low, high) at ``LEVEL``, as wide as those of all values together need;
    ``sizes`` are how many sizes it rests on.
    """

    value: float
    share: float
    interval: tuple[float, float]
    sizes: int

    @property
    def is_free(self) -> bool:
        """Whether it costs no more than the margin, by its interval."""
        return self.interval[1] <= MARGIN

    @property
    def text(self) -> str:
        """``512 costs 0.92% (0.45% to 1.40%)``."""
        low, high = self.interval
        return f"{self.value:g} costs {self.share:.2%} ({low:.2%} to {high:.2%})"


@dataclass(frozen=True, kw_only=True)
class ChoiceCosts:
    """The values of a setting.

    ``best`` is the value of lowest loss, averaged over sizes and horizons;
    ``others`` are what the others cost, by rising value: those that were compared with it;
    ``compared`` are all values that were compared with any other, rising.
    """

    best: float
    others: tuple[Cost, ...]
    compared: tuple[float, ...]

    @property
    def free(self) -> tuple[float, ...]:
        """The values that cost no more than ``MARGIN`` over the best one, and that one; rising."""
        return tuple(sorted([self.best, *(one.value for one in self.others if one.is_free)]))

    @property
    def text(self) -> str:
        """``over 256: 512 costs 0.92% (0.45% to 1.40%); interval at 90%``."""
        listed = "; ".join(one.text for one in self.others)
        level = f"interval at {LEVEL:.0%}"
        if len(self.others) > 1:
            level = f"intervals at {LEVEL:.0%} for all of them together"
        return f"over {self.best:g}: {listed}; {level}"


def choice_costs(tuning: Tuning, setting: Setting) -> ChoiceCosts | None:
    """Return what the values of a setting cost; None where no two were compared.

    Cells without a minimum are left out.
    """
    groups = [group for group in _alike(tuning.optima, setting) if len(group) > 1]
    compared = sorted({value for group in groups for value in group})
    if not groups:
        return None
    best = _best(groups, compared)
    others = (
        _cost(tuning, [(group[value], group[best]) for group in groups
                       if value in group and best in group], value, of=len(compared) - 1)
        for value in compared
        if value != best
    )  # fmt: skip
    known = tuple(one for one in others if one is not None)
    return ChoiceCosts(best=best, others=known, compared=tuple(compared))


def _alike(optima: Sequence[Optimum], setting: Setting) -> list[dict[float, Optimum]]:
    """The cells that differ in the setting alone, by its value; each group is a dictionary."""
    rest: Setting = "weight_decay" if setting == "batch_tokens" else "batch_tokens"

    def others(best: Optimum) -> tuple[str, str, float]:
        return best.cell.recipe, best.cell.size, float(getattr(best.cell, rest))

    groups: list[dict[float, Optimum]] = []
    minima = [best for best in optima if best.loss is not None]
    for best in sorted(minima, key=lambda one: (*others(one), one.cell.tokens)):
        value = float(getattr(best.cell, setting))
        if groups:
            first = next(iter(groups[-1].values()))
            near = best.cell.tokens / first.cell.tokens < SAME_HORIZON
            if near and others(first) == others(best) and value not in groups[-1]:
                groups[-1][value] = best
                continue
        groups.append({value: best})
    return groups


def _best(groups: Sequence[dict[float, Optimum]], values: Sequence[float]) -> float:
    """The value of lowest loss, as if every group had all of them; of equal ones the larger."""
    import numpy as np

    rows, levels = [], []
    for place, group in enumerate(groups):
        for value, best in group.items():
            row = np.zeros(len(values) + len(groups))
            row[values.index(value)] = row[len(values) + place] = 1
            rows.append(row)
            levels.append(math.log(best.loss or math.nan))
    solved = np.linalg.lstsq(np.array(rows), np.array(levels), rcond=None)[0][: len(values)]
    lowest = min(solved)
    return max(value for value, level in zip(values, solved, strict=True) if level <= lowest + 1e-9)


def _cost(
    tuning: Tuning, pairs: Sequence[tuple[Optimum, Optimum]], value: float, *, of: int
) -> Cost | None:
    """What a value costs by pairs of its cell and the best value's; None without any.

    ``of`` is how many values are compared (Bonferroni). Two errors are known: that of the losses,
    and the scatter from size to size, to which the value may cost more or less. The larger one
    counts.
    """
    from scaling_law.fit.solver.student import t_reach  # loads numpy

    if not pairs:
        return None
    # horizons of a size share a trunk and its noise: a size counts once, with the mean error
    sizes: dict[str, dict[object, list[tuple[Optimum, Optimum]]]] = {}
    for one, other in pairs:
        sizes.setdefault(one.cell.size, {}).setdefault(one.cell.trunk, []).append((one, other))
    means, errors = [], []
    for trunks in sizes.values():
        means.append(fmean(_log_ratio(*pair) for own in trunks.values() for pair in own))
        by_trunk = [fmean(_log_error(*pair) for pair in own) for own in trunks.values()]
        errors.append(math.hypot(*by_trunk) / len(by_trunk))
    level = 1 - (1 - LEVEL) / of
    mean, count = fmean(means), len(means)
    reach = t_reach(tuning.noise.freedom, level) * math.hypot(*errors) / count
    if count > 1:
        reach = max(reach, t_reach(count - 1, level) * pooled_noise([means]).error(count))
    low, high = math.expm1(mean - reach), math.expm1(mean + reach)
    return Cost(value=value, share=math.expm1(mean), interval=(low, high), sizes=count)


def _log_ratio(one: Optimum, other: Optimum) -> float:
    assert one.loss is not None and other.loss is not None, "cells without a minimum are left out"
    return math.log(one.loss / other.loss)


def _log_error(one: Optimum, other: Optimum) -> float:
    """The standard error of the logarithm of the ratio of two cells' losses."""
    return math.hypot(*((best.error or 0) / (best.loss or 1) for best in (one, other)))
