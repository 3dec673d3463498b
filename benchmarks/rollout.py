"""Fit cheap runs of published tables and predict expensive ones, with our fitter and others.

    python benchmarks/rollout.py [--data ../shared/data] [--json FILE] [--peer-python N=P] ...

Every table is cut by FLOPs so that its held-out runs reach 2, 4, 10, 30 and 100 times the
largest fitted run. Scored: absolute relative error of the loss of each held-out run and, where
a contender gives 90% intervals, whether they hold it. Pooled figures are medians and means over
tables of each one's median over its held-out runs (of all cuts), so each table weighs the same; by
family, related tables weigh as one. With --choose the forecaster's constants are also varied one at
a time and chosen without each family, to show how much they owe to it.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
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

from scaling_law.errors import SlawError
from scaling_law.fit.make_worlds import METHOD, Method, make_worlds
from scaling_law.fit.points.points import points_from_arrays
from scaling_law.fit.result import finite_json
from scaling_law.fit.suite import FitSettings, joint_fits

CUTS = (2.0, 4.0, 10.0, 30.0, 100.0)
LEAST_POINTS, LEAST_SIZES, MOST_SCORED = 8, 3, 60
RESAMPLES = 200
LEAST_INSIDE = 0.6
OTHER_CONSTANTS: dict[str, tuple[float, ...]] = {
    "compute_power": (0.0, 0.5, 1.5),
    "weight_power": (1.0, 4.0),
    "usual.runs": (1.0, 10.0),
    "alone": (0.0, 1.0),
    "usual.exponent": (0.2, 0.4),
    "usual.floor": (0.5, 0.85),
    "most_expensive": (0.1, 0.5),
    "bend": (0.03, 0.1),
    "together": (0.0, 1.0),
}


def _with(name: str, value: float) -> Method:
    """The method with another constant; ``usual.NAME`` is one of the usual shape."""
    if name.startswith("usual."):
        usual = dataclasses.replace(METHOD.usual, **{name.removeprefix("usual."): value})
        return dataclasses.replace(METHOD, usual=usual)
    return dataclasses.replace(METHOD, **{name: value})


METHODS = {
    f"{name} {value:g}": _with(name, value)
    for name, values in OTHER_CONSTANTS.items()
    for value in values
}
BINS = ((1, 2), (2, 4), (4, 10), (10, 30), (30, 100), (100, math.inf))


@dataclass(frozen=True)
class Table:
    """One table of runs.

    ``name``: of the file and what is taken of it.
    ``family``: tables of one family share models or authors; figures by family weigh them once.
    ``runs``: its columns.
    ``trap``: known not to belong (un-annealed runs), not pooled.
    """

    name: str
    family: str
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
    return Table(title, name.split("_")[0], peers.Runs(**columns), trap)


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


@dataclass(frozen=True)
class Scored:
    """How one forecast of a held-out run went.

    ``factor``: its FLOPs over the largest fitted.
    ``error``: absolute relative error; infinite where a contender was asked and gave no answer, NaN
        where it was not asked or this benchmark's clock stopped it.
    ``bias``: forecast / measured - 1; NaN without an answer.
    ``inside``: whether the 90% interval holds the run; None without one.
    ``trusted``: whether the contender says that it may be trusted that far.
    """

    factor: float
    error: float
    bias: float
    inside: bool | None
    trusted: bool


Scores = dict[str, dict[str, list[Scored]]]
"""Contender -> table -> one entry a held-out run: lists of two contenders match row by row."""


@dataclass
class Tally:
    """Scores of the pooled tables and of the traps; CPU seconds and reasons by contender.

    ``families``: table -> its family.
    """

    pooled: Scores
    traps: Scores
    families: dict[str, str]
    spent: dict[str, float]
    silent: dict[str, Counter[str]]


def score(answer: peers.Answer | None, rest: peers.Runs, factors: np.ndarray) -> list[Scored]:
    """One entry a held-out run."""
    unasked = answer is None or answer.cut_off
    entries = []
    for row, loss in enumerate(rest.loss):
        value = math.nan if answer is None else answer.predicted[row]
        error = abs(value / loss - 1) if math.isfinite(value) else math.inf
        inside = None
        if answer and answer.low and answer.high and math.isfinite(answer.low[row]):
            inside = bool(answer.low[row] <= loss <= answer.high[row])
        trust = answer.trust if answer else None
        entries.append(
            Scored(
                factor=float(factors[row]),
                error=math.nan if unasked else error,
                bias=value / loss - 1,
                inside=inside,
                trusted=trust is not None and bool(factors[row] <= trust),
            )
        )
    return entries


def run(options: argparse.Namespace) -> Tally:
    """Ask every contender for every rollout; a peer beyond its budget is asked no more."""
    others = peers.start(options)
    tally = Tally(*(defaultdict(lambda: defaultdict(list)) for _ in range(2)), {}, {}, {})
    spent: Counter[str] = Counter()
    silent: dict[str, Counter[str]] = defaultdict(Counter)
    for table in tables(options.data):
        tally.families[table.name] = table.family
        for some, rest, factors in rollouts(table.runs):
            answers: dict[str, peers.Answer | None] = {}
            for ask in peers.OURS:
                answers |= ask(some, rest, RESAMPLES)
            if options.choose:
                answers |= by_method(some, rest)
            for peer in others:
                within = spent[peer.name] < options.budget
                answers[peer.name] = _ask(peer, some, rest, options) if within else None
            for name, answer in answers.items():
                into = tally.traps if table.trap else tally.pooled
                into[name][table.name] += score(answer, rest, factors)
                note = "not asked: budget spent" if answer is None else answer.note
                if answer is None or not math.isfinite(answer.predicted[0]):
                    silent[name][note[:90]] += 1
                if answer and math.isfinite(answer.cpu_s):
                    spent[name] += answer.cpu_s
        times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.items())
        print(f"done: {table.name} ({times})", flush=True)
    for peer in others:
        peer.close()
    tally.spent, tally.silent = dict(spent), dict(silent)
    return tally


def _ask(
    peer: peers.Peer, some: peers.Runs, rest: peers.Runs, options: argparse.Namespace
) -> peers.Answer:
    return peer.ask(
        some, rest, options.peer_timeout, starts=options.starts, per_axis=options.per_axis
    )


def by_method(some: peers.Runs, rest: peers.Runs) -> dict[str, peers.Answer]:
    """The forecasts of worlds made with other constants, by the constant that differs."""
    points = points_from_arrays(some.params, some.tokens, some.loss)
    places = np.array(rest.params), np.array(rest.tokens)
    answers = {}
    try:
        _, best, _, laws = joint_fits(points, FitSettings(resamples=RESAMPLES))
    except SlawError as problem:
        silent = peers.Answer(predicted=[math.nan] * len(rest.loss), note=str(problem))
        return dict.fromkeys(METHODS, silent)
    for name, method in METHODS.items():
        worlds = make_worlds(points, laws, best=best, method=method)
        if worlds is None:
            answers[name] = peers.Answer(predicted=[math.nan] * len(rest.loss), note="no worlds")
            continue
        ends = worlds.interval(*places, peers.LEVEL)
        low, high = (np.exp(end).tolist() for end in ends) if ends else (None, None)
        centre = np.exp(worlds.point_log(*places)).tolist()
        answers[name] = peers.Answer(predicted=centre, low=low, high=high)
    return answers


@dataclass(frozen=True)
class Pooled:
    """Errors and coverage over tables, each of which weighs the same.

    ``median``: the median over tables of each one's median error.
    ``mean``: the mean over them of the same.
    ``families``: the mean over families of the mean over their tables.
    ``bias``: the median over tables of each one's median bias.
    ``coverage``: the mean over tables of each one's share of runs inside their intervals.
    ``tables``: number of tables.
    """

    median: float
    mean: float
    families: float
    bias: float
    coverage: float
    tables: int


def pool(
    scores: dict[str, list[Scored]], families: dict[str, str], low: float, high: float
) -> Pooled:
    """One contender's errors on held-out runs ``low`` to ``high`` times the fitted FLOPs."""
    errors, biases, covered = {}, [], []
    for table, rows in scores.items():
        mine = [row for row in rows if low < row.factor <= high and not math.isnan(row.error)]
        if mine:
            errors[table] = float(np.median([row.error for row in mine]))
            biases.append(float(np.median([row.bias for row in mine])))
            inside = [row.inside for row in mine if row.inside is not None]
            covered += [float(np.mean(inside))] if inside else []
    if not errors:
        return Pooled(*[math.nan] * 5, 0)
    return Pooled(
        median=float(np.median(list(errors.values()))),
        mean=float(np.mean(list(errors.values()))),
        families=float(np.mean(list(_by_family(errors, families).values()))),
        bias=float(np.median(biases)),
        coverage=float(np.mean(covered)) if covered else math.nan,
        tables=len(errors),
    )


