"""Format the output of ``slaw data list`` and ``slaw data inspect``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_law.data.access import open_task
from scaling_law.data.card import CARD, cleaning_lines, training_words
from scaling_law.data.cleaning import CLEANING
from scaling_law.data.corpus import corpus_names, load_corpus
from scaling_law.data.dataset_folder import CHECKS, SPLITS, dataset_folder
from scaling_law.data.text import TextDataset, open_dataset
from scaling_law.errors import one_line
from scaling_law.parts import described
from scaling_law.spec.data import DataSpec, TaskSpec
from scaling_law.spec.to_json import to_json
from scaling_law.units import count_of, format_bytes, format_count

_SAMPLE_TOKENS = 120
_SAMPLE_EXAMPLES = 3


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
    """List every named corpus, and a last row for the user's own files."""
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
        description="your file or folder: .txt .md .jsonl .ndjson .json .parquet, code; .gz too",
        licence="whatever the files' owner grants",
        how="read in place",
        domains=("text",),
        missing=None,
    )
    return [*rows, local]


def format_corpora(rows: list[CorpusRow]) -> str:
    """Format the list: each corpus with its state, description, licence and source."""
    lines = []
    for row in rows:
        lines.append(f"{row.name:<12} {row.description}")
        lines.append(f"{'':<12} licence: {row.licence}; {row.how}")
        if row.domains:
            lines.append(f"{'':<12} domains: {', '.join(row.domains)}")
        if row.missing:
            lines.append(f"{'':<12} NOT READY: {row.missing}")
    return "\n".join(lines)


def format_tasks() -> str:
    """List the package's tasks, one line each."""
    rows = [f"{name:<18} {what}" for name, what in described("source")]
    return "\n".join(["tasks (data.source), which make their own examples:", *rows])


def inspect(target: DataSpec | TaskSpec | Path) -> str:
    """Describe the data: sizes and samples; for text also domains and compression.

    ``target`` is a spec, or the folder of prepared text. Every token is read and compared with the
    hashes. Raises ``ConfigError`` when text is not prepared or damaged, or when a task breaks its
    contract.
    """
    if isinstance(target, TaskSpec):
        return _inspect_task(target)
    if isinstance(target, DataSpec):
        dataset = open_dataset(dataset_folder(target), target)
    else:
        dataset = open_dataset(target)
    dataset.check()
    meta = dataset.meta
    spec = meta["spec"]
    lines = [
        f"{meta['corpus']}  fingerprint {dataset.fingerprint}",
        f"folder     {dataset.folder}",
        f"licence    {dataset.licence}",
        f"tokenizer  {spec['tokenizer']}, {dataset.vocab_size} ids, "
        f"{len(np.unique(dataset.tokens('train')))} of them in use"
        f"{training_words(meta.get(CHECKS, {}))}",
        f"duplicates {meta['duplicates_dropped']} documents dropped",
    ]
    lines += [f"card       {dataset.folder / CARD}"] * (dataset.folder / CARD).is_file()
    for split in SPLITS:
        lines += _split_lines(dataset, split)
    lines += cleaning_lines(cleaning_of(dataset))
    lines += [f"note       {one_line(note)}" for note in dataset.notes]
    versions = ", ".join(f"{name} {value}" for name, value in meta["versions"].items())
    return "\n".join([*lines, f"versions   {versions}", "", *_sample_lines(dataset)])


def facts(target: DataSpec | TaskSpec) -> dict[str, Any]:
    """Return what ``slaw data prepare`` and ``inspect`` say, as JSON values.

    Raises ``ConfigError`` when text is not prepared, or a task breaks its contract.
    """
    if isinstance(target, TaskSpec):
        task = open_task(target)
        sizes = task.sizes
        return {
            "source": task.name,
            "settings": to_json(task.settings),
            "fingerprint": task.fingerprint,
            "vocab_size": task.vocab_size,
            "n_ctx": sizes.n_ctx,
            "splits": dict(sizes.splits),
        }
    dataset = open_dataset(dataset_folder(target))
    meta = {key: value for key, value in dataset.meta.items() if key not in (CHECKS, "digest")}
    components = {"components": dataset.components} if dataset.has_components else {}
    return {"folder": str(dataset.folder), **meta, **components, **dataset.meta.get(CHECKS, {})}


def cleaning_of(dataset: TextDataset) -> list[dict[str, Any]]:
    """What each rule of ``data.clean`` read, dropped and changed; none where there is no rule."""
    rows: list[dict[str, Any]] = dataset.meta.get(CHECKS, {}).get(CLEANING, [])
    return rows


def _inspect_task(spec: TaskSpec) -> str:
    dataset = open_task(spec)
    dataset.check()
    sizes = dataset.sizes
    settings = ", ".join(f"{key} {value}" for key, value in to_json(dataset.settings).items())
    lines = [
        f"{dataset.name}  fingerprint {dataset.fingerprint}",
        f"settings   {settings}",
        f"licence    {dataset.licence}",
        f"examples   of {count_of(sizes.n_ctx, 'position')}, {dataset.vocab_size} ids;"
        " no tokenizer",
    ]
    for split, count in sizes.splits.items():
        lines.append(f"{split:<10} {'new ones without end' if count is None else f'{count:,}'}")
        shown = np.arange(min(_SAMPLE_EXAMPLES, count or _SAMPLE_EXAMPLES), dtype=np.int64)
        batch = dataset.examples(split, shown)
        for row in range(len(shown)):
            lines.append(f"  {_values(batch.inputs[row])} -> {_values(batch.targets[row])}")
    return "\n".join(lines)


def _values(array: NDArray[Any]) -> str:
    return np.array2string(array, threshold=40, max_line_width=100, precision=3).replace("\n", " ")


def _split_lines(dataset: TextDataset, split: str) -> list[str]:
    held = dataset.meta["splits"][split]
    lines = [
        f"{split:<10} {format_count(held['tokens'])} tokens, {format_bytes(held['bytes'])} of "
        f"text, {held['documents']} documents, {dataset.bytes_per_token(split):.3f} bytes a token"
    ]
    if dataset.n_tokens(split) < held["tokens"]:
        which = f"{dataset.n_tokens(split):,} tokens"
        drawn = "drawn from all of it by each run's seed"
        which = f"{which}, {drawn}" if dataset.draws_unique else f"the first {which}"
        lines.append(f"  only {which} (data.{dataset.cap_key})")
    known = dataset.components if dataset.has_components else {}
    for domain, row in held["domains"].items():
        tokens = f"{format_count(known[domain][split])} tokens, " if domain in known else ""
        lines.append(
            f"  {domain:<8} {tokens}{format_bytes(row['bytes'])}, {row['documents']} documents"
        )
    return lines


def _sample_lines(dataset: TextDataset) -> list[str]:
    lines = []
    for split in SPLITS:
        tokens = dataset.tokens(split)
        middle = max(0, len(tokens) // 2 - _SAMPLE_TOKENS // 2)
        piece = tokens[middle : middle + _SAMPLE_TOKENS]
        text = dataset.tokenizer.decode((int(i) for i in piece), separator="\n<document>\n")
        # control characters in the data must not reach the terminal
        shown = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
        lines += [f"--- {len(piece)} tokens from the middle of {split}", *shown.splitlines()]
    return lines
