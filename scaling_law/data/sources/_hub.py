"""Read a corpus of the Hugging Face hub: streamed, sampled, or from a local copy.

A local copy wins: the data set's parquet files, as the hub serves them, anywhere below
``<cache>/hub/<corpus name>/`` are read with pyarrow, without `datasets` and without network.
"""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scaling_law.data.packages import package_folder
from scaling_law.data.rows import parquet_texts
from scaling_law.data.sources import Corpus, Document, ReadRequest, Tally
from scaling_law.data.walk import files_below
from scaling_law.errors import ConfigError, install_extra
from scaling_law.files import layout

DOMAIN = "text"
_PROBE_SECONDS = 2.0
_MESSAGE_CHARS = 160  # the library's messages are long
_SHUFFLE_ROWS = 1_000  # rows held while sampling; the order of files is shuffled as well


def each_row(rows: Iterable[str]) -> Iterator[str]:
    """Every row is a document."""
    yield from rows


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """A parquet data set with a ``text`` column.

    ``dataset`` is its id (or a local folder laid out like one), ``config`` its configuration.
    ``sampled`` shuffles files and rows, for sets too large to read whole; these stop at
    ``default_bytes`` of text where the caller sets no limit. ``to_documents`` turns the
    column's rows into documents.
    """

    dataset: str
    config: str | None = None
    sampled: bool = True
    default_bytes: int | None = 1_000_000_000
    to_documents: Callable[[Iterable[str]], Iterator[str]] = each_row


def hub_corpus(name: str, source: HubSource, *, description: str, licence: str, how: str) -> Corpus:
    """``source`` as the corpus ``name``; reading raises ``ConfigError`` with the remedy."""
    return Corpus(
        name=name,
        description=description,
        licence=licence,
        how=how,
        domains=(DOMAIN,),
        read=lambda request: _read(name, source, request),
        state=lambda: _state(name, source),
        missing=lambda: _missing(name),
        unreachable=lambda: _unreachable(name),
        versions=_versions,
    )


def copy_folder(name: str) -> Path:
    """Return the folder for a local copy of the corpus's parquet files."""
    return layout.cache_dir() / "hub" / name


def _copies(name: str) -> list[Path]:
    folder = copy_folder(name)
    return files_below(folder, _is_parquet, Tally()) if folder.is_dir() else []


def _is_parquet(name: str) -> bool:
    return name.lower().endswith(".parquet")


def _remedy(name: str) -> str:
    return (
        f"download its parquet files elsewhere and put them in {copy_folder(name)}, "
        "or use another corpus such as installed"
    )


def _missing(name: str) -> str | None:
    if _copies(name) or package_folder("datasets") is not None:
        return None
    return f"needs the hub extra: {install_extra('hub')}; or {_remedy(name)}"


def _unreachable(name: str) -> str | None:
    """Why the text is not available now; the hub is asked where there is no local copy."""
    return None if _copies(name) else why_unreachable(name) or None


def _versions() -> dict[str, str]:
    try:
        return {"datasets": version("datasets")}
    except PackageNotFoundError:
        return {}


def _state(name: str, source: HubSource) -> Any:
    copies = [(str(f.name), f.stat().st_size, f.stat().st_mtime_ns) for f in _copies(name)]
    return {"reader": 1, "dataset": source.dataset, "config": source.config, "copies": copies}


def _read(name: str, source: HubSource, request: ReadRequest) -> Iterator[Document]:
    copies = _copies(name)
    if copies:
        request.note(f"{name}: reading the local copy in {copy_folder(name)}")
        request.tally.read["parquet file"] += len(copies)
        rows: Iterator[str] = (
            text or "" for file in copies for text in parquet_texts(file, None, request.tally)
        )
    else:
        if problem := why_unreachable(name):
            raise ConfigError(f"{request.section}.corpus: {name}: {problem}")
        rows = _stream(name, source, request.section)
    limit = request.max_bytes or source.default_bytes
    total = 0
    for number, text in enumerate(source.to_documents(rows)):
        yield Document(f"{name}:{number}", text, DOMAIN)
        total += len(text.encode("utf-8", "replace"))
        if limit is not None and total >= limit:
            return


def _stream(name: str, source: HubSource, section: str) -> Iterator[str]:
    import datasets

    # the library lets OSErrors of several packages, ValueErrors (unknown configuration) and
    # RuntimeErrors (script data sets) through
    try:
        rows = datasets.load_dataset(source.dataset, source.config, split="train", streaming=True)
        if source.sampled:
            rows = rows.shuffle(seed=0, buffer_size=_SHUFFLE_ROWS)
        for row in rows.select_columns(["text"]):
            yield row["text"] or ""
    except (OSError, ValueError, RuntimeError) as problem:
        first = (str(problem) or type(problem).__name__).splitlines()[0][:_MESSAGE_CHARS]
        raise ConfigError(
            f"{section}.corpus: {name}: reading {source.dataset} from the hub failed ({first}); "
            f"{_remedy(name)}"
        ) from None


def why_unreachable(name: str) -> str:
    """Why the hub does not answer, with the remedy; "" if it does.

    It is asked for its front page, for at most about 2 s, before the library retries for 25 s.
    """
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    problems: list[str] = []

    def ask() -> None:
        try:
            asked = urllib.request.Request(endpoint, method="HEAD")
            with urllib.request.urlopen(asked, timeout=_PROBE_SECONDS):
                pass
        except urllib.error.HTTPError as answer:
            # with 401, 404 or 405 the hub itself answers; these are a proxy before it
            if answer.code in (403, 407, 451) or answer.code >= 500:
                problems.append(f"HTTP status {answer.code}")
            answer.close()
        except (OSError, ValueError) as problem:
            problems.append(str(getattr(problem, "reason", problem)))

    # name resolution has no timeout, so it runs in a thread
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS + 0.5)
    if thread.is_alive():
        problems.append(f"no answer in {_PROBE_SECONDS:g} s")
    if not problems:
        return ""
    return f"{endpoint} cannot be reached ({problems[0]}); {_remedy(name)}"
