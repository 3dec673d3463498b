"""Does a designed sweep forecast as well as a plain one of twice its compute?

    python benchmarks/design.py [--draws 40] [--tables DIR] [--json FILE]

Planted surfaces: several laws and exponents, and one no law contains; noise of a run (.2%), of a
trunk (.1%), and a misfit (.15%) smooth over sizes and tokens that seeds do not show. Every design
is charged the same way: per size and seed a trunk that its horizons share (IsoFLOP cells from
scratch, as they are published). The losses are drawn, the chinchilla, skaling and coupled laws
fitted (Huber in log loss, batched Newton) and the one of the least BIC forecasts the noise-free
loss at the target. Designs know none of the truth but the target: the prior is ``slaw plan``'s own.

Tables: rows of published sweeps as the pool, each at its own FLOPs; the largest runs, held out,
are the target.

Scored: the error (two thirds of the draws are below it) and the width of the middle 90% of the
forecasts; and, for each surface, the share of the best plain design's compute with which the
designed one reaches that design's error (from designs of 1/8, 1/4, 1/2 and all of its compute).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402  (threads are set before it is loaded)

from scaling_law.design.prior import prior_of  # noqa: E402
from scaling_law.design.search import Costs, Minimums, Search, SearchSpace  # noqa: E402
from scaling_law.design.variance import Noise, Runs, posterior_of  # noqa: E402
from scaling_law.errors import FitError  # noqa: E402
from scaling_law.fit.laws import load_law  # noqa: E402
from scaling_law.fit.solver.solve import Objective, Problem  # noqa: E402

LAWS = ("chinchilla", "skaling", "coupled")
RUN_LOG, TRUNK_LOG, MISFIT_LOG, WAVES = 0.002, 0.001, 0.0015, 12
# Of published runs: seeds, trainers and figures read off plots, and laws that miss by a percent.
TABLE_NOISE = Noise(run_log=0.004, misfit_log=0.01)
DECAY = 0.2
RATIOS = (20, 10, 40, 100, 2)  # {0.1, 0.5, 1, 2, 5} x 20, by closeness to 20
SHARES = (0.125, 0.25, 0.5, 1.0)
Loss = Callable[[np.ndarray, np.ndarray], np.ndarray]
Design = list[tuple[float, list[float]]]  # (params, tokens of its horizons) a trunk


@dataclass(frozen=True)
class World:
    """A planted loss, the sizes to choose from, a budget and where the target lies beyond it."""

    name: str
    loss: Loss
    smallest: float
    largest: float
    budget: float
    beyond: float

    @property
    def target(self) -> tuple[float, float]:
        """The true compute-optimal (params, tokens) of ``beyond`` budgets."""
        flops = self.beyond * self.budget
        params = np.exp(np.linspace(0.25, 0.75, 4001) * math.log(flops))
        tokens = flops / 6 / params
        place = int(self.loss(params, tokens).argmin())
        return float(params[place]), float(tokens[place])


def additive(floor: float, a: float, alpha: float, b: float, beta: float, bend: float = 0) -> Loss:
    def loss(n: np.ndarray, d: np.ndarray) -> np.ndarray:
        plain = floor + a * n**-alpha + b * d**-beta
        return plain + bend * np.log(d / n / 20) ** 2 * (n * d) ** -0.12

    return loss


def powered(floor: float, a: float, alpha: float, b: float, beta: float, power: float) -> Loss:
    return lambda n, d: floor + (a * n**-alpha + b * d**-beta) ** power


def worlds(beyond: Sequence[float]) -> list[World]:
    small = {
        "coupled": powered(0, 1.449e5, 0.6452, 1.4e5, 0.5125, 0.2561),
        "coupled, steep data": powered(0, 3e4, 0.52, 6e5, 0.62, 0.26),
        "skaling": powered(1.2, 6e2, 0.42, 9e2, 0.39, 0.5),
        "chinchilla": additive(2.2, 90, 0.40, 260, 0.40),
        "foreign": additive(1.6, 60, 0.33, 110, 0.33, bend=0.6),
    }
    large = {
        "symmetric": additive(1.8, 480, 0.35, 900, 0.35),
        "hoffmann": additive(1.69, 406.4, 0.34, 410.7, 0.28),
        "asymmetric": additive(1.7, 2500, 0.45, 120, 0.25),
        "skaling, large": powered(1.5, 900, 0.42, 2500, 0.42, 0.8),
        "foreign, large": additive(1.7, 400, 0.34, 1500, 0.36, bend=1.5),
    }
    all_worlds = []
    for times in beyond:
        all_worlds += [World(n, f, 4e4, 4e6, 4.4e13, times) for n, f in small.items()]
        all_worlds += [World(n, f, 1e7, 3e9, 1e20, times) for n, f in large.items()]
    return all_worlds


def cost(design: Design) -> float:
    """6ND of every step taken; horizons of a trunk share it."""
    total = 0.0
    for params, tokens in design:
        shared = (1 - DECAY) * max(tokens) + DECAY * sum(tokens)
        total += 6 * params * shared
    return total


def merged(points: Sequence[tuple[float, float]]) -> Design:
    """Points of one size and seed as one trunk."""
    sizes: dict[float, list[float]] = {}
    for params, tokens in points:
        sizes.setdefault(params, []).append(tokens)
    return sorted((n, sorted(set(ds))) for n, ds in sizes.items())


def scaled(make: Callable[[float], Design], budget: float, charge=cost) -> Design:  # type: ignore[no-untyped-def]
    """The largest of a family of designs, by one number, that the budget pays for."""
    low, high = 1e-3, 1e3
    for _ in range(60):
        middle = math.sqrt(low * high)
        if charge(make(middle)) <= budget:
            low = middle
        else:
            high = middle
    return make(low)


def grid(world: World, budget: float) -> Design:
    """Eight log-uniform sizes, all five ratios, as large as the budget allows."""

    def make(scale: float) -> Design:
        sizes = np.geomspace(world.smallest, max(world.smallest * 1.5, world.largest * scale), 8)
        return merged([(float(n), float(n * r)) for n in sizes for r in RATIOS])

    return scaled(make, budget)


def ranked(world: World, budget: float) -> Design:
    """Log-uniform sizes by ratios, bought by closeness to 20 tokens a parameter."""
    top = min(world.largest, math.sqrt(budget / 3 / 120))
    sizes = np.geomspace(world.smallest, top, 12)
    points: list[tuple[float, float]] = []
    for ratio in RATIOS:
        for n in sizes:
            more = [*points, (float(n), float(n * ratio))]
            if cost(merged(more)) <= budget:
                points = more
    return merged(points)


def isoflop(world: World, budget: float) -> Design:
    """Five cells a factor of 3 apart, seven sizes each within a factor of 3.2 of the optimum."""
    cells = [3.0**-j for j in range(5)]
    top = budget / 7 / sum(cells)
    points: Design = []
    for cell in cells:
        middle = math.sqrt(top * cell / 120)
        for n in np.geomspace(max(middle / 3.2, world.smallest), middle * 3.2, 7):
            points.append((float(n), [float(top * cell / 6 / n)]))
    return points


def pool(world: World) -> Runs:
    """Candidates: sizes a factor of 1.5 apart, horizons a factor of 2, 1 to 300 tokens a param."""
    count = 1 + round(math.log(world.largest / world.smallest) / math.log(1.5))
    params, tokens = [], []
    for n in np.geomspace(world.smallest, world.largest, count):
        for step in range(24):
            d = world.smallest * 4 * 2.0**step
            if 1 <= d / n <= 300:
                params.append(float(n))
                tokens.append(float(d))
    return Runs(np.array(params), np.array(tokens))


def random_design(world: World, budget: float, generator: np.random.Generator) -> Design:
    runs = pool(world)
    points: list[tuple[float, float]] = []
    for place in generator.permutation(len(runs.params)):
        more = [*points, (float(runs.params[place]), float(runs.tokens[place]))]
        if cost(merged(more)) <= budget:
            points = more
    return merged(points)


def designed(world: World, budget: float) -> Design:
    """What ``slaw plan`` would choose."""
    runs = pool(world)
    flops = 6 * runs.params * runs.tokens
    keep = flops <= budget
    runs = Runs(runs.params[keep], runs.tokens[keep])
    flops = flops[keep]
    steps = np.round(np.log2(runs.tokens / runs.tokens.min())).astype(int)
    sizes = np.unique(runs.params)
    cells = tuple(tuple(np.flatnonzero(runs.params == size).tolist()) for size in sizes)
    posterior = posterior_of(prior_of(runs).planted, runs, world.target, Noise())
    costs = Costs(single=flops, trunk=(1 - DECAY) * flops, branch=DECAY * flops)
    search = Search(posterior, costs, SearchSpace(cells, tuple(steps.tolist())))
    trunks = search.run(budget).trunks
    return [(float(runs.params[t[0]]), [float(runs.tokens[r]) for r in t]) for _, t in trunks]


def draw(world: World, design: Design, draws: int, generator: np.random.Generator):  # type: ignore[no-untyped-def]
    """Params, tokens [n] and log losses [draws, n] of a design's runs."""
    params = np.array([n for n, ds in design for _ in ds])
    tokens = np.array([d for _, ds in design for d in ds])
    trunk = np.repeat(np.arange(len(design)), [len(ds) for _, ds in design])
    logs = np.log(world.loss(params, tokens)) + RUN_LOG * generator.standard_normal(
        (draws, len(params))
    )
    logs += TRUNK_LOG * generator.standard_normal((draws, len(design)))[:, trunk]
    return params, tokens, logs + misfit(params, tokens, draws)


