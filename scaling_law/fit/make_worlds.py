"""Makes the worlds of a forecast: laws weighted by held-out runs, with resamples and a misfit.

Each law is fitted with weights that grow with compute, once with a pull towards the shape that laws
usually have and once without (``fit.weighted``). Each of these fits weighs the more, the nearer it
came to runs that were held out because they are larger or more expensive, and brings its resamples.
What neither explains is a misfit: beyond the most expensive runs the loss falls by a factor faster
or more slowly than the law has it. That factor is drawn for every world, as widely as the laws
together missed the held-out runs; so the misfit grows with the distance from the data.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from scaling_law.fit.checks.hold_out import Mask, comparing_folds
from scaling_law.fit.checks.monotone import seed_noise
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.solve import Objective
from scaling_law.fit.solver.student import t_reach
from scaling_law.fit.surface import Surface
from scaling_law.fit.usual import NO_SHAPE, USUAL, UsualShape
from scaling_law.fit.weighted import WeightedFit, weighted_fits, widening
from scaling_law.fit.worlds import (
    FEWEST_WORLDS,
    Worlds,
    surfaces_of,
    worlds_of,
    worlds_without_misfit,
)

# A rollout fitted to fewer runs says more of their noise than of the laws.
_LEAST_FITTED = 10
# A mean square error in log loss that counts as none.
_NO_ERROR = 1e-16
# Copies of a law without enough resamples, which differ in their misfit.
_COPIES = 200
# The misfit's factor differs from 1 by less than this: every world's loss falls.
_MOST_BEND = 0.8
# The errors that a verdict shows hold for this share of the runs.
SHOWN_LEVEL = 0.9
# The misfit is made at most this many times larger for them, in steps that halve so many times.
_MOST_WIDER, _HALVINGS = 4.0, 20


@dataclass(frozen=True, kw_only=True)
class Method:
    """The constants of the forecaster; benchmarks/NOTES.md says what each was chosen on.

    ``laws``: the laws that count.
    ``compute_power``: a run's weight in a fit is its FLOPs to this power.
    ``weight_power``: a law's weight is its error on held-out runs to minus this power.
    ``usual``: the shape that fits are pulled towards.
    ``alone``: weight of a fit without that pull before any run is held out, over that of one with.
    ``most_expensive``: runs with at least this share of the largest FLOPs are the most expensive
        ones; the misfit begins at their mean size and tokens.
    ``bend``: scale of the misfit's factor about 1 where no run was held out.
    ``bend_rollouts``: how many rollouts that counts as.
    ``together``: correlation of the factors of size and of tokens.
    """

    laws: tuple[str, ...] = ("chinchilla", "skaling")
    compute_power: float = 1.0
    weight_power: float = 2.0
    usual: UsualShape = USUAL
    alone: float = 0.3
    most_expensive: float = 0.25
    bend: float = 0.01
    bend_rollouts: int = 4
    together: float = 0.5


METHOD = Method()


def make_worlds(
    points: FitPoints,
    fits: Mapping[str, FitResult],
    *,
    best: str,
    shown_errors: Sequence[tuple[float, float]] = (),
    method: Method = METHOD,
) -> Worlds | None:
    """The worlds of a forecast from ``points``; deterministic.

    ``fits`` are the joint laws by name, ``best`` the law whose parameters are shown. Where held-out
    runs do not say how good the laws are, there is that law only, and a note. None where it has no
    resamples, or its form no surface. ``shown_errors`` are (FLOPs over the largest fitted, error)
    of the rollouts that a reader sees: at such a distance the interval is not narrower.
    """
    main = fits.get(best)
    if main is None or main.status != "converged" or not main.samples or not surfaces_of(main):
        return None
    names = [name for name in method.laws if name in fits and fits[name].usable]
    folds = [held for held in comparing_folds(points) if (~held).sum() >= _LEAST_FITTED]
    names = names if folds else []
    laws = [law for name in names for law in _laws(points, fits[name], folds, method)]
    if not laws:
        note = f"one law only, {best}: held-out runs do not say how good the others are"
        noise = _noise(points, [(1.0, main.residual_scatter_log)])
        worlds = worlds_of({best: main}, noise_log=noise * widening(points), notes=(note,))
        if worlds is None:
            return None
        scale, free = method.bend, method.bend_rollouts
    else:
        weights = _weights(laws, method)
        scatters = [(w, law.fit.scatter_log) for w, law in zip(weights, laws, strict=True)]
        noise = _noise(points, scatters)
        scale, free = _bend(points, laws, weights, folds, noise, method)
        members = [
            (law.name, weight, law.fit.resampled or (law.fit.surface,))
            for law, weight in zip(laws, weights.tolist(), strict=True)
        ]
        worlds = worlds_without_misfit(members, noise_log=noise * widening(points))
    bent = _bent(_beyond(worlds, points, method), scale, free, method)
    return _as_wide(bent, float(points.flops.max()), shown_errors)


@dataclass(frozen=True)
class _Law:
    """One fit of a law among the worlds.

    ``name``: the law's name.
    ``prior``: its weight before any run is held out.
    ``fit``: fitted with weights, also without each fold.
    ``errors_log``: log of measured / predicted loss of each fold's points.
    """

    name: str
    prior: float
    fit: WeightedFit
    errors_log: Sequence[Floats]


def _laws(
    points: FitPoints, fit: FitResult, folds: Sequence[Mask], method: Method
) -> Iterator[_Law]:
    """The law fitted with weights, pulled and not; none where a fold leaves too little for it."""
    scoring = (
        Objective(loss="mse_log") if fit.huber_delta is None else Objective(delta=fit.huber_delta)
    )
    shapes = [(1.0, method.usual), (method.alone, NO_SHAPE)]
    shapes = [(prior, shape) for prior, shape in shapes if prior > 0]
    usual = [shape for _, shape in shapes]
    every = weighted_fits(points, fit.law, scoring, folds, method.compute_power, usual)
    for (prior, _), weighted in zip(shapes, every, strict=True):
        if weighted is None or None in weighted.without:
            continue
        errors = [
            np.log(points.loss_nats[held]) - _log_loss([(1.0, surface)], *_at(points, held))
            for held, surface in zip(folds, weighted.without, strict=True)
            if surface is not None
        ]
        if all(np.isfinite(error).all() for error in errors):
            yield _Law(name=fit.law.name, prior=prior, fit=weighted, errors_log=errors)


def _weights(laws: Sequence[_Law], method: Method) -> Floats:
    """The weight of each fit, from its prior and root mean square error over the folds."""
    squares = np.array([np.mean([np.mean(e**2) for e in law.errors_log]) for law in laws])
    # a perfect forecast of all held-out runs, of invented losses, has all the weight
    prior = np.array([law.prior for law in laws])
    shares = prior * (max(squares.min(), _NO_ERROR) / np.maximum(squares, _NO_ERROR)) ** (
        method.weight_power / 2
    )
    return np.asarray(shares / shares.sum())


def _noise(points: FitPoints, scatters: Sequence[tuple[float, float]]) -> float:
    """Standard deviation of a new run's log loss: what the laws leave over, or the seeds show.

    ``scatters``: the weight of each law, and what it leaves over.
    """
    left = math.sqrt(sum(weight * scatter**2 for weight, scatter in scatters))
    noises = [left, seed_noise(points)[0]]
    return max((x for x in noises if x is not None and math.isfinite(x)), default=0.0)


def edges_of(
    params: Floats, tokens: Floats, flops: Floats, method: Method = METHOD
) -> tuple[float, float]:
    """Where the misfit begins: mean log params and log tokens of the most expensive runs [n]."""
    top = flops >= method.most_expensive * float(flops.max())
    return float(np.log(params[top]).mean()), float(np.log(tokens[top]).mean())


def _edges(points: FitPoints, method: Method) -> tuple[float, float]:
    return edges_of(points.params, points.tokens, points.flops, method)


def _bend(
    points: FitPoints,
    laws: Sequence[_Law],
    weights: Floats,
    folds: Sequence[Mask],
    noise: float,
    method: Method,
) -> tuple[float, int]:
    """The scale of the misfit's factor that held-out runs show, and its degrees of freedom.

    It is what the laws together missed of those runs, beside the noise of one run, over the fall of
    log loss that they forecast beyond the edges of the fitted runs.
    """
    missed = fallen = 0.0
    for number, held in enumerate(folds):
        mixed = [
            (weight, surface)
            for law, weight in zip(laws, weights.tolist(), strict=True)
            if (surface := law.fit.without[number]) is not None
        ]
        params, tokens = _at(points, held)
        size, data = _edges(points.take(~held), method)
        flat = np.minimum(params, math.exp(size)), np.minimum(tokens, math.exp(data))
        fall = _log_loss(mixed, *flat) - _log_loss(mixed, params, tokens)
        error = weights @ np.array([law.errors_log[number] for law in laws])
        missed += max(float(np.mean(error**2)) - noise**2, 0.0)
        fallen += float(np.mean(fall**2))
    shown = missed / fallen if fallen > 0 else method.bend**2
    free = method.bend_rollouts + len(folds)
    return math.sqrt((method.bend_rollouts * method.bend**2 + len(folds) * shown) / free), free


def _at(points: FitPoints, rows: Mask) -> tuple[Floats, Floats]:
    return points.params[rows], points.tokens[rows]


def _log_loss(mixed: Sequence[tuple[float, Surface]], params: Floats, tokens: Floats) -> Floats:
    """The mean log loss [n] of surfaces with weights."""
    members = [("", weight, (surface,)) for weight, surface in mixed]
    worlds = worlds_without_misfit(members, noise_log=0.0)
    return worlds.point_log(params, tokens)


def _beyond(worlds: Worlds, points: FitPoints, method: Method) -> Worlds:
    """``worlds`` whose misfit begins at the edges; a law of too few worlds has copies of each."""
    names = np.array(worlds.law)
    counts = {law: int((names == law).sum()) for law in worlds.laws}
    copies = np.array([1 if counts[law] >= FEWEST_WORLDS else _COPIES for law in worlds.law])
    size, data = _edges(points, method)
    return dataclasses.replace(worlds.repeated(copies), size_edge=size, data_edge=data)


def _bent(worlds: Worlds, scale: float, free: int, method: Method) -> Worlds:
    """``worlds`` with a misfit each: quantiles of Student's t in a random order within a law."""
    generator = np.random.default_rng(0)
    size, other = np.empty(len(worlds)), np.empty(len(worlds))
    names = np.array(worlds.law)
    for law in dict.fromkeys(worlds.law):
        rows = np.flatnonzero(names == law)
        drawn = np.clip(scale * _quantiles(len(rows), free), -_MOST_BEND, _MOST_BEND)
        size[rows], other[rows] = generator.permutation(drawn), generator.permutation(drawn)
    data = method.together * size + math.sqrt(1 - method.together**2) * other
    data = np.clip(data, -_MOST_BEND, _MOST_BEND)
    return dataclasses.replace(worlds, size_bend=1 + size, data_bend=1 + data)


