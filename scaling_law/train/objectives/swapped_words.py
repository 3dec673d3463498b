"""Each position predicts the next token, and training reads some words swapped (Wei and Zou 2019).

A word is a ``separator`` and the tokens up to the next one. Neighbours are paired anew in each
step, and ``share`` of the words change places with their neighbour (arXiv 1901.11196 swaps any two
words of a sentence). The words at the ends of a sequence, which may be cut, stay. What is predicted
is the swapped text. Measurements read the text as it is: losses compare with those of
``next_token``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from scaling_law.data.batch import Batch
from scaling_law.spec.values import Number
from scaling_law.train.objectives import ViewOf, next_token
from scaling_law.train.objectives._marks import Marks, text_of

BYTES, SPACE = 257, 32  # the vocabulary of bytes, and the space among them


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the swaps.

    ``share`` is the share of the words that change places;
    ``separator`` is the id of the token that a word begins with; None for the space of a text in
    bytes.
    """

    share: Annotated[float, Number("share of words that change places", low=0, high=1)] = 0.1
    separator: Annotated[
        int | None, Number("id that a word begins with; null for the space byte", low=0, high=1e9)
    ] = None


def augment(batch: Batch, settings: Settings, of: ViewOf) -> Batch:
    """Swap some neighbouring words."""
    import numpy as np

    ids = text_of(batch, Marks(), 0)
    rng = np.random.default_rng(of.seed)
    separator = SPACE if settings.separator is None else settings.separator
    words = np.cumsum(ids == separator, axis=1)
    last = words[:, -1:]
    # word w and its neighbour are pair (w + parity) // 2
    parity = rng.integers(0, 2, size=(len(ids), 1))
    pairs, second = np.divmod(words + parity, 2)
    first_word = 2 * pairs - parity
    swaps = np.take_along_axis(rng.random(ids.shape) < settings.share, pairs, axis=1)
    swaps &= (first_word > 0) & (first_word + 1 < last)
    order = np.argsort(2 * pairs + np.where(swaps, 1 - second, second), axis=1, kind="stable")
    whole = np.take_along_axis(ids, order, axis=1)
    return dataclasses.replace(batch, inputs=whole[:, :-1], targets=whole[:, 1:])


def _refusal(settings: Settings, vocab_size: int, n_ctx: int) -> str:
    if settings.separator is None and vocab_size != BYTES:
        why = f"what separates words in a vocabulary of {vocab_size} ids is not known"
    elif settings.separator is not None and settings.separator >= vocab_size:
        why = f"the vocabulary has {vocab_size} ids, and separator is {settings.separator}"
    else:
        return ""
    return f"{why}; expected text in bytes, or objective.separator: the id that a word begins with"


OBJECTIVE = dataclasses.replace(
    next_token.OBJECTIVE,
    augment=augment,
    reads_text=True,
    settings=Settings,
    refusal=_refusal,
)
