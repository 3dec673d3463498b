"""Chooses the runs to buy: greedy forward selection per unit of cost, then exchange.

The exchange is Fedorov's (1972, "Theory of optimal experiments"): it drops a trunk or a branch
and buys greedily what the budget then allows. The search is deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scaling_law.design.variance import Information, Posterior, Trunk, stacked
from scaling_law.errors import FitError
from scaling_law.fit.laws.law import Floats

Trunks = tuple[Trunk, ...]
# The shorter horizons that a trunk is offered with, counted down from its longest.
_LADDERS = ((), (1,), (2,), (1, 2), (1, 2, 3), (2, 4))
# The search starts from the best single trunk that costs at most this share of the budget; 0: from
# none.
_BEGINNINGS = (0.0, 0.2, 0.4, 0.6)
# It also starts from a trunk of each size along one ratio of tokens to params, for at most this
# share of the budget.
_DIAGONALS = (0.5, 0.9)
_PASSES = 2
# A purchase or an exchange must lower the score by this much; a run whose loss raises it by less is
# dropped in the end.
_LEAST_GAIN = 4e-3
_LEAST_LOSS = 1e-3
_SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What each of n candidate runs costs, in the budget's unit.

    ``single``: the run trained alone [n].
    ``trunk``: its trunk up to the branch point [n].
    ``branch``: its own cooldown from there [n].
    """

    single: Floats
    trunk: Floats
    branch: Floats

    def of(self, trunk: Sequence[int]) -> float:
        """What one trunk with these runs costs; its longest run pays for the shared steps."""
        if len(trunk) == 1:
            return float(self.single[trunk[0]])
        rows = list(trunk)
        return float(self.trunk[rows].max() + self.branch[rows].sum())


@dataclass(frozen=True, kw_only=True)
class Minimums:
    """What any design must have, because no linearisation shows what too few runs hide.

    ``trunks``: independent trunks, for intervals over trunks.
    ``sizes``: different sizes, to see the law fail.
    ``horizons``: different horizons, for the same reason.
    ``repeats``: sizes with a second seed, to measure the noise.
    """

    trunks: int = 6
    sizes: int = 3
    horizons: int = 3
    repeats: int = 1


@dataclass(frozen=True)
class SearchSpace:
    """What the search chooses from, by the numbers of the candidate runs.

    ``of_size``: the runs of each size, shortest first.
    ``horizon``: each run's horizon, as a number on the common ladder.
    ``there``: the trunks that are trained already, by size.
    ``seeds``: the most trunks of one size, the trained ones included.
    """

    of_size: tuple[tuple[int, ...], ...]
    horizon: tuple[int, ...]
    there: Mapping[int, Trunks] = field(default_factory=dict)
    seeds: int = 3


@dataclass
class Design:
    """A set of chosen trunks.

    ``chosen``: the trunks by size.
    ``cost``: what they cost, in the budget's unit.
    ``information``: theirs, with the prior's and that of the trunks that are already trained.
    ``score``: the posterior's score of it; lower is better.
    """

    chosen: dict[int, Trunks]
    cost: float
    information: Information
    score: float

    @property
    def trunks(self) -> list[tuple[int, tuple[int, ...]]]:
        """(size, runs) of each chosen trunk, smallest size first."""
        return [(size, trunk) for size in sorted(self.chosen) for trunk in self.chosen[size]]


@dataclass(frozen=True)
class Move:
    """A trunk to add to a design.

    ``size``: its size's number.
    ``before``: the trunk of that size that it replaces; None: none.
    ``after``: the trunk.
    ``cost``: what it adds to the design's cost, in the budget's unit.
    """

    size: int
    before: Trunk | None
    after: Trunk
    cost: float


