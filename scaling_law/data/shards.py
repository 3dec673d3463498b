"""Read and write a file of token ids: a 64-byte header, then little-endian uint16 or uint32.

Header: magic (8 bytes), bytes per token (uint32), zero (uint32), tokens (uint64),
SHA-256 of the tokens' bytes (32 bytes), zero (8 bytes).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_law.errors import ConfigError

if TYPE_CHECKING:  # loaded where an array is made: `slaw run --dry-run` makes none
    import numpy as np
    import numpy.typing as npt

    TokenDtype = np.dtype[np.unsignedinteger]

_MAGIC = b"SLAWTOK1"
_HEADER = struct.Struct("<8sIIQ32s8x")
_ZEROS = slice(56, 64)  # no field of the header
_WIDTHS = (2, 4)
_REMEDY = "delete the folder and prepare the data again"

assert _HEADER.size == 64


def token_dtype(vocab_size: int) -> TokenDtype:
    """Return the narrowest type that holds every id: uint16 up to 65,536 ids, else uint32."""
    return _dtype(2 if vocab_size <= 65_536 else 4)


def _dtype(width: int) -> TokenDtype:
    import numpy as np

    return np.dtype(f"<u{width}")


def write_shard(path: Path, chunks: Iterable[npt.NDArray[np.uint32]], dtype: TokenDtype) -> int:
    """Write the ids of ``chunks``, one after the other, to a new file; returns how many.

    Not atomic by itself: the caller renames the finished folder.
    """
    digest = hashlib.sha256()
    count = 0
    with path.open("xb") as file:
        file.write(bytes(_HEADER.size))
        for chunk in chunks:
            raw = chunk.astype(dtype).tobytes()
            digest.update(raw)
            file.write(raw)
            count += len(chunk)
        file.seek(0)
        file.write(_HEADER.pack(_MAGIC, dtype.itemsize, 0, count, digest.digest()))
    return count


def _read_header(path: Path) -> tuple[int, int, bytes]:
    """Bytes per token, tokens, and their hash."""
    if path.exists() and not path.is_file():  # a pipe may never end
        raise ConfigError(f"{path}: not a file; {_REMEDY}")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
    except FileNotFoundError:
        raise ConfigError(f"{path}: missing token file; {_REMEDY}") from None
    except OSError as problem:
        raise ConfigError(f"{path}: not readable ({problem.strerror})") from None
    if len(head) < _HEADER.size or not head.startswith(_MAGIC) or any(head[_ZEROS]):
        raise ConfigError(f"{path}: damaged, its header is not a token file's; {_REMEDY}")
    _, width, zero, count, digest = _HEADER.unpack(head)
    if width not in _WIDTHS or zero:
        raise ConfigError(f"{path}: damaged, {width} bytes per token in the header; {_REMEDY}")
    expected = _HEADER.size + width * count
    if size != expected:
        raise ConfigError(f"{path}: damaged, {size} bytes where {expected} belong; {_REMEDY}")
    return width, count, digest


def open_shard(path: Path) -> npt.NDArray[np.unsignedinteger]:
    """Return the ids [n_tokens], memory-mapped and read-only.

    Raises ``ConfigError``, which names the file, when its header or size is wrong (a cheap check;
    ``check_shard`` reads everything).
    """
    import numpy as np

    width, count, _ = _read_header(path)
    dtype = _dtype(width)
    if count == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=_HEADER.size, shape=(count,))


def shard_tokens(path: Path) -> int:
    """Return the number of tokens in ``path``, without mapping it; raises as ``open_shard``."""
    return _read_header(path)[1]


def shard_hash(path: Path) -> str:
    """The SHA-256 that the header of ``path`` has for its tokens, in hex digits."""
    return _read_header(path)[2].hex()


def check_shard(path: Path) -> None:
    """Compare the tokens with the header's hash. Raises ``ConfigError`` naming the file."""
    _, _, expected = _read_header(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(_HEADER.size)
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.digest() != expected:
        raise ConfigError(f"{path}: damaged, its tokens do not match their hash; {_REMEDY}")
