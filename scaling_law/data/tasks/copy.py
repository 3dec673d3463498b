"""Copying: a sequence of random symbols, a separator, and the same sequence again.

Only the second sequence is predicted. Longer sequences than those of training are scored as
``val:length-N``; shorter ones are padded with separators that do not count.
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

_LENGTH = Number("symbols to copy", low=1, high=10_000)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of copying.

    ``symbols`` is how many there are; the separator is one id more;
    ``length`` is the symbols of a sequence in training and in ``val``;
    ``longer`` are the lengths of further validation splits, in symbols;
    ``train_examples`` is the number of training examples; None makes every one a new one;
    ``val_examples`` is the number of examples of each validation split;
    ``seed`` decides the sequences. With few symbols and short sequences there are few different
    ones, and some are in several splits.
    """

    symbols: Annotated[int, Number("different symbols", low=2, high=1_000_000)] = 10
    length: Annotated[int, _LENGTH] = 16
    longer: tuple[Annotated[int, _LENGTH], ...] = (32,)
    train_examples: Annotated[
        int | None, Number("null for unlimited new ones", "count", high=MAX_EXAMPLES)
    ] = None
    val_examples: Annotated[int, Number("of each validation split", "count", high=10**9)] = 1024
    seed: Annotated[int, Number("of the sequences", low=0, high=10**9)] = 0

    def __post_init__(self) -> None:
        wrong = [n for n in self.longer if n <= self.length or self.longer.count(n) > 1]
        if wrong:
            raise ValueError(
                f"longer holds {wrong[0]}, expected different lengths above length {self.length}"
            )


def vocab_size(settings: Settings) -> int:
    """The symbols and the separator."""
    return settings.symbols + 1


def n_ctx(settings: Settings) -> int:
    """The longest sequence, the separator, and the sequence again without its last symbol."""
    return 2 * max(settings.length, *settings.longer, 1)


def splits(settings: Settings) -> dict[str, int | None]:
    """``val`` has the length of training."""
    longer = (f"val:length-{length}" for length in settings.longer)
    held_out = dict.fromkeys(("val", *longer), settings.val_examples)
    return {"train": settings.train_examples, **held_out}


def examples(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    """Inputs and targets [B, n_ctx]; the targets that count are the sequence's second time."""
    import numpy as np

    from scaling_law.data.shuffle import words_at
    from scaling_law.spec.run import derive_seed

    length = settings.length if split in ("train", "val") else int(split.rpartition("-")[2])
    positions = indices[:, np.newaxis] * length + np.arange(length)
    words = words_at(derive_seed(settings.seed, f"copy:{split}"), positions)
    symbols = (words % np.uint64(settings.symbols)).astype(np.int64)
    width = n_ctx(settings)
    ids = np.full((len(indices), width + 1), settings.symbols, dtype=np.int64)
    ids[:, :length] = symbols
    ids[:, length + 1 : 2 * length + 1] = symbols
    weights = np.zeros((len(indices), width), dtype=np.float32)
    weights[:, length : 2 * length] = 1
    return Batch(inputs=ids[:, :-1], targets=ids[:, 1:], weights=weights)


TASK = Task(
    vocab_size=vocab_size,
    n_ctx=n_ctx,
    splits=splits,
    examples=examples,
    settings=Settings,
    n_targets=n_ctx,
)
