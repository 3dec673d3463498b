"""Find the files of a folder, linked folders included, and count every file that is not taken."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from scaling_law.data.content import PACKED
from scaling_law.data.sources import Tally
from scaling_law.errors import ConfigError, quoted


def files_below(path: Path, takes: Callable[[str], bool], tally: Tally) -> list[Path]:
    """Return the files at or below ``path`` whose name ``takes`` accepts, in order of their names.

    A ``path`` that is a file is always taken. A linked folder is read like any other; a folder
    that several links reach, or one that contains itself, is read once. Raises ``ConfigError``
    where ``path`` is neither a file nor a folder, or a folder cannot be read.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ConfigError(
            f"{path}: neither a file nor a folder; expected a text file or a folder of them"
        )
    taken: list[Path] = []
    read: set[tuple[int, int]] = set()

    def unreadable(problem: OSError) -> None:
        raise ConfigError(f"{problem.filename}: not readable ({problem.strerror})")

    for folder, folders, names in os.walk(path, onerror=unreadable, followlinks=True):
        place = Path(folder).stat()
        if (place.st_dev, place.st_ino) in read:
            tally.leave_out("folder", "a link to a folder that is read already", folder)
            folders.clear()
            continue
        read.add((place.st_dev, place.st_ino))
        for name in folders:
            if name.startswith("."):
                tally.leave_out("folder", "hidden, its name begins with a dot", Path(folder, name))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            reason = _why_not(file, takes)
            if reason:
                tally.leave_out("file", reason, file)
            else:
                taken.append(file)
    return taken


def _why_not(file: Path, takes: Callable[[str], bool]) -> str:
    """Say why a file of a folder is not taken; "" where it is."""
    if file.name.startswith("."):
        return "hidden, its name begins with a dot"
    if not file.exists():
        return "a link that leads nowhere"
    if not file.is_file():  # a pipe would never end
        return "a pipe, socket or device"
    if not takes(file.name):
        several = file.suffix.lower() in PACKED  # of a.tar.gz what is packed, too
        suffix = "".join(file.suffixes[-2:]) if several else file.suffix
        return f"of an unknown kind ({quoted(suffix) if suffix else 'no suffix'})"
    return ""
