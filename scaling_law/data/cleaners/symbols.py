"""Drop documents that are mostly symbols or lists, or have hardly a common word.

The rules of Gopher (arXiv 2112.11446, appendix A.1.1). They are made for English prose: source code
fails them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from scaling_law.data.cleaners import Cleaner, Dropped, Judgement
from scaling_law.spec.values import Number, Text

_BULLETS = ("•", "-", "*")
_ELLIPSES = ("...", "…")
_LETTER = re.compile(r"[^\W\d_]")
_COMMON = ("the", "be", "to", "of", "and", "that", "have", "with")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the rules.

    ``max_symbols`` is the most hashes, or ellipses, as a share of the words;
    ``max_bullets`` is the most lines that begin with a bullet, as a share of the lines;
    ``max_ellipses`` is the most lines that end with an ellipsis, as a share of the lines;
    ``min_alphabetic`` is the least words with a letter, as a share of the words;
    ``min_common`` is how many of the ``common`` words a document has at least.
    """

    max_symbols: Annotated[float, Number("hashes, or ellipses, of the words", low=0)] = 0.1
    max_bullets: Annotated[float, Number("share of lines with a bullet", low=0, high=1)] = 0.9
    max_ellipses: Annotated[float, Number("share of lines with an ellipsis", low=0, high=1)] = 0.3
    min_alphabetic: Annotated[float, Number("share of words with a letter", low=0, high=1)] = 0.8
    min_common: Annotated[int, Number("of the common words", low=0)] = 2
    common: tuple[Annotated[str, Text("a word in small letters")], ...] = _COMMON

    def __post_init__(self) -> None:
        if self.min_common > len(set(self.common)):
            raise ValueError(
                f"min_common is {self.min_common}, and there are {len(set(self.common))} common"
                " words"
            )


def _judge(settings: Settings) -> Callable[[str], Judgement]:
    common = re.compile(rf"\b(?:{'|'.join(map(re.escape, settings.common))})\b", re.IGNORECASE)

    def judge(text: str) -> Judgement:
        each = text.split()
        words = max(len(each), 1)
        ellipses = sum(map(text.count, _ELLIPSES))
        if max(text.count("#"), ellipses) > settings.max_symbols * words:
            return Dropped("too many hashes or ellipses")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if sum(line.startswith(_BULLETS) for line in lines) > settings.max_bullets * len(lines):
            return Dropped("too many lines with a bullet")
        if sum(line.endswith(_ELLIPSES) for line in lines) > settings.max_ellipses * len(lines):
            return Dropped("too many lines that end with an ellipsis")
        # word by word: one pattern for the whole text takes hours for a line of a million dashes
        if sum(map(bool, map(_LETTER.search, each))) < settings.min_alphabetic * words:
            return Dropped("too few words with a letter")
        if settings.min_common and not _has(common, text, settings.min_common):
            return Dropped("too few common words")
        return None

    return judge


def _has(common: re.Pattern[str], text: str, least: int) -> bool:
    """Whether the text has this many of the words, and stop reading once it has."""
    seen: set[str] = set()
    for match in common.finditer(text):
        seen.add(match[0].lower())
        if len(seen) >= least:
            return True
    return False


CLEANER = Cleaner(judge=_judge, settings=Settings)