def misfit(params: np.ndarray, tokens: np.ndarray, draws: int) -> np.ndarray:
    """What no law has and no seed shows [draws, n]: smooth over a factor of 4 or so.

    The same for every design, as sums of random waves in the logarithms.
    """
    generator = np.random.default_rng(123)
    where = np.stack([np.log(params), np.log(tokens)])
    waves = generator.standard_normal((draws, WAVES, 2)) / math.log(4)
    phases = generator.uniform(0, 2 * math.pi, (draws, WAVES, 1))
    return MISFIT_LOG * math.sqrt(2 / WAVES) * np.cos(waves @ where + phases).sum(axis=1)


def forecasts(
    params: np.ndarray, tokens: np.ndarray, logs: np.ndarray, at: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Log loss [draws, targets] by the law of the least BIC; NaN where none can be fitted."""
    variables = {"params": params, "tokens": tokens}
    best = np.full(len(logs), np.inf)
    losses = np.full((len(logs), len(at[0])), np.nan)
    for name in LAWS:
        law = load_law(name)
        if len(params) < len(law.names) + 1:
            continue
        typical = np.exp(logs.mean(axis=0))
        problem = Problem(law, variables, typical, Objective())
        first = problem.solve(problem.starts(12), max_steps=200)
        optimum = first.internal[int(first.objective.argmin())]
        solved = problem.solve(np.tile(optimum, (len(logs), 1)), targets=logs, max_steps=200)
        fitted = law.log_loss(solved.internal, problem.basis)[0]
        count = len(params)
        scatter = np.log(((fitted - logs) ** 2).mean(axis=1))
        bic = count * scatter + len(law.names) * math.log(count)
        where = {"params": at[0], "tokens": at[1]}
        basis = law.basis({v: np.log(where[v]) - problem.centres[v] for v in law.variables})
        there = law.log_loss(solved.internal, basis)[0]
        better = bic < best
        losses[better], best[better] = there[better], bic[better]
    return losses


def scored(world: World, design: Design, draws: int, seed: int = 0) -> tuple[float, float]:
    """(error, width of the middle 90%) of the forecast's log loss."""
    generator = np.random.default_rng(seed)
    n, d = (np.array([x]) for x in world.target)
    truth = math.log(float(world.loss(n, d)[0]))
    there = forecasts(*draw(world, design, draws, generator), (n, d))[:, 0]
    there = there[np.isfinite(there)]
    if len(there) < draws / 2:
        return math.inf, math.inf
    errors = np.abs(there - truth)
    low, high = np.quantile(there, [0.05, 0.95])
    return float(np.quantile(errors, 2 / 3)), float(high - low)


def share_needed(shares: Sequence[float], errors: Sequence[float], goal: float) -> float:
    """The least share of compute from which on the error is at most ``goal``; inf if none."""
    # the error at a share is the worst from there on: one lucky small design does not count
    x, y = np.log(shares), np.log(np.maximum.accumulate(np.array(errors)[::-1])[::-1])
    if y[-1] > math.log(goal):
        return math.inf
    place = int(np.argmax(y <= math.log(goal)))
    if place == 0:
        return float(shares[0])
    part = (math.log(goal) - y[place - 1]) / min(y[place] - y[place - 1], -1e-12)
    return float(math.exp(x[place - 1] + part * (x[place] - x[place - 1])))


def summary(what: str, rows: list[dict]) -> str:  # type: ignore[type-arg]
    """Medians over the surfaces, against the best plain design of each."""
    plain = ("grid", "ranked", "isoflop", "random")
    best = [min(row[name][0] for name in plain if name in row) for row in rows]
    lines = []
    for name, words in (("designed", "the same"), ("half", "half the")):
        ratios = [row[name][0] / least for row, least in zip(rows, best, strict=True)]
        better = sum(ratio <= 1 for ratio in ratios)
        lines.append(
            f"{what}, {words} compute: error {statistics.median(ratios):.2f} of the best plain"
            f" design's (median), at most as large on {better} of {len(rows)}"
        )
    shares = [row["share"] for row in rows]
    lines.append(f"{what}: share of compute for the same error {statistics.median(shares):.2f}")
    return "\n".join(lines)


def planted(draws: int, beyond: Sequence[float]) -> list[dict]:  # type: ignore[type-arg]
    rows = []
    for world in worlds(beyond):
        row: dict = {"world": world.name, "beyond": world.beyond}  # type: ignore[type-arg]
        for name, make in (("grid", grid), ("ranked", ranked), ("isoflop", isoflop)):
            design = make(world, world.budget)
            row[name] = scored(world, design, draws)
        several = []
        for seed in range(4):
            design = random_design(world, world.budget, np.random.default_rng(seed))
            several.append(scored(world, design, draws, seed))
        row["random"] = tuple(statistics.median(x[i] for x in several) for i in (0, 1))
        ours = [scored(world, designed(world, s * world.budget), draws) for s in SHARES]
        row["designed"] = ours[-1]
        row["half"] = ours[-2]
        best = min(row[name][0] for name in ("grid", "ranked", "isoflop", "random"))
        row["share"] = share_needed(SHARES, [e for e, _ in ours], best)
        rows.append(row)
        print(text_of(row), flush=True)
    return rows


def text_of(row: dict) -> str:  # type: ignore[type-arg]
    names = ("grid", "ranked", "isoflop", "random", "designed", "half")
    cells = [f"{n} {100 * row[n][0]:.2f}/{100 * row[n][1]:.2f}" for n in names if n in row]
    return f"{row['world']:20s} {row['beyond']:>6g}x  {'  '.join(cells)}  share {row['share']:.2f}"


def tables(folder: Path) -> dict[str, np.ndarray]:
    """(params, tokens, flops, loss) columns [n, 4] of each published sweep."""
    by_table: dict[str, list[list[float]]] = {}

    def rows(file: str) -> list[dict[str, str]]:
        with (folder / file).open() as lines:
            return list(csv.DictReader(lines))

    def put(name: str, row: dict[str, str]) -> None:
        values = [float(row[c]) for c in ("params", "tokens", "flops", "loss")]
        by_table.setdefault(name, []).append(values)

    for row in rows("chinchilla_epoch245.csv"):
        if float(row["epoch_excluded"]) == 0:
            put("hoffmann", row)
    for row in rows("porian_isoflop.csv"):
        put(f"porian {row['config'][:40]}", row)
    for row in rows("overtrain_gadre104.csv"):
        put(f"gadre {row['dataset']}", row)
    for row in rows("datablations_c4.csv"):
        if float(row["epochs"]) <= 1.01:
            put("muennighoff", row)
    for row in rows("olmo_ladder_c4.csv"):
        put("olmo", row)
    return {name: np.array(values) for name, values in by_table.items()}


def chosen_rows(data: np.ndarray, budget: float, target: tuple[float, float]) -> np.ndarray:
    """Row numbers that the design buys of a table, each at its own price."""
    runs = Runs(data[:, 0], data[:, 1])
    posterior = posterior_of(prior_of(runs).planted, runs, target, TABLE_NOISE)
    costs = Costs(single=data[:, 2], trunk=data[:, 2], branch=data[:, 2])
    steps = np.round(np.log2(data[:, 1])).astype(int)
    cells = tuple((i,) for i in range(len(data)))
    minimums = Minimums(trunks=7, sizes=7, horizons=1, repeats=0)
    search = Search(posterior, costs, SearchSpace(cells, tuple(steps.tolist()), seeds=1), minimums)
    return np.array([t[0] for _, t in search.run(budget).trunks])


def bought(order: Sequence[int], prices: np.ndarray, budget: float) -> np.ndarray:
    left, places = budget, []
    for place in order:
        if prices[place] <= left:
            left -= prices[place]
            places.append(place)
    return np.array(places, dtype=int)


def table_error(data: np.ndarray, rows: np.ndarray, held: np.ndarray) -> float:
    """Median absolute log error at the held-out runs."""
    if len(rows) < 7:
        return math.inf
    some = data[rows]
    there = forecasts(some[:, 0], some[:, 1], np.log(some[None, :, 3]), (held[:, 0], held[:, 1]))
    errors = np.abs(there[0] - np.log(held[:, 3]))
    return float(np.median(errors)) if np.isfinite(errors).all() else math.inf


def from_tables(folder: Path) -> list[dict]:  # type: ignore[type-arg]
    """Each table at a quarter of what its cheaper runs cost together."""
    rows = []
    for name, data in tables(folder).items():
        data = data[np.isfinite(data).all(axis=1) & (data > 0).all(axis=1)]
        top = np.sort(data[:, 2])[-max(3, len(data) // 10)]
        held, rest = data[data[:, 2] >= top], data[data[:, 2] < top / 2]
        if len(rest) < 12:
            continue
        budget = 0.25 * rest[:, 2].sum()
        n, d = (float(np.exp(np.log(held[:, i]).mean())) for i in (0, 1))
        closeness = np.abs(np.log(rest[:, 1] / rest[:, 0] / 20))
        cell = np.round(np.log(rest[:, 2]) / 0.1)
        row: dict = {"world": name, "beyond": float(np.median(held[:, 2]) / rest[:, 2].max())}  # type: ignore[type-arg]
        plain = {
            "ranked": bought(np.lexsort((rest[:, 2], closeness.round(1))), rest[:, 2], budget),
            "isoflop": bought(np.lexsort((closeness, cell)), rest[:, 2], budget),
        }
        for label, places in plain.items():
            row[label] = (table_error(rest, places, held), math.nan)
        several = []
        for seed in range(15):
            order = np.random.default_rng(seed).permutation(len(rest))
            several.append(table_error(rest, bought(order, rest[:, 2], budget), held))
        row["random"] = (statistics.median(several), math.nan)
        ours = []
        for share in SHARES:
            try:
                places = chosen_rows(rest, share * budget, (n, d))
                ours.append(table_error(rest, places, held))
            except FitError:
                ours.append(math.inf)
        row["designed"], row["half"] = (ours[-1], math.nan), (ours[-2], math.nan)
        best = min(row[label][0] for label in ("ranked", "isoflop", "random"))
        row["share"] = share_needed(SHARES, ours, best)
        rows.append(row)
        print(text_of(row), flush=True)
    return rows


def main() -> None:
    """Prints a line a surface and table, error/width in % of the loss, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--beyond", type=float, nargs="+", default=[100.0, 10_000.0])
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {"planted": planted(options.draws, options.beyond)}
    if options.tables:
        results["tables"] = from_tables(options.tables)
    for what, rows in results.items():
        print(summary(what, rows))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
