"""Fit the cheap runs of published tables and predict the expensive ones, with our fitter and
others.

    python benchmarks/rollout.py [--data ../shared/data] [--json FILE] [--peer-python N=P] ...

Every table is cut by FLOPs so that its held-out runs reach 2, 4, 10, 30 and 100 times the
largest fitted run. Scored: absolute relative error of the loss of each held-out run and, where
a contender gives 90% intervals, whether they hold it. Pooled figures are medians over tables of
each one's median over its held-out runs (of all cuts), so each table weighs the same.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import peers

os.environ.update(peers.ONE_THREAD)

import numpy as np

from scaling_law.fit.result import finite_json

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
"""Contender -> table -> (factor, absolute relative error, inside its interval) a held-out run.

The error is infinite where a contender was asked and gave no answer, NaN where it was not asked
or this benchmark's clock stopped it: lists of two contenders on one table match row by row.
"""


@dataclass
class Tally:
    """Scores of the pooled tables and of the traps; CPU seconds and reasons by contender."""

    pooled: Scores
    traps: Scores
    spent: dict[str, float]
    silent: dict[str, Counter[str]]


def score(answer: peers.Answer | None, rest: peers.Runs, factors: np.ndarray) -> list[tuple]:
    """One entry a held-out run."""
    unasked = answer is None or answer.cut_off
    entries = []
    for row, loss in enumerate(rest.loss):
        value = math.nan if answer is None else answer.predicted[row]
        error = abs(value / loss - 1) if math.isfinite(value) else math.inf
        inside = None
        if answer and answer.low and answer.high and math.isfinite(answer.low[row]):
            inside = answer.low[row] <= loss <= answer.high[row]
        entries.append((float(factors[row]), math.nan if unasked else error, inside))
    return entries


def run(options: argparse.Namespace) -> Tally:
    """Ask every contender for every rollout; a peer beyond its budget is asked no more."""
    others = peers.start(options)
    tally = Tally(*(defaultdict(lambda: defaultdict(list)) for _ in range(2)), {}, {})
    for name in (*peers.OURS, *(peer.name for peer in others)):
        tally.spent[name], tally.silent[name] = 0.0, Counter()
    for table in tables(options.data):
        for some, rest, factors in rollouts(table.runs):
            answers = {name: ask(some, rest, RESAMPLES) for name, ask in peers.OURS.items()}
            for peer in others:
                within = tally.spent[peer.name] < options.budget
                answers[peer.name] = _ask(peer, some, rest, options) if within else None
            for name, answer in answers.items():
                into = tally.traps if table.trap else tally.pooled
                into[name][table.name] += score(answer, rest, factors)
                note = "not asked: budget spent" if answer is None else answer.note
                if answer is None or not math.isfinite(answer.predicted[0]):
                    tally.silent[name][note[:90]] += 1
                if answer and math.isfinite(answer.cpu_s):
                    tally.spent[name] += answer.cpu_s
        times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in tally.spent.items())
        print(f"done: {table.name} ({times})", flush=True)
    for peer in others:
        peer.close()
    return tally


def _ask(
    peer: peers.Peer, some: peers.Runs, rest: peers.Runs, options: argparse.Namespace
) -> peers.Answer:
    return peer.ask(
        some, rest, options.peer_timeout, starts=options.starts, per_axis=options.per_axis
    )


def median_of_tables(scores: dict[str, list], low: float, high: float) -> tuple[float, float, int]:
    """Median over tables of each one's median error, mean coverage, and how many tables."""
    errors, covered = [], []
    for rows in scores.values():
        mine = [row for row in rows if low < row[0] <= high and not math.isnan(row[1])]
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
    print(f"{'':<24}" + "".join(f"{name:>15}" for name in (*names, "all", "tables", "answered")))
    for contender, by_table in scores.items():
        cells = []
        for low, high in (*BINS, (0, math.inf)):
            error, coverage, count = median_of_tables(by_table, low, high)
            inside = "" if math.isnan(coverage) else f" ({100 * coverage:.0f}%)"
            cells.append("-" if math.isnan(error) else f"{100 * error:.2f}%{inside}")
        every = [row[1] for rows in by_table.values() for row in rows]
        cells += [f"{count}", f"{sum(map(math.isfinite, every))}/{len(every)}"]
        print(f"{contender:<24}" + "".join(f"{c:>15}" for c in cells))


def head_to_head(scores: Scores, first: str) -> dict[str, dict[str, float]]:
    """``first`` against each other contender, on the held-out runs both answered."""
    print(f"\n{first} against each, on the runs both answered (pooled as above)")
    print(f"{'':<24}{first:>12}{'the other':>12}{'better on':>12}{'runs':>8}{'tables':>8}")
    shares = {}
    for other in (name for name in scores if name != first):
        mine, theirs, wins, runs = {}, {}, 0, 0
        for table, rows in scores[first].items():
            pairs = zip(rows, scores[other][table], strict=True)
            both = [p for p in pairs if math.isfinite(p[0][1]) and math.isfinite(p[1][1])]
            if both:
                mine[table], theirs[table] = ([p[side] for p in both] for side in (0, 1))
                medians = [np.median([row[1] for row in t[table]]) for t in (mine, theirs)]
                wins, runs = wins + int(medians[0] < medians[1]), runs + len(both)
        ours, others = (median_of_tables(t, 0, math.inf)[0] for t in (mine, theirs))
        shares[other] = {"ours": ours, "theirs": others, "tables_won": wins, "runs": runs}
        print(
            f"{other:<24}{100 * ours:>11.2f}%{100 * others:>11.2f}%"
            f"{f'{wins}/{len(mine)}':>12}{runs:>8}{len(mine):>8}"
        )
    return shares


def main() -> None:
    """Run all rollouts and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--budget", type=float, default=1200.0, help="CPU seconds a peer (1200)")
    parser.add_argument(
        "--starts", type=int, default=40, help="of the hoffmann grids (40 of 4,500)"
    )
    parser.add_argument("--per-axis", type=int, default=3, help="grid of `chinchilla` (3 of 5)")
    peers.add_options(parser)
    parser.set_defaults(peer_timeout=60.0)
    options = parser.parse_args()
    if not options.data.is_dir():
        raise SystemExit(f"{options.data}: no tables there; give --data DIR")
    tally = run(options)
    report("pooled tables", tally.pooled)
    pairs = head_to_head(tally.pooled, next(iter(peers.OURS)))
    report("trap (un-annealed runs), not pooled", tally.traps)
    for name, reasons in tally.silent.items():
        for reason, times in reasons.items():
            print(f"{name}, {times} rollouts: {reason}")
    print("\nCPU seconds: " + ", ".join(f"{name} {s:.0f}" for name, s in tally.spent.items()))
    if options.json:
        document = finite_json({**vars(tally), "head_to_head": pairs})
        options.json.write_text(json.dumps(document, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
