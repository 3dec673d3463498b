"""Rows of texts as aligned lines."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def left(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """One line a row, every column aligned on its left.

    Rows may be of different lengths; the last cell of each runs on and widens no column.
    """
    widths = [0] * max(map(len, rows), default=0)
    for row in rows:
        for i, cell in enumerate(row[:-1]):
            widths[i] = max(widths[i], len(cell))
    return [
        indent + "  ".join([*map(str.ljust, row[:-1], widths), *row[-1:]]).rstrip() for row in rows
    ]


def numbers(rows: Sequence[Sequence[str]], words: Collection[int] = (0,)) -> list[str]:
    """One line a row: the columns ``words`` aligned on their left, the rest on their right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    # one format for all rows: a plan has 10,000 of them
    line = "  ".join(f"%{'-' if i in words else ''}{width}s" for i, width in enumerate(widths))
    return [(line % tuple(row)).rstrip() for row in rows]
