"""Regression on a smooth function of a few numbers, seen through inputs of many.

A point of the manifold is uniform in the cube [-1, 1]^dimension; its image in the input space is a
random rotation of it, so that the inputs have ``inputs`` numbers and the intrinsic dimension
``dimension``. The teacher is a sum of random waves of the point (Sharma and Kaplan 2020,
arXiv 2004.10802, take random networks).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.batch import Batch
from scaling_law.data.tasks import MAX_EXAMPLES, Task
from scaling_law.spec.values import Number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Standard deviation of a wave's angle per unit of each coordinate.
_FREQUENCY = 1.5


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the manifold and of its teacher.

    ``dimension`` is the intrinsic dimension of the inputs;
    ``inputs`` is how many numbers an input has;
    ``turned`` turns the manifold in the input space and scales its inputs to variance 1; without
    it the first numbers of an input are the coordinates and the others are 0;
    ``waves`` is how many waves the teacher is a sum of, 0 for targets of 0;
    ``noise`` is the standard deviation that is added to training targets, whose square is 1 on
    average over seeds;
    ``train_examples`` is the number of training examples; None makes every one a new one;
    ``val_examples`` is the number of validation examples, which have no noise;
    ``seed`` decides the teacher, the turn and the examples.
    """

    dimension: Annotated[int, Number("intrinsic dimension", low=1, high=1000)] = 4
    inputs: Annotated[int, Number("numbers of an input", low=1, high=100_000)] = 20
    turned: bool = True
    waves: Annotated[int, Number("of the teacher; 0 for targets of 0", low=0, high=10_000)] = 32
    noise: Annotated[float, Number("standard deviation, in training only", low=0, high=1e3)] = 0.0
    train_examples: Annotated[
        int | None, Number("null for unlimited new ones", "count", high=MAX_EXAMPLES)
    ] = None
    val_examples: Annotated[int, Number("of the validation split", "count", high=10**9)] = 4096
    seed: Annotated[int, Number("of teacher and examples", low=0, high=10**9)] = 0

    def __post_init__(self) -> None:
        if self.dimension > self.inputs:
            raise ValueError(
                f"dimension is {self.dimension}, and an input has {self.inputs} numbers (inputs);"
                " expected no more"
            )


def _normal(seed: int, purpose: str, indices: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Standard normal numbers [B, width], a pure function of the index."""
    from scaling_law.data.shuffle import normals_at
    from scaling_law.spec.run import derive_seed

    return normals_at(derive_seed(seed, f"manifold:{purpose}"), indices, width)


@functools.lru_cache(maxsize=8)
def _waves(dimension: int, waves: int, seed: int) -> tuple[NDArray[np.float64], ...]:
    """The waves' directions [waves, dimension], phases [waves] and heights [waves]."""
    import numpy as np

    rows = np.arange(waves)
    directions = _FREQUENCY * _normal(seed, "directions", rows, dimension)
    phases = 100 * _normal(seed, "phases", rows, 1)[:, 0]
    heights = _normal(seed, "heights", rows, 1)[:, 0]
    if waves:  # a wave of random phase has variance 1/2
        heights *= (2 / (heights @ heights)) ** 0.5
    return directions, phases, heights


@functools.lru_cache(maxsize=8)
def _turn(dimension: int, inputs: int, seed: int) -> NDArray[np.float64]:
    """Orthogonal rows [dimension, inputs], scaled to inputs of variance 1."""
    import numpy as np

    drawn = _normal(seed, "turn", np.arange(dimension), inputs)
    rows: NDArray[np.float64] = np.linalg.qr(drawn.T)[0].T * (3 * inputs / dimension) ** 0.5
    return rows


def splits(settings: Settings) -> dict[str, int | None]:
    """``val`` has targets without noise, so that its loss is that of the function alone."""
    return {"train": settings.train_examples, "val": settings.val_examples}


def examples(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    """Inputs [B, inputs] and targets [B, 1]."""
    import numpy as np

    from scaling_law.data.shuffle import words_at
    from scaling_law.spec.run import derive_seed

    seed, dimension = settings.seed, settings.dimension
    places = indices[:, np.newaxis] * dimension + np.arange(dimension)
    drawn = words_at(derive_seed(seed, f"manifold:{split}:points"), places) >> np.uint64(11)
    points = drawn.astype(np.float64) * 2.0**-52 - 1
    directions, phases, heights = _waves(dimension, settings.waves, seed)
    # sums in a fixed order: a matrix product's depends on the size of the batch
    angles = (points[:, np.newaxis] * directions).sum(axis=2) + phases
    targets = (heights * np.cos(angles)).sum(axis=1, keepdims=True)
    if split == "train" and settings.noise:
        targets += settings.noise * _normal(seed, f"{split}:noise", indices, 1)
    if settings.turned:
        turn = _turn(dimension, settings.inputs, seed)
        inputs = (points[:, :, np.newaxis] * turn).sum(axis=1)
    else:
        inputs = np.zeros((len(indices), settings.inputs))
        inputs[:, :dimension] = points
    return Batch(inputs=inputs.astype(np.float32), targets=targets.astype(np.float32))


TASK = Task(
    vocab_size=lambda settings: 0,
    n_ctx=lambda settings: 1,
    splits=splits,
    examples=examples,
    settings=Settings,
    inputs="numbers",
    features=lambda settings: settings.inputs,
    outputs=lambda settings: 1,
)
