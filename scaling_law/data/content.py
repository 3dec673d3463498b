"""Say whether bytes are text, and what they are where they are not."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from scaling_law.errors import ConfigError
from scaling_law.units import format_bytes

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
# How files are unpacked, by suffix, and the errors of damaged ones.
_OPENERS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": lambda file: cast("IO[bytes]", gzip.GzipFile(file)),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
PACKED = frozenset(_OPENERS)
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)
LARGEST_BYTES = 2_000_000_000  # of a file that is read whole, unpacked


def why_not_text(raw: bytes) -> str:
    """Say what ``raw``, the whole of a file, is where it is not UTF-8 text; "" where it is."""
    if reason := why_not_beginning(raw):
        return reason
    if b"\0" in raw:
        return f"not UTF-8 text but {_with_nuls(raw)}"
    if not _decodes(raw):
        return "not UTF-8 text (Latin-1 or another 8-bit code, or binary)"
    controls = len(raw) - len(raw.translate(None, _CONTROL_BYTES))
    return _FULL_OF_CONTROLS if controls > _MOST_CONTROLS * len(raw) else ""


def why_not_beginning(head: bytes) -> str:
    """Say what a file is whose first bytes are no UTF-8 text; "" where they may be."""
    for beginning, name in _BEGINNINGS:
        if head.startswith(beginning):
            return f"not UTF-8 text but {name}"
    return f"not UTF-8 text but {_with_nuls(head)}" if b"\0" in head else ""


def why_no_text(text: str) -> str:
    """Say why the characters of ``text`` are no writing; "" where they are."""
    if "\0" in text:
        return "not text: NUL characters"
    if text and len(_CONTROLS.findall(text)) > _MOST_CONTROLS * len(text):
        return _FULL_OF_CONTROLS
    return ""


def _decodes(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _with_nuls(raw: bytes) -> str:
    """Say what bytes with NULs among them look like."""
    inside = raw.strip(b"\0")
    if b"\0" not in inside and _decodes(inside):
        return "padded with NUL bytes"
    head = raw[:HEAD_BYTES]
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


def _plain(file: Path) -> IO[bytes]:
    return file.open("rb")


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked where its suffix says that it is packed.

    What cannot be read while it is open is a ``ConfigError`` too, which names the file.
    """
    try:
        with _OPENERS.get(file.suffix.lower(), _plain)(file) as stream:
            yield stream
    except DAMAGED as problem:
        raise ConfigError(
            f"{file}: damaged, it cannot be unpacked ({problem}); copy it again, or take it out"
        ) from None
    except OSError as problem:
        raise ConfigError(f"{file}: not readable ({problem.strerror or problem})") from None


def whole(file: Path) -> bytes:
    """The file's bytes, unpacked. Raises ``ConfigError`` above ``LARGEST_BYTES``."""
    with opened(file) as stream:
        raw = stream.read(LARGEST_BYTES + 1)
    if len(raw) > LARGEST_BYTES:
        raise ConfigError(
            f"{file}: more than {format_bytes(LARGEST_BYTES)} in one file, which is read whole;"
            " cut it into several, or make it JSON lines"
        )
    return raw
