"""Drop training documents that share a run of words with the validation split or a benchmark.

As GPT-3 did (arXiv 2005.14165, appendix C): runs of 13 words, in small letters and without
punctuation; a run that more than ten training documents have is a common phrase, a licence say,
and does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.cleaners import Cleaner, Documents
from scaling_law.data.local import local_corpus
from scaling_law.data.sources import Tally
from scaling_law.data.words import LETTERS_AND_DIGITS, grams, mixed, words_of
from scaling_law.errors import ConfigError
from scaling_law.spec.values import Described, Number, Text
from scaling_law.units import count_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from scaling_law.data.words import Hashes

_TABLE_BITS = 24
_VALIDATION = "the validation split"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the rule.

    ``validation`` compares training documents with the validation split;
    ``files`` are files or folders of benchmarks, which are read as a corpus at a path is;
    ``text_keys`` are the keys of their rows that hold text; none for ``text``;
    ``words`` is how many words in a row count as overlap;
    ``common`` is the most training documents that may have a run of words which counts.
    """

    validation: Annotated[bool, Described("compare with the validation split")] = True
    files: tuple[Annotated[str, Text("a file or folder of a benchmark")], ...] = ()
    text_keys: tuple[Annotated[str, Text("a key of rows, or a column")], ...] = ()
    words: Annotated[int, Number("words in a row", low=1, high=1000)] = 13
    common: Annotated[int, Number("training documents", low=1)] = 10

    def __post_init__(self) -> None:
        if not self.validation and not self.files:
            raise ValueError("nothing to compare with: expected validation: true, or files")


def _compare(settings: Settings, documents: Documents) -> Iterator[tuple[int, str]]:
    import numpy as np

    places = _held_out(settings, documents)
    runs = np.unique(np.concatenate(list(places.values())))
    if not len(runs):
        return
    table = np.zeros(2**_TABLE_BITS, dtype=np.bool_)
    shift = np.uint64(64 - _TABLE_BITS)
    table[runs >> shift] = True
    shared: dict[int, Hashes] = {}
    for number in range(documents.count):
        if documents.in_val(number):
            continue
        own = _runs(documents.raw(number), settings.words)
        own = own[table[own >> shift]]  # most documents share nothing, and are done
        own = np.unique(own[_is_in(own, runs)])
        if len(own):
            shared[number] = own
    if not shared:
        return
    each, counts = np.unique(np.concatenate(list(shared.values())), return_counts=True)
    rare = each[counts <= settings.common]
    for number, own in shared.items():
        counted = own[_is_in(own, rare)]
        for name, held_out in places.items():
            if _is_in(counted, held_out).any():
                yield number, f"shares {settings.words} words in a row with {name}"
                break


def _is_in(hashes: Hashes, known: Hashes) -> npt.NDArray[np.bool_]:
    """Say which hashes are among the sorted ``known`` ones."""
    import numpy as np

    if not len(known):
        return np.zeros(len(hashes), dtype=np.bool_)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    is_in: npt.NDArray[np.bool_] = known[places] == hashes
    return is_in


def _held_out(settings: Settings, documents: Documents) -> dict[str, Hashes]:
    """The runs of words of the validation split and of each benchmark, by its name."""
    import numpy as np

    places: dict[str, Hashes] = {}
    if settings.validation:
        numbers = filter(documents.in_val, range(documents.count))
        of_each = [_runs(documents.raw(number), settings.words) for number in numbers]
        places[_VALIDATION] = np.unique(np.concatenate([np.zeros(0, np.uint64), *of_each]))
    for name in settings.files:
        places[name] = np.unique(np.concatenate(_benchmark(name, settings, documents)))
    return places


def _benchmark(name: str, settings: Settings, documents: Documents) -> list[Hashes]:
    """The runs of words of each text of a benchmark. Raises ``ConfigError`` where it has none."""
    tally = Tally()
    texts = _texts(name, settings, documents.place, documents.note, tally)
    hashes = [_runs(text.encode("utf-8", "replace"), settings.words) for text in texts]
    short = sum(not len(runs) for runs in hashes)
    if short:
        documents.note(
            f"contamination: {short} of {count_of(len(hashes), 'text')} of {name} have fewer than"
            f" {settings.words} words, so that nothing can be compared with them"
        )
    for line in tally.left_out_lines():
        documents.note(f"contamination: {name}: {line}")
    return hashes


def _texts(
    name: str,
    settings: Settings,
    place: Callable[[str], str],
    note: Callable[[str], None],
    tally: Tally,
) -> Iterator[str]:
    """Yield the texts of a benchmark. Raises ``ConfigError`` where it has none."""
    none = True
    try:
        corpus = local_corpus(Path(place(name)))
        for key in settings.text_keys or (None,):
            for one in corpus.documents(text_key=key, note=note, tally=tally, section="data.clean"):
                none = False
                yield one.text
    except ConfigError as problem:
        by = f", read by text_keys {', '.join(settings.text_keys)}" if settings.text_keys else ""
        raise ConfigError(f"data.clean: contamination: {name}{by}: {problem}") from None
    if none:
        raise ConfigError(
            "; ".join((f"data.clean: contamination: {name} holds no text", *tally.left_out_lines()))
        )


def _check(settings: Settings, place: Callable[[str], str]) -> None:
    """Read each benchmark once. Raises ``ConfigError`` for one without readable text."""
    for name in settings.files:
        for _ in _texts(name, settings, place, lambda line: None, Tally()):
            pass


def _runs(raw: bytes, n: int) -> Hashes:
    words = words_of(raw, LETTERS_AND_DIGITS)
    return mixed(grams(words, n)) if len(words.hashes) >= n else words.hashes[:0]


CLEANER = Cleaner(
    compare=_compare,
    settings=Settings,
    files=lambda settings: settings.files,
    check=_check,
)
