"""The outlook of one law, fitted or published, taken for true."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scaling_law.errors import FitError
from scaling_law.files.record import NATS, amount_unit
from scaling_law.fit.best_splits import BestSplits
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.result import FitResult, bound_words
from scaling_law.fit.solver.interval import (
    PredictionInterval,
    count_interval,
    log_loss,
    prediction_interval,
    split_intervals,
    tokens_interval,
)
from scaling_law.fit.split import Split, bounded_exp
from scaling_law.fit.surface import Surface, surface_of
from scaling_law.fit.worlds import Worlds, worlds_of
from scaling_law.forecast.optima import Loss
from scaling_law.forecast.published import law_name
from scaling_law.forecast.repeats import Repeats, repeats_under

# A term below this share of the loss in the middle of the data counts as missing (the bound of the
# solver is 1e-4).
_ABSENT = 2e-4
_NEAR_BOUND = 1e-3
_MOSTLY_FLOOR = 0.5
# Share of the samples that must have an answer: without the others an interval is too narrow.
_MOST_HAVE_ONE = 0.9


class LawAlone:
    """How the loss continues under one law, as ``forecast.outlook.Outlook``."""

    def __init__(
        self,
        fit: FitResult,
        seed_noise_log: float | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """``notes`` say why there is no other law. Raises ``FitError`` for what overflows."""
        self.fit, self.seed_noise_log, self.notes = fit, seed_noise_log, notes
        self.ways = "samples of the fit"
        try:
            self.surface = surface_of(fit.law, fit.params)
        except OverflowError:
            raise FitError(
                f"law {fit.law.name}: parameters too large to evaluate; refit it"
            ) from None
        self.split, self.trouble = _split(fit, self.surface)

    def log_loss(self, at: Mapping[str, float]) -> float:
        """The law's log L at {variable: value}."""
        return log_loss(self.fit.law, self.fit.params, at)

    def loss_at(self, params: float, tokens: float) -> float:
        """The same at params and tokens by the law's surface, with nothing repeated."""
        assert self.surface is not None, "the law is one of params and tokens"
        return self.surface.log_loss(params, tokens)

    def interval(self, at: Mapping[str, float], level: float) -> PredictionInterval:
        """Where a new run's loss falls if the law is true."""
        spread = prediction_interval(self.fit, at, level=level, seed_noise_log=self.seed_noise_log)
        return PredictionInterval(spread.nats, spread.parts, (*self.notes, *spread.doubts))

    def causes(self, at: Mapping[str, float]) -> dict[str, Any]:
        """Empty: there is one law."""
        return {}

    def optimum(self, at: Mapping[str, float], level: float) -> dict[str, Any]:
        """The fields of a ``Prediction`` that the compute-optimal split decides."""
        fit, split = self.fit, self.split
        if split is None or "params" not in at or "flops" not in at:
            return {"params_optimal": None, "tokens_optimal": None}
        intervals = split_intervals(fit, split, at["flops"], level)
        return {
            "params_optimal": split.params(at["flops"]),
            "tokens_optimal": split.tokens(at["flops"]),
            "params_optimal_interval": intervals[0],
            "tokens_optimal_interval": intervals[1],
            "tokens_for_params": split.tokens_for_params(at["params"]),
            "tokens_for_params_interval": tokens_interval(fit, at["params"], level=level),
            "params_exponent": split.exponent,
            "params_exponent_interval": fit.optimum_intervals.get("a"),
        }

    def check_reach(self, loss: float) -> list[str]:
        """Raises ``FitError`` for a loss at or below the irreducible loss, or in its interval."""
        unit = amount_unit(self.fit.convention.get("loss", NATS))
        for name in ("E", "L_inf"):
            if name not in self.fit.params:
                continue
            if loss <= self.fit.params[name]:
                raise FitError(
                    f"a loss of {loss:.6g} {unit} is at or below the irreducible loss {name} = "
                    f"{self.fit.params[name]:.6g}: no compute reaches it under law"
                    f" {law_name(self.fit)}"
                )
            low, high = self.fit.intervals.get(name, (0.0, 0.0))
            if loss <= high:
                raise FitError(
                    f"a loss of {loss:g} {unit} lies within the interval of the irreducible loss"
                    f" {name} ({bound_words(low, '.3g')} to {bound_words(high, '.3g')}): the data"
                    " cannot say whether it can be reached"
                )
        return []

    def flops_interval(self, loss: float, level: float) -> tuple[float, float] | None:
        """The compute that reaches a loss, over the fit's samples; inf where some never do."""
        if self.split is None or self._samples is None:
            return None
        ends = self._samples.spread(BestSplits(self._samples).own_cheapest(loss), level)
        if ends is None:
            return None
        return bounded_exp(ends[0]), bounded_exp(ends[1]) if ends[1] < math.inf else math.inf

    def own_splits(self, flops: float | None, loss: float | None) -> tuple[Floats, Floats] | None:
        """(log params, log tokens) that spend FLOPs best, or reach a loss cheaply, by sample."""
        return BestSplits(self._samples).own_answers(flops, loss) if self._samples else None

    def drawn(self, count: int, unique: float | None) -> Iterator[Loss]:
        """The log loss under ``count`` samples, repeats of ``unique`` tokens at their worth."""
        for params in itertools.islice(self.fit.sampled_params(), count):
            surface = surface_of(self.fit.law, params)
            if surface is None:
                return
            if unique is None:
                yield surface.log_loss
            elif surface.split is not None:
                yield repeats_under(params, surface.split, unique).on(surface.log_loss)

    def ends(
        self, centre: float, own: Floats, level: float, *, drawn: bool
    ) -> tuple[float, float] | None:
        """The interval of a count whose logarithm is ``own`` under each sample, or those drawn."""
        known = own[np.isfinite(own)]
        if len(known) < _MOST_HAVE_ONE * len(own):
            return None
        return count_interval(self.fit, centre, np.exp(known).tolist(), level=level)

    @functools.cached_property
    def _samples(self) -> Worlds | None:
        """The law under each of its samples; None without any."""
        if not self.fit.samples:
            return None
        return worlds_of({self.fit.law.name: self.fit}, noise_log=0.0, most=None)

    def floor_doubts(self, at: Mapping[str, float]) -> list[str]:
        """What a reader should know, far beyond the data, about the irreducible loss."""
        if self.surface is None:
            return []
        share = self.surface.shares(at["params"], at["tokens"])["floor"]
        if share > _MOSTLY_FLOOR:
            words = "of the figure is the irreducible loss, the least certain part"
            return [f"{100 * share:.0f}% {words}"]
        if self.surface.floor == 0:
            return ["the law has no irreducible loss: far beyond the data it is optimistic"]
        return []

    def repeats(self, unique: float) -> Repeats:
        """What repeats of ``unique`` tokens are worth under the law."""
        assert self.surface is not None, "the law is one of params and tokens"
        return repeats_under(self.fit.params, self.surface.split, unique)


def _split(fit: FitResult, surface: Surface | None) -> tuple[Split | None, str]:
    """The compute-optimal split, or why there is none."""
    if surface is None:
        return None, ""
    if fit.n_points == 0 and fit.optimum:  # published, perhaps measured apart from the law
        return fit.optimum, ""
    absent = []
    form = fit.law.from_public(dict(fit.params))
    for name, (low, high) in fit.law.exponents.items():
        if form[name] <= low + _NEAR_BOUND or form[name] >= high - _NEAR_BOUND:
            absent.append(f"{name} = {form[name]:.3g} is at its bound")
    if {"params", "tokens"} <= fit.data_range.keys():
        middle = [math.sqrt(math.prod(fit.data_range[name])) for name in ("params", "tokens")]
        shares = surface.shares(*middle)
        absent += [
            f"the {name} term is {100 * shares[name]:.2g}% of the loss"
            for name in ("size", "data")
            if shares[name] < _ABSENT
        ]
    if absent or surface.split is None:
        why = "; ".join(absent) or "a term is missing"
        return None, f"no compute-optimal split ({why}): vary sizes and tokens more"
    return surface.split, ""
