"""Forecast a branch's final loss from the first part of its cooldown, with an interval.

Each trunk has one regression in log loss. The stable phase is a power law in the step, with an
offset, so every branch has a smooth start. A cooldown then gains ``a(p) * T^k`` from progress p to
its end: ``a`` is one number for each of the run's evaluations, fitted on finished shorter branches
of the same trunk; T is the horizon; k says how gains change with it. The forecast averages over k
(Bayes), so gains that grow from sibling to sibling move it and widen its interval. Gains are
measured to the final evaluation, so they include the error of the curve's fewer tokens.

The noise is fitted as well: from the siblings' scatter, and from the trunk's scatter around its
power law where siblings are few. A forecast reads only the trunk and shorter branches, so it does
not depend on the order of the workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_law.files.record import CurvePoint
from scaling_law.spec.run import LEAST_SIBLINGS, RunSpec
from scaling_law.spec.schedule import lr_factor

Floats = NDArray[np.float64]

LEVEL = 0.9
_Z = 1.6448536269514722  # half of LEVEL on each side of a normal distribution
# The trunk's earliest points, the warm-up included, do not follow a power law.
_STABLE_FRAC = 0.1
_LEAST_STABLE = 5
_POWERS = np.arange(0.05, 2.01, 0.05)
# Evaluations scatter less as the learning rate falls, but never less than this share: the error of
# the curve's few tokens drifts as the loss falls. Errors of neighbours are correlated.
_NOISE_FLOOR = 0.2
_TOGETHER = 0.4
# The trunk's scatter counts as much as this many residuals.
_TRUNK_WEIGHT = 4.0
# How gains change with the horizon: k within a normal prior of this width.
_EXPONENTS = np.linspace(-0.5, 0.5, 51)
_EXPONENT_SD = 0.1
# A sibling's curve is read between its points, and this far in progress beyond them.
_BEYOND = 0.05


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The forecast of a run's final loss, with its 90% interval.

    ``loss_nats`` is the centre, in nats per token;
    ``low_nats`` is the lower end of the interval, in nats per token;
    ``high_nats`` is the upper end, in nats per token.
    """

    loss_nats: float
    low_nats: float
    high_nats: float

    @property
    def half_width_frac(self) -> float:
        """Half of the interval, divided by the loss."""
        return (self.high_nats - self.low_nats) / 2 / self.loss_nats


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A branch that trained to its end.

    ``spec`` is the branch;
    ``curve`` holds its evaluations;
    ``loss_nats`` is the final loss of its record, in nats per token.
    """

    spec: RunSpec
    curve: Sequence[CurvePoint]
    loss_nats: float


def predict_final(
    spec: RunSpec,
    own: Sequence[CurvePoint],
    trunk: Sequence[CurvePoint],
    siblings: Sequence[Finished],
) -> Forecast | None:
    """Forecast the final loss of branch ``spec`` from its curve so far, its trunk and siblings.

    Points of the trunk after the branch, and siblings that are not shorter, are ignored. None
    where there is too little to go by: no branch, no evaluation yet, fewer than two siblings, or
    too short a trunk.
    """
    if spec.branch is None:
        return None
    shorter = [s for s in siblings if s.spec.branch and s.spec.total_steps < spec.total_steps]
    stable = _fit_stable([p for p in trunk if p.step <= spec.branch.at_step])
    if len(shorter) < LEAST_SIBLINGS or stable is None:
        return None
    curves = [_log_curve(s.spec, s.curve, stable) for s in shorter]
    reach = min(float(progress[-1]) for progress, _ in curves) + _BEYOND
    progress, logs = _log_curve(spec, own, stable)
    progress, logs = progress[progress <= reach], logs[progress <= reach]
    if len(progress) < 2:
        return None
    ends = np.array([math.log(s.loss_nats) for s in shorter])
    gains = np.array([np.interp(progress, *curve) for curve in curves]) - ends[:, None]
    horizons = np.array([math.log(s.spec.total_steps / spec.total_steps) for s in shorter])
    factor = np.array([_lr_factor(spec, p) for p in progress])
    centre, spread = _regress(
        gains, horizons, logs, _covariance(progress, factor), stable.scatter**2
    )
    return Forecast(
        loss_nats=math.exp(centre),
        low_nats=math.exp(centre - spread),
        high_nats=math.exp(centre + spread),
    )


@dataclass(frozen=True)
class _Stable:
    """The log loss ``offset + scale * (step / last)^-power`` and the points' scatter around it."""

    offset: float
    scale: float
    power: float
    last: int
    scatter: float

    def at(self, step: int) -> float:
        return self.offset + self.scale * math.pow(step / self.last, -self.power)


