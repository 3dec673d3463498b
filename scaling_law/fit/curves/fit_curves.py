"""Fit a law of loss curves to the curves of one or more groups.

Every group has its own floor, progress and noise (``OWN``); the shape of the rest is shared, and
the exponents of groups are drawn to their mean. Residuals along a curve are correlated, and a run
is shifted against another as a whole, so that the points say less than their number: the squares
are divided by the autocorrelation time (a quasi-likelihood), and priors hold what few curves leave
open. The fit repeats until noise and law agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from scaling_law.errors import FitError
from scaling_law.fit.curves.curve import Curve, Floats, Rate
from scaling_law.fit.curves.law import (
    OWN,
    SHARED,
    SLOWING,
    Course,
    CurveLaw,
    course,
    loss_and_slopes,
)
from scaling_law.fit.solver.student import t_reach

_MOST_POINTS = 200  # of one curve, spread evenly over it
_LEAST_POINTS = 8  # of a group
_ROUNDS = 4
# Standard deviations between groups: of log alpha, and of log B/A.
_ALPHA_SPREAD, _RATIO_SPREAD = 0.1, 0.3
# What is known of log alpha before any curve.
_ALPHA, _ALPHA_UNSURE = np.log(0.5), 0.5
_RATIO, _RATIO_UNSURE = np.log(0.3), 1.5  # of log B/A
_LEAST_NOISE = 1e-5  # of the mean loss
_POWERS = (0.1, 2.0)  # the range of p and q
# A curve says no more than as many independent points: its slow deviations are as long as itself.
_MOST_INDEPENDENT = 8


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What a loss has beside the law.

    ``sd`` is the standard deviation of a loss late in training, in the unit of the losses;
    ``shift`` is that of a shift in time of the whole run, in units of the longest one;
    ``correlation`` is the autocorrelation time, in points: as many count as one.
    """

    sd: float
    shift: float
    correlation: float

    def at(self, steepness: Floats) -> Floats:
        """The standard deviation of each loss."""
        return np.hypot(self.sd, self.shift * steepness)


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A predicted curve.

    ``steps`` and ``losses`` are its points;
    ``low`` and ``high`` are the interval of each loss of a new run, at ``level``;
    ``slopes`` are the derivatives by all parameters of the fit.
    """

    steps: Floats
    losses: Floats
    low: Floats
    high: Floats
    slopes: Floats


@dataclass(frozen=True, kw_only=True)
class CurveFit:
    """A fitted law of curves.

    ``law`` is its kind; ``groups`` are the names of its groups;
    ``peak`` is the learning rate that counts as 1, ``length`` the steps that count as 1;
    ``theta`` holds ``OWN`` of each group, then ``SHARED``; ``covariance`` is that of all of them;
    ``noise`` is what a loss has beside the law;
    ``mean_error`` is the mean absolute residual, ``points`` the number of losses fitted;
    ``converged`` says whether the solver met its tolerance;
    ``level`` is that of intervals;
    ``repeated`` counts points that several curves share, which count once;
    ``knows_p`` says whether the curves decide how far progress slows with the rate; else p is held
    at what is known of it, and no surer than that;
    ``beside`` is the other law fitted to the same curves: where the two differ, the interval of a
    prediction is wider, by their difference as a standard deviation. None for intervals of one law.
    """

    law: CurveLaw
    groups: tuple[str, ...]
    peak: float
    length: float
    theta: Floats
    covariance: Floats
    noise: Noise
    mean_error: float
    points: int
    converged: bool
    level: float
    repeated: int
    knows_p: bool
    beside: CurveFit | None = None

    @property
    def at_bound(self) -> list[str]:
        """Which of p and q ended at the end of its range: the law does not describe the curves."""
        low, high = _POWERS
        values = dict(zip(SHARED[-2:], self.theta[-2:].tolist(), strict=True))
        return [name for name, value in values.items() if not 1.01 * low < value < 0.99 * high]

    @property
    def independent(self) -> float:
        """As many independent points would say as much."""
        return self.points / self.noise.correlation

    @property
    def reach(self) -> float:
        """How many standard deviations an interval reaches to each side."""
        return t_reach(max(3, round(self.independent)), self.level)

    def of_group(self, group: str) -> Floats:
        """``OWN`` and ``SHARED`` of a group."""
        start = self.groups.index(group) * len(OWN)
        return np.concatenate([self.theta[start : start + len(OWN)], self.theta[-len(SHARED) :]])

    def interval(self, group: str, name: str) -> tuple[float, float, float]:
        """(value, low, high) of a parameter, of a positive one without its logarithm."""
        shared = name in SHARED
        start = len(self.groups) * len(OWN) if shared else self.groups.index(group) * len(OWN)
        place = start + (SHARED if shared else OWN).index(name)
        middle, sd = self.theta[place], np.sqrt(self.covariance[place, place])
        ends = [middle, middle - self.reach * sd, middle + self.reach * sd]
        low_high = np.exp(ends) if name.startswith("log_") else ends
        return tuple(map(float, low_high))  # type: ignore[return-value]

    def predict(self, group: str, rate: Rate, steps: Floats) -> Predicted:
        """The losses at ``steps`` of a new run of a group, at the learning rate ``rate``."""
        at = course(rate, steps, self.peak, self.length)
        losses, slopes, steepness = loss_and_slopes(self.of_group(group), at)
        wide = _spread_out(slopes, self.groups.index(group), len(self.groups))
        variance = np.einsum("ij,jk,ik->i", wide, self.covariance, wide)
        if self.beside is not None:
            variance = variance + (self.beside.predict(group, rate, steps).losses - losses) ** 2
        reach = self.reach * np.sqrt(variance + self.noise.at(steepness) ** 2)
        return Predicted(
            steps=steps, losses=losses, low=losses - reach, high=losses + reach, slopes=wide
        )

    def chance_below(self, first: tuple[str, Rate], second: tuple[str, Rate]) -> float:
        """The probability that a run of the first group and rate ends below one of the second.

        It is that of the mean over seeds: of the parameters, and of the two laws' disagreement.
        """
        ends = [self.predict(group, rate, rate.steps[-1:]) for group, rate in (first, second)]
        slopes = ends[0].slopes[-1] - ends[1].slopes[-1]
        gap = float(ends[1].losses[-1] - ends[0].losses[-1])
        variance = float(slopes @ self.covariance @ slopes)
        if self.beside is not None:
            low, high = (
                self.beside.predict(group, rate, rate.steps[-1:]).losses[-1]
                for group, rate in (first, second)
            )
            variance += float(high - low - gap) ** 2
        return NormalDist(0.0, float(np.sqrt(variance)) or 1e-12).cdf(gap)


def too_few(curves: Sequence[Curve]) -> dict[str, str]:
    """The groups that have too few losses after the warm-up, with the reason."""
    counts = {one.group: 0 for one in curves}
    for one in curves:
        counts[one.group] += int((one.steps >= max(one.rate.warmup_steps, 1)).sum())
    return {
        group: f"{count} losses after the warm-up; expected {_LEAST_POINTS} or more"
        " (eval.curve_points sets them)"
        for group, count in counts.items()
        if count < _LEAST_POINTS
    }


@dataclass(frozen=True)
class _Piece:
    """The points of one curve that are fitted: their group's number, course and losses."""

    group: int
    at: Course
    losses: Floats


