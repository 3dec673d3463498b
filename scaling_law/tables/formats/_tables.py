"""Tables as runs: a run a row, a point a row, or a column a run and metric.

W&B's API examples write a run's settings and summary as one cell each, a literal of Python's.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError, one_line
from scaling_law.fit.points.cells import read_rows
from scaling_law.fit.points.histories import STEPS
from scaling_law.fit.points.numbers import is_missing, number
from scaling_law.fit.points.roles import role_of
from scaling_law.fit.points.rows import Rows, cell_text
from scaling_law.fit.points.states import RUN_NAMES
from scaling_law.tables.formats import Source, SourceRun
from scaling_law.tables.formats._cells import flat
from scaling_law.units import count_of

_WIDE = re.compile(r"(.+) - (.+?)(__MIN|__MAX)?")
_TENSORBOARD_NAME = re.compile(r"(?:run-)?(.*?)-tag-(.+)")
_TENSORBOARD = {"wall time", "step", "value"}
# Names of runs where no other column has them, and each row has its own.
_MODEL_NAMES = ("model", "model_name", "checkpoint")


def read_table(path: Path) -> Source:
    """The runs of a table. Raises ``ConfigError``."""
    rows = read_rows(path, _is_name)
    if rows.twice:
        raise ConfigError(
            f"{path}: columns {', '.join(sorted(map(repr, rows.twice)))} are there twice; rename"
            " them in the table"
        )
    low = {name.strip().lower() for name in rows.columns}
    if low == _TENSORBOARD:
        return _scalar_of_tensorboard(path, rows)
    if any(name.endswith("__MIN") for name in rows.columns):
        return _curves_side_by_side(path, rows)
    lines, opened = _opened(rows)
    notes = [*rows.notes]
    if opened:
        notes.append(f"{path}: objects in {', '.join(opened)} read as columns of their own")
    return _runs(path, rows, lines, notes)


def _is_name(cell: str) -> bool:
    return bool(cell.strip()) and number(cell, count=True) is None


def _opened(rows: Rows) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows as cells by column, with objects in cells read as columns; and such columns."""
    opened = [
        name
        for name, cells in rows.columns.items()
        if any(isinstance(cell, str) and cell.lstrip().startswith("{") for cell in cells)
    ]
    table = []
    for place in range(len(rows.lines)):
        row: dict[str, Any] = {}
        for name, cells in rows.columns.items():
            value = _literal(cells[place]) if name in opened else cells[place]
            row |= flat({name: value})
        table.append(row)
    return table, opened


def _literal(cell: Any) -> Any:
    text = str(cell).strip()
    if not text.startswith("{"):
        return cell
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(re.sub(r"(?<=[:\s,\[])(?:nan|-?inf)(?=[,}\]\s])", "None", text))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return cell


def _run_column(table: list[dict[str, Any]]) -> str:
    """The column that names the runs: of the usual names the first, full columns before others."""
    there = {name.strip().lower(): name for name in table[0]}
    usual = [there[name] for name in RUN_NAMES if name in there]
    named = [
        name for name in usual
        if all(not is_missing(row.get(name)) for row in table)
    ]  # fmt: skip
    if named or usual:
        return (named or usual)[0]
    models = [there[name] for name in _MODEL_NAMES if name in there]
    texts = [[cell_text(row.get(name)) for row in table] for name in models]
    unique = [
        name
        for name, cells in zip(models, texts, strict=True)
        if len(set(cells)) == len(cells) and all(number(cell, count=True) is None for cell in cells)
    ]
    return unique[0] if unique else ""


