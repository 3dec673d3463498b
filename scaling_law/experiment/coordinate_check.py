"""The coordinate check: how far a few steps move activations, and how that goes with the size.

A parametrisation whose learning rates transfer moves them as far at every size (Yang 2022, arXiv
2203.03466, section D.1), so that the exponent of the size is 0. The probe ``activation_change``
measures it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scaling_law.experiment.evidence import Run
from scaling_law.experiment.power_law import PowerLaw, fit_power_law
from scaling_law.spec.model import Model, ModelSpec

PROBE = "activation_change"


@dataclass(frozen=True)
class Moved:
    """An activation that the coordinate check measures.

    ``name`` is its name in measures;
    ``words`` say what it is;
    ``key`` is the probe's name of it, with ``{last}`` for the place of the last block.
    """

    name: str
    words: str
    key: str

    def metric(self, model: Model) -> str:
        """The metric that a run of a GPT records of it."""
        assert isinstance(model, ModelSpec), "only runs of a GPT have blocks"
        return f"{PROBE}.{self.key.format(last=model.n_layer - 1)}"

    def of(self, run: Run) -> float | None:
        """How far it has moved in a run, as a root mean square; None where it was not measured."""
        return run.record.metrics.get(self.metric(run.spec.model))


STREAM = Moved("stream", "residual stream after the last block", "blocks.{last}")
MOVED = (
    STREAM,
    Moved("attention", "what the last attention adds", "blocks.{last}.attention"),
    Moved("mlp", "what the last MLP adds", "blocks.{last}.mlp"),
    Moved("outputs", "outputs", "outputs"),
)


@dataclass(frozen=True)
class Checks:
    """The coordinate check of one parametrisation.

    ``runs`` are its runs of a few steps, by width, depth or another measure of size.
    """

    runs: Mapping[float, Sequence[Run]]

    def values(self, moved: Moved) -> dict[float, list[float]]:
        """How far an activation has moved, by size, over seeds."""
        read = {x: [moved.of(run) for run in runs] for x, runs in self.runs.items()}
        return {x: [v for v in values if v is not None] for x, values in read.items()}

    def law(self, moved: Moved) -> PowerLaw | str:
        """The power of the size by which it moves."""
        return fit_power_law(self.values(moved))
