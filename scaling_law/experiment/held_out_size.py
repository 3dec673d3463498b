"""Predict the task accuracy of the largest size from all smaller ones, in four ways.

Two steps predict first the loss on the task's right answers from parameters and tokens, then the
accuracy from that loss, by a sigmoid whose floor is chance. Three direct ways do without the loss:
such a sigmoid of compute, one of parameters and tokens, and the law of the first step fitted to the
error instead of the loss.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from scaling_law.experiment.evidence import Run
from scaling_law.fit.floored_sigmoid import FlooredSigmoid, fit_floored_sigmoid

CHOICE, ANSWERS = "multiple_choice.val", "answers.val"
TWO_STEPS, OF_COMPUTE, OF_SIZE, OF_ERROR = "two_steps", "compute", "params_tokens", "error_law"
METHODS = {
    TWO_STEPS: "two steps",
    OF_COMPUTE: "sigmoid of compute",
    OF_SIZE: "sigmoid of parameters and tokens",
    OF_ERROR: "law of the error",
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A run's place and what it scored.

    ``params`` are those in matrix products; ``tokens`` and ``flops`` those of its training;
    ``nats`` is the loss per token of right answers; ``accuracy`` the share of questions answered;
    ``chosen`` the probability of the right choice among the choices, None without choices;
    ``questions`` is how many were asked; ``chance`` is the accuracy of guessing.
    """

    run: Run
    params: int
    tokens: int
    flops: float
    nats: float
    accuracy: float
    chosen: float | None
    questions: float
    chance: float

    @property
    def noise(self) -> float:
        """The standard error of the accuracy over questions."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.questions)


def seen(run: Run) -> Seen | None:
    """What a run scored; None where it answered no questions."""
    metrics, record = run.record.metrics, run.record
    place: dict[str, Any] = {
        "run": run,
        "params": record.params_matmul,
        "tokens": record.tokens,
        "flops": record.flops_exact,
    }
    if f"{CHOICE}.accuracy" in metrics:
        return Seen(
            **place,
            nats=metrics[f"{CHOICE}.nats"],
            accuracy=metrics[f"{CHOICE}.accuracy"],
            chosen=metrics[f"{CHOICE}.chosen"],
            questions=metrics[f"{CHOICE}.questions"],
            chance=metrics[f"{CHOICE}.chance"],
        )
    if f"{ANSWERS}.exact" in metrics and record.val_loss_nats:
        return Seen(
            **place,
            nats=record.val_loss_nats,
            accuracy=metrics[f"{ANSWERS}.exact"],
            chosen=None,
            questions=run.spec.eval.val_tokens / run.spec.model.n_ctx,
            chance=0.0,
        )
    return None


@dataclass(frozen=True)
class Held:
    """The runs of the largest size, predicted from all smaller ones.

    ``fitted`` and ``held`` are the runs, by parameters and tokens; ``law_name`` is the law.
    """

    fitted: tuple[Seen, ...]
    held: tuple[Seen, ...]
    law_name: str

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return self.held[0].chance

    @property
    def gain(self) -> float:
        """The most that it answers over the next smaller size at equal tokens, means of seeds."""
        next_size = max(one.params for one in self.fitted)
        gains = []
        for tokens in {one.tokens for one in self.held}:
            mine = [one.accuracy for one in self.held if one.tokens == tokens]
            others = [
                one.accuracy
                for one in self.fitted
                if (one.params, one.tokens) == (next_size, tokens)
            ]
            gains += [fmean(mine) - fmean(others)] if others else []
        return max(gains, default=0.0)

    @cached_property
    def of_loss(self) -> FlooredSigmoid:
        """The second step: from the loss on right answers to the accuracy."""
        return self._logistic(lambda one: (one.nats,))

    @cached_property
    def of_compute(self) -> FlooredSigmoid:
        """The direct law from compute."""
        return self._logistic(lambda one: (math.log(one.flops),))

    @cached_property
    def of_size(self) -> FlooredSigmoid:
        """The direct law from parameters and tokens."""
        return self._logistic(lambda one: (math.log(one.params), math.log(one.tokens)))

    def _logistic(self, x: Callable[[Seen], tuple[float, ...]]) -> FlooredSigmoid:
        return fit_floored_sigmoid(
            [x(one) for one in self.fitted], [one.accuracy for one in self.fitted], self.chance
        )

    @cached_property
    def nats(self) -> dict[int, float] | str:
        """The first step: the loss at the largest size by tokens, or why no law gives one."""
        return self._law(lambda one: one.nats)

    @cached_property
    def error_law(self) -> dict[int, float] | str:
        """The error at the largest size by tokens, by its own law, or why no law gives one."""
        return self._law(lambda one: max(1 - one.accuracy, 0.5 / one.questions))

    def _law(self, value: Callable[[Seen], float]) -> dict[int, float] | str:
        """A value by its law, fitted to the smaller sizes, at the largest by tokens."""
        import numpy as np

        from scaling_law.errors import FitError
        from scaling_law.fit.approaches.parametric import fit_law
        from scaling_law.fit.points.points import points_from_records

        values = {one.run.record.run_id: value(one) for one in self.fitted}
        try:
            points = points_from_records([one.run.record for one in self.fitted])
            mine = np.array([values[run_id] for run_id in points.run_id])
            fit = fit_law(dataclasses.replace(points, loss_nats=mine), self.law_name)
        except FitError as problem:
            return str(problem)
        if not fit.usable:
            return f"the law {self.law_name} cannot be fitted ({fit.message})"
        at = {one.tokens: one for one in self.held}
        places = {
            "params": np.array([float(one.params) for one in at.values()]),
            "tokens": np.array([float(tokens) for tokens in at]),
            "flops": np.array([one.flops for one in at.values()]),
        }
        places["tokens_unique"] = places["tokens"]
        return dict(zip(at, map(float, fit.law.predict(fit.params, places)), strict=True))

    def predicted(self, method: str) -> dict[int, float] | None:
        """The accuracy at the largest size by tokens; None where no law is fitted."""
        if method == TWO_STEPS:
            if isinstance(self.nats, str):
                return None
            return {tokens: self.of_loss.at(nats) for tokens, nats in self.nats.items()}
        if method == OF_ERROR:
            law = self.error_law
            return None if isinstance(law, str) else {x: 1 - error for x, error in law.items()}
        if method == OF_COMPUTE:
            return {one.tokens: self.of_compute.at(math.log(one.flops)) for one in self.held}
        return {
            one.tokens: self.of_size.at(math.log(one.params), math.log(one.tokens))
            for one in self.held
        }

    def errors(self, method: str) -> list[float] | None:
        """Predicted minus measured accuracy of each held-out run."""
        predicted = self.predicted(method)
        if predicted is None:
            return None
        return [predicted[one.tokens] - one.accuracy for one in self.held]

    def error(self, method: str) -> float | None:
        """The mean absolute error of the held-out runs."""
        errors = self.errors(method)
        return None if errors is None else fmean(map(abs, errors))


def split(ones: Sequence[Seen], law: str) -> Held | None:
    """The largest size against all smaller ones; None where there is only one size."""
    largest = max((one.params for one in ones), default=0)
    fitted = tuple(one for one in ones if one.params < largest)
    held = tuple(one for one in ones if one.params == largest)
    return Held(fitted, held, law) if fitted else None
