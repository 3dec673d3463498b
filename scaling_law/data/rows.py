"""Read the text of rows: of JSON lines, of a JSON array, or of parquet.

The text is under a key or in a column; ``a.b`` names key ``b`` of the object under ``a``.
A row whose text is null or not UTF-8 is left out and counted; a row without the key, or with
another value than a string under it, is refused with its place.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from scaling_law.data.content import kind_suffix, opened
from scaling_law.data.packages import package_folder
from scaling_law.data.sources import Tally
from scaling_law.decode import json_problem
from scaling_law.errors import ConfigError, install_extra, quoted
from scaling_law.units import format_bytes

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

TEXT_KEY = "text"
_ABSENT = object()
_HEAD_LINES = 1000  # of JSON lines that are looked at for one that is none
_LARGEST_LINE = 512_000_000  # bytes
_LARGEST_ARRAY = 256_000_000  # bytes of a JSON file that is not JSON lines
# Rows of parquet are read together in a column of a row group up to this size.
_BATCH_ROWS, _WHOLE_BYTES = 1024, 64_000_000
_STRINGS = frozenset(
    ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
)
_NULL, _NOT_UTF8 = "its text is null", "its text is not UTF-8"


def value_at(row: Any, key: str) -> Any:
    """The value under ``key``, or under the keys that its dots separate; ``_ABSENT`` for none."""
    if not isinstance(row, dict):
        return _ABSENT
    if key in row:
        return row[key]
    first, _, rest = key.partition(".")
    return value_at(row.get(first), rest) if rest else _ABSENT


def holds_text(row: Any, key: str | None) -> bool:
    """Whether a row of JSON has a text, or null for none, under ``key``."""
    value = value_at(row, key or TEXT_KEY)
    return value is None or isinstance(value, str)


def json_lines(file: Path, key: str | None, tally: Tally) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of every line of ``file`` that is not blank.

    Raises ``ConfigError`` with file and line for a line that is not JSON, has no such key, or has
    another value than a string there.
    """
    with opened(file) as stream:
        for number, line in enumerate(_lines(file, stream), 1):
            if line.strip():
                row = _json(line, f"{file}:{number}")
                text = _text_of(row, key, f"{file}:{number}", tally)
                if text is not None:
                    yield number, text


