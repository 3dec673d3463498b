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
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError, one_line, quoted
from scaling_law.fit.points import plausible
from scaling_law.fit.points.cells import read_rows
from scaling_law.fit.points.column_units import (
    COUNTS,
    LOSS_UNITS,
    Unit,
    base_name,
    check_units,
    in_name,
    loss_unit_in_name,
    small_enough,
    unit_of,
)
from scaling_law.fit.points.numbers import conversions, decimal_marks, is_missing, number
from scaling_law.fit.points.points import FitPoints, Floats
from scaling_law.fit.points.rows import ROLES, Rows
from scaling_law.units import count_of, format_count

PARAMS_ARE = ("total", "non_embedding", "matmul", "active")
# A law needs far fewer points; the resamples of so many fill the memory of a laptop.
MOST_POINTS = 100_000
_NUMERIC = ("params", "tokens", "loss", "flops", "unique_tokens", "batch", "sem")
_COUNTED = (*COUNTS, "flops")
_ALIASES = {
    "params": ("n", "n_params", "num_params", "parameters", "model_size", "nparams"),
    "tokens": ("d", "n_tokens", "num_tokens", "train_tokens", "training_tokens", "data"),
    "loss": ("val_loss", "validation_loss", "eval_loss", "test_loss", "l", "final_loss",
             "perplexity", "ppl", "val_ppl", "bpb", "bits_per_byte", "nll", "cross_entropy"),
}  # fmt: skip
# Words in a column's name that tell its role, and those that tell it from others of the role.
_WORDS_IN_NAMES = {
    "params": (("param", "model_size", "model size"), ("total",)),
    "tokens": (("token",), ("train", "seen", "total")),
    "loss": (("loss", "perplexity", "ppl", "bpb", "nll"), ("val", "eval", "test", "final")),
    "flops": (("flop", "compute", "pf_days", "pf-days", "pfdays"), ()),
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
_EXPORTED_ALSO = frozenset(("corpus_fingerprint", "recipe"))
_PARAMS = "params_"


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """How to read a table.

    ``columns``: role -> name of its column; "" ignores a column of the role's own name.
    ``params_are``: what the parameters count, one of ``PARAMS_ARE``; "": not stated.
    ``loss_unit``: the unit of the losses, one of ``LOSS_UNITS``; "": nats, or what the column's
        name says.
    ``where``: conditions on columns, as ``epochs<=4``.
    ``units``: role -> the unit of its numbers, as in M or PF-days.
    ``history``: which rows of a run with many count, one of ``plausible.HISTORIES``; "": such a
        table is refused.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    params_are: str = ""
    loss_unit: str = ""
    where: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    history: str = ""

    def __post_init__(self) -> None:
        for role in self.columns:
            _check_role(role)
        if self.params_are and self.params_are not in PARAMS_ARE:
            raise ConfigError(f"params are {self.params_are!r}: expected {', '.join(PARAMS_ARE)}")
        if self.loss_unit and self.loss_unit not in LOSS_UNITS:
            raise ConfigError(f"loss unit {self.loss_unit!r}: expected {', '.join(LOSS_UNITS)}")
        if self.history and self.history not in plausible.HISTORIES:
            known = ", ".join(plausible.HISTORIES)
            raise ConfigError(f"history {self.history!r}: expected {known}")
        check_units(self.units)


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
        rows = read_rows(path, _wanted(settings or TableSettings()))
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
    wanted = _wanted(settings)
    try:
        rows = read_rows(path, lambda name: name in keys or wanted(name))
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


def _wanted(settings: TableSettings) -> Callable[[str], bool]:
    """Which columns are read: those of a role, those that conditions name, a report's own."""
    exact = {*settings.columns.values(), *(_condition(where)[0] for where in settings.where)}
    low = {
        *ROLES, *_EXPORTED, *_EXPORTED_ROLES.values(), *_EXPORTED_ALSO, *plausible.STATE_COLUMNS,
        *plausible.FLAGS, *plausible.LABELS, *plausible.STEPS,
    }  # fmt: skip

    def wanted(name: str) -> bool:
        plain = name.strip().lower()
        if name in exact or plain in low or plain.startswith(_PARAMS):
            return True
        return _role_of(name) is not None

    return wanted


def _role_of(name: str) -> str | None:
    """The role that a column's name says, with or without a unit: ``tokens (B)`` are tokens."""
    for plain in (name.strip().lower(), base_name(name)):
        if plain in ROLES:
            return plain
    for role in _COUNTED:
        base, unit = in_name(role, name)
        if unit is not None and base.strip().lower() == role:
            return role
    base = re.sub(r"[\s_\-]+", " ", name.strip().lower())
    if base.startswith("loss ") and loss_unit_in_name(base):
        return "loss"
    return None


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
    ids = _run_ids(rows.columns.get(_roles(rows, settings, origin).get("run_id", "")), rows.lines)
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
    rows: Rows, settings: TableSettings, origin: str, known: Sequence[str] | None = None
) -> FitPoints:
    """``known``: a reason against each row of a report's table, or "", which was checked before."""
    rows, notes = _filtered(rows, settings, origin)
    names = _roles(rows, settings, origin)
    columns = {role: rows.columns[name] for role, name in names.items()}
    ids = _run_ids(columns.get("run_id"), rows.lines)
    reasons = list(known or [""] * len(rows.lines))
    if known is None:
        reasons = plausible.summaries(rows)
        notes += _without_unfinished(rows, settings, reasons)
        notes += _other_losses(rows, names["loss"], settings)
    numbers, more = _read_numbers(columns, reasons, rows, origin)
    numbers, units, loss_unit = _in_plain_units(numbers, names, settings)
    losses = _losses(numbers["loss"], loss_unit, reasons)
    with np.errstate(over="ignore"):
        filled, filled_notes = _complete(numbers)
    if known is None:
        _refuse_implausible(filled, losses, loss_unit, reasons, settings, names, origin)
        if "given" in filled:
            unit = plausible.flops_unit(
                filled, reasons, origin=origin, stated="flops" in settings.units
            )
            if unit is not None:
                filled["flops"] = filled["flops"] * unit.factor
                units.append(f"flops read in {unit.words}: so they are 6 * params * tokens")
    names_of_runs, history = _histories(rows, filled, columns, settings, reasons, origin, known)
    usable = np.array([not reason for reason in reasons], dtype=bool)
    for role in ("params", "tokens", "flops"):
        usable &= np.isfinite(filled[role]) & (filled[role] > 0)
    dropped = [
        (ids[i], reasons[i] or "params, tokens or FLOPs overflow")
        for i in np.flatnonzero(~usable)
        if reasons[i] != _EARLIER
    ]
    _check_number(int(usable.sum()), len(rows.lines), dropped, origin)
    filled["loss"] = losses
    points = _assemble(
        columns, filled, np.flatnonzero(usable), ids, settings, loss_unit, names_of_runs
    )
    stated = _stated(columns, settings, loss_unit, bool(names_of_runs))
    if known is None:
        stated += _repeats(points)
    return dataclasses.replace(
        points,
        dropped=tuple(dropped),
        notes=(*rows.notes, *notes, *more, *filled_notes, *units, *history, *stated),
    )


