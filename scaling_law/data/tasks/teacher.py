"""Regression on a teacher's outputs, with inputs whose variances fall as a power law.

Direction k of the inputs has variance k^-(1 + exponent), the teacher is a random linear function
with an optional tanh, and targets carry noise (Maloney 2022, arXiv 2210.16859, section 2).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.batch import Batch
from scaling_law.data.tasks import MAX_EXAMPLES, Task
from scaling_law.spec.values import Number, Text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEACHERS = ("linear", "tanh")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the teacher and of its inputs.

    ``dimension`` is how many numbers an input has;
    ``exponent`` is how fast the variances of the inputs fall, above that of 1/k;
    ``teacher`` is ``linear``, or ``tanh`` for a curved one;
    ``noise`` is the standard deviation that is added to targets of variance 1, before tanh;
    ``train_examples`` is the number of training examples; None makes every one a new one;
    ``val_examples`` is the number of validation examples, which have no noise;
    ``seed`` decides the teacher and the examples.
    """

    dimension: Annotated[int, Number("numbers of an input", low=1, high=100_000)] = 256
    exponent: Annotated[float, Number("of the spectrum's fall, above 1/k", low=0, high=10)] = 1.0
    teacher: Annotated[str, Text("the function from inputs to targets", TEACHERS)] = "linear"
    noise: Annotated[float, Number("standard deviation, in training only", low=0, high=1e3)] = 0.0
    train_examples: Annotated[
        int | None, Number("null for unlimited new ones", "count", high=MAX_EXAMPLES)
    ] = None
    val_examples: Annotated[int, Number("of the validation split", "count", high=10**9)] = 4096
    seed: Annotated[int, Number("of teacher and examples", low=0, high=10**9)] = 0


@functools.lru_cache(maxsize=8)
def _scales(dimension: int, exponent: float) -> NDArray[np.float64]:
    """The standard deviation of each direction of the inputs."""
    import numpy as np

    scales: NDArray[np.float64] = np.arange(1.0, dimension + 1) ** (-(1 + exponent) / 2)
    return scales


@functools.lru_cache(maxsize=8)
def _teacher(dimension: int, exponent: float, seed: int) -> NDArray[np.float64]:
    """The teacher's weights; its outputs have variance 1."""
    import numpy as np

    drawn = _normal(seed, "teacher", np.zeros(1, dtype=np.int64), dimension)[0]
    weights: NDArray[np.float64] = drawn / np.linalg.norm(drawn * _scales(dimension, exponent))
    return weights


def _normal(seed: int, purpose: str, indices: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Standard normal numbers [B, width], a pure function of the index."""
    from scaling_law.data.shuffle import normals_at
    from scaling_law.spec.run import derive_seed

    return normals_at(derive_seed(seed, f"teacher:{purpose}"), indices, width)


def splits(settings: Settings) -> dict[str, int | None]:
    """``val`` has targets without noise, so that its loss is that of the function alone."""
    return {"train": settings.train_examples, "val": settings.val_examples}


def examples(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    """Inputs [B, dimension] and targets [B, 1]."""
    import numpy as np

    known = settings.dimension, settings.exponent
    inputs = _normal(settings.seed, f"{split}:inputs", indices, settings.dimension)
    inputs *= _scales(*known)
    # a sum in a fixed order: a matrix product's depends on the size of the batch
    targets = (inputs * _teacher(*known, settings.seed)).sum(axis=1, keepdims=True)
    if split == "train" and settings.noise:
        targets += settings.noise * _normal(settings.seed, f"{split}:noise", indices, 1)
    if settings.teacher == "tanh":
        targets = np.tanh(targets)
    return Batch(inputs=inputs.astype(np.float32), targets=targets.astype(np.float32))


TASK = Task(
    vocab_size=lambda settings: 0,
    n_ctx=lambda settings: 1,
    splits=splits,
    examples=examples,
    settings=Settings,
    inputs="numbers",
    features=lambda settings: settings.dimension,
    outputs=lambda settings: 1,
)
