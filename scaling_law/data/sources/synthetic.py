"""Letters from a Markov chain of a chosen order, whose entropy rate is known exactly.

No model can score below ``entropy_rate_nats(order)`` per byte, so the true irreducible loss is
known and a fitted one can be checked. ``floor_nats`` is what the best model scores on sequences of
the bytes tokenizer, their first letters and separators included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np
import numpy.typing as npt

from scaling_law.data.shuffle import uniforms
from scaling_law.data.sources import Corpus, Document, ReadRequest
from scaling_law.spec.values import Number

ALPHABET = " etaoinshrdlucmfwypvbgkjqxz"
DOCUMENT_CHARS = 2_000
DEFAULT_BYTES = 20_000_000
# A chain of order 4 has a table of 14 million probabilities.
MOST_ORDER = 3
_BLOCK = 500  # documents drawn together
_DOMAIN = "markov"
_CHAIN_STREAM, _TEXT_STREAM = 1, 2
# Powers of a uniform make few letters likely after each pair; 6 gives 2.84 bits a letter.
_SPARSITY = 6.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keys of the chain.

    ``order``: the letters before a letter that decide how likely it is.
    """

    order: Annotated[int, Number("letters that decide the next", low=1, high=MOST_ORDER)] = 2


@cache
def transitions(order: int = 2) -> Floats:
    """P(next letter | context), [contexts = letters^order, letters].

    A context's number has its letters as digits, the oldest first.
    """
    letters = len(ALPHABET)
    popularity = 1.0 / (np.arange(letters) + 2.0)
    draws = uniforms(_CHAIN_STREAM, 0, letters ** (order + 1)).reshape(letters**order, letters)
    weights = popularity * (draws**_SPARSITY + 1e-6)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


@cache
def stationary(order: int = 2) -> Floats:
    """Long-run probability of each context, [contexts]."""
    letters = len(ALPHABET)
    chain = transitions(order)
    contexts = np.full(letters**order, 1.0 / letters**order)
    for _ in range(10_000):
        # context (a, b) moves to (b, c): sum over the oldest letter
        after = (contexts[:, None] * chain).reshape(letters, letters**order).sum(axis=0)
        if np.abs(after - contexts).sum() < 1e-15:
            break
        contexts = after
    return np.asarray(contexts / contexts.sum(), dtype=np.float64)


@cache
def entropy_nats(order: int, known: int) -> float:
    """Entropy of a letter of which the ``known`` letters before are known, in nats."""
    letters = len(ALPHABET)
    joint = stationary(order)[:, None] * transitions(order)
    # the oldest letters of the context are the first digits of its number
    joint = joint.reshape(letters ** (order - known), letters**known, letters).sum(axis=0)
    shares = joint / joint.sum(axis=1, keepdims=True)
    return float(-(joint * np.log(shares)).sum())


def entropy_rate_nats(order: int = 2) -> float:
    """Entropy per letter (one byte), in nats."""
    return entropy_nats(order, order)


def floor_nats(order: int, n_ctx: int) -> float:
    """The least mean loss of a model with this many tokens of context, in nats per token.

    It knows the chain. The first tokens of a sequence have fewer letters before them than the
    chain's order, and before every token the document ends with probability 1 / (letters + 1),
    which is the cost of the separators. (After a separator the first letters cost a little more: a
    ten-thousandth of the loss.)
    """
    known = (min(place, order) for place in range(1, n_ctx + 1))
    letters = sum(entropy_nats(order, count) for count in known) / n_ctx
    end = 1 / (DOCUMENT_CHARS + 1)
    separators = -(end * math.log(end) + (1 - end) * math.log1p(-end))
    return (1 - end) * letters + separators


def sample_documents(first: int, count: int, order: int = 2) -> list[str]:
    """Documents ``first`` to ``first + count``, each of ``DOCUMENT_CHARS`` letters."""
    letters = len(ALPHABET)
    contexts = letters**order
    draws = uniforms(_TEXT_STREAM, first * DOCUMENT_CHARS, count * DOCUMENT_CHARS)
    draws = draws.reshape(count, DOCUMENT_CHARS)
    # row s of the table lies in [s, s + 1): one binary search serves every state
    table = (np.arange(contexts)[:, None] + np.cumsum(transitions(order), axis=1)).ravel()
    context = np.searchsorted(np.cumsum(stationary(order)), draws[:, 0]).clip(max=contexts - 1)
    text = np.empty((count, DOCUMENT_CHARS), dtype=np.uint8)
    for place in range(order):
        text[:, place] = context // letters ** (order - 1 - place) % letters
    for place in range(order, DOCUMENT_CHARS):
        drawn = np.searchsorted(table, context + draws[:, place], side="right")
        letter = (drawn - context * letters).clip(0, letters - 1)
        text[:, place] = letter
        context = context % letters ** (order - 1) * letters + letter
    codes = np.frombuffer(ALPHABET.encode(), dtype=np.uint8)[text]
    return [row.tobytes().decode() for row in codes]


def _read(request: ReadRequest) -> Iterator[Document]:
    total = -(-(request.max_bytes or DEFAULT_BYTES) // DOCUMENT_CHARS)
    for first in range(0, total, _BLOCK):
        count = min(_BLOCK, total - first)
        block = sample_documents(first, count, request.settings.order)
        for number, text in enumerate(block, first):
            yield Document(f"synthetic:{number}", text, _DOMAIN)


CORPUS = Corpus(
    name="synthetic",
    description="Markov chain of letters (order 2) with an exactly known entropy rate",
    licence="none: generated",
    how="generated, 20 MB unless max_bytes says otherwise",
    domains=(_DOMAIN,),
    read=_read,
    state=lambda: {"reader": 1},
    settings=Settings,
)