def _fit_stable(points: Sequence[CurvePoint]) -> _Stable | None:
    """Fit by least squares over a grid of powers; the offset and the scale are linear."""
    known = [(p.step, p.val_loss_nats) for p in points if p.val_loss_nats]
    known = [(step, loss) for step, loss in known if step >= _STABLE_FRAC * known[-1][0]]
    if len(known) < _LEAST_STABLE:
        return None
    last = known[-1][0]
    steps = np.array([step for step, _ in known]) / last
    logs = np.log([loss for _, loss in known])
    best: _Stable | None = None
    for power in _POWERS:
        design = np.stack([np.ones_like(steps), steps**-power], axis=1)
        weights = np.linalg.lstsq(design, logs, rcond=None)[0]
        scatter = math.sqrt(float(((logs - design @ weights) ** 2).sum()) / (len(known) - 3))
        if best is None or scatter < best.scatter:
            best = _Stable(float(weights[0]), float(weights[1]), float(power), last, scatter)
    return best


def _log_curve(
    spec: RunSpec, curve: Sequence[CurvePoint], stable: _Stable
) -> tuple[Floats, Floats]:
    """Progress through the cooldown and log loss there: the smooth start, then evaluations.

    The last evaluation of a finished run is its final one, on other tokens: left out.
    """
    start, own = spec.start_step, spec.total_steps - spec.start_step
    points = [(0.0, stable.at(start))]
    points += [
        ((p.step - start) / own, math.log(p.val_loss_nats))
        for p in curve
        if start < p.step < spec.total_steps and p.val_loss_nats
    ]
    progress, logs = np.array(points).T
    return progress, logs


def _lr_factor(spec: RunSpec, progress: float) -> float:
    own = spec.total_steps - spec.start_step
    step = spec.start_step + round(progress * own) - 1
    return lr_factor(spec.schedule, max(0, step), spec.total_steps)


def _covariance(progress: Floats, factor: Floats) -> Floats:
    """The covariance of one run's evaluations, in units of the hot trunk's squared scatter."""
    deviation = np.sqrt(_NOISE_FLOOR + (1 - _NOISE_FLOOR) * factor)
    together = np.exp(-np.abs(progress[:, None] - progress) / _TOGETHER)
    covariance: Floats = deviation[:, None] * together * deviation
    return covariance


def _regress(
    gains: Floats, horizons: Floats, logs: Floats, covariance: Floats, hot: float
) -> tuple[float, float]:
    """The log loss at the end and half its interval.

    Given k the model is linear in each evaluation's gain [m] and the end: siblings' ``gains``
    [s, m] are ``gain * exp(k * horizon)``, and ``logs`` [m] are ``end + gain``.
    """
    siblings, m = gains.shape
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    goal = np.concatenate([*(whiten @ row for row in gains), whiten @ logs])
    freedom = len(goal) - (m + 1)
    ends, variances, weights = [], [], []
    for k in _EXPONENTS:
        design = np.zeros((len(goal), m + 1))
        for s in range(siblings):
            design[s * m : (s + 1) * m, :m] = whiten * math.exp(k * horizons[s])
        design[siblings * m :, :m] = whiten
        design[siblings * m :, m] = whiten.sum(axis=1)
        normal = np.linalg.inv(design.T @ design)
        solved = normal @ (design.T @ goal)
        squares = float(((goal - design @ solved) ** 2).sum()) + _TRUNK_WEIGHT * hot
        ends.append(float(solved[m]))
        variances.append(float(normal[m, m]) * squares / (freedom + _TRUNK_WEIGHT))
        # Student's marginal likelihood of k, with everything linear integrated out
        weights.append(
            0.5 * float(np.linalg.slogdet(normal)[1])
            - 0.5 * (freedom + _TRUNK_WEIGHT) * math.log(squares)
            - 0.5 * (k / _EXPONENT_SD) ** 2
        )
    share = np.exp(np.array(weights) - max(weights))
    share /= share.sum()
    centre = float(share @ ends)
    variance = float(share @ (np.array(variances) + (np.array(ends) - centre) ** 2))
    return centre, _student(freedom + _TRUNK_WEIGHT) * math.sqrt(variance)


def _student(freedom: float) -> float:
    """Student's quantile beside ``_Z`` (Cornish-Fisher; 1% low at 4 degrees of freedom)."""
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    return _Z + first / freedom + second / freedom**2
