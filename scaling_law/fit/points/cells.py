"""Reads tables as rows of cells: CSV, TSV, JSON, JSONL, parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scaling_law.decode import json_problem
from scaling_law.errors import ConfigError, install_extra
from scaling_law.fit.points.delimited import read_delimited, repeated
from scaling_law.fit.points.rows import Rows, check_count

MAX_BYTES = 2 * 10**9
# A JSON document is in memory as a whole, at ten times its size.
_MAX_DOCUMENT_BYTES = 10**8
_LONGEST = 2**24  # characters of a line of JSON
_BATCH_ROWS = 2**16

Wanted = Callable[[str], bool]


_CONFIGS = (".yaml", ".yml")


def read_rows(path: Path, wanted: Wanted = lambda name: True) -> Rows:
    """The rows of a table by its suffix, of the columns whose name is ``wanted``.

    Raises ``ConfigError`` naming file and line.
    """
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
            what = "expected a file"
            if path.suffix in _CONFIGS:
                what = "a config; expected the folder of its runs, or a file"
            raise ConfigError(f"{name}: {what} {', '.join(_READERS)}")
        rows = reader(path, wanted)
    except UnicodeDecodeError as problem:
        encoding = "UTF-16" if problem.encoding.startswith("utf-16") else "UTF-8"
        raise ConfigError(
            f"{name}: cannot be read (not {encoding} text, byte {problem.start}: {problem.reason});"
            " save it as UTF-8"
        ) from None
    except UnicodeError as problem:  # UTF-16 that is cut off, say
        raise ConfigError(f"{name}: cannot be read (not text: {problem})") from None
    except (OSError, csv.Error, RecursionError) as problem:
        raise ConfigError(f"{name}: cannot be read ({json_problem(problem)})") from None
    if not rows.lines:
        raise ConfigError(f"{name}: no rows; expected one run a row under a header")
    return rows


class _Objects:
    """Rows put together from JSON objects, a column for each wanted name."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path, self.wanted = path, wanted
        self.columns: dict[str, list[Any]] = {}
        self.names: dict[str, bool] = {}
        self.lines: list[int] = []

    def add(self, line: int, row: Any) -> None:
        """Add one object; what is within it gets names with dots, as in ``config.params``."""
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise ConfigError(f"{self.path}:{line}: a JSON {kind}, expected an object for each run")
        for name, cell in _flat(row):
            if name not in self.names:
                self.names[name] = self.wanted(name)
            if not self.names[name]:
                continue
            column = self.columns.setdefault(name, [])
            column += [None] * (len(self.lines) - len(column))
            column.append(cell)
        self.lines.append(line)
        check_count(self.path, len(self.lines))

    def rows(self, *notes: str) -> Rows:
        """The rows so far."""
        count = len(self.lines)
        # one name may come from two places, as "a.b" and as b in a: the first of them counts
        columns = {
            name: (column + [None] * (count - len(column)))[:count]
            for name, column in self.columns.items()
        }
        return Rows(columns, self.lines, notes, names=tuple(self.names))


