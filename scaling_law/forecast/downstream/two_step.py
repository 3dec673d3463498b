"""Predict a metric at a target in two steps, by the loss, and in one, and score both ways.

Two steps (Gadre 2024, arXiv 2403.08540; Bhagia 2024, arXiv 2412.04403): a law gives the loss at
the target's parameters and tokens, with an interval; a sigmoid with the metric's floor and ceiling
gives the metric at that loss. One step: such a sigmoid of log parameters and log tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scaling_law.errors import FitError
from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.floored_sigmoid import SigmoidFit, fit_sigmoid_with_errors
from scaling_law.fit.result import FitResult, Prediction
from scaling_law.fit.solver.student import normal_reach
from scaling_law.forecast.downstream.measured import Measured
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.target import Target
from scaling_law.units import count_of

LAWS = ("coupled", "chinchilla")  # of as many parameters: that with the least residuals counts
_AS_GOOD = 1.25  # times its residuals: another law that does so describes the runs as well
_RESAMPLES = 200
_LEAST_SIZES = 3  # of which the largest may be held out


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A predicted metric of a new run, with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A metric at a target, both ways.

    ``loss`` is the first step's forecast; ``two_steps`` and ``one_step`` are the metric.
    """

    loss: Prediction
    two_steps: Interval
    one_step: Interval


@dataclass(frozen=True, kw_only=True)
class Check:
    """How both ways predict the runs of the largest size from all smaller ones.

    ``size`` names it; ``runs`` is their number;
    ``two_steps`` and ``one_step`` are the mean absolute errors of the metric;
    ``two_steps_inside`` and ``one_step_inside`` are the shares inside the
    intervals.
    """

    size: str
    runs: int
    two_steps: float
    one_step: float
    two_steps_inside: float
    one_step_inside: float


@dataclass(frozen=True)
class TwoStep:
    """A metric's two ways, fitted to runs.

    ``measured`` are the runs;
    ``law_name`` is a law's name, "" for the one of ``LAWS`` that fits best;
    ``ceiling`` is the metric's value where all is learned, None to fit it;
    ``level`` is that of intervals.
    """

    measured: Measured
    law_name: str = ""
    ceiling: float | None = 1.0
    level: float = 0.9

    def fit(self) -> None:
        """Fit both ways. Raises ``FitError`` where one cannot be fitted."""
        _ = self.laws, self.of_loss, self.of_size

    @cached_property
    def laws(self) -> tuple[FitResult, ...]:
        """The first step: laws of the loss, the one with the least residuals first.

        Further ones are those that describe the runs nearly as well. Raises ``FitError`` where no
        law fits.
        """
        fits = [
            fit_law(self.measured.points, name, level=self.level, resamples=_RESAMPLES)
            for name in ([self.law_name] if self.law_name else LAWS)
        ]
        usable = sorted(
            (fit for fit in fits if fit.usable and fit.samples),
            key=lambda fit: fit.rms_log_residual,
        )
        if not usable:
            raise FitError(
                "no law of the loss can be fitted with an interval:"
                f" {fits[0].message or fits[0].status}"
            )
        most = _AS_GOOD * usable[0].rms_log_residual
        return tuple(fit for fit in usable if fit.rms_log_residual <= most)

    @cached_property
    def of_loss(self) -> SigmoidFit:
        """The second step."""
        return self._sigmoid([(loss,) for loss in self.measured.points.loss_nats.tolist()])

    @cached_property
    def of_size(self) -> SigmoidFit:
        """The one step."""
        points = self.measured.points
        logs = zip(np.log(points.params).tolist(), np.log(points.tokens).tolist(), strict=True)
        return self._sigmoid(list(logs))

    def _sigmoid(self, x: list[tuple[float, ...]]) -> SigmoidFit:
        measured = self.measured
        return fit_sigmoid_with_errors(
            x, measured.values.tolist(), measured.points.cluster, measured.floor, self.ceiling
        )

    def predict(self, target: Target) -> Predicted:
        """The metric at a target. Raises ``ConfigError`` and ``FitError``."""
        first, *others = self.laws
        loss = extrapolate(first, target, level=self.level)
        if loss.params is None or loss.tokens is None:
            raise FitError(f"law {first.law.name} leaves the target's params or tokens open")
        slope = self.of_loss.sigmoid.weights[1]
        low, high = loss.low_nats, loss.high_nats
        spread = 0.0 if low is None or high is None else (high - low) / 2
        place = Target(params=loss.params, tokens=loss.tokens)
        apart = [
            extrapolate(fit, place, level=self.level).loss_nats - loss.loss_nats for fit in others
        ]
        # where laws that describe the runs as well differ, the loss is as unsure as they differ
        sd = abs(slope) * math.hypot(spread / normal_reach(self.level), *apart)
        return Predicted(
            loss=loss,
            two_steps=self._interval(self.of_loss, (loss.loss_nats,), sd),
            one_step=self._interval(
                self.of_size, (math.log(loss.params), math.log(loss.tokens)), 0.0
            ),
        )

    def _interval(self, fit: SigmoidFit, x: tuple[float, ...], sum_sd: float) -> Interval:
        low, high = fit.interval(*x, level=self.level, sum_sd=sum_sd)
        return Interval(value=fit.sigmoid.at(*x), low=low, high=high)

    def check(self) -> Check | str:
        """Both ways on the largest size, fitted without it, or why that cannot be done."""
        points = self.measured.points
        largest = points.params.max()
        held = points.params > 0.99 * largest
        sizes = len(set(points.params.tolist()))
        if sizes < _LEAST_SIZES:
            return (
                f"{count_of(sizes, 'size')}: the largest is not held out (it needs {_LEAST_SIZES})"
            )
        others = TwoStep(self.measured.chosen(~held), self.law_name, self.ceiling, self.level)
        try:
            predicted = [
                others.predict(Target(params=float(n), tokens=float(d)))
                for n, d in zip(points.params[held], points.tokens[held], strict=True)
            ]
        except FitError as problem:
            return f"the largest size is not held out: {problem}"
        truth = self.measured.values[held].tolist()

        def error(ones: list[Interval]) -> float:
            return float(np.mean([abs(p.value - y) for p, y in zip(ones, truth, strict=True)]))

        def inside(ones: list[Interval]) -> float:
            return float(np.mean([p.low <= y <= p.high for p, y in zip(ones, truth, strict=True)]))

        two, one = [p.two_steps for p in predicted], [p.one_step for p in predicted]
        return Check(
            size=points.size[int(np.argmax(held))],
            runs=len(truth),
            two_steps=error(two),
            one_step=error(one),
            two_steps_inside=inside(two),
            one_step_inside=inside(one),
        )
