"""Arithmetic modulo a number (Power 2022, arXiv 2201.02177): two numbers give one.

Every pair of numbers is one example, and in exactly one split. (a, b) and (b, a) have one sum and
one product: a network that ignores the order predicts a held-out pair as soon as it has memorised
the swapped one. ``swapped_together`` leaves no such pair.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.batch import Batch
from scaling_law.data.tasks import Task
from scaling_law.spec.values import Number, Text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OPERATIONS = ("add", "subtract", "multiply")
MAX_MODULUS = 2048  # 4 million pairs, which are shuffled in memory


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of modular arithmetic.

    ``modulus`` is how many numbers there are;
    ``train_frac`` is the share of all pairs that are trained on, the others are ``val``;
    ``operation`` is the operation on a pair;
    ``equals`` appends an "=" to the two numbers, of which it is the last id;
    ``swapped_together`` puts (a, b) and (b, a) in the same split;
    ``seed`` decides which pairs are trained on.
    """

    modulus: Annotated[int, Number("how many numbers", low=2, high=MAX_MODULUS)] = 59
    train_frac: Annotated[float, Number("share of pairs to train on", above=0, below=1)] = 0.4
    operation: Annotated[str, Text("the operation on a pair", OPERATIONS)] = "add"
    equals: bool = False
    swapped_together: bool = False
    seed: Annotated[int, Number("of the split", low=0, high=10**9)] = 0

    def __post_init__(self) -> None:
        pairs = self.modulus**2
        if not 0 < self.train_pairs < pairs:
            split = "validation" if self.train_pairs else "training"
            raise ValueError(
                f"train_frac {self.train_frac:g} leaves no {split} example of {pairs} pairs;"
                f" expected {1 / pairs:.3g} to {1 - 1 / pairs:.6g}"
            )

    @property
    def train_pairs(self) -> int:
        """Pairs to train on."""
        return round(self.train_frac * self.modulus**2)

    @property
    def train_doubles(self) -> int:
        """Pairs of a number with itself to train on, where swapped pairs are together.

        Their number is close to their share, and leaves an even number of other pairs.
        """
        doubles = round(self.train_frac * self.modulus)
        if (self.train_pairs - doubles) % 2:
            doubles += 1 if doubles < self.modulus else -1
        return doubles


def vocab_size(settings: Settings) -> int:
    """The numbers, and "=" where there is one."""
    return settings.modulus + settings.equals


def n_ctx(settings: Settings) -> int:
    """Two numbers, and "=" where there is one."""
    return 2 + settings.equals


def splits(settings: Settings) -> dict[str, int | None]:
    """All pairs."""
    train = settings.train_pairs
    return {"train": train, "val": settings.modulus**2 - train}


@functools.lru_cache(maxsize=8)
def _pairs(settings: Settings) -> NDArray[np.int64]:
    """All pairs, a * modulus + b, in the order in which splits take them."""
    from scaling_law.data.shuffle import permutation
    from scaling_law.spec.run import derive_seed

    seed = derive_seed(settings.seed, "modular_addition")
    order = permutation(seed, settings.modulus**2)
    return _swapped_together(settings, order) if settings.swapped_together else order


def _swapped_together(settings: Settings, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same pairs, those of training first: with each pair its swapped one is among them."""
    import numpy as np

    a, b = np.divmod(order, settings.modulus)
    doubles = order[a == b][: settings.train_doubles]
    ascending = order[a < b][: (settings.train_pairs - settings.train_doubles) // 2]
    trained = np.isin(np.minimum(a, b) * settings.modulus + np.maximum(a, b), ascending)
    trained |= np.isin(order, doubles)
    return np.concatenate([order[trained], order[~trained]])


def examples(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    """Inputs a, b, and "=" where there is one; one target."""
    import numpy as np

    first = 0 if split == "train" else settings.train_pairs
    a, b = np.divmod(_pairs(settings)[first + indices], settings.modulus)
    outcome = {"add": a + b, "subtract": a - b, "multiply": a * b}[settings.operation]
    columns = [a, b, np.full_like(a, settings.modulus)] if settings.equals else [a, b]
    return Batch(
        inputs=np.stack(columns, axis=1), targets=(outcome % settings.modulus)[:, np.newaxis]
    )


TASK = Task(
    vocab_size=vocab_size,
    n_ctx=n_ctx,
    splits=splits,
    examples=examples,
    settings=Settings,
    n_targets=lambda settings: 1,
)
