"""Do 90% intervals cover the truth 90% of the time? Planted surfaces, simulated sweeps.

    python benchmarks/coverage.py [--draws 60] [--json FILE]

Every sweep is a grid of sizes by horizons, each size a trunk (some repeated with other seeds),
with noise shared by a trunk's branches and noise of each run, half the variance each. The fit is
the one ``slaw fit`` makes (the law chosen on rollouts, every interval part), with fewer
resamples. Scored: alpha, beta and a of Chinchilla's law where it is the truth, and the loss of
a new run at the true compute-optimal split of 10x to 1000x the largest compute, and of 10^6 and
10^12 times it, where intervals are ranges over laws.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402  (threads are set before it is loaded)

from scaling_law.errors import SlawError  # noqa: E402
from scaling_law.fit.checks.monotone import seed_noise  # noqa: E402
from scaling_law.fit.points.points import FitPoints, points_from_arrays  # noqa: E402
from scaling_law.fit.suite import FitSettings, joint_fits  # noqa: E402
from scaling_law.forecast.extrapolate import extrapolate  # noqa: E402
from scaling_law.forecast.target import Target  # noqa: E402

LEVEL, RESAMPLES = 0.9, 200
BEYOND = (10, 100, 1000, 10**6, 10**12)
FIGURES = ("alpha", "beta", "a", *(f"loss {times:g}x" for times in BEYOND))


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


def covered(
    surface: Surface, points: FitPoints, noise: float, settings: FitSettings, seed: int
) -> dict[str, bool | None]:
    """Figure -> whether its interval held the truth; None where none was given."""
    hits: dict[str, bool | None] = dict.fromkeys(FIGURES)
    try:
        _, best, _, laws = joint_fits(points, settings)
    except SlawError:
        return hits
    plain = laws["chinchilla"]
    truth = {"alpha": surface.alpha, "beta": surface.beta}
    truth["a"] = surface.beta / (surface.alpha + surface.beta)
    if not surface.foreign:
        for name, value in truth.items():
            pair = plain.intervals.get(name) or plain.optimum_intervals.get(name)
            if pair and plain.status == "converged":
                hits[name] = pair[0] <= value <= pair[1]
    generator = np.random.default_rng([seed, 1])
    largest = float(points.flops.max())
    for times in BEYOND:
        params, tokens = surface.best(times * largest)
        new = float(surface.loss(np.array(params), np.array(tokens)))
        new *= math.exp(noise * generator.standard_normal())
        try:
            one = extrapolate(
                laws[best],
                Target(params=params, tokens=tokens),
                level=LEVEL,
                seed_noise_log=seed_noise(points)[0],
                alternatives=[fit for name, fit in laws.items() if name != best],
            )
        except (SlawError, KeyError):
            continue
        if one.low_nats is not None and one.high_nats is not None:
            hits[f"loss {times:g}x"] = one.low_nats <= new <= one.high_nats
    return hits


def study(job: tuple[Surface, tuple[int, int, int], float, int, str]) -> dict[str, object]:
    """Coverage of every figure for one surface, design and noise."""
    surface, design, noise, draws, intervals = job
    delta = {"huber": 1e-3, "wide": max(1e-3, 1.5 * noise)}[intervals]
    settings = FitSettings(resamples=RESAMPLES, level=LEVEL, huber_delta=delta)
    hits: dict[str, list[bool]] = {name: [] for name in FIGURES}
    for seed in range(draws):
        points = sweep(surface, design, noise, seed)
        for name, hit in covered(surface, points, noise, settings, seed).items():
            if hit is not None:
                hits[name].append(hit)
    row: dict[str, object] = {
        "surface": surface.name, "trunks": design[0], "points": design[0] * design[2],
        "noise": noise, "draws": draws, "delta": delta,
    }  # fmt: skip
    for name in FIGURES:
        row[name] = float(np.mean(hits[name])) if hits[name] else None
        row[f"{name} given"] = len(hits[name])
    return row


def main() -> None:
    """Run the study on all cores and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--delta", default="huber", choices=("huber", "wide"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    jobs = [
        (surface, design, noise, options.draws, options.delta)
        for surface in SURFACES
        for design in DESIGNS
        for noise in NOISES
    ]
    head = f"{'surface':<11}{'trunks':>7}{'points':>7}{'noise':>7}"
    print(head + "".join(f"{name:>13}" for name in FIGURES))
    rows = []
    with multiprocessing.Pool() as pool:
        for row in pool.imap(study, jobs):
            rows.append(row)
            cells = "".join(_cell(row[name], row[f"{name} given"]) for name in FIGURES)
            what = f"{row['surface']:<11}{row['trunks']:>7}{row['points']:>7}{row['noise']:>7}"
            print(what + cells, flush=True)
    print(f"{'all':<32}" + "".join(_cell(*_pooled(rows, name)) for name in FIGURES))
    print(
        f"shares of {LEVEL:.0%} intervals that cover the truth; () where fewer than half the"
        " sweeps gave one"
    )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def _pooled(rows: list[dict[str, object]], name: str) -> tuple[float | None, int]:
    given = [(row[name], row[f"{name} given"]) for row in rows if row[name] is not None]
    total = sum(int(count) for _, count in given)  # type: ignore[call-overload]
    if not total:
        return None, 0
    hits = sum(float(share) * int(count) for share, count in given)  # type: ignore
    return hits / total, total


def _cell(share: object, given: object) -> str:
    return (
        f"{'-':>13}"
        if share is None
        else f"{100 * float(str(share)):>8.0f}% {'' if given else '()'}".rjust(13)
    )


if __name__ == "__main__":
    main()
