"""Exact intervals of a share that is counted: of the items of a test, or of seeds.

Values of a share are often all equal, and most often 0 or 1: no seed copies a sequence, every seed
solves the task. How seeds differ then says nothing of the error, but how many items were counted
does. All seeds are scored on the same items, so that these count once.
"""

from __future__ import annotations

from dataclasses import dataclass

from scaling_law.experiment.seeds import LEVEL


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The exact interval of a number that counts items: ``low`` to ``high``, by ``items`` of them.

    A number of which the share is taken, such as a margin, has it moved: ``Counted.below``.
    """

    low: float
    high: float
    items: int

    def below(self, margin: float) -> Counted:
        """How far it lies below a margin."""
        return Counted(low=margin - self.high, high=margin - self.low, items=self.items)

    def above(self, margin: float) -> Counted:
        """How far it lies above a margin."""
        return Counted(low=self.low - margin, high=self.high - margin, items=self.items)

    def less(self, other: Counted) -> Counted:
        """How far it lies above another one: both hold together if each misses half as often."""
        items = min(self.items, other.items)
        return Counted(low=self.low - other.high, high=self.high - other.low, items=items)

    @property
    def text(self) -> str:
        """What an interval rests on whose seeds are all alike."""
        return f"alike in all of them, by counting {self.items:,} items (Clopper and Pearson)"


def exact_interval(hits: int, of: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the (low, high) of the share behind ``hits`` of so many items, or seeds.

    It holds the share at least as often as ``level`` says, whatever it is (Clopper and Pearson
    1934, Biometrika 26). Where all or none are hits its one end misses by half of what it may.
    """
    from scaling_law.fit.solver.incomplete_beta import beta_quantile

    if not 0 <= hits <= of or of < 1:
        raise ValueError(f"{hits} hits of {of} items")
    miss = (1 - level) / 2
    low = beta_quantile(miss, hits, of - hits + 1) if hits else 0.0
    high = beta_quantile(1 - miss, hits + 1, of - hits) if hits < of else 1.0
    return low, high


def counted_share(share: float, items: int, level: float = LEVEL) -> Counted:
    """Return the ``exact_interval`` of a share that was measured on so many items."""
    low, high = exact_interval(round(share * items), items, level)
    return Counted(low=low, high=high, items=items)


def counted_fall(before: float, after: float, items: int) -> Counted:
    """Return the interval of a fall from one share to another, each of so many items of its own."""
    level = 1 - (1 - LEVEL) / 2
    return counted_share(before, items, level).less(counted_share(after, items, level))
