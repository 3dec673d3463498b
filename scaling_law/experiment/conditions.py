"""Say what a comparison of tuned recipes rests on: its seeds, and its warm-ups."""

from __future__ import annotations

from collections.abc import Iterable

from scaling_law.experiment.tuning import Optimum
from scaling_law.units import count_of


def conditions(optima: Iterable[Optimum]) -> str:
    """Return ``4 seeds, a warm-up of 13 steps`` for the cells that have a best learning rate.

    Where cells differ it is ``2 to 4 seeds, warm-ups of 7 to 13 steps``; "" without such a cell.
    """
    tuned = [best for best in optima if best.lr is not None]
    seeds = sorted({len(best.levels) for best in tuned})
    steps = sorted({warmup.steps for best in tuned for warmup in best.warmups})
    if not tuned:
        return ""
    several = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else count_of(seeds[0], "seed")
    if len(steps) > 1:
        return f"{several}, warm-ups of {steps[0]} to {steps[-1]} steps"
    return f"{several}, a warm-up of {count_of(steps[0], 'step')}"
