"""Copying: a sequence of random symbols, a separator, and the same sequence again.

Only the second sequence is predicted; it may be the reverse of the first. Longer sequences than
those of training are scored as ``val:length-N``; shorter ones are padded with separators that do
not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.batch import Batch
from scaling_law.data.tasks import MAX_EXAMPLES, STRETCH, Task
from scaling_law.spec.values import Number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST = 10_000
_LENGTH = Number("symbols to copy", low=1, high=_LONGEST)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of copying.

    ``symbols`` is how many there are; the separator is one id more;
    ``length`` is the symbols of a sequence in ``val``, and the most in training;
    ``shortest`` is the fewest symbols in training, where every number up to ``length`` is as
    likely; None for ``length`` alone;
    ``ramp`` is the training examples over which the most symbols rise from ``shortest`` to
    ``length``, evenly; None for no rise;
    ``longer`` are the lengths of further validation splits, in symbols;
    ``distinct`` has no symbol twice in a sequence;
    ``reverse`` writes the second sequence with its last symbol first;
    ``train_examples`` is the number of training examples; None makes every one a new one;
    ``val_examples`` is the number of examples of each validation split;
    ``seed`` decides the sequences. With few symbols and short sequences there are few different
    ones, and some are in several splits.
    """

    symbols: Annotated[int, Number("different symbols", low=2, high=1_000_000)] = 10
    length: Annotated[int, _LENGTH] = 16
    shortest: Annotated[int | None, _LENGTH] = None
    ramp: Annotated[
        int | None, Number("training examples until the full length", "count", high=STRETCH)
    ] = None
    longer: tuple[Annotated[int, _LENGTH], ...] = (32,)
    distinct: bool = False
    reverse: bool = False
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
        if self.shortest is not None and self.shortest > self.length:
            raise ValueError(f"shortest is {self.shortest}, expected at most length {self.length}")
        longest = max(self.length, *self.longer, 1)
        if self.distinct and longest > self.symbols:
            raise ValueError(
                f"a sequence of {longest} distinct symbols needs as many; symbols is {self.symbols}"
            )
        if self.distinct and self.symbols > _LONGEST:
            raise ValueError(
                f"symbols is {self.symbols}, expected at most {_LONGEST} where they are distinct"
            )
        if self.ramp is not None and self.shortest is None:
            raise ValueError("ramp raises the length from shortest on; set shortest as well")
        if self.ramp is not None and self.train_examples is not None:
            raise ValueError(
                "ramp needs new examples in their order, and limited ones are shuffled; leave"
                " train_examples out"
            )


def vocab_size(settings: Settings) -> int:
    """The symbols and the separator."""
    return settings.symbols + 1


def n_ctx(settings: Settings) -> int:
    """The longest sequence, the separator, and the sequence again without its last symbol."""
    return 2 * max(settings.length, *settings.longer, 1)


def splits(settings: Settings) -> dict[str, int | None]:
    """``val`` has the full length of training."""
    longer = (f"val:length-{length}" for length in settings.longer)
    held_out = dict.fromkeys(("val", *longer), settings.val_examples)
    return {"train": settings.train_examples, **held_out}


def examples(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    """Inputs and targets [B, n_ctx]; the targets that count are the sequence's second time."""
    import numpy as np

    lengths = _lengths(settings, split, indices)[:, np.newaxis]
    symbols = _symbols(settings, split, indices)
    width = n_ctx(settings)
    # Where in its sequence each position's symbol stands, the first and the second time.
    first = np.arange(width + 1)
    second = first - lengths - 1
    is_first, is_second = first < lengths, (second >= 0) & (second < lengths)
    place = np.where(is_first, first, lengths - 1 - second if settings.reverse else second)
    place = np.where(is_first | is_second, place, 0)
    ids = np.take_along_axis(symbols, place, axis=1)
    ids = np.where(is_first | is_second, ids, settings.symbols)
    return Batch(
        inputs=ids[:, :-1], targets=ids[:, 1:], weights=is_second[:, 1:].astype(np.float32)
    )


def _lengths(settings: Settings, split: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """The symbols of each example's sequence."""
    import numpy as np

    from scaling_law.data.shuffle import words_at
    from scaling_law.spec.run import derive_seed

    if split != "train" or settings.shortest is None:
        name = split.rpartition("-")[2]
        length = int(name) if split.startswith("val:") else settings.length
        return np.full(len(indices), length, dtype=np.int64)
    most = np.full(len(indices), settings.length, dtype=np.int64)
    if settings.ramp is not None:
        # its number in the run, from 0; the steps from shortest to length take equal parts
        seen = np.minimum(indices % STRETCH, settings.ramp - 1)
        most = settings.shortest + seen * (settings.length - settings.shortest + 1) // settings.ramp
    words = words_at(derive_seed(settings.seed, "copy:train:length"), indices)
    spread = (most - settings.shortest + 1).astype(np.uint64)
    return settings.shortest + (words % spread).astype(np.int64)


def _symbols(settings: Settings, split: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """The symbols of each example, as many as the longest of the split has."""
    import numpy as np

    from scaling_law.data.shuffle import words_at
    from scaling_law.spec.run import derive_seed

    seed = derive_seed(settings.seed, f"copy:{split}")
    if settings.distinct:
        of_all = indices[:, np.newaxis] * settings.symbols + np.arange(settings.symbols)
        return np.argsort(words_at(seed, of_all), axis=1, kind="stable")
    length = int(split.rpartition("-")[2]) if split.startswith("val:") else settings.length
    words = words_at(seed, indices[:, np.newaxis] * length + np.arange(length))
    return (words % np.uint64(settings.symbols)).astype(np.int64)


TASK = Task(
    vocab_size=vocab_size,
    n_ctx=n_ctx,
    splits=splits,
    examples=examples,
    settings=Settings,
    n_targets=n_ctx,
)