def _other_losses(rows: Rows, column: str, settings: TableSettings) -> tuple[str, ...]:
    """A note on another column that may be the loss, where no option names it."""
    others = [
        name
        for name in rows.known
        if name.strip().lower() in _ALIASES["loss"] and name != column and len(name) > 1
    ]
    if not others or "loss" in settings.columns:
        return ()
    option = one_line(shlex.quote(f"loss={others[0]}"))
    return (f"losses are read from column {one_line(column)}; --columns {option} reads another",)


def _repeats(points: FitPoints) -> tuple[str, ...]:
    """A note on rows that have the params, tokens and loss of an earlier one."""
    keys = list(zip(*(x.tolist() for x in (points.params, points.tokens, points.loss_nats)),
                    strict=True))  # fmt: skip
    first: dict[tuple[float, ...], int] = {}
    again = [row for row, key in enumerate(keys) if first.setdefault(key, row) != row]
    if not again:
        return ()
    earlier = points.run_id[first[keys[again[0]]]]
    return (
        f"{count_of(len(again), 'row')} with the params, tokens and loss of an earlier one"
        f" ({points.run_id[again[0]]} is as {earlier}): remove repeated rows, which make the"
        " intervals too narrow",
    )


def _without_unfinished(rows: Rows, settings: TableSettings, reasons: list[str]) -> tuple[str, ...]:
    """Adds the reasons against runs that did not finish; returns what a reader should know."""
    unfinished, notes = plausible.unfinished(rows, settings.columns.get("state"))
    for row, reason in enumerate(unfinished):
        reasons[row] = reasons[row] or reason
    count = sum(map(bool, unfinished))
    if count:
        notes.append(
            f"{count} of {len(rows.lines)} rows are of runs that did not finish (--columns state="
            " takes them for finished)"
        )
    return tuple(notes)


