"""How the best learning rate goes with the size of a model, and what its noise leaves open."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from scaling_law.experiment.power_law import PowerLaw, fit_power_law
from scaling_law.experiment.seeds import LEVEL
from scaling_law.experiment.tuning import Optimum

_DRAWS = 2000
NEAREST = 2.0  # a rate that was tried stands for one within this factor


@dataclass(frozen=True)
class Rates:
    """The best learning rates of the sizes of one recipe.

    ``optima`` are they by width, depth or another measure of size, rising.
    """

    optima: Mapping[float, Optimum]

    @property
    def known(self) -> dict[float, float]:
        """The minima between the rates that were tried, whether the noise bounds them or not."""
        return {x: best.lr for x, best in self.optima.items() if best.lr is not None}

    @property
    def seeds(self) -> int:
        """The fewest seeds of a size."""
        return min((len({t.seed for t in best.trials}) for best in self.optima.values()), default=0)

    @property
    def seeds_to_bound(self) -> float:
        """The seeds that would bound every minimum; 0 where all are, infinite where none would."""
        wide = [best for best in self.optima.values() if best.lr is not None and not best.interval]
        return max((best.seeds_needed or math.inf for best in wide), default=0)

    @property
    def seeds_to_sign(self) -> float:
        """The seeds that would bound the sign of the power, if noise alone makes it so wide."""
        law = self.law
        if isinstance(law, str) or not law.exponent:
            return math.inf
        low, high = law.interval
        return math.ceil(self.seeds * ((high - low) / 2 / law.exponent) ** 2)

    @property
    def text(self) -> str:
        """``0.023 (0.019 to 0.028) at 2, 0.034 (unbounded) at 4: a factor of 1.4``."""
        listed = []
        for x, rate in self.known.items():
            ends = self.optima[x].interval
            bounds = "unbounded" if ends is None else f"{ends[0]:.2g} to {ends[1]:.2g}"
            listed.append(f"{rate:.2g} ({bounds}) at {x:g}")
        factor = "" if self.spread is None else f": a factor of {self.spread:.3g}"
        return f"{', '.join(listed)}{factor}"

    @property
    def spread(self) -> float | None:
        """The largest best rate over the smallest; None below two."""
        rates = self.known.values()
        return max(rates) / min(rates) if len(rates) > 1 else None

    @property
    def spread_interval(self) -> tuple[float, float] | None:
        """The (low, high) of ``spread`` at ``LEVEL``; None below two bounded best rates.

        By draws of the best rates with their errors, which themselves spread the rates: of equal
        ones it lies above 1.
        """
        known = [best for best in self.optima.values() if best.lr is not None and best.interval]
        if len(known) < 2:
            return None
        draw = random.Random(0)
        spreads = []
        for _ in range(_DRAWS):
            logs = [math.log(b.lr or math.nan) + draw.gauss(0, b.log_error) for b in known]
            spreads.append(math.exp(max(logs) - min(logs)))
        spreads.sort()
        tail = round(_DRAWS * (1 - LEVEL) / 2)
        return spreads[tail], spreads[-1 - tail]

    @property
    def law(self) -> PowerLaw | str:
        """The power of the size by which the best rate moves."""
        return fit_power_law({x: [rate] for x, rate in self.known.items()})

    def costs(self) -> dict[int, float] | str:
        """What the best rate of the smallest size costs at the largest, by seed, or why unknown.

        It is the share by which a seed's loss at the rate that was tried nearest to it exceeds its
        own loss at the minimum.
        """
        if len(self.optima) < 2:
            return "it takes two sizes"
        first, last = self.optima[min(self.optima)], self.optima[max(self.optima)]
        if first.lr is None or last.loss is None:
            return first.why or last.why
        rate = first.lr
        tried = min(last.rates, key=lambda one: abs(math.log(one / rate)))
        if max(tried / rate, rate / tried) > NEAREST:
            return f"{rate:.3g} was not tried at the largest size, nor a rate near it"
        at = [trial for trial in last.trials if trial.lr == tried]
        if any(trial.loss is None for trial in at):
            return f"the largest size diverged at {tried:.3g}"
        return {
            trial.seed: math.expm1(math.log(trial.loss) - last.levels[trial.seed])
            for trial in at
            if trial.loss is not None and trial.seed in last.levels
        }
