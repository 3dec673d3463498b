"""Letters from a second-order Markov chain, whose entropy rate is known exactly.

No model can score below ``entropy_rate_nats()`` per byte, so the true irreducible loss is known
and a fitted one can be checked. (With the bytes tokenizer; separators and the first two letters
of each document add a little.)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from scaling_law.data.shuffle import uniforms
from scaling_law.data.sources import Corpus, Document, ReadRequest

ALPHABET = " etaoinshrdlucmfwypvbgkjqxz"
DOCUMENT_CHARS = 2_000
DEFAULT_BYTES = 20_000_000
_BLOCK = 500  # documents drawn together
_DOMAIN = "markov"
_CHAIN_STREAM, _TEXT_STREAM = 1, 2
# Powers of a uniform make few letters likely after each pair; 6 gives 2.84 bits a letter.
_SPARSITY = 6.0

Floats = npt.NDArray[np.float64]


@cache
def transitions() -> Floats:
    """P(next letter | pair), [pairs = letters^2, letters]; pair = first * letters + second."""
    letters = len(ALPHABET)
    popularity = 1.0 / (np.arange(letters) + 2.0)
    draws = uniforms(_CHAIN_STREAM, 0, letters**3).reshape(letters**2, letters)
    weights = popularity * (draws**_SPARSITY + 1e-6)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


@cache
def stationary() -> Floats:
    """Long-run probability of each pair, [pairs]."""
    letters = len(ALPHABET)
    chain = transitions()
    pairs = np.full(letters**2, 1.0 / letters**2)
    for _ in range(10_000):
        # pair (a, b) moves to (b, c): sum over a, keep (b, c)
        after = (pairs[:, None] * chain).reshape(letters, letters, letters).sum(axis=0).ravel()
        if np.abs(after - pairs).sum() < 1e-15:
            break
        pairs = after
    return np.asarray(pairs / pairs.sum(), dtype=np.float64)


@cache
def entropy_rate_nats() -> float:
    """Entropy per letter (one byte), in nats."""
    chain = transitions()
    return float(-(stationary()[:, None] * chain * np.log(chain)).sum())


def sample_documents(first: int, count: int) -> list[str]:
    """Documents ``first`` to ``first + count``, each of ``DOCUMENT_CHARS`` letters."""
    letters = len(ALPHABET)
    draws = uniforms(_TEXT_STREAM, first * DOCUMENT_CHARS, count * DOCUMENT_CHARS)
    draws = draws.reshape(count, DOCUMENT_CHARS)
    # row s of the table lies in [s, s + 1): one binary search serves every state
    table = (np.arange(letters**2)[:, None] + np.cumsum(transitions(), axis=1)).ravel()
    pair = np.searchsorted(np.cumsum(stationary()), draws[:, 0]).clip(max=letters**2 - 1)
    text = np.empty((count, DOCUMENT_CHARS), dtype=np.uint8)
    text[:, 0], text[:, 1] = np.divmod(pair, letters)
    for place in range(2, DOCUMENT_CHARS):
        drawn = np.searchsorted(table, pair + draws[:, place], side="right") - pair * letters
        letter = drawn.clip(0, letters - 1)
        text[:, place] = letter
        pair = pair % letters * letters + letter
    codes = np.frombuffer(ALPHABET.encode(), dtype=np.uint8)[text]
    return [row.tobytes().decode() for row in codes]


def _read(request: ReadRequest) -> Iterator[Document]:
    total = -(-(request.max_bytes or DEFAULT_BYTES) // DOCUMENT_CHARS)
    for first in range(0, total, _BLOCK):
        block = sample_documents(first, min(_BLOCK, total - first))
        for number, text in enumerate(block, first):
            yield Document(f"synthetic:{number}", text, _DOMAIN)


CORPUS = Corpus(
    name="synthetic",
    description="second-order Markov chain of letters with an exactly known entropy rate",
    licence="none: generated",
    how="generated, 20 MB unless max_bytes says otherwise",
    domains=(_DOMAIN,),
    read=_read,
    state=lambda: {"reader": 1},
)
