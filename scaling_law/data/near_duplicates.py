"""Count validation documents whose text is largely in the training split too.

Of each validation document up to 64 pieces of 32 bytes are sampled: those with the smallest
hashes, so that equal texts give equal samples wherever they begin (Broder 1997, "On the
resemblance and containment of documents"). The training text is then searched for these pieces.
A document counts when at least half of its sample is there: a copy with a changed line does, two
texts on one topic do not.

At most ``MAX_DOCUMENTS`` validation documents of ``MAX_SAMPLED_BYTES`` together are sampled, the
first in the order of their hashes, and at most ``MAX_BYTES`` of training text are searched: about
40 s and 200 MB of memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded where text is prepared: `slaw run --dry-run` prepares none
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]

PIECE_BYTES = 32
SAMPLED = 64
MAX_DOCUMENTS = 20_000
MAX_SAMPLED_BYTES = 200_000_000
MAX_BYTES = 1_000_000_000
# A shorter document has too few pieces to compare.
_SHORTEST = 2 * PIECE_BYTES
# Of a longer one, the beginning stands for the whole.
_LONGEST = 4_000_000
_NEAR = 1 / 2
_BLOCK_BYTES = 1_000_000
_TABLE_BITS = 24
_FACTOR = 0x9E3779B97F4A7C15
_MIX = 0xBF58476D1CE4E5B9


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """How many validation documents are largely in the training split.

    ``count``: those documents.
    ``compared``: the validation documents that were compared; the others are too short, or too
    many.
    ``searched_bytes``: bytes of training text that were searched.
    """

    count: int
    compared: int
    searched_bytes: int


def near_duplicates(
    spool: bytes | mmap.mmap, train: Sequence[tuple[int, int]], val: Sequence[tuple[int, int]]
) -> NearDuplicates:
    """Compare the splits; each document is its offset and size in ``spool``, in bytes."""
    import numpy as np

    samples: list[Hashes] = []
    sampled_bytes = 0
    for offset, size in val[:MAX_DOCUMENTS]:
        if size >= _SHORTEST and sampled_bytes < MAX_SAMPLED_BYTES:
            samples.append(
                np.unique(_hashes(spool[offset : offset + min(size, _LONGEST)]))[:SAMPLED]
            )
            sampled_bytes += min(size, _LONGEST)
    if not samples:
        return NearDuplicates(count=0, compared=0, searched_bytes=0)
    wanted = np.unique(np.concatenate(samples))
    is_there, searched = _found_in(spool, train, wanted)
    shares = [is_there[np.searchsorted(wanted, sample)].mean() for sample in samples]
    near = sum(share >= _NEAR for share in shares)
    return NearDuplicates(count=int(near), compared=len(samples), searched_bytes=searched)


def _hashes(raw: bytes) -> Hashes:
    """The hash of every piece of ``PIECE_BYTES`` in ``raw``, by its first byte."""
    import numpy as np

    values = np.frombuffer(raw, dtype=np.uint8).astype(np.uint64) + np.uint64(1)
    length, factor = 1, _FACTOR
    while length < PIECE_BYTES:  # a piece is two halves
        values = values[:-length] * np.uint64(factor) + values[length:]
        length, factor = 2 * length, factor * factor % 2**64
    values ^= values >> np.uint64(31)
    values *= np.uint64(_MIX)
    return values ^ (values >> np.uint64(29))


def _found_in(
    spool: bytes | mmap.mmap, documents: Sequence[tuple[int, int]], wanted: Hashes
) -> tuple[npt.NDArray[np.bool_], int]:
    """Say which of the sorted ``wanted`` hashes the documents hold, and how much was searched."""
    import numpy as np

    shift = np.uint64(64 - _TABLE_BITS)
    table = np.zeros(2**_TABLE_BITS, dtype=np.bool_)
    table[wanted >> shift] = True
    is_there = np.zeros(len(wanted), dtype=np.bool_)
    searched = 0
    for block in _blocks(sorted(documents)):
        for start, stop in block:
            searched += stop - start
        hashes = np.concatenate([_hashes(spool[start:stop]) for start, stop in block])
        hashes = hashes[table[hashes >> shift]]
        places = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
        is_there[places[wanted[places] == hashes]] = True
        if searched >= MAX_BYTES:
            break
    return is_there, searched


def _blocks(documents: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Cut the documents into blocks of about ``_BLOCK_BYTES``, as (start, stop) of pieces of text.

    Documents that follow one another are joined: a piece across their border matches nothing.
    """
    block: list[tuple[int, int]] = []
    held = 0
    for offset, size in documents:
        start, stop = offset, offset + size
        while start < stop:
            end = min(stop, start + _BLOCK_BYTES - held)
            if block and block[-1][1] == start:
                block[-1] = (block[-1][0], end)
            else:
                block.append((start, end))
            held += end - start
            # the next block repeats the bytes that a piece across the cut needs
            start = end if end == stop else end - PIECE_BYTES + 1
            if held >= _BLOCK_BYTES:
                yield block
                block, held = [], 0
    if block:
        yield block
