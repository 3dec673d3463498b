"""The cells of a table, by column, and the limits of every reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError

ROLES = (
    "params", "tokens", "loss", "flops", "cluster", "seed", "sem", "run_id", "size",
    "unique_tokens", "batch", "state",
)  # fmt: skip
MOST_ROWS = 1_000_000


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


def check_count(path: Path, count: int) -> None:
    """Raises ``ConfigError`` for more rows than are read."""
    if count > MOST_ROWS:
        raise ConfigError(
            f"{path}: more than {MOST_ROWS:,} rows; expected one run a row: save the last row of"
            " each run, or a choice of runs, as a table of its own"
        )