def _by_family(errors: dict[str, float], families: dict[str, str]) -> dict[str, float]:
    """Family -> the mean over its tables."""
    members = defaultdict(list)
    for table, error in errors.items():
        members[families[table]].append(error)
    return {family: float(np.mean(values)) for family, values in members.items()}


def report(title: str, scores: Scores, families: dict[str, str]) -> None:
    """Errors (and coverage) by how far beyond the fitted runs the held-out ones are."""
    print(f"\n{title}: absolute relative error of the loss, median / mean over tables")
    print("(coverage of 90% intervals)")
    names = [f"{low:g}-{high:g}x" for low, high in BINS]
    columns = (*names, "all", "families", "bias", "tables", "answered")
    print(f"{'':<24}" + "".join(f"{name:>19}" for name in columns))
    for contender, by_table in scores.items():
        cells = []
        for low, high in (*BINS, (0, math.inf)):
            pooled = pool(by_table, families, low, high)
            inside = "" if math.isnan(pooled.coverage) else f" ({100 * pooled.coverage:.0f}%)"
            error = f"{100 * pooled.median:.2f} / {100 * pooled.mean:.2f}%{inside}"
            if math.isnan(pooled.median):
                error = "-"
            cells.append("no answer" if math.isinf(pooled.median) else error)
        every = [row.error for rows in by_table.values() for row in rows]
        if math.isinf(pooled.families):
            cells += ["-", "-"]
        else:
            cells += [f"{100 * pooled.families:.2f}%", f"{100 * pooled.bias:+.2f}%"]
        cells += [f"{pooled.tables}", f"{sum(map(math.isfinite, every))}/{len(every)}"]
        print(f"{contender:<24}" + "".join(f"{c:>19}" for c in cells))
    first = next(iter(scores), "")
    for table, rows in scores.get(first, {}).items():
        inside = [row.inside for row in rows if row.trusted and row.inside is not None]
        if inside and np.mean(inside) < LEAST_INSIDE:
            words = f"{100 * np.mean(inside):.0f}% of {len(inside)} runs"
            print(f"{first}, {table}: intervals hold {words} inside its own trust")


