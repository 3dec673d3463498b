"""A page for each experiment with its findings on the records that ship with the repository."""

from __future__ import annotations

from collections.abc import Iterator

from scaling_law.experiment.collection import Collection, Shown
from scaling_law.experiment.findings import Findings
from tools.site.markdown import block, code, plain, table

_LEAD = """# Experiments

Each is a question with its sweep and its analysis. The findings are those of the records in
`results/reference`, trained on 2 CPU cores; `slaw report results/reference` makes the same from
them, and `slaw run NAME` trains them on your machine. A claim is *established* or *contradicted* by
the runs, or *not established*: then a precondition is not met, and the text says which.
[How experiments work](../experiments.md).
"""


def pages(collection: Collection) -> Iterator[tuple[str, str]]:
    """The path and the text of each page, the list of experiments first."""
    rows = [
        (
            f"[{code(one.name)}]({one.name}.md)",
            plain(one.analysed.question),
            plain(one.analysed.findings.counts),
        )
        for one in collection.shown
    ]
    yield "gallery/index.md", f"{_LEAD}\n{table(('experiment', 'question', 'claims'), rows)}"
    for one in collection.shown:
        yield f"gallery/{one.name}.md", "\n".join(_sections(one))


def figures(collection: Collection) -> Iterator[tuple[str, bytes]]:
    """The path and the content of each figure, as SVG."""
    from scaling_law.report import experiment, style

    with style.applied():
        for one in collection.shown:
            for figure in one.analysed.findings.figures:
                name = f"{one.name}-{figure.name}"
                drawn = experiment.plot(figure, name).make()
                assert drawn is not None, f"{name} draws nothing"
                yield f"gallery/{name}.svg", style.rendered_svg(drawn)


def _sections(one: Shown) -> Iterator[str]:
    findings = one.analysed.findings
    yield f"# {one.name}\n"
    yield f"*{plain(one.analysed.question)}*\n"
    yield plain(findings.verdict) + "\n"
    yield block(f"slaw run {one.name}\nslaw report results/{one.name}", "sh")
    for figure in findings.figures:
        shows = plain(figure.caption)
        yield f"![{shows}]({one.name}-{figure.name}.svg)\n\n{shows}\n"
    if findings.claims:
        rows = [(c.standing, plain(c.says), plain(c.because)) for c in findings.claims]
        yield f"## Claims\n\n{table(('standing', 'claim', 'because'), rows)}"
    for number, found in enumerate(findings.tables):
        heading = "## Tables\n\n" if number == 0 else ""
        cells = [[plain(cell) for cell in row] for row in found.rows]
        yield f"{heading}{plain(found.caption)}\n\n{table([*map(plain, found.head)], cells)}"
    if findings.literature:
        beside = [tuple(map(plain, (p.what, p.theirs, p.ours, p.source)))
                  for p in findings.literature]  # fmt: skip
        head = ("", "theirs", "ours", "source")
        yield f"## Beside the literature\n\n{table(head, beside)}"
    yield from (f"Note: {plain(note)}\n" for note in findings.notes)
    yield f"## Measures\n\n{_measures(findings)}"


def _measures(findings: Findings) -> str:
    rows = [
        (code(name), "–" if value is None else f"{value:.4g}", plain(findings.unit(name)))
        for name, value in findings.measures.items()
    ]
    return table(("name", "value", "unit"), rows)
