"""Cells that hold several: objects within objects, with their keys joined by points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEEPEST = 6


def flat(row: Mapping[str, Any], before: str = "", depth: int = 0) -> dict[str, Any]:
    """The cells of a row by name, what is within an object as in ``model.n_layer``."""
    cells: dict[str, Any] = {}
    for key, value in row.items():
        name = f"{before}{key}"
        if isinstance(value, dict) and value and depth < _DEEPEST:
            cells |= flat(value, f"{name}.", depth + 1)
        else:
            cells[name] = value
    return cells