def by_family(scores: Scores, families: dict[str, str]) -> None:
    """Each family's error, and how many families the first contender is better on."""
    first = next(iter(scores))
    names = list(dict.fromkeys(families[table] for table in scores[first]))
    print("\nby family: mean over its tables of the median error; families the first is better on")
    print(f"{'':<24}" + "".join(f"{name:>15}" for name in (*names, f"{first} better")))
    mine: dict[str, float] = {}
    for contender, by_table in scores.items():
        errors = {
            table: float(np.median([row.error for row in rows if not math.isnan(row.error)]))
            for table, rows in by_table.items()
            if any(not math.isnan(row.error) for row in rows)
        }
        theirs = _by_family(errors, families)
        mine = mine or theirs
        both = [name for name in theirs if name in mine]
        wins = f"{sum(mine[name] < theirs[name] for name in both)}/{len(both)}"
        cells = [f"{100 * theirs[n]:.2f}%" if n in theirs else "-" for n in names]
        print(f"{contender:<24}" + "".join(f"{c:>15}" for c in (*cells, wins)))


def leave_one_family_out(scores: Scores, families: dict[str, str]) -> None:
    """What the constants would have been without each family, and the error on it then."""
    print("\nconstants chosen without a family (least mean log error of the tables), scored on it")
    chosen = {}
    for left in dict.fromkeys(families[table] for table in scores["ours"]):
        costs, here = {}, {}
        for name in ("ours", *METHODS):
            errors = {
                table: float(np.median([row.error for row in rows]))
                for table, rows in scores[name].items()
            }
            logs = {table: math.log(max(error, 1e-9)) for table, error in errors.items()}
            costs[name] = np.mean([x for table, x in logs.items() if families[table] != left])
            here[name] = _by_family(errors, families)[left]
        best = min(costs, key=lambda name: costs[name])
        chosen[left] = here[best]
        print(f"{left:<24}{best:>30}{100 * here[best]:>9.2f}%   ours {100 * here['ours']:.2f}%")
    print(f"{'mean over families':<54}{100 * np.mean(list(chosen.values())):>9.2f}%")


def head_to_head(
    scores: Scores, families: dict[str, str], first: str
) -> dict[str, dict[str, float]]:
    """``first`` against each other contender, on the held-out runs both answered."""
    print(f"\n{first} against each, on the runs both answered (pooled as above)")
    print(f"{'':<24}{first:>12}{'the other':>12}{'better on':>12}{'runs':>8}{'tables':>8}")
    shares = {}
    for other in (name for name in scores if name != first):
        mine, theirs, wins, runs = {}, {}, 0, 0
        for table, rows in scores[first].items():
            pairs = zip(rows, scores[other][table], strict=True)
            both = [p for p in pairs if math.isfinite(p[0].error) and math.isfinite(p[1].error)]
            if both:
                mine[table], theirs[table] = ([p[side] for p in both] for side in (0, 1))
                medians = [np.median([row.error for row in t[table]]) for t in (mine, theirs)]
                wins, runs = wins + int(medians[0] < medians[1]), runs + len(both)
        ours, others = (pool(t, families, 0, math.inf).median for t in (mine, theirs))
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
    parser.add_argument(
        "--data", type=Path, default=root.parent / "shared" / "data", help="folder of the tables"
    )
    parser.add_argument("--json", type=Path, help="file for every score")
    parser.add_argument(
        "--choose", action="store_true", help="also other constants, chosen without each family"
    )
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
    report("pooled tables", tally.pooled, tally.families)
    by_family(tally.pooled, tally.families)
    if options.choose:
        leave_one_family_out(tally.pooled, tally.families)
    pairs = head_to_head(tally.pooled, tally.families, "ours")
    report("trap (un-annealed runs), not pooled", tally.traps, tally.families)
    for name, reasons in tally.silent.items():
        for reason, times in reasons.items():
            print(f"{name}, {times} rollouts: {reason}")
    print("\nCPU seconds: " + ", ".join(f"{name} {s:.0f}" for name, s in tally.spent.items()))
    if options.json:
        document = finite_json({**vars(tally), "head_to_head": pairs})
        options.json.write_text(json.dumps(document, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
