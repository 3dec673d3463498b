"""Rows that are no finished runs: crashed or running ones, and summaries of the others."""

from __future__ import annotations

import math
import re
from typing import Any

from scaling_law.errors import one_line, quoted
from scaling_law.fit.points.rows import Rows

_SHOWN = 3
STATE_COLUMNS = ("state", "status", "run_state", "run_status", "run state", "run status")
_FINISHED_FLAGS = ("finished", "done", "completed", "complete", "succeeded", "success", "converged")
_UNFINISHED_FLAGS = ("crashed", "failed", "running", "diverged", "preempted", "killed", "aborted")
FLAGS = (*_FINISHED_FLAGS, *_UNFINISHED_FLAGS)
_FINISHED = frozenset(
    (*_FINISHED_FLAGS, "ok", "finish", "exited", "exit 0", "successful", "0", "annealed", "good")
)
_UNFINISHED = frozenset(
    (*_UNFINISHED_FLAGS, "crash", "failure", "fail", "error", "errored", "run", "active",
     "in progress", "preempting", "cancelled", "canceled", "pending", "queued", "waiting",
     "scheduled", "starting", "started", "stopped", "stopping", "paused", "resuming", "requeued",
     "interrupted", "terminated", "timeout", "timed out", "time limit", "oom", "out of memory",
     "node fail", "boot fail", "deadline", "suspended", "unfinished", "incomplete", "partial",
     "nan", "exploded", "broken", "bad", "invalid", "lost", "dead", "deleted")
)  # fmt: skip
_TRUE, _FALSE = (
    frozenset(("true", "yes", "y", "1", "1.0", "t")),
    frozenset(("false", "no", "n", "0", "0.0", "f")),
)
RUN_NAMES = ("run_id", "run", "run_name", "run name", "run id", "name", "experiment", "id")
# Columns that may call a row a summary; a data frame's index has no name.
LABELS = (*RUN_NAMES, "", "unnamed: 0", "model", "size")
_SUMMARIES = frozenset(
    ("total", "totals", "grand total", "subtotal", "sum", "mean", "average", "avg", "median",
     "std", "stdev", "std dev", "standard deviation")
)  # fmt: skip


def unfinished(rows: Rows, named: str | None) -> tuple[list[str], list[str]]:
    """Why each row is not a finished run ("" for one that is), and notes on unknown words.

    ``named`` is the column that the user calls the state; "" ignores all such columns.
    """
    reasons = [""] * len(rows.lines)
    notes: list[str] = []
    if named == "":
        return reasons, notes
    for name, cells in rows.columns.items():
        low = name.strip().lower()
        if name == named or (named is None and low in STATE_COLUMNS):
            unknown: dict[str, int] = {}
            for row, cell in enumerate(cells):
                word = _word(cell)
                if _says_unfinished(word):
                    reasons[row] = reasons[row] or f"{low} is {one_line(word):.40}: not finished"
                elif word and word not in _FINISHED:
                    unknown[word] = unknown.get(word, 0) + 1
            if unknown and len(unknown) < len(rows.lines) / 2:
                words = ", ".join(quoted(word) for word in list(unknown)[:_SHOWN])
                notes.append(f"column {one_line(name)}: {words} taken for finished runs")
        elif low in FLAGS:
            good = low in _FINISHED_FLAGS
            for row, cell in enumerate(cells):
                word = _word(cell)
                if word in (_FALSE if good else _TRUE):
                    reasons[row] = reasons[row] or f"{low} is {word}: not finished"
    return reasons, notes


def leave_out_unfinished(rows: Rows, named: str | None, reasons: list[str]) -> tuple[str, ...]:
    """Adds the reasons against runs that did not finish; returns what a reader should know."""
    why_unfinished, notes = unfinished(rows, named)
    for row, reason in enumerate(why_unfinished):
        reasons[row] = reasons[row] or reason
    count = sum(map(bool, why_unfinished))
    if count:
        notes.append(
            f"{count} of {len(rows.lines)} rows are of runs that did not finish (--columns state="
            " takes them for finished)"
        )
    return tuple(notes)


def summaries(rows: Rows) -> list[str]:
    """Why each row is a summary of the others, as a spreadsheet's totals; "" for a run."""
    reasons = [""] * len(rows.lines)
    for name, cells in rows.columns.items():
        if name.strip().lower() not in LABELS:
            continue
        for row, cell in enumerate(cells):
            word = _word(cell).strip(":")
            if word in _SUMMARIES:
                column = one_line(name.strip()) or "the column without a name"
                reasons[row] = f"{column} is {word}: a summary of other rows, no run"
    return reasons


def _word(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return re.sub(r"[\s_\-]+", " ", str(cell).strip().lower())


def _says_unfinished(word: str) -> bool:
    """Whether a state is a word for it, alone or with more behind: ``crashed at step 300``."""
    return any(word.partition(f" {by} ")[0] in _UNFINISHED for by in ("by", "at", "after"))
