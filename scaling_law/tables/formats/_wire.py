"""Reads protocol buffers without their schema: the numbers and bytes of each field.

The encoding is documented at protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field; a varint as a whole number, others as bytes.

    Raises ``ValueError`` for bytes that are no message.
    """
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if kind == _LENGTH:
            size, place = _varint(data, place)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"field {number} has wire type {kind}")
        if place + size > len(data):
            raise ValueError(f"field {number} is cut off")
        yield number, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("a whole number is cut off")
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def bytes_of(value: int | bytes) -> bytes:
    """A field's value that must be bytes. Raises ``ValueError``."""
    if not isinstance(value, bytes):
        raise ValueError("a number where bytes are expected")
    return value


def text_of(value: int | bytes) -> str:
    """A field's value as text."""
    return bytes_of(value).decode(errors="replace")


def whole(value: int | bytes) -> int:
    """A field's value as a signed whole number of 64 bits."""
    if isinstance(value, bytes):
        raise ValueError("bytes where a number is expected")
    return value - 2**64 if value >= 2**63 else value


def floats(data: bytes) -> list[float]:
    """Packed floats of four bytes."""
    if len(data) % 4:
        raise ValueError("floats that are cut off")
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def doubles(data: bytes) -> list[float]:
    """Packed floats of eight bytes."""
    if len(data) % 8:
        raise ValueError("floats that are cut off")
    return list(struct.unpack(f"<{len(data) // 8}d", data))
