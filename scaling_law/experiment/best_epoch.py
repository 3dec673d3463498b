"""What a run gives that reads its text again and again at a constant rate: its best epoch.

Each point of its curve is then a training that ends there, and the lowest counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from scaling_law.experiment.evidence import Run


@dataclass(frozen=True)
class Ended:
    """What one run ended with.

    ``loss`` is its lowest validation loss, in nats per token;
    ``rises`` says whether the loss rose again after it: the text, not the steps, is the limit.
    """

    loss: float
    rises: bool


def ended(run: Run) -> Ended | None:
    """What a run ended with; None where it has no curve."""
    lowest = run.lowest
    if lowest is None or not lowest.val_loss_nats:
        return None
    return Ended(lowest.val_loss_nats, lowest.step < run.curve[-1].step)
