"""CSV and its relatives, and parquet: tables, and what W&B and TensorBoard export as such."""

from __future__ import annotations

from pathlib import Path

from scaling_law.tables.formats import Format
from scaling_law.tables.formats._tables import read_table
from scaling_law.tables.formats._text import head

_SUFFIXES = (".csv", ".tsv", ".parquet")
_DELIMITERS = ",;\t|"


def _sniff(path: Path) -> str:
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (*_SUFFIXES, ".txt"):
        return ""
    return "a table" if suffix in _SUFFIXES or _looks_like_a_table(head(path)) else ""


def _looks_like_a_table(text: str) -> bool:
    """Whether the first lines of a text have as many cells as each other, and more than one."""
    lines = [line for line in text.splitlines()[:4] if line.strip() and not line.startswith("#")]
    counts = [{line.count(mark) for line in lines} for mark in _DELIMITERS]
    return len(lines) > 1 and any(len(some) == 1 and some != {0} for some in counts)


FORMAT = Format(sniff=_sniff, read=read_table, alone=True)
