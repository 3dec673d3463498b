"""``write_gallery``: one page over all experiments of a results folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from scaling_law.experiment.collection import (
    MULTIPLIER,
    MULTIPLIER_HEAD,
    Collection,
    Shown,
    multiplier_rows,
)
from scaling_law.experiment.findings import INTERVALS
from scaling_law.files.layout import SweepDir, atomic_write
from scaling_law.report import experiment, style
from scaling_law.report.destination import cannot_write, destination
from scaling_law.report.page import Section, bullets, card, page, paragraph, sentence, table
from scaling_law.report.plot import saved
from scaling_law.units import count_of

# Between the figures of two experiments while all are given classes together.
_BETWEEN = "\0"
_FOOTER = "Made by slaw (scaling_law). This file needs no network and no scripts."


def write_gallery(collection: Collection, out: Path | None = None) -> Path:
    """Write the page and the first figure of each experiment; returns the page's path.

    They go into the folder of the experiments, or where ``out`` says (``destination``). Raises
    ``ConfigError`` for a page that cannot be written there.
    """
    place = destination(SweepDir(collection.folder).report, out)
    anchors = _anchors(collection.shown)
    try:
        with style.applied():
            drawn = [
                "".join(
                    saved(experiment.plot(figure, f"{anchor}-{figure.name}"), place.figures)
                    for figure in one.analysed.findings.figures[:1]
                )
                for one, anchor in zip(collection.shown, anchors, strict=True)
            ]
        atomic_write(place.page, _page(collection, anchors, drawn))
    except OSError as problem:
        raise cannot_write(place, problem) from None
    return place.page


def _anchors(shown: Sequence[Shown]) -> list[str]:
    """A name for each experiment that a link and a file can have, no two alike."""
    anchors: list[str] = []
    for one in shown:
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", one.name) or "experiment"
        anchors.append(f"{name}-{len(anchors) + 1}" if name in anchors else name)
    return anchors


def _page(collection: Collection, anchors: Sequence[str], drawn: Sequence[str]) -> str:
    classed, rules = style.classed(_BETWEEN.join(drawn))
    figures = classed.split(_BETWEEN)
    sections = [
        _overview(collection, anchors),
        _multipliers(collection),
        *(
            experiment.summary_section(
                one.analysed,
                figure,
                heading=_heading(one),
                anchor=anchor,
                report=one.report,
            )
            for one, anchor, figure in zip(collection.shown, anchors, figures, strict=True)
        ),
        _not_shown(collection),
        _plain(collection),
    ]
    shown = [section for section in sections if section is not None]
    theme = rules + style.theme_css(f"{rules}{classed}")
    title = f"Experiments in “{collection.folder.resolve().name}”"
    return page(title, _lead(collection), shown, _FOOTER, theme)


def _heading(one: Shown) -> str:
    """The folder's name, and the experiment's where that is another."""
    same = one.name == one.analysed.name
    return one.name if same else f"{one.name} (experiment {one.analysed.name})"


def _lead(collection: Collection) -> str:
    claims = [claim for one in collection.shown for claim in one.analysed.findings.claims]
    words = [count_of(len(collection.shown), "experiment")]
    for standing, items in (
        ("not shown", collection.not_shown),
        ("without an experiment", collection.plain),
    ):
        words += [f"{count_of(len(items), 'sweep')} {standing}"] if items else []
    met = sum(claim.established is True for claim in claims)
    return f"{', '.join(words)}; {met} of {count_of(len(claims), 'claim')} established."


def _overview(collection: Collection, anchors: Sequence[str]) -> Section:
    cards = "".join(
        card(_heading(one), _share(one), (_others(one), one.analysed.question), anchor=anchor)
        for one, anchor in zip(collection.shown, anchors, strict=True)
    )
    body = paragraph(
        "A claim is established or contradicted by the runs, or not established: then a"
        " precondition is not met, and a note says which and what would meet it."
        f" {sentence(INTERVALS)}"
    )
    return Section(
        anchor="overview", heading="Overview", body=f'{body}<div class="cards">{cards}</div>\n'
    )


def _multipliers(collection: Collection) -> Section | None:
    rows = multiplier_rows(collection.multipliers)
    if not rows:
        return None
    body = table(MULTIPLIER, MULTIPLIER_HEAD, rows, (0, 1, 2, 6))
    return Section(anchor="multipliers", heading="Compute multipliers", body=body)


def _share(one: Shown) -> str:
    claims = one.analysed.findings.claims
    if not claims:
        return "no claims"
    met = sum(claim.established is True for claim in claims)
    return f"{met} of {len(claims)} established"


def _others(one: Shown) -> str:
    """The claims that are not established, and the runs without a result, counted."""
    claims = one.analysed.findings.claims
    counts = {
        "contradicted": sum(claim.established is False for claim in claims),
        "not established": sum(claim.established is None for claim in claims),
        "runs missing": len(one.analysed.evidence.missing),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _not_shown(collection: Collection) -> Section | None:
    if not collection.not_shown:
        return None
    items = [f"{one.sweep.path}: {one.why}" for one in collection.not_shown]
    return Section(anchor="not-shown", heading="Not shown", body=bullets(items))


def _plain(collection: Collection) -> Section | None:
    if not collection.plain:
        return None
    rows = [
        (one.sweep.path.name, one.runs, one.law or "no saved fit of these runs", one.command)
        for one in collection.plain
    ]
    caption = "Sweeps whose configs name no experiment, with the law of their saved fit"
    head = ("sweep", "finished runs", "law", "more of it")
    return Section(
        anchor="sweeps", heading="Other sweeps", body=table(caption, head, rows, (0, 2, 3))
    )