def _runs(path: Path, rows: Rows, table: list[dict[str, Any]], notes: list[str]) -> Source:
    column = _run_column(table)
    steps = [name for name in table[0] if name.strip().lower() in STEPS and name != "epoch"]
    names = [cell_text(row.get(column)) if column else "" for row in table]
    repeated = bool(column) and len(set(names)) < len(names)
    # "values": of a table a run a row, all that it says is of the run
    if steps and (repeated or (not column and _one_curve(table, steps[0]))):
        curves: dict[str, list[dict[str, Any]]] = {}
        for name, row in zip(names, table, strict=True):
            curves.setdefault(name, []).append(row)
        runs = [
            SourceRun(
                name=name or path.stem,
                values={},
                curve=tuple(points),
                settings=_settings(points),
                file=None if name else path,
            )
            for name, points in curves.items()
        ]
        rows_of = f"{count_of(len(table), 'row')} read as curves of {count_of(len(runs), 'run')}"
        said = rows_of if len(runs) > 1 else "its rows read as the curve of one run"
        notes.append(f"{path}: {said} (column {one_line(steps[0])} counts steps)")
        return Source(runs=tuple(runs), notes=tuple(notes), run_column=column)
    times = Counter(names)
    runs = []
    for name, line, row in zip(names, rows.lines, table, strict=True):
        if name:
            called = name if times[name] == 1 else f"{name} row {line}"
            run = SourceRun(name=called, values=row, settings=frozenset(row))
        else:
            run = SourceRun(
                name=path.stem, values=row, settings=frozenset(row), file=path,
                row=0 if len(table) == 1 else line,
            )  # fmt: skip
        runs.append(run)
    return Source(runs=tuple(runs), notes=tuple(notes), run_column=column)


def _settings(points: list[dict[str, Any]]) -> frozenset[str]:
    """The columns that are one value throughout a curve: they are no measurements."""
    return frozenset(
        name for name in points[0] if len({cell_text(row.get(name)) for row in points}) == 1
    )


def _one_curve(table: list[dict[str, Any]], steps: str) -> bool:
    """Whether the rows are one curve: steps grow, and no column counts several models' params."""
    values = [number(row.get(steps)) for row in table]
    known = [value for value in values if value is not None]
    grows = len(known) == len(values) > 2 and all(a < b for a, b in zip(known, known[1:]))  # noqa: B905, RUF007
    sizes = [name for name in table[0] if role_of(name) in ("params", "size")]
    return grows and all(len({cell_text(row.get(name)) for row in table}) == 1 for name in sizes)


def _curves_side_by_side(path: Path, rows: Rows) -> Source:
    """Curves as W&B's page exports them: a column a run and metric, with its least and most."""
    steps = next(iter(rows.columns))
    curves: dict[str, list[dict[str, Any]]] = {}
    passed = 0
    for name, cells in rows.columns.items():
        match = _WIDE.fullmatch(name)
        if match is None:
            continue
        run, metric, extreme = match.groups()
        if extreme or metric.startswith("_"):
            passed += 1
            continue
        points = curves.setdefault(run, [{} for _ in rows.lines])
        for point, step, cell in zip(points, rows.columns[steps], cells, strict=True):
            if not is_missing(cell):
                point["step" if steps.strip().lower() in STEPS else steps] = step
                point[metric] = cell
    runs = [
        SourceRun(name=run, values={}, curve=tuple(point for point in points if point))
        for run, points in curves.items()
    ]
    note = f"{path}: {count_of(passed, 'column')} of least and most values passed over"
    return Source(runs=tuple(runs), notes=(*rows.notes, note))


def _scalar_of_tensorboard(path: Path, rows: Rows) -> Source:
    """One scalar as TensorBoard's page exports it: run and tag are in the name of the file."""
    match = _TENSORBOARD_NAME.fullmatch(path.stem)
    if match is None:
        raise ConfigError(
            f"{path}: a scalar of TensorBoard's (Wall time, Step, Value), whose run and tag are in"
            " the name of its file: expected run-NAME-tag-TAG.csv as it was downloaded"
        )
    name, tag = match[1], match[2].replace("_", "/")
    columns = {column.strip().lower(): cells for column, cells in rows.columns.items()}
    curve = tuple(
        {"step": step, tag: value}
        for step, value in zip(columns["step"], columns["value"], strict=True)
    )
    return Source(runs=(SourceRun(name=name, values={}, curve=curve),), notes=rows.notes)
