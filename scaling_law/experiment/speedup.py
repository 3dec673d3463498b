"""Say how many times the data a reference recipe needs for the loss of another, size by size.

    speedup = read_speedup("muon", of_reference, of_muon)
    for at in speedup.at: ...        # the multiplier of each size, with its interval
    speedup.trend                    # its power of the size

At one size, compute goes with tokens, so this is a compute multiplier (``findings.Multiplier``).
The reference's losses at its horizons are a curve; where another recipe's loss lies on it says how
many tokens the reference needs. Each seed has a curve of its own, so that what the recipes share
cancels.

The noise of a size is that of its own seeds. Small models scatter more: where noise differs by a
factor of 4 to 6 between sizes, intervals at 90% by one noise for all of them hold in 75 to 85% of
planted cases at the size that scatters most, and always at the others. By each size's own, 88 to
91% hold with three seeds or more, and 85% with two, at every size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal, TypeAlias

from scaling_law.experiment.findings import Multiplier
from scaling_law.experiment.seeds import LEVEL, beyond_error
from scaling_law.experiment.standard_error import StandardError, of_seeds, summed
from scaling_law.experiment.tuning import Tuning
from scaling_law.experiment.warmups import Warmup, unlike
from scaling_law.units import format_count

_NEAREST = 3  # horizons of the reference that its curve is interpolated by
NO_FIT = StandardError(0.0, 0)  # losses at one rate, chosen beforehand


@dataclass(frozen=True, kw_only=True)
class Level:
    """The losses of a recipe at one size and horizon.

    ``logs`` are the logarithms of the losses, by seed;
    ``error`` is the standard error of all of them together, from the fit of the best rate, and 0
    without a fit;
    ``warmups`` are the warm-ups of the runs; none where they are not known.
    """

    logs: Mapping[int, float]
    error: StandardError = NO_FIT
    warmups: frozenset[Warmup] = frozenset()


Levels: TypeAlias = Mapping[float, Mapping[float, Level]]  # by params, then by tokens


def tuned_levels(tuning: Tuning, recipe: str) -> Levels:
    """Return a recipe's losses at the best rate of each cell that has one."""
    levels: dict[float, dict[float, Level]] = {}
    for best in tuning.optima:
        if best.cell.recipe == recipe and best.lr is not None:
            own = levels.setdefault(float(best.cell.params), {})
            own[float(best.cell.tokens)] = Level(
                logs=best.levels, error=tuning.fit_error(best), warmups=best.warmups
            )
    return levels


@dataclass(frozen=True, kw_only=True)
class SizeTrend:
    """The power of the size that a multiplier goes with.

    ``exponent`` is it, and ``error`` its standard error;
    ``level`` is the log of the multiplier at ``middle`` parameters, by the same line.
    """

    exponent: float
    error: StandardError
    middle: float
    level: float

    def among(self, count: int) -> tuple[float, float]:
        """The exponent's (low, high) at ``LEVEL``, picked from ``count`` of them (Bonferroni)."""
        reach = self.error.reach(LEVEL, of=count)
        return self.exponent - reach, self.exponent + reach

    @property
    def interval(self) -> tuple[float, float]:
        """The exponent's (low, high) at ``LEVEL``."""
        return self.among(1)

    @property
    def text(self) -> str:
        """``-0.10 (-0.21 to 0.01)``."""
        # a zero has no sign
        value, low, high = (round(each, 2) + 0.0 for each in (self.exponent, *self.interval))
        return f"{value:.2f} ({low:.2f} to {high:.2f})"


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """A recipe against the reference.

    ``at`` are the multipliers by size, rising, at one horizon;
    ``trend`` is how it goes with the size; None with fewer than three sizes;
    ``open`` says of each further size why it has none;
    ``errors`` are those of the logarithms of the multipliers, by size;
    ``bounds`` are multipliers that are known only to be more, or less, than a value: of sizes whose
    losses lie beyond the reference's curve.
    """

    name: str
    at: tuple[Multiplier, ...]
    trend: SizeTrend | None
    open: tuple[str, ...]
    errors: Mapping[float, StandardError] = field(default_factory=dict)
    bounds: tuple[Multiplier, ...] = ()

    @property
    def sizes(self) -> tuple[float, ...]:
        """The sizes with a multiplier, rising."""
        return tuple(one.params for one in self.at)

    def best_of(self, one: Multiplier, count: int) -> tuple[float, float]:
        """The (low, high) of a multiplier that was chosen for being the largest of ``count``.

        All of them lie inside theirs as often as one alone inside its interval (Bonferroni).
        """
        factor = math.exp(self.errors[one.params].reach(LEVEL, of=count))
        return one.value / factor, one.value * factor


