"""Which runs to buy: greedy forward selection per unit of cost, then exchange; deterministic.

The exchange is Fedorov's (1972, "Theory of optimal experiments") with trunks and branches as
what is dropped; what the budget then allows is bought again greedily.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scaling_law.design.variance import Beliefs, Told, Trunk, stacked
from scaling_law.errors import FitError
from scaling_law.fit.laws.law import Floats

Trunks = tuple[Trunk, ...]
# A trunk is offered with these of its shorter horizons, counted down from its longest.
_LADDERS = ((), (1,), (2,), (1, 2), (1, 2, 3), (2, 4))
# A design is begun with the best single trunk of at most so much of the budget, or with none.
_BEGINNINGS = (0.0, 0.2, 0.4, 0.6)
# Or with a trunk of each size along a ratio of tokens to params, for at most so much.
_DIAGONALS = (0.5, 0.9)
_PASSES = 2
_LEAST_GAIN = 4e-3
_WORTH_KEEPING = 1e-3
_SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of each candidate run [n], in the budget's unit.

    ``single`` trained alone; else its trunk to the branch point (``trunk``) and its own cooldown
    (``branch``).
    """

    single: Floats
    trunk: Floats
    branch: Floats

    def of(self, trunk: Sequence[int]) -> float:
        """What one trunk with these runs costs; its longest pays for the way there."""
        if len(trunk) == 1:
            return float(self.single[trunk[0]])
        rows = list(trunk)
        return float(self.trunk[rows].max() + self.branch[rows].sum())


@dataclass(frozen=True, kw_only=True)
class Guards:
    """What any design must have: no linearisation shows what too few runs hide.

    ``trunks`` for intervals over trunks, ``sizes`` and ``horizons`` to see the law fail,
    ``repeats`` sizes with a second seed to measure the noise.
    """

    trunks: int = 6
    sizes: int = 3
    horizons: int = 3
    repeats: int = 1


@dataclass(frozen=True)
class Choices:
    """Candidate runs by size, shortest first; each run's horizon; trunks that are there already.

    ``seeds``: the most trunks of one size, those there included.
    """

    of_size: tuple[tuple[int, ...], ...]
    horizon: tuple[int, ...]
    there: Mapping[int, Trunks] = field(default_factory=dict)
    seeds: int = 3


@dataclass
class State:
    """Chosen trunks by size, with what they cost and tell."""

    chosen: dict[int, Trunks]
    cost: float
    told: Told
    score: float

    @property
    def trunks(self) -> list[tuple[int, tuple[int, ...]]]:
        """(size, runs) of each chosen trunk, smallest size first."""
        return [(size, trunk) for size in sorted(self.chosen) for trunk in self.chosen[size]]


@dataclass(frozen=True)
class Move:
    """A trunk in place of another of its size, or beside those there are (``before`` None)."""

    size: int
    before: Trunk | None
    after: Trunk
    cost: float


