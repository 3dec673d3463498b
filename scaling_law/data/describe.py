"""What ``slaw data list`` and ``slaw data inspect`` print."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling_law.data.corpus import corpus_names, load_corpus
from scaling_law.data.dataset import Dataset, open_dataset
from scaling_law.data.prepare import SPLITS, dataset_folder
from scaling_law.spec.run import DataSpec
from scaling_law.units import format_bytes, format_count

_SAMPLE_TOKENS = 120


@dataclass(frozen=True, kw_only=True)
class CorpusRow:
    """One line of the list; ``missing`` says what must be installed first (None: ready)."""

    name: str
    description: str
    licence: str
    how: str
    domains: tuple[str, ...]
    missing: str | None


def list_corpora() -> list[CorpusRow]:
    """Every named corpus, and a last row for the user's own files."""
    rows = []
    for name in corpus_names():
        corpus = load_corpus(name)
        rows.append(
            CorpusRow(
                name=name,
                description=corpus.description,
                licence=corpus.licence,
                how=corpus.how,
                domains=corpus.domains,
                missing=corpus.missing(),
            )
        )
    local = CorpusRow(
        name="PATH",
        description="your file or folder: .txt .md .jsonl .parquet or source code",
        licence="whatever the files' owner grants",
        how="read in place",
        domains=("text",),
        missing=None,
    )
    return [*rows, local]


def format_corpora(rows: list[CorpusRow]) -> str:
    """The list for a terminal: per corpus its state, what it is, its licence, how it is had."""
    lines = []
    for row in rows:
        lines.append(f"{row.name:<12} {row.description}")
        lines.append(f"{'':<12} licence: {row.licence}; {row.how}")
        if row.domains:
            lines.append(f"{'':<12} domains: {', '.join(row.domains)}")
        if row.missing:
            lines.append(f"{'':<12} NOT READY: {row.missing}")
    return "\n".join(lines)


def inspect(target: DataSpec | Path) -> str:
    """A prepared dataset in words: sizes, domains, compression, samples of decoded text.

    ``target`` is its folder or the spec it was prepared from. Reads every token and checks
    the hashes. Raises ``ConfigError`` when it is not prepared or damaged.
    """
    folder = dataset_folder(target) if isinstance(target, DataSpec) else target
    dataset = open_dataset(folder)
    dataset.check()
    meta = dataset.meta
    spec = meta["spec"]
    lines = [
        f"{meta['corpus']}  fingerprint {dataset.fingerprint}",
        f"folder     {folder}",
        f"licence    {dataset.licence}",
        f"tokenizer  {spec['tokenizer']}, {dataset.vocab_size} ids, "
        f"{len(np.unique(dataset.tokens('train')))} of them in use",
        f"duplicates {meta['duplicates_dropped']} documents dropped",
    ]
    for split in SPLITS:
        lines += _split_lines(dataset, split)
    lines += [f"note       {note}" for note in meta["notes"]]
    versions = ", ".join(f"{name} {value}" for name, value in meta["versions"].items())
    return "\n".join([*lines, f"versions   {versions}", "", *_sample_lines(dataset)])


def _split_lines(dataset: Dataset, split: str) -> list[str]:
    held = dataset.meta["splits"][split]
    lines = [
        f"{split:<10} {format_count(held['tokens'])} tokens, {format_bytes(held['bytes'])} of "
        f"text, {held['documents']} documents, {dataset.bytes_per_token(split):.3f} bytes a token"
    ]
    for domain, row in held["domains"].items():
        lines.append(f"  {domain:<8} {format_bytes(row['bytes'])}, {row['documents']} documents")
    return lines


def _sample_lines(dataset: Dataset) -> list[str]:
    lines = []
    for split in SPLITS:
        tokens = dataset.tokens(split)
        middle = max(0, len(tokens) // 2 - _SAMPLE_TOKENS // 2)
        piece = tokens[middle : middle + _SAMPLE_TOKENS]
        text = dataset.tokenizer.decode((int(i) for i in piece), separator="\n<document>\n")
        # control characters of somebody's data must not reach the terminal
        shown = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
        lines += [f"--- {len(piece)} tokens from the middle of {split}", *shown.splitlines()]
    return lines
