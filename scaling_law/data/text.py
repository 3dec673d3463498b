"""Read prepared text: memory-mapped tokens, and batches that depend on (seed, step) alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_law.data.batch import Batch
from scaling_law.data.corpus import state_digest
from scaling_law.data.dataset import drawn, shifts, shuffled, spread
from scaling_law.data.dataset_folder import (
    CHECKS,
    COMPONENTS,
    META,
    SPLITS,
    TOKENIZER,
    documents_file,
)
from scaling_law.data.shards import check_shard, open_shard, shard_hash, shard_tokens
from scaling_law.data.tokenizer import Tokenizer, tokenizer_from_json
from scaling_law.errors import ConfigError
from scaling_law.files import checksum
from scaling_law.spec.data import DataSpec
from scaling_law.spec.run import derive_seed
from scaling_law.units import format_count
from scaling_law.versions import DATASET, NewerVersion

if TYPE_CHECKING:  # loaded where an array is made: `slaw run --dry-run` makes none
    import numpy as np
    import numpy.typing as npt

_REMEDY = "delete the folder and prepare the data again"


class TextDataset:
    """The folder that ``prepare`` made. Open it with ``open_dataset``.

    A split of n tokens holds ``(n - 1) // n_ctx`` sequences that share no target: sequence i
    is tokens ``i * n_ctx`` to ``(i + 1) * n_ctx``, both included (the last is only a target).
    Of the training text only ``unique_tokens`` are used, None for all: its first ones, or those of
    sequences that a run's seed draws from all of it where ``unique_from`` is ``whole``. Where
    ``windows`` is ``shifted``, an epoch of the training text moves all its sequences on by as many
    tokens as ``shifts`` says, and the last one continues at the beginning of the text.

    ``val:code`` and ``train:code`` are the documents of one component, one after the other; they
    are not among ``splits``, which a run without a mixture measures.
    """

    def __init__(
        self,
        folder: Path,
        meta: dict[str, Any],
        tokenizer: Tokenizer,
        read_as: DataSpec | None = None,
    ) -> None:
        self.folder = folder
        self.meta = meta
        self.tokenizer = tokenizer
        self._whole = {split: shard_tokens(folder / f"{split}.bin") for split in SPLITS}
        unique_tokens = None if read_as is None else read_as.unique_tokens
        if unique_tokens is not None and unique_tokens > self._whole["train"]:
            raise ConfigError(
                f"data.unique_tokens: {unique_tokens:,}, and the training text of"
                f" {meta['spec']['corpus']} has {self._whole['train']:,} tokens; use fewer, or more"
                " text"
            )
        unique_share = None if read_as is None else read_as.unique_share
        if unique_share is not None:
            # a sequence needs the token after it as well
            whole = self._whole["train"]
            unique_tokens = min(math.ceil(unique_share * whole) + 1, whole)
        self.cap_key = "unique_tokens" if unique_share is None else "unique_share"
        self._counts = {**self._whole, "train": unique_tokens or self._whole["train"]}
        self.draws_unique = bool(unique_tokens and read_as and read_as.unique_from)
        self.shifts_windows = read_as is not None and read_as.windows is not None
        self.keep_orders(1)

    def keep_orders(self, seeds: int) -> None:
        """Keep the orders of ``seeds`` seeds, whose batches are drawn in turn, in memory."""
        # a batch may span two epochs; each dataset has its own cache of orders
        self._order = lru_cache(maxsize=2 * seeds)(shuffled)
        # the sequences of a smaller cap are among those of a larger one
        self._unique = lru_cache(maxsize=seeds)(shuffled)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that text has."""
        return SPLITS

    @cached_property
    def _tokens(self) -> dict[str, npt.NDArray[np.unsignedinteger]]:
        shards = {split: open_shard(self.folder / f"{split}.bin") for split in SPLITS}
        counts = self._whole if self.draws_unique else self._counts
        return {split: shard[: counts[split]] for split, shard in shards.items()}

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the hashes of all documents, independent of the tokenizer."""
        return str(self.meta["fingerprint"])

    @property
    def components_fingerprint(self) -> str | None:
        """16 hex digits over the component and the length of each document, in their order.

        None where an older slaw did not write the components.
        """
        if not self.has_components:
            return None
        hashes = {split: shard_hash(self.folder / documents_file(split)) for split in SPLITS}
        return state_digest([list(self.components), hashes])[:16]

    @property
    def component_names(self) -> tuple[str, ...]:
        """(), because its sequences cross from one component into another."""
        return ()

    @property
    def vocab_size(self) -> int:
        """Ids the tokenizer may produce, the document separator included."""
        return self.tokenizer.vocab_size

    def tokens(self, split: str) -> npt.NDArray[np.unsignedinteger]:
        """All ids of ``"train"`` or ``"val"``, read-only uint16 or uint32.

        Of training text there are ``n_tokens``, or the whole where a run's seed draws from it.
        """
        assert split in SPLITS, split
        return self._tokens[split]

    def n_tokens(self, split: str) -> int:
        """Tokens in the split, separators included."""
        if split in SPLITS:
            return self._counts[split]
        of, _, component = split.partition(":")
        return self.components[component][of]

    @property
    def has_components(self) -> bool:
        """Whether the components are written; an older slaw did not write them."""
        return (self.folder / COMPONENTS).is_file()

    @cached_property
    def components(self) -> dict[str, dict[str, int]]:
        """The tokens of each component (a domain or a source), by its name and split.

        Raises ``ConfigError`` where an older slaw prepared the text and did not write them.
        """
        return read_components(self.folder)

    @cached_property
    def _documents(self) -> dict[str, _Documents]:
        """The documents of each component and split, by the split's name as in ``val:code``."""
        import numpy as np

        documents = {}
        for split in SPLITS:
            rows = open_shard(self.folder / documents_file(split)).reshape(-1, 2).astype(np.int64)
            starts = np.cumsum(rows[:, 1]) - rows[:, 1]
            for number, name in enumerate(self.components):
                own = rows[:, 0] == number
                bounds = np.concatenate([[0], np.cumsum(rows[own, 1])])
                documents[f"{split}:{name}"] = _Documents(starts[own], bounds)
        return documents

    @property
    def train_tokens(self) -> int:
        """Tokens of the training split, separators included."""
        return self.n_tokens("train")

    def bytes_per_token(self, split: str) -> float:
        """Mean text bytes per token over the whole split."""
        return float(self.meta["splits"][split]["bytes"]) / self._whole[split]

    def n_seqs(self, split: str, n_ctx: int) -> int:
        """Sequences of ``n_ctx`` targets in the split (one epoch).

        Raises ``ConfigError`` when there is not even one.
        """
        count = (self.n_tokens(split) - 1) // n_ctx
        if count < 1:
            raise ConfigError(
                f"{self.folder}: {split} has {self.n_tokens(split)} tokens, fewer than one "
                f"sequence of n_ctx {n_ctx}; use more text or a shorter n_ctx"
            )
        return count

    def _sequences(
        self,
        split: str,
        indices: npt.NDArray[np.int64],
        n_ctx: int,
        shift: npt.NDArray[np.int64] | None = None,
    ) -> npt.NDArray[np.int64]:
        import numpy as np

        columns = np.arange(n_ctx + 1, dtype=np.int64)
        places = indices[:, None] * n_ctx + columns
        if shift is not None:
            places = (places + shift[:, None]) % (self.n_seqs(split, n_ctx) * n_ctx + 1)
        if split not in SPLITS:
            places, split = self._documents[split].places(places), split.partition(":")[0]
        gathered = self.tokens(split)[places]
        return np.asarray(gathered, dtype=np.int64)

    def sequences(
        self, split: str, indices: npt.NDArray[np.int64], n_ctx: int, first: int = 0
    ) -> Batch:
        """Return sequences of a split, or of a component such as ``train:code``, by number.

        ``first`` is how many of its sequences were read before these.
        """
        shift = self._shift(split, first, len(indices), n_ctx)
        return _batch(self._sequences(split, indices, n_ctx, shift))

    def _shift(
        self, split: str, first: int, count: int, n_ctx: int
    ) -> npt.NDArray[np.int64] | None:
        """How far each of ``count`` sequences is moved; None where none is."""
        if not self.shifts_windows or split.partition(":")[0] != "train":
            return None
        return shifts(self.n_seqs(split, n_ctx), first=first, count=count, n_ctx=n_ctx)

    def batch(self, split: str, step: int, *, batch_seqs: int, n_ctx: int, seed: int) -> Batch:
        """Batch number ``step`` (from 0): inputs and targets [batch_seqs, n_ctx]; a pure function.

        Each epoch visits every sequence once, in an order drawn from ``seed`` and the epoch; a
        batch may span two epochs. ``seed`` is used as it is (``derive_seed(run_seed, "data")``).
        """
        import numpy as np

        available = self.n_seqs(split, n_ctx)
        first = step * batch_seqs
        indices = drawn(self._order, available, first=first, count=batch_seqs, seed=seed)
        if split == "train" and self.draws_unique:
            whole = (self._whole[split] - 1) // n_ctx
            indices = self._unique(derive_seed(seed, "unique"), whole)[indices].astype(np.int64)
        shift = self._shift(split, first, batch_seqs, n_ctx)
        return _batch(self._sequences(split, indices, n_ctx, shift))

    def _scored(self, split: str, n_ctx: int, max_tokens: int) -> npt.NDArray[np.int64]:
        return spread(self.n_seqs(split, n_ctx), n_ctx, max_tokens)

    def val_tokens(self, split: str, n_ctx: int, max_tokens: int) -> int:
        """Targets that ``val_batches`` scores: ``max_tokens`` cut to whole sequences, or all."""
        return len(self._scored(split, n_ctx, max_tokens)) * n_ctx

    def val_bytes(self, split: str, n_ctx: int, max_tokens: int) -> int:
        """Text bytes that those targets stand for, exactly (separators stand for none)."""
        lengths = self.tokenizer.byte_lengths
        batches = self.val_batches(split, n_ctx, max_tokens, 64)
        return int(sum(lengths[batch.targets].sum() for batch in batches))

    def val_batches(
        self, split: str, n_ctx: int, max_tokens: int, batch_seqs: int
    ) -> Iterator[Batch]:
        """Sequences to score, up to ``batch_seqs`` a batch, the same for every run.

        About ``max_tokens`` targets in whole sequences spread over the split; all of it when
        it holds fewer. Only the batching depends on ``batch_seqs``.
        """
        indices = self._scored(split, n_ctx, max_tokens)
        for start in range(0, len(indices), batch_seqs):
            yield _batch(self._sequences(split, indices[start : start + batch_seqs], n_ctx))

    def unique_tokens(self, *, n_ctx: int, batch_tokens: int, steps: int) -> int:
        """Distinct training targets seen in ``steps`` steps: at most one epoch's."""
        return min(batch_tokens * steps, self.n_seqs("train", n_ctx) * n_ctx)

    def repeats(self, *, n_ctx: int, batch_tokens: int, steps: int) -> dict[str, float]:
        """{}, because without a mixture the components are not counted separately."""
        return {}

    def epochs(self, *, n_ctx: int, tokens: int) -> float:
        """Passes over the training split that give ``tokens`` targets."""
        return tokens / (self.n_seqs("train", n_ctx) * n_ctx)

    @cached_property
    def licence(self) -> str:
        """The corpus's licence note."""
        return str(self.meta["licence"])

    @property
    def summary(self) -> str:
        """The text in one line."""
        return (
            f"{self.meta['spec']['corpus']}, corpus {self.fingerprint},"
            f" {format_count(self.n_tokens('train'))} training tokens of"
            f" {self.bytes_per_token('train'):.2f} bytes, vocabulary {self.vocab_size}"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was read, left out and noticed while the text was prepared, a line each."""
        return tuple(map(str, self.meta["notes"]))

    @property
    def ids_in_use(self) -> int | None:
        """Ids that the training split holds; None where an older slaw did not count them."""
        return self._check("ids_in_use")

    @property
    def merges_in_use(self) -> int | None:
        """The ids among them that stand for several bytes, or for the separator."""
        return self._check("merges_in_use")

    def _check(self, name: str) -> int | None:
        checks = self.meta.get(CHECKS)
        value = checks.get(name) if isinstance(checks, dict) else None
        return value if isinstance(value, int) else None

    @property
    def versions(self) -> dict[str, str]:
        """{}, because the folder of the prepared text names those of its corpus."""
        return {}

    @property
    def pin(self) -> dict[str, Any]:
        """Return the tokens' folder, and the hashes of text, tokens and components."""
        components = self.components_fingerprint
        return {
            "folder": str(self.folder),
            "fingerprint": self.fingerprint,
            "tokens_sha256": self.token_hashes,
            **({} if components is None else {"components_fingerprint": components}),
        }

    def check(self) -> None:
        """Read every token and compare with the stored hashes. Raises ``ConfigError``."""
        for split in SPLITS:
            check_shard(self.folder / f"{split}.bin")
            if self.has_components:
                check_shard(self.folder / documents_file(split))

    @property
    def token_hashes(self) -> dict[str, str]:
        """The SHA-256 of each split's tokens, as their file's header has it."""
        return {split: shard_hash(self.folder / f"{split}.bin") for split in SPLITS}


@dataclass(frozen=True)
class _Documents:
    """Documents of one component within the tokens of a split.

    ``starts`` are the places of their first tokens in the split, [documents];
    ``bounds`` are the places where they begin and end when they stand one after the other,
    [documents + 1].
    """

    starts: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.int64]

    def places(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the places in the split of ``positions`` in the documents put together."""
        import numpy as np

        document = np.searchsorted(self.bounds, positions, side="right") - 1
        places: npt.NDArray[np.int64] = self.starts[document] + positions - self.bounds[document]
        return places


def read_components(folder: Path) -> dict[str, dict[str, int]]:
    """Return the tokens of each component by its name and split. Raises ``ConfigError``."""
    path = folder / COMPONENTS
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; `slaw data prepare` with this config writes it")
    content = checksum.read(path, _REMEDY)
    try:
        tokens = {
            name: {split: int(row[split]) for split in SPLITS}
            for name, row in content["tokens"].items()
        }
        hashes = {split: content["sha256"][split] for split in SPLITS}
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ConfigError(f"{path}: damaged ({problem!r}); {_REMEDY}") from None
    for split in SPLITS:
        if shard_hash(folder / documents_file(split)) != hashes[split]:
            raise ConfigError(
                f"{folder / documents_file(split)}: not the documents that {COMPONENTS} names;"
                f" {_REMEDY}"
            )
    return tokens


def _batch(ids: npt.NDArray[np.int64]) -> Batch:
    """Make a batch of sequences [B, n_ctx + 1] in which each position predicts the next."""
    return Batch(inputs=ids[:, :-1], targets=ids[:, 1:])


def open_dataset(folder: Path, read_as: DataSpec | None = None) -> TextDataset:
    """Open the dataset in ``folder``. Cheap: headers and sizes are checked, tokens are not read.

    ``read_as`` says which of the training tokens are used and where they are cut into sequences;
    None for all of them, always at the same places. Raises ``ConfigError``, which names the file
    that is missing, damaged or of another version, or for a cap beyond the text.
    """
    path = folder / META
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; make the dataset with `slaw data prepare`")
    meta = checksum.read(path, _REMEDY)
    try:
        DATASET.check(meta.get("schema_version"))
    except NewerVersion as problem:
        raise ConfigError(f"{path}: {problem}") from None
    except ValueError as problem:
        raise ConfigError(f"{path}: {problem}; {_REMEDY}") from None
    try:
        tokenizer = tokenizer_from_json(checksum.read(folder / TOKENIZER, _REMEDY))
        dataset = TextDataset(folder, meta, tokenizer, read_as)
        splits = meta["splits"]
        counted = {split: int(splits[split]["tokens"]) for split in SPLITS}
        hashes = {split: splits[split].get("sha256") for split in SPLITS}
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        why = f"damaged {META} or {TOKENIZER} ({problem!r})"
        raise ConfigError(f"{folder}: {why}; {_REMEDY}") from None
    for split, count in counted.items():
        file = folder / f"{split}.bin"
        if shard_tokens(file) != count:
            raise ConfigError(
                f"{file}: {shard_tokens(file)} tokens where {META} counts {count}; {_REMEDY}"
            )
        if hashes[split] not in (None, shard_hash(file)):
            raise ConfigError(f"{file}: not the tokens that {META} names; {_REMEDY}")
    return dataset
