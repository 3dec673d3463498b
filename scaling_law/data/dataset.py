"""The interface of the data that training reads, be it text or a task: ``Dataset``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import gcd
from typing import TYPE_CHECKING, Any, Protocol

from scaling_law.data.batch import Batch
from scaling_law.spec.run import derive_seed

if TYPE_CHECKING:  # loaded where an array is made: `slaw run --dry-run` makes none
    import numpy as np
    import numpy.typing as npt

    from scaling_law.data.tokenizer import Tokenizer


class Dataset(Protocol):
    """Examples in named splits; batches depend on their arguments alone.

    A sequence is one example: ``n_ctx`` positions, each of which counts as a token, whether or
    not it holds an id. Of examples without positions (features, images) ``n_ctx`` is 1.
    """

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits by name: ``train``, ``val``, and more such as ``val:length-128``."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the content: equal for equal examples."""

    @property
    def components_fingerprint(self) -> str | None:
        """16 hex digits over the component of each document; None where that is not known."""

    @property
    def component_names(self) -> tuple[str, ...]:
        """The components that ``Batch.components`` numbers; () where batches do not say."""

    @property
    def vocab_size(self) -> int:
        """Ids that inputs and targets may hold; 0 where neither holds ids."""

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer of the text; None for a task."""

    @property
    def licence(self) -> str:
        """The licence note of the data, in one line."""

    @property
    def summary(self) -> str:
        """The data in one line: name, fingerprint, sizes."""

    @property
    def versions(self) -> dict[str, str]:
        """What the examples of a task are made from, text by name; a text's folder has its own."""

    @property
    def pin(self) -> dict[str, Any]:
        """Return what a sweep's folder records to find the same data again, as JSON values."""

    @property
    def train_tokens(self) -> int | None:
        """Tokens of the training split; None where its examples are unlimited."""

    def n_seqs(self, split: str, n_ctx: int) -> int:
        """Sequences in the split (one epoch). Raises ``ConfigError`` when there is none."""

    def keep_orders(self, seeds: int) -> None:
        """Keep the orders of ``seeds`` seeds, whose batches are drawn in turn, in memory."""

    def batch(self, split: str, step: int, *, batch_seqs: int, n_ctx: int, seed: int) -> Batch:
        """Batch number ``step`` (from 0) of ``batch_seqs`` examples; a pure function.

        Each epoch visits every example once, in an order drawn from ``seed`` and the epoch; a
        batch may span two epochs. ``seed`` is used as it is (see ``derive_seed``).
        """

    def val_batches(
        self, split: str, n_ctx: int, max_tokens: int, batch_seqs: int
    ) -> Iterator[Batch]:
        """Examples of a split to score, up to ``batch_seqs`` a batch, the same for every run.

        About ``max_tokens`` in whole sequences spread over the split; all of it when it holds
        fewer. Only the batching depends on ``batch_seqs``.
        """

    def val_tokens(self, split: str, n_ctx: int, max_tokens: int) -> int:
        """Tokens that ``val_batches`` gives: ``max_tokens`` cut to whole sequences, or all."""

    def val_bytes(self, split: str, n_ctx: int, max_tokens: int) -> int | None:
        """Text bytes that those tokens stand for; None where they are not text."""

    def unique_tokens(self, *, n_ctx: int, batch_tokens: int, steps: int) -> int:
        """Distinct training tokens seen in ``steps`` steps: at most one epoch's."""

    def repeats(self, *, n_ctx: int, batch_tokens: int, steps: int) -> dict[str, float]:
        """Passes over the training text of each component in ``steps`` steps; {} without them."""

    def epochs(self, *, n_ctx: int, tokens: int) -> float:
        """Passes over the training split that give ``tokens``."""

    def check(self) -> None:
        """Compare the content with what is recorded of it. Raises ``ConfigError``."""


def spread(available: int, n_ctx: int, max_tokens: int) -> npt.NDArray[np.int64]:
    """Choose the sequences to score, evenly spread, because neighbours are too similar."""
    import numpy as np

    count = min(max(1, max_tokens // n_ctx), available)
    return np.arange(count, dtype=np.int64) * available // count


def drawn(
    order: Callable[[int, int], npt.NDArray[np.integer]],
    available: int,
    *,
    first: int,
    count: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Return sequences ``first`` to ``first + count`` of endless epochs over ``available``.

    Each epoch has its own order, ``order(seed of the epoch, available)``.
    """
    import numpy as np

    positions = first + np.arange(count, dtype=np.int64)
    epochs, places = np.divmod(positions, available)
    indices = np.empty_like(places)
    for epoch in np.unique(epochs):
        of_epoch = order(derive_seed(seed, f"epoch:{epoch}"), available)
        indices[epochs == epoch] = of_epoch[places[epochs == epoch]]
    return indices


def shifts(available: int, *, first: int, count: int, n_ctx: int) -> npt.NDArray[np.int64]:
    """Return how many tokens each sequence is moved on by, where each epoch cuts at other places.

    The sequences are those that ``drawn`` returns. The first epoch is not moved; no two of the
    first ``n_ctx`` epochs are moved equally far, and each lies far from those before it (steps of
    the golden section).
    """
    import numpy as np

    stride = next(one for one in range(round(0.618 * n_ctx), n_ctx + 1) if gcd(one, n_ctx) == 1)
    epochs = (first + np.arange(count, dtype=np.int64)) // available
    return epochs * stride % n_ctx


def shuffled(seed: int, count: int) -> npt.NDArray[np.integer]:
    """Return a permutation of ``range(count)``, as int32 where that suffices."""
    import numpy as np

    from scaling_law.data.shuffle import permutation

    order = permutation(seed, count)
    return order.astype(np.int32) if count < 2**31 else order
