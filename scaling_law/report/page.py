"""The page around the report: one file, no scripts, no request to anywhere, light and dark."""

from __future__ import annotations

import html
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

# Nothing may load or run; only the page's own styles apply.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'"
_STYLE = """
:root{--ink:#1f2328;--faint:#57606a;--paper:#fff;--soft:#f4f6f8;--line:#d0d7de;--accent:#0060a0;
--warn:#8a4b00;--warn-soft:#fff4e0;color-scheme:light dark}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--faint:#a4adb8;--paper:#171717;
--soft:#222426;--line:#3c4248;--accent:#6cb6ff;--warn:#f0b75e;--warn-soft:#33291a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main,header,footer{max-width:70rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2rem}footer{padding-bottom:3rem;color:var(--faint)}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem}
h2{font-size:1.4rem;margin:2.6rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line)}
h3{font-size:1.1rem;margin:1.6rem 0 .4rem}
p,li{max-width:46rem}a{color:var(--accent)}
nav ul{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:.8rem 0}
.lead{color:var(--faint);margin:.2rem 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(17rem,100%),1fr));gap:1rem;
margin:1rem 0}
.card{background:var(--soft);border:1px solid var(--line);border-radius:.6rem;padding:1rem 1.1rem}
.card h3{margin:0;font-size:.9rem;font-weight:600;color:var(--faint)}
.card .big{font-size:1.6rem;line-height:1.25;font-weight:700;margin:.25rem 0}
.card p{margin:.3rem 0 0}
.note{background:var(--warn-soft);border-left:4px solid var(--warn);padding:.6rem .9rem;
margin:.8rem 0;max-width:none}
.scroll{overflow-x:auto;max-width:100%;margin:.6rem 0}
.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
.caption{font-size:.9rem;color:var(--faint);margin:1.2rem 0 0}
th,td{padding:.3rem .65rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{border-bottom:2px solid var(--line);vertical-align:bottom}
tbody th{font-weight:600}.n{text-align:right}td.n{white-space:nowrap}
td:not(.n){min-width:6rem}td:last-child:not(.n){min-width:15rem}.id{white-space:nowrap}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(30rem,100%),1fr));
gap:1.6rem 1.4rem}
figure{margin:0;min-width:0}figure svg{display:block;width:100%;height:auto;min-width:30rem}
figcaption{font-size:.9rem;color:var(--faint)}
pre{background:var(--soft);border:1px solid var(--line);border-radius:.4rem;padding:.8rem;
overflow-x:auto;font-size:.85rem;line-height:1.45}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
summary{cursor:pointer;font-weight:600}
@media (max-width:40rem){body{font-size:15px}h1{font-size:1.5rem}.card .big{font-size:1.35rem}}
@media print{nav{display:none}body{font-size:10.5pt}main,header,footer{max-width:none;padding:0}
.scroll{overflow:visible}figure svg{min-width:0}table{font-size:6.5pt}
th,td{padding:.1rem .25rem}.id{white-space:normal;overflow-wrap:anywhere}
figure,.card,tr{break-inside:avoid}h2,h3{break-after:avoid}}
"""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with its anchor and its HTML."""

    anchor: str
    heading: str
    body: str


def page(title: str, lead: str, sections: Sequence[Section], footer: str, theme: str) -> str:
    """The whole document; ``theme`` are the figures' colours (``style.theme_css``)."""
    links = "".join(f'<li><a href="#{s.anchor}">{text(s.heading)}</a></li>' for s in sections)
    parts = "".join(
        f'<section aria-labelledby="{s.anchor}"><h2 id="{s.anchor}">{text(s.heading)}</h2>\n'
        f"{s.body}</section>\n"
        for s in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}{theme}</style></head>\n"
        f'<body><header><h1>{text(title)}</h1>\n<p class="lead">{text(lead)}</p>\n'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>\n{parts}</main>\n<footer><p>{text(footer)}</p></footer></body></html>\n"
    )


def text(value: object) -> str:
    """Anything as text of a page: whatever a run is called, it stays text."""
    return html.escape(str(value), quote=True)


def paragraph(words: object) -> str:
    """A paragraph of text."""
    return f"<p>{text(words)}</p>\n"


def note(words: object) -> str:
    """A paragraph that must not be overlooked."""
    return f'<p class="note" role="note">{text(words)}</p>\n'


def bullets(items: Sequence[object]) -> str:
    """A list of text; nothing for no items."""
    return f"<ul>{''.join(f'<li>{text(item)}</li>' for item in items)}</ul>\n" if items else ""


def card(heading: str, big: str, words: Sequence[str], raised: str = "") -> str:
    """A box with one large figure; ``raised`` follows it as an exponent."""
    lines = "".join(f"<p>{text(word)}</p>" for word in words if word)
    large = text(big) + (f"<sup>{text(raised)}</sup>" if raised else "")
    return f'<div class="card"><h3>{text(heading)}</h3><p class="big">{large}</p>{lines}</div>'


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[object]], words: int) -> str:
    """A table that scrolls on its own; the first ``words`` columns are text, the rest numbers."""
    kinds = ["id" if i == 0 else "" if i < words else "n" for i in range(len(head))]
    top = "".join(
        f'<th scope="col" class="{kind}">{text(cell)}</th>'
        for kind, cell in zip(kinds, head, strict=True)
    )
    lines = []
    for row in rows:
        first, *rest = (text(cell) for cell in row)
        cells = "".join(
            f'<td class="{kind}">{cell}</td>' for kind, cell in zip(kinds[1:], rest, strict=True)
        )
        lines.append(f'<tr><th scope="row" class="id">{first}</th>{cells}</tr>')
    # outside of the table, so that it does not scroll away with it
    name = f"t-{zlib.crc32(caption.encode()):08x}"
    return (
        f'<p class="caption" id="{name}">{text(caption)}</p>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}">'
        f'<table aria-labelledby="{name}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>\n"
    )


def drawing(svg: str, caption: str, label: str) -> str:
    """A figure with its caption; narrower than it can be read at, it scrolls."""
    return (
        f'<figure><div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">'
        f"{svg}</div><figcaption>{text(caption)}</figcaption></figure>\n"
    )


def listing(lines: str) -> str:
    """Text as typed: commands, a config."""
    return f'<pre tabindex="0"><code>{text(lines)}</code></pre>\n'