def fit_curves(curves: Sequence[Curve], law: CurveLaw, *, level: float = 0.9) -> CurveFit:
    """Fit ``law`` to curves. Raises ``FitError`` where they do not support one."""
    groups = tuple(dict.fromkeys(one.group for one in curves))
    peak = max(one.rate.peak for one in curves)
    length = max(one.end for one in curves)
    pieces, repeated = _pieces(curves, groups, peak, length)
    if few := too_few(curves):
        raise FitError(*(f"{group}: {why}" for group, why in few.items()))
    if not any(
        (piece.at.before - piece.at.after > 0.3).any() or piece.at.here.min() < 0.7
        for piece in pieces
    ):
        raise FitError(
            "the learning rate falls in none of these curves: what a fall gives is unknown; add a"
            " curve with a cooldown"
        )
    scale = float(np.mean(np.abs(np.concatenate([piece.losses for piece in pieces]))))
    noise = Noise(sd=0.001 * scale, shift=0.0, correlation=10.0)
    theta = _start(pieces, len(groups), law)
    knows_p = not all(one.rate.falls_at_once for one in curves)
    for _ in range(_ROUNDS):
        theta, covariance, converged = _solve(
            theta, pieces, len(groups), law, noise, holds_p=not knows_p
        )
        noise = _noise(theta, pieces, len(groups), _LEAST_NOISE * scale)
    residuals = np.concatenate([_residuals(theta, piece, len(groups))[0] for piece in pieces])
    return CurveFit(
        law=law,
        groups=groups,
        peak=peak,
        length=length,
        theta=theta,
        covariance=covariance,
        noise=noise,
        mean_error=float(np.abs(residuals).mean()),
        points=len(residuals),
        converged=converged,
        level=level,
        repeated=repeated,
        knows_p=knows_p,
    )


