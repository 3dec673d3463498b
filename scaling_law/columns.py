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
    sides = [str.ljust if i in words else str.rjust for i in range(len(widths))]
    return [
        "  ".join(side(c, w) for side, c, w in zip(sides, row, widths, strict=True)).rstrip()
        for row in rows
    ]
