"""Hash the words of a text and its n-grams, all at once.

A hash depends on the word's bytes alone, so that it is the same on every machine. It is a
polynomial of the bytes modulo 2^64: of a word of bytes b_0 .. b_k, the sum of (b_i + 1) f^i.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded where text is prepared: `slaw run --dry-run` prepares none
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]

# Odd numbers have an inverse modulo 2^64.
_FACTOR = 0x9E3779B97F4A7C15
_INVERSE = pow(_FACTOR, -1, 2**64)
_MIX = 0xBF58476D1CE4E5B9
# Longer texts are read in pieces, which a word across their border ends.
_PIECE_BYTES = 1_000_000
_WHITE = b" \t\n\r\v\f"
# Of each byte what it counts as in a word; 0 for a byte between words.
BETWEEN_SPACES = bytes(0 if byte in _WHITE else byte for byte in range(256))
# Small letters and digits alone; bytes of other scripts count as letters.
LETTERS_AND_DIGITS = bytes(
    ord(chr(byte).lower()) if byte < 128 and chr(byte).isalnum() else byte * (byte >= 128)
    for byte in range(256)
)


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words of a text.

    ``hashes``: of each word, [words].
    ``sizes``: bytes of each word, [words].
    """

    hashes: Hashes
    sizes: npt.NDArray[np.int64]


def words_of(raw: bytes, table: bytes) -> Words:
    """Return the words of a text in UTF-8; ``table`` says which bytes they are made of."""
    import numpy as np

    pieces = [
        _words_in(raw[start : start + _PIECE_BYTES], table)
        for start in range(0, max(len(raw), 1), _PIECE_BYTES)
    ]
    return Words(
        hashes=np.concatenate([piece.hashes for piece in pieces]),
        sizes=np.concatenate([piece.sizes for piece in pieces]),
    )


def _words_in(raw: bytes, table: bytes) -> Words:
    import numpy as np

    kept = np.frombuffer(raw.translate(table), dtype=np.uint8)
    inside = np.zeros(len(kept) + 2, dtype=np.int8)
    inside[1:-1] = kept != 0
    edges = np.diff(inside)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    powers, inverses = _powers()
    terms = (kept.astype(np.uint64) + np.uint64(1)) * powers[: len(kept)]
    sums = np.zeros(len(kept) + 1, dtype=np.uint64)
    np.cumsum(terms, out=sums[1:])
    return Words(hashes=(sums[ends] - sums[starts]) * inverses[starts], sizes=ends - starts)


@functools.cache
def _powers() -> tuple[Hashes, Hashes]:
    """The powers of the factor and of its inverse, as many as a piece has bytes."""
    import numpy as np

    both = []
    for factor in (_FACTOR, _INVERSE):
        powers = np.full(_PIECE_BYTES, factor, dtype=np.uint64)
        powers[0] = 1
        both.append(np.cumprod(powers))
    return both[0], both[1]


def grams(words: Words, n: int, of_fewer: Hashes | None = None) -> Hashes:
    """Return the hash of each run of ``n`` words, by its first word, [words - n + 1].

    ``of_fewer`` are the hashes of runs of n - 1 words, where they are known.
    """
    import numpy as np

    if n == 1:
        return words.hashes
    fewer = grams(words, n - 1) if of_fewer is None else of_fewer
    return fewer[:-1] * np.uint64(_FACTOR) + words.hashes[n - 1 :]


def mixed(hashes: Hashes) -> Hashes:
    """Return the hashes with bits that depend on all of theirs, for samples by size."""
    import numpy as np

    hashes = hashes ^ (hashes >> np.uint64(31))
    hashes = hashes * np.uint64(_MIX)
    return hashes ^ (hashes >> np.uint64(29))
