"""The cells of a table, by column, and the limits of every reader."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError

ROLES = (
    "params", "tokens", "loss", "flops", "cluster", "seed", "sem", "run_id", "size",
    "unique_tokens", "batch", "state", "tokens_per_second",
)  # fmt: skip
MOST_ROWS = 1_000_000
_SHOWN = 12
_UNNAMED = "(a column without a name)"  # such as the index that pandas writes


@dataclass(frozen=True)
class Rows:
    """The cells of a table.

    ``columns``: name -> cells, of the columns that were asked for.
    ``lines``: the line of each row in the file.
    ``notes``: what was changed in reading.
    ``twice``: names that several columns have; their cells are not read.
    ``names``: the names of all columns in the file; empty where all are in ``columns``.
    """

    columns: dict[str, list[Any]]
    lines: Sequence[int]
    notes: tuple[str, ...] = ()
    twice: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """The names of all columns, also of those not read."""
        return self.names or tuple(self.columns)

    def taken(self, index: Sequence[int]) -> Rows:
        """The rows of these numbers."""
        columns = {name: [cells[i] for i in index] for name, cells in self.columns.items()}
        return dataclasses.replace(self, columns=columns, lines=[self.lines[i] for i in index])


def check_count(path: Path, count: int) -> None:
    """Raises ``ConfigError`` for more rows than are read."""
    if count > MOST_ROWS:
        raise ConfigError(
            f"{path}: more than {MOST_ROWS:,} rows; expected one run a row: save the last row of"
            " each run, or a choice of runs, as a table of its own"
        )


def cell_text(cell: Any) -> str:
    """The cell as text; "" for a missing one."""
    missing = cell is None or (isinstance(cell, float) and math.isnan(cell))
    return "" if missing else str(cell).strip()


def check_column(name: str, rows: Rows, place: str) -> None:
    """Raises ``ConfigError`` for a column that is not there, or is there twice."""
    if name in rows.twice:
        raise ConfigError(f"{place}: column {name!r} is there twice; rename one in the table")
    if name not in rows.columns:
        raise ConfigError(f"{place}: no column {name!r}; {listed_columns(rows.known)}")


def listed_columns(columns: Collection[str]) -> str:
    """The names of the columns there are, for a message."""
    names = list(columns)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = ", ".join(name or _UNNAMED for name in names[:_SHOWN])
    return f"found {shown}{more}"
