"""Questions whose operation only the answers before them tell (few-shot prompting).

An example is a series of shots, each two numbers and the result of one operation on them, which is
the first number, the second, the larger or the smaller: ``3 7 7`` leaves the second and the larger.
The same operation holds for the whole series, and no symbol names it, so that the Nth result can
only be inferred from the N - 1 shots before it (Brown 2020, arXiv 2005.14165). Only results are
predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.batch import Batch
from scaling_law.data.tasks import MAX_EXAMPLES, Task
from scaling_law.spec.values import Number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OPERATIONS = 4


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the shots.

    ``numbers`` is how many different numbers there are;
    ``questions`` is the questions of a series: the last one comes after one shot fewer;
    ``train_examples`` is the number of training examples; None makes every one a new draw;
    ``val_examples`` is the number of validation examples;
    ``seed`` decides the numbers and operations.
    """

    numbers: Annotated[int, Number("different numbers", low=2, high=10_000)] = 10
    questions: Annotated[int, Number("questions of a series", low=1, high=1000)] = 9
    train_examples: Annotated[
        int | None, Number("null for unlimited new draws", "count", high=MAX_EXAMPLES)
    ] = None
    val_examples: Annotated[int, Number("validation examples", "count", high=10**9)] = 1024
    seed: Annotated[int, Number("of numbers and operations", low=0, high=10**9)] = 0


def n_ctx(settings: Settings) -> int:
    """Two numbers and a result for each question, but not the last result."""
    return 3 * settings.questions - 1


def splits(settings: Settings) -> dict[str, int | None]:
    """Both are drawn alike."""
    return {"train": settings.train_examples, "val": settings.val_examples}


def examples(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    """Inputs [B, n_ctx]; targets and weights [B, n_ctx - 1], of which the results count."""
    import numpy as np

    from scaling_law.data.shuffle import words_at
    from scaling_law.spec.run import derive_seed

    def below(purpose: str, places: NDArray[np.int64], bound: int) -> NDArray[np.int64]:
        seed = derive_seed(settings.seed, f"shots:{split}:{purpose}")
        return (words_at(seed, places) % np.uint64(bound)).astype(np.int64)

    pairs = 2 * settings.questions
    places = indices[:, np.newaxis] * pairs + np.arange(pairs)
    first, second = np.split(below("numbers", places, settings.numbers), 2, axis=1)
    operation = below("operation", indices, OPERATIONS)[:, np.newaxis]
    results = [first, second, np.maximum(first, second), np.minimum(first, second)]
    result = np.select([operation == number for number in range(OPERATIONS)], results)
    series = np.stack([first, second, result], axis=2).reshape(len(indices), -1)
    weights = np.zeros((len(indices), n_ctx(settings) - 1), dtype=np.float32)
    weights[:, ::3] = 1
    return Batch(inputs=series[:, :-1], targets=series[:, 2:], weights=weights)


TASK = Task(
    vocab_size=lambda settings: settings.numbers,
    n_ctx=n_ctx,
    splits=splits,
    examples=examples,
    settings=Settings,
    n_targets=lambda settings: n_ctx(settings) - 1,
)
