"""Present a task as a ``Dataset``: its examples in epochs, checked against the contract."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from scaling_law.data.batch import Batch
from scaling_law.data.dataset import drawn, shuffled, spread
from scaling_law.data.tasks import MAX_EXAMPLES, STRETCH, Task
from scaling_law.errors import ConfigError, one_line
from scaling_law.units import format_count

if TYPE_CHECKING:  # loaded where an array is made: `slaw run --dry-run` makes none
    import numpy as np
    import numpy.typing as npt

# The fingerprint covers this many examples of a split.
_LOOKED_AT = 1024
# Seeds start to read an unlimited split at this many places, ``STRETCH`` examples apart.
_STRETCHES = 2**16


class TaskDataset:
    """The examples of a ``task`` called ``name`` with these ``settings``.

    An unlimited training split is read from a place that the seed decides, every other split in
    epochs.
    """

    def __init__(self, name: str, task: Task, settings: Any) -> None:
        self.name = name
        self.task = task
        self.settings = settings
        self.sizes = task.sizes(settings)
        self.tokenizer = None
        self.keep_orders(1)

    def keep_orders(self, seeds: int) -> None:
        """Keep the orders of ``seeds`` seeds, whose batches are drawn in turn, in memory."""
        self._order = lru_cache(maxsize=2 * seeds)(shuffled)

    @property
    def splits(self) -> tuple[str, ...]:
        """The task's splits."""
        return tuple(self.sizes.splits)

    @property
    def components_fingerprint(self) -> None:
        """None, because a task has no documents."""
        return None

    @property
    def component_names(self) -> tuple[str, ...]:
        """(), because a task has no components."""
        return ()

    @property
    def vocab_size(self) -> int:
        """How many ids inputs and targets may hold."""
        return self.sizes.vocab_size

    @property
    def licence(self) -> str:
        """The task's note."""
        return self.task.licence

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the sizes of all splits and their first examples.

        A task whose rule changes, or differs on another machine, has another fingerprint.
        """
        digest = hashlib.sha256()
        if self.task.external:
            digest.update(repr(self.settings).encode())
            return digest.hexdigest()[:16]
        import numpy as np

        for split, count in self.sizes.splits.items():
            looked_at = min(_LOOKED_AT, count or _LOOKED_AT)
            batch = self.examples(split, np.arange(looked_at, dtype=np.int64))
            digest.update(f"{split} {count}".encode())
            for array in (batch.inputs, batch.targets, batch.weights):
                if array is not None:
                    digest.update(f"{array.dtype.str} {array.shape}".encode())
                    digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    @property
    def versions(self) -> dict[str, str]:
        """What the examples are made from, text by name; {} where they are made by rule."""
        return dict(self.task.versions(self.settings))

    @property
    def summary(self) -> str:
        """The task in one line."""
        counts = ", ".join(
            f"{split} {'new ones without end' if count is None else format_count(count)}"
            for split, count in self.sizes.splits.items()
        )
        made_of = "".join(f" ({text})" for text in self.versions.values())
        return (
            f"{self.name}{made_of}, fingerprint {self.fingerprint}, examples of {self.sizes.n_ctx}"
            f" positions: {counts}; vocabulary {self.vocab_size}"
        )

    @property
    def pin(self) -> dict[str, Any]:
        """The hash of the examples."""
        return {"fingerprint": self.fingerprint}

    @property
    def train_tokens(self) -> int | None:
        """Positions of all training examples; None where they are unlimited."""
        return self.sizes.train_tokens

    def n_seqs(self, split: str, n_ctx: int) -> int:
        """Examples in the split; for an unlimited split, more than any run reads."""
        return self.sizes.splits[split] or MAX_EXAMPLES

    def examples(self, split: str, indices: npt.NDArray[np.int64]) -> Batch:
        """Return examples of a split. Raises ``ConfigError`` where the task breaks its contract."""
        try:
            batch = self.task.examples(self.settings, split, indices)
        except Exception as problem:  # a user's own file may raise anything
            why = f"{type(problem).__name__}: {one_line(str(problem))}"
            raise ConfigError(f"{self.name}: making examples of {split} fails ({why})") from None
        if not isinstance(batch, Batch):
            raise ConfigError(
                f"{self.name}: its examples are {type(batch).__name__}, expected a Batch"
            )
        return batch

    def batch(self, split: str, step: int, *, batch_seqs: int, n_ctx: int, seed: int) -> Batch:
        """Batch number ``step`` (from 0) of ``batch_seqs`` examples; a pure function."""
        import numpy as np

        first, count = step * batch_seqs, self.sizes.splits[split]
        if count is None:
            stretch = seed % _STRETCHES * STRETCH
            indices = stretch + first + np.arange(batch_seqs, dtype=np.int64)
        else:
            indices = drawn(self._order, count, first=first, count=batch_seqs, seed=seed)
        return self.examples(split, indices)

    def val_batches(
        self, split: str, n_ctx: int, max_tokens: int, batch_seqs: int
    ) -> Iterator[Batch]:
        """Examples to score, up to ``batch_seqs`` a batch, the same for every run."""
        indices = spread(self.n_seqs(split, n_ctx), n_ctx, max_tokens)
        for start in range(0, len(indices), batch_seqs):
            yield self.examples(split, indices[start : start + batch_seqs])

    def val_tokens(self, split: str, n_ctx: int, max_tokens: int) -> int:
        """Positions that ``val_batches`` gives."""
        return len(spread(self.n_seqs(split, n_ctx), n_ctx, max_tokens)) * n_ctx

    def val_bytes(self, split: str, n_ctx: int, max_tokens: int) -> int | None:
        """None, because a task has no text."""
        return None

    def unique_tokens(self, *, n_ctx: int, batch_tokens: int, steps: int) -> int:
        """Distinct training positions seen in ``steps`` steps: at most one epoch's."""
        return min(batch_tokens * steps, self.n_seqs("train", n_ctx) * n_ctx)

    def repeats(self, *, n_ctx: int, batch_tokens: int, steps: int) -> dict[str, float]:
        """{}, because a task has no components."""
        return {}

    def epochs(self, *, n_ctx: int, tokens: int) -> float:
        """Passes over the training examples; 0 where they are unlimited."""
        seqs = self.sizes.train_seqs
        return 0.0 if seqs is None else tokens / (seqs * n_ctx)

    def check(self) -> None:
        """Check the first examples of every split against the contract. Raises ``ConfigError``."""
        if self.task.external:
            return
        import numpy as np

        for split, count in self.sizes.splits.items():
            indices = np.arange(min(_LOOKED_AT, count or _LOOKED_AT), dtype=np.int64)
            why = _why_broken(self.examples(split, indices), len(indices), self)
            if why:
                raise ConfigError(f"{self.name}: examples of {split}: {why}")


