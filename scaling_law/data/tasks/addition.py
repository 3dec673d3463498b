"""Addition of two numbers, digit by digit: ``123+456=0579``, or ``123+456=9750`` reversed.

Only the digits of the sum are predicted; it has one more than the numbers. Reversed, its last digit
comes first, so that each digit needs only the digits before it and a carry. No pair of numbers is
both trained on and validated on.
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

PLUS, EQUALS = 10, 11
# Of the second numbers that go with a first one, one in so many is held out for validation.
_HELD_OUT = 10


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of addition.

    ``digits`` is the number of digits of each of the two numbers, leading zeros included;
    ``reverse`` writes the sum with its last digit first;
    ``train_examples`` is the number of training examples; None makes every one a new draw;
    ``val_examples`` is the number of validation examples;
    ``seed`` decides the numbers, and which pairs are held out.
    """

    digits: Annotated[int, Number("digits of each number", low=1, high=9)] = 3
    reverse: bool = False
    train_examples: Annotated[
        int | None, Number("null for unlimited new draws", "count", high=MAX_EXAMPLES)
    ] = None
    val_examples: Annotated[int, Number("validation examples", "count", high=10**9)] = 1024
    seed: Annotated[int, Number("of the numbers", low=0, high=10**9)] = 0


def n_ctx(settings: Settings) -> int:
    """Two numbers, "+", "=", and the sum without its last digit."""
    return 3 * settings.digits + 2


def splits(settings: Settings) -> dict[str, int | None]:
    """Pairs drawn at random; those of ``val`` are never trained on."""
    return {"train": settings.train_examples, "val": settings.val_examples}


def examples(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    """Inputs [B, n_ctx], and the digits of the sum [B, digits + 1]."""
    import numpy as np

    a, b = _pairs(settings, split, indices)
    total = _digits(a + b, settings.digits + 1)
    if settings.reverse:
        total = total[:, ::-1].copy()
    inputs = np.concatenate(
        [
            _digits(a, settings.digits),
            np.full((len(a), 1), PLUS),
            _digits(b, settings.digits),
            np.full((len(a), 1), EQUALS),
            total[:, :-1],
        ],
        axis=1,
    )
    return Batch(inputs=inputs, targets=total)


def _pairs(
    settings: Settings, split: str, indices: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The two numbers of each example.

    The second numbers held out for a first one are a tenth of all, consecutive (0 follows the
    largest) from a number that depends on the first one.
    """
    import numpy as np

    from scaling_law.data.shuffle import words_at
    from scaling_law.spec.run import derive_seed

    def below(seed: str, places: NDArray[np.int64], bound: int) -> NDArray[np.int64]:
        words = words_at(derive_seed(settings.seed, seed), places)
        return (words % np.uint64(bound)).astype(np.int64)

    numbers: int = 10**settings.digits
    held_out = numbers // _HELD_OUT
    a = below(f"addition:{split}", 2 * indices, numbers)
    first = below("addition:held out", a, numbers)
    if split == "val":
        offset = below(f"addition:{split}", 2 * indices + 1, held_out)
    else:
        offset = held_out + below(f"addition:{split}", 2 * indices + 1, numbers - held_out)
    return a, (first + offset) % numbers


def _digits(numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The last ``count`` digits of each number, [B, count], the last one last."""
    import numpy as np

    powers = 10 ** np.arange(count - 1, -1, -1, dtype=np.int64)
    digits: NDArray[np.int64] = numbers[:, np.newaxis] // powers % 10
    return digits


TASK = Task(
    vocab_size=lambda settings: EQUALS + 1,
    n_ctx=n_ctx,
    splits=splits,
    examples=examples,
    settings=Settings,
    n_targets=lambda settings: settings.digits + 1,
)
