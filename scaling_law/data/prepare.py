"""Turn a corpus into a folder of token files, once per corpus and ``DataSpec``.

    <cache>/data/<corpus>-<key>/{train.bin, val.bin, tokenizer.json, meta.json, components.json,
                                 train.documents.bin, val.documents.bin}

Documents are ordered by the hash of their text, never by their place on the disk; exact
duplicates are dropped; the hash also decides the split of a document. The folder is built beside
its final place and then renamed, so it is either complete or not there. The last three files say
which component (domain or source) each document is of, for mixtures; an older slaw did not write
them, and ``add_components`` does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import mmap
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from scaling_law.data.corpus import Text, state_digest, text_of
from scaling_law.data.near_duplicates import PIECE_BYTES, SAMPLED, near_duplicates
from scaling_law.data.shards import open_shard, shard_hash, token_dtype, write_shard
from scaling_law.data.sources import Tally
from scaling_law.data.tokenizer import BpeTokenizer, ByteTokenizer, Tokenizer, available_threads
from scaling_law.errors import ConfigError
from scaling_law.files import checksum, layout
from scaling_law.files.process import tag_is_dead, this_process
from scaling_law.spec.data import DataSpec
from scaling_law.spec.to_json import to_json
from scaling_law.units import count_of, format_bytes, format_count, format_seconds
from scaling_law.versions import DATASET

if TYPE_CHECKING:
    from scaling_law.data.tokenizer import TokenIds

META, TOKENIZER, COMPONENTS = "meta.json", "tokenizer.json", "components.json"
# The key in meta.json of what was read and left out, and of what was counted; absent in older ones.
CHECKS = "checks"
SPLITS = ("train", "val")
_BPE_SAMPLE_BYTES = 8_000_000
_ENCODE_BYTES = 4_000_000  # text that the threads get at a time
_COUNTED_TOKENS = 4_000_000  # tokens that are counted at a time
_MANY_NEAR = 0.05  # near duplicates of the validation documents that its loss shows
_STALE_SECONDS = 24 * 3600

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One distinct document, with the place of its UTF-8 text in the spool, in bytes."""

    digest: bytes
    offset: int
    size: int
    domain: str

    def in_val(self, fraction: float) -> bool:
        # The order uses the digest's head and the split its tail, so that every prefix of the
        # order holds the same share of validation documents.
        return int.from_bytes(self.digest[-8:], "big") < fraction * 2**64


@dataclass(kw_only=True)
class _Texts:
    """Distinct documents on disk, in hash order, so that memory does not grow with the text."""

    entries: list[_Entry] = field(default_factory=list)
    duplicates: int = 0
    notes: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    fingerprint: str = ""
    spool: mmap.mmap | None = None

    def text(self, entry: _Entry) -> str:
        assert self.spool is not None
        return self.spool[entry.offset : entry.offset + entry.size].decode()

    def close(self) -> None:
        """Give the spool back."""
        if self.spool is not None:
            self.spool.close()


def dataset_folder(spec: DataSpec) -> Path:
    """Return the folder in which ``prepare(spec)`` puts its result; it may not exist yet.

    The name's key covers the spec and the corpus's state (for files: names, sizes and times),
    so a changed corpus gets a new folder. Raises ``ConfigError`` on an unknown corpus.
    """
    return _folder(text_of(spec), _whole(spec))


def _whole(spec: DataSpec) -> DataSpec:
    """The spec without its cap on training tokens, which all caps of a text are prepared as."""
    return dataclasses.replace(spec, unique_tokens=None)


def _folder(text: Text, spec: DataSpec) -> Path:
    state = {"schema": DATASET.current, "spec": to_json(spec), "state": text.state}
    name = re.sub(r"[^A-Za-z0-9._-]", "_", text.name)[:40].lstrip(".") or "corpus"
    return layout.cache_dir() / "data" / f"{name}-{state_digest(state)[:12]}"


def prepare(spec: DataSpec, *, progress: Progress | None = None) -> Path:
    """Return the dataset folder of ``spec``; build it unless a complete one is there.

    ``progress`` takes one line per phase. Several processes may call this at once: the first to
    finish wins. Raises ``ConfigError`` for an unknown, unreadable, empty or too small corpus, or
    when the cache cannot be written.
    """
    say = progress or _quiet
    spec = _whole(spec)
    text = text_of(spec)
    folder = _folder(text, spec)
    if layout.is_file(folder / META):
        say(f"{spec.corpus}: prepared already, {folder}")
        return folder
    with _beside(folder, spec) as work:
        _build(text, spec, work, say)
        _publish(work, folder)
    return folder


