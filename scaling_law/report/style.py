"""How figures look, and how they become bytes that do not change from one call to the next.

Figures are made with ``matplotlib.figure.Figure`` (no pyplot: no global state, no display).
"""

from __future__ import annotations

import colorsys
import html
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from scaling_law.errors import visible
from scaling_law.files.layout import atomic_write
from scaling_law.units import format_count

_Words = Callable[[float], str]
WIDE, TALL = 6.8, 4.6  # inches
NARROW = 4.4  # inches, of a figure whose letters can be read across a phone
PNG_DPI = 150
_WIDE_RANGE = 30.0  # of losses, highest over lowest: beyond it even steps leave no room
INK, FAINT, GRID, PAPER = "#1f2328", "#6a737d", "#d8dee4", "#ffffff"
# Okabe and Ito's palette: distinct for every common kind of colour vision.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072b2", "#d98200", "#009e73", "#d55e00", "#b0578d", "#3d9bd1",
)  # fmt: skip
MARKERS = "os^DvPX*<>hp"
RESIDUAL = "measured over predicted loss − 1 (%)"
"""The sign of every error in a report: above 0 the run is worse than the law says."""
_SETTINGS = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib: the same on every machine
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.8,  # long enough to show a broken line
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.hashsalt": "slaw",  # ids from content, not from chance
    "svg.fonttype": "path",  # the same letters without the reader having the font
    "path.simplify": True,
}

# What matplotlib would write of the day and of itself, by kind of file.
_NO_DATE_OR_VERSION = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


def applied() -> AbstractContextManager[Any]:
    """Apply the settings within a ``with`` block, independent of the user's matplotlibrc."""
    settings: dict[Any, Any] = {**mpl.rcParamsDefault, "backend": "agg", **_SETTINGS}
    return mpl.rc_context(settings)


