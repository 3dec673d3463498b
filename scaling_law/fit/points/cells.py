"""Reads tables as rows of cells: CSV, TSV, JSON, JSONL, parquet, with any delimiter or marks."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.decode import json_problem
from scaling_law.errors import ConfigError

ROLES = (
    "params", "tokens", "loss", "flops", "cluster", "seed", "sem", "run_id", "size",
    "unique_tokens", "batch",
)  # fmt: skip
MAX_BYTES = 2 * 10**9


@dataclass(frozen=True)
class Rows:
    """The cells of a table.

    ``columns``: name -> cells.
    ``lines``: the line of each row in the file.
    ``notes``: what was changed in reading.
    ``twice``: names that several columns have; their cells are not read.
    """

    columns: dict[str, list[Any]]
    lines: Sequence[int]
    notes: tuple[str, ...] = ()
    twice: frozenset[str] = frozenset()


def read_rows(path: Path) -> Rows:
    """The rows of a table by its suffix. Raises ``ConfigError`` naming file and line."""
    name = str(path)
    if "\0" in name:
        raise ConfigError(f"{name}: no path; expected the name of a file")
    try:
        if path.is_dir():
            raise ConfigError(f"{name}: a folder; expected a table")
        if path.exists() and not path.is_file():  # it may never end
            raise ConfigError(f"{name}: a pipe or device; expected a table")
        if path.stat().st_size > MAX_BYTES:
            size = path.stat().st_size / 1e9
            raise ConfigError(f"{name}: {size:.1f} GB; select rows or columns first (at most 2)")
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise ConfigError(f"{name}: expected a file {', '.join(_READERS)}")
        rows = reader(path)
    except UnicodeDecodeError as problem:
        raise ConfigError(
            f"{name}: cannot be read (not UTF-8 text, byte {problem.start}: {problem.reason})"
        ) from None
    except (OSError, csv.Error, RecursionError) as problem:
        raise ConfigError(f"{name}: cannot be read ({json_problem(problem)})") from None
    if not rows.lines:
        raise ConfigError(f"{name}: no rows; expected one run a row under a header")
    return rows


def _read_delimited(path: Path) -> Rows:
    text = path.read_text(encoding="utf-8-sig")
    if "\0" in text:
        raise ConfigError(f"{path}: not a text table (it holds NUL bytes)")
    head = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max((",", ";", "\t"), key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] = []
    body, lines = [], []
    following = 1
    for cells in reader:
        # a quoted cell may hold newlines: a row's line is the one where it begins
        line, following = following, reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            continue
        if len(cells) != len(header):
            raise ConfigError(f"{path}:{line}: {len(cells)} cells, the header has {len(header)}")
        body.append(cells)
        lines.append(line)
    twice = _repeated(header)
    columns = {name: [row[i] for row in body] for i, name in enumerate(header) if name not in twice}
    notes = _undo_decimal_commas(columns) if delimiter == ";" else ()
    return Rows(columns, lines, notes, twice)


def _repeated(names: Sequence[str]) -> frozenset[str]:
    return frozenset(name for name, times in Counter(names).items() if times > 1)


def _undo_decimal_commas(columns: dict[str, list[Any]]) -> tuple[str, ...]:
    comma = re.compile(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*")
    changed = []
    for name, cells in columns.items():
        if any(comma.fullmatch(cell) for cell in cells):
            columns[name] = [c.replace(",", ".") if comma.fullmatch(c) else c for c in cells]
            changed.append(name)
    return (f"decimal commas read in {', '.join(changed)}",) if changed else ()


def _from_objects(path: Path, objects: list[tuple[int, Any]]) -> Rows:
    for line, row in objects:
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise ConfigError(f"{path}:{line}: a JSON {kind}, expected an object for each run")
    names = list(dict.fromkeys(str(name) for _, row in objects for name in row))
    columns = {name: [row.get(name) for _, row in objects] for name in names}
    return Rows(columns, [line for line, _ in objects])


def _read_jsonl(path: Path) -> Rows:
    objects = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if line.strip():
            try:
                objects.append((number, json.loads(line)))
            except ValueError as problem:
                why = json_problem(problem)
                raise ConfigError(f"{path}:{number}: not JSON ({why})") from None
    return _from_objects(path, objects)


def _read_json(path: Path) -> Rows:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except ValueError as problem:
        raise ConfigError(f"{path}: not JSON ({json_problem(problem)})") from None
    if not isinstance(content, list):
        raise ConfigError(f"{path}: expected a JSON list of objects, one a run")
    return _from_objects(path, list(enumerate(content, 1)))


def _read_parquet(path: Path) -> Rows:
    try:
        import pyarrow.lib
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(
            f"{path}: parquet needs pyarrow: pip install 'scaling-law[parquet]'"
        ) from None
    try:
        table = pyarrow.parquet.read_table(path)
        pairs = zip(table.column_names, table.columns, strict=True)
        columns = {name: _arrow_cells(column) for name, column in pairs}
    except pyarrow.lib.ArrowException as problem:
        first = str(problem).splitlines()[0]
        raise ConfigError(f"{path}: not a parquet table ({first})") from None
    return Rows(columns, range(1, table.num_rows + 1))


def _arrow_cells(column: Any) -> list[Any]:
    """The cells as Python values; those without a Python type (times in nanoseconds) as text."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return list(column.cast("string").to_pylist())


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".txt": _read_delimited,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
