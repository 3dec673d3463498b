"""Whether refits from the full optimum and a few starts end where all starts end.

    python benchmarks/warm_starts.py [--data ../shared/data] [--resamples 40] [--only TEXT]

For every published table, and planted surfaces of 9 to 60 points, each joint law is fitted to every
subset that a check holds out and to bootstrap resamples, as ``slaw fit`` does, and again from the
whole grid of starts. Shown: how many refits have an objective over 1e-6 (relative) above that of
all starts, and by how much the worst.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import peers

os.environ.update(peers.ONE_THREAD)

import numpy as np
from rollout import tables

from scaling_law.errors import FitError
from scaling_law.fit.approaches.parametric import Refitter
from scaling_law.fit.checks.hold_out import HoldOuts, comparing_folds
from scaling_law.fit.laws import joint_laws, load_law
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints, points_from_arrays
from scaling_law.fit.solver.bootstrap import bootstrap
from scaling_law.fit.solver.solve import Problem

ROOT = Path(__file__).resolve().parents[1]
AGREE = 1e-6
SIZES = (3, 5, 8)
"""Sizes of the planted grids; each has as many horizons, at most six."""
NOISES = (0.0005, 0.01)
PLANTED = {
    "chinchilla": {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28},
    "coupled": {"A": 4e3, "B": 2e4, "alpha": 0.5, "beta": 0.5, "gamma": 0.2},
    "skaling": {"E": 1.2, "A": 2e3, "B": 9e3, "alpha": 0.5, "beta": 0.5, "k": 0.5},
}


def planted() -> Iterator[tuple[str, FitPoints]]:
    """Grids of each planted law, at each noise."""
    generator = np.random.default_rng(0)
    for name, params in PLANTED.items():
        for count in SIZES:
            sizes = np.geomspace(1e6, 1e9, count)
            horizons = np.geomspace(1e8, 1e11, min(count, 6))
            n, d = (x.ravel() for x in np.meshgrid(sizes, horizons, indexing="ij"))
            clean = load_law(name).predict(params, {"params": n, "tokens": d})
            for noise in NOISES:
                loss = clean * np.exp(noise * generator.standard_normal(len(n)))
                title = f"{name}, {len(n)} points, noise {100 * noise:g}%"
                yield title, points_from_arrays(n, d, loss)


def every_start(problem: Problem, weights: Floats | None = None, targets: Floats | None = None):
    """The least objective from the whole grid of starts."""
    starts = problem.starts()
    rows = (None if x is None else np.repeat(x[None], len(starts), 0) for x in (weights, targets))
    return float(problem.solve_from(starts, *rows).objective.min())


def excesses(points: FitPoints, name: str, resamples: int) -> tuple[list[float], list[float]]:
    """Relative excess of each subset's refit, and of each resample's."""
    refitter = Refitter(points, load_law(name))
    if refitter.problem is None or refitter.optimum is None:
        return [], []
    checks = HoldOuts(points, refitter.law, refitter=refitter)
    named = (*checks.sizes_left_out(), *checks.rollout_params(), *checks.rollout_flops())
    folds = [held for _, held in named]
    folds += comparing_folds(points)
    refitter.prepare(~held for held in folds)
    subsets = []
    for held in folds:
        try:
            fit = refitter.on(~held)
        except FitError:
            continue
        if fit.params:
            best = every_start(refitter.problem_on(~held))
            subsets.append(_excess(fit.objective, best))
    drawn = bootstrap(refitter.problem, refitter.optimum, points,
                      resamples=max(resamples, 100), seed=0, level=0.9)  # fmt: skip
    draws = []
    for row in range(min(resamples, len(drawn.internal))):
        weights, targets = drawn.weights[row], drawn.targets[row]
        mine = refitter.problem.evaluate(
            drawn.internal[row : row + 1], weights[None], targets[None], derivatives=False
        )[0]
        draws.append(_excess(float(mine[0]), every_start(refitter.problem, weights, targets)))
    return subsets, draws


def _excess(mine: float, best: float) -> float:
    return mine / max(best, 1e-14) - 1


def main() -> None:
    """Print a line for each table and law, and the totals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--resamples", type=int, default=40)
    parser.add_argument("--only", default="", help="tables whose title contains this text")
    options = parser.parse_args()
    sources = list(planted())
    if options.data.is_dir():
        sources += [
            (table.name, points_from_arrays(table.runs.params, table.runs.tokens, table.runs.loss))
            for table in tables(options.data)
        ]
    sources = [(title, points) for title, points in sources if options.only in title]
    print(f"{'':<52}{'subsets':>8}{'off':>5}{'worst':>9}{'resamples':>11}{'off':>5}{'worst':>9}")
    totals = np.zeros(4, dtype=int)
    for title, points in sources:
        for name in joint_laws():
            figures = excesses(points, name, options.resamples)
            words = f"{title}: {name}".ljust(52)
            for place, (some, width) in enumerate(zip(figures, (8, 11), strict=True)):
                off = sum(x > AGREE for x in some)
                totals[2 * place : 2 * place + 2] += len(some), off
                worst = max(some, default=0.0)
                words += f"{len(some):>{width}}{off:>5}{worst:>9.1e}"
            print(words, flush=True)
    print(f"{'all':<52}{totals[0]:>8}{totals[1]:>5}{'':>9}{totals[2]:>11}{totals[3]:>5}")


if __name__ == "__main__":
    main()
