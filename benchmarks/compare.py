"""Do the 90% intervals of ``slaw compare`` hold planted multipliers 90% of the time?

    python benchmarks/compare.py [--draws 200] [--json FILE]

Each draw plants two recipes on one surface, Chinchilla's or one with a power, of which B is worth u
times the parameters and v times the tokens, constant or changing with compute, and invents runs:
two to six sizes with one horizon each (a ladder) or with two to four that share a trunk, one to
three seeds, on one grid or on unequal ones, noise of .1 to .5%, in part shared by a trunk and by a
seed under both recipes. Scored: the multiplier at the longest run of the smallest and the largest
size of B, at the middle of the runs' path and on it at 10 and 100 times the largest compute, and
its power of the compute at the middle.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402  (threads are set before it is loaded)

from scaling_law.fit.recipes.shift import Path as Way  # noqa: E402
from scaling_law.fit.recipes.shift import Side, fit_shift  # noqa: E402

LEVEL = 0.9
PLACES = ("lowest", "middle", "highest", "10x", "100x", "power")
Law = Callable[[np.ndarray, np.ndarray], np.ndarray]


def additive(params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Chinchilla's law at the scale of small runs."""
    return 1.8 + 60 * params**-0.34 + 200 * tokens**-0.37


def coupled(params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """A law with a power and no floor."""
    return (1.45e5 * params**-0.645 + 1.4e5 * tokens**-0.5125) ** 0.2561


def large(params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Chinchilla's law as published, for runs of 20M parameters and more."""
    return 1.82 + 482 * params**-0.348 + 2085 * tokens**-0.366


SURFACES: dict[str, tuple[Law, float]] = {  # with the smallest size
    "additive": (additive, 4e4),
    "coupled": (coupled, 4e4),
    "large": (large, 2e7),
}


@dataclass(frozen=True)
class Planted:
    """Two recipes and their invented runs.

    ``gain`` and ``power`` are the log multiplier in the middle and its power of the compute;
    ``tilt`` is the part of it that goes to the parameters.
    """

    law: Law
    gain: float
    power: float
    tilt: float
    middle: float
    sides: tuple[Side, Side]

    def loss(self, params: np.ndarray, tokens: np.ndarray, second: bool) -> np.ndarray:
        """The exact losses of a recipe."""
        log_m = self.gain + self.power * (np.log(6 * params * tokens) - self.middle)
        log_m = log_m * second
        return self.law(
            params * np.exp(self.tilt * log_m), tokens * np.exp((1 - self.tilt) * log_m)
        )

    def log_multiplier(self, params: float, tokens: float, way: Way) -> float:
        """By bisection: how far A must move along the path for the loss of B."""

        def at(step: float, second: bool) -> float:
            moved = params * math.exp(way.share * step), tokens * math.exp((1 - way.share) * step)
            return float(self.loss(*map(np.array, moved), second))

        wanted, low, high = at(0.0, True), -6.0, 6.0
        for _ in range(60):
            step = 0.5 * (low + high)
            low, high = (step, high) if at(step, False) > wanted else (low, step)
        return low


def plant(draw: np.random.Generator, count: int, is_ladder: bool) -> Planted:
    """Draw two recipes and their runs on ``count`` sizes."""
    law, least = SURFACES[str(draw.choice(list(SURFACES)))]
    factor = draw.uniform(1.7, 4.0 if count < 5 else 2.5)
    ratio = draw.uniform(8, 60)
    horizons = [1.0] if is_ladder else (0.5 * 2.0 ** np.arange(draw.integers(2, 5))).tolist()
    gain = draw.normal(0, 0.25)
    power = draw.choice([0.0, 0.05, -0.05])
    tilt = draw.uniform(0.2, 0.8)
    unequal = draw.random() < 0.5
    seeds = int(draw.integers(2 if is_ladder and count == 2 else 1, 4))
    noise = math.exp(draw.uniform(math.log(0.001), math.log(0.005)))
    of_trunk, of_pair = draw.choice([0.0, 0.5, 0.9]), draw.choice([0.0, 0.5])
    grids = []
    for second in (0, 1):
        offset = draw.uniform(-0.3, 0.3) if unequal and second else 0.0
        own = max(2, count - int(unequal and second and draw.random() < 0.5))
        grids.append([least * factor ** (i + offset) for i in range(own)])
    middle = math.log(6 * ratio) + 2 * math.log(least * factor ** ((count - 1) / 2))
    planted = Planted(law, gain, power, tilt, middle, ())  # type: ignore[arg-type]
    sides = []
    common: dict[str, float] = {}
    for second, sizes in enumerate(grids):
        rows = []
        for place, params in enumerate(sizes):
            for seed in range(seeds):
                trunk = f"{place} seed {seed}"
                shared = common.setdefault(trunk, draw.normal())
                own = draw.normal()
                for horizon in horizons:
                    tokens = horizon * ratio * params
                    exact = float(planted.loss(np.array(params), np.array(tokens), bool(second)))
                    trunk_noise = math.sqrt(of_pair) * shared + math.sqrt(1 - of_pair) * own
                    wobble = math.sqrt(of_trunk) * trunk_noise
                    wobble += math.sqrt(1 - of_trunk) * draw.normal()
                    rows.append((params, tokens, exact * math.exp(noise * wobble), trunk))
        params_, tokens_, losses, trunks = zip(*rows, strict=True)
        sides.append(
            Side(
                params=np.array(params_), tokens=np.array(tokens_), losses=np.array(losses),
                trunks=tuple(trunks), paired=True,
            )
        )  # fmt: skip
    return Planted(law, gain, power, tilt, middle, (sides[0], sides[1]))


def score(planted: Planted) -> dict[str, tuple[bool, float, float]]:
    """By place: whether the interval holds the truth, its width, and the error."""
    shift = fit_shift(*planted.sides)
    way, side = shift.path, planted.sides[1]
    sizes = side.params.min(), side.params.max()
    runs = [(float(n), float(side.tokens[side.params == n].max())) for n in sizes]
    most = 6 * runs[1][0] * runs[1][1]
    runs += [
        (way.params(flops), flops / 6 / way.params(flops))
        for flops in (math.exp(way.log_flops), 10 * most, 100 * most)
    ]
    truths = [planted.log_multiplier(*run, way) for run in runs]
    scored = {
        name: (shift.log_multiplier(*run), truth)
        for name, run, truth in zip(
            ("lowest", "highest", "middle", "10x", "100x"), runs, truths, strict=True
        )
    }
    steps = [math.exp(way.log_flops + step) for step in (-1.0, 1.0)]
    ends = [planted.log_multiplier(way.params(x), x / 6 / way.params(x), way) for x in steps]
    scored["power"] = (shift.power, (ends[1] - ends[0]) / 2)
    return {
        name: (ends[0] <= truth <= ends[1], ends[1] - ends[0], normals.mean - truth)
        for name, (normals, truth) in scored.items()
        for ends in [normals.interval(LEVEL)]
    }


def coverage(count: int, is_ladder: bool, draws: int, seed: int) -> dict[str, dict[str, float]]:
    """By place: the share of intervals that hold the truth, their median width, the rms error."""
    each: dict[str, list[tuple[bool, float, float]]] = defaultdict(list)
    for number in range(draws):
        draw = np.random.default_rng([seed, count, is_ladder, number])
        for name, row in score(plant(draw, count, is_ladder)).items():
            each[name].append(row)
    return {
        name: {
            "held": float(np.mean([held for held, _, _ in rows])),
            "width": float(np.median([width for _, width, _ in rows])),
            "error": float(np.sqrt(np.mean([error**2 for _, _, error in rows]))),
        }
        for name, rows in each.items()
    }


def main() -> None:
    """Print a line for each number of sizes and kind of grid."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    made = []
    print(f"{'sizes':>5} {'grid':8}" + "".join(f"{name:>20}" for name in PLACES))
    for is_ladder in (True, False):
        for count in (2, 3, 4, 6):
            scored = coverage(count, is_ladder, options.draws, options.seed)
            grid = "ladder" if is_ladder else "horizons"
            cells = [scored[name] for name in PLACES]
            words = [f"{c['held']:.0%} {c['width']:.3f} {c['error']:.3f}" for c in cells]
            print(f"{count:>5} {grid:8}" + "".join(f"{word:>20}" for word in words), flush=True)
            made.append({"sizes": count, "grid": grid, **scored})
    if options.json:
        options.json.write_text(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
