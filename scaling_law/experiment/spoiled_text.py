"""Runs on text of which a share is spoiled: their losses, and the good tokens that they are worth.

D_eff is the number of good tokens at which training on good text alone ends at the same loss, read
off the runs of the same seed (rule ``spoil`` of ``data.clean``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from scaling_law.experiment.crossing import amount_for
from scaling_law.experiment.effective_share import Ratios
from scaling_law.experiment.power_law import exponents_of_seeds
from scaling_law.experiment.seeds import Mean, mean_over, paired

BEYOND = 2.0  # times the most good tokens, up to which L(D) of good text is drawn on


@dataclass(frozen=True)
class Seen:
    """What the runs show.

    ``losses`` are the losses on good text in nats per token, by share of spoiled documents,
    tokens and seed.
    """

    losses: Mapping[float, Mapping[int, Mapping[int, float]]] = field(default_factory=dict)

    @property
    def shares(self) -> list[float]:
        """The shares of spoiled documents, 0 among them where good text was read."""
        return sorted(self.losses)

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs."""
        return sorted({s for by in self.losses.values() for of in by.values() for s in of})

    def above(self, share: float, tokens: int, other: float = 0.0) -> list[float]:
        """How far the loss is above that at another share, in nats, of each seed with both."""
        base = self.losses.get(other, {}).get(tokens, {})
        mine = self.losses[share].get(tokens, {})
        return paired(mine, base)

    @cached_property
    def ratios(self) -> dict[int, dict[tuple[float, int], float]]:
        """D_eff / D by seed, of settings whose loss good text has, or has up to ``BEYOND``."""
        ratios: dict[int, dict[tuple[float, int], float]] = {}
        for seed in self.seeds:
            good = {float(d): of[seed] for d, of in self.losses.get(0.0, {}).items() if seed in of}
            for share in self.shares:
                for tokens, of in sorted(self.losses[share].items()):
                    if not share or seed not in of:
                        continue
                    amount = amount_for(good, of[seed], beyond=BEYOND)
                    if amount is not None:
                        ratios.setdefault(seed, {})[share, tokens] = amount / tokens
        return ratios

    def unknown(self) -> int:
        """How many runs on spoiled text have no D_eff."""
        runs = sum(len(of) for share in self.shares if share for of in self.losses[share].values())
        return runs - sum(map(len, self.ratios.values()))

    def over_seeds(
        self, value: Callable[[Ratios], float | None], tokens: int | None = None
    ) -> Mean | None:
        """A number that each seed's ratios give, as a mean; seeds with too few give none.

        ``tokens`` takes the ratios at so many tokens alone.
        """
        numbers = [
            number
            for ratios in (self.at(tokens) if tokens else self.ratios).values()
            if len({share for share, _ in ratios}) >= 3 and (number := value(ratios)) is not None
        ]
        return mean_over(numbers)

    def at(self, tokens: int) -> dict[int, dict[tuple[float, int], float]]:
        """D_eff / D by seed at so many tokens."""
        return {
            seed: {key: ratio for key, ratio in ratios.items() if key[1] == tokens}
            for seed, ratios in self.ratios.items()
        }

    @property
    def most(self) -> int:
        """The most tokens of which spoiled text was read; 0 without any."""
        return max((d for share in self.shares[1:] for d in self.losses[share]), default=0)

    def shared(self, share: float) -> dict[float, Mapping[int, float]]:
        """The losses at a share, by tokens that all shares have, and seed."""
        common = set.intersection(*({*by} for by in self.losses.values()))
        return {d: of for d, of in self.losses[share].items() if d in common}

    def slopes(self, share: float) -> dict[int, float]:
        """The exponent of L(D) at a share, by seed, from the tokens that all shares have."""
        return exponents_of_seeds(self.shared(share))