class Search:
    """Finds the runs within a budget that make the posterior's score small."""

    def __init__(
        self,
        posterior: Posterior,
        costs: Costs,
        space: SearchSpace,
        minimums: Minimums | None = None,
    ) -> None:
        self.posterior, self.costs, self.space = posterior, costs, space
        self.minimums = minimums or Minimums()
        self._priced: dict[tuple[int, ...], float] = {}
        self._offers = list(self._every_trunk())
        self._offered = stacked([posterior.information(move.after) for move in self._offers])
        self._offer_size = np.array([move.size for move in self._offers])
        self._offer_cost = np.array([move.cost for move in self._offers])

    def run(self, budget: float) -> Design:
        """The best design of all starts.

        Raises ``FitError`` when the budget does not buy the least that a design must have.
        """
        skeleton = self._skeleton(budget)
        left = budget - skeleton.cost
        starts = [self._with_best_trunk(skeleton, min(s * budget, left)) for s in _BEGINNINGS]
        starts += [self._diagonal(skeleton, share, budget) for share in _DIAGONALS]
        grown = [self._greedy(start, budget) for start in starts]
        best = min(grown, key=lambda design: design.score)
        return self._pruned(self._exchanged(best, budget))

    def design(self, chosen: Mapping[int, Trunks]) -> Design:
        """The design of these trunks, beside those that are trained already."""
        chosen = {size: trunks for size, trunks in chosen.items() if trunks}
        mine = [trunk for trunks in chosen.values() for trunk in trunks]
        there = [trunk for trunks in self.space.there.values() for trunk in trunks]
        whole = self.posterior.whole([*there, *mine])
        score = float(self.posterior.score(self.posterior.variance(whole)))
        return Design(chosen, sum(map(self._price, mine)), whole, score)

    def whole(self, chosen: Mapping[int, Trunks]) -> bool:
        """Whether the trunks, with those trained already, have what any design must have."""
        every = [
            (size, trunk)
            for source in (chosen, self.space.there)
            for size, trunks in source.items()
            for trunk in trunks
        ]
        sizes = [size for size, _ in every]
        horizons = {self.space.horizon[run] for _, trunk in every for run in trunk}
        minimums = self.minimums
        return (
            len(every) >= minimums.trunks
            and len(set(sizes)) >= minimums.sizes
            and len(horizons) >= minimums.horizons
            and sum(sizes.count(size) > 1 for size in set(sizes)) >= minimums.repeats
        )

    def _price(self, trunk: tuple[int, ...]) -> float:
        if trunk not in self._priced:
            self._priced[trunk] = self.costs.of(trunk)
        return self._priced[trunk]

    def _skeleton(self, budget: float) -> Design:
        """The cheapest trunks with all that a design must have, from the smallest sizes up."""
        chosen: dict[int, Trunks] = {}
        offers = sorted(
            (self._price(cells[: self.minimums.horizons]), size, cells[: self.minimums.horizons])
            for size, cells in enumerate(self.space.of_size)
            if len(cells) >= self.minimums.horizons
        )
        for seed in range(self.space.seeds):
            for _, size, cells in offers[: self.minimums.sizes] if seed else offers:
                if self.whole(chosen):
                    break
                enough = len({*chosen, *self.space.there}) >= self.minimums.sizes
                if (seed or not enough) and self._room(size, chosen):
                    chosen[size] = (*chosen.get(size, ()), cells)
        design = self.design(chosen)
        if not self.whole(chosen) or design.cost > budget * (1 + _SLACK):
            raise FitError(
                f"the budget does not pay for {self.minimums.trunks} trunks of"
                f" {self.minimums.sizes} sizes at {self.minimums.horizons} horizons, the least that"
                f" shows noise and misfit: they take {design.cost / budget:.2g} times as much;"
                " raise the budget"
            )
        return design

    def _room(self, size: int, chosen: Mapping[int, Trunks]) -> bool:
        taken = len(chosen.get(size, ())) + len(self.space.there.get(size, ()))
        return taken < self.space.seeds

    def _with_best_trunk(self, design: Design, most: float) -> Design:
        """The design with the trunk that lowers the score most, of those of at most ``most``."""
        rows = self._affordable(design, most)
        if not len(rows):
            return design
        scores = self._scores(design, self._offered.only(rows))
        return self._moved(design, self._offers[int(rows[scores.argmin()])])

    def _diagonal(self, skeleton: Design, share: float, budget: float) -> Design:
        """The skeleton with one trunk a size along one ratio of horizons to sizes.

        It goes from the smallest size up, as far as ``share`` of the budget lasts.
        """
        design, spent = skeleton, 0.0
        for size, cells in enumerate(self.space.of_size):
            middle = len(cells) // 2
            trunk = tuple(cells[max(0, middle - 2) : middle + 1])
            if not trunk or not self._room(size, design.chosen):
                continue
            price = self._price(trunk)
            if spent + price > share * budget or design.cost + price > budget:
                break
            spent += price
            design = self._moved(design, Move(size, None, trunk, price))
        return design

    def _greedy(self, design: Design, budget: float) -> Design:
        """Buys what gains most for its cost until nothing affordable gains."""
        while True:
            left = (budget - design.cost) * (1 + _SLACK)
            rows = self._affordable(design, left)
            moves = [self._offers[row] for row in rows.tolist()]
            scores = self._scores(design, self._offered.only(rows)) if len(rows) else np.empty(0)
            longer = [move for move in self._longer(design) if move.cost <= left]
            if longer:
                information = stacked([self._added(move) for move in longer])
                scores = np.concatenate([scores, self._scores(design, information)])
                moves += longer
            if not moves:
                return design
            gains = (design.score - scores) / np.array([max(move.cost, 1e-300) for move in moves])
            gains[design.score - scores < _LEAST_GAIN] = -math.inf
            best = int(gains.argmax())
            if gains[best] == -math.inf:
                return design
            design = self._moved(design, moves[best])

    def _added(self, move: Move) -> Information:
        after = self.posterior.information(move.after)
        return after - self.posterior.information(move.before) if move.before else after

    def _affordable(self, design: Design, left: float) -> NDArray[np.int64]:
        """The offered trunks, by number, that the budget and the seeds allow."""
        room = np.array(
            [self._room(size, design.chosen) for size in range(len(self.space.of_size))]
        )
        return np.flatnonzero((self._offer_cost <= left) & room[self._offer_size])

    def _longer(self, design: Design) -> Iterable[Move]:
        for size, trunks in design.chosen.items():
            for trunk in dict.fromkeys(trunks):
                for run in self.space.of_size[size]:
                    if run not in trunk:
                        longer = tuple(sorted((*trunk, run)))
                        more = self._price(longer) - self._price(trunk)
                        yield Move(size, trunk, longer, more)

    def _every_trunk(self) -> Iterable[Move]:
        for size, cells in enumerate(self.space.of_size):
            for top in range(len(cells)):
                for ladder in _LADDERS:
                    if not ladder or ladder[-1] <= top:
                        trunk = tuple(sorted(cells[top - down] for down in (0, *ladder)))
                        yield Move(size, None, trunk, self._price(trunk))

    def _scores(self, design: Design, added: Information) -> Floats:
        """The score after each of a stack of additions."""
        return self.posterior.score(self.posterior.variance(added + design.information))

    def _moved(self, design: Design, move: Move) -> Design:
        now = design.chosen.get(move.size, ())
        rest = _without(now, move.before) if move.before else now
        return self.design({**design.chosen, move.size: _ordered((*rest, move.after))})

    def _exchanged(self, design: Design, budget: float) -> Design:
        """Drops each trunk and branch in turn and buys again, as long as that gains."""
        for _ in range(_PASSES):
            before = design.score
            for fewer in list(self._fewer(design)):
                if not self._within(fewer, design.chosen) or not self.whole(fewer):
                    continue
                less = self.design(fewer)
                for start in (less, self._with_best_trunk(less, budget - less.cost)):
                    again = self._greedy(start, budget)
                    if again.score < design.score - _LEAST_GAIN:
                        design = again
                        break
            if before - design.score < _LEAST_GAIN:
                break
        return design

    def _pruned(self, design: Design) -> Design:
        """Drops the runs that add next to nothing: each is a row to read and a file to store."""
        while True:
            allowed = [fewer for fewer in self._fewer(design) if self.whole(fewer)]
            less = min(map(self.design, allowed), key=lambda each: each.score, default=design)
            if less is design or less.score >= design.score + _LEAST_LOSS:
                return design
            design = less

    def _within(self, fewer: Mapping[int, Trunks], chosen: Mapping[int, Trunks]) -> bool:
        """Whether ``fewer`` is ``chosen`` without one trunk or branch."""
        gone = 0
        for size in {*fewer, *chosen}:
            gone += sum(map(len, chosen.get(size, ()))) - sum(map(len, fewer.get(size, ())))
        same = sum(fewer.get(size, ()) == trunks for size, trunks in chosen.items())
        return gone > 0 and same >= len(chosen) - 1

    def _fewer(self, design: Design) -> Iterable[dict[int, Trunks]]:
        """The design without each trunk, most expensive first, then without each branch."""
        by_price = sorted(design.trunks, key=lambda each: -self._price(each[1]))
        for size, trunk in by_price:
            yield {**design.chosen, size: _without(design.chosen[size], trunk)}
        for size, trunk in by_price:
            for run in trunk if len(trunk) > 1 else ():
                shorter = tuple(r for r in trunk if r != run)
                rest = _without(design.chosen[size], trunk)
                yield {**design.chosen, size: _ordered((*rest, shorter))}

    def contributions(self, design: Design) -> dict[tuple[Trunk, int], float]:
        """(trunk, run) -> how much larger the forecast's variance is without that run.

        As a share: the geometric mean over the planted laws of the variance without it over the
        variance with it, less 1.
        """
        posterior = self.posterior
        with_all = np.log(posterior.variance(design.information))
        gains = {}
        for _, trunk in design.trunks:
            for run in trunk:
                less = design.information - posterior.information(trunk)
                if rest := tuple(r for r in trunk if r != run):
                    less = less + posterior.information(rest)
                change = float((np.log(posterior.variance(less)) - with_all).mean())
                gains[trunk, run] = math.expm1(change)
        return gains


def _ordered(trunks: Trunks) -> Trunks:
    """The trunks in an order of their own, so that a set of them is looked up by one key."""
    return tuple(sorted(trunks, key=lambda trunk: (-trunk[-1], trunk)))


def _without(trunks: Trunks, trunk: tuple[int, ...]) -> Trunks:
    place = trunks.index(trunk)
    return trunks[:place] + trunks[place + 1 :]
