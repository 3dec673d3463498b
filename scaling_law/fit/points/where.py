"""Chooses rows by conditions on their columns, as ``epochs<=4``."""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError, quoted
from scaling_law.fit.points.numbers import decimal_marks, number
from scaling_law.fit.points.rows import Rows, cell_text, check_column
from scaling_law.fit.points.table_settings import TableSettings

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "=": operator.eq,
    "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_SHOWN = 6  # values of a column that a message names
_SIGN = re.compile("!=|<=|>=|=|<|>")


def filtered(rows: Rows, settings: TableSettings, origin: str) -> tuple[Rows, tuple[str, ...]]:
    """The rows that the settings choose, and a note on how many they are."""
    index = chosen_rows(rows, settings.where, origin, "row")
    if len(index) == len(rows.lines):
        return rows, ()
    note = f"{len(index)} of {len(rows.lines)} rows chosen by {', '.join(settings.where)}"
    return rows.taken(index), (note,)


def chosen_rows(rows: Rows, where: Sequence[str], origin: str, called: str) -> list[int]:
    """Numbers of the rows that meet every condition, as ``epochs<=4``.

    Raises ``ConfigError`` for a condition that cannot be read, for a missing column, and where no
    row is left. ``called``: what a message calls a row.
    """
    keep = np.ones(len(rows.lines), dtype=bool)
    for text in where:
        before = keep.copy()
        name, sign, value = condition(text)
        check_column(name, rows, f"{origin}: where")
        cells = rows.columns[name]
        mark = decimal_marks({name: cells}, f"{origin}: where")[name]
        keep &= [_holds(cell, sign, value, mark) for cell in cells]
        if not keep.any():
            left = [cells[row] for row in np.flatnonzero(before)]
            others = [each for each in where[: where.index(text)] if each != text]
            raise ConfigError(
                f"{origin}: no {called} has {' and '.join((*others, text))}; found"
                f" {_distinct(name, left)}" + (f" where {' and '.join(others)}" if others else "")
            )
    index: list[int] = np.flatnonzero(keep).tolist()
    return index


def _distinct(name: str, cells: Sequence[Any]) -> str:
    """Name the values of a column, the commonest first, and how many are not named."""
    counts = Counter(cell_text(cell) or "(empty)" for cell in cells)
    shown = ", ".join(quoted(text) for text, _ in counts.most_common(_SHOWN))
    more = f" and {len(counts) - _SHOWN} more values" if len(counts) > _SHOWN else ""
    return f"{name} {shown}{more}"


def condition(text: str) -> tuple[str, str, str]:
    """The column, the sign and the value of a condition."""
    plain = text.strip()
    match = _SIGN.search(plain, 1)  # a column has at least one character
    if match is None:
        raise ConfigError(f"where {quoted(text)}: expected COLUMN=VALUE (or != < <= > >=)")
    return plain[: match.start()].strip(), match[0], plain[match.end() :].strip()


def _holds(cell: Any, sign: str, value: str, mark: str) -> bool:
    wanted, text = number(value), cell_text(cell)
    if wanted is not None:
        known = float(cell) if isinstance(cell, bool) else number(cell, mark=mark)
        if known is not None:
            return _COMPARE[sign](known, wanted)
    # an empty cell is neither below nor above: as text it would come before every number
    if sign not in ("=", "!=") and (wanted is not None or not text):
        return False
    return _COMPARE[sign](text, value)
