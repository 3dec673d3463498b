"""Rows of texts as aligned lines."""

from __future__ import annotations

from collections.abc import Sequence


def left(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """One line a row, every column aligned on its left."""
    return [
        indent + "  ".join(cell.ljust(width) for cell, width in row).rstrip()
        for row in _with_widths(rows)
    ]


def numbers(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line a row: a name on the left, the rest aligned on its right."""
    lines = []
    for (name, width), *rest in _with_widths(rows):
        cells = [name.ljust(width), *(cell.rjust(width) for cell, width in rest)]
        lines.append("  ".join(cells).rstrip())
    return lines


def _with_widths(rows: Sequence[Sequence[str]]) -> list[list[tuple[str, int]]]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [list(zip(row, widths, strict=True)) for row in rows]
