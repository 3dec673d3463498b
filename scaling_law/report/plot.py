"""A figure of the page: drawn, saved and set with its caption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from scaling_law.report import style
from scaling_law.report.page import drawing


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure.

    ``name`` is its file's name;
    ``shows`` says what it shows, for those who cannot see it;
    ``caption`` says how to read it;
    ``make`` draws it, None where there is nothing to draw;
    ``wide`` says that it has a row of the page to itself;
    ``make_narrow`` draws it for a phone, where it takes the place of the other; None for a figure
    that scrolls there.
    """

    name: str
    shows: str
    caption: str
    make: Callable[[], Figure | None]
    wide: bool = False
    make_narrow: Callable[[], Figure] | None = None


def saved(plot: Plot, folder: Path) -> str:
    """Save a figure twice and return it for the page; one that cannot be drawn leaves no file."""
    svg = style.save(plot.make(), folder, plot.name)
    if svg is None:
        return ""
    inline = style.inline_svg(svg, plot.name, plot.shows)
    narrow = ""
    if plot.make_narrow is not None:
        svg = style.rendered_svg(plot.make_narrow())
        narrow = style.inline_svg(svg, f"{plot.name}-narrow", plot.shows)
    return drawing(inline, plot.caption, plot.shows, chart=plot.name, wide=plot.wide, narrow=narrow)
