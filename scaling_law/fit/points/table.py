"""Turns a table of runs into points: CSV, TSV, JSON, JSONL, parquet; it guesses nothing silently.

A role (params, tokens, loss, ...) is read from the column of that name, or from the one that
``--columns`` names. The user states what the numbers count, or the points say that it is not
stated. A row that cannot be used is listed with its line and the reason. ``tables/runs.csv`` of a
report is recognised by its columns, and read as the folder that it was written from.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError, one_line, quoted
from scaling_law.fit.points.cells import ROLES, Rows, read_rows
from scaling_law.fit.points.points import FitPoints, Floats
from scaling_law.units import format_count, parse_count

PARAMS_ARE = ("total", "non_embedding", "matmul", "active")
LOSS_UNITS = ("nats", "bits", "bits-per-byte")
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
_SIGN = re.compile("!=|<=|>=|=|<|>")
_SHOWN = 12
# A table with all these columns is a report's; and what its columns are, by role.
_EXPORTED = frozenset(
    ("run_id", "kind", "status", "params_matmul", "tokens", "val_loss_nats", "trunk", "fitted",
     "left_out")
)  # fmt: skip
_EXPORTED_ROLES = {
    "tokens": "tokens", "loss": "val_loss_nats", "flops": "flops_exact",
    "sem": "val_loss_sem_nats", "unique_tokens": "tokens_unique", "batch": "batch_tokens",
}  # fmt: skip
_PARAMS = "params_"


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """How to read a table.

    ``columns``: role -> name of its column; "" ignores a column of the role's own name.
    ``params_are``: what the parameters count, one of ``PARAMS_ARE``; "": not stated.
    ``loss_unit``: the unit of the losses, one of ``LOSS_UNITS``.
    ``where``: conditions on columns, as ``epochs<=4``.
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
    columns: dict[str, str] = {}
    for part in text.split(","):
        role, equals, column = part.partition("=")
        role = role.strip()
        if not equals:
            raise ConfigError(f"columns: {part.strip()!r}: expected ROLE=COLUMN, as params=N")
        _check_role(role)
        if role in columns:
            raise ConfigError(f"columns: {role} is given twice")
        columns[role] = column.strip()
    return columns


def read_table(
    path: Path,
    settings: TableSettings | None = None,
    *,
    keep: Collection[str] = (),
    convention: str = "matmul",
) -> FitPoints:
    """The points of a table of runs, one row each; unusable rows are in ``dropped``.

    For a report's ``runs.csv``, ``keep`` names rules that leave no run out and ``convention`` the
    parameters that count. Raises ``ConfigError``, naming file and line, for a table that cannot
    be read or has fewer than two usable rows.
    """
    try:
        rows = read_rows(path)
        return _known_points(rows, settings or TableSettings(), str(path), keep, convention)
    except ConfigError as problem:
        # the message quotes paths, headers and cells: a newline in one would break the line
        raise ConfigError(one_line(str(problem))) from None


def read_table_by(
    path: Path,
    keys: Sequence[str],
    settings: TableSettings | None = None,
    *,
    keep: Collection[str] = (),
    convention: str = "matmul",
) -> list[tuple[tuple[str, ...], FitPoints | ConfigError]]:
    """The points of the rows of each combination of values of the columns ``keys``.

    Each comes with its values as text, in the order of the table; where its rows cannot be used,
    with the reason. Raises ``ConfigError`` for a table or a column that is not there.
    """
    settings = settings or TableSettings()
    try:
        rows = read_rows(path)
        rows, notes = _filtered(rows, settings, str(path))
        for key in keys:
            _check_column(key, rows, f"{path}: --by")
    except ConfigError as problem:
        raise ConfigError(one_line(str(problem))) from None
    rows = dataclasses.replace(rows, notes=(*rows.notes, *notes))
    plain = dataclasses.replace(settings, where=())
    of_values: dict[tuple[str, ...], list[int]] = {}
    for row in range(len(rows.lines)):
        values = tuple(one_line(_text(rows.columns[key][row])) or "empty" for key in keys)
        of_values.setdefault(values, []).append(row)
    several: list[tuple[tuple[str, ...], FitPoints | ConfigError]] = []
    for values, index in of_values.items():
        try:
            points = _known_points(_taken(rows, index), plain, str(path), keep, convention)
            several.append((values, points))
        except ConfigError as problem:
            several.append((values, ConfigError(one_line(str(problem)))))
    return several