def new_figure(title: str, *, width: float = WIDE, height: float = TALL) -> tuple[Figure, Axes]:
    """A figure of one panel; ``title`` says what it shows."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes


def render(figure: Figure) -> tuple[bytes, bytes]:
    """The figure as (SVG, PNG), equal byte for byte for equal figures."""
    return rendered_svg(figure), rendered(figure, "png")


def rendered_svg(figure: Figure) -> bytes:
    """The figure as SVG, equal byte for byte for equal figures."""
    return rendered(figure, "svg")


def rendered(figure: Figure, kind: str) -> bytes:
    """The figure as a file of a ``kind``: svg or png."""
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)
        figure.set_layout_engine(None)  # laid out now: each file would do it twice more
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=PNG_DPI, metadata=_NO_DATE_OR_VERSION[kind])
    return buffer.getvalue()


def save(figure: Figure | None, folder: Path, name: str) -> bytes | None:
    """Save a figure as ``name.svg`` and ``.png`` and return the SVG; None leaves no file."""
    files = [folder / f"{name}.{kind}" for kind in ("svg", "png")]
    if figure is None:
        for file in files:
            file.unlink(missing_ok=True)
        return None
    drawn = render(figure)
    for file, content in zip(files, drawn, strict=True):
        atomic_write(file, content)
    return drawn[0]


def ramp(count: int) -> list[str]:
    """``count`` ordered colours, dark to bright, none too pale for white paper."""
    return [_ramp_at(share) for share in np.linspace(0.0, 1.0, max(count, 1))]


def ramp_over(low: float, high: float) -> Callable[[float], str]:
    """The colour of a value between ``low`` and ``high``."""
    return lambda value: _ramp_at((value - low) / max(high - low, 1e-12))


def _ramp_at(share: float) -> str:
    return str(mpl.colors.to_hex(mpl.colormaps["viridis"](0.85 * share)))


def count_axis(axes: Axes, which: str, label: str) -> None:
    """A logarithmic axis with ticks as people write counts: 10K, 200K, 1M."""
    _log_axis(axes, which, label, format_count)


def flops_axis(axes: Axes, which: str, label: str) -> None:
    """A logarithmic axis with ticks as powers of ten, as compute is quoted."""
    _log_axis(axes, which, label, power_of_ten)


def power_of_ten(value: float) -> str:
    """3.9e11 -> ``3.9×10¹¹`` (superscripts are plain text, so that they work in HTML too)."""
    mantissa, _, exponent = f"{value:.2g}".partition("e")
    if not exponent:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if float(mantissa) == 1 else f"{mantissa}×10{raised}"


def _log_axis(axes: Axes, which: str, label: str, words: _Words) -> None:
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}label")(label)
    axis = getattr(axes, f"{which}axis")
    low, high = getattr(axes, f"get_{which}lim")()
    log_ticks(axis, low, high, words)


def log_ticks(axis: Any, low: float, high: float, words: _Words) -> None:
    """Several numbered ticks on a logarithmic axis from ``low`` to ``high``."""
    decades = np.log10(high / low)
    subs: tuple[float, ...] = (1.0, 2.0, 5.0) if decades < 2.2 else (1.0,)
    if decades < 0.9:
        subs = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    if decades < 0.45 and axis.axis_name == "y":  # across, words this close would overlap
        subs = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: words(value)))
    axis.set_minor_formatter(NullFormatter())


def loss_label(unit: str) -> str:
    """The label of an axis of losses."""
    return f"validation loss ({unit})"


def loss_axis(axes: Axes, low: float, high: float, unit: str) -> None:
    """The vertical axis as loss in ``unit``, logarithmic, with evenly numbered ticks."""
    axes.set_yscale("log")
    margin = (high / low) ** 0.05
    axes.set_ylim(low / margin, high * margin)
    axes.set_ylabel(loss_label(unit))
    if high / low > _WIDE_RANGE:
        log_ticks(axes.yaxis, low, high, lambda value: f"{value:g}")
        return
    ticks = MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]).tick_values(low / margin, high * margin)
    axes.yaxis.set_major_locator(FixedLocator([t for t in ticks if t > 0]))
    axes.yaxis.set_minor_locator(FixedLocator([]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def legend_below(
    figure: Figure, handles: Sequence[Any], columns: int, title: str | None = None
) -> None:
    """The legend under the panel, where it hides no data; a long one makes the figure taller.

    It has at most ``columns``, fewer where they are wider than the figure; words that are wider
    than the figure go on in a further line.
    """

    def drawn(ncols: int) -> Legend:
        return figure.legend(
            handles=list(handles), loc="outside lower center", ncols=ncols, title=title
        )

    legend = drawn(columns)
    while columns > 1 and legend.get_window_extent().width > figure.bbox.width:
        legend.remove()
        columns -= 1
        legend = drawn(columns)
    lines = -(-len(handles) // columns)
    if legend.get_window_extent().width > figure.bbox.width:
        legend.remove()
        for handle in handles:
            handle.set_label(textwrap.fill(handle.get_label(), _letters_across(figure)))
        legend = drawn(1)
        lines = sum(handle.get_label().count("\n") + 1 for handle in handles)
    figure.set_figheight(figure.get_figheight() + 0.21 * max(lines + (title is not None) - 2, 0))


def _letters_across(figure: Figure) -> int:
    """How many letters of a legend fit beside its line of colour."""
    size = mpl.rcParams["legend.fontsize"]
    taken = mpl.rcParams["legend.handlelength"] + mpl.rcParams["legend.handletextpad"] + 2
    return int((72 * figure.get_figwidth() / size - taken) / 0.62)


def inline_svg(svg: bytes, name: str, description: str) -> str:
    """The SVG as an element of a page: own ids, a name for screen readers, themed colours.

    Every colour ``#rrggbb`` becomes ``var(--k-rrggbb)``; ``theme_css`` defines the variables. The
    paper is left out, so that the shadow at the edge of what scrolls can be seen.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    text = re.sub(rf'(<g id="patch_\d+">\s*<path d="[^"]*" style="fill: ){PAPER}', r"\1none", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", text)
    text = re.sub(r"(fill|stroke|stop-color): ?#([0-9a-f]{6})", r"\1:var(--k-\2)", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    size = re.match(r"<svg[^>]*viewBox=\"([^\"]+)\"", text)
    assert size, "matplotlib writes a viewBox"
    head = f'<svg role="img" aria-label="{html.escape(visible(description))}" viewBox="{size[1]}">'
    return head + text[text.index(">") + 1 :]


def themed(colour: str) -> str:
    """``#rrggbb`` as the variable that ``theme_css`` defines for light and dark paper."""
    return f"var(--k-{colour[1:].lower()})"


def classed(page: str) -> tuple[str, str]:
    """``page`` with a class for every style attribute, and the rules: its policy allows no other.

    Equal styles share a class; numbered in the order of the page.
    """
    names: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        return f' class="{names.setdefault(match[1], f"d{len(names)}")}"'

    text = re.sub(r' style="([^"]*)"', name, page)
    return text, "".join(f".{short}{{{rules}}}" for rules, short in names.items())


def theme_css(page: str) -> str:
    """The colour variables that ``page`` uses: as drawn, and their partners for dark paper."""
    used = sorted(set(re.findall(r"var\(--k-([0-9a-f]{6})\)", page)))
    light = "".join(f"--k-{code}:#{code};" for code in used)
    dark = "".join(f"--k-{code}:{dark_partner('#' + code)};" for code in used)
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def dark_partner(colour: str) -> str:
    """The colour of the same hue with inverted lightness, for a dark background."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    turned = colorsys.hls_to_rgb(hue, 0.09 + 0.84 * (1 - light), saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in turned)