def _pieces(
    curves: Sequence[Curve], groups: Sequence[str], peak: float, length: float
) -> tuple[list[_Piece], int]:
    """The points to fit, each once: curves that branch from one run repeat what it did before."""
    seen: set[tuple[str, float, float]] = set()
    pieces, repeated = [], 0
    for one in curves:
        fresh = []
        for place, (step, loss) in enumerate(zip(one.steps, one.losses, strict=True)):
            point = (one.group, float(step), float(loss))
            if point in seen:
                repeated += 1
            elif step >= one.rate.warmup_steps and step > 0:
                fresh.append(place)
            seen.add(point)
        if len(fresh) > _MOST_POINTS:
            fresh = [fresh[i] for i in np.linspace(0, len(fresh) - 1, _MOST_POINTS).astype(int)]
        if fresh:
            at = course(one.rate, one.steps[fresh], peak, length)
            pieces.append(_Piece(groups.index(one.group), at, one.losses[fresh]))
    return pieces, repeated


def _start(pieces: Sequence[_Piece], count: int, law: CurveLaw) -> Floats:
    """Where the solver begins: a floor below the lowest loss, the rest from what is known."""
    theta = []
    for group in range(count):
        losses = np.concatenate([piece.losses for piece in pieces if piece.group == group])
        drop = float(losses.max() - losses.min()) or 0.1 * float(losses.min())
        theta += [float(losses.min()) - 0.2 * drop, np.log(0.3 * drop), _ALPHA, np.log(0.1 * drop)]
    return np.array([*theta, *law.centre])


def _spread_out(slopes: Floats, group: int, count: int) -> Floats:
    """Derivatives by the parameters of one group, as those by the parameters of all."""
    wide = np.zeros((len(slopes), count * len(OWN) + len(SHARED)))
    wide[:, group * len(OWN) : (group + 1) * len(OWN)] = slopes[:, : len(OWN)]
    wide[:, -len(SHARED) :] = slopes[:, len(OWN) :]
    return wide


def _residuals(theta: Floats, piece: _Piece, count: int) -> tuple[Floats, Floats, Floats]:
    start = piece.group * len(OWN)
    own = np.concatenate([theta[start : start + len(OWN)], theta[-len(SHARED) :]])
    losses, slopes, steepness = loss_and_slopes(own, piece.at)
    return losses - piece.losses, _spread_out(slopes, piece.group, count), steepness


def _priors(count: int, law: CurveLaw) -> tuple[Floats, Floats]:
    """What is known beforehand, as rows: ``rows @ theta - aims`` has unit variance."""
    size = count * len(OWN) + len(SHARED)
    rows, aims = [], []

    def add(weights: dict[int, float], aim: float, sd: float) -> None:
        row = np.zeros(size)
        for place, weight in weights.items():
            row[place] = weight / sd
        rows.append(row)
        aims.append(aim / sd)

    for i in law.free:
        add({count * len(OWN) + i: 1.0}, law.centre[i], law.spread[i])
    for group in range(count):
        a, alpha, b = (group * len(OWN) + i for i in (1, 2, 3))
        add({alpha: 1.0}, float(_ALPHA), _ALPHA_UNSURE)
        add({b: 1.0, a: -1.0}, float(_RATIO), _RATIO_UNSURE)
        if count > 1:
            others = [g * len(OWN) for g in range(count)]
            share = 1.0 / count
            alphas = {g + 2: -share for g in others}
            alphas[alpha] += 1.0
            add(alphas, 0.0, _ALPHA_SPREAD)
            ratios = {g + 3: -share for g in others} | {g + 1: share for g in others}
            ratios[b] += 1.0
            ratios[a] -= 1.0
            add(ratios, 0.0, _RATIO_SPREAD)
    return np.array(rows), np.array(aims)


