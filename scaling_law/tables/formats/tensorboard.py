"""TensorBoard: folders of event files, one run a folder.

An event file is a sequence of records (length, checksum, bytes, checksum), each an ``Event``
message: step 2, file version 3, summary 5 (value 1: tag 1, simple_value 2, tensor 8).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError, one_line
from scaling_law.tables.formats import Format, Source, SourceRun
from scaling_law.tables.formats._wire import (
    bytes_of,
    doubles,
    fields,
    floats,
    text_of,
    whole,
)
from scaling_law.units import count_of

_MARK = ".tfevents."
_FLOAT, _DOUBLE = 1, 2  # types of a tensor
_MOST_RECORD_BYTES = 2**28


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob(f"*{_MARK}*") if file.is_file())


def _sniff(path: Path) -> str:
    if path.is_file():
        return "an event file" if _MARK in path.name else ""
    return "event files" if path.is_dir() and next(path.rglob(f"*{_MARK}*"), None) else ""


def _read(path: Path) -> Source:
    folders: dict[Path, list[Path]] = defaultdict(list)
    for file in _files(path):
        folders[file.parent].append(file)
    runs, left_out = [], []
    notes: list[str] = []
    root = path if path.is_dir() else path.parent
    for folder, files in sorted(folders.items()):
        name = folder.relative_to(root).as_posix()
        name = folder.resolve().name if name == "." else name
        points: dict[int, dict[str, Any]] = defaultdict(dict)
        for file in files:
            scalars = _scalars(file, notes)
            try:
                for step, tag, value in scalars:
                    points[step][tag] = value
            except ValueError as problem:
                raise ConfigError(f"{file}: not an event file ({problem})") from None
        if not points:
            left_out.append((name, f"{count_of(len(files), 'event file')} without a scalar"))
            continue
        curve = tuple({"step": step, **points[step]} for step in sorted(points))
        runs.append(SourceRun(name=name, values={}, curve=curve, file=folder))
    return Source(runs=tuple(runs), left_out=tuple(left_out), notes=tuple(notes))


def _records(path: Path, notes: list[str]) -> Iterator[bytes]:
    with path.open("rb") as file:
        while head := file.read(12):
            size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else None
            if size is not None and size > _MOST_RECORD_BYTES:
                raise ValueError(f"a record of {size} bytes")
            content = file.read(size) if size is not None else b""
            if size is None or len(content) < size or len(file.read(4)) < 4:
                notes.append(f"{one_line(str(path))}: its last record is cut off and left out")
                return
            yield content


def _scalars(path: Path, notes: list[str]) -> Iterator[tuple[int, str, float]]:
    for number, record in enumerate(_records(path, notes)):
        step, summary, version = 0, b"", ""
        for field, value in fields(record):
            if field == 2:
                step = whole(value)
            elif field == 3:
                version = text_of(value)
            elif field == 5:
                summary = bytes_of(value)
        if number == 0 and not version.startswith("brain.Event"):
            raise ValueError(f"its first record is {version[:40]!r}, expected brain.Event")
        for _, content in fields(summary):
            tag, number_ = _value(bytes_of(content))
            if number_ is not None:
                yield step, tag, number_


def _value(content: bytes) -> tuple[str, float | None]:
    tag, value = "", None
    for field, cell in fields(content):
        if field == 1:
            tag = text_of(cell)
        elif field == 2:
            value = floats(bytes_of(cell))[0]
        elif field == 8:
            value = _of_tensor(bytes_of(cell))
    return tag, value


def _of_tensor(content: bytes) -> float | None:
    """The number of a tensor of one float; None for others, which are no scalars."""
    kind, numbers = 0, []
    for field, cell in fields(content):
        if field == 1:
            kind = whole(cell)
        elif field == 4:
            numbers += (doubles if kind == _DOUBLE else floats)(bytes_of(cell))
        elif field == 5:
            numbers += floats(bytes_of(cell))
        elif field == 6:
            numbers += doubles(bytes_of(cell))
    return numbers[0] if kind in (_FLOAT, _DOUBLE) and len(numbers) == 1 else None


FORMAT = Format(sniff=_sniff, read=_read)
