"""OLMo-core: ``metrics.json`` and ``metrics_step*.json`` of a run's folder, one run a folder.

The steps make the curve, ``metrics.json`` is the end. Beside it ``config.json`` has the settings.
"""

from __future__ import annotations

import re
from pathlib import Path

from scaling_law.tables.formats import Format, Source, SourceRun
from scaling_law.tables.formats._cells import flat
from scaling_law.tables.formats._text import head, read_object

_NAMES = re.compile(r"metrics(?:_step(\d+))?\.json")
_KEYS = ('"train/', '"eval/', '"throughput/', '"optim/')


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.glob("metrics*.json") if _NAMES.fullmatch(file.name)]


def _folders(path: Path) -> list[Path]:
    if path.is_file():
        return [path.parent]
    return sorted({file.parent for file in path.rglob("metrics*.json") if _is_metrics(file)})


def _is_metrics(file: Path) -> bool:
    if not _NAMES.fullmatch(file.name):
        return False
    text = head(file).lstrip()
    return text.startswith("{") and any(key in text for key in _KEYS)


def _sniff(path: Path) -> str:
    if path.is_file():
        return "metrics of an OLMo-core run" if _is_metrics(path) else ""
    return "metrics of OLMo-core runs" if path.is_dir() and _folders(path) else ""


def _read(path: Path) -> Source:
    root = path if path.is_dir() else path.parent
    runs = []
    for folder in _folders(path):
        name = folder.relative_to(root).as_posix()
        files = [path] if path.is_file() else _files(folder)
        curve, values = [], {}
        for file in files:
            match = _NAMES.fullmatch(file.name)
            if match is not None and match[1]:
                curve.append({"step": int(match[1]), **read_object(file)})
            else:
                values = read_object(file)
        config = folder / "config.json"
        settings = flat(read_object(config)) if config.is_file() else {}
        runs.append(
            SourceRun(
                name=folder.resolve().name if name == "." else name,
                values={**settings, **values},
                curve=tuple(sorted(curve, key=lambda point: int(point["step"]))),
                settings=frozenset(settings),
                file=folder,
            )
        )
    return Source(runs=tuple(runs))


FORMAT = Format(sniff=_sniff, read=_read)
