"""Handle loss spikes: a run goes back to an earlier state and replaces the batch that spiked.

Off unless the config sets ``spikes``: a law is measured on runs that take every batch, and a run
that leaves out its worst ones is another experiment. Where it is on, a run depends only on its
spec and the branches it serves, never on the clock: states to go back to are taken at fixed steps,
and the checkpoints hold them with the steps whose batches were replaced. The state that a branch
starts from is final, so a run never goes back behind it; the branch inherits the replaced batches
and the recent losses.

Going back alone would give the same spike, because everything else is the same. So the batch of
the step that spiked is replaced; if it spikes again, the batch of the step before too, and so on
(after Chowdhery 2022, arXiv 2204.02311, section 5.1, who skip the batches around a spike).
"""

from __future__ import annotations

import statistics
from collections import deque
from typing import Any

from scaling_law.spec.run import SpikeSpec
from scaling_law.train.writer import with_tensors

_SNAPSHOTS = 2  # a run goes back to the older one: the newer one may be part of the spike


class SpikeDetector:
    """Watch one run's losses for spikes.

    ``replaced`` are the steps whose batches are replaced, in the order of replacing;
    ``snapshots`` are whole states with their ``step``, oldest first;
    ``steps_repeated`` counts the steps that the run took again.
    """

    def __init__(self, spec: SpikeSpec) -> None:
        self.spec = spec
        self.losses: deque[float] = deque(maxlen=spec.window_steps)
        self.snapshots: deque[dict[str, Any]] = deque(maxlen=_SNAPSHOTS)
        self.replaced: list[int] = []
        self.rollbacks = 0
        self.steps_repeated = 0

    def why_spike(self, step: int, loss: float) -> str:
        """Say why ``loss`` at ``step`` is a spike; "" where it is none or too little is known."""
        if len(self.losses) < self.spec.window_steps:
            return ""
        mean = statistics.fmean(self.losses)
        spread = statistics.pstdev(self.losses, mean)
        if loss <= max(mean + self.spec.sigmas * spread, mean * (1 + self.spec.above_frac)):
            return ""
        return f"training loss rose from {mean:.4g} to {loss:.4g} at step {step}"

    def is_due(self, step: int) -> bool:
        """Say whether a state is due before ``step``."""
        if not self.snapshots:
            return True
        known = self.snapshots[-1]["step"] == step
        return step % self.spec.every_steps == 0 and not known

    def back_from(self, step: int) -> dict[str, Any] | None:
        """Replace one more batch; return the state to go back to from ``step``.

        None after too many.
        """
        if self.rollbacks == self.spec.most_rollbacks:
            return None
        snapshot = self.snapshots[0]
        self.snapshots = deque([snapshot], maxlen=_SNAPSHOTS)
        self.losses = deque(snapshot["losses"], maxlen=self.spec.window_steps)
        since = range(step, snapshot["step"] - 1, -1)
        self.replaced.append(next((s for s in since if s not in self.replaced), step))
        self.rollbacks += 1
        self.steps_repeated += step - int(snapshot["step"])
        return snapshot

    def spare_of(self, step: int) -> int | None:
        """Return the number of the spare batch that ``step`` takes; None where it takes its own."""
        if step not in self.replaced:
            return None
        return len(self.replaced) - 1 - self.replaced[::-1].index(step)

    def state_dict(self) -> dict[str, Any]:
        """Return the detector's state for a checkpoint."""
        return {
            "losses": list(self.losses),
            "snapshots": list(self.snapshots),
            "replaced": list(self.replaced),
            "rollbacks": self.rollbacks,
            "steps_repeated": self.steps_repeated,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Restore the detector's state from ``saved``."""
        self.inherit(saved)
        self.snapshots.extend(saved["snapshots"])
        self.rollbacks, self.steps_repeated = saved["rollbacks"], saved["steps_repeated"]

    def inherit(self, saved: dict[str, Any]) -> None:
        """Start as a branch of the trunk whose state is ``saved``."""
        self.losses.extend(saved["losses"])
        self.replaced = list(saved["replaced"])

    def words(self) -> str:
        """Return the replaced batches as text for a record; "" where none was replaced."""
        if not self.replaced:
            return ""
        steps = ", ".join(map(str, sorted(set(self.replaced))))
        return f"loss spikes: other batches at steps {steps}"

    def metrics(self) -> dict[str, float]:
        """Return numbers for the record; none where no batch was replaced."""
        if not self.replaced:
            return {}
        return {
            "batches_skipped": float(len(self.replaced)),
            "rollbacks": float(self.rollbacks),
            "steps_repeated": float(self.steps_repeated),
        }


def cloned(value: Any) -> Any:
    """Return ``value`` with every tensor copied; of a view only the part that it shows."""
    return with_tensors(value, lambda tensor: tensor.detach().clone())
