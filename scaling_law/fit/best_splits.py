"""The compute-optimal splits of a forecast over worlds, and of each world by itself.

Between the edges of the data a world's exponents are constant, so that its own optimum has a closed
form (Hoffmann 2022, arXiv 2203.15556, equation 4). The point forecast's lies between the worlds'
own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from scaling_law.fit.laws.law import Floats
from scaling_law.fit.solver.scalar import root
from scaling_law.fit.split import Split
from scaling_law.fit.worlds import Worlds

# Places among which the turn of the point forecast is looked for before it is refined.
_GRID = 17
_HALVINGS = 50
# No budget is larger: log of FLOPs / 6.
_MOST_LOG_BUDGET = math.log(1e60 / 6)
# log params or tokens that stand for none and for any number: a world without an optimum.
_FAR = 400.0
# Step in log FLOPs over which an exponent is read off.
_STEP = 0.05


class BestSplits:
    """How FLOPs (6 N D) are spent best over ``worlds``; as ``fit.split.BestSplit``.

    What begins with ``own`` is each world's by itself, an array of logarithms [W].
    """

    def __init__(self, worlds: Worlds) -> None:
        self.worlds = worlds

    def params(self, flops: float) -> float:
        """Params by which the point forecast spends ``flops`` (6 N D) best; NaN: there are none."""
        budget = math.log(flops / 6)
        own = self.own_params(flops)

        def at(x: Floats) -> tuple[Floats, Floats]:
            return x, budget - x

        return self._turn(own, at, rising=True)

    def tokens(self, flops: float) -> float:
        """Tokens of that split."""
        return flops / 6 / self.params(flops)

    def tokens_for_params(self, params: float) -> float:
        """Tokens for which ``params`` is the point forecast's optimum; NaN: there are none."""
        x = math.log(params)
        own = self.own_tokens_for(params)
        return self._turn(own, lambda y: (np.full_like(y, x), y), rising=False)

    def params_for_tokens(self, tokens: float) -> float:
        """Params for which ``tokens`` are the point forecast's optimum; NaN: there are none."""
        y = math.log(tokens)
        own = self.own_params_for(tokens)
        return self._turn(own, lambda x: (x, np.full_like(x, y)), rising=True)

    def exponent(self, flops: float) -> float:
        """a in params ~ flops^a of the point forecast's splits near ``flops``."""
        near = [self.params(flops * math.exp(side * _STEP)) for side in (-1, 1)]
        return math.log(near[1] / near[0]) / (2 * _STEP)

    def tangent(self, tokens: float) -> Split | None:
        """The power law in compute that the point forecast's splits follow near ``tokens``."""
        params = self.params_for_tokens(tokens)
        if not math.isfinite(params):
            return None
        exponent = self.exponent(6 * params * tokens)
        return Split(exponent, math.log(params) - exponent * math.log(params * tokens))

    def own_params(self, flops: float | Floats) -> Floats:
        """log params [W] by which each world spends ``flops`` (6 N D), or its own [W], best.

        Between the edges of the data the exponents are constant, and the minimum has a closed form
        (Hoffmann 2022, arXiv 2203.15556, equation 4).
        """
        budget = np.log(np.atleast_1d(flops) / 6)[:, None]
        return np.asarray(self._own_split(budget)[0][:, 0])

    def own_answers(self, flops: float | None, loss: float | None) -> tuple[Floats, Floats]:
        """(log params, log tokens) [W] by which each world spends FLOPs best, or reaches a loss.

        NaN where a world never reaches it.
        """
        budget = (
            np.full(len(self.worlds), math.log(flops)) if flops else self.own_cheapest(loss or 0.0)
        )
        budget = np.where(np.isfinite(budget), budget, math.nan)
        params = self.own_params(np.exp(budget))
        return params, budget - math.log(6) - params

    @property
    def exist(self) -> bool:
        """Whether some world has a compute-optimal split."""
        edges = math.exp(self.worlds.size_edge) * math.exp(self.worlds.data_edge)
        return bool((np.abs(self.own_params(6 * edges)) < _FAR).any())

    def own_params_for(self, tokens: float) -> Floats:
        """log params [W] for which each world finds ``tokens`` compute-optimal."""
        return BestSplits(self.worlds.mirrored()).own_tokens_for(tokens)

    def own_tokens_for(self, params: float) -> Floats:
        """log tokens [W] for which each world finds ``params`` compute-optimal."""
        size = self.worlds.side("size", np.full((1, 1), math.log(params)))
        with np.errstate(all="ignore"):
            pull = (size.log + np.log(size.slope))[:, 0]
            near, far = (
                ((log + np.log(slope))[:, 0] - pull) / slope[:, 0]
                for log, slope in (self._piece("data", False), self._piece("data", True))
            )
        tokens = np.where(
            near <= self.worlds.data_edge, near, np.maximum(far, self.worlds.data_edge)
        )
        return np.asarray(np.clip(tokens, -_FAR, _FAR))

    def own_exponent(self, flops: float) -> Floats:
        """a [W] of each world's own splits near ``flops``."""
        near = [self.own_params(flops * math.exp(side * _STEP)) for side in (-1, 1)]
        return np.asarray((near[1] - near[0]) / (2 * _STEP))

    def own_cheapest(self, loss: float) -> Floats:
        """log FLOPs [W] by which each world reaches a loss most cheaply; inf: it never does."""
        with np.errstate(all="ignore"):
            goal = np.log(loss * np.exp(-self.worlds.shift) - self.worlds.floor) / self.worlds.power
        low, high = np.zeros(len(self.worlds)), np.full(len(self.worlds), _MOST_LOG_BUDGET)
        reached = self._own_split(high[:, None])[1][:, 0] <= goal
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            above = self._own_split(middle[:, None])[1][:, 0] > goal
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.asarray(np.where(reached, high + math.log(6), np.inf))

    def _lean(self, x: Floats, y: Floats) -> Floats:
        """[n]: how the point forecast's log loss changes with log params at equal compute."""
        terms = self.worlds.terms(x, y)
        with np.errstate(over="ignore", invalid="ignore"):
            data = 1 / (1 + np.exp(terms.size.log - terms.data.log))
            share = 1 / (1 + np.exp(self.worlds.floor_log - terms.above))
        lean = share * (terms.data.slope * data - terms.size.slope * (1 - data))
        # a world without either term leans nowhere
        return np.asarray((self.worlds.weight * self.worlds.power) @ np.nan_to_num(lean))

    def _own_split(self, budget: Floats) -> tuple[Floats, Floats]:
        """Each world's best log params for log(flops / 6) ``budget`` [1, n] or [W, n].

        With them, the logarithm of the sum of its terms there.
        """
        edges = np.broadcast_arrays(self.worlds.size_edge, budget - self.worlds.data_edge)
        first, last = np.minimum(*edges), np.maximum(*edges)
        beyond = edges[0] < edges[1]  # between the edges: both beyond the data, or both within
        pieces = (
            (-_FAR, first, False, True),
            (first, last, beyond, beyond),
            (last, _FAR, True, False),
        )
        best, least = np.array(math.nan), np.array(math.inf)
        with np.errstate(all="ignore"):
            for low, high, size_beyond, data_beyond in pieces:
                a, alpha = self._piece("size", size_beyond)
                b, beta = self._piece("data", data_beyond)
                turn = a + np.log(alpha) - b - np.log(beta) + beta * budget
                x = np.clip(turn / (alpha + beta), low, high)
                terms = np.logaddexp(a - alpha * x, b - beta * (budget - x))
                better = terms < least
                best, least = np.where(better, x, best), np.where(better, terms, least)
        return best, least

    def _piece(self, side: str, beyond: Any) -> tuple[Floats, Floats]:
        """log coefficient and exponent of a term within the data, or where ``beyond`` them."""
        log, exponent, bend = (
            getattr(self.worlds, f"{side}_{name}")[:, None] for name in ("log", "exponent", "bend")
        )
        edge = getattr(self.worlds, f"{side}_edge")
        bent = np.where(beyond, bend, 1.0)
        return log - exponent * edge * (1 - bent), exponent * bent

    def _turn(
        self, own: Floats, at: Callable[[Floats], tuple[Floats, Floats]], *, rising: bool
    ) -> float:
        """exp of the place where the point forecast is as good for size as for tokens.

        ``own`` are the worlds' own such places: below the least of them and above the largest all
        worlds agree on what to grow, so that their mean turns in between. ``at`` gives (log params,
        log tokens) of places; ``rising``: at larger places tokens are what is lacking.
        """
        known = own[(np.abs(own) < _FAR) & (self.worlds.weight > 0)]
        if not len(known):
            return math.nan
        low, high = float(known.min()), float(known.max())
        if high > low:
            sign = 1.0 if rising else -1.0
            places = np.linspace(low, high, _GRID)
            turned = sign * self._lean(*at(places)) >= 0
            first = int(np.argmax(turned)) if turned.any() else 0
            if first == 0:  # all worlds agree, but for rounding
                return math.exp(low if turned.any() else high)
            low = root(
                lambda place: float(self._lean(*at(np.array([place])))[0]),
                float(places[first - 1]),
                float(places[first]),
            )
        return math.exp(low)