class Search:
    """Finds the runs within a budget that make the beliefs' score small."""

    def __init__(
        self, beliefs: Beliefs, costs: Costs, choices: Choices, guards: Guards | None = None
    ) -> None:
        self.beliefs, self.costs, self.choices = beliefs, costs, choices
        self.guards = guards or Guards()
        self._priced: dict[tuple[int, ...], float] = {}
        self._offers = list(self._every_trunk())
        self._offered = stacked([beliefs.told(move.after) for move in self._offers])
        self._offer_size = np.array([move.size for move in self._offers])
        self._offer_cost = np.array([move.cost for move in self._offers])

    def run(self, budget: float) -> State:
        """The best design found. Raises ``FitError`` when the budget buys none that is whole."""
        skeleton = self._skeleton(budget)
        found: State | None = None
        left = budget - skeleton.cost
        begun = [self._begun(skeleton, min(share * budget, left)) for share in _BEGINNINGS]
        begun += [self._diagonal(skeleton, share, budget) for share in _DIAGONALS]
        for start in begun:
            state = self._greedy(start, budget)
            if found is None or state.score < found.score:
                found = state
        assert found is not None
        return self._pruned(self._exchanged(found, budget))

    def state(self, chosen: Mapping[int, Trunks]) -> State:
        """What these trunks, with those there, cost and tell."""
        kept = {size: trunks for size, trunks in chosen.items() if trunks}
        mine = [trunk for trunks in kept.values() for trunk in trunks]
        there = [trunk for trunks in self.choices.there.values() for trunk in trunks]
        whole = self.beliefs.whole([*there, *mine])
        score = float(self.beliefs.score(self.beliefs.variance(whole)))
        return State(kept, sum(map(self._price, mine)), whole, score)

    def whole(self, chosen: Mapping[int, Trunks]) -> bool:
        """Whether the trunks, with those there, are enough of a design."""
        every = [
            (size, trunk)
            for source in (chosen, self.choices.there)
            for size, trunks in source.items()
            for trunk in trunks
        ]
        sizes = [size for size, _ in every]
        horizons = {self.choices.horizon[run] for _, trunk in every for run in trunk}
        guards = self.guards
        return (
            len(every) >= guards.trunks
            and len(set(sizes)) >= guards.sizes
            and len(horizons) >= guards.horizons
            and sum(sizes.count(size) > 1 for size in set(sizes)) >= guards.repeats
        )

    def _price(self, trunk: tuple[int, ...]) -> float:
        found = self._priced.get(trunk)
        if found is None:
            found = self._priced[trunk] = self.costs.of(trunk)
        return found

    def _skeleton(self, budget: float) -> State:
        """The cheapest trunks that make a design whole, from the smallest sizes up."""
        chosen: dict[int, Trunks] = {}
        offers = sorted(
            (self._price(cells[: self.guards.horizons]), size, cells[: self.guards.horizons])
            for size, cells in enumerate(self.choices.of_size)
            if len(cells) >= self.guards.horizons
        )
        for seed in range(self.choices.seeds):
            for _, size, cells in offers[: self.guards.sizes] if seed else offers:
                if self.whole(chosen):
                    break
                enough = len({*chosen, *self.choices.there}) >= self.guards.sizes
                if (seed or not enough) and self._room(size, chosen):
                    chosen[size] = (*chosen.get(size, ()), cells)
        state = self.state(chosen)
        if not self.whole(chosen) or state.cost > budget * (1 + _SLACK):
            raise FitError(
                f"the budget does not pay for {self.guards.trunks} trunks of"
                f" {self.guards.sizes} sizes at {self.guards.horizons} horizons, the least that"
                f" shows noise and misfit: they take {state.cost / budget:.2g} times as much;"
                " raise the budget"
            )
        return state

    def _room(self, size: int, chosen: Mapping[int, Trunks]) -> bool:
        taken = len(chosen.get(size, ())) + len(self.choices.there.get(size, ()))
        return taken < self.choices.seeds

    def _begun(self, state: State, most: float) -> State:
        """The state with the trunk of at most ``most`` that helps most, whatever it costs."""
        rows = self._affordable(state, most)
        if not len(rows):
            return state
        scores = self._scores(state, self._offered.only(rows))
        return self._moved(state, self._offers[int(rows[scores.argmin()])])

    def _diagonal(self, skeleton: State, share: float, budget: float) -> State:
        """The skeleton and a trunk a size along one ratio of horizons to sizes, from the
        smallest up, as far as ``share`` of the budget goes."""
        state, spent = skeleton, 0.0
        for size, cells in enumerate(self.choices.of_size):
            top = len(cells) // 2
            trunk = tuple(cells[max(0, top - 2) : top + 1])
            if not trunk or not self._room(size, state.chosen):
                continue
            price = self._price(trunk)
            if spent + price > share * budget or state.cost + price > budget:
                break
            spent += price
            state = self._moved(state, Move(size, None, trunk, price))
        return state

    def _greedy(self, state: State, budget: float) -> State:
        """Buys what gains most for its cost, until nothing that gains is affordable."""
        while True:
            left = (budget - state.cost) * (1 + _SLACK)
            rows = self._affordable(state, left)
            moves = [self._offers[row] for row in rows.tolist()]
            scores = self._scores(state, self._offered.only(rows)) if len(rows) else np.empty(0)
            longer = [move for move in self._longer(state) if move.cost <= left]
            if longer:
                told = stacked([self._added(move) for move in longer])
                scores = np.concatenate([scores, self._scores(state, told)])
                moves += longer
            if not moves:
                return state
            gains = (state.score - scores) / np.array([max(move.cost, 1e-300) for move in moves])
            gains[state.score - scores < _LEAST_GAIN] = -math.inf
            best = int(gains.argmax())
            if gains[best] == -math.inf:
                return state
            state = self._moved(state, moves[best])

    def _added(self, move: Move) -> Told:
        after = self.beliefs.told(move.after)
        return after - self.beliefs.told(move.before) if move.before else after

    def _affordable(self, state: State, left: float) -> NDArray[np.int64]:
        """Which of the offered trunks the money and the seeds allow."""
        room = np.array(
            [self._room(size, state.chosen) for size in range(len(self.choices.of_size))]
        )
        return np.flatnonzero((self._offer_cost <= left) & room[self._offer_size])

    def _longer(self, state: State) -> Iterable[Move]:
        for size, trunks in state.chosen.items():
            for trunk in dict.fromkeys(trunks):
                for run in self.choices.of_size[size]:
                    if run not in trunk:
                        longer = tuple(sorted((*trunk, run)))
                        more = self._price(longer) - self._price(trunk)
                        yield Move(size, trunk, longer, more)

    def _every_trunk(self) -> Iterable[Move]:
        for size, cells in enumerate(self.choices.of_size):
            for top in range(len(cells)):
                for ladder in _LADDERS:
                    if not ladder or ladder[-1] <= top:
                        trunk = tuple(sorted(cells[top - down] for down in (0, *ladder)))
                        yield Move(size, None, trunk, self._price(trunk))

    def _scores(self, state: State, added: Told) -> Floats:
        """The score after each of a stack of additions."""
        return self.beliefs.score(self.beliefs.variance(added + state.told))

    def _moved(self, state: State, move: Move) -> State:
        now = state.chosen.get(move.size, ())
        rest = _without(now, move.before) if move.before else now
        return self.state({**state.chosen, move.size: _ordered((*rest, move.after))})

    def _exchanged(self, state: State, budget: float) -> State:
        """Drops each trunk and branch in turn and buys anew, as long as that gains."""
        for _ in range(_PASSES):
            before = state.score
            for fewer in list(self._fewer(state)):
                if not self._within(fewer, state.chosen) or not self.whole(fewer):
                    continue
                less = self.state(fewer)
                for start in (less, self._begun(less, budget - less.cost)):
                    again = self._greedy(start, budget)
                    if again.score < state.score - _LEAST_GAIN:
                        state = again
                        break
            if before - state.score < _LEAST_GAIN:
                break
        return state

    def _pruned(self, state: State) -> State:
        """Without the runs that tell next to nothing: each is a row to read and a file to keep."""
        while True:
            kept = [fewer for fewer in self._fewer(state) if self.whole(fewer)]
            less = min(map(self.state, kept), key=lambda each: each.score, default=state)
            if less is state or less.score >= state.score + _WORTH_KEEPING:
                return state
            state = less

    def _within(self, fewer: Mapping[int, Trunks], chosen: Mapping[int, Trunks]) -> bool:
        """Whether ``fewer`` is still the state but for one trunk or branch."""
        gone = 0
        for size in {*fewer, *chosen}:
            gone += sum(map(len, chosen.get(size, ()))) - sum(map(len, fewer.get(size, ())))
        same = sum(fewer.get(size, ()) == trunks for size, trunks in chosen.items())
        return gone > 0 and same >= len(chosen) - 1

    def _fewer(self, state: State) -> Iterable[dict[int, Trunks]]:
        """The state without each trunk, dearest first, then without each branch."""
        dear = sorted(state.trunks, key=lambda each: -self._price(each[1]))
        for size, trunk in dear:
            yield {**state.chosen, size: _without(state.chosen[size], trunk)}
        for size, trunk in dear:
            for run in trunk if len(trunk) > 1 else ():
                shorter = tuple(r for r in trunk if r != run)
                rest = _without(state.chosen[size], trunk)
                yield {**state.chosen, size: _ordered((*rest, shorter))}

    def contributions(self, state: State) -> dict[tuple[Trunk, int], float]:
        """(trunk, run) -> how much larger the forecast's variance is without that run.

        A share: the geometric mean over the truths of variance without over variance with, less 1.
        """
        beliefs = self.beliefs
        with_all = np.log(beliefs.variance(state.told))
        found = {}
        for _, trunk in state.trunks:
            for run in trunk:
                less = state.told - beliefs.told(trunk)
                if rest := tuple(r for r in trunk if r != run):
                    less = less + beliefs.told(rest)
                change = float((np.log(beliefs.variance(less)) - with_all).mean())
                found[trunk, run] = math.expm1(change)
        return found


def _ordered(trunks: Trunks) -> Trunks:
    """One order for one set of trunks, so that what is known of it is found again."""
    return tuple(sorted(trunks, key=lambda trunk: (-trunk[-1], trunk)))


def _without(trunks: Trunks, trunk: tuple[int, ...]) -> Trunks:
    place = trunks.index(trunk)
    return trunks[:place] + trunks[place + 1 :]
