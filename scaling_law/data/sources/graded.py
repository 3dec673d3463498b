"""One domain of ``installed``, its documents sorted into thirds by how hard they are to learn.

The thirds are the components that ``data.mix`` and ``data.phases`` weigh, so that phases give a
curriculum: the easy third first, for example.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from scaling_law.data.sources import Document, ReadRequest, installed
from scaling_law.spec.values import Text

GRADES = ("easy", "medium", "hard")
_MEASURED_BYTES = 16_384  # of a document's beginning: a longer text compresses better


def _compressed_share(text: str) -> float:
    raw = text.encode()[:_MEASURED_BYTES]
    return len(zlib.compress(raw, 6)) / max(len(raw), 1)


_MEASURES: Mapping[str, Callable[[str], float]] = {
    "compression": _compressed_share,
    "length": lambda text: float(len(text.encode())),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which documents are read, and how they are sorted.

    ``by``: the measure that is low for easy documents: the share of its bytes that a document has
    when it is compressed, or its length in bytes.
    ``of``: the domain of ``installed``.
    """

    by: Annotated[str, Text("what is low for easy documents", tuple(_MEASURES))] = "compression"
    of: Annotated[str, Text("domain of installed", installed.CORPUS.domains)] = "py-code"


def _read(request: ReadRequest) -> Iterator[Document]:
    """Yield the documents of the asked grades; each grade has about a third of all text."""
    settings: Settings = request.settings
    measure = _MEASURES[settings.by]
    whole = dataclasses.replace(request, domains=frozenset({settings.of}), max_bytes=None)
    documents = list(installed.CORPUS.read(whole))
    documents.sort(key=lambda one: (measure(one.text), one.id))
    total, before = sum(len(one.text) for one in documents), 0
    for one in documents:
        middle = before + len(one.text) / 2
        grade = GRADES[int(middle / total * len(GRADES))]
        before += len(one.text)
        if grade in request.domains:
            yield Document(one.id, one.text, grade)


CORPUS = dataclasses.replace(
    installed.CORPUS,
    name="graded",
    description="one domain of the installed texts in thirds, by compressibility or length",
    domains=GRADES,
    read=_read,
    settings=Settings,
)
