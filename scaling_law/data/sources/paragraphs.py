"""The texts of ``installed`` cut at blank lines: short documents that have nothing to do with each
other once they are shuffled, so that a sequence holds several.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from scaling_law.data.sources import Document, ReadRequest, installed
from scaling_law.spec.values import Number


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which paragraphs are read.

    ``shortest``: characters of a paragraph below which it is left out.
    ``longest``: characters above which it is left out.
    """

    shortest: Annotated[int, Number("characters of a paragraph", low=1, high=100_000)] = 48
    longest: Annotated[int, Number("characters of a paragraph", low=1, high=100_000)] = 192

    def __post_init__(self) -> None:
        if self.longest < self.shortest:
            raise ValueError(f"longest {self.longest} is below shortest {self.shortest}")


def _read(request: ReadRequest) -> Iterator[Document]:
    settings: Settings = request.settings
    for document in installed.CORPUS.read(request):
        for number, text in enumerate(document.text.split("\n\n")):
            if settings.shortest <= len(text.strip()) <= settings.longest:
                yield Document(f"{document.id}#{number}", text, document.domain)
            else:
                request.tally.leave_out("paragraph", "too short or too long", document.id)


CORPUS = dataclasses.replace(
    installed.CORPUS,
    name="paragraphs",
    description="paragraphs of the installed texts, each a document of its own",
    read=_read,
    settings=Settings,
)
