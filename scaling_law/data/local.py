"""Read the user's own files: a file, or a folder with its subfolders and what is linked into it.

A line of JSON lines, a row of a JSON array and a row of parquet are a document each (key or column
``text``, or the one that ``text_key`` names); a source file is one document; long prose
(``.txt``, ``.md``, ``.rst``, ``.tex``) is cut into documents at blank lines, so that a book in one
file can be split into training and validation. Files packed with gzip, bzip2, xz or zstd (which
needs pyarrow) are unpacked.
What a file holds decides how it is read, not only its suffix; everything that is left out is
counted, by reason.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scaling_law.data.content import (
    HEAD_BYTES,
    decoded,
    kind_suffix,
    opened,
    scanned,
    why_no_text,
    why_not_beginning,
)
from scaling_law.data.rows import (
    TEXT_KEY,
    first_row,
    holds_text,
    json_array,
    json_lines,
    json_trouble,
    parquet_texts,
    rows_in,
)
from scaling_law.data.sources import Corpus, Document, ReadRequest, Tally
from scaling_law.data.walk import files_below
from scaling_law.errors import ConfigError
from scaling_law.spec.mix import FILES_DOMAINS
from scaling_law.units import format_bytes

(DOMAIN,) = FILES_DOMAINS
_PROSE = frozenset((".txt", ".md", ".rst", ".tex"))
_CODE = frozenset(
    (
        *(".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".cu", ".cuh", ".js", ".ts"),
        *(".rs", ".go", ".java", ".kt", ".swift", ".rb", ".pl", ".lua", ".sh", ".sql", ".jl"),
        *(".r", ".scala", ".hs", ".ml", ".html", ".css", ".xml", ".yaml", ".yml", ".toml"),
        *(".json", ".csv", ".tsv"),
    )
)
_JSON_LINES = frozenset((".jsonl", ".ndjson"))
_PARQUET = ".parquet"
_TABLES = frozenset((".csv", ".tsv"))
_KINDS = _PROSE | _CODE | _JSON_LINES | {_PARQUET}
# Files with these suffixes are documents, whatever their content.
_NEVER_ROWS = _CODE - {".json"}
# Prose longer than the first is cut into documents of about the second (characters).
_CUT_ABOVE, _PIECE_CHARS = 64_000, 16_000
_LARGEST_DOCUMENT = 2_000_000_000  # bytes of a file that is one document, unpacked


def local_corpus(path: Path) -> Corpus:
    """Return the file or folder at ``path`` as a corpus. Reading raises ``ConfigError``."""
    return Corpus(
        name=path.resolve().stem or "root",
        description=f"local {'folder' if path.is_dir() else 'file'}",
        licence="whatever the files' owner grants",
        how="read in place",
        domains=(DOMAIN,),
        read=lambda request: _read(path, request),
        state=lambda: _state(path),
        has_keys=True,
    )


def _takes(name: str) -> bool:
    return kind_suffix(name) in _KINDS


def _state(path: Path) -> Any:
    stats = []
    for file in files_below(path, _takes, Tally()):
        held = file.stat()
        stats.append((os.fsdecode(file.resolve()), held.st_size, held.st_mtime_ns))
    return {"reader": 2, "files": stats}


def _read(path: Path, request: ReadRequest) -> Iterator[Document]:
    """Yield the documents of all files; ``request.tally`` counts what is left out."""
    has_rows = False
    for file in files_below(path, _takes, request.tally):
        rows = _rows(file, request)
        if rows is not None:
            has_rows = True
            yield from _checked(rows, request.tally)
            continue
        scan = scanned(file)
        reason = "empty or blank" if scan.is_blank else scan.reason()
        if not reason:
            if kind_suffix(file.name) == ".json" and (why := json_trouble(file)):
                if file == path:
                    raise ConfigError(f"{why}; mend it, or name it .txt where it is plain text")
                request.tally.remark("file", "named .json and not JSON, read as plain text", file)
            yield from _file_documents(file, scan.size, request.tally)
        elif file == path and not scan.is_blank:
            raise ConfigError(f"{file}: {reason}; convert it to UTF-8 text, or point at text files")
        else:
            request.tally.leave_out("file", reason, file)
    if request.text_key is not None and not has_rows:
        raise ConfigError(
            f"{request.section}.text_key: {request.text_key}, and no file of {path} holds rows"
            " (JSON lines, a JSON array of objects, or parquet); leave it out"
        )


def _rows(file: Path, request: ReadRequest) -> Iterator[Document] | None:
    """The documents of a file of rows, or None for a file that is read as text."""
    suffix, key, tally = kind_suffix(file.name), request.text_key, request.tally
    if suffix == _PARQUET:
        tally.read["parquet file"] += 1
        return _documents(file, enumerate(parquet_texts(file, key, tally)))
    if suffix in _JSON_LINES:
        if reason := _not_json_lines(file):
            tally.leave_out("file", reason, file)
            return iter(())
        tally.read[f"{suffix} file"] += 1
        return _documents(file, json_lines(file, key, tally))
    if suffix in _NEVER_ROWS:
        return None
    rows = rows_in(file, key)
    if rows is None and suffix != ".json":
        return None
    if rows is None and json_trouble(file):
        return None  # the reader of texts says so
    first = first_row(file) if rows == "lines" else rows[0] if rows else None
    if not holds_text(first, key):
        tally.remark(
            "file",
            f'of JSON without a string under "{key or TEXT_KEY}" in the first row, read as it is,'
            " with keys and braces; text_key, beside the corpus, names the key of the text",
            file,
        )
        return None
    if rows == "lines":
        tally.read[f"{suffix or 'plain'} JSON-lines file"] += 1
        return _documents(file, json_lines(file, key, tally))
    tally.read[f"{suffix or 'plain'} JSON-rows file"] += 1
    return _documents(file, json_array(file, rows, key, tally))


def _not_json_lines(file: Path) -> str:
    """Say what a file of this name is where its first bytes are no text; "" where they are."""
    with opened(file) as stream:
        return why_not_beginning(stream.read(HEAD_BYTES))


def _documents(file: Path, texts: Iterable[tuple[int, str | None]]) -> Iterator[Document]:
    """A document for each row that has a text."""
    for number, text in texts:
        if text is not None:
            yield Document(f"{file}:{number}", text, DOMAIN)


def _checked(documents: Iterator[Document], tally: Tally) -> Iterator[Document]:
    """The documents that are text; the others are counted."""
    for document in documents:
        if reason := why_no_text(document.text):
            tally.leave_out("row", reason, document.id)
        else:
            yield document


def _file_documents(file: Path, size: int, tally: Tally) -> Iterator[Document]:
    """The documents of a file of text, of ``size`` bytes."""
    suffix = kind_suffix(file.name)
    is_one = suffix in _CODE
    if is_one and size > _LARGEST_DOCUMENT:
        raise ConfigError(
            f"{file}: {format_bytes(size)}, and a file of this kind is one document, of at most"
            f" {format_bytes(_LARGEST_DOCUMENT)}; cut it into several, or make it JSON lines or"
            " .txt"
        )
    tally.read[f"{suffix or 'plain'} file"] += 1
    if suffix in _TABLES:
        tally.remark("table", "read as it is, with every column", file)
    texts = decoded(file)
    begun = ""
    for text in texts:
        begun += text
        if len(begun) > _CUT_ABOVE and not is_one:
            pieces = cut_prose(itertools.chain([begun], texts))
            yield from (
                Document(f"{file}:{number}", piece, DOMAIN) for number, piece in enumerate(pieces)
            )
            return
    yield Document(str(file), begun, DOMAIN)


def cut_prose(texts: Iterable[str]) -> Iterator[str]:
    """Cut ``texts`` into pieces of about 16,000 characters, which joined give them again.

    A cut is at a blank line where there is one, else at the end of a line, else anywhere. It does
    not depend on where one text ends and the next begins, nor does memory grow with their number.
    """
    held = ""
    for text in texts:
        held += text
        start = 0
        while len(held) - start > 2 * _PIECE_CHARS:
            least, most = start + _PIECE_CHARS, start + 2 * _PIECE_CHARS
            stop = most
            for mark in ("\n\n", "\n"):
                place = held.find(mark, least, most)
                if place >= 0:
                    stop = place + len(mark)
                    break
            yield held[start:stop]
            start = stop
        held = held[start:]
    yield held
