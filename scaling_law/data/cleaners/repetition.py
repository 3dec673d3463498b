"""Drop documents that repeat their own lines, paragraphs or phrases.

The rules and limits of Gopher (arXiv 2112.11446, table A1): the share of lines and paragraphs that
repeat an earlier one, the share of bytes in them, the share of bytes in the most frequent phrase of
2 to 4 words, and in phrases of 5 to 10 words that occur before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.cleaners import Cleaner, Dropped, Judgement
from scaling_law.data.words import BETWEEN_SPACES, Words, grams, words_of
from scaling_law.spec.values import Number

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_PARAGRAPHS = re.compile(r"\n{2,}")
_LINES = re.compile(r"\n+")
_TOP = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the rules.

    ``max_lines`` is the most repeated lines, or paragraphs, as a share of all;
    ``max_line_bytes`` is the most bytes in repeated lines, or paragraphs, as a share of the text;
    ``phrases`` scales the limits on phrases: 2 allows twice as much, 0 checks none.
    """

    max_lines: Annotated[float, Number("share of repeated lines", low=0, high=1)] = 0.3
    max_line_bytes: Annotated[float, Number("share of bytes in them", low=0, high=1)] = 0.2
    phrases: Annotated[float, Number("times Gopher's limits on phrases", low=0, high=100)] = 1.0


def _judge(settings: Settings) -> Callable[[str], Judgement]:
    def judge(text: str) -> Judgement:
        for what, pieces in (
            ("paragraphs", _PARAGRAPHS.split(text)),
            ("lines", _LINES.split(text)),
        ):
            count, chars = _repeated(pieces)
            if count > settings.max_lines * len(pieces):
                return Dropped(f"too many repeated {what}")
            if chars > settings.max_line_bytes * len(text):
                return Dropped(f"too much of the text in repeated {what}")
        return _phrases(text, settings.phrases) if settings.phrases else None

    return judge


def _repeated(pieces: Sequence[str]) -> tuple[int, int]:
    """How many pieces repeat an earlier one, and their characters."""
    distinct = set(pieces)
    whole = sum(map(len, pieces)) - sum(map(len, distinct))
    return len(pieces) - len(distinct), whole


def _phrases(text: str, scale: float) -> Judgement:
    import numpy as np

    raw = text.encode("utf-8", "replace")
    words = words_of(raw, BETWEEN_SPACES)
    hashes = words.hashes
    for n in range(2, 1 + max(_REPEATED)):
        if len(words.hashes) < n:
            return None
        hashes = grams(words, n, hashes)
        order = np.argsort(hashes, kind="stable")
        again = hashes[order[1:]] == hashes[order[:-1]]
        if not again.any():
            return None  # neither does a longer phrase occur twice
        if n in _TOP and _most_frequent(words, n, order, again) > scale * _TOP[n] * len(raw):
            return Dropped(f"too much of the text in one phrase of {n} words")
        if n in _REPEATED:
            covered = np.zeros(len(words.hashes) + 1, dtype=np.int64)
            repeats = order[1:][again]
            np.add.at(covered, repeats, 1)
            np.add.at(covered, repeats + n, -1)
            chars = int(words.sizes[np.cumsum(covered)[:-1] > 0].sum())
            if chars > scale * _REPEATED[n] * len(raw):
                return Dropped(f"too much of the text in repeated phrases of {n} words")
    return None


def _most_frequent(
    words: Words, n: int, order: npt.NDArray[np.intp], again: npt.NDArray[np.bool_]
) -> int:
    """The bytes of the most frequent phrase of ``n`` words, all its occurrences together.

    ``order`` sorts phrases by hash; ``again`` says which have the hash of the one before.
    """
    import numpy as np

    starts = np.flatnonzero(np.concatenate(([True], ~again)))
    counts = np.diff(np.concatenate((starts, [len(order)])))
    top = int(np.argmax(counts))
    first = int(order[starts[top]])
    return int(counts[top] * (words.sizes[first : first + n].sum() + n - 1))


CLEANER = Cleaner(judge=_judge, settings=Settings)
