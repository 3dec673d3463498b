"""Turn a corpus into a folder of token files, once per corpus and ``DataSpec``.

    <cache>/data/<corpus>-<key>/{train.bin, val.bin, tokenizer.json, meta.json, components.json,
                                 train.documents.bin, val.documents.bin, card.md}

Documents are ordered by the hash of their text, never by their place on the disk; exact duplicates
are dropped, and so is what the rules of ``data.clean`` drop; the hash also decides the split of a
document. The folder is built beside its final place and then renamed, so it is either complete or
not there. components.json and the documents' files say which component (domain or source) each
document is of, for mixtures; an older slaw did not write them, and ``add_components`` does. card.md
says what the text is from and what was left out.
"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_law.console import Say
from scaling_law.data.card import CARD, TRAINING, card
from scaling_law.data.cleaning import CLEANING
from scaling_law.data.component_files import write_components
from scaling_law.data.corpus import CorpusText, text_of
from scaling_law.data.dataset_folder import (
    CHECKS,
    META,
    TOKENIZER,
    folder_of,
    publish,
    whole_text,
    work_folder,
)
from scaling_law.data.documents import Entry, Texts, read_documents, split_documents
from scaling_law.data.near_duplicates import PIECE_BYTES, SAMPLED, near_duplicates
from scaling_law.data.shards import open_shard, shard_hash, token_dtype, write_shard
from scaling_law.data.tokenizer import BpeTokenizer, ByteTokenizer, Tokenizer, available_threads
from scaling_law.files import checksum, layout
from scaling_law.spec.data import DataSpec
from scaling_law.spec.to_json import to_json
from scaling_law.units import count_of, format_bytes, format_count, format_seconds
from scaling_law.versions import DATASET

if TYPE_CHECKING:
    from scaling_law.data.tokenizer import TokenIds


_BPE_SAMPLE_BYTES = 8_000_000
_ENCODE_BYTES = 4_000_000  # text that the threads get at a time
_COUNTED_TOKENS = 4_000_000  # tokens that are counted at a time
_MANY_NEAR = 0.05  # near duplicates of the validation documents that its loss shows


def prepare(spec: DataSpec, *, progress: Say | None = None) -> Path:
    """Return the dataset folder of ``spec``; build it unless a complete one is there.

    ``progress`` takes one line per phase. Several processes may call this at once: the first to
    finish wins. Raises ``ConfigError`` for an unknown, unreadable, empty or too small corpus, or
    when the cache cannot be written.
    """
    say = progress or _quiet
    spec = whole_text(spec)
    text = text_of(spec)
    folder = folder_of(text, spec)
    if layout.is_file(folder / META):
        say(f"{spec.corpus}: prepared already, {folder}")
        return folder
    with work_folder(folder, spec) as work:
        _build(text, spec, work, say)
        publish(work, folder)
    return folder


def _quiet(line: str) -> None:
    """Ignore a line of progress."""


def _build(text: CorpusText, spec: DataSpec, work: Path, say: Say) -> None:
    started = time.monotonic()
    with tempfile.TemporaryFile(dir=work) as spool:
        texts = read_documents(text, spec, spool, say)
        splits = split_documents(texts.entries, spec)
        read = sum(entry.size for entry in texts.entries)
        say(
            f"{spec.corpus}: read {format_bytes(read)} in {len(texts.entries)} documents, "
            f"{texts.duplicates} duplicates dropped, {_since(started)}"
        )
        tokenizer, training = _make_tokenizer(spec, texts, splits["train"], say)
        tokens = {}
        for split, entries in splits.items():
            encoding = time.monotonic()
            tokens[split] = write_shard(
                work / f"{split}.bin",
                _encode(texts, entries, tokenizer),
                token_dtype(tokenizer.vocab_size),
            )
            say(
                f"{spec.corpus}: {split} has {format_count(tokens[split])} tokens, "
                f"{_since(encoding)}"
            )
        near = _near_duplicates(spec, texts, splits, say)
        texts.close()
    write_components(work, text.components, splits, tokenizer.separator)
    meta = _meta(text, spec, texts, splits, tokens)
    meta[CHECKS] = {
        **texts.tally.to_json(),
        **({CLEANING: texts.cleaning} if texts.cleaning else {}),
        **({TRAINING: training} if training else {}),
        "near_duplicates": near,
        "ids_in_use": _ids_in_use(work / "train.bin", tokenizer.vocab_size),
        "merges_in_use": _ids_in_use(work / "train.bin", tokenizer.vocab_size, 256),
    }
    for split, row in meta["splits"].items():
        row["sha256"] = shard_hash(work / f"{split}.bin")
    checksum.write(work / TOKENIZER, tokenizer.to_json())
    (work / CARD).write_text(card(meta), encoding="utf-8")
    checksum.write(work / META, meta)


def _near_duplicates(
    spec: DataSpec, texts: Texts, splits: dict[str, list[Entry]], say: Say
) -> dict[str, int]:
    """Count validation documents that are nearly in the training split, and report them."""
    assert texts.spool is not None
    places = {
        split: [(entry.offset, entry.size) for entry in entries]
        for split, entries in splits.items()
    }
    near = near_duplicates(texts.spool, places["train"], places["val"])
    if near.count:
        line = (
            f"{spec.corpus}: {near.count} of {count_of(near.compared, 'validation document')}"
            f" are nearly in the training split (at least half of {SAMPLED} sampled pieces of"
            f" {PIECE_BYTES} bytes are there)"
        )
        if near.count >= _MANY_NEAR * near.compared:
            line += ": the validation loss is partly one of training text; remove near duplicates"
        texts.notes.append(line)
        say(line)
    return {
        "documents": near.count,
        "compared": near.compared,
        "searched_bytes": near.searched_bytes,
    }


def _ids_in_use(shard: Path, vocab_size: int, first: int = 0) -> int:
    """Count the ids from ``first`` on that a shard holds."""
    import numpy as np

    tokens = open_shard(shard)
    counts = np.zeros(vocab_size, dtype=np.int64)
    for start in range(0, len(tokens), _COUNTED_TOKENS):
        counts += np.bincount(tokens[start : start + _COUNTED_TOKENS], minlength=vocab_size)
    return int(np.count_nonzero(counts[first:]))


def _since(start: float) -> str:
    return format_seconds(time.monotonic() - start)


def _make_tokenizer(
    spec: DataSpec, texts: Texts, train: list[Entry], say: Say
) -> tuple[Tokenizer, dict[str, Any]]:
    """The tokenizer, and the bytes and seconds that it was trained on and for; {} for bytes."""
    if spec.tokenizer == ByteTokenizer.kind:
        return ByteTokenizer(), {}
    started = time.monotonic()
    sample = []
    total = 0
    for entry in train:  # training documents only: validation text must not influence the tokenizer
        sample.append(entry)
        total += entry.size
        if total >= _BPE_SAMPLE_BYTES:
            break
    tokenizer = BpeTokenizer.train((texts.text(entry) for entry in sample), spec.vocab_size)
    say(
        f"{spec.corpus}: trained BPE of {spec.vocab_size} on {format_bytes(total)}, "
        f"{_since(started)}"
    )
    return tokenizer, {"bytes": total, "seconds": round(time.monotonic() - started, 3)}


def _encode(texts: Texts, entries: list[Entry], tokenizer: Tokenizer) -> Iterator[TokenIds]:
    """Yield the ids of each document after a separator, in order."""
    import numpy as np  # a dry run only asks for the folder and must not load numpy

    mark = np.array([tokenizer.separator], dtype=np.uint32)
    threads = available_threads()
    for batch in _batches(entries, _ENCODE_BYTES):
        for ids in tokenizer.encode_batch([texts.text(entry) for entry in batch], threads):
            yield mark
            yield ids


def _batches(entries: Iterable[Entry], batch_bytes: int) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    total = 0
    for entry in entries:
        batch.append(entry)
        total += entry.size
        if total >= batch_bytes:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def _meta(
    text: CorpusText,
    spec: DataSpec,
    texts: Texts,
    splits: dict[str, list[Entry]],
    tokens: dict[str, int],
) -> dict[str, Any]:
    """Return documents and bytes per split and domain; the fingerprint covers all hashes."""
    per_split: dict[str, Any] = {}
    for split, entries in splits.items():
        domains: dict[str, dict[str, int]] = {}
        for entry in entries:
            row = domains.setdefault(entry.domain, {"documents": 0, "bytes": 0})
            row["documents"] += 1
            row["bytes"] += entry.size
        per_split[split] = {
            "documents": len(entries),
            "bytes": sum(entry.size for entry in entries),
            "tokens": tokens[split],
            "domains": dict(sorted(domains.items())),
        }
    return {
        "schema_version": DATASET.current,
        "spec": to_json(spec),
        "corpus": text.name,
        "licence": text.licence,
        "fingerprint": texts.fingerprint,
        "duplicates_dropped": texts.duplicates,
        "notes": texts.notes,
        "splits": per_split,
        "tokenizer_file": TOKENIZER,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "rustbpe", "tiktoken")},
            **text.versions(),
        },
    }