def json_array(
    file: Path, rows: list[Any], key: str | None, tally: Tally
) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of every row; raises ``ConfigError`` as ``json_lines``."""
    for number, row in enumerate(rows, 1):
        text = _text_of(row, key, f"{file}: row {number}", tally)
        if text is not None:
            yield number, text


def rows_in(file: Path, key: str | None) -> Any:
    """The rows of a file of JSON: "lines", a list of objects, or None where it is no such file.

    An object alone is a list of one, or where only the objects of one list in it have a text under
    ``key``, as in ``{"data": [{"text": ...}]}``, that list. Only the first two lines of JSON lines
    are read. Raises ``ConfigError`` for other JSON of more than 256 MB.
    """
    with opened(file) as stream:
        head = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if head not in (b"{", b"["):
        return None
    with opened(file) as stream:
        filled = (line for line in _lines(file, stream) if line.strip(b"\xef\xbb\xbf \t\r\n"))
        first, second = next(filled, b""), next(filled, b"")
    parsed = _parsed(first)
    if isinstance(parsed, dict) and (not second or isinstance(_parsed(second), dict)):
        return "lines" if second else _rows_of(parsed, key)
    with opened(file) as stream:
        raw = stream.read(_LARGEST_ARRAY + 1)
    if len(raw) > _LARGEST_ARRAY:
        if kind_suffix(file.name) != ".json":
            return None
        raise ConfigError(
            f"{file}: not JSON lines and more than {format_bytes(_LARGEST_ARRAY)}, which would be"
            " read whole; make it JSON lines, an object a line"
        )
    value = _parsed(raw)
    if isinstance(value, dict):
        return _rows_of(value, key)
    return value if _is_rows(value) else None


def json_trouble(file: Path) -> str:
    """Return why a file that is named as JSON is none: its place and the reason; "" where it is.

    Lines of JSON are JSON here.
    """
    with opened(file) as stream:
        filled = [
            (number, line)
            for number, line in enumerate(itertools.islice(_lines(file, stream), _HEAD_LINES), 1)
            if line.strip(b"\xef\xbb\xbf \t\r\n")
        ]
    if filled and isinstance(_parsed(filled[0][1]), dict):
        where = ((number, _problem(line)) for number, line in filled)
        return next((f"{file}:{number}: {why}" for number, why in where if why), "")
    with opened(file) as stream:
        why = _problem(stream.read(_LARGEST_ARRAY + 1))
    return f"{file}: {why}" if why else ""


def _problem(raw: bytes) -> str:
    try:
        json.loads(raw.decode("utf-8-sig").strip())
    except UnicodeDecodeError:
        return "not UTF-8 text"
    except (ValueError, RecursionError) as problem:
        return f"not JSON ({json_problem(problem)})"
    return ""


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _rows_of(value: dict[str, Any], key: str | None) -> list[dict[str, Any]]:
    """The rows of an object that is a whole file."""
    lists = [each for each in value.values() if _is_rows(each) and holds_text(each[0], key)]
    return lists[0] if len(lists) == 1 and not holds_text(value, key) else [value]


def first_row(file: Path) -> Any:
    """The first line of a file of JSON lines, as a value."""
    with opened(file) as stream:
        return _parsed(next((line for line in _lines(file, stream) if line.strip()), b""))


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _lines(file: Path, stream: IO[bytes]) -> Iterator[bytes]:
    number = 0
    while line := stream.readline(_LARGEST_LINE + 1):
        number += 1
        if len(line) > _LARGEST_LINE:
            raise ConfigError(
                f"{file}:{number}: a line of more than {format_bytes(_LARGEST_LINE)}; expected a"
                " document a line"
            )
        yield line


def _json(line: bytes, where: str) -> Any:
    try:
        # with a byte order mark on the first line
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: not UTF-8 text; convert the file to UTF-8") from None
    except (ValueError, RecursionError) as problem:
        raise ConfigError(f"{where}: not JSON ({json_problem(problem)})") from None


def _text_of(row: Any, key: str | None, where: str, tally: Tally) -> str | None:
    """The text of a row; None where it is null, which is counted."""
    name = key or TEXT_KEY
    value = value_at(row, name)
    if isinstance(value, str):
        return value
    if value is None:
        tally.leave_out("row", _NULL, where)
        return None
    if value is not _ABSENT:
        shown = f'"{name}": {quoted(value)}'
    elif isinstance(row, dict):
        shown = f"keys {', '.join(map(quoted, row)) or '(none)'}"
    else:
        shown = "no object"
    raise ConfigError(
        f'{where}: found {shown}; expected a "{name}" key with a string'
        f"{_other_key(row) if value is _ABSENT else ''}"
    )


def _other_key(row: Any) -> str:
    """Name the option, where a row has a string under another key."""
    if not isinstance(row, dict):
        return ""
    texts = [key for key, value in row.items() if isinstance(value, str)]
    texts.sort(key=lambda key: -len(row[key]))
    return (
        f"; name the key beside the corpus, as in text_key: {texts[0]}"
        if texts
        else "; name the key beside the corpus, as in text_key: a.b"
    )


def parquet_texts(file: Path, key: str | None, tally: Tally) -> Iterator[str | None]:
    """Yield the text of every row of a parquet file; None for a null or for bytes not UTF-8.

    These are counted. Memory does not grow with the file: the column of a row group is unpacked
    whole up to 64 MB, where a text that many rows share is held once, and beyond that page by page
    (a page may be as large as its writer made it) and row by row. Raises ``ConfigError`` without
    pyarrow, on a damaged file, or where there is no such column of strings.
    """
    if package_folder("pyarrow") is None:
        raise ConfigError(f"{file}: reading parquet needs pyarrow; {install_extra('parquet')}")
    import pyarrow
    import pyarrow.parquet

    name = key or TEXT_KEY
    number = 0
    try:
        path = _column(file, pyarrow.parquet.read_schema(file), name)
        for batch in _batches(file, name):
            for text in _texts(batch.column(0), path[1:]):
                if text is None or isinstance(text, bytes):
                    reason = _NULL if text is None else _NOT_UTF8
                    tally.leave_out("row", reason, f"{file}:{number}")
                    text = None
                yield text
                number += 1
    except (OSError, KeyError, pyarrow.ArrowException, MemoryError) as problem:
        raise ConfigError(f"{file}: not readable as parquet ({problem})") from None


def _column(file: Path, schema: pyarrow.Schema, name: str) -> list[str]:
    """The names that lead to the column of strings. Raises ``ConfigError`` for none or another."""
    import pyarrow

    path = [name] if name in schema.names else name.split(".")
    fields: list[Any] = list(schema)
    kind: Any = None
    for part in path:
        of_name = [each for each in fields if each.name == part]
        if len(of_name) != 1:
            listed = ", ".join(each.name for each in schema)
            twice = f"; {len(of_name)} are called {part}" if of_name else ""
            raise ConfigError(
                f"{file}: found columns {listed}{twice}; expected one called {name}"
                "; text_key, beside the corpus, names the column with the text"
            )
        kind = of_name[0].type
        fields = list(kind) if pyarrow.types.is_struct(kind) else []
    held = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    if str(held) not in _STRINGS and not pyarrow.types.is_fixed_size_binary(held):
        inside = [f"{name}.{each.name}" for each in fields]
        hint = f"; text_key, beside the corpus, may name {', '.join(inside)}" if inside else ""
        raise ConfigError(
            f"{file}: column {name} is of type {kind}; expected strings, or bytes in UTF-8"
            f"{hint or '; text_key, beside the corpus, names another column'}"
        )
    return path


def _batches(file: Path, name: str) -> Iterator[Any]:
    """Yield the column's rows in batches, by the size of each row group."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(file) as rows, ParquetFile(file, read_dictionary=[name]) as shared:
        for group in range(rows.metadata.num_row_groups):
            held = rows.metadata.row_group(group)
            columns = map(held.column, range(held.num_columns))
            size = sum(one.total_uncompressed_size for one in columns if one.path_in_schema == name)
            # a dictionary of shared texts grows with each batch, up to the size of the column
            small = size <= _WHOLE_BYTES
            yield from (shared if small else rows).iter_batches(
                batch_size=_BATCH_ROWS if small else 1, columns=[name], row_groups=[group]
            )


def _texts(column: Any, fields: list[str]) -> Iterator[str | bytes | None]:
    """The column's values, read down ``fields`` of its structs; bytes where they are not UTF-8."""
    import pyarrow

    for name in fields:  # a null object has null fields
        names = [field.name for field in column.type]
        column = column.flatten()[names.index(name)]
    if not pyarrow.types.is_dictionary(column.type):
        values: Any = column
        places: Any = range(len(column))
    else:
        values, places = column.dictionary, column.indices.to_pylist()
    last: tuple[int | None, str | bytes | None] = (None, None)
    for place in places:
        if place is None or place != last[0]:  # rows that repeat a long text decode it once
            last = (place, None if place is None else _decoded(values[place]))
        yield last[1]


def _decoded(scalar: Any) -> str | bytes | None:
    raw: bytes | None = None if not scalar.is_valid else bytes(scalar.as_buffer())
    try:
        return None if raw is None else raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw
