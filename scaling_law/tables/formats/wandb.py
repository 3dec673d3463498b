"""Weights & Biases: run folders as the library writes them, ``wandb/offline-run-*``.

Of a folder, ``files/wandb-summary.json`` and ``files/config.yaml`` are read, and the log
``run-*.wandb`` with the history. The log is a sequence of blocks as LevelDB writes them, each
record a ``Record`` message of ``wandb_internal.proto``. Exports from the web page and of the API
are tables: see ``csv`` and ``jsonl``.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from scaling_law.errors import ConfigError, listed, one_line
from scaling_law.tables.formats import Format, Source, SourceRun
from scaling_law.tables.formats._cells import flat
from scaling_law.tables.formats._text import read_object
from scaling_law.tables.formats._wire import bytes_of, fields, text_of, whole
from scaling_law.units import count_of

_IDENT, _BLOCK_BYTES, _HEADER_BYTES = b":W&B", 32768, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
# Of a Record: history, summary, config, run, exit.
_HISTORY, _SUMMARY, _CONFIG, _RUN, _EXIT = 2, 3, 5, 17, 18
_NO_JSON = ("NaN", "Infinity", "-Infinity")
_INTERNAL = ("_wandb", "wandb_version")


@dataclass
class _Log:
    """What a run's log says.

    ``run_id`` and ``name``: the run's id and display name; "" where the log has none.
    ``config``, ``summary``: settings and last values.
    ``history``: the rows that were logged.
    ``exit_code``: how the run ended; None for a run without an end.
    ``cut_off``: whether the end of the log is missing.
    """

    run_id: str = ""
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    cut_off: bool = False


def _is_run(path: Path) -> bool:
    return path.is_dir() and (
        any(path.glob("run-*.wandb")) or (path / "files" / "wandb-metadata.json").is_file()
        or (path / "files" / "wandb-summary.json").is_file()
        or path.name.startswith("offline-run-")
        or (path.name.startswith("run-") and (path / "files" / "config.yaml").is_file())
    )  # fmt: skip


def _run_folders(path: Path) -> list[Path]:
    if _is_run(path):
        return [path]
    places = [path, path / "wandb"]
    # `latest-run` is a link to one of the others
    return sorted(
        {p for place in places if place.is_dir() for p in place.iterdir()
         if not p.is_symlink() and p.name.startswith(("offline-run-", "run-")) and _is_run(p)}
    )  # fmt: skip


def _sniff(path: Path) -> str:
    if path.is_file():
        if path.name == "wandb-summary.json":
            return "a run's summary"
        with path.open("rb") as file:
            return "a run's log" if file.read(4) == _IDENT else ""
    return "run folders of Weights & Biases" if _run_folders(path) else ""


def _read(path: Path) -> Source:
    if path.is_file():
        path = path.parent.parent if path.name == "wandb-summary.json" else path.parent
    runs: dict[str, SourceRun] = {}
    left_out = []
    notes: list[str] = []
    continued: Counter[str] = Counter()
    for folder in _run_folders(path):
        run_id, run = _read_run(folder, notes)
        if isinstance(run, str):
            left_out.append((folder.name, run))
        elif run_id in runs:  # resumed in another folder: folders are in the order of time
            continued[run_id] += 1
            runs[run_id] = _continued(runs[run_id], run)
        else:
            runs[run_id] = run
    if continued:
        names = listed([one_line(run_id) for run_id in continued], 4)
        folders = count_of(continued.total(), "folder")
        notes.append(f"{folders} read as later parts of a run: {names}")
    times = Counter(run.name for run in runs.values())
    named = tuple(
        run if times[run.name] == 1 else replace(run, name=f"{run.name} ({run_id})")
        for run_id, run in runs.items()
    )
    return Source(runs=named, left_out=tuple(left_out), notes=tuple(notes))


def _continued(run: SourceRun, later: SourceRun) -> SourceRun:
    return replace(
        later,
        values={**run.values, **later.values},
        curve=(*run.curve, *later.curve),
        settings=run.settings | later.settings,
    )


def _read_run(folder: Path, notes: list[str]) -> tuple[str, SourceRun | str]:
    """A folder's run by its id, or why it has none."""
    logs = sorted(folder.glob("*.wandb"))
    log = _read_log(logs[0]) if logs else _Log()
    run_id = log.run_id or folder.name.rpartition("-")[2]
    if log.cut_off:
        notes.append(f"{one_line(str(logs[0]))}: its end is cut off; what is before it is read")
    summary_file = folder / "files" / "wandb-summary.json"
    summary = dict(log.summary)
    if summary_file.is_file():
        summary |= read_object(summary_file)
    summary = _plain(summary)
    if not summary:
        return run_id, "no summary and no history: nothing was logged before it ended"
    config = flat(_plain({**log.config, **_read_config(folder / "files" / "config.yaml")}))
    values = {**config, **flat(summary)}
    if log.exit_code:
        values.setdefault("state", "crashed")
    return run_id, SourceRun(
        name=log.name or run_id,
        values=values,
        curve=tuple(flat(_plain(row)) for row in log.history),
        settings=frozenset(config),
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: value for k, value in values.items() if k.partition(".")[0] not in _INTERNAL}


