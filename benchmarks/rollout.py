"""Fit the cheap runs of other people's tables, predict the dear ones: us and our peers.

    python benchmarks/rollout.py [--data ../shared/data] [--json FILE] [--peer-python N=P] ...

Every table is cut by FLOPs so that its held-out runs reach 2, 4, 10, 30 and 100 times the
largest fitted run. Scored: absolute relative error of the loss of each held-out run and, where
a contender gives 90% intervals, whether they hold it. Each cut weighs the same within its table,
each table the same in the pooled figures.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import peers

os.environ.update(peers.ONE_THREAD)

import numpy as np

CUTS = (2.0, 4.0, 10.0, 30.0, 100.0)
LEAST_POINTS, LEAST_SIZES, MOST_SCORED = 8, 3, 60
RESAMPLES = 200
BINS = ((1, 2), (2, 4), (4, 10), (10, 30), (30, 100), (100, math.inf))


@dataclass(frozen=True)
class Table:
    """Columns of one table; ``trap``: known not to belong (un-annealed runs), not pooled."""

    name: str
    runs: peers.Runs
    trap: bool = False


def tables(folder: Path) -> Iterator[Table]:
    """Every published table, by data set or configuration where a file holds several."""
    yield _table(folder, "chinchilla_epoch245", lambda r: r["epoch_excluded"] == "0", "240 points")
    for config in _values(folder, "porian_isoflop", "config"):
        yield _table(folder, "porian_isoflop", lambda r, c=config: r["config"] == c, config)
    for name in _values(folder, "overtrain_gadre104", "dataset"):
        yield _table(folder, "overtrain_gadre104", lambda r, d=name: r["dataset"] == d, name)
    yield _table(folder, "olmo_ladder_c4", lambda r: True, "")
    yield _table(folder, "datablations_c4", lambda r: float(r["epochs"]) <= 4, "up to 4 epochs")
    yield _table(folder, "datablations_c4", lambda r: float(r["epochs"]) == 1, "1 epoch")
    yield _table(folder, "gemstones_hot", lambda r: True, "", trap=True)


def _rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _values(folder: Path, name: str, column: str) -> list[str]:
    return sorted({row[column] for row in _rows(folder, name)})


def _table(
    folder: Path, name: str, keep: Callable[[dict[str, str]], bool], part: str, trap: bool = False
) -> Table:
    rows = [row for row in _rows(folder, name) if keep(row)]
    columns = {key: [float(row[key]) for row in rows] for key in ("params", "tokens", "loss")}
    title = f"{name}: {part}" if part else name
    return Table(title, peers.Runs(**columns), trap)


def rollouts(runs: peers.Runs) -> Iterator[tuple[peers.Runs, peers.Runs, np.ndarray]]:
    """(fitted, held out, held out FLOPs / largest fitted) for each cut that leaves enough."""
    params, tokens, loss = (np.array(x) for x in (runs.params, runs.tokens, runs.loss))
    flops = 6 * params * tokens
    done = set()
    for cut in CUTS:
        held = flops > flops.max() / cut * (1 + 1e-9)
        fitted = ~held
        sizes = len(set(np.round(np.log(params[fitted]), 2).tolist()))
        if fitted.sum() < LEAST_POINTS or sizes < LEAST_SIZES or int(held.sum()) in done:
            continue
        done.add(int(held.sum()))
        rows = np.flatnonzero(held)
        rows = rows[:: max(1, len(rows) // MOST_SCORED)]
        some, rest = (
            peers.Runs(params[i].tolist(), tokens[i].tolist(), loss[i].tolist())
            for i in (np.flatnonzero(fitted), rows)
        )
        yield some, rest, flops[rows] / flops[fitted].max()


Scores = dict[str, dict[str, list[tuple[float, float, bool | None]]]]
"""Contender -> table -> (factor, absolute relative error, inside its interval) a held-out run."""


def score(answer: peers.Answer, rest: peers.Runs, factors: np.ndarray) -> list[tuple]:
    """One entry a held-out run; an infinite error where there is no answer."""
    found = []
    for row, loss in enumerate(rest.loss):
        value = answer.predicted[row]
        error = abs(value / loss - 1) if math.isfinite(value) else math.inf
        inside = None
        if answer.low and answer.high and math.isfinite(answer.low[row]):
            inside = answer.low[row] <= loss <= answer.high[row]
        found.append((float(factors[row]), error, inside))
    return found


def run(options: argparse.Namespace) -> tuple[Scores, Scores, dict[str, float]]:
    """Scores of the pooled tables and of the traps, and CPU seconds by contender."""
    others = peers.start(options)
    pooled: Scores = defaultdict(lambda: defaultdict(list))
    traps: Scores = defaultdict(lambda: defaultdict(list))
    spent: dict[str, float] = defaultdict(float)
    for table in tables(options.data):
        for some, rest, factors in rollouts(table.runs):
            into = traps if table.trap else pooled
            answers = {name: ask(some, rest, RESAMPLES) for name, ask in peers.OURS.items()}
            for peer in others:
                if not peer.missing and spent[peer.name] < options.budget:
                    answers[peer.name] = peer.ask(some, rest, options.peer_timeout, starts=40)
            for name, answer in answers.items():
                into[name][table.name] += score(answer, rest, factors)
                spent[name] += answer.cpu_s if math.isfinite(answer.cpu_s) else 0.0
        times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.items())
        print(f"done: {table.name} ({times})", flush=True)
    for peer in others:
        if peer.missing or spent[peer.name] >= options.budget:
            print(f"{peer.name}: not asked to the end ({peer.missing or 'budget spent'})")
        peer.close()
    return pooled, traps, spent


def median_of_tables(scores: dict[str, list], low: float, high: float) -> tuple[float, float, int]:
    """Median over tables of each one's median error, mean coverage, and how many tables."""
    errors, covered = [], []
    for rows in scores.values():
        mine = [row for row in rows if low < row[0] <= high]
        if mine:
            errors.append(float(np.median([row[1] for row in mine])))
            inside = [row[2] for row in mine if row[2] is not None]
            covered += [float(np.mean(inside))] if inside else []
    if not errors:
        return math.nan, math.nan, 0
    return float(np.median(errors)), float(np.mean(covered)) if covered else math.nan, len(errors)


def report(title: str, scores: Scores) -> None:
    """Errors (and coverage) by how far beyond the fitted runs the held-out ones are."""
    print(f"\n{title}: median absolute relative error of the loss (coverage of 90% intervals)")
    names = [f"{low:g}-{high:g}x" for low, high in BINS]
    print(f"{'':<24}" + "".join(f"{name:>16}" for name in (*names, "all", "tables")))
    for contender, by_table in scores.items():
        cells = []
        for low, high in (*BINS, (0, math.inf)):
            error, coverage, _ = median_of_tables(by_table, low, high)
            inside = "" if math.isnan(coverage) else f" ({100 * coverage:.0f}%)"
            cells.append("-" if math.isnan(error) else f"{100 * error:.2f}%{inside}")
        print(f"{contender:<24}" + "".join(f"{c:>16}" for c in cells) + f"{len(by_table):>16}")


def main() -> None:
    """Run all rollouts and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--budget", type=float, default=1200.0, help="CPU seconds a peer (1200)")
    peers.add_options(parser)
    options = parser.parse_args()
    if not options.data.is_dir():
        raise SystemExit(f"{options.data}: no tables there; give --data DIR")
    pooled, traps, spent = run(options)
    report("pooled tables", pooled)
    report("trap (un-annealed runs), not pooled", traps)
    print("\nCPU seconds: " + ", ".join(f"{name} {s:.0f}" for name, s in spent.items()))
    if options.json:
        document = {"pooled": pooled, "traps": traps, "cpu_seconds": spent}
        options.json.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