def _read_numbers(
    columns: Mapping[str, list[Any]], reasons: list[str], rows: Rows, origin: str
) -> tuple[dict[str, Floats], list[str]]:
    """The numeric columns, and what was read in another way than a program would."""
    cells = {role: columns[role] for role in _NUMERIC if role in columns}
    marks = decimal_marks(cells, origin)
    numbers = {}
    for role, texts in cells.items():
        needed = role not in ("unique_tokens", "batch", "sem")
        values = [number(cell, count=role in _COUNTED, mark=marks[role]) for cell in texts]
        numbers[role] = _above_zero(role, texts, values, reasons, needed)
        if needed:
            _refuse_text(role, texts, values, rows, origin)
        if role in _COUNTED:
            plausible.check_signs(role, values, origin)
    return numbers, conversions(cells, marks)


def _in_plain_units(
    numbers: Mapping[str, Floats], names: Mapping[str, str], settings: TableSettings
) -> tuple[dict[str, Floats], list[str], str]:
    """The numbers in their plain units, what was converted, and the unit of the losses.

    An option says more than a column's name.
    """
    plain, notes = dict(numbers), []
    for role in _COUNTED:
        if role not in plain:
            continue
        stated = settings.units.get(role)
        unit: Unit | None
        if stated is not None:
            unit = unit_of(role, stated)
        else:
            _, unit = in_name(role, names[role])
            known = plain[role][np.isfinite(plain[role])]
            median = float(np.median(known)) if len(known) else math.nan
            if unit is not None and not small_enough(unit, median):
                notes.append(
                    f"column {one_line(names[role])!r} has {role} of {median:.3g}: read as plain"
                    f" counts, not in {unit.words}"
                )
                unit = None
        if unit is not None and unit.factor != 1:
            with np.errstate(over="ignore"):
                plain[role] = plain[role] * unit.factor
            where = f"column {one_line(names[role])!r}" if stated is None else "--units"
            notes.append(f"{role} read in {unit.words} ({where})")
    loss_unit = settings.loss_unit
    if not loss_unit:
        loss_unit = loss_unit_in_name(names["loss"]) or "nats"
        if loss_unit != "nats":
            notes.append(
                f"column {one_line(names['loss'])!r} read as {loss_unit} by its name (--loss-unit"
                " says otherwise)"
            )
    return plain, notes, loss_unit


def _losses(values: Floats, unit: str, reasons: list[str]) -> Floats:
    """The losses in nats; a perplexity of 1 or less has none above 0."""
    if unit != "perplexity":
        return values * (math.log(2) if unit in ("bits", "bits-per-byte") else 1.0)
    with np.errstate(invalid="ignore"):
        low = np.isfinite(values) & (values <= 1)
        losses = np.log(np.where(low, math.nan, values))
    for row in np.flatnonzero(low):
        reasons[row] = reasons[row] or f"loss is {values[row]:.6g}, expected a perplexity above 1"
    return losses


def _refuse_implausible(
    numbers: Mapping[str, Floats],
    losses: Floats,
    loss_unit: str,
    reasons: list[str],
    settings: TableSettings,
    given: Collection[str],
    origin: str,
) -> None:
    """Raises ``ConfigError`` for columns that cannot be what they are called.

    Single rows get a reason. ``given``: the roles that have a column.
    """
    plausible.check_counts(
        numbers, reasons, origin=origin, stated=settings.units.keys(), given=given
    )
    if not {"params", "tokens"} & settings.units.keys():
        plausible.check_ratio(numbers, reasons, origin)
    plausible.check_losses(losses, reasons, origin=origin, unit=loss_unit, shown=numbers["loss"])