@contextlib.contextmanager
def _beside(folder: Path, spec: DataSpec) -> Iterator[Path]:
    """Make a temporary folder next to ``folder``. Raises ``ConfigError`` for a full disk, say."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        work = layout.temporary_folder(folder, f"{this_process().tag}.")
    except OSError as problem:
        raise ConfigError(
            f"{folder.parent}: cannot be written ({problem.strerror}); {layout.CACHE_REMEDY}"
        ) from None
    try:
        yield work
    except OSError as problem:
        raise ConfigError(
            f"preparing {spec.corpus} in {folder.parent}: {problem.strerror or problem}; free some"
            f" space or {layout.CACHE_REMEDY}"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def documents_file(split: str) -> str:
    """The name of the file with the component and the tokens of each document of a split."""
    return f"{split}.documents.bin"


def add_components(spec: DataSpec, folder: Path, say: Progress) -> None:
    """Write which component each document is of, where an older slaw prepared the text.

    The text is read again. Raises ``ConfigError`` where it is no longer the text of ``folder``.
    """
    if layout.is_file(folder / COMPONENTS):
        return
    say(f"{spec.corpus}: reading the text again for the components of its documents")
    meta = checksum.read(folder / META, "delete the folder and prepare the data again")
    tokenizer = checksum.read(folder / TOKENIZER, "delete the folder and prepare the data again")
    with _beside(folder, spec) as work:
        text = text_of(spec)
        with tempfile.TemporaryFile(dir=work) as spool:
            texts = _read(text, spec, spool, say)
            splits = _split(texts.entries, spec)
            texts.close()
        if texts.fingerprint != meta["fingerprint"]:
            raise ConfigError(
                f"{folder}: an older slaw prepared this text without its components, and the text"
                f" has changed since ({texts.fingerprint} now); start a new sweep with --out"
            )
        for split in SPLITS:
            (work / f"{split}.bin").symlink_to(folder.resolve() / f"{split}.bin")
        _write_components(work, text.components, splits, int(tokenizer["vocab_size"]) - 1)
        for name in (*map(documents_file, SPLITS), COMPONENTS):  # the last vouches for the others
            (work / name).replace(folder / name)


def _write_components(
    folder: Path, declared: Iterable[str], splits: dict[str, list[_Entry]], separator: int
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


def _quiet(line: str) -> None:
    """Ignore a line of progress."""


def _remove_stale(folder: Path) -> None:
    """Remove the folders of killed processes, and a folder whose meta.json was deleted.

    Whether a process on another machine is alive is not known, so the folder's age decides.
    """
    for left in folder.parent.glob(f".{folder.name}.*.tmp"):
        tag = left.name.removeprefix(f".{folder.name}.").partition(".")[0]
        with contextlib.suppress(FileNotFoundError):
            old = time.time() - left.stat().st_mtime > _STALE_SECONDS
            if old or tag_is_dead(tag):
                shutil.rmtree(left, ignore_errors=True)
    if folder.is_dir() and not (folder / META).is_file():
        shutil.rmtree(folder)


def _publish(work: Path, folder: Path) -> None:
    try:
        work.rename(folder)
    except OSError:
        # renaming to a folder that is not empty fails: another process was first
        if not (folder / META).is_file():
            raise


def _build(text: Text, spec: DataSpec, work: Path, say: Progress) -> None:
    started = time.monotonic()
    with tempfile.TemporaryFile(dir=work) as spool:
        texts = _read(text, spec, spool, say)
        splits = _split(texts.entries, spec)
        read = sum(entry.size for entry in texts.entries)
        say(
            f"{spec.corpus}: read {format_bytes(read)} in {len(texts.entries)} documents, "
            f"{texts.duplicates} duplicates dropped, {_since(started)}"
        )
        tokenizer = _make_tokenizer(spec, texts, splits["train"], say)
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
    _write_components(work, text.components, splits, tokenizer.separator)
    meta = _meta(text, spec, texts, splits, tokens)
    meta[CHECKS] = {
        **texts.tally.to_json(),
        "near_duplicates": near,
        "ids_in_use": _ids_in_use(work / "train.bin", tokenizer.vocab_size),
        "merges_in_use": _ids_in_use(work / "train.bin", tokenizer.vocab_size, 256),
    }
    for split, row in meta["splits"].items():
        row["sha256"] = shard_hash(work / f"{split}.bin")
    checksum.write(work / TOKENIZER, tokenizer.to_json())
    checksum.write(work / META, meta)


def _near_duplicates(
    spec: DataSpec, texts: _Texts, splits: dict[str, list[_Entry]], say: Progress
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


def _read(text: Text, spec: DataSpec, spool: IO[bytes], say: Progress) -> _Texts:
    texts = _Texts()
    seen: set[bytes] = set()
    offset = 0

    def note(line: str) -> None:
        texts.notes.append(line)
        say(line)

    for document in text.documents(note, texts.tally):
        raw = document.text.strip().encode("utf-8", "replace")
        if not raw:
            texts.tally.leave_out("document", "blank", document.id)
            continue
        digest = hashlib.sha256(raw).digest()
        if digest in seen:
            texts.duplicates += 1
            continue
        seen.add(digest)
        spool.write(raw)
        texts.entries.append(_Entry(digest, offset, len(raw), document.domain))
        offset += len(raw)
    if not texts.entries:
        raise ConfigError(
            "; ".join(
                (
                    f"{spec.key}: {spec.corpus} holds no text",
                    "expected .txt, .md, .jsonl, .parquet or source files in UTF-8",
                    *texts.tally.left_out_lines(),
                )
            )
        )
    spool.flush()
    texts.spool = mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ)
    texts.entries.sort(key=lambda entry: entry.digest)
    texts.entries = _capped(texts.entries, spec)
    for line in texts.tally.lines():
        note(f"{spec.corpus}: {line}")
    empty = sorted({*text.components} - {entry.domain for entry in texts.entries})
    if empty:
        note(
            f"{spec.corpus}: no document is of {', '.join(empty)}: none was read, or all of them"
            " are duplicates of others"
        )
    joined = b"".join(entry.digest for entry in texts.entries)
    texts.fingerprint = hashlib.sha256(joined).hexdigest()[:16]
    return texts


def _capped(entries: list[_Entry], spec: DataSpec) -> list[_Entry]:
    """Return the entries within ``max_bytes`` of text, of each source and of the whole.

    Raises ``ConfigError`` where there are documents, and none within ``max_bytes``.
    """
    if spec.sources is not None:
        of_source = (
            _prefix(
                [entry for entry in entries if entry.domain == source.name],
                source.max_bytes,
                f"{source.section}.max_bytes",
                source.corpus,
            )
            for source in spec.sources
        )
        entries = sorted(itertools.chain(*of_source), key=lambda entry: entry.digest)
    return _prefix(entries, spec.max_bytes, f"{spec.section}.max_bytes", spec.corpus)


def _prefix(entries: list[_Entry], max_bytes: int | None, key: str, corpus: str) -> list[_Entry]:
    """Return the longest prefix of at most ``max_bytes`` of text, a limit that ``key`` sets."""
    if max_bytes is None or not entries:
        return entries
    if entries[0].size > max_bytes:
        raise ConfigError(
            f"{key}: {format_bytes(max_bytes)} hold no document of {corpus}: the first in the order"
            f" of hashes has {format_bytes(entries[0].size)}; raise max_bytes, or cut the text into"
            " smaller documents"
        )
    sizes = itertools.accumulate(entry.size for entry in entries)
    return [entry for entry, total in zip(entries, sizes, strict=True) if total <= max_bytes]


def _split(entries: list[_Entry], spec: DataSpec) -> dict[str, list[_Entry]]:
    splits: dict[str, list[_Entry]] = {split: [] for split in SPLITS}
    for entry in entries:
        splits["val" if entry.in_val(spec.val_fraction) else "train"].append(entry)
    for split, held in splits.items():
        if not held:
            raise ConfigError(
                f"{spec.key}: {spec.corpus} is too small: {len(entries)} documents leave none "
                f"for {split} at val_fraction {spec.val_fraction}; "
                "use more text, a larger max_bytes or another val_fraction"
            )
    return splits


def _make_tokenizer(spec: DataSpec, texts: _Texts, train: list[_Entry], say: Progress) -> Tokenizer:
    if spec.tokenizer == ByteTokenizer.kind:
        return ByteTokenizer()
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
    return tokenizer


def _encode(texts: _Texts, entries: list[_Entry], tokenizer: Tokenizer) -> Iterator[TokenIds]:
    """Yield the ids of each document after a separator, in order."""
    import numpy as np  # a dry run only asks for the folder and must not load numpy

    mark = np.array([tokenizer.separator], dtype=np.uint32)
    threads = available_threads()
    for batch in _batches(entries, _ENCODE_BYTES):
        for ids in tokenizer.encode_batch([texts.text(entry) for entry in batch], threads):
            yield mark
            yield ids


def _batches(entries: Iterable[_Entry], batch_bytes: int) -> Iterator[list[_Entry]]:
    batch: list[_Entry] = []
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
    text: Text,
    spec: DataSpec,
    texts: _Texts,
    splits: dict[str, list[_Entry]],
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
