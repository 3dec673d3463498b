"""Say how many times the data a reference recipe needs for the loss of another, size by size.

    speedup = read_speedup("muon", of_reference, of_muon)
    for at in speedup.at: ...        # the multiplier of each size, with its interval
    speedup.trend                    # its power of the size

At one size, compute goes with tokens, so the multiplier is one of compute, too. The reference's
losses at its horizons are a curve; where another recipe's loss lies on it says how many tokens the
reference needs. Each seed has a curve of its own, so that what the recipes share cancels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from scaling_law.experiment.seeds import LEVEL, SeedNoise, pooled_noise
from scaling_law.experiment.tuning import Optimum, Tuning
from scaling_law.units import format_count

_NEAREST = 3  # horizons of the reference that its curve is interpolated by


@dataclass(frozen=True, kw_only=True)
class Level:
    """The losses of a recipe at one size and horizon.

    ``logs`` are the logarithms of the losses, by seed;
    ``error`` is the standard error of all of them together, from the fit of the best rate.
    """

    logs: Mapping[int, float]
    error: float = 0.0


Levels: TypeAlias = Mapping[float, Mapping[float, Level]]  # by params, then by tokens


def tuned_levels(tuning: Tuning, recipe: str) -> Levels:
    """Return a recipe's losses at the best rate of each cell that has one."""
    levels: dict[float, dict[float, Level]] = {}
    for best in tuning.optima:
        if best.cell.recipe == recipe and best.lr is not None:
            own = levels.setdefault(float(best.cell.params), {})
            own[float(best.cell.tokens)] = Level(logs=best.levels, error=_fit_error(best, tuning))
    return levels


def _fit_error(best: Optimum, tuning: Tuning) -> float:
    """The part of a lowest loss's error that is not the noise of seeds."""
    assert best.loss is not None and best.error is not None, "asked only of a cell with a minimum"
    noise = tuning.noise.error(len(best.levels))
    return math.sqrt(max(0.0, (best.error / best.loss) ** 2 - noise**2))


@dataclass(frozen=True, kw_only=True)
class AtSize:
    """The multiplier at one size.

    ``params`` is the size;
    ``tokens`` is the horizon of the recipe;
    ``log`` is the multiplier's logarithm, and ``error`` its standard error;
    ``interval`` is the multiplier's (low, high) at ``LEVEL``.
    """

    params: float
    tokens: float
    log: float
    error: float
    interval: tuple[float, float]

    @property
    def value(self) -> float:
        """How many times the recipe's data the reference needs."""
        return math.exp(self.log)

    @property
    def text(self) -> str:
        """``1.32 (1.2 to 1.46)``."""
        low, high = self.interval
        return f"{self.value:.2f} ({low:.2f} to {high:.2f})"


@dataclass(frozen=True, kw_only=True)
class SizeTrend:
    """The power of the size that a multiplier goes with, and its (low, high) at ``LEVEL``."""

    exponent: float
    interval: tuple[float, float]

    @property
    def text(self) -> str:
        """``-0.10 (-0.21 to 0.01)``."""
        low, high = self.interval
        return f"{self.exponent:.2f} ({low:.2f} to {high:.2f})"


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """A recipe against the reference.

    ``at`` are the sizes with a multiplier, rising, at one horizon;
    ``trend`` is how it goes with the size; None with fewer than three sizes;
    ``open`` says of each further size why it has none.
    """

    name: str
    at: tuple[AtSize, ...]
    trend: SizeTrend | None
    open: tuple[str, ...]

    @property
    def sizes(self) -> tuple[float, ...]:
        """The sizes with a multiplier, rising."""
        return tuple(one.params for one in self.at)