def _solve(
    theta: Floats,
    pieces: Sequence[_Piece],
    count: int,
    law: CurveLaw,
    noise: Noise,
    *,
    holds_p: bool,
) -> tuple[Floats, Floats, bool]:
    """Return the parameters, their covariance, and whether the solver met its tolerance.

    With ``holds_p`` p stays where it is, as unsure as the law's prior has it. The others do not
    make up for it in the covariance: that they fit the curves at any p makes no forecast surer.
    """
    from scipy.optimize import least_squares

    rows, aims = _priors(count, law)
    place_of_p = count * len(OWN) + SLOWING
    free = [*range(count * len(OWN)), *(count * len(OWN) + i for i in law.free)]
    if holds_p:
        free = [i for i in free if i != place_of_p]
    weights = [
        1 / (noise.at(_residuals(theta, piece, count)[2]) * np.sqrt(noise.correlation))
        for piece in pieces
    ]

    def whole(values: Floats) -> Floats:
        every = theta.copy()
        every[free] = values
        return every

    def residuals(values: Floats) -> Floats:
        every = whole(values)
        parts = [
            weight * _residuals(every, piece, count)[0]
            for weight, piece in zip(weights, pieces, strict=True)
        ]
        return np.concatenate([*parts, rows @ every - aims])

    def jacobian(values: Floats) -> Floats:
        every = whole(values)
        parts = [
            weight[:, np.newaxis] * _residuals(every, piece, count)[1]
            for weight, piece in zip(weights, pieces, strict=True)
        ]
        return np.concatenate([*parts, rows])[:, free]

    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.full(len(theta), -np.inf), np.full(len(theta), np.inf)
        low[-2:], high[-2:] = _POWERS
        answer = least_squares(
            residuals,
            theta[free],
            jacobian,
            bounds=(low[free], high[free]),
            x_scale="jac",
            max_nfev=300,
        )
    covariance = np.zeros((len(theta), len(theta)))
    covariance[np.ix_(free, free)] = np.linalg.pinv(answer.jac.T @ answer.jac, hermitian=True)
    if holds_p:
        covariance[place_of_p, place_of_p] = law.spread[SLOWING] ** 2
    return whole(answer.x), covariance, answer.status > 0


def _noise(theta: Floats, pieces: Sequence[_Piece], count: int, least: float) -> Noise:
    """The noise by maximum likelihood of the residuals, and their autocorrelation time."""
    from scipy.optimize import minimize

    each = [_residuals(theta, piece, count) for piece in pieces]
    squares = np.concatenate([one[0] for one in each]) ** 2
    steep = np.concatenate([one[2] for one in each]) ** 2

    def deviance(logs: Floats) -> float:
        variance = np.exp(2 * logs[0]) + np.exp(2 * logs[1]) * steep
        return float(np.log(variance).sum() + (squares / variance).sum())

    sd = max(float(np.sqrt(np.median(squares))) * 1.5, least)
    start = np.log([sd, sd / max(float(np.sqrt(steep.mean())), 1e-12)])
    bounds = [(np.log(least), None), (start[1] - 10, start[1] + 5)]
    logs = minimize(deviance, start, method="L-BFGS-B", bounds=bounds).x
    fitted = Noise(sd=float(np.exp(logs[0])), shift=float(np.exp(logs[1])), correlation=1.0)
    scaled = [residual / fitted.at(steepness) for residual, _, steepness in each]
    points = sum(map(len, scaled))
    longest = min(points / len(scaled) / _MOST_INDEPENDENT, points)
    correlation = max(_correlation(scaled), longest, 1.0)
    # the law took up part of the noise: as much as it has parameters that the points decide
    free = max(points / correlation - count * len(OWN), 2.0)
    widening = float(np.sqrt(points / correlation / free))
    return Noise(sd=fitted.sd * widening, shift=fitted.shift * widening, correlation=correlation)


def _correlation(series: Sequence[Floats]) -> float:
    """The integrated autocorrelation time of residuals along curves, in points.

    The mean is not taken off: a run that is off as a whole counts as correlated. The sum ends at
    the first correlation that is not positive.
    """
    total = sum(float(one @ one) for one in series) / sum(map(len, series))
    time = 1.0
    for lag in range(1, max(map(len, series))):
        long = [one for one in series if len(one) > lag]
        product = sum(float(one[lag:] @ one[:-lag]) for one in long)
        value = product / sum(len(one) - lag for one in long) / total if total else 0.0
        if value <= 0:
            break
        time += 2 * value * sum(len(one) - lag for one in long) / sum(map(len, series))
    return time
