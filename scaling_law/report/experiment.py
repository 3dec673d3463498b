"""An experiment's findings as the first section of a page, and its figures."""

from __future__ import annotations

import functools
import itertools
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from scaling_law.experiment.analysis import Analysed
from scaling_law.experiment.findings import INTERVALS, Axis, Claim, Figure, Findings, Series
from scaling_law.files.layout import OUT_REMEDY, check_folder
from scaling_law.report import style
from scaling_law.report.page import (
    Section,
    bullets,
    details,
    listing,
    note,
    paragraph,
    sentence,
    table,
    text,
)
from scaling_law.report.plot import Plot
from scaling_law.units import count_of, format_seconds

_LEGEND = 0.4  # inches, of a legend of two lines
_NARROW_TITLE, _NARROW_PANEL = 42, 40  # letters of a line
_ARROW = 16  # points, of the arrow from what lies beyond the last step
_BESIDE = 0.9  # inches beside a panel, for the words of its vertical axis
_LETTER = 0.6  # width of a letter over its size
_SMALLEST = 8.0  # points, of words that can still be read
_COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.RED, style.PURPLE, style.SKY)


def section(analysed: Analysed, drawn: str, why_no_law: str = "") -> Section:
    """Question, verdict, claims, figures (``drawn``), numbers, and the literature beside ours.

    ``why_no_law`` says why no law was fitted to the runs.
    """
    findings = analysed.findings
    body = answer(analysed)
    body += bullets([_claim(claim) for claim in findings.claims])
    body += paragraph(sentence(INTERVALS)) if findings.claims else ""
    if analysed.left_out:
        body += note(sentence(analysed.left_out))
    body += f'<div class="figures">{drawn}</div>\n' if drawn else ""
    for rows in findings.tables:
        body += table(rows.caption, rows.head, rows.rows, rows.text_columns)
    body += literature(findings, "Beside the literature")
    body += bullets([sentence(words) for words in findings.notes])
    body += paragraph(sentence(f"no scaling law: {why_no_law}")) if why_no_law else ""
    body += measures(findings)
    return Section(anchor="findings", heading="Findings", body=body)


def summary_section(
    analysed: Analysed, drawn: str, *, heading: str, anchor: str, report: str
) -> Section:
    """One of several experiments on a page: verdict, claims, a figure, literature, numbers.

    ``report`` is the command for all the rest.
    """
    findings = analysed.findings
    body = answer(analysed)
    decided = [claim for claim in findings.claims if claim.established is not None]
    body += bullets([_claim(claim) for claim in decided])
    for claim in findings.claims:
        if claim.established is None:
            body += note(_claim(claim))
    body += note(sentence(analysed.left_out)) if analysed.left_out else ""
    body += f'<div class="figures">{drawn}</div>\n' if drawn else ""
    body += literature(findings, f"{heading}: beside the literature")
    body += measures(findings)
    seconds = sum(run.record.seconds for run in analysed.evidence.runs)
    runs = count_of(len(analysed.evidence.runs), "finished run")
    body += paragraph(f"{runs}, {format_seconds(seconds)} of training. Tables and all figures:")
    body += listing(report)
    return Section(anchor=anchor, heading=heading, body=body)


def answer(analysed: Analysed) -> str:
    """The question, and the verdict that answers it."""
    asked = analysed.question
    if analysed.experiment.reproduces:
        asked += f" Reproduces {analysed.experiment.reproduces}."
    verdict = text(sentence(analysed.findings.verdict))
    return f'<p class="lead">{text(asked)}</p>\n<p><strong>{verdict}</strong></p>\n'


def literature(findings: Findings, caption: str) -> str:
    """Published figures and ours."""
    rows = [(p.what, p.theirs, p.ours, p.source) for p in findings.literature]
    head = ("what", "theirs", "ours", "source")
    return table(caption, head, rows, 4, stacks=True) if rows else ""


def measures(findings: Findings) -> str:
    """The measures with their units, which a click shows."""
    lines = [
        f"{name} = {_number(value)} {findings.unit(name)}".rstrip()
        for name, value in findings.measures.items()
    ]
    return details(f"{count_of(len(lines), 'measure')} with units", listing("\n".join(lines)))


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.6g}"


def _claim(claim: Claim) -> str:
    return sentence(f"{claim.standing}: {claim.says} ({claim.because})")


def write_figures(findings: Findings, folder: Path) -> list[Path]:
    """Draw every figure of the findings as SVG and PNG; return the PNG files.

    Raises ``ConfigError`` for a folder that cannot be written.
    """
    check_folder(folder, OUT_REMEDY)
    with style.applied():
        for figure in findings.figures:
            style.save(draw(figure), folder, figure.name)
    return [folder / f"{figure.name}.png" for figure in findings.figures]


def plot(figure: Figure, name: str = "") -> Plot:
    """The figure as the page sets it; its files have its own name, or ``name``."""
    return Plot(
        name=name or figure.name,
        shows=figure.title,
        caption=figure.caption,
        make=functools.partial(draw, figure),
        wide=True,
        make_narrow=functools.partial(draw, figure, narrow=True),
    )


