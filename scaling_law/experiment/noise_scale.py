"""The batch that the gradient's noise predicts to be the critical one.

B_simple is the trace of the covariance of one sequence's gradient over the squared norm of the mean
gradient (McCandlish 2018, arXiv 1812.06162, equation 2.9). The probe ``noise_scale`` measures both.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from scaling_law.experiment.evidence import Run

TRACE, SQUARED = "noise_scale.trace", "noise_scale.gradient"
BAND = 1.03  # gradients count at a loss that is met within this factor


def noise_batch(runs: Sequence[Run], loss: float) -> float | None:
    """Return B_simple in tokens where runs meet a loss (nats per token); None where it is unknown.

    It is the mean trace over the mean squared norm of all points whose loss is within a factor of
    ``BAND``: a mean of their ratios would be biased. It is unknown without such a point, or where
    the estimate of the squared norm is not above 0.
    """
    near = [
        (point.metrics[TRACE] * run.spec.model.n_ctx, point.metrics[SQUARED])
        for run in runs
        for point in run.curve
        if TRACE in point.metrics
        and SQUARED in point.metrics
        and loss / BAND <= (point.val_loss_nats or 0) <= loss * BAND
    ]
    if not near:
        return None
    trace, squared = (fmean(column) for column in zip(*near, strict=True))
    return trace / squared if squared > 0 else None
