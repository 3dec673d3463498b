"""Corpora, one file each: ``data: {corpus: pile}`` is ``sources/pile.py``.

A user's own corpus is named by the path of its file: ``data: {corpus: mine.py}``. Files that begin
with ``_`` are shared code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from scaling_law.errors import ConfigError, one_line
from scaling_law.parts import NoSettings
from scaling_law.units import count_of


@dataclass(frozen=True, slots=True)
class Document:
    """One text. ``id`` says where it is from; ``domain`` is one of its corpus's domains."""

    id: str
    text: str
    domain: str


@dataclass(kw_only=True)
class Tally:
    """Count what a reader reads and what it leaves out.

    ``read``: the number of things read, by kind, such as ``parquet file``.
    ``left_out``: the number of things left out, by (kind, reason).
    ``remarks``: the number of things read in a way that a user may not expect, by (kind, how).
    ``first``: the first thing of each (kind, reason or how), as an example.
    """

    read: Counter[str] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    remarks: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: dict[tuple[str, str], str] = field(default_factory=dict)

    def leave_out(self, kind: str, reason: str, example: object, count: int = 1) -> None:
        """Count ``count`` things of a kind that are left out for ``reason``."""
        self.left_out[kind, reason] += count
        self.first.setdefault((kind, reason), one_line(str(example)))

    def remark(self, kind: str, how: str, example: object) -> None:
        """Count a thing that is read, but in a way that a user may not expect."""
        self.remarks[kind, how] += 1
        self.first.setdefault((kind, how), one_line(str(example)))

    def left_out_lines(self) -> list[str]:
        """Say what is left out, one line a reason."""
        return [
            f"left out {count_of(count, kind)}: {reason}{self._example(kind, reason)}"
            for (kind, reason), count in sorted(self.left_out.items())
        ]

    def _example(self, kind: str, reason: str) -> str:
        return f" (first: {self.first[kind, reason]})"

    def lines(self) -> list[str]:
        """Say what is read and what is left out, one line a kind and reason."""
        read = ", ".join(count_of(count, kind) for kind, count in sorted(self.read.items()))
        remarks = [
            f"{count_of(count, kind)} {how}{self._example(kind, how)}"
            for (kind, how), count in sorted(self.remarks.items())
        ]
        return [*([f"read {read}"] if read else []), *remarks, *self.left_out_lines()]

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""

        def listed(counts: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
            return [
                {"what": kind, "why": why, "count": count, "first": self.first[kind, why]}
                for (kind, why), count in sorted(counts.items())
            ]

        return {
            "read": dict(sorted(self.read.items())),
            "remarks": listed(self.remarks),
            "left_out": listed(self.left_out),
        }


@dataclass(frozen=True, kw_only=True)
class ReadRequest:
    """A request for documents of a corpus.

    ``domains``: the domains to yield, never empty.
    ``max_bytes``: bytes of text that the caller needs, so that a streamed source can stop; None
    for all.
    ``note``: takes one line of news.
    ``text_key``: the key or column that holds the text; None for the source's own.
    ``tally``: counts what is read and what is left out.
    ``settings``: an instance of the corpus's ``settings``.
    ``section``: the section of the config that names the corpus, for messages.
    """

    domains: frozenset[str]
    max_bytes: int | None = None
    note: Callable[[str], None] = print
    text_key: str | None = None
    tally: Tally = field(default_factory=Tally)
    settings: Any = field(default_factory=NoSettings)
    section: str = "data"


def nothing_missing() -> None:
    """The ``missing`` of a corpus that every installation has."""


def no_versions() -> dict[str, str]:
    """The ``versions`` of a corpus that comes from no package."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A named source of documents.

    ``licence``: one line.
    ``how``: where the text is from, in one line with its size.
    ``domains``: the names of its parts, at least one.
    ``read``: yields documents in any order, duplicates allowed.
    ``state``: gives a cheap JSON value that changes when the documents change.
    ``missing``: says what must be installed first, None for nothing.
    ``unreachable``: says why the text is not available now, None where it is; it may ask the
    network for a few seconds.
    ``versions``: gives the versions of the packages that the text is from.
    ``settings``: the dataclass of the keys that a config may give beside the corpus's name.
    ``has_keys``: whether the documents are rows, whose text ``text_key`` may name.
    """

    name: str
    description: str
    licence: str
    how: str
    domains: tuple[str, ...]
    read: Callable[[ReadRequest], Iterator[Document]] = field(repr=False)
    state: Callable[[], Any] = field(repr=False)
    missing: Callable[[], str | None] = field(default=nothing_missing, repr=False)
    unreachable: Callable[[], str | None] = field(default=nothing_missing, repr=False)
    versions: Callable[[], dict[str, str]] = field(default=no_versions, repr=False)
    settings: type = NoSettings
    has_keys: bool = False

    def __post_init__(self) -> None:
        if not self.domains:
            raise ValueError("domains is empty, expected at least one name")

    def check_ready(self, text_key: str | None = None, section: str = "data") -> None:
        """Raise ``ConfigError`` where something must be installed first, or a key is of no use.

        ``section`` is the section of the config that names the corpus.
        """
        lacking = self.missing()
        if lacking is not None:
            raise ConfigError(f"{section}.corpus: {self.name}: {lacking}")
        if text_key is not None and not self.has_keys:
            raise ConfigError(
                f"{section}.text_key: the documents of {self.name} are not rows with keys; leave it"
                " out"
            )

    def documents(
        self,
        domains: tuple[str, ...] = (),
        *,
        max_bytes: int | None = None,
        note: Callable[[str], None] = print,
        text_key: str | None = None,
        tally: Tally | None = None,
        settings: Any = None,
        section: str = "data",
    ) -> Iterator[Document]:
        """Yield the documents of ``domains`` (all when empty), in any order, with duplicates.

        ``tally`` counts what is read and what is left out. ``section`` is the section of the config
        that names the corpus. Raises ``ConfigError`` on an unknown
        domain, when something must be installed first, or when the source cannot be read.
        """
        unknown = sorted(set(domains) - set(self.domains))
        if unknown:
            raise ConfigError(
                f"{section}.domains: {self.name} has no domain {', '.join(unknown)}; "
                f"expected some of {', '.join(self.domains)}"
            )
        self.check_ready(text_key, section)
        request = ReadRequest(
            domains=frozenset(domains or self.domains),
            max_bytes=max_bytes,
            note=note,
            text_key=text_key,
            settings=self.settings() if settings is None else settings,
            tally=tally if tally is not None else Tally(),
            section=section,
        )
        return self.read(request)
