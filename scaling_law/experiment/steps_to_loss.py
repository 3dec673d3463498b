"""How many steps a run takes to come down to a loss."""

from __future__ import annotations

import itertools
import math
from statistics import fmean

from scaling_law.experiment.evidence import Run


def steps_to(run: Run, loss: float) -> float | None:
    """Return the steps after which a run's curve has come down to a loss (nats per token).

    The curve is made to fall only (isotonic regression), and read between two of its levels on a
    line of log loss in log steps. None where it never falls to the loss, or starts below it.
    """
    from scaling_law.fit.solver.isotonic import falling_levels

    points = [p for p in run.curve if p.step > 0 and p.val_loss_nats is not None]
    losses = [float(p.val_loss_nats) for p in points if p.val_loss_nats is not None]
    # a level of equal losses stands at the mean of its steps
    levels = [
        (fmean(p.step for p in points[places]), level) for places, level in falling_levels(losses)
    ]
    for (early, above), (late, below) in itertools.pairwise(levels):
        if below <= loss < above:
            share = (math.log(above) - math.log(loss)) / (math.log(above) - math.log(below))
            return float(math.exp(math.log(early) + share * math.log(late / early)))
    return None
