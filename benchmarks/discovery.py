"""Answer SLDBench's scaling-law-discovery tasks (Lin 2025, arXiv 2507.21184) with our laws.

    python benchmarks/discovery.py FOLDER [--json FILE]

FOLDER is a copy of the data set `pkuHaowei/sldbench` of the Hugging Face hub: a folder a task, in
it the rows `train*` and `test*` as parquet, CSV or JSON lines, with a column `group`. Each group
has a fit of its own to its training rows; R^2 is over the test rows of all groups together, as in
the benchmark, relative errors are medians. A task is attempted where a law here has all its
variables; every other is listed with the reason. Which law is used is decided by the variables, and
among joint laws by held-out training rows: never by test rows.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scaling_law import text_columns  # noqa: E402  (this checkout's)
from scaling_law.errors import FitError  # noqa: E402
from scaling_law.fit.approaches.parametric import fit_law  # noqa: E402
from scaling_law.fit.checks.select_law import best_law, score_laws  # noqa: E402
from scaling_law.fit.points.points import FitPoints, points_from_arrays  # noqa: E402
from scaling_law.fit.result import finite_json  # noqa: E402
from scaling_law.fit.solver.solve import Objective  # noqa: E402

Row = Mapping[str, Any]
# Variables of a law, by the names that tasks have for them.
VARIABLES = {
    "params": "params", "num_params": "params", "n": "params",
    "tokens": "tokens", "d": "tokens", "sft_data_size": "tokens",
    "unique_tokens": "tokens_unique",
    "flops": "flops", "log_flops": "log_flops",
}  # fmt: skip
# What a task predicts starts so.
TARGETS = ("loss", "lm_loss", "sft_loss", "unigram_normalized_loss", "brier_score")
# The laws of tasks in these variables; joint ones are chosen by rollouts.
LAWS = {
    frozenset(("params", "tokens", "tokens_unique")): ("muennighoff", "chinchilla"),
    frozenset(("params", "tokens")): ("", "chinchilla"),
    frozenset(("params",)): ("saturating:params", "kaplan_n"),
    frozenset(("tokens",)): ("saturating:tokens", "kaplan_d"),
    frozenset(("flops",)): ("saturating", "kaplan_c"),
}
REPEATED = "repeats count as new data"
SWAPPED = "unique_tokens and tokens read as swapped: no run has more different tokens than it reads"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A task's result with one law, the first of a task being the one that answers it.

    ``task``: the task.
    ``law``: the law, or the laws of its groups; empty where it was not attempted.
    ``groups``: fits made.
    ``train``, ``test``: rows.
    ``r2``: of all test rows; NaN where not attempted.
    ``relative_error``: median absolute relative error; NaN likewise.
    ``note``: why it was not attempted, or what else to know.
    """

    task: str
    law: str
    groups: int
    train: int
    test: int
    r2: float
    relative_error: float
    note: str


def rows_of(folder: Path, split: str) -> list[dict[str, Any]]:
    """The rows of a task's split. Raises ``SystemExit`` where there are none."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob(f"{split}*")):
        if path.suffix == ".parquet":
            import pyarrow.parquet

            rows += pyarrow.parquet.read_table(path).to_pylist()
        elif path.suffix == ".csv":
            with path.open(newline="") as file:
                rows += list(csv.DictReader(file))
        elif path.suffix == ".jsonl":
            rows += [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    if not rows:
        raise SystemExit(f"{folder}: no rows {split}*.parquet, .csv or .jsonl there")
    return rows


def tasks_of(folder: Path) -> list[Path]:
    """The folders of the tasks."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and any(p.glob("train*")))


def why_not(columns: Iterable[str], train: Sequence[Row]) -> str:
    """Why no law here answers a task of these columns; empty where one does."""
    targets = [name for name in columns if name.startswith(TARGETS)]
    features = [name for name in columns if name not in ("group", *targets)]
    foreign = [name for name in features if name.lower() not in VARIABLES]
    if foreign:
        return f"no law here has {', '.join(foreign)}"
    if len(targets) != 1:
        return f"{len(targets)} columns to predict; a law here predicts one loss"
    known = frozenset(_variable(name) for name in features)
    if known not in LAWS:
        return f"no law here is one of {' and '.join(sorted(known))}"
    if any(not float(row[targets[0]]) > 0 for row in train):
        return f"{targets[0]} is not above 0 everywhere, and a loss here is"
    return ""


def _variable(name: str) -> str:
    return VARIABLES[name.lower()].removeprefix("log_")


def is_swapped(rows: Sequence[Row]) -> bool:
    """Whether no row has more tokens than different ones, and some have fewer: they are swapped."""
    if not {"unique_tokens", "tokens"} <= rows[0].keys():
        return False
    off = [float(row["unique_tokens"]) - float(row["tokens"]) for row in rows]
    return min(off) >= 0 < max(off)


