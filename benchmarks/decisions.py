"""Decision accuracy: which of two recipes is better at scale, told from small runs.

    python benchmarks/decisions.py FOLDER [--json FILE]
    python benchmarks/decisions.py TABLE --recipe COLUMN [--json FILE]

As DataDecide measures it (Magnusson 2025, arXiv 2504.11393): of all pairs of recipes that have a
run of one size and tokens, the share whose order small runs predict. FOLDER holds the published
tables with several recipes and one validation loss; TABLE is one of your own. Targets are the sizes
and tokens that at least two recipes share, within a factor of a hundred of the most expensive. For
each target, runs of at most a share of its FLOPs are known, and the order is predicted by

- the largest small run that both recipes have (where several have its FLOPs, the one whose tokens a
  parameter are nearest to the target's);
- the law that best predicts held-out small runs, fitted to each recipe and extrapolated;
- Chinchilla's law, likewise.

A predictor that cannot answer (too few small runs, no fit) is counted as such and not as wrong; a
last column has the largest small run on the decisions that the law answers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scaling_law import text_columns  # noqa: E402  (this checkout's)
from scaling_law.errors import FitError  # noqa: E402
from scaling_law.fit.approaches.parametric import fit_law  # noqa: E402
from scaling_law.fit.checks.select_law import best_law, score_laws  # noqa: E402
from scaling_law.fit.points.points import FitPoints  # noqa: E402
from scaling_law.fit.points.table import read_table_by  # noqa: E402
from scaling_law.fit.points.table_settings import TableSettings  # noqa: E402
from scaling_law.fit.result import FitResult, finite_json  # noqa: E402
from scaling_law.fit.solver.solve import Objective  # noqa: E402

SHARES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 1e-4)
TARGETS_WITHIN = 100.0
LEAST_POINTS = 6
Place = tuple[str, str]
"""Params and tokens, to three digits: what two recipes must share to be compared."""

Fits = dict[tuple[str, str, int], FitResult | None]
"""The fits made: recipe, law and how many of the recipe's cheapest runs -> its fit."""

# The published tables: the file, the column of the recipe, its values, and conditions on rows.
PUBLISHED: tuple[tuple[str, str, Callable[[str], bool], tuple[str, ...]], ...] = (
    ("overtrain_gadre104.csv", "dataset", lambda name: True, ()),
    ("porian_isoflop.csv", "config", lambda name: name.endswith("standard/val"), ()),
    ("datablations_c4.csv", "unique_tokens", lambda name: True, ()),
)
PREDICTORS = ("largest small run", "law by rollouts", "chinchilla")
# The first on the decisions that the second has an answer to.
WHERE_LAW = "largest, where the law answers"


@dataclass(frozen=True)
class Recipe:
    """The runs of one recipe, seeds of one place averaged: arrays [n] of one order."""

    name: str
    points: FitPoints

    def places(self) -> dict[Place, list[int]]:
        """The rows of each size and tokens."""
        rows: dict[Place, list[int]] = defaultdict(list)
        pairs = zip(self.points.params, self.points.tokens, strict=True)
        for row, (params, tokens) in enumerate(pairs):
            rows[f"{params:.3g}", f"{tokens:.3g}"].append(row)
        return rows

    def loss(self, rows: Sequence[int]) -> float:
        """The mean loss of some rows."""
        return float(np.mean(self.points.loss_nats[list(rows)]))

    def flops(self) -> np.ndarray:
        """6 x params x tokens of each run."""
        return 6 * self.points.params * self.points.tokens


@dataclass(frozen=True)
class Decision:
    """One pair of recipes at one target.

    ``share``: the most FLOPs of a small run, of the target's.
    ``spent``: FLOPs of all small runs of both recipes, of the target's.
    ``right``: predictor -> 1 right, 0 wrong, .5 undecided; NaN: it has no answer.
    """

    share: float
    spent: float
    right: dict[str, float]


def decisions(recipes: Sequence[Recipe]) -> Iterator[Decision]:
    """Every pair of recipes at every target they share, for every share of its compute."""
    places = {recipe.name: recipe.places() for recipe in recipes}
    fits: Fits = {}
    pairs = list(itertools.combinations(recipes, 2))
    shared = {
        (one.name, two.name): places[one.name].keys() & places[two.name].keys()
        for one, two in pairs
    }
    every = {
        place: 6 * float(place[0]) * float(place[1]) for each in shared.values() for place in each
    }
    if not every:
        return
    limit = max(every.values()) / TARGETS_WITHIN
    for one, two in pairs:
        for target in sorted(shared[one.name, two.name]):
            if every[target] < limit:
                continue
            true = [r.loss(places[r.name][target]) for r in (one, two)]
            if true[0] == true[1]:
                continue
            for share in SHARES:
                budget = share * every[target] * 1.01
                spent = sum(float(r.flops()[r.flops() <= budget].sum()) for r in (one, two))
                if spent == 0:
                    continue
                guesses = {
                    PREDICTORS[0]: _largest(one, two, places, target, budget),
                    PREDICTORS[1]: _by_law(one, two, target, budget, "", fits),
                    PREDICTORS[2]: _by_law(one, two, target, budget, "chinchilla", fits),
                }
                right = {
                    name: math.nan if guess is None else _right(guess, true)
                    for name, guess in guesses.items()
                }
                yield Decision(share, spent / every[target], right)


def _flops(place: Place) -> float:
    return 6 * float(place[0]) * float(place[1])


def _right(guess: tuple[float, float], true: Sequence[float]) -> float:
    if guess[0] == guess[1]:
        return 0.5
    return float((guess[0] < guess[1]) == (true[0] < true[1]))


