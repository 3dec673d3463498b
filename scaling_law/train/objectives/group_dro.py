"""Each position predicts the next token; components weigh by how far their loss can still fall.

Group distributionally robust optimisation as DoReMi has it (Xie 2023, arXiv 2305.10429, algorithm
1): a component's excess loss is the mean over its tokens of what the model loses more than a
reference model on the same token, 0 where it loses less. Before each step the weights are
multiplied by exp(step_size * excess), scaled to sum to 1, and mixed with equal weights. The step
minimises the weighted sum of the components' mean losses. The mean of the weights over the steps is
the mixture that DoReMi trains a larger model on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from scaling_law.files.record import NATS, NEXT_TOKEN
from scaling_law.spec.values import Number
from scaling_law.train.objectives import BatchLosses, Objective, Weigher
from scaling_law.train.objectives.next_token import cross_entropy, infill

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the weights.

    ``step_size`` is how far a nat of excess loss moves the logarithm of a weight in one step;
    ``smoothing`` is the share of equal weights in the weights of each step.
    """

    step_size: Annotated[float, Number("ln weight per nat and step", above=0, high=1e6)] = 1.0
    smoothing: Annotated[float, Number("share of equal weights", above=0, high=1)] = 1e-3


class _ByExcess(Weigher):
    """Weights of components by their excess losses.

    ``names`` are the components'.
    """

    def __init__(self, names: tuple[str, ...], settings: Settings) -> None:
        import numpy as np

        self.names, self.settings = names, settings
        self.weights = np.full(len(names), 1 / len(names))
        self.excess = np.zeros(len(names))
        self.total = np.zeros(len(names))
        self.steps = 0

    def weigh(self, seen: BatchLosses) -> NDArray[np.float64]:
        """Update the weights; return each token's, so that a component's tokens share its own.

        A component that the batch lacks keeps its last excess loss.
        """
        import numpy as np

        assert seen.reference is not None and seen.components is not None, "the plan asks for both"
        above = np.maximum(seen.losses - seen.reference, 0.0)
        counts = np.bincount(seen.components, minlength=len(self.names))
        for number in np.flatnonzero(counts):
            self.excess[number] = above[seen.components == number].mean()
        logs = np.log(self.weights) + self.settings.step_size * self.excess
        moved = np.exp(logs - logs.max())
        share = self.settings.smoothing
        self.weights = (1 - share) * moved / moved.sum() + share / len(self.names)
        self.total += self.weights
        self.steps += 1
        of_example = (self.weights / np.maximum(counts, 1))[seen.components]
        return np.broadcast_to(of_example[:, None] * len(seen.losses), seen.losses.shape)

    def measures(self) -> Mapping[str, tuple[float, str]]:
        """By component: the weight now, its mean over the steps, and the excess loss."""
        mean = self.total / max(1, self.steps)
        values = (("weight", self.weights, "share"), ("mean_weight", mean, "share"),
                  ("excess", self.excess, NATS))  # fmt: skip
        return {
            f"{key}.{name}": (float(value), unit)
            for key, numbers, unit in values
            for name, value in zip(self.names, numbers, strict=True)
        }

    def state_dict(self) -> dict[str, Any]:
        """Return weights, excess losses and the sum of the weights so far."""
        arrays = {"weights": self.weights, "excess": self.excess, "total": self.total}
        return {"steps": self.steps, **{name: own.tolist() for name, own in arrays.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        import numpy as np

        self.weights, self.excess, self.total = (
            np.array(state[name], dtype=np.float64) for name in ("weights", "excess", "total")
        )
        self.steps = int(state["steps"])


OBJECTIVE = Objective(
    loss=cross_entropy,
    unit=NATS,
    comparable=NEXT_TOKEN,
    infill=infill,
    fast=True,
    targets="ids",
    weigher=_ByExcess,
    reads_components=True,
    reads_reference=True,
    slowdown=1.7,
    settings=Settings,
)
