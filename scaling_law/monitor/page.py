"""Writes the monitor's page; without scripts it shows everything but the figures."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from scaling_law.errors import visible

_REFRESH_SECONDS = 10


@cache
def _asset(name: str) -> str:
    return files("scaling_law.monitor").joinpath(name).read_text(encoding="utf-8")


def _text(value: object) -> str:
    """``value`` escaped, so that no name becomes markup or holds a control character."""
    return html.escape(visible(str(value)), quote=True)


def _rows(rows: Iterable[Sequence[object]]) -> str:
    lines = []
    for first, *rest in rows:
        cells = "".join(f"<td>{_text(cell)}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{_text(first)}</th>{cells}</tr>')
    return "".join(lines)


def _head(cells: Iterable[object]) -> str:
    return "".join(f'<th scope="col">{_text(cell)}</th>' for cell in cells)


def left_out_text(document: dict[str, Any]) -> str:
    """How many runs and metrics the table leaves out; "" for none."""
    numbers = ((document["rows_left_out"], "runs"), (document["metrics_left_out"], "metrics"))
    more = " and ".join(f"{number} more {what}" for number, what in numbers if number)
    return f"and {more}; slaw status lists all" if more else ""


def render_page(document: dict[str, Any], nonce: str) -> str:
    """The page that shows ``PageData.read``'s document; scripts and styles carry ``nonce``."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="icon" href="data:,">
<noscript><meta http-equiv="refresh" content="{_REFRESH_SECONDS}"></noscript>
<title>{_text(document["name"])}: slaw monitor</title>
<style nonce="{nonce}">{_asset("page.css")}</style></head>
<body>{_header(document)}<main>
<noscript><p class="note">Without scripts this page reloads every {_REFRESH_SECONDS}
seconds and has no figures.</p></noscript>
{_figures(document)}{_lists(document)}</main>
<footer><p id="host">{_text(document["words"]["host"])}</p>
<p>Read <span id="read">{_text(document["read_at"])}</span>. This page only reads the folder;
dashboard.json there holds the same.</p></footer>
<script nonce="{nonce}">{_asset("page.js")}</script></body></html>
"""


def _header(document: dict[str, Any]) -> str:
    words, share = document["words"], f"{document['flops_done_frac']:.4f}"
    return f"""<header>
<h1 id="name">{_text(document["name"])}</h1>
<p class="faint"><span id="sweep">{_text(document["sweep"])}</span>
<span id="device">{_text(words["device"])}</span></p>
<progress id="bar" max="1" value="{share}" aria-label="fraction of the FLOPs spent"></progress>
<p id="headline">{_text(words["headline"])}</p>
<p id="phase">{_text(words["phase"])}</p>
<p id="counts" role="status">{_text(words["counts"])}</p>
<p id="arms">{_text(words["arms"])}</p>
<p id="lost" role="alert" hidden></p>
</header>"""


def _figures(document: dict[str, Any]) -> str:
    """The places where the script draws, and the law as text."""
    words, shown = document["words"], document["shown"]["metric"]
    choices = "".join(
        f'<option value="{_text(name)}"{" selected" if name == shown else ""}>{_text(label)}'
        "</option>"
        for name, label in (("", "validation loss"), *document["choices"])
    )
    return f"""<p class="tools needs-script" hidden><label>charts of
<select id="shown">{choices}</select></label></p>
<div class="figures">
<section aria-labelledby="h-curves"><h2 id="h-curves">Training curves</h2>
<p class="tools needs-script" hidden><label>against <select id="curves-x">
<option value="tokens">tokens</option><option value="flops">FLOPs (6 N D)</option></select></label>
<label><input type="checkbox" id="trunks" checked> trunks (dashed)</label></p>
<div id="curves" class="figure"></div></section>
<section aria-labelledby="h-law"><h2 id="h-law">The law so far</h2>
<p id="law">{_text(words["law"])}</p>
<div id="frontier" class="figure"></div>
<div class="scroll" tabindex="0" role="region" aria-label="parameters of the law">
<table><thead><tr>{_head(("parameter", "value", "90% interval"))}</tr></thead>
<tbody id="law-params">{_rows(words["law_params"])}</tbody></table></div></section>
</div>
"""


def _lists(document: dict[str, Any]) -> str:
    """The table of runs and the list of warnings."""
    warnings = "".join(
        f"<li>{_text(w['time'][11:19])} {_text(w['label'])}: {_text(w['text'])}</li>"
        for w in document["warnings"]
    )
    return f"""<section aria-labelledby="h-runs"><h2 id="h-runs">Runs</h2>
<div class="scroll" tabindex="0" role="region" aria-labelledby="h-runs">
<table><thead><tr id="runs-head">{_head(document["columns"])}</tr></thead>
<tbody id="runs">{_rows(document["rows"])}</tbody></table></div>
<p id="more" class="faint">{_text(left_out_text(document))}</p></section>
<section aria-labelledby="h-warnings"><h2 id="h-warnings">Last warnings (UTC)</h2>
<ul id="warnings">{warnings or "<li>none</li>"}</ul></section>
"""
