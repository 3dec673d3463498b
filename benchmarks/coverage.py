"""Do 90% intervals cover the truth 90% of the time? Planted surfaces, simulated sweeps.

    python benchmarks/coverage.py [--draws 60] [--json FILE]

Every sweep is a grid of sizes by horizons, each size a trunk (some repeated with other seeds),
with noise shared by a trunk's branches and noise of each run, half the variance each. The fit is
the one ``slaw fit`` makes (the law chosen on rollouts, every interval part), with fewer
resamples. Scored: alpha, beta and a of Chinchilla's law where it is the truth, and the loss of
a new run at the true compute-optimal split of 3x to 1000x and 10^6 times the largest compute:
by the law that rollouts choose, alone, and by the worlds that ``slaw extrapolate`` forecasts with.
For the worlds also the width of their intervals over the law's own, and the bias of their point
forecast. Wide tables are Hoffmann's runs up to 1/30 of the largest compute with invented
losses; give their folder with --data.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import math
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402  (threads are set before it is loaded)

from scaling_law.errors import SlawError  # noqa: E402
from scaling_law.fit.checks.monotone import seed_noise  # noqa: E402
from scaling_law.fit.make_worlds import make_worlds  # noqa: E402
from scaling_law.fit.points.points import FitPoints, points_from_arrays  # noqa: E402
from scaling_law.fit.solver.interval import log_loss, prediction_interval  # noqa: E402
from scaling_law.fit.suite import FitSettings, joint_fits  # noqa: E402

LEVEL, RESAMPLES = 0.9, 200
BEYOND = (3, 10, 100, 1000, 10**6)
PARAMETERS = ("alpha", "beta", "a")


@dataclass(frozen=True)
class Surface:
    """E + A N^-alpha + B D^-beta, and what no law here contains: a term in N and D together."""

    name: str
    floor: float
    size: float
    alpha: float
    data: float
    beta: float
    foreign: float = 0.0

    def loss(self, params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Nats per token; ``foreign`` scales a term that bends with log(tokens / params)."""
        plain = self.floor + self.size * params**-self.alpha + self.data * tokens**-self.beta
        ratio = np.log(tokens / params / 20)
        return plain + self.foreign * ratio**2 * (params * tokens) ** -0.12

    def best(self, flops: float) -> tuple[float, float]:
        """The true compute-optimal (params, tokens) of a budget under 6ND."""
        params = np.exp(np.linspace(math.log(flops) * 0.2, math.log(flops) * 0.8, 4001))
        tokens = flops / 6 / params
        place = int(self.loss(params, tokens).argmin())
        return float(params[place]), float(tokens[place])


SURFACES = (
    Surface("symmetric", 1.8, 480.0, 0.35, 900.0, 0.35),
    Surface("chinchilla", 1.8172, 482.01, 0.3478, 2085.43, 0.3658),
    Surface("asymmetric", 1.7, 2500.0, 0.45, 120.0, 0.25),
    Surface("foreign", 1.7, 400.0, 0.34, 1500.0, 0.36, foreign=1.5),
)
# trunks (sizes + repeated seeds), sizes, horizons; points = trunks * horizons
DESIGNS = ((4, 4, 4), (8, 6, 4), (12, 10, 5), (6, 6, 3))
NOISES = (0.002, 0.005, 0.02)


