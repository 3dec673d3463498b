"""Corpora, one file each: ``data: {corpus: pile}`` is ``sources/pile.py``.

Files that begin with ``_`` are shared code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from scaling_law.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Document:
    """One text. ``id`` says where it came from; ``domain`` is one of its corpus's domains."""

    id: str
    text: str
    domain: str


@dataclass(frozen=True, kw_only=True)
class ReadRequest:
    """What a corpus is asked for.

    ``domains`` to yield (never empty); ``max_bytes`` of text the caller will keep (None: all),
    which lets a streamed source stop; ``note`` takes one line about anything left out.
    """

    domains: frozenset[str]
    max_bytes: int | None = None
    note: Callable[[str], None] = print


def nothing_missing() -> None:
    """The ``missing`` of a corpus that every installation has."""


def no_versions() -> dict[str, str]:
    """The ``versions`` of a corpus that comes from no package."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A named source of documents.

    ``licence`` and ``how`` (how it is had, with its size) are one line each. ``read`` yields
    documents in any order, duplicates allowed. ``state`` is a cheap JSON value that changes
    when the documents would. ``missing`` says what must be installed first, None if nothing.
    ``versions`` are those of the packages the text comes from.
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

    def documents(
        self,
        domains: tuple[str, ...] = (),
        *,
        max_bytes: int | None = None,
        note: Callable[[str], None] = print,
    ) -> Iterator[Document]:
        """The documents of ``domains`` (all when empty), in any order, duplicates allowed.

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
        return self.read(ReadRequest(domains=wanted, max_bytes=max_bytes, note=note))