def _why_broken(batch: Batch, count: int, dataset: TaskDataset) -> str:
    """Say what in a batch breaks the contract of ``Task``; "" for nothing."""
    import numpy as np

    inputs, targets, weights = batch.inputs, batch.targets, batch.weights
    n_ctx, vocab = dataset.sizes.n_ctx, dataset.sizes.vocab_size
    for name, array in (("inputs", inputs), ("targets", targets)):
        if not isinstance(array, np.ndarray) or array.dtype not in (np.int64, np.float32):
            kind = getattr(array, "dtype", type(array).__name__)
            return f"{name} are {kind}, expected an array of int64 or float32"
        if array.ndim < 2 or len(array) != count:
            return f"{name} are of shape {array.shape}, expected [{count}, ...]"
        if array.dtype == np.int64 and not (array.min() >= 0 and array.max() < vocab):
            low, high = array.min(), array.max()
            return (
                f"{name} hold ids {low} to {high}, expected 0 to {vocab - 1} (vocab_size {vocab})"
            )
        if array.dtype == np.float32 and not np.isfinite(array).all():
            return f"{name} hold numbers that are not finite"
    if (inputs.dtype == np.int64) != (dataset.sizes.inputs == "ids"):
        return f"inputs are {inputs.dtype}, and the task says that they are {dataset.sizes.inputs}"
    if (features := dataset.sizes.features) and inputs[0].size != features:
        return f"an example's inputs are {inputs[0].size} numbers, expected {features} (features)"
    if (outputs := dataset.sizes.outputs) and targets.shape != (count, outputs):
        return f"targets are of shape {targets.shape}, expected {(count, outputs)} (outputs)"
    if inputs.dtype == np.int64 and inputs.shape != (count, n_ctx):
        return f"inputs are of shape {inputs.shape}, expected {(count, n_ctx)} (n_ctx {n_ctx})"
    if inputs.dtype == np.int64 and targets.shape[1] > n_ctx:
        return f"{targets.shape[1]} targets for {n_ctx} positions"
    said = dataset.sizes.n_targets
    if said and targets.shape[1] != said:
        return f"an example has {targets.shape[1]} targets, and the task says that it has {said}"
    if weights is not None:
        if not isinstance(weights, np.ndarray) or weights.dtype != np.float32:
            return "weights are not float32"
        if weights.shape != targets.shape[:2]:
            return f"weights are of shape {weights.shape}, expected {targets.shape[:2]}"
        if not np.isfinite(weights).all() or weights.min() < 0 or not weights.any(axis=1).all():
            return "an example has weights below 0, or none above 0"
    return ""
