"""Linear regression with inputs of two scales: a fast group, and a slow group of small variance.

Gradient descent learns the directions of large variance first, so that the slow group acts as noise
on the fast one until it is learned too (Heckel and Yilmaz 2020, arXiv 2007.10099, section 2).
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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the inputs and of their teacher.

    ``fast`` is how many inputs have variance 1;
    ``slow`` is how many inputs have the standard deviation ``scale``;
    ``scale`` is the standard deviation of the slow inputs;
    ``slow_share`` is the share of the target's variance, 1, that the slow inputs give;
    ``noise`` is the standard deviation that is added to training targets;
    ``train_examples`` is the number of training examples; None makes every one a new one;
    ``val_examples`` is the number of validation examples, which have no noise;
    ``seed`` decides the teacher and the examples.
    """

    fast: Annotated[int, Number("inputs of variance 1", low=1, high=100_000)] = 220
    slow: Annotated[int, Number("inputs of small variance", low=1, high=100_000)] = 20
    scale: Annotated[float, Number("standard deviation of slow inputs", above=0, high=1)] = 0.1
    slow_share: Annotated[float, Number("of the target's variance", low=0, high=1)] = 0.3
    noise: Annotated[float, Number("standard deviation, in training only", low=0, high=1e3)] = 0.0
    train_examples: Annotated[
        int | None, Number("null for unlimited new ones", "count", high=MAX_EXAMPLES)
    ] = 300
    val_examples: Annotated[int, Number("of the validation split", "count", high=10**9)] = 4096
    seed: Annotated[int, Number("of teacher and examples", low=0, high=10**9)] = 0

    @property
    def inputs(self) -> int:
        """Numbers of an example's input, the fast ones first."""
        return self.fast + self.slow


def _normal(seed: int, purpose: str, indices: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Standard normal numbers [B, width], a pure function of the index."""
    from scaling_law.data.shuffle import normals_at
    from scaling_law.spec.run import derive_seed

    return normals_at(derive_seed(seed, f"two_scales:{purpose}"), indices, width)


@functools.lru_cache(maxsize=8)
def _teacher(settings: Settings) -> NDArray[np.float64]:
    """The teacher's weights; each group gives its share of the target's variance."""
    import numpy as np

    drawn = _normal(settings.seed, "teacher", np.zeros(1, dtype=np.int64), settings.inputs)[0]
    fast, slow = drawn[: settings.fast], drawn[settings.fast :]
    fast = fast / np.linalg.norm(fast) * (1 - settings.slow_share) ** 0.5
    slow = slow / np.linalg.norm(slow) * settings.slow_share**0.5 / settings.scale
    return np.concatenate([fast, slow])


def splits(settings: Settings) -> dict[str, int | None]:
    """``val`` has targets without noise, so that its loss is that of the function alone."""
    return {"train": settings.train_examples, "val": settings.val_examples}


def examples(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    """Inputs [B, fast + slow] and targets [B, 1]."""
    import numpy as np

    inputs = _normal(settings.seed, f"{split}:inputs", indices, settings.inputs)
    inputs[:, settings.fast :] *= settings.scale
    # a sum in a fixed order: a matrix product's depends on the size of the batch
    targets = (inputs * _teacher(settings)).sum(axis=1, keepdims=True)
    if split == "train" and settings.noise:
        targets += settings.noise * _normal(settings.seed, f"{split}:noise", indices, 1)
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
