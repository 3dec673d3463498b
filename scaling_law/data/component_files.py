"""Write which component each document of a prepared text is of, for mixtures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from scaling_law.console import Say
from scaling_law.data.corpus import text_of
from scaling_law.data.dataset_folder import (
    COMPONENTS,
    META,
    SPLITS,
    TOKENIZER,
    documents_file,
    work_folder,
)
from scaling_law.data.documents import Entry, read_documents, split_documents
from scaling_law.data.shards import open_shard, shard_hash, write_shard
from scaling_law.errors import ConfigError
from scaling_law.files import checksum, layout
from scaling_law.spec.data import DataSpec


def add_components(spec: DataSpec, folder: Path, say: Say) -> None:
    """Write which component each document is of, where an older slaw prepared the text.

    The text is read again. Raises ``ConfigError`` where it is no longer the text of ``folder``.
    """
    if layout.is_file(folder / COMPONENTS):
        return
    say(f"{spec.corpus}: reading the text again for the components of its documents")
    meta = checksum.read(folder / META, "delete the folder and prepare the data again")
    tokenizer = checksum.read(folder / TOKENIZER, "delete the folder and prepare the data again")
    with work_folder(folder, spec) as work:
        text = text_of(spec)
        with tempfile.TemporaryFile(dir=work) as spool:
            texts = read_documents(text, spec, spool, say)
            splits = split_documents(texts.entries, spec)
            texts.close()
        if texts.fingerprint != meta["fingerprint"]:
            raise ConfigError(
                f"{folder}: an older slaw prepared this text without its components, and the text"
                f" has changed since ({texts.fingerprint} now); start a new sweep with --out"
            )
        for split in SPLITS:
            (work / f"{split}.bin").symlink_to(folder.resolve() / f"{split}.bin")
        write_components(work, text.components, splits, int(tokenizer["vocab_size"]) - 1)
        for name in (*map(documents_file, SPLITS), COMPONENTS):  # the last vouches for the others
            (work / name).replace(folder / name)


def write_components(
    folder: Path, declared: Iterable[str], splits: dict[str, list[Entry]], separator: int
) -> None:
    """Write each document's component and tokens, in order, next to the tokens in ``folder``."""
    import numpy as np

    domains = (entry.domain for entries in splits.values() for entry in entries)
    names = sorted({*declared, *domains})
    numbers = {name: number for number, name in enumerate(names)}
    tokens: dict[str, dict[str, int]] = {name: {} for name in names}
    for split, entries in splits.items():
        ids = open_shard(folder / f"{split}.bin")
        starts = np.flatnonzero(ids == separator)
        assert len(starts) == len(entries), (
            f"{len(starts)} documents of {split}, {len(entries)} read"
        )
        lengths = np.diff(np.append(starts, len(ids)))
        of = np.array([numbers[entry.domain] for entry in entries])
        rows = np.stack([of, lengths], axis=1).astype(np.uint32).ravel()
        write_shard(folder / documents_file(split), [rows], np.dtype("<u4"))
        for name, number in numbers.items():
            tokens[name][split] = int(lengths[of == number].sum())
    hashes = {split: shard_hash(folder / documents_file(split)) for split in splits}
    checksum.write(folder / COMPONENTS, {"tokens": tokens, "sha256": hashes})