def points_from_columns(
    columns: Mapping[str, Iterable[Any]], settings: TableSettings, *, origin: str
) -> FitPoints:
    """The points of columns in memory, all of one length."""
    plain = {str(name): list(values) for name, values in columns.items()}
    counts = {name: len(values) for name, values in plain.items()}
    if len(set(counts.values())) > 1:
        words = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigError(f"{origin}: columns of different lengths: {words}")
    rows = Rows(plain, range(1, max(counts.values(), default=0) + 1))
    try:
        return _known_points(rows, settings, origin)
    except ConfigError as problem:
        raise ConfigError(one_line(str(problem))) from None


def _known_points(
    rows: Rows,
    settings: TableSettings,
    origin: str,
    keep: Collection[str] = (),
    convention: str = "matmul",
) -> FitPoints:
    """The points of a table; of a report's table without the runs that the report left out."""
    if not rows.columns.keys() >= _EXPORTED:
        return _points(rows, settings, origin)
    rows = _with_trunks(rows)
    columns, count = _exported_columns(rows, settings.columns, settings.params_are, convention)
    settings = dataclasses.replace(settings, columns=columns, params_are=count)
    rows, notes = _filtered(rows, settings, origin)
    settings = dataclasses.replace(settings, where=())
    points = _points(rows, settings, origin, _why_left_out(rows, keep))
    ids = _run_ids(_roles(rows, settings, origin).get("run_id"), rows.lines)
    recipes = dict(zip(ids, _cells(rows, "recipe"), strict=True))
    counted = dict(points.convention)
    if columns.get("flops") == "flops_exact":
        counted["flops"] = "exact"
    return dataclasses.replace(
        points,
        convention=counted,
        recipe=tuple(recipes[run_id] for run_id in points.run_id),
        annealed="not_annealed" not in keep,
        notes=(*notes, *points.notes),
    )


def _with_trunks(rows: Rows) -> Rows:
    """A report's rows with a column ``cluster`` for their trunks.

    As in a folder, runs of one size, seed and text share a trunk under any set of horizons.
    """
    rows = _in_folder_order(rows)
    texts = _cells(rows, "corpus_fingerprint")
    shared = len(set(texts)) == 1
    columns = (_cells(rows, name) for name in ("size", "seed", "recipe"))
    names = [
        f"{size} seed {seed}" + ("" if shared else f" {text[:6]}") + (f" {how}" if how else "")
        for size, seed, how, text in zip(*columns, texts, strict=True)
    ]
    return dataclasses.replace(rows, columns={**rows.columns, "cluster": names})


def _in_folder_order(rows: Rows) -> Rows:
    """A report's rows in the order of a folder's points.

    The draws of a bootstrap then fall on the same runs.
    """
    names = ("params_non_embedding", "tokens", "run_id")
    cells = zip(*(_cells(rows, name) for name in names), strict=True)
    try:
        keys = [(float(params), float(tokens), run_id) for params, tokens, run_id in cells]
    except ValueError:  # the cell is named where the numbers are read
        return rows
    order = sorted(range(len(keys)), key=keys.__getitem__)
    columns = {name: [column[i] for i in order] for name, column in rows.columns.items()}
    return dataclasses.replace(rows, columns=columns, lines=[rows.lines[i] for i in order])


def _exported_columns(
    rows: Rows, given: Mapping[str, str], params_are: str, convention: str
) -> tuple[dict[str, str], str]:
    """Role -> column of a report's table, and what its parameters count.

    The columns ``given`` come first. The count is the stated one, else the one that the parameters'
    column names, else ``convention``.
    """
    params = given.get("params", "")
    named = params.removeprefix(_PARAMS) if params.startswith(_PARAMS) else ""
    count = params_are or named or convention
    own = {role: name for role, name in _EXPORTED_ROLES.items() if name in rows.columns}
    return {**own, "params": f"{_PARAMS}{count}", **given}, count


def _why_left_out(rows: Rows, keep: Collection[str]) -> list[str]:
    """Why the report leaves each run out; "" for a run that is a point of the law."""
    columns = (_cells(rows, name) for name in ("left_out", "status", "kind"))
    return [
        _why_no_point(left, status, kind, keep) for left, status, kind in zip(*columns, strict=True)
    ]


def _why_no_point(left: str, status: str, kind: str, keep: Collection[str]) -> str:
    if left:
        return "" if left.partition(":")[0] in keep else left
    # where nothing could be fitted the report gives no reason
    if status == "diverged":
        return "diverged"
    if kind == "trunk" and "not_annealed" not in keep:
        return "not_annealed: a trunk (its branches are the points)"
    return ""


