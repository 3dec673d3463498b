"""Corpora, one file each: ``data: {corpus: pile}`` is ``sources/pile.py``.

A user's own corpus is named by the path of its file: ``data: {corpus: mine.py}``. Files that begin
with ``_`` are shared code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from scaling_law.errors import ConfigError
from scaling_law.parts import NoSettings


@dataclass(frozen=True, slots=True)
class Document:
    """One text. ``id`` says where it is from; ``domain`` is one of its corpus's domains."""

    id: str
    text: str
    domain: str


@dataclass(frozen=True, kw_only=True)
class ReadRequest:
    """A request for documents of a corpus.

    ``domains`` are the domains to yield, never empty;
    ``max_bytes`` is the text that the caller needs, in bytes, so that a streamed source can stop;
    None for all;
    ``note`` takes one line about documents that are left out;
    ``settings`` is an instance of the corpus's ``settings``.
    """

    domains: frozenset[str]
    max_bytes: int | None = None
    note: Callable[[str], None] = print
    settings: Any = field(default_factory=NoSettings)


def nothing_missing() -> None:
    """The ``missing`` of a corpus that every installation has."""


def no_versions() -> dict[str, str]:
    """The ``versions`` of a corpus that comes from no package."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A named source of documents.

    ``licence`` is one line;
    ``how`` says in one line where the text is from, with its size;
    ``read`` yields documents in any order, duplicates allowed;
    ``state`` gives a cheap JSON value that changes when the documents change;
    ``missing`` says what must be installed first, None for nothing;
    ``versions`` gives the versions of the packages that the text is from;
    ``settings`` is the dataclass of the keys that a config may give beside the corpus's name.
    """

    name: str
    description: str
    licence: str
    how: str
    domains: tuple[str, ...]
    read: Callable[[ReadRequest], Iterator[Document]] = field(repr=False)
    state: Callable[[], Any] = field(repr=False)
    missing: Callable[[], str | None] = field(default=nothing_missing, repr=False)
    versions: Callable[[], dict[str, str]] = field(default=no_versions, repr=False)
    settings: type = NoSettings

    def documents(
        self,
        domains: tuple[str, ...] = (),
        *,
        max_bytes: int | None = None,
        note: Callable[[str], None] = print,
        settings: Any = None,
    ) -> Iterator[Document]:
        """Yield the documents of ``domains`` (all when empty), in any order, with duplicates.

        Raises ``ConfigError`` on an unknown domain, when something must be installed first,
        or when the source cannot be read.
        """
        unknown = sorted(set(domains) - set(self.domains))
        if unknown:
            raise ConfigError(
                f"data.domains: {self.name} has no domain {', '.join(unknown)}; "
                f"expected some of {', '.join(self.domains)}"
            )
        lacking = self.missing()
        if lacking is not None:
            raise ConfigError(f"data.corpus: {self.name}: {lacking}")
        wanted = frozenset(domains or self.domains)
        given = self.settings() if settings is None else settings
        return self.read(
            ReadRequest(domains=wanted, max_bytes=max_bytes, note=note, settings=given)
        )
