"""Say whether bytes are text, and what they are where they are not."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import itertools
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from scaling_law.data.packages import package_folder
from scaling_law.errors import ConfigError, install_extra

# The first bytes of files that may carry any name; each of them would be read as text, or be
# called something that it is not.
_BEGINNINGS = (
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"BZh91AY&SY", "compressed with bzip2"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"PK\x03\x04", "a zip archive or an office document"),
    (b"PK\x05\x06", "a zip archive or an office document"),
    (b"PAR1", "a parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\0", "a database"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
# All but white space and the escape of a terminal's colours.
_CONTROL_BYTES = bytes((*range(0x01, 0x09), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x7F))
_CONTROLS = re.compile(f"[{re.escape(_CONTROL_BYTES.decode())}]")
_FULL_OF_CONTROLS = "not text: full of control characters (UTF-16 without a mark, or binary)"
_MOST_CONTROLS = 1 / 20  # of the characters; a log with terminal colours has fewer
HEAD_BYTES = 64_000
_CHUNK_BYTES = 2**20


def _plain(file: Path) -> IO[bytes]:
    return file.open("rb")


def _zstd(file: Path) -> IO[bytes]:
    if package_folder("pyarrow") is None:
        raise ConfigError(
            f"{file}: reading zstd needs pyarrow; {install_extra('parquet')}, or unpack it"
        )
    import pyarrow

    return io.BufferedReader(pyarrow.input_stream(str(file), compression="zstd"), _CHUNK_BYTES)


# How files are unpacked, by suffix, and the errors of damaged ones.
_OPENERS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": lambda file: cast("IO[bytes]", gzip.GzipFile(file)),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _zstd,
}
PACKED = frozenset(_OPENERS)
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)


class TextScan:
    """Says whether the bytes of a file are UTF-8 text, chunk by chunk, with little in memory."""

    def __init__(self) -> None:
        self.size = 0  # bytes fed
        self.is_blank = True
        self._head = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._decodes = True
        self._controls = 0
        self._has_nuls = self._has_begun = self._has_ended = False
        self._nuls_inside = False  # between other bytes, not only before and after them

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        self.size += len(chunk)
        self.is_blank = self.is_blank and not chunk.strip()
        self._head += chunk[: HEAD_BYTES - len(self._head)]
        self._controls += len(chunk) - len(chunk.translate(None, _CONTROL_BYTES))
        self._find_nuls(chunk)
        self._decode(chunk)

    def _decode(self, chunk: bytes, final: bool = False) -> None:
        if self._decodes:
            try:
                self._decoder.decode(chunk, final)
            except UnicodeDecodeError:
                self._decodes = False

    def _find_nuls(self, chunk: bytes) -> None:
        begun = chunk if self._has_begun else chunk.lstrip(b"\0")
        inside = begun.rstrip(b"\0")
        self._nuls_inside |= b"\0" in inside or (self._has_ended and bool(inside))
        self._has_begun |= bool(inside)
        self._has_ended |= len(inside) < len(begun)
        self._has_nuls |= b"\0" in chunk

    @property
    def is_binary(self) -> bool:
        """Whether no further byte can make this text."""
        return self._nuls_inside and len(self._head) >= HEAD_BYTES

    def reason(self, whole: bool = True) -> str:
        """Say what the bytes are where they are not UTF-8 text; "" where they are.

        ``whole``: that was the whole file, which may not end within a character.
        """
        self._decode(b"", final=whole)
        if kind := _kind_of(self._head):
            return f"not UTF-8 text but {kind}"
        if self._has_nuls:
            padded = self._decodes and not self._nuls_inside
            kind = "padded with NUL bytes" if padded else _kind_with_nuls(self._head)
            return f"not UTF-8 text but {kind}"
        if not self._decodes:
            return "not UTF-8 text (Latin-1 or another 8-bit code, or binary)"
        return _FULL_OF_CONTROLS if self._controls > _MOST_CONTROLS * self.size else ""


def scanned(file: Path) -> TextScan:
    """Read the file, unpacked, and say what it holds."""
    scan = TextScan()
    for chunk in _chunks(file):
        scan.feed(chunk)
        if scan.is_binary:
            break
    return scan


def decoded(file: Path) -> Iterator[str]:
    """Yield the text of a file that ``scanned`` says is text, with plain line ends, in pieces."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    held = ""  # a carriage return, whose line feed may come with the next bytes
    try:
        for chunk in itertools.chain(_chunks(file), [b""]):
            text = held + decoder.decode(chunk, final=not chunk)
            held = "\r" if chunk and text.endswith("\r") else ""
            yield text[: len(text) - len(held)].replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise ConfigError(
            f"{file}: changed while it was read; run the same command again"
        ) from None


def why_not_beginning(head: bytes) -> str:
    """Say what a file is whose first bytes are no UTF-8 text; "" where they may be."""
    scan = TextScan()
    scan.feed(head)
    reason = scan.reason(whole=False)
    return reason if _kind_of(head) or b"\0" in head else ""


def why_no_text(text: str) -> str:
    """Say why the characters of ``text`` are no writing; "" where they are."""
    if "\0" in text:
        return "not text: NUL characters"
    if text and len(_CONTROLS.findall(text)) > _MOST_CONTROLS * len(text):
        return _FULL_OF_CONTROLS
    return ""


def _kind_of(head: bytes) -> str:
    """The kind of file that begins with these bytes; "" where it may be text."""
    kinds = (kind for beginning, kind in _BEGINNINGS if head.startswith(beginning))
    return next(kinds, "")


def _kind_with_nuls(head: bytes) -> str:
    """Say what bytes with NULs among them look like."""
    # of Western text in UTF-16, nearly every second byte is NUL; in UTF-32, three of four
    even, odd = (head[start::2].count(0) / max(1, len(head) // 2) for start in (0, 1))
    if min(even, odd) > 1 / 4 and max(even, odd) > 3 / 4:
        return "UTF-32 without a mark"
    if max(even, odd) > 1 / 4 and min(even, odd) < 1 / 10:
        return "UTF-16 without a mark"
    return "binary (NUL bytes)"


def kind_suffix(name: str) -> str:
    """The suffix that says what a file holds, in small letters; of ``a.jsonl.gz`` ``.jsonl``."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in PACKED else path.suffix


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked where its suffix says that it is packed.

    What cannot be read while it is open is a ``ConfigError`` too, which names the file.
    """
    try:
        with _OPENERS.get(file.suffix.lower(), _plain)(file) as stream:
            yield stream
    except OSError as problem:
        if problem.errno is not None:
            raise ConfigError(f"{file}: not readable ({problem.strerror})") from None
        raise _damaged(file, problem) from None  # from a library that unpacks
    except _DAMAGED as problem:
        raise _damaged(file, problem) from None


def _damaged(file: Path, problem: Exception) -> ConfigError:
    return ConfigError(
        f"{file}: damaged, it cannot be unpacked ({problem}); copy it again, or take it out"
    )


def _chunks(file: Path) -> Iterator[bytes]:
    with opened(file) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
