"""The outlook over several laws: every answer is a function of the same ``fit.worlds``."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scaling_law.errors import FitError
from scaling_law.files.record import NATS, amount_unit
from scaling_law.fit.best_splits import BestSplits
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.interval import PredictionInterval, few_trunks
from scaling_law.fit.split import bounded_exp
from scaling_law.fit.worlds import Worlds
from scaling_law.forecast.optima import Loss
from scaling_law.forecast.repeats import Repeats, repeats_under

# A loss that more than this share of the worlds never reaches is refused as a target.
_MOST_NEVER = 0.5
_MOSTLY_FLOOR = 0.5


class OverWorlds:
    """How the loss continues over the worlds of several laws; as ``forecast.outlook.Outlook``."""

    def __init__(self, fit: FitResult, worlds: Worlds) -> None:
        """``fit`` is the law whose parameters are shown, fitted to the same points."""
        self.fit, self.worlds = fit, worlds
        self.ways = "worlds of the forecast"
        self._splits = splits = BestSplits(worlds)
        self._cheapest = functools.cache(splits.own_cheapest)
        self.split = splits if splits.exist else None
        self.trouble = ""
        if self.split is None:
            self.trouble = (
                "no compute-optimal split (a term is missing): vary sizes and tokens more"
            )

    def log_loss(self, at: Mapping[str, float]) -> float:
        """The point forecast's log L at {variable: value}."""
        return self.worlds.point_at(at["params"], at["tokens"])

    def loss_at(self, params: float, tokens: float) -> float:
        """The same at params and tokens."""
        return self.worlds.point_at(params, tokens)

    def interval(self, at: Mapping[str, float], level: float) -> PredictionInterval:
        """Where a new run's loss falls: quantiles of the worlds with its noise.

        Its parts are the half-widths times the square roots of the causes' shares of the variance.
        """
        where = np.array([at["params"]]), np.array([at["tokens"]])
        ends = self.worlds.interval(*where, level)
        assert ends is not None, "the outlook has enough worlds"
        centre = self.log_loss(at)
        low, high = min(float(ends[0][0]), centre), max(float(ends[1][0]), centre)
        shares = self.worlds.variance_shares(at["params"], at["tokens"])
        parts = {
            name: (math.sqrt(share) * (centre - low), math.sqrt(share) * (high - centre))
            for name, share in shares.items()
        }
        doubts = (*self.worlds.notes, *few_trunks(self.fit))
        return PredictionInterval((bounded_exp(low), bounded_exp(high)), parts, doubts)

    def causes(self, at: Mapping[str, float]) -> dict[str, Any]:
        """``by_law`` and ``variance_shares`` of a ``Prediction``."""
        where = at["params"], at["tokens"]
        return {
            "by_law": self.worlds.by_law(*where),
            "variance_shares": self.worlds.variance_shares(*where),
        }

    def optimum(self, at: Mapping[str, float], level: float) -> dict[str, Any]:
        """The fields of a ``Prediction`` that the compute-optimal split decides."""
        if self.split is None:
            return {"params_optimal": None, "tokens_optimal": None}
        params, flops = at["params"], at["flops"]
        best = self.split.params(flops)
        sizes = self._ends(self._splits.own_params(flops), level)
        return {
            "params_optimal": best,
            "tokens_optimal": flops / 6 / best,
            "params_optimal_interval": sizes,
            # under C = 6ND the fewest params go with the most tokens
            "tokens_optimal_interval": sizes and (flops / 6 / sizes[1], flops / 6 / sizes[0]),
            "tokens_for_params": self.split.tokens_for_params(params),
            "tokens_for_params_interval": self._ends(self._splits.own_tokens_for(params), level),
            "params_exponent": self._splits.exponent(flops),
            "params_exponent_interval": self.worlds.spread(self._splits.own_exponent(flops), level),
        }

    def check_reach(self, loss: float) -> list[str]:
        """What a reader should know about a target loss. Raises ``FitError``: beyond reach."""
        never = float(self.worlds.weight[np.isinf(self._cheapest(loss))].sum())
        if never <= 0:
            return []
        amount = f"{loss:g} {amount_unit(self.fit.convention.get('loss', NATS))}"
        words = (
            f"worlds with {100 * never:.2g}% of the forecast's weight never reach a loss of"
            f" {amount}: it is at or below their irreducible loss"
        )
        if never > _MOST_NEVER:
            raise FitError(words)
        return [words]

    def flops_interval(self, loss: float, level: float) -> tuple[float, float] | None:
        """The compute that reaches a loss; inf where it may never be reached."""
        ends = self.worlds.spread(self._cheapest(loss), level)
        if ends is None:
            return None
        return bounded_exp(ends[0]), bounded_exp(ends[1]) if ends[1] < math.inf else math.inf

    def own_splits(self, flops: float | None, loss: float | None) -> tuple[Floats, Floats] | None:
        """(log params, log tokens) that spend FLOPs best, or reach a loss cheaply, by world."""
        return self._splits.own_answers(flops, loss)

    def drawn(self, count: int, unique: float | None) -> Iterator[Loss]:
        """The log loss in ``count`` worlds, with repeats of ``unique`` tokens at their worth."""
        worth = None if unique is None else self.repeats(unique)
        for loss in self.worlds.drawn(count):
            yield worth.on(loss) if worth else loss

    def ends(
        self, centre: float, own: Floats, level: float, *, drawn: bool
    ) -> tuple[float, float] | None:
        """The interval of a count whose logarithm is ``own`` in each world, or in those drawn."""
        if drawn:  # by their weights: each counts the same
            shares = 0.5 - level / 2, 0.5 + level / 2
            low, high = np.quantile(own, shares).tolist()
            return bounded_exp(low), bounded_exp(high)
        return self._ends(own, level)

    def floor_doubts(self, at: Mapping[str, float]) -> list[str]:
        """What a reader should know, far beyond the data, about the irreducible loss."""
        share = self.worlds.floor_share(at["params"], at["tokens"])
        if share <= _MOSTLY_FLOOR:
            return []
        return [f"{100 * share:.0f}% of the figure is the irreducible loss, the least certain part"]

    def repeats(self, unique: float) -> Repeats:
        """What repeats of ``unique`` tokens are worth, the same in every world."""
        return repeats_under({}, self._splits.tangent(unique), unique)

    def _ends(self, own_log: Floats, level: float) -> tuple[float, float] | None:
        ends = self.worlds.spread(own_log, level)
        return ends and (bounded_exp(ends[0]), bounded_exp(ends[1]))
