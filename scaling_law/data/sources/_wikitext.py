"""WikiText's parquet form: a row is a line, and articles follow one another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from scaling_law.data.sources._hub import HubSource

# " = Title = " opens an article, " = = Section = = " does not
_TITLE = re.compile(r" = [^=].* = \n?")


def articles(rows: Iterable[str]) -> Iterator[str]:
    """Lines -> one text per article, cut before each title."""
    lines: list[str] = []
    for row in rows:
        if _TITLE.fullmatch(row) and lines:
            yield "".join(lines)
            lines = []
        lines.append(row)
    if lines:
        yield "".join(lines)


def wikitext(config: str) -> HubSource:
    """The WikiText configuration ``config``, read whole and in order."""
    return HubSource(
        dataset="Salesforce/wikitext",
        config=config,
        sampled=False,
        default_bytes=None,
        to_documents=articles,
    )