_EARLIER = "an earlier row of its run"


def _histories(
    rows: Rows,
    numbers: Mapping[str, Floats],
    columns: Mapping[str, list[Any]],
    settings: TableSettings,
    reasons: list[str],
    origin: str,
    known: Sequence[str] | None,
) -> tuple[list[str], list[str]]:
    """The run of each row where rows are the histories of runs (else empty), and what was done.

    Raises ``ConfigError`` for histories where the settings do not say which rows count.
    """
    if known is not None:
        return [], []
    clusters = [_text(cell) for cell in columns["cluster"]] if "cluster" in columns else None
    groups = plausible.histories(rows, numbers, clusters)
    if not groups:
        return [], []
    if not settings.history:
        plausible.refuse_history(origin, groups, len(rows.lines))
    runs = [""] * len(rows.lines)
    left = 0
    for place, group in enumerate(groups, 1):
        usable = [row for row in group if not reasons[row]]
        for row in group:
            runs[row] = f"run {place}"
            if settings.history == "last" and row in usable[:-1]:
                reasons[row] = _EARLIER
                left += 1
    if settings.history == "last":
        return [], [f"the last usable row of each of {len(groups)} runs; {left} earlier left out"]
    return runs, [f"every row of {len(groups)} training histories; a trunk a run"]


