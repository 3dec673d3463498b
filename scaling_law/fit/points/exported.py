"""``tables/runs.csv`` of a report, read back: its columns, and what it says of each run."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from scaling_law.fit.points.cells import Rows

_TELLING = frozenset(
    ("run_id", "kind", "status", "params_matmul", "tokens", "val_loss_nats", "trunk", "fitted",
     "left_out")
)  # fmt: skip
_COLUMNS = {
    "tokens": "tokens", "loss": "val_loss_nats", "flops": "flops_exact",
    "sem": "val_loss_sem_nats", "unique_tokens": "tokens_unique", "batch": "batch_tokens",
}  # fmt: skip
_PARAMS = "params_"


def is_exported(rows: Rows) -> bool:
    """Whether the table is one that ``slaw report`` wrote."""
    return rows.columns.keys() >= _TELLING


def with_trunks(rows: Rows) -> Rows:
    """The rows with a column ``cluster``: as in a folder, runs of one size, seed and text share a
    trunk under whatever set of horizons."""
    rows = _in_order(rows)
    texts = _column(rows, "corpus_fingerprint")
    shared = len(set(texts)) == 1
    names = [
        f"{size} seed {seed}" + ("" if shared else f" {text[:6]}") + (f" {how}" if how else "")
        for size, seed, text, how in zip(
            *(_column(rows, name) for name in ("size", "seed")), texts, recipe_of(rows), strict=True
        )
    ]
    return dataclasses.replace(rows, columns={**rows.columns, "cluster": names})


def _in_order(rows: Rows) -> Rows:
    """As a folder's points are, so that a bootstrap's draws fall on the same runs."""
    names = ("params_non_embedding", "tokens", "run_id")
    cells = zip(*(_column(rows, name) for name in names), strict=True)
    try:
        keys = [(float(params), float(tokens), run_id) for params, tokens, run_id in cells]
    except ValueError:  # the reader of points names the cell
        return rows
    order = sorted(range(len(keys)), key=keys.__getitem__)
    columns = {name: [column[i] for i in order] for name, column in rows.columns.items()}
    return dataclasses.replace(rows, columns=columns, lines=[rows.lines[i] for i in order])


def columns_of(
    rows: Rows, given: Mapping[str, str], params_are: str, convention: str
) -> tuple[dict[str, str], str]:
    """Role -> column, those ``given`` first; and what the parameters count: what is stated, or
    what their column's name says, or ``convention``."""
    params = given.get("params", "")
    named = params.removeprefix(_PARAMS) if params.startswith(_PARAMS) else ""
    count = params_are or named or convention
    own = {role: name for role, name in _COLUMNS.items() if name in rows.columns}
    return {**own, "params": f"{_PARAMS}{count}", **given}, count


def why_left_out(rows: Rows, keep: Collection[str]) -> list[str]:
    """Why each run is no point of a law, as the report found; "" for one that is."""
    told = zip(
        *(_column(rows, name) for name in ("left_out", "status", "kind")),
        strict=True,
    )
    return [_why(left, status, kind, keep) for left, status, kind in told]


def _why(left: str, status: str, kind: str, keep: Collection[str]) -> str:
    if left:
        return "" if left.partition(":")[0] in keep else left
    # where nothing could be fitted the report names no reason
    if status == "diverged":
        return "diverged"
    if kind == "trunk" and "not_annealed" not in keep:
        return "not_annealed: a trunk (its branches are the points)"
    return ""


def recipe_of(rows: Rows) -> list[str]:
    """In what each run's recipe differs from others'; "" for all of one."""
    return _column(rows, "recipe")


def _column(rows: Rows, name: str) -> list[str]:
    cells: Sequence[Any] = rows.columns.get(name) or [""] * len(rows.lines)
    return ["" if cell is None else str(cell).strip() for cell in cells]
