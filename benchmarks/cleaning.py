"""How fast each cleaning rule is, and MinHash against the libraries alone.

    python benchmarks/cleaning.py [--megabytes 100] [--peers] [--json FILE]

CPU seconds of one process, on documents of the installed corpus that are in memory. Every rule of
one document judges every document, also those that another rule drops. ``--peers`` makes MinHash
with rensa and datasketch alone, on the same phrases as texts, and asks datatrove's filters where it
is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scaling_law import parts
from scaling_law.data.cleaners import Documents
from scaling_law.data.corpus import load_corpus
from scaling_law.parts import Reference

OF_ONE = ("length", "symbols", "repetition", "c4", "fineweb", "language", "personal_data")
COMPARING = ("near_duplicates", "contamination")
VAL_SHARE = 50  # one document of so many is of the validation split
PHRASE, HASHES, BANDS, SIMILARITY = 5, 112, 14, 0.75


def documents(megabytes: float) -> list[str]:
    """Documents of the installed corpus, of all its domains in turn, up to this size."""
    corpus = load_corpus("installed")
    readers = [corpus.documents((domain,), note=lambda line: None) for domain in corpus.domains]
    texts, size = [], 0
    while readers:
        for reader in list(readers):
            document = next(reader, None)
            if document is None:
                readers.remove(reader)
                continue
            texts.append(document.text)
            size += len(document.text)
            if size >= 1e6 * megabytes:
                return texts
    return texts


def part(name: str) -> Any:
    return parts.load("cleaner", Reference(name=name))


def exact(texts: list[str]) -> int:
    """How many documents have the text of an earlier one."""
    digests = {hashlib.sha256(text.strip().encode("utf-8", "replace")).digest() for text in texts}
    return len(texts) - len(digests)


def of_one(name: str, texts: list[str]) -> int:
    """How many documents a rule drops or changes."""
    rule = part(name)
    judge = rule.judge(rule.settings())
    return sum(judge(text) is not None for text in texts)


def comparing(name: str, texts: list[str]) -> int:
    """How many documents a comparing rule drops."""
    rule = part(name)
    raws = [text.encode("utf-8", "replace") for text in texts]
    given = Documents(
        count=len(raws),
        raw=raws.__getitem__,
        in_val=lambda number: number % VAL_SHARE == 0,
        place=str,
    )
    return sum(1 for _ in rule.compare(rule.settings(), given))


def phrases(text: str) -> list[str]:
    """The phrases of a text as texts, which the libraries take."""
    words = text.lower().split()
    return [" ".join(words[at : at + PHRASE]) for at in range(max(1, len(words) - PHRASE + 1))]


def rensa_alone(texts: list[str]) -> int:
    """How many near duplicates rensa's own deduplicator drops."""
    from rensa import RMinHashDeduplicator

    index = RMinHashDeduplicator(SIMILARITY, HASHES, True, BANDS, 1)
    kept = index.add_pairs((str(n), phrases(text)) for n, text in enumerate(texts))
    return len(texts) - sum(kept)


def datasketch_alone(texts: list[str]) -> int:
    """How many near duplicates datasketch's index drops."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=HASHES, params=(BANDS, HASHES // BANDS))
    dropped = 0
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=HASHES)
        sketch.update_batch([phrase.encode("utf-8", "replace") for phrase in phrases(text)])
        if index.query(sketch):
            dropped += 1
        else:
            index.insert(number, sketch)
    return dropped


@contextlib.contextmanager
def words_between_spaces() -> Iterator[None]:
    """Let datatrove split words at spaces: its own splitter of English is spaCy."""
    from datatrove.pipeline.filters import fineweb_quality_filter as fineweb
    from datatrove.pipeline.filters import gopher_quality_filter as quality
    from datatrove.pipeline.filters import gopher_repetition_filter as repetition

    modules: tuple[Any, ...] = (fineweb, quality, repetition)
    before = [module.split_into_words for module in modules]
    for module in modules:
        module.split_into_words = lambda text, language: text.split()
    try:
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            module.split_into_words = own


def datatrove_rules() -> dict[str, Callable[[list[str]], int]]:
    """Datatrove's filters, each as a function that counts what it drops."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    def dropped(kind: Any, texts: list[str]) -> int:
        rule = kind()
        with words_between_spaces():
            said = (rule.filter(Document(text=text, id="")) for text in texts if text.strip())
            return sum(one is not True for one in said)

    kinds = (GopherQualityFilter, GopherRepetitionFilter, FineWebQualityFilter)
    return {
        f"datatrove {kind.__name__}": lambda texts, kind=kind: dropped(kind, texts)  # type: ignore[misc]
        for kind in kinds
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = documents(options.megabytes)
    size = sum(len(text.encode("utf-8", "replace")) for text in texts) / 1e6
    print(f"{len(texts):,} documents, {size:.1f} MB")
    jobs: dict[str, Callable[[list[str]], int]] = {"exact duplicates": exact}
    jobs |= {name: lambda texts, name=name: of_one(name, texts) for name in OF_ONE}
    jobs |= {name: lambda texts, name=name: comparing(name, texts) for name in COMPARING}
    if options.peers:
        jobs |= {"rensa alone": rensa_alone, "datasketch alone": datasketch_alone}
        with contextlib.suppress(ImportError):
            jobs |= datatrove_rules()
    rows = []
    for name, job in jobs.items():
        try:
            job(texts[:20])  # loads libraries and models
            begun = time.process_time()
            count = job(texts)
        except ImportError as problem:
            print(f"{name:<36} not measured: {problem}")
            continue
        seconds = time.process_time() - begun
        rows.append({"rule": name, "documents": count, "cpu_seconds": seconds})
        print(f"{name:<36} {count:>7,} documents  {seconds:7.2f} s  {size / seconds:7.1f} MB/s")
    filters = [row for row in rows if row["rule"] in ("exact duplicates", *OF_ONE)]
    seconds = sum(float(str(row["cpu_seconds"])) for row in filters)
    print(
        f"exact duplicates and every rule of one document: {seconds:.1f} s, {size / seconds:.2f}"
        f" MB/s, 1 GB in {1000 / size * seconds / 60:.1f} CPU minutes"
    )
    if options.json is not None:
        options.json.write_text(json.dumps({"megabytes": size, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