def _check_number(usable: int, count: int, dropped: Sequence[tuple[str, str]], origin: str) -> None:
    """Raises ``ConfigError`` for too few or too many points."""
    if usable < 2:
        first = f"; first: {dropped[0][0]}: {dropped[0][1]}" if dropped else ""
        raise ConfigError(
            f"{origin}: {usable} of {count} rows can be used, expected at least 2{first}"
        )
    if usable > MOST_POINTS:
        raise ConfigError(
            f"{origin}: {usable:,} runs; at most {MOST_POINTS:,} are fitted: choose some with"
            " --where"
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
    lines = [rows.lines[i] for i in index]
    return dataclasses.replace(rows, columns=columns, lines=lines)


def chosen_rows(rows: Rows, where: Sequence[str], origin: str, called: str) -> list[int]:
    """Numbers of the rows that meet every condition, as ``epochs<=4``.

    Raises ``ConfigError`` for a condition that cannot be read, for a missing column, and where no
    row is left. ``called``: what a message calls a row.
    """
    keep = np.ones(len(rows.lines), dtype=bool)
    for condition in where:
        name, sign, value = _condition(condition)
        _check_column(name, rows, f"{origin}: where")
        cells = rows.columns[name]
        mark = decimal_marks({name: cells}, f"{origin}: where")[name]
        keep &= [_holds(cell, sign, value, mark) for cell in cells]
    index: list[int] = np.flatnonzero(keep).tolist()
    if not index:
        raise ConfigError(f"{origin}: no {called} has {' and '.join(where)}")
    return index


def _condition(text: str) -> tuple[str, str, str]:
    """The column, the sign and the value of a condition."""
    plain = text.strip()
    match = _SIGN.search(plain, 1)  # a column has at least one character
    if match is None:
        raise ConfigError(f"where {quoted(text)}: expected COLUMN=VALUE (or != < <= > >=)")
    return plain[: match.start()].strip(), match[0], plain[match.end() :].strip()


def _check_column(name: str, rows: Rows, place: str) -> None:
    if name in rows.twice:
        raise ConfigError(f"{place}: column {name!r} is there twice; rename one in the table")
    if name not in rows.columns:
        raise ConfigError(f"{place}: no column {name!r}; {_listed(rows.known)}")


def _holds(cell: Any, sign: str, value: str, mark: str) -> bool:
    wanted, text = number(value), _text(cell)
    if wanted is not None:
        known = float(cell) if isinstance(cell, bool) else number(cell, mark=mark)
        if known is not None:
            return _COMPARE[sign](known, wanted)
    # an empty cell is neither below nor above: as text it would come before every number
    if sign not in ("=", "!=") and (wanted is not None or not text):
        return False
    return _COMPARE[sign](text, value)


def _text(cell: Any) -> str:
    """The cell as text; "" for a missing one."""
    missing = cell is None or (isinstance(cell, float) and math.isnan(cell))
    return "" if missing else str(cell).strip()


def _roles(rows: Rows, settings: TableSettings, origin: str) -> dict[str, str]:
    """{role: column}, from the columns that the settings name or those of the role's own name."""
    named: dict[str, list[str]] = {}
    for name in (*rows.columns, *rows.twice, *rows.twice):
        role = _role_of(name)
        named.setdefault(role or name.strip().lower(), []).append(name)
    roles = {}
    for role in ROLES:
        if role in settings.columns:
            name = settings.columns[role]
            if name:
                _check_column(name, rows, origin)
                roles[role] = name
            continue
        own = named.get(role, [])
        plain = [name for name in own if name.strip().lower() == role]
        if len(plain or own) > 1:
            raise ConfigError(
                f"{origin}: column {role} is there twice ({', '.join(plain or own)}); name one of"
                f" its own with --columns {role}=..."
            )
        if own:
            roles[role] = (plain or own)[0]
    missing = [role for role in ("params", "tokens", "loss") if role not in roles]
    if missing and not ("flops" in roles and missing in (["params"], ["tokens"])):
        _refuse_missing(missing, rows, origin)
    return roles


def _refuse_missing(missing: Sequence[str], rows: Rows, origin: str) -> None:
    """Raises ``ConfigError`` for roles without a column."""
    lowered = {name.strip().lower(): name for name in rows.known}
    if any(name.endswith("__MIN") for name in rows.known) or (
        {"wall time", "step", "value"} <= lowered.keys()
    ):
        raise ConfigError(
            f"{origin}: no column {', '.join(missing)}; this is an export of training curves"
            f" ({_listed(rows.known)}); expected one run a row, with its params, tokens and loss"
        )
    guesses = {role: _guess(role, rows.known) for role in missing}
    unknown = [role for role in ("params", "tokens") if guesses.get(role) == "..."]
    flops = _guess("flops", rows.known)
    if len(unknown) == 1 and flops != "...":  # the third follows from two
        del guesses[unknown[0]]
        guesses["flops"] = flops
    line = shlex.quote(",".join(f"{role}={name}" for role, name in guesses.items()))
    raise ConfigError(
        f"{origin}: no column {', '.join(missing)}; {_listed(rows.known)}; name them with "
        f"--columns {line}"
    )


def _guess(role: str, names: Sequence[str]) -> str:
    """The column that a role may be: one of its usual names, or else the one that has its word."""
    lowered = {name.strip().lower(): name for name in names}
    lowered.pop(role, None)  # an option ignores the column of this name
    for alias in _ALIASES.get(role, ()):
        if alias in lowered:
            return lowered[alias]
    words, better = _WORDS_IN_NAMES[role]
    likely = [name for low, name in lowered.items() if any(word in low for word in words)]
    best = [name for name in likely if any(word in name.lower() for word in better)]
    return next((some[0] for some in (best, likely) if len(some) == 1), "...")


def _listed(columns: Collection[str]) -> str:
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


def _above_zero(
    role: str,
    cells: Sequence[Any],
    values: Sequence[float | None],
    reasons: list[str],
    needed: bool,
) -> Floats:
    """The values above 0 (a standard error may be 0); NaN for others, whose row gets a reason."""
    numbers = np.full(len(cells), math.nan)
    for row, value in enumerate(values):
        least = -math.ulp(0.0) if role == "sem" else 0.0
        if value is not None and least < value < math.inf:
            numbers[row] = value
        elif needed and not reasons[row]:
            cell = cells[row]
            shown = cell.strip() if isinstance(cell, str) else "" if cell is None else repr(cell)
            if value is not None and math.isnan(value):
                shown = "missing"
            reasons[row] = (
                f"{role} is {one_line(f'{shown:.40}') or 'empty'}, expected a number above 0"
            )
            if role in _COUNTED and value is not None and value < 0:
                ignore = " --columns flops= ignores the column" if role == "flops" else ""
                reasons[row] += f" ({plausible.overflow_words(value)}{ignore})"
    return numbers


def _refuse_text(
    role: str, cells: Sequence[Any], values: Sequence[float | None], rows: Rows, origin: str
) -> None:
    """Raises ``ConfigError`` for a column of mostly text: it is the wrong column."""
    given = [row for row, cell in enumerate(cells) if not is_missing(cell)]
    text = [row for row in given if values[row] is None]
    if len(text) > len(given) / 2:
        raise ConfigError(
            f"{origin}:{rows.lines[text[0]]}: column for {role} has"
            f" {str(cells[text[0]])[:40]!r}, expected numbers; name the column with --columns"
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
    loss_unit: str,
    runs: Sequence[str],
) -> FitPoints:

    def text(role: str, otherwise: Sequence[str]) -> tuple[str, ...]:
        if role not in columns:
            return tuple(otherwise)
        cells = (one_line(_text(columns[role][i])) for i in index)
        return tuple(cell or other for cell, other in zip(cells, otherwise, strict=True))

    names = tuple(ids[i] for i in index)
    tokens, params = numbers["tokens"][index], numbers["params"][index]
    unique = numbers["unique_tokens"][index] if "unique_tokens" in numbers else tokens
    unique = np.where(np.isfinite(unique), np.minimum(unique, tokens), tokens)
    trunks = text("cluster", names)
    if runs and "cluster" not in columns:
        trunks = tuple(runs[i] for i in index)
    points = FitPoints(
        params=params,
        tokens=tokens,
        flops=numbers["flops"][index],
        loss_nats=numbers["loss"][index],
        loss_sem_nats=_errors_in_nats(numbers, loss_unit)[index],
        tokens_unique=unique,
        run_id=names,
        # a row without a trunk's name is its own trunk: rows without one do not share it
        cluster=trunks,
        size=text("size", [format_count(count) for count in params]),
        seed=_seeds(text("seed", [""] * len(index))) if "seed" in columns else (0,) * len(index),
        convention={
            "params": settings.params_are or "not stated",
            "flops": "as given" if "given" in numbers else "6nd",
            "loss": _LOSS_IN_WORDS.get(loss_unit, "nats per token"),
        },
        batch_tokens=numbers["batch"][index] if "batch" in numbers else None,
    )
    return points


_LOSS_IN_WORDS = {"bits-per-byte": "nats per byte", "other": "as given, in a unit not stated"}


def _errors_in_nats(numbers: Mapping[str, Floats], loss_unit: str) -> Floats:
    """The standard errors of the losses, NaN where unknown."""
    if "sem" not in numbers:
        return np.full(len(numbers["loss"]), math.nan)
    if loss_unit == "perplexity":  # d ln x = dx / x
        return np.asarray(numbers["sem"] / np.exp(numbers["loss"]))
    return numbers["sem"] * (math.log(2) if loss_unit in ("bits", "bits-per-byte") else 1.0)


def _stated(
    columns: Mapping[str, list[Any]], settings: TableSettings, loss_unit: str, of_runs: bool
) -> list[str]:
    """What was assumed or converted, in words."""
    stated = []
    if not settings.params_are:
        stated.append(
            "which parameters were counted is not stated: say --params-are total, non_embedding"
            " or matmul"
        )
    if loss_unit == "perplexity":
        stated.append("losses are the natural logarithms of the perplexities, nats per token")
    elif loss_unit in ("bits", "bits-per-byte"):
        stated.append(f"losses converted from {loss_unit} to nats by ln 2")
    if "cluster" not in columns and not of_runs:
        stated.append(
            "no cluster column: every row counts as an independent run; rows that share one"
            " make the intervals too narrow (--columns cluster=...)"
        )
    return stated


def _seeds(cells: Sequence[str]) -> tuple[int, ...]:
    order = {name: i for i, name in enumerate(dict.fromkeys(cells))}
    return tuple(int(cell) if re.fullmatch(r"-?\d{1,18}", cell) else order[cell] for cell in cells)