def read_speedup(
    name: str,
    reference: Levels,
    other: Levels,
    *,
    base: str = "reference",
    own_warmup: bool = False,
) -> Speedup:
    """Return the multiplier of a recipe over the ``base`` at each size that both were trained at.

    The horizon is the longest of those at which most sizes have one. The noise of each size is that
    of its own seeds, and a size with one seed has no multiplier. A size at which the warm-ups
    differ has neither a multiplier nor a bound, unless ``own_warmup`` says that the warm-up is what
    sets the recipe apart.
    """
    sizes = sorted(set(reference) | set(other))
    horizons = sorted({tokens for by in other.values() for tokens in by})
    unfair = {
        (params, tokens): ""
        if own_warmup
        else _warmups_differ(reference.get(params, {}), by, tokens)
        for params, by in other.items()
        for tokens in by
    }
    read = {
        tokens: {
            params: unfair.get((params, tokens), "")
            or _logs(reference.get(params, {}), other.get(params, {}), tokens)
            for params in sizes
        }
        for tokens in horizons
    }
    if not read:
        return Speedup(name=name, at=(), trend=None, open=("it has no best learning rate",))
    counts = {tokens: sum(not isinstance(m, str) for m in by.values())
              for tokens, by in read.items()}  # fmt: skip
    tokens = max(horizons, key=lambda horizon: (counts[horizon], horizon))
    good = {params: m for params, m in read[tokens].items() if not isinstance(m, str)}
    open_ = tuple(f"{format_count(params)} parameters: {m}" for params, m in read[tokens].items()
                  if isinstance(m, str))  # fmt: skip
    bounds = [
        _bound(name, base, reference.get(params, {}), other[params][tokens], params, tokens)
        for params, m in read[tokens].items()
        if isinstance(m, str) and not unfair.get((params, tokens), "no run")
    ]
    known = tuple(bound for bound in bounds if bound is not None)
    logs = [
        (params, fmean(by_seed.values()), summed([of_seeds([*by_seed.values()]), fit]))
        for params, (by_seed, fit) in good.items()
    ]
    at = []
    for params, log, error in logs:
        reach = error.reach(LEVEL)
        at.append(
            Multiplier(
                recipe=name,
                base=base,
                params=params,
                tokens=tokens,
                value=math.exp(log),
                interval=(math.exp(log - reach), math.exp(log + reach)),
                params_are="non_embedding",
                counts="tokens",
            )
        )
    return Speedup(
        name=name,
        at=tuple(at),
        trend=size_trend(logs),
        open=open_,
        errors={params: error for params, _, error in logs},
        bounds=known,
    )


