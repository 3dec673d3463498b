"""The folder of a bad input, and its content, which must not change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from tests.bad_input.case import Case
from tests.fakes import planted_records

GOOD_TABLE = "params,tokens,loss\n" + "".join(
    f"{n:g},{d:g},{1.8 + 60 * n**-0.34 + 200 * d**-0.37:.6f}\n"
    for n in (1e4, 3e4, 1e5, 3e5)
    for d in (1e6, 3e6, 1e7)
)


def good_sweep(folder: Path) -> Path:
    """A finished sweep without a plan or a saved fit."""
    sweep = SweepDir(folder)
    for record in planted_records():
        write_record(sweep.run(record.run_id), record)
    return folder


def lay_out(case: Case, folder: Path, sweep: Path) -> list[str]:
    """Make what ``case`` needs in ``folder``; returns the words to type there."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    if case.damages:
        shutil.copytree(sweep, folder / "sweep")
    if case.build is not None:
        case.build(folder)
    if any("%" in word for word in case.words):
        (folder / "good.csv").write_text(GOOD_TABLE)
    names = {"@": str(sweep), "%": "good.csv"}
    return [names.get(word, word) for word in case.words]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file, folder and link below ``folder`` with its content."""
    return dict(_content(folder, ""))


def _content(folder: Path, name: str) -> Iterator[tuple[str, bytes]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            place, plain = f"{name}/{entry.name}", entry.is_file(follow_symlinks=False)
            yield place, Path(entry).read_bytes() if plain else b""
            if entry.is_dir(follow_symlinks=False):
                yield from _content(Path(entry), place)
