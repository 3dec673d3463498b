"""Anybody's table of runs -> points: CSV, TSV, JSON, JSONL, parquet; nothing guessed silently.

A role (params, tokens, loss, ...) is read from the column of that name, or from the one that
``--columns`` names. What the numbers count is stated by the user or said to be unstated. A row
that cannot be used is listed with its line and reason.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import io
import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError
from scaling_law.fit.points import FitPoints, Floats
from scaling_law.units import format_count, parse_count

ROLES = (
    "params", "tokens", "loss", "flops", "cluster", "seed", "sem", "run_id", "size",
    "unique_tokens", "batch",
)  # fmt: skip
PARAMS_ARE = ("total", "non_embedding", "matmul", "active")
LOSS_UNITS = ("nats", "bits", "bits-per-byte")
MAX_BYTES = 2 * 10**9
_COUNTS = ("params", "tokens", "flops", "unique_tokens", "batch")
_ALIASES = {
    "params": ("n", "n_params", "num_params", "parameters", "model_size", "nparams"),
    "tokens": ("d", "n_tokens", "num_tokens", "train_tokens", "training_tokens", "data"),
    "loss": ("val_loss", "validation_loss", "eval_loss", "test_loss", "l", "final_loss"),
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "=": operator.eq,
    "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """``columns`` maps roles to column names ("" ignores a column of the role's own name);
    ``params_are`` what the parameters count ("" not stated); ``loss_unit`` nats or bits per
    token, or bits per byte; ``where`` conditions on columns, as ``epochs<=4``.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    params_are: str = ""
    loss_unit: str = "nats"
    where: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for role in self.columns:
            _check_role(role)
        if self.params_are and self.params_are not in PARAMS_ARE:
            raise ConfigError(f"params are {self.params_are!r}: expected {', '.join(PARAMS_ARE)}")
        if self.loss_unit not in LOSS_UNITS:
            raise ConfigError(f"loss unit {self.loss_unit!r}: expected {', '.join(LOSS_UNITS)}")


def _check_role(role: str) -> None:
    if role not in ROLES:
        close = difflib.get_close_matches(role, ROLES, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(f"role {role!r}{hint}: expected one of {', '.join(ROLES)}")


def parse_columns(text: str) -> dict[str, str]:
    """``"params=N,tokens=D,loss=val_loss"`` -> {role: column}. Raises ``ConfigError``."""
    found: dict[str, str] = {}
    for part in text.split(","):
        role, equals, column = part.partition("=")
        role = role.strip()
        if not equals:
            raise ConfigError(f"columns: {part.strip()!r}: expected ROLE=COLUMN, as params=N")
        _check_role(role)
        if role in found:
            raise ConfigError(f"columns: {role} is given twice")
        found[role] = column.strip()
    return found


@dataclass(frozen=True)
class _Rows:
    """Columns of cells, the line of each row, and what reading found to say."""

    columns: dict[str, list[Any]]
    lines: Sequence[int]
    notes: tuple[str, ...] = ()


def read_table(path: Path, settings: TableSettings | None = None) -> FitPoints:
    """Points of a table of runs, one row each; what cannot be used is in ``dropped``.

    Raises ``ConfigError``, naming file and line, for a table that cannot be read or has fewer
    than two usable rows.
    """
    settings = settings or TableSettings()
    name = str(path)
    try:
        if path.is_dir():
            raise ConfigError(f"{name}: a folder; expected a table")
        if path.stat().st_size > MAX_BYTES:
            size = path.stat().st_size / 1e9
            raise ConfigError(f"{name}: {size:.1f} GB; select rows or columns first (at most 2)")
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise ConfigError(f"{name}: expected a file {', '.join(_READERS)}")
        rows = reader(path)
    except (OSError, UnicodeDecodeError, csv.Error, RecursionError) as problem:
        raise ConfigError(f"{name}: cannot be read ({problem})") from None
    if not rows.lines:
        raise ConfigError(f"{name}: no rows; expected one run a row under a header")
    return _points(rows, settings, name)


def points_from_columns(
    columns: Mapping[str, Iterable[Any]], settings: TableSettings, *, origin: str
) -> FitPoints:
    """The same from columns in memory, all of one length."""
    plain = {str(name): list(values) for name, values in columns.items()}
    counts = {name: len(values) for name, values in plain.items()}
    if len(set(counts.values())) > 1:
        words = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigError(f"{origin}: columns of different lengths: {words}")
    return _points(_Rows(plain, range(1, max(counts.values(), default=0) + 1)), settings, origin)


# Reading


def _read_delimited(path: Path) -> _Rows:
    text = path.read_text(encoding="utf-8-sig")
    if "\0" in text:
        raise ConfigError(f"{path}: not a text table (it holds NUL bytes)")
    head = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max((",", ";", "\t"), key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] = []
    body, lines = [], []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            continue
        if len(cells) != len(header):
            raise ConfigError(
                f"{path}:{reader.line_num}: {len(cells)} cells, the header has {len(header)}"
            )
        body.append(cells)
        lines.append(reader.line_num)
    twice = {name for name in header if header.count(name) > 1}
    columns = {name: [row[i] for row in body] for i, name in enumerate(header) if name not in twice}
    if twice & set(ROLES):
        raise ConfigError(f"{path}: column {', '.join(sorted(twice))} is there twice")
    notes = _undo_decimal_commas(columns) if delimiter == ";" else ()
    return _Rows(columns, lines, notes)


def _undo_decimal_commas(columns: dict[str, list[Any]]) -> tuple[str, ...]:
    comma = re.compile(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*")
    changed = []
    for name, cells in columns.items():
        if any(comma.fullmatch(cell) for cell in cells):
            columns[name] = [c.replace(",", ".") if comma.fullmatch(c) else c for c in cells]
            changed.append(name)
    return (f"decimal commas read in {', '.join(changed)}",) if changed else ()


def _from_objects(path: Path, found: list[tuple[int, Any]]) -> _Rows:
    for line, row in found:
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise ConfigError(f"{path}:{line}: a JSON {kind}, expected an object for each run")
    names = list(dict.fromkeys(str(name) for _, row in found for name in row))
    columns = {name: [row.get(name) for _, row in found] for name in names}
    return _Rows(columns, [line for line, _ in found])


def _read_jsonl(path: Path) -> _Rows:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if line.strip():
            try:
                found.append((number, json.loads(line)))
            except ValueError as problem:
                raise ConfigError(f"{path}:{number}: not JSON ({problem})") from None
    return _from_objects(path, found)


def _read_json(path: Path) -> _Rows:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except ValueError as problem:
        raise ConfigError(f"{path}: not JSON ({problem})") from None
    if not isinstance(content, list):
        raise ConfigError(f"{path}: expected a JSON list of objects, one a run")
    return _from_objects(path, list(enumerate(content, 1)))


def _read_parquet(path: Path) -> _Rows:
    try:
        import pyarrow.lib
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(
            f"{path}: parquet needs pyarrow: pip install 'scaling-law[parquet]'"
        ) from None
    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.lib.ArrowException as problem:
        first = str(problem).splitlines()[0]
        raise ConfigError(f"{path}: not a parquet table ({first})") from None
    return _Rows(table.to_pydict(), range(1, table.num_rows + 1))


_READERS: dict[str, Callable[[Path], _Rows]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".txt": _read_delimited,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}


# From cells to points


def _points(rows: _Rows, settings: TableSettings, origin: str) -> FitPoints:
    rows, notes = _filtered(rows, settings, origin)
    columns = _roles(rows, settings, origin)
    count = len(rows.lines)
    ids = _run_ids(columns.get("run_id"), rows.lines)
    numbers: dict[str, Floats] = {}
    reasons = [""] * count
    for role in ("params", "tokens", "loss", "flops", "unique_tokens", "batch"):
        if role in columns:
            needed = role not in ("unique_tokens", "batch")
            numbers[role] = _numbers(role, columns[role], reasons, needed)
            _refuse_text(role, columns[role], numbers[role], rows, origin)
    numbers, more = _complete(numbers)
    usable = np.array([not reason for reason in reasons])
    usable &= np.isfinite(numbers["params"]) & np.isfinite(numbers["tokens"])
    dropped = [(ids[i], reasons[i] or "a needed value is missing") for i in np.flatnonzero(~usable)]
    if usable.sum() < 2:
        first = f"; first: {dropped[0][0]}: {dropped[0][1]}" if dropped else ""
        raise ConfigError(f"{origin}: {int(usable.sum())} of {count} rows can be used{first}")
    index = np.flatnonzero(usable)
    points = _assemble(columns, numbers, index, ids, settings)
    stated = _stated(columns, settings)
    return dataclasses.replace(
        points, dropped=tuple(dropped), notes=(*rows.notes, *notes, *more, *stated)
    )


def _filtered(rows: _Rows, settings: TableSettings, origin: str) -> tuple[_Rows, tuple[str, ...]]:
    keep = np.ones(len(rows.lines), dtype=bool)
    for condition in settings.where:
        match = re.fullmatch(r"\s*(.+?)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", condition)
        if match is None:
            raise ConfigError(f"where {condition!r}: expected COLUMN=VALUE (or != < <= > >=)")
        name, sign, value = match.groups()
        if name not in rows.columns:
            raise ConfigError(f"{origin}: where: no column {name!r}; {_listed(rows.columns)}")
        keep &= [_holds(cell, sign, value) for cell in rows.columns[name]]
    if keep.all():
        return rows, ()
    index = np.flatnonzero(keep).tolist()
    if not index:
        raise ConfigError(f"{origin}: no row has {' and '.join(settings.where)}")
    columns = {name: [cells[i] for i in index] for name, cells in rows.columns.items()}
    note = f"{len(index)} of {len(rows.lines)} rows kept by {', '.join(settings.where)}"
    return _Rows(columns, [rows.lines[i] for i in index], rows.notes), (note,)


def _holds(cell: Any, sign: str, value: str) -> bool:
    try:
        return _COMPARE[sign](float(cell), float(value))
    except (TypeError, ValueError):
        return _COMPARE[sign](str(cell).strip(), value)


def _roles(rows: _Rows, settings: TableSettings, origin: str) -> dict[str, list[Any]]:
    """{role: cells}, by the settings' names or the roles' own."""
    lowered = {name.strip().lower(): name for name in rows.columns}
    found = {}
    for role in ROLES:
        if role in settings.columns:
            name = settings.columns[role]
            if not name:
                continue
            if name not in rows.columns:
                raise ConfigError(f"{origin}: no column {name!r}; {_listed(rows.columns)}")
            found[role] = rows.columns[name]
        elif role in lowered:
            found[role] = rows.columns[lowered[role]]
    missing = [role for role in ("params", "tokens", "loss") if role not in found]
    if missing and not ("flops" in found and missing in (["params"], ["tokens"])):
        guesses = {
            role: next((lowered[a] for a in aliases if a in lowered), "...")
            for role, aliases in _ALIASES.items()
            if role in missing
        }
        line = ",".join(f"{role}={name}" for role, name in guesses.items())
        raise ConfigError(
            f"{origin}: no column {', '.join(missing)}; {_listed(rows.columns)}; name them with "
            f"--columns {line}"
        )
    return found


def _listed(columns: Mapping[str, object]) -> str:
    names = list(columns)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"found {', '.join(names[:_SHOWN])}{more}"


def _run_ids(cells: list[Any] | None, lines: Sequence[int]) -> list[str]:
    plain = [f"row {line}" for line in lines]
    if cells is None:
        return plain
    names = [str(cell).strip() or own for cell, own in zip(cells, plain, strict=True)]
    times: dict[str, int] = {}
    for name in names:
        times[name] = times.get(name, 0) + 1
    return [n if times[n] == 1 else f"{n} ({own})" for n, own in zip(names, plain, strict=True)]


def _numbers(role: str, cells: Sequence[Any], reasons: list[str], needed: bool) -> Floats:
    """The cells as numbers above 0; NaN where not, with the row's reason."""
    found = np.full(len(cells), math.nan)
    for row, cell in enumerate(cells):
        value = _number(cell, role in _COUNTS)
        if value is not None and math.isfinite(value) and value > 0:
            found[row] = value
        elif needed and not reasons[row]:
            shown = cell if isinstance(cell, str) else repr(cell)
            reasons[row] = f"{role} is {shown!s:.40}, expected a number above 0"
            if role == "flops" and value is not None and value < 0:
                reasons[row] += " (an overflow? --columns flops= ignores the column)"
    return found


def _number(cell: Any, count: bool) -> float | None:
    if cell is None or isinstance(cell, bool):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        pass
    if not count or not isinstance(cell, str):
        return None
    try:
        return parse_count(cell)
    except ValueError:
        return None


def _refuse_text(
    role: str,
    cells: Sequence[Any],
    numbers: Floats,
    rows: _Rows,
    origin: str,
) -> None:
    """A column that is mostly no numbers is the wrong column, not a table of bad rows."""
    bad = np.flatnonzero(~np.isfinite(numbers))
    text = [i for i in bad.tolist() if _number(cells[i], role in _COUNTS) is None]
    if len(text) > len(numbers) / 2:
        first = text[0]
        raise ConfigError(
            f"{origin}:{rows.lines[first]}: column for {role} has {str(cells[first])[:40]!r},"
            " expected numbers; name the column with --columns"
        )


def _complete(
    numbers: dict[str, Floats],
) -> tuple[dict[str, Floats], tuple[str, ...]]:
    """Params, tokens and FLOPs from two of them under C = 6ND, and what was filled in."""
    for role, other in (("params", "tokens"), ("tokens", "params")):
        if role not in numbers:
            filled = numbers["flops"] / 6 / numbers[other]
            return numbers | {role: filled}, (f"{role} taken as flops / 6 / {other}",)
    if "flops" not in numbers:
        return numbers | {"flops": 6 * numbers["params"] * numbers["tokens"]}, ()
    return numbers | {"given": numbers["flops"]}, ()


def _assemble(
    columns: Mapping[str, list[Any]],
    numbers: Mapping[str, Floats],
    index: np.typing.NDArray[np.int64],
    ids: Sequence[str],
    settings: TableSettings,
) -> FitPoints:
    scale = 1.0 if settings.loss_unit == "nats" else math.log(2)
    per = "byte" if settings.loss_unit == "bits-per-byte" else "token"

    def text(role: str) -> list[str]:
        return [str(columns[role][i]).strip() for i in index]

    tokens, params = numbers["tokens"][index], numbers["params"][index]
    unique = numbers["unique_tokens"][index] if "unique_tokens" in numbers else tokens
    unique = np.where(np.isfinite(unique), np.minimum(unique, tokens), tokens)
    sem = np.full(len(index), math.nan)
    if "sem" in columns:
        cells = (_number(columns["sem"][i], False) for i in index)
        sem = np.array([math.nan if x is None or x < 0 else x * scale for x in cells])
    points = FitPoints(
        params=params,
        tokens=tokens,
        flops=numbers["flops"][index],
        loss_nats=numbers["loss"][index] * scale,
        loss_sem_nats=sem,
        tokens_unique=unique,
        run_id=tuple(ids[i] for i in index),
        cluster=tuple(text("cluster") if "cluster" in columns else [ids[i] for i in index]),
        size=tuple(text("size") if "size" in columns else map(format_count, params)),
        seed=_seeds(text("seed")) if "seed" in columns else (0,) * len(index),
        convention={
            "params": settings.params_are or "not stated",
            "flops": "as given" if "given" in numbers else "6nd",
            "loss": f"nats per {per}",
        },
        batch_tokens=numbers["batch"][index] if "batch" in numbers else None,
    )
    return points


def _stated(columns: Mapping[str, list[Any]], settings: TableSettings) -> list[str]:
    """What was assumed or converted, said."""
    stated = []
    if not settings.params_are:
        stated.append(
            "which parameters were counted is not stated: say --params-are total, non_embedding"
            " or matmul"
        )
    if settings.loss_unit != "nats":
        stated.append(f"losses converted from {settings.loss_unit} to nats by ln 2")
    if "cluster" not in columns:
        stated.append(
            "no cluster column: every row counts as an independent run; rows that share one"
            " make the intervals too narrow (--columns cluster=...)"
        )
    return stated


def _seeds(cells: Sequence[str]) -> tuple[int, ...]:
    order = {name: i for i, name in enumerate(dict.fromkeys(cells))}
    return tuple(int(cell) if re.fullmatch(r"-?\d{1,18}", cell) else order[cell] for cell in cells)
