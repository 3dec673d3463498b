"""Figures that take no time, for tests of what a page says around them."""

from __future__ import annotations

import functools

import pytest
from matplotlib.figure import Figure

from scaling_law.report import style


@functools.cache
def _blank(kind: str) -> bytes:
    with style.applied():
        return _drawn(Figure(figsize=(1, 1)), kind)


_drawn = style.rendered


@pytest.fixture
def blank_figures(monkeypatch):
    """Every figure is made, and saved as an empty one: laying it out takes most of a report."""
    monkeypatch.setattr(style, "rendered", lambda figure, kind: _blank(kind))