def points_of(rows: Sequence[Row], *, swapped: bool = False) -> FitPoints:
    """The points of the rows of one group; ``swapped``: different tokens stand as the tokens."""
    target = next(name for name in rows[0] if name.startswith(TARGETS))
    columns: dict[str, np.ndarray] = {}
    for name in rows[0]:
        if name.lower() in VARIABLES:
            values = np.array([float(row[name]) for row in rows])
            log = VARIABLES[name.lower()].startswith("log_")
            columns[_variable(name)] = 10.0**values if log else values
    if swapped:
        columns["tokens"], columns["tokens_unique"] = columns["tokens_unique"], columns["tokens"]
    one = np.ones(len(rows))
    params, tokens = columns.get("params", one), columns.get("tokens", one)
    flops = columns.get("flops", 6 * params * tokens)
    losses = [float(row[target]) for row in rows]
    points = points_from_arrays(params, tokens, losses, flops=flops)
    if "tokens_unique" in columns:  # a corpus may hold more than a run reads
        unique = np.minimum(columns["tokens_unique"], tokens)
        points = dataclasses.replace(points, tokens_unique=unique)
    return points


def predicted(train: FitPoints, test: FitPoints, law: str) -> tuple[str, np.ndarray]:
    """The law used and the losses of the test rows. Raises ``FitError`` where it has no fit."""
    name = law or best_law(score_laws(train, Objective())[0])
    fit = fit_law(train, name)
    if not fit.usable:
        raise FitError(f"{name}: {fit.status}: {fit.message}")
    inputs = {variable: test.variable(variable) for variable in fit.law.variables}
    return name, np.asarray(fit.law.predict(fit.params, inputs))


def outcomes(folder: Path) -> Iterator[Outcome]:
    """The results of one task, one a law."""
    train, test = (_by_group(rows_of(folder, split)) for split in ("train", "test"))
    every = [row for rows in train.values() for row in rows]
    counts = len(every), sum(map(len, test.values()))
    reason = why_not(every[0], every)
    if reason:
        yield Outcome(folder.name, "", 0, *counts, math.nan, math.nan, reason)
        return
    known = frozenset(_variable(name) for name in every[0] if name.lower() in VARIABLES)
    for law in LAWS[known]:
        one = _with_law(folder.name, law, train, test, swapped=is_swapped(every))
        notes = [one.note] if one.note else []
        if "tokens_unique" in known:
            notes += [REPEATED] if law != "muennighoff" else []
            notes += [SWAPPED] if is_swapped(every) else []
        yield dataclasses.replace(one, note="; ".join(notes))


def _by_group(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[str(row.get("group", ""))].append(row)
    return groups


def _with_law(
    task: str,
    law: str,
    train: Mapping[str, list[Row]],
    test: Mapping[str, list[Row]],
    *,
    swapped: bool,
) -> Outcome:
    measured, expected, used, trouble = [], [], [], []
    for group, rows in test.items():
        points = points_of(rows, swapped=swapped)
        if group not in train:
            trouble.append(f"{group}: no training rows")
            continue
        try:
            name, losses = predicted(points_of(train[group], swapped=swapped), points, law)
        except FitError as problem:
            trouble.append(f"{group}: {problem}")
            continue
        used.append(name)
        measured += points.loss_nats.tolist()
        expected += losses.tolist()
    true, guess = np.array(measured), np.array(expected)
    r2 = error = math.nan
    if len(true):
        error = float(np.median(np.abs(guess / true - 1)))
        if np.var(true) > 0:
            r2 = float(1 - np.mean((true - guess) ** 2) / np.var(true))
    note = f"{len(trouble)} groups without a fit, first {trouble[0]}" if trouble else ""
    return Outcome(
        task,
        "/".join(dict.fromkeys(used)),
        len(used),
        sum(map(len, train.values())),
        len(true),
        r2,
        error,
        note,
    )


def table(results: Sequence[Outcome]) -> str:
    """The results as aligned columns."""
    head = ("task", "law", "groups", "train", "test", "R^2", "rel. error", "")
    rows = [
        (
            one.task,
            one.law or ("no fit" if "without a fit" in one.note else "not attempted"),
            str(one.groups),
            str(one.train),
            str(one.test),
            "-" if math.isnan(one.r2) else f"{one.r2:.4f}",
            "-" if math.isnan(one.relative_error) else f"{100 * one.relative_error:.2f}%",
            one.note,
        )
        for one in results
    ]
    return "\n".join(text_columns.left([head, *rows]))


def main() -> None:
    """Run every task of a folder and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    if not options.folder.is_dir():
        raise SystemExit(f"{options.folder}: no such folder")
    tasks = tasks_of(options.folder)
    if not tasks:
        raise SystemExit(f"{options.folder}: no task there; expected TASK/train* and TASK/test*")
    results = [one for task in tasks for one in outcomes(task)]
    print(table(results))
    attempted = {one.task for one in results if one.law}
    print(f"\n{len(attempted)} of {len(tasks)} tasks attempted")
    if options.json:
        document = finite_json([vars(one) for one in results])
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
