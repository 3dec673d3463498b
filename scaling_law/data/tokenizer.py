"""Convert text to token ids and back: plain bytes, or byte-level BPE.

Both work on UTF-8 bytes, so every text round-trips and no id means "unknown". The last id,
``vocab_size - 1``, is the document separator; it stands for no text and no text encodes to it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from scaling_law.errors import ConfigError

if TYPE_CHECKING:  # loaded where an array is made: `slaw run --dry-run` makes none
    import numpy as np
    import numpy.typing as npt

    TokenIds = npt.NDArray[np.uint32]

# GPT-4's splitting rule with numbers cut at two digits, which wastes fewer of a small
# vocabulary's merges.
_PATTERN = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}|"""
    r""" ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"""
)
# The libraries' regex fails on a run of a million blanks, so longer texts are encoded in pieces.
_PIECE_CHARS = 200_000
# Texts to train on are cut only within such runs, so that any other text gives the same merges.
_RUN_CHARS = 50_000
_PANIC_CHARS = 160


def clean(text: str) -> str:
    """Replace lone surrogates in ``text``, which UTF-8 cannot hold, by ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")


class Tokenizer(ABC):
    """``vocab_size`` ids, of which the last is ``separator``."""

    kind: str

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    @property
    def separator(self) -> int:
        """Id that precedes each document."""
        return self.vocab_size - 1

    @abstractmethod
    def encode(self, text: str) -> TokenIds:
        """Ids [n_tokens] of ``text``, without a separator. Lone surrogates become ``?``."""

    @property
    @abstractmethod
    def token_bytes(self) -> list[bytes]:
        """The bytes each id stands for, by id; empty for the separator and unused ids."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Everything ``tokenizer_from_json`` needs."""

    @cached_property
    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """Text bytes each id stands for, [vocab_size]."""
        import numpy as np

        return np.array([len(piece) for piece in self.token_bytes], dtype=np.int64)

    def decode(self, ids: Iterable[int], separator: str = "") -> str:
        """The text of ``ids``, with ``separator`` for the document separator.

        Bytes that are not UTF-8 (a cut character) become U+FFFD.
        """
        table = [*self.token_bytes[:-1], separator.encode()]
        return b"".join(table[int(i)] for i in ids).decode("utf-8", "replace")

    def encode_batch(self, texts: Sequence[str], threads: int) -> list[TokenIds]:
        """``encode`` of each text, in order; ``threads`` changes the speed only."""
        if threads <= 1 or len(texts) <= 1:
            return [self.encode(text) for text in texts]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.encode, texts))


class ByteTokenizer(Tokenizer):
    """One id per byte, and the separator: 257 ids."""

    kind = "bytes"

    def __init__(self) -> None:
        super().__init__(257)

    def encode(self, text: str) -> TokenIds:
        import numpy as np

        raw = text.encode("utf-8", "replace")
        return np.frombuffer(raw, dtype=np.uint8).astype(np.uint32)

    @property
    def token_bytes(self) -> list[bytes]:
        return [*(bytes([value]) for value in range(256)), b""]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "vocab_size": self.vocab_size}


class BpeTokenizer(Tokenizer):
    """Byte-level BPE: ``pieces[i]`` are the bytes of id i; the first 256 are single bytes.

    A small sample may hold fewer merges than the vocabulary has room for; the ids between the
    last piece and the separator are then unused.
    """

    kind = "bpe"

    def __init__(self, vocab_size: int, pieces: Sequence[bytes], pattern: str = _PATTERN) -> None:
        super().__init__(vocab_size)
        if not 256 <= len(pieces) < vocab_size:
            raise ValueError(f"{len(pieces)} pieces, expected 256 to {vocab_size - 1}")
        if len(set(pieces)) != len(pieces) or not all(pieces):
            raise ValueError("the pieces are not distinct, non-empty byte strings")
        if {len(piece) for piece in pieces[:256]} != {1}:
            raise ValueError("the first 256 pieces are not the single bytes")
        import tiktoken

        self.pieces = list(pieces)
        self.pattern = pattern
        self._encoding = tiktoken.Encoding(
            f"slaw-bpe-{vocab_size}",
            pat_str=pattern,
            mergeable_ranks={piece: rank for rank, piece in enumerate(pieces)},
            special_tokens={},
        )

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> BpeTokenizer:
        """Learn ``vocab_size - 257`` merges (fewer if ``texts`` hold no more)."""
        import rustbpe

        trainer = rustbpe.Tokenizer()
        with _panics_named("training the tokenizer"):
            trainer.train_from_iterator(
                (piece for text in texts for piece in cut_runs(clean(text))),
                vocab_size - 1,
                pattern=_PATTERN,
            )
        ranks = sorted(trainer.get_mergeable_ranks(), key=lambda item: item[1])
        return cls(vocab_size, [bytes(piece) for piece, _ in ranks])

    def encode(self, text: str) -> TokenIds:
        import numpy as np

        parts = [self._encode_piece(piece) for piece in _pieces(clean(text))]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _encode_piece(self, piece: str) -> TokenIds:
        with _panics_named("encoding a text"):
            ids: TokenIds = self._encoding.encode_to_numpy(piece, disallowed_special=())
        return ids

    @property
    def token_bytes(self) -> list[bytes]:
        return [*self.pieces, *[b""] * (self.vocab_size - len(self.pieces))]

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "vocab_size": self.vocab_size,
            "pattern": self.pattern,
            "pieces_hex": [piece.hex() for piece in self.pieces],
        }


def _pieces(text: str) -> Iterator[str]:
    if len(text) <= _PIECE_CHARS:
        yield text
        return
    for start, stop in pairwise([*range(0, len(text), _PIECE_CHARS), len(text)]):
        yield text[start:stop]


def cut_runs(text: str) -> Iterator[str]:
    """Cut ``text`` within runs of white space that are longer than 50,000 characters.

    No piece holds 100,000 in a run; the pieces joined give ``text`` again.
    """
    start = 0
    was_blank = False
    for place in range(0, len(text) - _RUN_CHARS, _RUN_CHARS):
        is_blank = text[place : place + _RUN_CHARS].isspace()
        if (is_blank or was_blank) and place > start:
            yield text[start:place]
            start = place
        was_blank = is_blank
    yield text[start:]


@contextmanager
def _panics_named(what: str) -> Iterator[None]:
    """Turn a panic of a library in Rust, which is no ``Exception``, into a ``ConfigError``."""
    try:
        yield
    except BaseException as problem:
        if type(problem).__name__ != "PanicException":
            raise
        raise ConfigError(
            f"{what} failed inside its library ({str(problem)[:_PANIC_CHARS]}); take the text that"
            " is unlike the rest out of the corpus, or use data.tokenizer: bytes"
        ) from None


def tokenizer_from_json(value: Any) -> Tokenizer:
    """The inverse of ``to_json``. Raises ``ValueError``, ``KeyError`` or ``TypeError``."""
    if value["kind"] == ByteTokenizer.kind:
        return ByteTokenizer()
    if value["kind"] != BpeTokenizer.kind:
        raise ValueError(f"tokenizer kind {value['kind']!r}, expected bytes or bpe")
    pieces = [bytes.fromhex(piece) for piece in value["pieces_hex"]]
    return BpeTokenizer(value["vocab_size"], pieces, value["pattern"])


def available_threads() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