def _read_config(path: Path) -> dict[str, Any]:
    """The settings of ``config.yaml``, where each is under the key ``value``."""
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as problem:
        raise ConfigError(f"{path}: not YAML ({one_line(str(problem))})") from None
    if not isinstance(content or {}, dict):
        raise ConfigError(f"{path}: a {type(content).__name__}, expected settings by name")
    return {
        str(key): value["value"] if isinstance(value, dict) and "value" in value else value
        for key, value in (content or {}).items()
    }


def _read_log(path: Path) -> _Log:
    log = _Log()
    try:
        for record in _records(path.read_bytes(), log):
            for number, content in fields(record):
                if number in (_HISTORY, _SUMMARY, _CONFIG, _RUN, _EXIT):
                    _take(log, number, bytes_of(content))
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror})") from None
    except ValueError as problem:
        raise ConfigError(
            f"{path}: not a log of Weights & Biases that can be read ({problem}); export the runs"
            " as CSV from the web page, or with its API"
        ) from None
    return log


def _records(data: bytes, log: _Log) -> Iterator[bytes]:
    """The records of a log; sets ``log.cut_off`` where the last one is incomplete."""
    if data[:4] != _IDENT:
        raise ValueError("it does not begin with :W&B")
    place, parts = _HEADER_BYTES, b""
    while place < len(data):
        left = _BLOCK_BYTES - place % _BLOCK_BYTES
        if left < _HEADER_BYTES:  # the rest of a block is padding
            place += left
            continue
        head = data[place : place + _HEADER_BYTES]
        if len(head) < _HEADER_BYTES:
            log.cut_off = True
            return
        _, size, kind = struct.unpack("<IHB", head)
        place += _HEADER_BYTES
        content = data[place : place + size]
        if len(content) < size:
            log.cut_off = True
            return
        place += size
        if kind == 0 and size == 0:
            continue
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
            raise ValueError(f"a record of kind {kind}")
        parts = content if kind in (_FULL, _FIRST) else parts + content
        if kind in (_FULL, _LAST):
            yield parts


def _take(log: _Log, number: int, content: bytes) -> None:
    if number == _HISTORY:
        row = _items(content, 1)
        log.history.append(row)
        log.summary |= row
    elif number == _SUMMARY:
        log.summary |= _items(content, 1)
    elif number == _CONFIG:
        log.config |= _items(content, 1)
    elif number == _EXIT:
        log.exit_code = next((whole(value) for f, value in fields(content) if f == 1), 0)
    else:
        for own, value in fields(content):
            if own == 1:
                log.run_id = text_of(value)
            elif own == 4:
                log.config |= _items(bytes_of(value), 1)
            elif own == 8:
                log.name = text_of(value)


def _items(content: bytes, wanted: int) -> dict[str, Any]:
    """The values of a record's items: key 1, nested key 2, JSON 16."""
    items = {}
    for number, item in fields(content):
        if number != wanted:
            continue
        keys, text = [], "null"
        for own, value in fields(bytes_of(item)):
            if own in (1, 2):
                keys.append(text_of(value))
            elif own == 16:
                text = text_of(value)
        try:
            value = json.loads(text)
        except ValueError:
            raise ValueError(f"a value that is no JSON: {text[:40]!r}") from None
        # a number that JSON does not have is written as a text
        items[".".join(filter(None, keys))] = float(value) if value in _NO_JSON else value
    return items


FORMAT = Format(sniff=_sniff, read=_read)