def _bound(
    name: str,
    base: str,
    reference: Mapping[float, Level],
    level: Level,
    params: float,
    tokens: float,
) -> Multiplier | None:
    """What a multiplier is more or less than: by the horizons that a recipe ends below or above.

    Of both, the one that says on which side of 1 it lies; less, where neither does. None where
    seeds differ by more than the recipes.
    """

    def beyond(horizon: float, sign: int) -> bool:
        twin = reference[horizon].logs
        both = sorted(set(twin) & set(level.logs))
        gaps = [sign * (level.logs[seed] - twin[seed]) for seed in both]
        return bool(beyond_error(gaps))

    # the reference falls with tokens: from its far end on, up to the first horizon that is open
    side: Literal["more", "less"]
    horizons = sorted(reference)
    above = list(itertools.takewhile(lambda horizon: beyond(horizon, 1), reversed(horizons)))
    below = list(itertools.takewhile(lambda horizon: beyond(horizon, -1), horizons))
    less, more = (last[-1] if last else None for last in (above, below))
    if more is not None and (less is None or less > tokens <= more):
        side, horizon = "more", more
    elif less is not None:
        side, horizon = "less", less
    else:
        return None
    return Multiplier(
        recipe=name,
        base=base,
        params=params,
        tokens=tokens,
        value=horizon / tokens,
        interval=None,
        params_are="non_embedding",
        counts="tokens",
        bound=side,
    )


def size_trend(at: Sequence[tuple[float, float, StandardError]]) -> SizeTrend | None:
    """Return the power of the size that multipliers go with; None for fewer than three sizes.

    ``at`` are (parameters, log of the multiplier, its standard error). It is least squares without
    weights: errors by a few seeds each are too uncertain to weigh by, and such weights favour the
    sizes that seem too sure of themselves.
    """
    if len(at) < 3 or any(not error.value or error.freedom < 1 for _, _, error in at):
        return None
    x = [math.log(params) for params, _, _ in at]
    middle = fmean(x)
    width = sum((place - middle) ** 2 for place in x)
    shares = [(place - middle) / width for place in x]
    exponent = sum(share * log for share, (_, log, _) in zip(shares, at, strict=True))
    error = summed(own.times(share) for share, (_, _, own) in zip(shares, at, strict=True))
    return SizeTrend(
        exponent=exponent,
        error=error,
        middle=math.exp(middle),
        level=fmean(log for _, log, _ in at),
    )


def _warmups_differ(
    reference: Mapping[float, Level], other: Mapping[float, Level], tokens: float
) -> str:
    """How the warm-ups of a recipe and of the reference's nearest horizon differ; "" for alike."""
    nearest = min(reference, key=lambda horizon: abs(math.log(horizon / tokens)), default=None)
    if nearest is None:
        return ""
    why = unlike(other[tokens].warmups, reference[nearest].warmups, "the reference")
    return f"{why} (set optim.warmup_tokens)" if why else ""


def _logs(
    reference: Mapping[float, Level], other: Mapping[float, Level], tokens: float
) -> tuple[dict[int, float], StandardError] | str:
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
    if len(logs) < 2:
        return "one seed has finished"
    fits = [by.error for by in reference.values()]
    own = StandardError(math.sqrt(fmean(fit.value**2 for fit in fits)), fits[0].freedom)
    return logs, summed([level.error, own]).times(fmean(slopes))


def _interpolated(curve: Sequence[tuple[float, float]], loss: float) -> tuple[float, float]:
    """Log tokens at a log loss, by a parabola through the nearest points, and its steepness.

    Between horizons a factor of 2 apart it misses Chinchilla's law by less than 1% of the tokens.

    Where that leaves the two points on both sides of the loss, it is by the line between them.
    """
    near = sorted(curve, key=lambda point: abs(point[0] - loss))[:_NEAREST]

    def at(x: float) -> float:
        total = 0.0
        for place, (own, value) in enumerate(near):
            for other, (away, _) in enumerate(near):
                value *= 1.0 if other == place else (x - away) / (own - away)
            total += value
        return total

    (above, early), (below, late) = next(
        pair for pair in itertools.pairwise(curve) if pair[1][0] <= loss
    )
    if not early <= at(loss) <= late:
        slope = (late - early) / (above - below)
        return late - slope * (loss - below), slope
    step = 1e-4 * (curve[0][0] - curve[-1][0])
    return at(loss), abs(at(loss + step) - at(loss - step)) / (2 * step)
