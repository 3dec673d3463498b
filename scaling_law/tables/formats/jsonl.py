"""JSON and JSON lines: an object a run or a point, as metrics files and W&B's API write them.

A document that is one object of numbers, such as a trainer's summary, is one run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scaling_law.fit.points.states import RUN_NAMES
from scaling_law.tables.formats import Format, Source, SourceRun
from scaling_law.tables.formats._cells import flat
from scaling_law.tables.formats._tables import read_table

_SUFFIXES = (".json", ".jsonl", ".ndjson")
_MOST_BYTES = 2**24


def _sniff(path: Path) -> str:
    return "a table in JSON" if path.is_file() and path.suffix.lower() in _SUFFIXES else ""


def _read(path: Path) -> Source:
    run = _one_run(path)
    return read_table(path) if run is None else Source(runs=(run,), one_run=True)


def _one_run(path: Path) -> SourceRun | None:
    """The run that a document is; None for one of several runs, which is a table."""
    if path.suffix.lower() != ".json" or path.stat().st_size > _MOST_BYTES:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        return None  # JSON lines, or said where tables are read
    if not isinstance(content, dict) or not any(map(_is_plain, content.values())):
        return None
    if any(isinstance(cells, list) and cells and isinstance(cells[0], dict | list)
           for cells in content.values()):  # fmt: skip
        return None
    named = next((str(content[key]) for key in RUN_NAMES if isinstance(content.get(key), str)), "")
    values = {name: cell for name, cell in flat(content).items() if name not in RUN_NAMES}
    return SourceRun(name=named or path.stem, values=values, file=None if named else path)


def _is_plain(cell: Any) -> bool:
    return isinstance(cell, str | int | float)


FORMAT = Format(sniff=_sniff, read=_read, alone=True)
