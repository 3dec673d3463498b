"""Drop documents that are nearly the same as an earlier one, in the order of their hashes.

MinHash over phrases of five words, with the bands of FineWeb (arXiv 2406.17557): 14 of 8 hashes, so
that a pair of which a share s of the phrases is common is compared with probability
1 - (1 - s^8)^14. Pairs that are compared count as near duplicates from an estimated similarity on
(Broder 1997, "On the resemblance and containment of documents"). rensa computes the hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

from scaling_law.data.cleaners import Cleaner, Documents
from scaling_law.data.packages import package_folder
from scaling_law.data.words import LETTERS_AND_DIGITS, grams, mixed, words_of
from scaling_law.errors import install_extra
from scaling_law.spec.values import Number

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from scaling_law.data.words import Hashes

_SEED = 1
_BATCH_PHRASES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the rule.

    ``similarity`` is the least share of common phrases, of all that two documents have;
    ``words`` is how many words a phrase has;
    ``bands`` and ``hashes`` are how many bands are compared, and the hashes of each.
    """

    similarity: Annotated[float, Number("share of common phrases", above=0, high=1)] = 0.75
    words: Annotated[int, Number("words of a phrase", low=1, high=100)] = 5
    bands: Annotated[int, Number("bands", low=1, high=256)] = 14
    hashes: Annotated[int, Number("hashes of a band", low=1, high=256)] = 8


def _missing() -> str | None:
    return None if package_folder("rensa") else f"needs rensa; {install_extra('clean')}"


def _compare(settings: Settings, documents: Documents) -> Iterator[tuple[int, str]]:
    import numpy as np

    why = f"at least {100 * settings.similarity:g}% the same as an earlier document"
    sketches, sizes = _sketches(settings, documents)
    groups = _groups(sketches, settings)
    groups[sizes == 0] = -1  # no words, nothing to compare: two of them are not the same
    earlier: dict[int, list[int]] = {}  # documents that stay, by group
    least = settings.similarity * sketches.shape[1]
    for number in np.flatnonzero((groups >= 0).any(axis=1)).tolist():
        own = [group for group in groups[number].tolist() if group >= 0]
        alike = sorted({other for group in own for other in earlier.get(group, ())})
        if alike and (sketches[alike] == sketches[number]).sum(axis=1).max() >= least:
            yield number, why
            continue
        for group in own:
            earlier.setdefault(group, []).append(number)


def _groups(sketches: npt.NDArray[np.uint32], settings: Settings) -> npt.NDArray[np.int64]:
    """Number the groups of documents with one and the same band, [documents, bands].

    It is -1 for a document that is alone with its band, as most are.
    """
    import numpy as np

    groups = np.full((len(sketches), settings.bands), -1, dtype=np.int64)
    for band in range(settings.bands):
        own = sketches[:, band * settings.hashes : (band + 1) * settings.hashes]
        _, group, counts = np.unique(own, axis=0, return_inverse=True, return_counts=True)
        group = group.reshape(-1)
        shared = counts[group] > 1
        groups[shared, band] = group[shared] + band * len(sketches)
    return groups


def _sketches(
    settings: Settings, documents: Documents
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """The MinHashes of each document, [documents, bands * hashes], and how many phrases it has."""
    import numpy as np

    parts: list[npt.NDArray[np.uint32]] = []
    sizes = np.zeros(documents.count, dtype=np.int64)
    batch: list[Hashes] = []
    held = 0
    for number in range(documents.count):
        phrases = _phrases(documents.raw(number), settings.words)
        sizes[number] = len(phrases)
        batch.append(phrases)
        held += len(phrases)
        if held >= _BATCH_PHRASES or number == documents.count - 1:
            parts.append(_minhashes(batch, settings.bands * settings.hashes))
            batch, held = [], 0
    return np.concatenate(parts), sizes


def _phrases(raw: bytes, n: int) -> Hashes:
    """The hashes of a document's phrases; of one that is shorter, all of it is one."""
    words = words_of(raw, LETTERS_AND_DIGITS)
    return mixed(grams(words, max(1, min(n, len(words.hashes)))))


def _minhashes(batch: list[Hashes], count: int) -> npt.NDArray[np.uint32]:
    import numpy as np
    from rensa import RMinHash

    ends = np.cumsum([len(phrases) for phrases in batch])
    starts = np.concatenate(([0], ends)).astype(np.uint64)
    make: Any = RMinHash.digest_matrix_from_flat_token_hashes
    return np.array(make(np.concatenate(batch), starts, count, _SEED).to_rows(), dtype=np.uint32)


CLEANER = Cleaner(
    compare=_compare,
    settings=Settings,
    missing=_missing,
    versions=lambda: {"rensa": version("rensa")},
)
