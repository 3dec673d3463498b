"""Estimate how many times the compute recipe A needs for the losses of recipe B, from few runs.

The losses of A are one surface over parameters N and tokens D,

    log L = l + log(f + (1 - f) (w (N / N0)^-a + (1 - w) (D / D0)^-b)^k),

which has Chinchilla's law (k = 1; Hoffmann 2022, arXiv 2203.15556) and the one with a power
(Busbridge 2025, arXiv 2502.08606) as cases. The losses of B are the same surface moved along the
path that the runs take: at the compute C, B has the loss that A has at M(C) C, and M is the
compute multiplier, above 1 where B saves compute. Its logarithm is linear in log C, but for a bend
that a prior keeps small, and in the distance from the path where the runs leave it.

Two to four sizes do not determine such a surface. Weak priors on its shape say what they leave
open, so that neither a grid of one seed nor unequal grids need a method of their own. The noise has
three parts that are not known either: its size, what the horizons of a trunk share, and what runs
of one size and seed share under both recipes. The posterior of the multiplier is summed over a grid
of the three, each with the marginal likelihood of the model made linear at its optimum, and is a
mixture of normal distributions. ``benchmarks/compare.py`` measures how often its intervals hold
planted multipliers.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from scaling_law.fit.laws.law import Floats

# Mean and standard deviation of each parameter before the runs are read: l, logit f, logit w,
# log(k a), log(k b), log k, then log M at the middle of the runs, its power of the compute, the
# bend of that, its change off the path, and how that changes further off and with compute.
# Exponents are within a factor of 2 of .3, two thirds of the time. A bend of .002 is 4% at 100
# times the middle; that of a steep trend may be larger by a share of its power.
_MIDDLE = np.array(
    [0.0, 0.0, 0.0, math.log(0.3), math.log(0.3), -0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
)
_SPREAD = np.array([10.0, 1.5, 1.5, 0.7, 0.7, 0.7, 2.0, 0.5, 0.002, 0.5, 0.03, 0.03])
_GAIN, _POWER, _BEND, _ASIDE, _ASIDE_BEND, _ASIDE_POWER = range(6, 12)
_BEND_OF_POWER = 0.04
# Noise of a run, as a standard deviation of log loss: .3%, within a factor of 3.3.
_NOISE_MIDDLE, _NOISE_SPREAD = math.log(0.003), 1.2
_NOISES = np.exp(np.linspace(math.log(3e-5), math.log(0.1), 25))
_IN_TRUNK, _IN_PAIR = (0.0, 0.5, 0.9), (0.0, 0.4, 0.8)
_OFF_PATH = 0.2  # spread of log params about the path from which on runs leave it
_BALANCED = 0.5  # the share with which tokens a parameter stay the same
_SAME = 0.01  # difference of log tokens, or log params, within which two are equal
_STEPS, _ROUNDS = 60, 3


@dataclass(frozen=True, kw_only=True)
class Side:
    """The runs of one recipe, an entry each.

    ``params`` and ``tokens`` are counts; ``losses`` are in the unit of both recipes;
    ``trunks`` name the trunk of each run: runs of one name share noise, under one recipe and, where
    ``paired``, under both.
    """

    params: Floats
    tokens: Floats
    losses: Floats
    trunks: tuple[str, ...]
    paired: bool

    @property
    def cells(self) -> list[tuple[int, int]]:
        """The size and horizon of each run; equal for repeats."""
        logs = (np.log(x) / _SAME for x in (self.params, self.tokens))
        return [(round(n), round(d)) for n, d in zip(*logs, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Path:
    """How parameters and tokens go with compute in the runs.

    ``log_params`` and ``log_flops`` are the middle of the runs, 6 N D for the FLOPs;
    ``share`` is the power of the compute that the parameters go with: 0 where one size is trained
    to several horizons, 1 where several sizes see as many tokens. Where runs lie on both sides of
    any path, as sizes do that have several horizons each, it is one half: as many tokens a
    parameter at every scale.
    """

    log_params: float
    log_flops: float
    share: float

    def params(self, flops: float) -> float:
        """The parameters on the path at a compute."""
        return math.exp(self.log_params + self.share * (math.log(flops) - self.log_flops))

    def flops(self, params: float) -> float:
        """The compute on the path at a size; only where sizes vary."""
        return math.exp(self.log_flops + (math.log(params) - self.log_params) / self.share)


@dataclass(frozen=True, kw_only=True)
class Normals:
    """A distribution that is a mixture of normal ones."""

    weights: Floats
    means: Floats
    deviations: Floats

    @property
    def mean(self) -> float:
        """The mean."""
        return float(self.weights @ self.means)

    def interval(self, level: float) -> tuple[float, float]:
        """The ends between which ``level`` of it lies, half of the rest on each side."""
        return self._quantile((1 - level) / 2), self._quantile((1 + level) / 2)

    def _quantile(self, chance: float) -> float:
        low = float((self.means - 40 * self.deviations).min())
        high = float((self.means + 40 * self.deviations).max())
        for _ in range(80):
            middle = 0.5 * (low + high)
            if self._below(middle) < chance:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)

    def _below(self, value: float) -> float:
        normal = NormalDist()
        steps = (value - self.means) / np.maximum(self.deviations, 1e-12)
        return float(self.weights @ [normal.cdf(step) for step in steps.tolist()])

    def moved(self, by: float, error: float = 0.0) -> Normals:
        """The distribution of its sum with an independent normal number."""
        return dataclasses.replace(
            self, means=self.means + by, deviations=np.hypot(self.deviations, error)
        )


@dataclass(frozen=True, kw_only=True)
class _Noise:
    """One size and correlation of the noise.

    ``weight``: how likely it is.
    ``precision``: of the parameters, without the priors, at a noise of 1.
    ``size``: standard deviation of log loss.
    ``mean``: the parameters' mean.
    ``covariance``: their covariance.
    """

    weight: float
    precision: Floats
    size: float
    mean: Floats
    covariance: Floats


@dataclass(frozen=True, kw_only=True)
class Shift:
    """What the runs say of the multiplier; ``fit_shift`` makes it.

    ``path`` is the way along which B is moved;
    ``noise`` is the standard deviation of log loss from seed to seed, at the middle of what is
    likely;
    ``cells`` counts sizes and horizons, of both recipes;
    ``freedom`` counts the runs beyond those that the curve takes;
    ``has_power`` is whether both recipes have runs at several scales, so that a trend is measured;
    ``residual`` is the root mean square distance of log losses from the surfaces;
    ``spread`` are the standard deviations of the priors, ``columns`` the fitted parameters.
    """

    path: Path
    noise: float
    cells: int
    freedom: int
    has_power: bool
    residual: float
    noises: tuple[_Noise, ...]
    spread: Floats
    columns: tuple[int, ...]
    model: _Model

    def log_multiplier(self, params: float, tokens: float) -> Normals:
        """The logarithm of the multiplier at a run of B; A is moved from there along the path."""
        return self._of(self._reads(params, tokens))

    @property
    def power(self) -> Normals:
        """The power of the compute that the multiplier goes with."""
        return self._of(_unit(_POWER))

    def _reads(self, params: float, tokens: float) -> Floats:
        apart = math.log(6 * params * tokens) - self.path.log_flops
        aside = math.log(params) - self.path.log_params - self.path.share * apart
        reads = _unit(_GAIN) + apart * _unit(_POWER) + apart**2 * _unit(_BEND)
        reads += aside * _unit(_ASIDE) + aside**2 * _unit(_ASIDE_BEND)
        return reads + aside * apart * _unit(_ASIDE_POWER)

    def _of(self, reads: Floats) -> Normals:
        own = reads[list(self.columns)]
        return Normals(
            weights=np.array([n.weight for n in self.noises]),
            means=np.array([float(own @ n.mean[list(self.columns)]) for n in self.noises]),
            deviations=np.array([math.sqrt(own @ n.covariance @ own) for n in self.noises]),
        )

    def error_with(
        self, params: float, tokens: float, *, seeds: int = 0, larger: Sequence[float] = ()
    ) -> float:
        """The standard error of the log multiplier if there were more runs.

        ``seeds`` are further ones of every size and horizon; at each ``larger`` compute there is a
        run of each recipe. The noise is the likeliest one.
        """
        best = max(self.noises, key=lambda noise: noise.weight)
        columns = list(self.columns)
        precision = (1 + seeds * self.cells / len(self.model.second)) * best.precision
        if larger:
            flops = np.repeat(np.asarray(larger, dtype=np.float64), 2)
            sizes = np.array([self.path.params(value) for value in flops.tolist()])
            second = np.tile([0.0, 1.0], len(larger))
            new = self.model.at(sizes, flops / 6 / sizes, second)
            rows = new.jacobian(best.mean)[:, columns]
            precision = precision + rows.T @ rows
        whole = precision / best.size**2 + np.diag(self.spread[columns] ** -2.0)
        reads = self._reads(params, tokens)[columns]
        return math.sqrt(reads @ np.linalg.solve(whole, reads))


def _unit(place: int) -> Floats:
    unit = np.zeros(len(_MIDDLE))
    unit[place] = 1.0
    return unit


@dataclass(frozen=True, kw_only=True)
class _Model:
    """The surfaces at given runs.

    ``log_params`` and ``log_tokens`` are measured from the middle of the runs;
    ``second`` is 1 for runs of B, else 0;
    ``path`` is the way along which B is moved.
    """

    log_params: Floats
    log_tokens: Floats
    second: Floats
    path: Path

    def at(self, params: Floats, tokens: Floats, second: Floats) -> _Model:
        """The same surfaces at other runs."""
        path = self.path
        log_tokens = path.log_flops - math.log(6) - path.log_params
        return _Model(
            log_params=np.log(params) - path.log_params,
            log_tokens=np.log(tokens) - log_tokens,
            second=second,
            path=path,
        )

    @property
    def log_flops(self) -> Floats:
        """The compute of each run, from the middle."""
        return self.log_params + self.log_tokens

    @property
    def aside(self) -> Floats:
        """The distance of each run from the path."""
        return self.log_params - self.path.share * self.log_flops

    def log_losses(self, form: Floats) -> Floats:
        """The logarithm of the loss of each run."""
        level, floor, weight, size, data, power, *move = form
        gain, trend, bend, aside, aside_bend, aside_trend = move
        moved = gain + trend * self.log_flops + bend * self.log_flops**2
        off = aside + aside_bend * self.aside + aside_trend * self.log_flops
        moved = self.second * (moved + off * self.aside)
        kappa = math.exp(power)
        of_size = np.logaddexp(0, -weight), math.exp(size - power)
        of_data = np.logaddexp(0, weight), math.exp(data - power)
        share = self.path.share
        terms = kappa * np.logaddexp(
            -of_size[0] - of_size[1] * (self.log_params + share * moved),
            -of_data[0] - of_data[1] * (self.log_tokens + (1 - share) * moved),
        )
        whole: Floats = level + np.logaddexp(
            -np.logaddexp(0, -floor), terms - np.logaddexp(0, floor)
        )
        return whole

    def jacobian(self, form: Floats, step: float = 1e-5) -> Floats:
        """The derivatives of the log losses, [n, parameters]."""
        columns = []
        for place in range(len(form)):
            change = step * _unit(place)
            columns.append(self.log_losses(form + change) - self.log_losses(form - change))
        return np.stack(columns, axis=1) / (2 * step)


def path_of(first: Side, second: Side) -> Path:
    """The way of the runs over all cells: by least squares, where they lie along one."""
    cells = {
        cell: (float(np.log(n)), float(np.log(d)))
        for side in (first, second)
        for cell, n, d in zip(side.cells, side.params, side.tokens, strict=True)
    }
    log_params, log_tokens = np.array(list(cells.values())).T
    log_flops = math.log(6) + log_params + log_tokens
    apart = log_flops - log_flops.mean()
    width = float(apart @ apart)
    share = float(apart @ log_params) / width if width else _BALANCED
    if float((log_params - share * apart).std()) > _OFF_PATH:
        share = _BALANCED
    return Path(
        log_params=float(log_params.mean()),
        log_flops=float(log_flops.mean()),
        share=min(1.0, max(0.0, share)),
    )


def fit_shift(first: Side, second: Side, *, noise: float | None = None) -> Shift:
    """Fit the multiplier of B (``second``) over A (``first``).

    ``noise`` is the standard deviation of log loss from seed to seed, where it is known. A needs
    runs at two scales at least (``has_scales``).
    """
    path = path_of(first, second)
    both = np.concatenate
    plain = _Model(log_params=np.zeros(0), log_tokens=np.zeros(0), second=np.zeros(0), path=path)
    model = plain.at(
        both([first.params, second.params]),
        both([first.tokens, second.tokens]),
        np.repeat([0.0, 1.0], [len(first.losses), len(second.losses)]),
    )
    target = np.log(both([first.losses, second.losses]))
    has_power = has_scales(first) and has_scales(second)
    columns = [*range(_GAIN + 1)]
    columns += [_POWER, _BEND] if has_power else []
    columns += [_ASIDE, _ASIDE_BEND, _ASIDE_POWER] if float(model.aside.std()) > _OFF_PATH else []
    size, form = noise or math.exp(_NOISE_MIDDLE), _start(target)
    spread = _SPREAD.copy()
    noises: tuple[_Noise, ...] = ()
    for _ in range(_ROUNDS):
        form = _optimum(model, target, form, spread[columns], columns, size)
        noises = _posterior(model, target, form, spread[columns], columns, (first, second), noise)
        spread[_BEND] = math.hypot(_SPREAD[_BEND], _BEND_OF_POWER * form[_POWER])
        size = math.exp(sum(n.weight * math.log(n.size) for n in noises))
    cells = sum(len(set(side.cells)) for side in (first, second))
    by_priors = 5 if _ASIDE in columns else 3  # parameters that priors determine
    spare = max(0, cells - len(columns) + by_priors)
    gaps = target - model.log_losses(form)
    return Shift(
        path=path,
        noise=size,
        cells=cells,
        freedom=len(target) - cells + spare,
        has_power=has_power,
        residual=float(np.sqrt(np.mean(gaps**2))),
        noises=noises,
        spread=spread,
        columns=tuple(columns),
        model=model,
    )


def has_scales(side: Side) -> bool:
    """Whether a recipe has runs at two computes that differ by a tenth at least."""
    flops = side.params * side.tokens
    return bool(flops.max() > 1.1 * flops.min())


def _start(target: Floats) -> Floats:
    start = _MIDDLE.copy()
    start[0] = target.mean()
    return start


def _optimum(
    model: _Model,
    target: Floats,
    form: Floats,
    spread: Floats,
    columns: Sequence[int],
    size: float,
) -> Floats:
    """The likeliest parameters for a noise of one size, independent run by run.

    Levenberg's and Marquardt's method: steps of Gauss and Newton, shorter where they would not
    lower the sum.
    """
    own = list(columns)
    prior = np.diag(spread**-2.0)

    def cost(at: Floats) -> float:
        gaps = (target - model.log_losses(at)) / size
        away = (at - _MIDDLE)[own] / spread
        return float(gaps @ gaps + away @ away)

    damping, value = 1e-3, cost(form)
    for _ in range(_STEPS):
        rows = model.jacobian(form)[:, own] / size
        pull = rows.T @ (target - model.log_losses(form)) / size
        pull -= prior @ (form - _MIDDLE)[own]
        square = rows.T @ rows + prior
        while damping < 1e9:
            step = np.linalg.solve(square + damping * np.diag(np.diag(square)), pull)
            tried = form.copy()
            tried[own] += step
            lower = cost(tried)
            if lower <= value:
                break
            damping *= 4
        else:
            break
        is_done = value - lower < 1e-9 * (1 + value)
        form, value, damping = tried, lower, damping / 4
        if is_done:
            break
    return form


def _posterior(
    model: _Model,
    target: Floats,
    form: Floats,
    spread: Floats,
    columns: Sequence[int],
    sides: tuple[Side, Side],
    known: float | None,
) -> tuple[_Noise, ...]:
    """Every size and correlation of the noise with its weight, and the parameters under it."""
    own = list(columns)
    rows = model.jacobian(form)[:, own]
    gaps = target - model.log_losses(form) + rows @ form[own]
    prior = spread**-2.0
    in_trunk, in_pair = _shared(sides)
    chances, each = [], []
    for trunk, pair in itertools.product(
        _IN_TRUNK if in_trunk else (0.0,), _IN_PAIR if in_pair else (0.0,)
    ):
        white, data, volume = rows, gaps, 0.0
        if trunk or pair:
            factor = np.linalg.cholesky(_correlation(sides, trunk, pair))
            white, data = np.linalg.solve(factor, rows), np.linalg.solve(factor, gaps)
            volume = 2 * float(np.log(np.diag(factor)).sum())
        square, pull = white.T @ white, white.T @ data
        for size in [known] if known is not None else _NOISES.tolist():
            precision = square / size**2 + np.diag(prior)
            mean = np.linalg.solve(precision, pull / size**2 + prior * _MIDDLE[own])
            left, away = data - white @ mean, mean - _MIDDLE[own]
            chance = -0.5 * float(left @ left / size**2 + away @ (prior * away))
            chance -= 0.5 * (np.linalg.slogdet(precision)[1] + volume)
            chance -= len(target) * math.log(size)
            if known is None:
                chance -= 0.5 * ((math.log(size) - _NOISE_MIDDLE) / _NOISE_SPREAD) ** 2
            whole = form.copy()
            whole[own] = mean
            chances.append(chance)
            each.append((square, size, whole, np.linalg.inv(precision)))
    weights = np.exp(np.array(chances) - max(chances))
    weights /= weights.sum()
    return tuple(
        _Noise(weight=w, precision=square, size=size, mean=mean, covariance=covariance)
        for w, (square, size, mean, covariance) in zip(weights.tolist(), each, strict=True)
        if w > 1e-6
    )


def _shared(sides: tuple[Side, Side]) -> tuple[bool, bool]:
    """Whether some trunk has several runs, and whether the recipes have trunks of one name.

    A name that several runs of one size and horizon have does not say which of them are a pair.
    """
    in_trunk = any(len(set(side.trunks)) < len(side.trunks) for side in sides)
    runs = [set(zip(side.trunks, side.cells, strict=True)) for side in sides]
    single = all(len(own) == len(side.trunks) for own, side in zip(runs, sides, strict=True))
    common = set(sides[0].trunks) & set(sides[1].trunks)
    return in_trunk, single and bool(common) and all(side.paired for side in sides)


def _correlation(sides: tuple[Side, Side], trunk: float, pair: float) -> Floats:
    """The correlation of the runs' noise, [n, n].

    ``trunk`` is that of two horizons of a trunk, ``pair`` that of a run under both recipes.
    """
    names = np.array([*sides[0].trunks, *sides[1].trunks])
    horizons = np.array([d for side in sides for _, d in side.cells])
    which = np.repeat([0, 1], [len(side.trunks) for side in sides])
    same = which[:, None] == which[None]
    near = (horizons[:, None] == horizons[None]) & ~same
    shared = np.where(same, 1.0, pair) * np.where(near, 1.0, trunk)
    shared *= names[:, None] == names[None]
    np.fill_diagonal(shared, 1.0)
    return shared + 1e-9 * np.eye(len(names))
