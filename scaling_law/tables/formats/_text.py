"""What formats of text files share: the first lines of a file, and lines with their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaling_law.decode import json_problem
from scaling_law.errors import ConfigError

_HEAD_CHARACTERS = 2**16
_LONGEST_LINE = 2**20
_MOST_BYTES = 2**28


def head(path: Path) -> str:
    """The beginning of a text file; "" for a folder and for a file that is no text."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        start = file.read(_HEAD_CHARACTERS)
    return "" if b"\0" in start else start.decode(errors="replace")


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Each line of a log with its number; of a line that rewrites itself, the last state."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE):
                number += 1
                yield number, line.rstrip("\r\n").rpartition("\r")[2]
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror})") from None


def measured(text: str) -> float | str:
    """A number as a program printed it, NaN and infinity too; the text where it is none."""
    try:
        return float(text)
    except ValueError:
        return text


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ``ConfigError`` for what is none."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size / 1e6:.0f} MB, expected at most 268")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as problem:
        raise ConfigError(f"{path}: cannot be read ({json_problem(problem)})") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a JSON {type(content).__name__}, expected an object")
    return content
