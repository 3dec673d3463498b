"""Spoil a share of the training documents, to measure what worse text costs.

The validation split stays as it is, and so it does under every rule after this one: losses of
spoiled and of good text compare. A larger share spoils all documents that a smaller one does, in
the same way. A spoiled document is about as long as before:

- ``swapped``: each of a sixth of its characters changes places with the next one;
- ``shuffled``: its words are in random order, the spaces and line breaks between them stay;
- ``repeated``: its first eighth, again and again;
- ``boilerplate``: a notice that has nothing to do with it, again and again.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from scaling_law.data.cleaners import Changed, Cleaner, Judgement
from scaling_law.spec.values import Number, Text

_SWAPPED = 1 / 6
_REPEATED = 8
_WORD = re.compile(r"\S+")
_NOTICE = (
    "This site uses cookies. By continuing you accept our terms of use and our privacy policy."
    " Sign in or subscribe to read more. All rights reserved.\n"
)


def _swapped(text: str, draw: random.Random) -> str:
    chars = list(text)
    at = 0
    while at + 1 < len(chars):
        if draw.random() < _SWAPPED:
            chars[at], chars[at + 1] = chars[at + 1], chars[at]
            at += 1
        at += 1
    return "".join(chars)


def _shuffled(text: str, draw: random.Random) -> str:
    words = _WORD.findall(text)
    draw.shuffle(words)
    given = iter(words)
    return _WORD.sub(lambda match: next(given), text)


def _filled(piece: str, length: int) -> str:
    return (piece * (length // len(piece) + 1))[:length]


_KINDS: dict[str, Callable[[str, random.Random], str]] = {
    "swapped": _swapped,
    "shuffled": _shuffled,
    "repeated": lambda text, draw: _filled(text[: max(1, len(text) // _REPEATED)], len(text)),
    "boilerplate": lambda text, draw: _filled(_NOTICE, len(text)),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the rule.

    ``share`` is the share of documents that are spoiled;
    ``kinds`` are the ways in which they are, each as often as another;
    ``seed`` draws other documents.
    """

    share: Annotated[float, Number("share of documents that are spoiled", low=0, high=1)] = 0.5
    kinds: tuple[Annotated[str, Text("how a document is spoiled", tuple(_KINDS))], ...] = tuple(
        _KINDS
    )
    seed: Annotated[int, Number("draws other documents", low=0, high=2**31)] = 0

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ValueError("kinds is empty, expected some; leave it out for all of them")


def _judge(settings: Settings) -> Callable[[str], Judgement]:
    def judge(text: str) -> Judgement:
        # the text alone decides: the order of documents does not matter
        key = f"{settings.seed} ".encode() + text.encode("utf-8", "surrogatepass")
        draw = random.Random(hashlib.sha256(key).digest())
        if draw.random() >= settings.share:
            return None
        kind = draw.choice(settings.kinds)
        return Changed(_KINDS[kind](text, draw), {kind: 1})

    return judge


CLEANER = Cleaner(judge=_judge, settings=Settings, training_only=True)