def read_speedup(name: str, reference: Levels, other: Levels) -> Speedup:
    """Return the multiplier of a recipe at each size that both were trained at.

    The horizon is the longest of those at which most sizes have one. The noise is that of the
    seeds, pooled over sizes.
    """
    sizes = sorted(set(reference) | set(other))
    horizons = sorted({tokens for by in other.values() for tokens in by})
    read = {
        tokens: {params: _logs(reference.get(params, {}), other.get(params, {}), tokens)
                 for params in sizes}
        for tokens in horizons
    }  # fmt: skip
    if not read:
        return Speedup(name=name, at=(), trend=None, open=("it has no best learning rate",))
    counts = {tokens: sum(not isinstance(m, str) for m in by.values())
              for tokens, by in read.items()}  # fmt: skip
    tokens = max(horizons, key=lambda horizon: (counts[horizon], horizon))
    good = {params: m for params, m in read[tokens].items() if not isinstance(m, str)}
    open_ = tuple(f"{format_count(params)} parameters: {m}" for params, m in read[tokens].items()
                  if isinstance(m, str))  # fmt: skip
    noise = pooled_noise(list(logs.values()) for logs, _ in good.values())
    if not noise.freedom:
        seeds = ("one seed has finished at every size",) if good else ()
        return Speedup(name=name, at=(), trend=None, open=seeds + open_)
    at = tuple(_at_size(params, tokens, logs, error, noise)
               for params, (logs, error) in good.items())  # fmt: skip
    return Speedup(name=name, at=at, trend=_trend(at, noise), open=open_)


def _at_size(
    params: float, tokens: float, logs: Mapping[int, float], error: float, noise: SeedNoise
) -> AtSize:
    from scaling_law.fit.solver.student import t_reach  # loads numpy

    log, whole = fmean(logs.values()), math.hypot(error, noise.error(len(logs)))
    reach = t_reach(noise.freedom, LEVEL) * whole
    return AtSize(
        params=params,
        tokens=tokens,
        log=log,
        error=whole,
        interval=(math.exp(log - reach), math.exp(log + reach)),
    )


def _trend(at: Sequence[AtSize], noise: SeedNoise) -> SizeTrend | None:
    """The power by weighted least squares, with the multipliers' own errors."""
    from scaling_law.fit.solver.student import t_reach

    if len(at) < 3 or any(not one.error for one in at):
        return None
    weights = [one.error**-2 for one in at]
    x = [math.log(one.params) for one in at]
    middle = sum(w * a for w, a in zip(weights, x, strict=True)) / sum(weights)
    width = sum(w * (a - middle) ** 2 for w, a in zip(weights, x, strict=True))
    exponent = sum(w * (a - middle) * one.log for w, a, one in zip(weights, x, at, strict=True))
    exponent /= width
    reach = t_reach(noise.freedom, LEVEL) / math.sqrt(width)
    return SizeTrend(exponent=exponent, interval=(exponent - reach, exponent + reach))


def _logs(
    reference: Mapping[float, Level], other: Mapping[float, Level], tokens: float
) -> tuple[dict[int, float], float] | str:
    """The log multiplier of each seed at a horizon, and the error that seeds share; or why none."""
    if tokens not in other:
        return "no best learning rate"
    if len(reference) < 2:
        return "the reference has a best learning rate at fewer than two horizons"
    level, logs, slopes = other[tokens], {}, []
    for seed, loss in level.logs.items():
        curve = [(by.logs[seed], math.log(horizon)) for horizon, by in sorted(reference.items())
                 if seed in by.logs]  # fmt: skip
        if len(curve) < 2:
            continue
        if any(later[0] >= earlier[0] for earlier, later in itertools.pairwise(curve)):
            return "the reference's loss does not fall with tokens"
        if loss < curve[-1][0]:
            most = math.exp(curve[-1][1]) / tokens
            return f"above {most:.3g}: its loss is below all of the reference's"
        if loss > curve[0][0]:
            return f"below {math.exp(curve[0][1]) / tokens:.3g}: its loss is above all of the"\
                " reference's"  # fmt: skip
        needed, slope = _interpolated(curve, loss)
        logs[seed] = needed - math.log(tokens)
        slopes.append(slope)
    if not logs:
        return "no seed in common with the reference"
    ref = math.sqrt(fmean(by.error**2 for by in reference.values()))
    return logs, math.hypot(level.error, ref) * fmean(slopes)


def _interpolated(curve: Sequence[tuple[float, float]], loss: float) -> tuple[float, float]:
    """Log tokens at a log loss, by a parabola through the nearest points, and its steepness."""
    near = sorted(curve, key=lambda point: abs(point[0] - loss))[:_NEAREST]

    def at(x: float) -> float:
        total = 0.0
        for place, (own, value) in enumerate(near):
            for other, (away, _) in enumerate(near):
                value *= 1.0 if other == place else (x - away) / (own - away)
            total += value
        return total

    step = 1e-4 * (curve[0][0] - curve[-1][0])
    return at(loss), abs(at(loss + step) - at(loss - step)) / (2 * step)
