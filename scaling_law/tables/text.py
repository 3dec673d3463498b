"""What ``slaw import`` prints: how each column is taken and why, and what was left out."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from scaling_law.errors import listed, one_line
from scaling_law.fit.points.points import Floats
from scaling_law.tables.session import Imported, ReadPool
from scaling_law.text_columns import left
from scaling_law.units import count_of, format_count

_SHOWN = 8
_ORDER = ("params", "tokens", "loss", "flops", "step")


def format_imported(imported: Imported, out: Path, curves: Path | None) -> str:
    """The report of an import."""
    lines: list[str] = []
    for read in imported.read:
        lines += _pool_lines(read)
    lines += [f"note: {one_line(note)}" for note in (*imported.notes, *imported.points.notes)]
    lines += _left_out_lines(imported)
    points = imported.points
    unit = points.convention["loss"]
    lines.append(
        f"{out}: {count_of(len(points), 'run')}, params"
        f" {_range(points.params)}, tokens {_range(points.tokens)}, loss"
        f" {points.loss_nats.min():.4g} to {points.loss_nats.max():.4g} {unit}, FLOPs"
        f" {'as given' if points.convention['flops'] == 'as given' else '6 * params * tokens'}"
    )
    if curves is not None:
        runs = {row["run"] for row in imported.curve_rows}
        lines.append(
            f"{curves}: {count_of(len(imported.curve_rows), 'point')} of"
            f" {count_of(len(runs), 'curve')}"
        )
    by = f" --by {shlex.quote(one_line(points.recipe_column))}" if points.recipe_column else ""
    lines.append(f"next: slaw fit {out}{by}")
    if by:
        lines.append(f"      slaw compare {out}{by}")
    return "\n".join(lines)


def _range(values: Floats) -> str:
    low, high = format_count(float(values.min())), format_count(float(values.max()))
    return low if low == high else f"{low} to {high}"


def _pool_lines(read: ReadPool) -> list[str]:
    pool = read.pool
    lines = [f"{pool.origin}: {pool.why}, {count_of(len(pool.runs), 'run')}"]
    rows = []
    if pool.run_column:
        rows.append(("run", one_line(pool.run_column), "it names the runs"))
    order = sorted(
        read.roles, key=lambda role: _ORDER.index(role) if role in _ORDER else len(_ORDER)
    )
    rows += [(role, one_line(read.roles[role].column), read.roles[role].why) for role in order]
    lines += left([(role, f"is {column}", f"because {why}" if why != "as you say" else why)
                   for role, column, why in rows], "  ")  # fmt: skip
    lines += [f"  note: {one_line(note)}" for note in _once(read.notes)]
    return lines


def _once(notes: Sequence[str]) -> list[str]:
    """The notes, those that say the same of several files as one."""
    files: dict[str, list[str]] = {}
    for note in notes:
        file, colon, words = note.partition(": ")
        files.setdefault(words if colon else note, []).append(file)
    return [words if of == [words] else f"{listed(of, 1)}: {words}" for words, of in files.items()]


def _left_out_lines(imported: Imported) -> list[str]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for run, reason in imported.left_out:
        reasons[reason].append(one_line(run))
    lines = [
        f"left out, {count_of(len(runs), 'run')}: {one_line(reason)}: {listed(runs, _SHOWN)}"
        for reason, runs in reasons.items()
    ]
    columns = imported.columns_left_out
    if columns:
        lines.append(
            f"left out, {count_of(len(columns), 'column')} without a role"
            f" (--metric NAME=COLUMN carries one): {listed(list(columns), _SHOWN)}"
        )
    return lines