def draw(figure: Figure, *, narrow: bool = False) -> Drawing:
    """The figure with its panels side by side and one legend below.

    A ``narrow`` one has its panels below each other.
    """
    count = len(figure.panels)
    title = figure.title
    if narrow:
        rows, columns = count, 1
        size = style.NARROW, 0.7 * style.TALL * count + _LEGEND
        title = textwrap.fill(title, _NARROW_TITLE)
    else:
        rows, columns = 1, count
        size = 0.75 * style.WIDE * max(0.8 * count, 2), style.TALL  # the width of the page
    layout = ConstrainedLayoutEngine(hspace=0.05)
    drawing = Drawing(figsize=size, layout=layout)
    drawing.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    looks = _looks([series for panel in figure.panels for series in panel.series], figure.kinds)
    entries: dict[str, Line2D | Patch] = {}
    deeper = 0.0
    for number, panel in enumerate(figure.panels):
        axes = drawing.add_subplot(rows, columns, number + 1)
        axes.set_title(textwrap.fill(panel.title, _NARROW_PANEL) if narrow else panel.title)
        for label, low, high in panel.bands:
            axes.axhspan(low, high, color=style.FAINT, alpha=0.2, linewidth=0)
            entries[label] = Patch(color=style.FAINT, alpha=0.2, label=label)
        for series in panel.series:
            entries.setdefault(series.label, _draw_series(axes, series, *looks[series.label]))
        _set_axis(axes, "x", panel.x)
        _set_axis(axes, "y", panel.y)
        deeper = max(deeper, _fit_words(axes, panel.x, size[0] / columns - _BESIDE))
    drawing.set_figheight(size[1] + rows * deeper)
    most = 2 if count == 1 or narrow else 4
    style.legend_below(drawing, [*entries.values(), *_beyond_entries(figure)], most)
    return drawing


def _looks(series: list[Series], kinds: bool) -> dict[str, tuple[str, str]]:
    """A colour and a mark for each label.

    Many have a ramp of colours, with red for marks among lines; ``kinds`` have the same few colours
    again with the next mark.
    """
    labels = dict.fromkeys(one.label for one in series)
    few = len(_COLOURS)
    if kinds or len(labels) <= few:
        return {
            label: (_COLOURS[place % few], style.MARKERS[place // few % len(style.MARKERS)])
            for place, label in enumerate(labels)
        }
    lines = dict.fromkeys(one.label for one in series if one.line)
    ordered = lines if len(lines) == len(labels) - 1 else labels
    ramp = dict(zip(ordered, style.ramp(len(ordered)), strict=True))
    return {label: (ramp.get(label, style.RED), "o") for label in labels}


def _draw_series(axes: Axes, series: Series, colour: str, mark: str) -> Line2D:
    x, y = [point[0] for point in series.points], [point[1] for point in series.points]
    looks: dict[str, Any] = {
        "color": colour,
        "linestyle": "" if not series.line else "--" if series.dashed else "-",
        "marker": mark if series.marks else "",
    }
    if series.intervals:
        below = [value - low for value, (low, _) in zip(y, series.intervals, strict=True)]
        above = [high - value for value, (_, high) in zip(y, series.intervals, strict=True)]
        axes.errorbar(x, y, yerr=[below, above], capsize=3, elinewidth=1, **looks)
    else:
        axes.plot(x, y, **looks)
    if series.beyond:
        axes.margins(y=0.12)  # room for the arrows
        axes.plot(*zip(*series.beyond, strict=True), **_hollow(colour))
        for place in series.beyond:
            axes.annotate(
                "",
                place,
                xytext=(0, _ARROW),
                textcoords="offset points",
                arrowprops={"arrowstyle": "<-", "color": colour, "shrinkA": 0, "shrinkB": 4},
            )
    return Line2D([], [], label=series.label, **looks)


def _hollow(colour: str) -> dict[str, Any]:
    return {"color": colour, "linestyle": "", "marker": "o", "markerfacecolor": "none"}


def _beyond_entries(figure: Figure) -> list[Line2D]:
    """The legend's lines for what lies beyond the last step, one for each unit of y."""
    beyond: dict[str, list[float]] = {}
    for panel in figure.panels:
        reached = [y for series in panel.series for _, y in series.beyond]
        beyond.setdefault(panel.y.label, []).extend(reached)
    entries = []
    for unit, reached in beyond.items():
        if reached:
            low, high = (f"{value:,.0f}" for value in (min(reached), max(reached)))
            within = low if low == high else f"{low} to {high}"
            entries.append(
                Line2D([], [], label=f"not within {within} {unit}", **_hollow(style.FAINT))
            )
    return entries


def _set_axis(axes: Axes, which: str, axis: Axis) -> None:
    if axis.scale == "log":
        style.count_axis(axes, which, axis.label)
    elif axis.scale == "symlog":
        getattr(axes, f"set_{which}scale")("symlog", linthresh=1)
    getattr(axes, f"set_{which}label")(axis.label)
    if axis.low is not None or axis.high is not None:
        getattr(axes, f"set_{which}lim")(axis.low, axis.high)
    if axis.values is not None:
        ticks = getattr(axes, f"{which}axis")
        ticks.set_major_locator(FixedLocator(list(axis.values.values())))
        ticks.set_major_formatter(FixedFormatter(list(axis.values)))
        ticks.set_minor_locator(NullLocator())


def _fit_words(axes: Axes, axis: Axis, inches: float) -> float:
    """Make the words under even places smaller, or turn them, where they would overlap.

    ``inches`` is the width of the panel. Returns the inches by which turned words need it higher.
    """
    if axis.values is None or axis.scale != "linear" or len(axis.values) < 2:
        return 0.0
    low, high = axes.get_xlim()
    places = sorted(axis.values.values())
    gap = min(b - a for a, b in itertools.pairwise(places)) / (high - low) * 72 * inches
    longest = max(len(line) for words in axis.values for line in words.split("\n"))
    most = gap / (_LETTER * (longest + 0.5))  # with half a letter between two
    if most >= _SMALLEST:
        axes.tick_params(axis="x", labelsize=min(most, mpl.rcParams["font.size"]))
        return 0.0
    turned = [words.replace("\n", " ") for words in axis.values]
    axes.set_xticklabels(turned, rotation=90, fontsize=_SMALLEST)
    return max(map(len, turned)) * _LETTER * _SMALLEST / 72
