"""The distinct documents of a text on disk, in the order of their hashes, and their splits."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from scaling_law.console import Say
from scaling_law.data.cleaners import Documents
from scaling_law.data.cleaning import Cleaning
from scaling_law.data.corpus import CorpusText
from scaling_law.data.dataset_folder import SPLITS
from scaling_law.data.sources import Tally
from scaling_law.errors import ConfigError
from scaling_law.spec.data import DataSpec
from scaling_law.units import format_bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One distinct document.

    ``digest``: the SHA-256 of its text, before the rules for training documents only change it.
    ``content``: the SHA-256 of its text as it is in the spool.
    ``offset``, ``size``: the place of its UTF-8 text in the spool, in bytes.
    ``domain``: its component.
    """

    digest: bytes
    content: bytes
    offset: int
    size: int
    domain: str

    def in_val(self, fraction: float) -> bool:
        """Whether the document is of the validation split, which gets this share of them."""
        # The order uses the digest's head and the split its tail, so that every prefix of the
        # order holds the same share of validation documents.
        return int.from_bytes(self.digest[-8:], "big") < fraction * 2**64


@dataclass(kw_only=True)
class Texts:
    """Distinct documents on disk, so that memory does not grow with the text.

    ``entries``: the documents, in the order of their hashes.
    ``duplicates``: how many documents were dropped because another has the same text.
    ``notes``: lines of news for the user.
    ``tally``: what was read and left out.
    ``cleaning``: what each rule of ``data.clean`` dropped or changed, as JSON values.
    ``fingerprint``: 16 hex digits that change when a document does.
    ``spool``: the texts, one after another.
    """

    entries: list[Entry] = field(default_factory=list)
    duplicates: int = 0
    notes: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    cleaning: list[dict[str, Any]] = field(default_factory=list)
    fingerprint: str = ""
    spool: mmap.mmap | None = None

    def text(self, entry: Entry) -> str:
        """The text of a document."""
        return self.raw(entry).decode()

    def raw(self, entry: Entry) -> bytes:
        """The text of a document in UTF-8."""
        assert self.spool is not None
        return self.spool[entry.offset : entry.offset + entry.size]

    def close(self) -> None:
        """Close the spool."""
        if self.spool is not None:
            self.spool.close()


def read_documents(text: CorpusText, spec: DataSpec, spool: IO[bytes], say: Say) -> Texts:
    """Write the distinct documents of a text into ``spool``, and order them by their hashes.

    They are cleaned by the rules of the spec. Raises ``ConfigError`` where there is none.
    """
    cleaning = Cleaning(spec)
    texts = Texts()

    def note(line: str) -> None:
        texts.notes.append(line)
        say(line)

    _spool(text, spec, spool, texts, cleaning, note)
    if not texts.entries:
        raise ConfigError(
            cleaning.why_nothing()
            or "; ".join(
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
    distinct = texts.entries
    texts.entries = _capped(distinct, spec)
    if cleaning.is_on:
        cleaning.capped([e.size for e in distinct], [e.size for e in texts.entries])
        texts.entries = _compared(texts, cleaning, spec, note)
        texts.cleaning = cleaning.to_json()
        note(f"{spec.corpus}: {cleaning.summary()}")
    for line in texts.tally.lines():
        note(f"{spec.corpus}: {line}")
    empty = sorted({*text.components} - {entry.domain for entry in texts.entries})
    if empty:
        note(
            f"{spec.corpus}: no document is of {', '.join(empty)}: none was read, or all of them"
            f" are duplicates of others{' or were dropped by data.clean' * bool(spec.clean)}"
        )
    joined = b"".join(entry.content for entry in texts.entries)
    texts.fingerprint = hashlib.sha256(joined).hexdigest()[:16]
    return texts


def _spool(
    text: CorpusText,
    spec: DataSpec,
    spool: IO[bytes],
    texts: Texts,
    cleaning: Cleaning,
    note: Callable[[str], None],
) -> None:
    """Write each distinct document that the rules leave to ``spool``, and its entry to ``texts``.

    The rules that compare documents come later: they take all of them.
    """
    seen: set[bytes] = set()
    offset = 0
    for document in text.documents(note, texts.tally):
        given = document.text.strip()
        if not given:
            texts.tally.leave_out("document", "blank", document.id)
            continue
        cleaned = cleaning.judged(given, document.id)
        if cleaned is None:
            continue
        raw = cleaned.encode("utf-8", "replace")
        digest = hashlib.sha256(raw).digest()
        if digest in seen:
            texts.duplicates += 1
            cleaning.copied(len(raw), cleaned, document.id)
            continue
        cleaning.exact.leave(len(raw), len(raw))
        seen.add(digest)
        entry = Entry(digest, digest, offset, len(raw), document.domain)
        if entry.in_val(spec.val_fraction):
            cleaning.spared(len(raw))
        else:
            changed = cleaning.judged_for_training(cleaned, document.id)
            if changed is None:
                continue
            if changed != cleaned:
                raw = changed.encode("utf-8", "replace")
                content = hashlib.sha256(raw).digest()
                entry = dataclasses.replace(entry, content=content, size=len(raw))
        spool.write(raw)
        texts.entries.append(entry)
        offset += len(raw)


def _compared(
    texts: Texts, cleaning: Cleaning, spec: DataSpec, note: Callable[[str], None]
) -> list[Entry]:
    """Return the documents that the comparing rules leave. Raises ``ConfigError`` for none."""
    entries = texts.entries
    documents = Documents(
        count=len(entries),
        raw=lambda number: texts.raw(entries[number]),
        in_val=lambda number: entries[number].in_val(spec.val_fraction),
        place=spec.place,
        note=note,
    )
    names = [f"document {entry.digest.hex()[:16]}" for entry in entries]
    left = cleaning.compared(documents, names)
    if not left:
        raise ConfigError(cleaning.why_nothing())
    return [entries[number] for number in left]


def _capped(entries: list[Entry], spec: DataSpec) -> list[Entry]:
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


def _prefix(entries: list[Entry], max_bytes: int | None, key: str, corpus: str) -> list[Entry]:
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


def split_documents(entries: list[Entry], spec: DataSpec) -> dict[str, list[Entry]]:
    """Split documents by their hashes. Raises ``ConfigError`` where a split gets none."""
    splits: dict[str, list[Entry]] = {split: [] for split in SPLITS}
    for entry in entries:
        splits["val" if entry.in_val(spec.val_fraction) else "train"].append(entry)
    for split, held in splits.items():
        if not held:
            raise ConfigError(
                f"{spec.key}: {spec.corpus} is too small: {len(entries)} documents"
                f"{' after data.clean' * bool(spec.clean)} leave none "
                f"for {split} at val_fraction {spec.val_fraction}; "
                f"use more text, {'looser rules in data.clean, ' * bool(spec.clean)}"
                "a larger max_bytes or another val_fraction"
            )
    return splits