def _cells(rows: Rows, name: str) -> list[str]:
    """A report's column as text; empty cells where it has no such column."""
    cells: Sequence[Any] = rows.columns.get(name) or [""] * len(rows.lines)
    return [_text(cell) for cell in cells]


def _points(
    rows: Rows, settings: TableSettings, origin: str, known: Sequence[str] = ()
) -> FitPoints:
    """``known``: a reason against each row, or "", before any row is read."""
    rows, notes = _filtered(rows, settings, origin)
    columns = _roles(rows, settings, origin)
    count = len(rows.lines)
    ids = _run_ids(columns.get("run_id"), rows.lines)
    numbers: dict[str, Floats] = {}
    reasons = list(known) or [""] * count
    for role in ("params", "tokens", "loss", "flops", "unique_tokens", "batch"):
        if role in columns:
            needed = role not in ("unique_tokens", "batch")
            numbers[role] = _numbers(role, columns[role], reasons, needed)
            _refuse_text(role, columns[role], numbers[role], rows, origin)
    with np.errstate(over="ignore"):
        numbers, more = _complete(numbers)
    usable = np.array([not reason for reason in reasons])
    for role in ("params", "tokens", "flops"):
        usable &= np.isfinite(numbers[role]) & (numbers[role] > 0)
    dropped = [
        (ids[i], reasons[i] or "params, tokens or FLOPs beyond floats")
        for i in np.flatnonzero(~usable)
    ]
    if usable.sum() < 2:
        first = f"; first: {dropped[0][0]}: {dropped[0][1]}" if dropped else ""
        raise ConfigError(
            f"{origin}: {int(usable.sum())} of {count} rows can be used, expected at least 2{first}"
        )
    index = np.flatnonzero(usable)
    points = _assemble(columns, numbers, index, ids, settings)
    stated = _stated(columns, settings)
    return dataclasses.replace(
        points, dropped=tuple(dropped), notes=(*rows.notes, *notes, *more, *stated)
    )


def _filtered(rows: Rows, settings: TableSettings, origin: str) -> tuple[Rows, tuple[str, ...]]:
    index = chosen_rows(rows, settings.where, origin, "row")
    if len(index) == len(rows.lines):
        return rows, ()
    note = f"{len(index)} of {len(rows.lines)} rows chosen by {', '.join(settings.where)}"
    return _taken(rows, index), (note,)


def _taken(rows: Rows, index: Sequence[int]) -> Rows:
    """The rows of these numbers."""
    columns = {name: [cells[i] for i in index] for name, cells in rows.columns.items()}
    return Rows(columns, [rows.lines[i] for i in index], rows.notes, rows.twice)


def chosen_rows(rows: Rows, where: Sequence[str], origin: str, called: str) -> list[int]:
    """Numbers of the rows that meet every condition, as ``epochs<=4``.

    Raises ``ConfigError`` for a condition that cannot be read, for a missing column, and where no
    row is left. ``called``: what a message calls a row.
    """
    keep = np.ones(len(rows.lines), dtype=bool)
    for condition in where:
        match = _SIGN.search(condition.strip(), 1)  # a column has at least one character
        if match is None:
            raise ConfigError(f"where {quoted(condition)}: expected COLUMN=VALUE (or != < <= > >=)")
        name, sign, value = (part.strip() for part in _parts(match))
        _check_column(name, rows, f"{origin}: where")
        keep &= [_holds(cell, sign, value) for cell in rows.columns[name]]
    index: list[int] = np.flatnonzero(keep).tolist()
    if not index:
        raise ConfigError(f"{origin}: no {called} has {' and '.join(where)}")
    return index


def _parts(match: re.Match[str]) -> tuple[str, str, str]:
    """The text before a match, the match, and the text after it."""
    return match.string[: match.start()], match[0], match.string[match.end() :]


def _check_column(name: str, rows: Rows, place: str) -> None:
    if name in rows.twice:
        raise ConfigError(f"{place}: column {name!r} is there twice; rename one in the table")
    if name not in rows.columns:
        raise ConfigError(f"{place}: no column {name!r}; {_listed(rows.columns)}")


def _holds(cell: Any, sign: str, value: str) -> bool:
    number, text = _number(value, False), _text(cell)
    if number is not None:
        known = float(cell) if isinstance(cell, bool) else _number(cell, False)
        if known is not None:
            return _COMPARE[sign](known, number)
    # an empty cell is neither below nor above: as text it would come before every number
    if sign not in ("=", "!=") and (number is not None or not text):
        return False
    return _COMPARE[sign](text, value)


def _text(cell: Any) -> str:
    """The cell as text; "" for a missing one."""
    missing = cell is None or (isinstance(cell, float) and math.isnan(cell))
    return "" if missing else str(cell).strip()


