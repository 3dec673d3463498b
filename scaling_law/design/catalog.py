"""What a budget could buy and the runs that are there, numbered in one list for the search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.design.candidates import Candidate, Candidates, name_of
from scaling_law.design.search import Choices, Costs
from scaling_law.design.variance import Runs
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints
from scaling_law.spec.counts import count_params, train_flops
from scaling_law.spec.run import Model


@dataclass(frozen=True)
class Board:
    """Candidates and runs that are there as one numbered list, for the search.

    ``flops``: each one's exact FLOPs, as the fit of a sweep counts them, [n].
    """

    offers: tuple[Candidate, ...]
    runs: Runs
    flops: Floats
    costs: Costs
    choices: Choices
    seeds_taken: Mapping[str, frozenset[int]]


def board_of(
    offer: Candidates,
    convention: str,
    points: FitPoints | None = None,
    models: Mapping[str, Model] | None = None,
) -> Board:
    """All that is offered, parameters counted by ``convention``, and after it the runs there.

    Those are ``points``, with the ``models`` of their sizes by name.
    """
    runs = offer.runs
    params = [float(count_params(run.model).by(convention)) for run in runs]
    tokens = [run.tokens for run in runs]
    flops = [train_flops(run.model, run.tokens) for run in runs]
    offered = list(dict.fromkeys(run.model for run in runs))
    of_size = tuple(tuple(i for i, r in enumerate(runs) if r.model == m) for m in offered)
    horizon = [run.horizon for run in runs]
    there: dict[int, list[tuple[int, ...]]] = {}
    taken: dict[str, frozenset[int]] = {}
    if points is not None:
        known = models or {}
        place_of = {name_of(m): i for i, m in enumerate(offered)}
        groups: dict[str, list[int]] = {}
        for row, name in enumerate(points.cluster):
            groups.setdefault(name, []).append(row)
        extra: dict[str, int] = {}
        for rows in groups.values():
            size = points.size[rows[0]]
            shape = name_of(known[size]) if size in known else size
            beyond = len(offered) + extra.setdefault(shape, len(extra))
            first = len(params)
            params += [float(points.params[row]) for row in rows]
            tokens += [float(points.tokens[row]) for row in rows]
            flops += [float(points.flops[row]) for row in rows]
            horizon += [_like(points.tokens[row], runs) for row in rows]
            place = place_of.get(shape, beyond)
            there.setdefault(place, []).append(tuple(range(first, first + len(rows))))
            taken[shape] = taken.get(shape, frozenset()) | {points.seed[row] for row in rows}
    pad = np.zeros(len(params) - len(runs))
    costs = Costs(
        **{
            name: np.concatenate([[getattr(run, name) for run in runs], pad])
            for name in ("single", "trunk", "branch")
        }
    )
    choices = Choices(
        of_size, tuple(horizon), {size: tuple(trunks) for size, trunks in there.items()}
    )
    every = Runs(np.array(params), np.array(tokens))
    return Board(runs, every, np.array(flops), costs, choices, taken)


def _like(tokens: float, runs: Sequence[Candidate]) -> int:
    """The horizon of the common ladder nearest to ``tokens``."""
    return min(runs, key=lambda run: abs(math.log(run.tokens / tokens))).horizon
