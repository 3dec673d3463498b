"""Keep the lines of a web page that are sentences, and drop pages that have too few.

Rules of C4 (arXiv 1910.10683, section 2.2): lines that do not end with a punctuation mark, have few
words, or name JavaScript, a policy or cookies are taken out; pages with a curly bracket or with
``lorem ipsum`` are dropped. Sentences are counted by their marks. C4 does four things more: it
drops pages with a word of its list of bad words, takes out citation marks such as [1], drops
repeats of three sentences, and drops pages that are not English.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from scaling_law.data.cleaners import Changed, Cleaner, Dropped, Judgement
from scaling_law.spec.values import Described, Number

_MARKS = (".", "?", "!", '"', "”")
_SENTENCE_END = re.compile(r"[.?!](?=[\s\"”')]|$)")
_NOTICES = (
    "javascript", "terms of use", "privacy policy", "cookie policy", "uses cookies",
    "use of cookies", "use cookies",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the rules.

    ``punctuation`` takes out lines that do not end with a mark of punctuation;
    ``min_line_words`` is how many words a line has at least;
    ``min_sentences`` is how many sentences a page has at least, of the lines that stay;
    ``brackets`` drops pages with a curly bracket, which are code.
    """

    punctuation: Annotated[bool, Described("lines must end with a mark")] = True
    min_line_words: Annotated[int, Number("words of a line", low=0)] = 5
    min_sentences: Annotated[int, Number("sentences of a page", low=0)] = 3
    brackets: Annotated[bool, Described("drop pages with a curly bracket")] = True


def _judge(settings: Settings) -> Callable[[str], Judgement]:
    def why_not(line: str) -> str:
        """Say why a line is taken out; "" where it stays."""
        if settings.punctuation and (not line.endswith(_MARKS) or line.endswith("...")):
            return "line without a mark at its end"
        if len(line.split()) < settings.min_line_words:
            return f"line of fewer than {settings.min_line_words} words"
        small = line.lower()
        return "line about JavaScript, a policy or cookies" * any(n in small for n in _NOTICES)

    def judge(text: str) -> Judgement:
        if "lorem ipsum" in text.lower():
            return Dropped("lorem ipsum")
        if settings.brackets and "{" in text:
            return Dropped("a curly bracket")
        counts: Counter[str] = Counter()
        stay = []
        for line in text.splitlines():
            stripped = line.strip()
            if why := why_not(stripped) if stripped else "":
                counts[why] += 1
            else:
                stay.append(line)
        if counts:
            text = "\n".join(stay).strip()
        if len(_SENTENCE_END.findall(text)) < settings.min_sentences:
            return Dropped(f"fewer than {settings.min_sentences} sentences left")
        return Changed(text, counts) if counts else None

    return judge


CLEANER = Cleaner(judge=_judge, settings=Settings)