def _roles(rows: Rows, settings: TableSettings, origin: str) -> dict[str, list[Any]]:
    """{role: cells}, from the columns that the settings name or those of the role's own name."""
    named: dict[str, list[str]] = {}
    for name in (*rows.columns, *rows.twice, *rows.twice):
        named.setdefault(name.strip().lower(), []).append(name)
    lowered = {low: names[0] for low, names in named.items()}
    cells = {}
    for role in ROLES:
        if role in settings.columns:
            name = settings.columns[role]
            if not name:
                continue
            _check_column(name, rows, origin)
            cells[role] = rows.columns[name]
        elif len(named.get(role, ())) > 1:
            raise ConfigError(
                f"{origin}: column {role} is there twice ({', '.join(named[role])}); name one of"
                f" its own with --columns {role}=..."
            )
        elif role in lowered:
            cells[role] = rows.columns[lowered[role]]
    missing = [role for role in ("params", "tokens", "loss") if role not in cells]
    if missing and not ("flops" in cells and missing in (["params"], ["tokens"])):
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
    return cells


def _listed(columns: Mapping[str, object]) -> str:
    names = list(columns)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"found {', '.join(names[:_SHOWN])}{more}"


def _run_ids(cells: list[Any] | None, lines: Sequence[int]) -> list[str]:
    plain = [f"row {line}" for line in lines]
    if cells is None:
        return plain
    # one line each: they may be printed to a terminal
    names = [one_line(_text(cell)) or own for cell, own in zip(cells, plain, strict=True)]
    times = Counter(names)
    ids = [n if times[n] == 1 else f"{n} ({own})" for n, own in zip(names, plain, strict=True)]
    if len(set(ids)) < len(ids):  # a name already ends in the number of another row
        ids = [f"{name} ({own})" for name, own in zip(names, plain, strict=True)]
    return ids


def _numbers(role: str, cells: Sequence[Any], reasons: list[str], needed: bool) -> Floats:
    """The cells as numbers above 0; NaN for the others, whose row gets a reason."""
    numbers = np.full(len(cells), math.nan)
    for row, cell in enumerate(cells):
        value = _number(cell, role in _COUNTS)
        if value is not None and math.isfinite(value) and value > 0:
            numbers[row] = value
        elif needed and not reasons[row]:
            shown = (cell.strip() or "empty") if isinstance(cell, str) else repr(cell)
            reasons[row] = f"{role} is {one_line(f'{shown!s:.40}')}, expected a number above 0"
            if role == "flops" and value is not None and value < 0:
                reasons[row] += " (an overflow? --columns flops= ignores the column)"
    return numbers


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
    rows: Rows,
    origin: str,
) -> None:
    """Raises ``ConfigError`` for a column of mostly text: it is the wrong column."""
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

    def text(role: str, otherwise: Sequence[str]) -> tuple[str, ...]:
        if role not in columns:
            return tuple(otherwise)
        cells = (one_line(_text(columns[role][i])) for i in index)
        return tuple(cell or other for cell, other in zip(cells, otherwise, strict=True))

    names = tuple(ids[i] for i in index)
    tokens, params = numbers["tokens"][index], numbers["params"][index]
    unique = numbers["unique_tokens"][index] if "unique_tokens" in numbers else tokens
    unique = np.where(np.isfinite(unique), np.minimum(unique, tokens), tokens)
    sem = np.full(len(index), math.nan)
    if "sem" in columns:
        cells = (_number(columns["sem"][i], False) for i in index)
        sem = np.array(
            [x * scale if x is not None and 0 <= x < math.inf else math.nan for x in cells]
        )
    points = FitPoints(
        params=params,
        tokens=tokens,
        flops=numbers["flops"][index],
        loss_nats=numbers["loss"][index] * scale,
        loss_sem_nats=sem,
        tokens_unique=unique,
        run_id=names,
        # a row without a trunk's name is its own trunk: rows without one do not share it
        cluster=text("cluster", names),
        size=text("size", [format_count(count) for count in params]),
        seed=_seeds(text("seed", [""] * len(index))) if "seed" in columns else (0,) * len(index),
        convention={
            "params": settings.params_are or "not stated",
            "flops": "as given" if "given" in numbers else "6nd",
            "loss": f"nats per {per}",
        },
        batch_tokens=numbers["batch"][index] if "batch" in numbers else None,
    )
    return points


def _stated(columns: Mapping[str, list[Any]], settings: TableSettings) -> list[str]:
    """What was assumed or converted, in words."""
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