def _largest(
    one: Recipe,
    two: Recipe,
    places: Mapping[str, Mapping[Place, list[int]]],
    target: Place,
    budget: float,
) -> tuple[float, float] | None:
    """Losses of both at the largest small run that both have."""
    both = [
        (flops, place)
        for place in places[one.name].keys() & places[two.name].keys()
        if (flops := _flops(place)) <= budget
    ]
    if not both:
        return None
    most = max(flops for flops, _ in both)

    def off(place: Place) -> float:
        ratios = [float(tokens) / float(params) for params, tokens in (place, target)]
        return abs(math.log(ratios[0] / ratios[1]))

    best = min((place for flops, place in both if flops >= most / 1.02), key=off)
    return one.loss(places[one.name][best]), two.loss(places[two.name][best])


def _by_law(
    one: Recipe,
    two: Recipe,
    target: Place,
    budget: float,
    law: str,
    fits: Fits,
) -> tuple[float, float] | None:
    """Losses of both by the law of each one's small runs; None where one has no fit."""
    values = []
    for recipe in (one, two):
        rows = np.flatnonzero(recipe.flops() <= budget)
        key = recipe.name, law, len(rows)
        if key not in fits:
            fits[key] = _fitted(recipe.points.take(rows), law)
        fit = fits[key]
        if fit is None:
            return None
        params, tokens = np.array([float(target[0])]), np.array([float(target[1])])
        known = {
            "params": params,
            "tokens": tokens,
            "tokens_unique": tokens,
            "flops": 6 * params * tokens,
        }
        inputs = {name: known[name] for name in fit.law.variables}
        values.append(float(fit.law.predict(fit.params, inputs)[0]))
    return values[0], values[1]


def _fitted(points: FitPoints, law: str) -> FitResult | None:
    """The law fitted to some runs; None where they do not allow it."""
    if len(points) < LEAST_POINTS:
        return None
    try:
        name = law or best_law(score_laws(points, Objective())[0])
        fit = fit_law(points, name)
    except FitError:
        return None
    return fit if fit.usable else None


def recipes_of(
    path: Path,
    column: str,
    wanted: Callable[[str], bool] = lambda name: True,
    where: tuple[str, ...] = (),
) -> tuple[list[Recipe], list[str]]:
    """The recipes of a table, and those left out with the reason."""
    recipes, left_out = [], []
    settings = TableSettings(where=where, columns={"flops": ""})
    for (name,), points in read_table_by(path, [column], settings):
        if not wanted(name):
            left_out.append(f"{name}: another validation loss")
        elif isinstance(points, FitPoints):
            recipes.append(Recipe(name, points))
        else:
            left_out.append(f"{name}: {points}")
    return recipes, left_out


def accuracies(made: Sequence[Decision]) -> list[dict[str, float]]:
    """For each share of compute: pairs, compute spent, each predictor's accuracy and answers."""
    rows = []
    for share in SHARES:
        some = [one for one in made if one.share == share]
        if not some:
            continue
        row = {
            "share": share,
            "pairs": float(len(some)),
            "spent": float(np.median([one.spent for one in some])),
        }
        for name in PREDICTORS:
            known = [one.right[name] for one in some if not math.isnan(one.right[name])]
            row[name] = float(np.mean(known)) if known else math.nan
            row[f"{name}: answers"] = float(len(known))
        same = [one.right for one in some if not math.isnan(one.right[PREDICTORS[1]])]
        known = [right[PREDICTORS[0]] for right in same if not math.isnan(right[PREDICTORS[0]])]
        row[WHERE_LAW] = float(np.mean(known)) if known else math.nan
        row[f"{WHERE_LAW}: answers"] = float(len(known))
        rows.append(row)
    return rows


def table(rows: Sequence[dict[str, float]]) -> str:
    """Accuracies as aligned columns."""
    head = ("small run / target", "all small / target", "pairs", *PREDICTORS, WHERE_LAW)
    cells = [
        (
            f"{row['share']:g}",
            f"{row['spent']:.2g}",
            f"{row['pairs']:.0f}",
            *(
                "-"
                if math.isnan(row[name])
                else f"{100 * row[name]:.0f}% of {row[f'{name}: answers']:.0f}"
                for name in (*PREDICTORS, WHERE_LAW)
            ),
        )
        for row in rows
    ]
    return "\n".join(text_columns.left([head, *cells]))


def main() -> None:
    """Print the accuracy for each table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, metavar="FOLDER|TABLE")
    parser.add_argument("--recipe", metavar="COLUMN", help="of a table: the recipe's column")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    if options.source.is_file():
        if options.recipe is None:
            raise SystemExit(f"{options.source}: a table; name the recipe's column with --recipe")
        asked = [(options.source, options.recipe, lambda name: True, ())]
    else:
        asked = [(options.source / name, *rest) for name, *rest in PUBLISHED]
        asked = [one for one in asked if one[0].is_file()]
        if not asked:
            names = ", ".join(name for name, *_ in PUBLISHED)
            raise SystemExit(f"{options.source}: none of {names} there")
    document = {}
    for path, column, wanted, where in asked:
        recipes, left_out = recipes_of(path, column, wanted, where)
        rows = accuracies(list(decisions(recipes)))
        document[path.name] = rows
        print(f"\n{path.name}: {len(recipes)} recipes by {column}")
        print(table(rows) if rows else "no size and tokens that two recipes share")
        for words in left_out:
            print(f"left out: {words}")
    if options.json:
        options.json.write_text(json.dumps(finite_json(document), indent=1) + "\n")


if __name__ == "__main__":
    main()
