"""Reads delimited text row by row: CSV, TSV and their relatives, of any delimiter.

Only the columns that are asked for stay in memory, and no more rows than ``MOST_ROWS``.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from scaling_law.errors import ConfigError, quoted
from scaling_law.fit.points.rows import Rows, check_count
from scaling_law.units import count_of

# A space separates columns only where nothing else does.
_DELIMITERS = (",", ";", "\t", "|", " ")
_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
# Characters of a line, and so of a cell: a file with a longer one is not a table of runs.
_LONGEST = 2**24
_SAMPLED_LINES, _SAMPLED_CHARACTERS = 50, 2**20
_SEP = re.compile(r"\"?sep=(\\t|.)\"?[,;\s]*", re.IGNORECASE)


def read_delimited(path: Path, wanted: Callable[[str], bool]) -> Rows:
    """The rows of a delimited table, of the columns whose name is ``wanted``.

    Raises ``ConfigError`` naming file and line, ``UnicodeDecodeError`` and ``OSError``.
    """
    with path.open("rb") as raw:
        head = raw.read(2)
    marked = head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    with (
        path.open(encoding="utf-16" if marked else "utf-8-sig", newline="") as file,
        _long_cells(),
    ):
        stated = _stated_delimiter(file)
        delimiter = stated or _delimiter(_sample(path, file))
        file.seek(0)
        lines = _Lines(path, file)
        if stated:
            next(file, "")
            lines.number = 1
        return _read(path, lines, delimiter, wanted)


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    """Let a cell be as long as a line may be; the limit is the csv module's own, for all."""
    before = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


class _Lines:
    """The lines of a table without the comments and blank lines between its rows.

    ``number`` is that of the last line read, ``first`` that of the line where the row begins, and
    ``comment`` the last comment so far.
    """

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.file = path, file
        self.number = self.first = 0
        self.between = True
        self.comments: list[int] = []
        self.comment = ""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        while line := self.file.readline(_LONGEST):
            self.number += 1
            if len(line) == _LONGEST:
                raise ConfigError(
                    f"{self.path}:{self.number}: a line of over {_LONGEST // 2**20} million"
                    " characters; expected one run a line"
                )
            if "\0" in line:
                raise ConfigError(
                    f"{self.path}: not a text table (it holds NUL bytes; UTF-16 without a mark?"
                    " save it as UTF-8)"
                )
            if self.between:
                if not line.strip():
                    continue
                if line.lstrip().startswith("#"):
                    self.comments.append(self.number)
                    self.comment = line.strip().lstrip("#").strip(" ")
                    continue
                self.first, self.between = self.number, False
            return line
        raise StopIteration


def _rows(lines: _Lines, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter == " ")
    while True:
        lines.between = True
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            raise ConfigError(f"{lines.path}:{lines.first}: cannot be read ({problem})") from None
        if any(cell.strip() for cell in cells):
            yield cells


def _read(path: Path, lines: _Lines, delimiter: str, wanted: Callable[[str], bool]) -> Rows:
    header: list[str] = []
    columns: list[list[str]] = []
    places: list[int] = []
    numbers: list[int] = []
    for cells in _rows(lines, delimiter):
        if not header:
            header, body = _header(path, lines, cells, delimiter)
            twice = repeated(header)
            places = [i for i, n in enumerate(header) if wanted(n) and n not in twice]
            columns = [[] for _ in places]
            if not body:
                continue
        if len(cells) != len(header):
            _check_width(path, lines.first, cells, header, delimiter)
        for place, column in zip(places, columns, strict=True):
            column.append(cells[place])
        numbers.append(lines.first)
        check_count(path, len(numbers))
    notes = []
    if lines.comments:
        count = count_of(len(lines.comments), "comment line")
        notes.append(f"{count} (#) skipped, the first at line {lines.comments[0]}")
    return Rows(
        columns={header[i]: column for i, column in zip(places, columns, strict=True)},
        lines=numbers,
        notes=tuple(notes),
        twice=repeated(header),
        names=tuple(header),
    )


def _header(path: Path, lines: _Lines, cells: list[str], delimiter: str) -> tuple[list[str], bool]:
    """The columns' names, and whether ``cells``, the first row, is already a run.

    Some programs write the names into a comment.
    """
    if all(_is_number(cell) for cell in cells):
        names = next(csv.reader([lines.comment], delimiter=delimiter), [])
        if len(names) == len(cells) and not any(_is_number(name) for name in names):
            lines.comments.pop()
            return [name.strip() for name in names], True
        shown = ", ".join(cell.strip() for cell in cells[:4])
        raise ConfigError(
            f"{path}:{lines.first}: no column names: the first line holds numbers ({shown:.40});"
            " add a line such as params,tokens,loss above it"
        )
    return [name.strip() for name in _trimmed(cells)], False


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _trimmed(cells: Sequence[str]) -> list[str]:
    """The cells without the empty ones at the end, which trailing delimiters make."""
    count = len(cells)
    while count and not cells[count - 1].strip():
        count -= 1
    return list(cells[:count])


def _check_width(
    path: Path, line: int, cells: Sequence[str], header: Sequence[str], delimiter: str
) -> None:
    """Raises ``ConfigError`` for a row of more or fewer cells than the header has."""
    if len(cells) > len(header) and len(_trimmed(cells)) <= len(header):
        return
    hint = f"; quote cells that hold {_WORDS[delimiter]}" if len(cells) > len(header) else ""
    raise ConfigError(f"{path}:{line}: {len(cells)} cells, the header has {len(header)}{hint}")


def repeated(names: Sequence[str]) -> frozenset[str]:
    """The names that occur more than once."""
    return frozenset(name for name, times in Counter(names).items() if times > 1)


def _stated_delimiter(file: TextIO) -> str:
    """The delimiter that a first line ``sep=;`` names, as spreadsheets write it; "" without."""
    match = _SEP.fullmatch(file.readline(_SAMPLED_CHARACTERS).strip("\r\n"))
    if match is None:
        return ""
    return "\t" if match[1] == "\\t" else match[1]


def _sample(path: Path, file: TextIO) -> list[str]:
    """The first lines that are not comments."""
    file.seek(0)
    lines = _Lines(path, file)
    sample: list[str] = []
    characters = 0
    for line in lines:
        lines.between = True
        sample.append(line)
        characters += len(line)
        if len(sample) == _SAMPLED_LINES or characters > _SAMPLED_CHARACTERS:
            break
    return sample


def _delimiter(sample: Sequence[str]) -> str:
    """The delimiter under which most rows have as many cells as the first."""
    scores = {delimiter: _agreement(sample, delimiter) for delimiter in _DELIMITERS[:-1]}
    best = max(scores, key=lambda delimiter: scores[delimiter])
    if scores[best] > (0.0, 1):
        return best
    return " " if _agreement(sample, " ") > (0.99, 2) else ","


def _agreement(sample: Sequence[str], delimiter: str) -> tuple[float, int]:
    """The share of rows as wide as the first, and that width; (0, 1) for a single column."""
    try:
        rows: list[Any] = list(
            csv.reader(sample, delimiter=delimiter, skipinitialspace=delimiter == " ")
        )
    except csv.Error:
        return 0.0, 1
    widths = [(len(row), len(_trimmed(row))) for row in rows]
    if not widths or widths[0][1] < 2:
        return 0.0, 1
    whole, named = widths[0]
    like = sum(width in (whole, named) or trimmed == named for width, trimmed in widths)
    return like / len(widths), named


def shown_delimiter(delimiter: str) -> str:
    """The delimiter as a message names it."""
    return _WORDS.get(delimiter, quoted(delimiter))
