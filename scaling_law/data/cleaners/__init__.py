"""Cleaners, one file each: a rule by which documents of a text are dropped or changed.

``data: {clean: [length, {name: language, languages: [en]}]}`` applies ``cleaners/length.py`` and
then ``cleaners/language.py``. A rule of one document has ``judge``. A rule that compares documents
has ``compare``; it comes after those of one document, and sees each distinct text once. A user's
own rule is named by the path of its file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from scaling_law.data.sources import no_versions, nothing_missing
from scaling_law.parts import NoSettings


@dataclass(frozen=True, slots=True)
class Dropped:
    """A document is dropped. ``why`` is a few words, the same for all with one reason."""

    why: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A document has another text.

    ``text``: the new text.
    ``counts``: how often what was changed, such as ``{"e-mail address": 2}``.
    """

    text: str
    counts: Mapping[str, int]


# What a rule says of a document; None where it stays as it is.
Judgement: TypeAlias = Dropped | Changed | None


@dataclass(frozen=True, kw_only=True)
class Documents:
    """The documents that a rule compares, in the order of their hashes.

    ``count``: how many there are; they are numbered from 0.
    ``raw``: gives a document's text in UTF-8 by its number.
    ``in_val``: says whether a document is of the validation split.
    ``place``: gives the path of a file that the settings name.
    ``note``: takes one line of news.
    """

    count: int
    raw: Callable[[int], bytes]
    in_val: Callable[[int], bool]
    place: Callable[[str], str]
    note: Callable[[str], None] = print


def no_files(settings: Any) -> Sequence[str]:
    """The ``files`` of a rule that reads none."""
    return ()


def nothing_to_check(settings: Any, place: Callable[[str], str]) -> None:
    """The ``check`` of a rule that reads no files."""


@dataclass(frozen=True, kw_only=True)
class Cleaner:
    """A rule.

    ``judge``: takes the settings, once a text, and returns a function that judges one document.
    ``compare``: takes the settings and the ``Documents``, and yields the number of each document
    that is dropped, with the reason.
    ``settings``: the dataclass of the keys that a config may give beside the rule's name.
    ``files``: gives the files and folders that the settings name, as the config spells them.
    ``check``: takes the settings and what gives the path of such a file. It reads the files before
    the text is read, and raises ``ConfigError`` for one that cannot be used.
    ``missing``: says what must be installed first, None for nothing.
    ``versions``: gives the versions of the packages that decide.
    ``training_only``: the rule and those after it leave the validation split alone. What a
    document is before it decides the split, the order, and which documents are equal.
    """

    judge: Callable[[Any], Callable[[str], Judgement]] | None = field(default=None, repr=False)
    compare: Callable[[Any, Documents], Iterator[tuple[int, str]]] | None = field(
        default=None, repr=False
    )
    settings: type = NoSettings
    files: Callable[[Any], Sequence[str]] = field(default=no_files, repr=False)
    check: Callable[[Any, Callable[[str], str]], None] = field(default=nothing_to_check, repr=False)
    missing: Callable[[], str | None] = field(default=nothing_missing, repr=False)
    versions: Callable[[], dict[str, str]] = field(default=no_versions, repr=False)
    training_only: bool = False

    def __post_init__(self) -> None:
        if (self.judge is None) == (self.compare is None):
            raise ValueError("expected one of judge and compare")
