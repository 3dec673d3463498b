"""A loss curve with the learning rate that it was trained at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Between two knots a learning rate changes by no more than this share of the peak.
_FINEST = 1 / 64


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A learning rate over steps, linear between knots.

    ``steps`` are the knots, from step 0 on, rising; ``lr`` is the learning rate at each;
    ``warmup_steps`` is the length of the warm-up, before which no fall counts.
    """

    steps: Floats
    lr: Floats
    warmup_steps: float

    def __post_init__(self) -> None:
        assert len(self.steps) == len(self.lr) > 1 and (np.diff(self.steps) > 0).all()

    @property
    def peak(self) -> float:
        """The highest learning rate."""
        return float(self.lr.max())

    @property
    def length(self) -> float:
        """The number of steps."""
        return float(self.steps[-1])

    @property
    def falls_at_once(self) -> bool:
        """Whether the rate stays at its peak for half of the run or longer, or never falls."""
        at = np.linspace(self.warmup_steps, self.length, 101)
        return float(np.mean(np.interp(at, self.steps, self.lr) > 0.99 * self.peak)) >= 0.5

    def refined(self, at: Floats) -> tuple[Floats, Floats]:
        """Knots at ``at`` too, and so dense that the rate changes little between two of them."""
        knots = np.union1d(self.steps, np.concatenate([at, [self.warmup_steps]]))
        knots = knots[knots <= self.length]
        lr = np.interp(knots, self.steps, self.lr)
        pieces = np.ceil(np.abs(np.diff(lr)) / (_FINEST * self.peak)).astype(int).clip(1)
        starts = np.repeat(knots[:-1], pieces)
        share = np.concatenate([np.arange(n) / n for n in pieces])
        dense = starts + share * np.repeat(np.diff(knots), pieces)
        dense = np.unique(np.concatenate([dense, knots]))
        return dense, np.interp(dense, self.steps, self.lr)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The losses of one run at steps of it.

    ``name`` is how texts call it;
    ``group`` is the model and recipe that it shares with others, all but the schedule;
    ``rate`` is its learning rate from step 0 on;
    ``steps`` are those with a loss; ``losses`` are in the unit of their source.
    """

    name: str
    group: str
    rate: Rate
    steps: Floats
    losses: Floats

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def end(self) -> float:
        """The last step with a loss."""
        return float(self.steps[-1])