def sweep(surface: Surface, design: tuple[int, int, int], noise: float, seed: int) -> FitPoints:
    """One simulated sweep: sizes over 1.5 decades, horizons spaced 2x around 20 tokens a param."""
    trunks, sizes, horizons = design
    generator = np.random.default_rng(seed)
    grid = np.geomspace(1e7, 3e8, sizes)
    middle = grid[sizes // 2]
    of_trunk = np.concatenate([grid, np.full(trunks - sizes, middle)])
    params = np.repeat(of_trunk, horizons)
    # equal-compute diagonals: the larger the model the fewer the tokens, as in the quick grid
    tokens = 20 * middle * np.sqrt(middle / params) * np.tile(2.0 ** np.arange(horizons), trunks)
    shared = np.repeat(generator.standard_normal(trunks), horizons)
    own = generator.standard_normal(trunks * horizons)
    losses = surface.loss(params, tokens) * np.exp(noise * (shared + own) / math.sqrt(2))
    names = np.repeat([f"trunk{i}" for i in range(trunks)], horizons).tolist()
    return points_from_arrays(params, tokens, losses, cluster=names)


def wide(folder: Path, surface: Surface, noise: float, seed: int) -> FitPoints:
    """Hoffmann's independent runs up to 1/30 of their largest compute, with invented losses."""
    with (folder / "chinchilla_epoch245.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["epoch_excluded"] == "0"]
    params, tokens = (np.array([float(row[key]) for row in rows]) for key in ("params", "tokens"))
    cheap = params * tokens <= (params * tokens).max() / 30
    params, tokens = params[cheap], tokens[cheap]
    own = np.random.default_rng(seed).standard_normal(len(params))
    return points_from_arrays(params, tokens, surface.loss(params, tokens) * np.exp(noise * own))


@dataclass(frozen=True)
class Answer:
    """What one contender says of a new run.

    ``error``: log of forecast / true loss, without the run's own noise.
    ``width``: the interval's width in log loss; NaN without one.
    ``holds``: whether it holds the new run; None without an interval.
    """

    error: float
    width: float
    holds: bool | None


def _answer(centre: float, ends: tuple[float, float] | None, true: float, new: float) -> Answer:
    if ends is None:
        return Answer(centre - true, math.nan, None)
    return Answer(centre - true, ends[1] - ends[0], ends[0] <= new <= ends[1])


def ask(
    surface: Surface, points: FitPoints, noise: float, settings: FitSettings, seed: int
) -> dict[str, object]:
    """Parameter -> whether its interval holds the truth; contender and times -> ``Answer``."""
    answers: dict[str, object] = {}
    try:
        _, best, _, laws = joint_fits(points, settings)
    except SlawError:
        return answers
    plain = laws["chinchilla"]
    truth = {"alpha": surface.alpha, "beta": surface.beta}
    truth["a"] = surface.beta / (surface.alpha + surface.beta)
    if not surface.foreign and plain.status == "converged":
        for name, value in truth.items():
            pair = plain.intervals.get(name) or plain.optimum_intervals.get(name)
            if pair:
                answers[name] = pair[0] <= value <= pair[1]
    worlds = make_worlds(points, laws, best=best)
    generator = np.random.default_rng([seed, 1])
    for times in BEYOND:
        params, tokens = surface.best(times * float(points.flops.max()))
        true = math.log(surface.loss(np.array(params), np.array(tokens)))
        new = true + noise * generator.standard_normal()
        at = {"params": params, "tokens": tokens}
        alone = prediction_interval(
            laws[best], at, level=LEVEL, seed_noise_log=seed_noise(points)[0]
        )
        ends = (math.log(alone.nats[0]), math.log(alone.nats[1])) if alone.nats else None
        centre = log_loss(laws[best].law, laws[best].params, at)
        answers[f"law {times:g}x"] = _answer(centre, ends, true, new)
        if worlds is None:
            continue
        place = np.array([params]), np.array([tokens])
        pair = worlds.interval(*place, LEVEL)
        ends = (float(pair[0][0]), float(pair[1][0])) if pair else None
        answers[f"worlds {times:g}x"] = _answer(worlds.point_at(params, tokens), ends, true, new)
    return answers


@dataclass(frozen=True)
class Job:
    """One surface, design and noise, and what to make of it.

    ``make``: seed -> the points of a sweep.
    """

    surface: Surface
    design: str
    noise: float
    draws: int
    delta: float
    make: Callable[[int], FitPoints]


def study(job: Job) -> dict[str, object]:
    """Shares, widths and biases of every figure for one surface, design and noise."""
    settings = FitSettings(resamples=RESAMPLES, level=LEVEL, huber_delta=job.delta)
    every = [
        ask(job.surface, job.make(seed), job.noise, settings, seed) for seed in range(job.draws)
    ]
    row: dict[str, object] = {
        "surface": job.surface.name, "design": job.design, "noise": job.noise, "draws": job.draws,
    }  # fmt: skip
    for name in PARAMETERS:
        row[name] = _mean([answers[name] for answers in every if name in answers])
    for times in BEYOND:
        pairs = {
            who: [answers.get(f"{who} {times:g}x") for answers in every]
            for who in ("law", "worlds")
        }
        for who, given in pairs.items():
            known = [one for one in given if isinstance(one, Answer)]
            row[f"{who} {times:g}x"] = _mean([a.holds for a in known if a.holds is not None])
            row[f"{who} bias {times:g}x"] = _mean([a.error for a in known])
            row[f"{who} rms {times:g}x"] = math.sqrt(_mean([a.error**2 for a in known]) or 0.0)
        ratios = [
            math.log(worlds.width / law.width)
            for law, worlds in zip(pairs["law"], pairs["worlds"], strict=True)
            if isinstance(law, Answer) and isinstance(worlds, Answer)
            if law.width > 0 and worlds.width > 0
        ]
        row[f"width {times:g}x"] = math.exp(_mean(ratios)) if ratios else None
    return row


def jobs(draws: int, delta: str, folder: Path | None) -> list[Job]:
    """Every surface by design and noise, and the wide tables where their folder is given."""
    made = []
    for surface in SURFACES:
        for design in DESIGNS:
            for noise in NOISES:
                width = {"huber": 1e-3, "wide": max(1e-3, 1.5 * noise)}[delta]
                make = functools.partial(sweep, surface, design, noise)
                words = f"{design[0]} x {design[2]}"
                made.append(Job(surface, words, noise, draws, width, make))
        if folder is not None:
            make = functools.partial(wide, folder, surface, 0.005)
            made.append(Job(surface, "Hoffmann's", 0.005, draws, 1e-3, make))
    return made


def main() -> None:
    """Run the study on all cores and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--delta", default="huber", choices=("huber", "wide"))
    parser.add_argument("--data", type=Path, help="folder of the published tables")
    parser.add_argument("--processes", type=int, help="default: as many as cores")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    columns = [f"{times:g}x" for times in BEYOND]
    print(
        f"{'surface':<11}{'trunks x':>11}{'noise':>7}{'':>5}"
        + "".join(f"{name:>8}" for name in PARAMETERS)
        + "".join(f"{name:>24}" for name in columns)
    )
    print("law coverage, worlds' coverage, their width over the law's, their bias".rjust(154))
    with multiprocessing.Pool(options.processes) as pool:
        for row in pool.imap(study, jobs(options.draws, options.delta, options.data)):
            rows.append(row)
            print(_line(row), flush=True)
    for name in dict.fromkeys(str(row["surface"]) for row in rows):
        print(_line(_pooled([row for row in rows if row["surface"] == name], name)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def _line(row: dict[str, object]) -> str:
    what = f"{row['surface']:<11}{row['design']:>11}{row['noise']:>7}{row['draws']:>5}"
    cells = "".join(_percent(row[name], 8) for name in PARAMETERS)
    for times in BEYOND:
        ratio = row[f"width {times:g}x"]
        cells += _percent(row[f"law {times:g}x"], 7) + _percent(row[f"worlds {times:g}x"], 5)
        cells += f"{'-' if ratio is None else format(ratio, '.2f'):>5}"
        cells += _percent(row[f"worlds bias {times:g}x"], 7, ".2f")
    return what + cells


def _percent(share: object, width: int, digits: str = ".0f") -> str:
    return f"{'-' if share is None else format(100 * float(str(share)), digits) + '%':>{width}}"


def _pooled(rows: list[dict[str, object]], name: str) -> dict[str, object]:
    """The means over the rows of one surface, of widths the geometric mean."""
    whole: dict[str, object] = {"surface": name, "design": "all", "noise": ""}
    whole["draws"] = sum(int(str(row["draws"])) for row in rows)
    for key in rows[0].keys() - whole.keys():
        known = [float(str(row[key])) for row in rows if row[key] is not None]
        if key.startswith("width"):
            whole[key] = math.exp(_mean([math.log(x) for x in known])) if known else None
        else:
            whole[key] = _mean(known)
    return whole


def _mean(values: list) -> float | None:
    return float(np.mean(values)) if values else None


if __name__ == "__main__":
    main()