def _as_wide(worlds: Worlds, largest: float, shown: Sequence[tuple[float, float]]) -> Worlds:
    """``worlds`` with a misfit so large that no interval is narrower than the ``shown`` errors.

    An interval is compared where params and tokens lie equally far beyond the edges, at the
    error's multiple of the ``largest`` FLOPs. Where the loss hardly falls any more, a change of its
    slope does not widen it; a new run's noise then does.
    """
    if not shown:
        return worlds
    factors, errors = (np.array(column) for column in zip(*shown, strict=True))
    beyond = (np.log(factors * largest / 6) - worlds.size_edge - worlds.data_edge) / 2
    places = np.exp(worlds.size_edge + beyond), np.exp(worlds.data_edge + beyond)

    def times(factor: float) -> Worlds:
        bends = {
            name: 1 + np.clip(factor * (getattr(worlds, name) - 1), -_MOST_BEND, _MOST_BEND)
            for name in ("size_bend", "data_bend")
        }
        return dataclasses.replace(worlds, **bends)

    def narrow(some: Worlds) -> bool:
        ends = some.interval(*places, SHOWN_LEVEL)
        return ends is not None and bool((np.expm1((ends[1] - ends[0]) / 2) < errors).any())

    if not narrow(worlds):
        return worlds
    if narrow(times(_MOST_WIDER)):
        reach = NormalDist().inv_cdf((1 + SHOWN_LEVEL) / 2)
        noise = float(np.log1p(errors.max())) / reach
        return dataclasses.replace(times(_MOST_WIDER), noise_log=max(noise, worlds.noise_log))
    low, high = 0.0, math.log(_MOST_WIDER)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if narrow(times(math.exp(middle))) else (low, middle)
    return times(math.exp(high))


@functools.lru_cache(maxsize=32)
def _quantiles(count: int, free: int) -> Floats:
    """``count`` quantiles of Student's t, the same on both sides of 0; not to be written to."""
    levels = np.abs(2 * (np.arange(count) + 0.5) / count - 1)
    sides = np.sign(np.arange(count) + 0.5 - count / 2)
    values = np.asarray([t_reach(free, level) if level else 0.0 for level in levels] * sides)
    values.flags.writeable = False  # every law with as many worlds reads the same ones
    return values
