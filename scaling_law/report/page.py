"""Make the page around the report: one file without network requests, light and dark.

Its policy lets only its own style sheet and script apply, named by their hashes: nothing else runs,
even if a run's name contains a script.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.errors import visible

_STYLE = Path(__file__).with_name("page.css").read_text()


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with its anchor and its HTML."""

    anchor: str
    heading: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Live:
    """The live part of a page: a script and the values it draws.

    ``values`` lie in the page as JSON under the id ``slaw-data``.
    """

    script: str
    values: Any


def page(
    title: str,
    lead: str,
    sections: Sequence[Section],
    footer: str,
    theme: str,
    live: Live | None = None,
) -> str:
    """The whole document; ``theme`` are the figures' styles (``style.theme_css``)."""
    links = "".join(f'<li><a href="#{s.anchor}">{text(s.heading)}</a></li>' for s in sections)
    parts = "".join(
        f'<section aria-labelledby="{s.anchor}"><h2 id="{s.anchor}">{text(s.heading)}</h2>\n'
        f"{s.body}</section>\n"
        for s in sections
    )
    styles, tail = f"{_STYLE}{theme}", ""
    if live is not None:
        tail = (
            f'<script type="application/json" id="slaw-data">{embedded(live.values)}</script>\n'
            f"<script>{live.script}</script>\n"
        )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(styles, live)}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{text(title)}</title>\n<style>{styles}</style></head>\n"
        f'<body><a class="skip" href="#{sections[0].anchor}">Skip to {text(sections[0].heading)}'
        f'</a><header><h1>{text(title)}</h1>\n<p class="lead">{text(lead)}</p>\n'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>\n{parts}</main>\n<footer><p>{text(footer)}</p></footer>\n{tail}</body></html>\n"
    )


def _policy(styles: str, live: Live | None) -> str:
    """A policy under which nothing loads, and only this style sheet and script apply (CSP 3)."""
    scripts = f"script-src {_digest(live.script)}; " if live is not None else ""
    return (
        f"default-src 'none'; {scripts}style-src {_digest(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


def _digest(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def embedded(values: Any) -> str:
    """JSON for a script element, without any sign that HTML could read as the element's end."""
    plain = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def text(value: object) -> str:
    """Escape a value as visible text of a page, so that a run's name never becomes HTML."""
    return html.escape(visible(str(value)), quote=True)


def sentence(words: str) -> str:
    """With a full stop, and a capital unless a path comes first."""
    first = words[:1] if "/" in words.split(" ")[0] else words[:1].upper()
    return first + words[1:] + ("" if words.endswith(".") else ".")


def percent(share: float | None) -> str:
    """A fraction as percent; a dash for None."""
    return "–" if share is None else f"{100 * share:.2f}%"


def signed_percent(share: float | None) -> str:
    """The same with its sign."""
    return "–" if share is None else f"{100 * share:+.2f}%"


def paragraph(words: object) -> str:
    """A paragraph of text."""
    return f"<p>{text(words)}</p>\n"


def note(words: object) -> str:
    """A paragraph that is set apart as a note."""
    return f'<p class="note" role="note">{text(words)}</p>\n'


def bullets(items: Sequence[object]) -> str:
    """A list of text; nothing for no items."""
    return f"<ul>{''.join(f'<li>{text(item)}</li>' for item in items)}</ul>\n" if items else ""


def card(
    heading: str, big: str, words: Sequence[str], raised: str = "", *, anchor: str = ""
) -> str:
    """A box with one large figure; ``raised`` follows it as an exponent.

    Its heading leads to the section with this ``anchor``.
    """
    lines = "".join(f"<p>{text(word)}</p>" for word in words if word)
    large = text(big) + (f"<sup>{text(raised)}</sup>" if raised else "")
    head = f'<a href="#{anchor}">{text(heading)}</a>' if anchor else text(heading)
    return f'<div class="card"><h3>{head}</h3><p class="big">{large}</p>{lines}</div>'


def table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    words: int | Collection[int],
    *,
    stacks: bool = False,
) -> str:
    """A table that scrolls on its own; a cell's lines stay lines.

    The columns ``words``, or so many first ones, are text, the rest numbers. On a phone one that
    ``stacks`` sets the cells of a row below each other, each behind its column's heading.
    """
    texts = range(words) if isinstance(words, int) else words
    kinds = ["id" if i == 0 else "" if i in texts else "n" for i in range(len(head))]
    top = "".join(
        f'<th scope="col" class="{kind}">{text(cell)}</th>'
        for kind, cell in zip(kinds, head, strict=True)
    )
    labels = [f' data-head="{text(cell)}"' if stacks else "" for cell in head[1:]]
    lines = []
    for row in rows:
        first, *rest = (text(cell) for cell in row)
        cells = "".join(
            f'<td class="{_cell(kind, cell)}"{label}>{cell}</td>'
            for kind, cell, label in zip(kinds[1:], rest, labels, strict=True)
        )
        lines.append(f'<tr><th scope="row" class="id">{first}</th>{cells}</tr>')
    kind = ' class="stacks"' if stacks else ""
    # outside of the table, so that it does not scroll away with it
    name = f"t-{zlib.crc32(caption.encode()):08x}"
    return (
        f'<p class="caption" id="{name}">{text(caption)}</p>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}">'
        f'<table{kind} aria-labelledby="{name}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>\n"
    )


def _cell(kind: str, cell: str) -> str:
    return "lines" if "\n" in cell else kind


def drawing(
    svg: str, caption: str, label: str, chart: str = "", *, wide: bool = False, narrow: str = ""
) -> str:
    """A figure with its caption; narrower than it can be read at, it scrolls.

    The script puts the ``chart`` of this name in the drawing's place. A ``wide`` one, of several
    panels, has a row of the page to itself. ``narrow`` is the SVG that a phone shows instead.
    """
    mark = ' class="wide"' if wide else ""
    mark += f' data-chart="{text(chart)}"' if chart else ""
    kind = "scroll still roomy" if narrow else "scroll still"
    other = f'<div class="still narrow">{narrow}</div>' if narrow else ""
    return (
        f'<figure{mark}><div class="{kind}" tabindex="0" role="region" '
        f'aria-label="{text(label)}">{svg}</div>{other}'
        f"<figcaption>{text(caption)}</figcaption></figure>\n"
    )


def choices(groups: Sequence[tuple[str, str, Sequence[tuple[str, str]], str]]) -> str:
    """Radio buttons that only the script shows; ``groups`` are (name, legend, options, chosen).

    Options are (value, words).
    """
    sets = ""
    for name, legend, options, chosen in groups:
        labels = "".join(
            f'<label><input type="radio" name="{text(name)}" value="{text(value)}"'
            f"{' checked' if value == chosen else ''}>{text(words)}</label>"
            for value, words in options
        )
        sets += f"<fieldset><legend>{text(legend)}</legend>{labels}</fieldset>"
    return (
        f'<form class="choose" id="choose" autocomplete="off" hidden>{sets}'
        "<p>Point, tap or use the arrow keys to read a figure's values; drag a frame or press + to "
        "zoom; press a series to hide it.</p>"
        '<output id="chosen" aria-live="polite"></output></form>\n'
    )


def details(summary: str, body: str) -> str:
    """HTML that opens by a click."""
    return f"<details><summary>{text(summary)}</summary>{body}</details>\n"


def listing(lines: str) -> str:
    """Text as typed: commands, a config."""
    return f'<pre tabindex="0"><code>{text(lines)}</code></pre>\n'
