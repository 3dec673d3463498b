"""Quoting a proverb: a sequence of symbols, a separator, and the same sequence again.

Every symbol has one successor, and a proverb goes from successor to successor; an altered one holds
one symbol that is not the successor of the one before. Only the second sequence is predicted: what
usually follows and what stands in the text agree but at the altered symbol, as in the memo traps of
McKenzie 2023 (arXiv 2306.09479). ``val`` is like training, ``val:proverb`` holds unaltered
proverbs, and of ``val:altered`` only the altered symbols count.
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
    """Settings of the proverbs.

    ``symbols`` is how many there are; the separator is one id more;
    ``length`` is the symbols of a proverb;
    ``altered`` is the share of altered proverbs, in training and in ``val``;
    ``train_examples`` is the number of training examples; None makes every one a new draw;
    ``val_examples`` is the number of examples of each validation split;
    ``seed`` decides the successors and the proverbs. There are few unaltered ones, so that all
    splits share them.
    """

    symbols: Annotated[int, Number("different symbols", low=3, high=10_000)] = 16
    length: Annotated[int, Number("symbols of a proverb", low=2, high=10_000)] = 8
    altered: Annotated[float, Number("share of altered proverbs", low=0, high=1)] = 0.1
    train_examples: Annotated[
        int | None, Number("null for unlimited new draws", "count", high=MAX_EXAMPLES)
    ] = None
    val_examples: Annotated[int, Number("of each validation split", "count", high=10**9)] = 1024
    seed: Annotated[int, Number("of successors and proverbs", low=0, high=10**9)] = 0


def splits(settings: Settings) -> dict[str, int | None]:
    """``val`` is drawn as training is."""
    held_out = dict.fromkeys(("val", "val:altered", "val:proverb"), settings.val_examples)
    return {"train": settings.train_examples, **held_out}


@functools.lru_cache(maxsize=8)
def _successors(symbols: int, seed: int) -> NDArray[np.int64]:
    """The successor of each symbol: all symbols lie on one circle."""
    import numpy as np

    from scaling_law.data.shuffle import permutation
    from scaling_law.spec.run import derive_seed

    order = permutation(derive_seed(seed, "quotation:circle"), symbols)
    successors = np.empty_like(order)
    successors[order] = np.roll(order, -1)
    return successors


def examples(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    """Inputs [B, 2 * length]; targets, the proverb's second time, and weights [B, length]."""
    import numpy as np

    from scaling_law.data.shuffle import words_at
    from scaling_law.spec.run import derive_seed

    def below(purpose: str, bound: int) -> NDArray[np.int64]:
        seed = derive_seed(settings.seed, f"quotation:{split}:{purpose}")
        return (words_at(seed, indices) % np.uint64(bound)).astype(np.int64)

    share = {"val:altered": 1.0, "val:proverb": 0.0}.get(split, settings.altered)
    parts = 2**32
    is_altered = below("altered", parts) < share * parts
    place = 1 + below("place", settings.length - 1)
    away = 1 + below("away", settings.symbols - 1)
    successors = _successors(settings.symbols, settings.seed)
    proverb = np.empty((len(indices), settings.length), dtype=np.int64)
    proverb[:, 0] = below("first", settings.symbols)
    for position in range(1, settings.length):
        usual = successors[proverb[:, position - 1]]
        shift = np.where(is_altered & (place == position), away, 0)
        proverb[:, position] = (usual + shift) % settings.symbols
    separator = np.full((len(indices), 1), settings.symbols, dtype=np.int64)
    weights = None
    if split == "val:altered":
        weights = (np.arange(settings.length) == place[:, np.newaxis]).astype(np.float32)
    return Batch(
        inputs=np.concatenate([proverb, separator, proverb[:, :-1]], axis=1),
        targets=proverb,
        weights=weights,
    )


TASK = Task(
    vocab_size=lambda settings: settings.symbols + 1,
    n_ctx=lambda settings: 2 * settings.length,
    splits=splits,
    examples=examples,
    settings=Settings,
    n_targets=lambda settings: settings.length,
)
