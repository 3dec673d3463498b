"""Choose the mixture that a law says is best for a target, within what its text can give.

It lies between measured mixtures, in their convex hull, because a law says little beyond them; and
each share stays below what ``max_epochs`` passes over the component allow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scaling_law.errors import PlanError
from scaling_law.fit.mixtures.law import MixingLaw
from scaling_law.fit.mixtures.points import Floats, MixCell, Point
from scaling_law.fit.mixtures.target import MixTarget
from scaling_law.fit.solver.student import t_reach
from scaling_law.units import format_count

LEVEL = 0.9  # of the intervals
DIGITS = 3  # of a share that is proposed
# The search: means that are drawn, the weight of Dirichlet's distribution (few measured mixtures
# make up a mean), how many of the best it starts from, and how far a limit may be missed.
_DRAWN, _FEW, _STARTS, _SLACK = 500, 0.3, 3, 1e-6


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a law expects of a mixture.

    ``shares`` and ``losses`` are by component, in their order, in nats per token;
    ``target`` is the target's value in nats per token, ``reach`` half its interval at ``LEVEL``.
    """

    shares: Point
    losses: Point
    target: float
    reach: float

    @property
    def interval(self) -> tuple[float, float]:
        """The target's low and high end."""
        return self.target - self.reach, self.target + self.reach


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a mixture may be.

    ``tokens`` are those of the run to come; ``max_epochs`` are the passes over a component that it
    may make, None for any number;
    ``measured`` are the shares of the mixtures that it lies between, a row each;
    ``high`` are the largest shares that passes allow, 1 where they allow any;
    ``weights`` are those of measured mixtures whose mean keeps to them;
    ``repeated`` are the numbers of the components that some measured mixture gives more.
    """

    tokens: float
    max_epochs: float | None
    measured: Floats
    high: Point
    weights: Point
    repeated: tuple[int, ...]


def expected(law: MixingLaw, target: MixTarget, shares: Floats) -> Expected:
    """Return what a law expects of a mixture, with the scatter of held-out ones as its interval."""
    losses = law.at(shares)
    misses = target.of(law.held_out) - target.of(law.measured)
    free = len(misses) - 1
    return Expected(
        shares=tuple(shares.tolist()),
        losses=tuple(losses.tolist()),
        target=float(target.of(losses)),
        reach=t_reach(free, LEVEL) * math.sqrt(float((misses**2).mean())),
    )


def limits_of(cell: MixCell, tokens: float, max_epochs: float | None) -> Limits:
    """Return the limits of a run of ``tokens``.

    Raises ``PlanError`` where the components have too few tokens for any mixture.
    """
    measured = cell.shares
    high = np.ones(len(cell.components))
    for number, name in enumerate(cell.components):
        known = cell.component_tokens.get(name)
        if max_epochs is not None and known is not None:
            high[number] = min(1.0, max_epochs * known / tokens)
    weights = _feasible(measured, high)
    if weights is None:
        raise PlanError(_too_few(cell, tokens, max_epochs))
    return Limits(
        tokens=tokens,
        max_epochs=max_epochs,
        measured=measured,
        high=tuple(high.tolist()),
        weights=tuple(weights.tolist()),
        repeated=tuple(np.flatnonzero(measured.max(axis=0) > high).tolist()),
    )


def _feasible(measured: Floats, high: Floats) -> Floats | None:
    """Weights of measured mixtures whose mean has no share above its limit; None without any."""
    if (measured <= high).all():
        return np.full(len(measured), 1 / len(measured))
    from scipy.optimize import linprog  # loads slowly, and is needed only near a limit

    count = len(measured)
    # the one that stays furthest below its limits: its parts, then the distance
    solved = linprog(
        np.append(np.zeros(count), -1.0),
        A_ub=np.column_stack([measured.T, np.ones(len(high))]),
        b_ub=high,
        A_eq=[np.append(np.ones(count), 0.0)],
        b_eq=[1.0],
        bounds=[(0, None)] * (count + 1),
    )
    return np.asarray(solved.x[:count]) if solved.status == 0 else None


def _too_few(cell: MixCell, tokens: float, max_epochs: float | None) -> str:
    known = cell.component_tokens
    epochs = ", ".join(
        f"{name} {cell.shares[:, number].max() * tokens / known[name]:.3g}"
        for number, name in enumerate(cell.components)
        if name in known
    )
    return (
        f"no measured mixture can give {format_count(tokens)} tokens in at most"
        f" {max_epochs:g} passes over each component; passes at the largest measured share:"
        f" {epochs}; take fewer --tokens, more --max-epochs, or more text"
    )


def best_mixture(law: MixingLaw, target: MixTarget, limits: Limits) -> Floats:
    """Return the shares within limits for which the law's target is lowest, in few digits.

    A mixture is a mean of measured ones: its weights are searched from a row of starts by
    sequential quadratic programs. A highest loss has a kink, so that the search lowers a bound on
    all losses instead. The same law gives the same mixture.
    """
    from scipy.optimize import minimize  # loads slowly

    draw = np.random.default_rng(0)
    measured, high = limits.measured, np.array(limits.high)
    count = len(measured)
    drawn = draw.dirichlet(np.full(count, _FEW), _DRAWN)
    drawn = drawn[(drawn @ measured <= high).all(axis=1)]
    order = np.argsort(target.of(law.at(drawn @ measured)))[:_STARTS]
    bounds = [*[(0.0, 1.0)] * count, (None, None)]
    conditions = [
        {"type": "eq", "fun": lambda at: at[:-1].sum() - 1},
        {"type": "ineq", "fun": lambda at: at[-1] - target.pieces(law.at(at[:-1] @ measured))},
        {"type": "ineq", "fun": lambda at: high - at[:-1] @ measured},
    ]
    ended = []
    for weights in [np.array(limits.weights), *drawn[order]]:
        start = np.append(weights, target.of(law.at(weights @ measured)))
        solved = minimize(
            lambda at: at[-1],
            start,
            method="SLSQP",
            bounds=bounds,
            constraints=conditions,
            options={"maxiter": 200, "ftol": 1e-9},
        )
        clean = np.clip(solved.x[:-1], 0, None)
        ended += [weights, clean / clean.sum()]
    shares = np.array(ended) @ measured
    kept = (shares <= high + _SLACK).all(axis=1)
    losses = np.where(kept, target.of(law.at(shares)), np.inf)
    return rounded(shares[int(np.argmin(losses))], high)


def rounded(shares: Floats, high: Floats) -> Floats:
    """Round shares to few digits such that they sum to 1, and up only where the limit allows."""
    unit = 10**DIGITS
    parts = np.floor(shares * unit + 1e-9)
    for number in np.argsort(parts - shares * unit):
        if parts.sum() >= unit:
            break
        if (parts[number] + 1) / unit <= high[number] + 1e-9:
            parts[number] += 1
    if parts.sum() < unit:  # every share is at its limit
        parts[int(np.argmax(shares))] += unit - parts.sum()
    result: Floats = parts / unit
    return result


def epochs_of(cell: MixCell, shares: Point, tokens: float) -> Mapping[str, float]:
    """Return the passes over each component whose tokens are known."""
    return {
        name: share * tokens / cell.component_tokens[name]
        for name, share in zip(cell.components, shares, strict=True)
        if name in cell.component_tokens
    }
