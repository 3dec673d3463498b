"""Reads ``tables/runs.csv`` of a report as the folder that the report was written from.

Such a table is recognised by its columns. Its rows have their trunks, the runs that the report left
out are left out for the same reasons, and rows come in a folder's order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from scaling_law.fit.points.rows import Rows, cell_text

# A table with all these columns is a report's; and what its columns are, by role.
COLUMNS = frozenset(
    ("run_id", "kind", "status", "params_matmul", "tokens", "val_loss_nats", "trunk", "fitted",
     "left_out")
)  # fmt: skip
ROLES = {
    "tokens": "tokens", "loss": "val_loss_nats", "flops": "flops_exact",
    "sem": "val_loss_sem_nats", "unique_tokens": "tokens_unique", "batch": "batch_tokens",
}  # fmt: skip
# In a report's table of runs that a user's own command trained: the counts that it stated.
STATED_COUNTS = "stated_counts"
ALSO = frozenset(("corpus_fingerprint", "recipe", STATED_COUNTS))
PARAMS = "params_"


def with_trunks(rows: Rows) -> Rows:
    """A report's rows with a column ``cluster`` for their trunks.

    As in a folder, runs of one size, seed and text share a trunk under any set of horizons.
    """
    rows = _in_folder_order(rows)
    texts = text_cells(rows, "corpus_fingerprint")
    shared = len(set(texts)) == 1
    columns = (text_cells(rows, name) for name in ("size", "seed", "recipe"))
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
    cells = zip(*(text_cells(rows, name) for name in names), strict=True)
    try:
        keys = [(float(params), float(tokens), run_id) for params, tokens, run_id in cells]
    except ValueError:  # the cell is named where the numbers are read
        return rows
    order = sorted(range(len(keys)), key=keys.__getitem__)
    columns = {name: [column[i] for i in order] for name, column in rows.columns.items()}
    return dataclasses.replace(rows, columns=columns, lines=[rows.lines[i] for i in order])


def columns_of(
    rows: Rows, given: Mapping[str, str], params_are: str, convention: str
) -> tuple[dict[str, str], str]:
    """Role -> column of a report's table, and what its parameters count.

    The columns ``given`` come first. The count is the stated one, else the one that the parameters'
    column names, else ``convention``.
    """
    params = given.get("params", "")
    named = params.removeprefix(PARAMS) if params.startswith(PARAMS) else ""
    count = params_are or named or convention
    own = {role: name for role, name in ROLES.items() if name in rows.columns}
    return {**own, "params": f"{PARAMS}{count}", **given}, count


def why_left_out(rows: Rows, keep: Collection[str]) -> list[str]:
    """Why the report leaves each run out; "" for a run that is a point of the law."""
    columns = (text_cells(rows, name) for name in ("left_out", "status", "kind"))
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


def text_cells(rows: Rows, name: str) -> list[str]:
    """A report's column as text; empty cells where it has no such column."""
    cells: Sequence[Any] = rows.columns.get(name) or [""] * len(rows.lines)
    return [cell_text(cell) for cell in cells]
