"""Reads delimited text row by row: CSV, TSV and their relatives, of any delimiter.

Only the columns that are asked for stay in memory, and no more rows than ``MOST_ROWS``.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from scaling_law.errors import ConfigError, one_line, quoted
from scaling_law.fit.points.rows import Rows, check_count
from scaling_law.units import count_of

# A space separates columns only where nothing else does.
_DELIMITERS = (",", ";", "\t", "|", " ")
_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
# Characters of a line, and so of a cell: a file with a longer one is not a table of runs.
_LONGEST = 2**24
_SAMPLED_LINES, _SAMPLED_CHARACTERS = 50, 2**20
_MOST_ABOVE = 4  # rows above the column names
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
    ``comments`` are the comments so far by their lines.
    """

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.file = path, file
        self.number = self.first = 0
        self.between = True
        self.comments: dict[int, str] = {}

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
                    self.comments[self.number] = line.strip().lstrip("#").strip(" ")
                    continue
                self.first, self.between = self.number, False
            return line
        raise StopIteration


class _Row(NamedTuple):
    """A row that has text.

    ``cells``: its cells.
    ``first``: the line where it begins.
    ``last``: the line where it ends.
    ``comment``: the line of the last comment above it; 0: none.
    """

    cells: list[str]
    first: int
    last: int
    comment: int


def _rows(lines: _Lines, delimiter: str) -> Iterator[_Row]:
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
            yield _Row(cells, lines.first, lines.number, next(reversed(lines.comments), 0))


def _read(path: Path, lines: _Lines, delimiter: str, wanted: Callable[[str], bool]) -> Rows:
    header: list[str] = []
    columns: list[list[str]] = []
    places: list[int] = []
    numbers: list[int] = []
    notes = []
    rows = _rows(lines, delimiter)
    above, first = _title_rows(rows, wanted)
    if above:
        notes.append(
            f"{count_of(len(above), 'line')} above the column names skipped:"
            f" {one_line(' '.join(above[0].cells).strip()):.60}"
        )
    for row in itertools.chain(first, rows):
        cells = row.cells
        if not header:
            header, body = _header(path, lines, row, delimiter)
            twice = repeated(header)
            places = [i for i, n in enumerate(header) if wanted(n) and n not in twice]
            columns = [[] for _ in places]
            if not body:
                continue
        if len(cells) != len(header):
            _check_width(path, row, header, delimiter)
        for place, column in zip(places, columns, strict=True):
            column.append(cells[place])
        numbers.append(row.first)
        check_count(path, len(numbers))
    if lines.comments:
        count = count_of(len(lines.comments), "comment line")
        notes.append(f"{count} (#) skipped, the first at line {next(iter(lines.comments))}")
    return Rows(
        columns={header[i]: column for i, column in zip(places, columns, strict=True)},
        lines=numbers,
        notes=tuple(notes),
        twice=repeated(header),
        names=tuple(header),
    )


def _title_rows(
    rows: Iterator[_Row], wanted: Callable[[str], bool]
) -> tuple[list[_Row], list[_Row]]:
    """The rows above the column names, and the rows read from there on.

    The names are the row that has the most wanted ones among the first few: a title or the names
    of groups of columns may stand above it.
    """
    first = list(itertools.islice(rows, _MOST_ABOVE + 1))
    counts = [sum(map(wanted, {cell for cell in row.cells if cell.strip()})) for row in first]
    place = counts.index(max(counts)) if counts and max(counts) > 1 else 0
    return first[:place], first[place:]


def _header(path: Path, lines: _Lines, row: _Row, delimiter: str) -> tuple[list[str], bool]:
    """The columns' names, and whether ``row``, the first, is already a run.

    Some programs write the names into a comment.
    """
    cells = row.cells
    if all(_is_number(cell) for cell in cells):
        comment = lines.comments.get(row.comment, "")
        names = next(csv.reader([comment], delimiter=delimiter), [])
        if len(names) == len(cells) and not any(_is_number(name) for name in names):
            del lines.comments[row.comment]
            return [name.strip() for name in names], True
        shown = ", ".join(cell.strip() for cell in cells[:4])
        raise ConfigError(
            f"{path}:{row.first}: no column names: the first line holds numbers ({shown:.40});"
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


def _check_width(path: Path, row: _Row, header: Sequence[str], delimiter: str) -> None:
    """Raises ``ConfigError`` for a row of more or fewer cells than the header has."""
    cells = row.cells
    if len(cells) > len(header) and len(_trimmed(cells)) <= len(header):
        return
    if len(header) == 1:
        hint = "; remove the lines above the column names"
    elif len(cells) > len(header):
        hint = f"; quote cells that hold {shown_delimiter(delimiter)}"
        if len(cells) == len(header) + 1:
            hint += ", and name every column"
    elif row.last > row.first:
        hint = (
            f"; a quote opens here and closes in line {row.last} or never: double it, or remove it"
        )
    else:
        hint = "; end the row with empty cells, or begin a remark with #"
    raise ConfigError(
        f"{path}:{row.first}: {count_of(len(cells), 'cell')}, the header has {len(header)}{hint}"
    )


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
    best = []
    for above in range(min(_MOST_ABOVE, len(sample)) + 1):  # titles may stand above the names
        scores = {d: _agreement(sample[above:], d) for d in _DELIMITERS[:-1]}
        best.append(max((score, delimiter) for delimiter, score in scores.items()))
        if best[-1][0] > (0.5, 1):
            return best[-1][1]
    if best[0][0] > (0.0, 1):
        return best[0][1]
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