def _flat(row: Mapping[str, Any], before: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        name = f"{before}{key}"
        if isinstance(value, dict) and value and depth < 3:
            yield from _flat(value, f"{name}.", depth + 1)
        else:
            yield name, value


def _read_jsonl(path: Path, wanted: Wanted) -> Rows:
    objects = _Objects(path, wanted)
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        number = 0
        while line := file.readline(_LONGEST):
            number += 1
            if len(line) == _LONGEST:
                raise ConfigError(
                    f"{path}:{number}: a line of over {_LONGEST // 2**20} million characters;"
                    " expected one run a line"
                )
            if not line.strip():
                continue
            try:
                row = json.loads(line.strip())
            except ValueError as problem:
                if not objects.lines and line.lstrip()[0] == "[":
                    return _read_json(path, wanted)
                why = json_problem(problem)
                raise ConfigError(f"{path}:{number}: not JSON ({why})") from None
            if isinstance(row, list) and not objects.lines:
                return _read_json(path, wanted)
            objects.add(number, row)
    return objects.rows()


def _read_json(path: Path, wanted: Wanted) -> Rows:
    if _holds_lines(path):
        rows = _read_jsonl(path, wanted)
        notes = (*rows.notes, "read as JSON lines, an object a line")
        return Rows(rows.columns, rows.lines, notes, names=rows.names)
    if path.stat().st_size > _MAX_DOCUMENT_BYTES:
        raise ConfigError(
            f"{path}: a JSON document of {path.stat().st_size / 1e6:.0f} MB; save it as JSON lines"
            f" or CSV, which are read in parts (at most {_MAX_DOCUMENT_BYTES / 1e6:.0f})"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except ValueError as problem:
        raise ConfigError(f"{path}: not JSON ({json_problem(problem)})") from None
    objects = _Objects(path, wanted)
    for line, row in enumerate(_objects_in(path, content, wanted), 1):
        objects.add(line, row)
    return objects.rows()


def _holds_lines(path: Path) -> bool:
    """Whether the first line with text is an object of its own and another follows."""
    with path.open(encoding="utf-8-sig") as file:
        first = ""
        while line := file.readline(_LONGEST):
            if not line.strip():
                continue
            if first:
                return line.lstrip().startswith("{")
            first = line.strip()
            if not (first.startswith("{") and first.endswith("}")):
                return False
            try:
                json.loads(first)
            except (ValueError, RecursionError):
                return False
    return False


def _objects_in(path: Path, content: Any, wanted: Wanted) -> list[Any]:
    """The objects of a document: a list of them, columns, or a list under some key."""
    if isinstance(content, list):
        return content
    if isinstance(content, dict) and content:
        names, data = content.get("columns"), content.get("data")
        if isinstance(names, list) and isinstance(data, list):
            if all(isinstance(row, list) and len(row) == len(names) for row in data):
                return [dict(zip(map(str, names), row, strict=True)) for row in data]
        elif all(isinstance(cells, list) for cells in content.values()):
            if any(isinstance(cell, dict) for cells in content.values() for cell in cells[:1]):
                if len(content) == 1:
                    return list(next(iter(content.values())))
            else:
                return _from_columns(path, content)
        elif all(isinstance(cells, dict) for cells in content.values()):
            if sum(map(wanted, content)) > 1:
                keys = dict.fromkeys(key for cells in content.values() for key in cells)
                return [{n: cells.get(key) for n, cells in content.items()} for key in keys]
            return [{"run_id": name, **row} for name, row in content.items()]
        lists = [x for x in content.values() if isinstance(x, list) and x]
        if len(lists) == 1 and isinstance(lists[0][0], dict):
            return lists[0]
    raise ConfigError(
        f"{path}: expected a JSON list of objects, one a run, or an object of columns"
    )


def _from_columns(path: Path, content: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    counts = {name: len(cells) for name, cells in content.items()}
    if len(set(counts.values())) > 1:
        words = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:12])
        raise ConfigError(f"{path}: columns of different lengths: {words}")
    names = list(content)
    return [dict(zip(names, row, strict=True)) for row in zip(*content.values(), strict=True)]


def _read_parquet(path: Path, wanted: Wanted) -> Rows:
    try:
        import pyarrow.lib
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(f"{path}: parquet needs pyarrow: {install_extra('parquet')}") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            twice = repeated(names)
            count = file.metadata.num_rows
            check_count(path, count)
            chosen = [name for name in names if wanted(name) and name not in twice]
            columns: dict[str, list[Any]] = {name: [] for name in chosen}
            for batch in file.iter_batches(_BATCH_ROWS, columns=chosen):
                for name in chosen:
                    columns[name] += _arrow_cells(batch.column(name))
    except (pyarrow.lib.ArrowException, OSError) as problem:
        first = str(problem).splitlines()[0]
        raise ConfigError(f"{path}: not a parquet table ({first})") from None
    return Rows(columns, range(1, count + 1), twice=twice, names=tuple(names))


def _arrow_cells(column: Any) -> list[Any]:
    """The cells as Python values; those without a Python type (times in nanoseconds) as text."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return list(column.cast("string").to_pylist())


_READERS: dict[str, Callable[[Path, Wanted], Rows]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".txt": read_delimited,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
