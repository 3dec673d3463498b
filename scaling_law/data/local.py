"""Read the user's own files: a file, or a folder with its subfolders.

A ``.jsonl`` line and a ``.parquet`` row are a document each (key or column ``text``); a source
file is one document; long prose (``.txt``, ``.md``, ``.rst``, ``.tex``) is cut into documents
at blank lines, so that a book in one file can be split into training and validation.
Hidden files and folders are skipped.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaling_law.data.corpus import Corpus, Document, ReadRequest, package_folder
from scaling_law.decode import json_problem
from scaling_law.errors import ConfigError, quoted
from scaling_law.spec.mix import FILES_DOMAINS

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
_TABLES = frozenset((".jsonl", ".parquet"))
# Prose longer than the first is cut into documents of about the second (characters).
_CUT_ABOVE, _PIECE_CHARS = 64_000, 16_000


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
    )


def local_files(path: Path, suffixes: frozenset[str]) -> tuple[list[Path], int]:
    """Return the files at or below ``path`` with one of ``suffixes``, and the number of others.

    A ``path`` that is a file is always taken. Raises ``ConfigError`` when it cannot be read.
    """

    def unreadable(problem: OSError) -> None:
        raise ConfigError(f"{problem.filename}: not readable ({problem.strerror})")

    if path.is_file():
        return [path], 0
    if not path.is_dir():
        raise ConfigError(f"{path}: neither a file nor a folder; point data.corpus at text")
    taken: list[Path] = []
    others = 0
    for folder, folders, names in os.walk(path, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            file = Path(folder, name)
            # is_file: a dangling link cannot be read, and a pipe would never end
            if file.suffix.lower() in suffixes and file.is_file():
                taken.append(file)
            else:
                others += 1
    return taken, others


def _state(path: Path) -> Any:
    files, _ = local_files(path, _PROSE | _CODE | _TABLES)
    stats = []
    for file in files:
        found = file.stat()
        stats.append((os.fsdecode(file.resolve()), found.st_size, found.st_mtime_ns))
    return {"reader": 1, "files": stats}


def _read(path: Path, request: ReadRequest) -> Iterator[Document]:
    files, others = local_files(path, _PROSE | _CODE | _TABLES)
    left_out: Counter[str] = Counter()
    if others:
        left_out["of an unknown kind"] = others
    for file in files:
        kind = file.suffix.lower()
        if kind == ".jsonl":
            yield from _jsonl(file)
        elif kind == ".parquet":
            for row, text in enumerate(parquet_texts(file)):
                yield Document(f"{file}:{row}", text, DOMAIN)
        else:
            content = _content(file)
            if content is not None:
                yield from _file_documents(file, content)
            elif file == path:
                raise ConfigError(f"{file}: not UTF-8 text; convert it, or point at text files")
            else:
                left_out["not UTF-8 text"] += 1
    for reason, count in sorted(left_out.items()):
        request.note(f"{path}: left out {count} files {reason}")


def _content(file: Path) -> str | None:
    try:
        return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None
    except OSError as problem:
        raise ConfigError(f"{file}: not readable ({problem.strerror})") from None


def _file_documents(file: Path, text: str) -> Iterator[Document]:
    if file.suffix.lower() in _CODE or len(text) <= _CUT_ABOVE:
        yield Document(str(file), text, DOMAIN)
        return
    for number, piece in enumerate(cut_prose(text)):
        yield Document(f"{file}:{number}", piece, DOMAIN)


def cut_prose(text: str) -> Iterator[str]:
    """Cut ``text`` into pieces of about 16,000 characters, which joined give ``text`` again.

    A cut is at a blank line where there is one, else at the end of a line, else anywhere.
    """
    start = 0
    while len(text) - start > 2 * _PIECE_CHARS:
        least, most = start + _PIECE_CHARS, start + 2 * _PIECE_CHARS
        stop = most
        for mark in ("\n\n", "\n"):
            found = text.find(mark, least, most)
            if found >= 0:
                stop = found + len(mark)
                break
        yield text[start:stop]
        start = stop
    yield text[start:]


def _jsonl(file: Path) -> Iterator[Document]:
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield Document(f"{file}:{number}", _jsonl_text(file, number, line), DOMAIN)
    except OSError as problem:
        raise ConfigError(f"{file}: not readable ({problem.strerror})") from None


def _jsonl_text(file: Path, number: int, line: bytes) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise ConfigError(f"{file}:{number}: not JSON ({json_problem(problem)})") from None
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        found = f"keys {', '.join(map(repr, row))}" if isinstance(row, dict) else "no object"
        if text is not None:
            found = f'"text": {quoted(text)}'
        raise ConfigError(f'{file}:{number}: found {found}; expected a "text" key with a string')
    return text


def parquet_texts(file: Path) -> Iterator[str]:
    """Yield column ``text`` of a parquet file, row by row; nulls count as empty.

    Raises ``ConfigError`` without pyarrow, on a damaged file, or when there is no such column.
    """
    if package_folder("pyarrow") is None:
        raise ConfigError(
            f"{file}: reading parquet needs pyarrow; pip install 'scaling-law[parquet]'"
        )
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            names = table.schema_arrow.names
            if "text" not in names:
                raise ConfigError(
                    f"{file}: found columns {', '.join(names)}; expected one called text"
                )
            for batch in table.iter_batches(batch_size=1024, columns=["text"]):
                for text in batch.column(0).to_pylist():
                    yield text or ""
    except (OSError, pyarrow.ArrowException) as problem:
        raise ConfigError(f"{file}: not readable as parquet ({problem})") from None
