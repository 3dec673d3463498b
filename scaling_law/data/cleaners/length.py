"""Drop documents of too few or too many words, or of words too short or too long on average.

The rule of Gopher (arXiv 2112.11446, appendix A.1.1). Words are what stands between spaces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from scaling_law.data.cleaners import Cleaner, Dropped, Judgement
from scaling_law.spec.values import Number


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the rule; the limits themselves are allowed.

    ``min_words`` and ``max_words`` are words of a document;
    ``min_mean`` and ``max_mean`` are characters of a word, on average over the document.
    """

    min_words: Annotated[int, Number("words of a document", low=0)] = 50
    max_words: Annotated[int, Number("words of a document", low=1)] = 100_000
    min_mean: Annotated[float, Number("characters of a word on average", low=0)] = 3.0
    max_mean: Annotated[float, Number("characters of a word on average", low=1)] = 10.0

    def __post_init__(self) -> None:
        if self.min_words > self.max_words or self.min_mean > self.max_mean:
            raise ValueError("the least is above the most, so that no document passes")


def _judge(settings: Settings) -> Callable[[str], Judgement]:
    few, many = f"fewer than {settings.min_words} words", f"more than {settings.max_words} words"
    short = f"words of fewer than {settings.min_mean:g} characters on average"
    long = f"words of more than {settings.max_mean:g} characters on average"

    def judge(text: str) -> Judgement:
        words = text.split()
        if len(words) < settings.min_words:
            return Dropped(few)
        if len(words) > settings.max_words:
            return Dropped(many)
        mean = sum(map(len, words)) / max(len(words), 1)
        if mean < settings.min_mean:
            return Dropped(short)
        return Dropped(long) if mean > settings.max_mean else None

    return judge


CLEANER = Cleaner(judge=_judge, settings=Settings)
