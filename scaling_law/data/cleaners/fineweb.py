"""Drop web pages that are lists, menus or repeated lines.

The three rules that FineWeb adds to those of Gopher and C4 (arXiv 2406.17557).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from scaling_law.data.cleaners import Cleaner, Dropped, Judgement
from scaling_law.spec.values import Number

_MARKS = (".", "?", "!", '"', "”", "'", "…", "。", "？", "！")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the rules; a document at a limit is dropped.

    ``min_punctuated`` is the least lines that end with a punctuation mark, as a share of the lines;
    ``max_repeated`` is the most characters in lines that repeat an earlier one, as a share of the
    text;
    ``max_short`` is the most lines of fewer than ``short_chars`` characters, as a share of the
    lines.
    """

    min_punctuated: Annotated[float, Number("share of lines", low=0, high=1)] = 0.12
    max_repeated: Annotated[float, Number("share of characters", low=0, high=1)] = 0.1
    max_short: Annotated[float, Number("share of lines", low=0, high=1)] = 0.67
    short_chars: Annotated[int, Number("characters of a line", low=1)] = 30


def _judge(settings: Settings) -> Callable[[str], Judgement]:
    def judge(text: str) -> Judgement:
        lines = [line for line in map(str.strip, text.splitlines()) if line]
        if sum(line.endswith(_MARKS) for line in lines) <= settings.min_punctuated * len(lines):
            return Dropped("too few lines that end with a punctuation mark")
        chars = sum(map(len, lines))
        if chars - sum(map(len, set(lines))) >= max(settings.max_repeated * chars, 1):
            return Dropped("too much of the text in repeated lines")
        if sum(len(line) < settings.short_chars for line in lines) >= settings.max_short * len(
            lines
        ):
            return Dropped(f"too many lines of fewer than {settings.short_chars} characters")
        return None

    return judge


CLEANER = Cleaner(judge=_judge, settings=Settings)
