"""Rows of texts as aligned lines."""

from __future__ import annotations

from collections.abc import Sequence


def left(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """One line a row, every column aligned on its left."""
    line = "  ".join(f"%-{width}s" for width in _widths(rows))
    return [indent + (line % tuple(row)).rstrip() for row in rows]


def numbers(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line a row: a name on the left, the rest aligned on its right."""
    if not rows:
        return []
    name, *rest = _widths(rows)
    # one format for all rows: a plan has 10,000 of them
    line = "  ".join([f"%-{name}s", *(f"%{width}s" for width in rest)])
    return [(line % tuple(row)).rstrip() for row in rows]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]
