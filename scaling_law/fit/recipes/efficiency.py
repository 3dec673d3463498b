"""The compute multiplier of two recipes from their matched runs, with intervals and a test.

``multiplier`` has the algebra. Only matched runs are fitted, so that where a law misses the
surface it misses both recipes alike. The bootstrap resamples pairs of trunks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.errors import FitError
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints, points_from_arrays
from scaling_law.fit.recipes.multiplier import (
    SHARED,
    frontier_losses,
    log_multiplier,
    recipe_variables,
    shared_log_multiplier,
    surfaces,
    widened,
)
from scaling_law.fit.solver.bootstrap import LEAST_CLUSTERS, bootstrap, interval
from scaling_law.fit.solver.solve import Objective, Problem

_LEAST_RUNS, _LEAST_SPAN = 9, 1.02
_FRONTIER_STEPS = 40


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A run of A and the run of B of the same size, tokens and seed.

    ``size``: name of the size.
    ``seed``: the seed.
    ``cluster``: the pair of trunks.
    ``tokens``: training tokens.
    ``params``: parameters of A's run and of B's.
    ``run_ids``: their run ids.
    ``losses``: their losses, in the comparison's unit.
    ``log_ratio``: log(loss of B / loss of A), negative where B is better.
    """

    size: str
    seed: int
    cluster: str
    tokens: float
    params: tuple[float, float]
    run_ids: tuple[str, str]
    losses: tuple[float, float]
    log_ratio: float


@dataclass(frozen=True, kw_only=True)
class AtLoss:
    """A's least compute over B's at one loss, by laws with slopes of their own.

    ``loss``: the loss, in the comparison's unit.
    ``value``: the ratio.
    ``low``: lower end of its interval.
    ``high``: upper end.
    """

    loss: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Multiplier:
    """The compute (6 params tokens) that A needs for B's loss, over B's; see ``multiplier``.

    ``law``: name of the law, of one shape for both, that is fitted to the matched runs.
    ``value``: the multiplier.
    ``low``: lower end of its interval, by resampling pairs of trunks; None for fewer than 3.
    ``high``: upper end; None likewise.
    ``method``: how the interval was made, in words.
    ``loss_range``: (low, high) losses where both recipes have runs; the multiplier holds there.
    ``gains``: u and v, what a parameter and a token are worth under B.
    ``rms_log_residual``: root mean square residual of log loss.
    ``others``: law -> the multiplier by it.
    ``ends``: the multiplier at both ends of the range, when each recipe has its own slopes.
    ``trend``: interval of the value at the lowest loss / the value at the highest; None where the
        runs do not determine it.
    ``changes``: whether the two differ beyond that interval; None likewise.
    ``frontier_flops``: budgets in FLOPs.
    ``frontier_losses``: the least losses of A and of B at these budgets, by the shared law, or
        where ``changes`` by the laws with slopes of their own.
    ``notes``: what a reader should know.
    """

    law: str
    value: float
    low: float | None
    high: float | None
    method: str
    loss_range: tuple[float, float]
    gains: tuple[float, float]
    rms_log_residual: float
    others: dict[str, float]
    ends: tuple[AtLoss, ...]
    trend: tuple[float, float] | None
    changes: bool | None
    frontier_flops: tuple[float, ...]
    frontier_losses: tuple[tuple[float, ...], tuple[float, ...]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Joint:
    """A widened law fitted to the matched runs.

    ``name``: the law's name.
    ``problem``: the problem.
    ``optimum``: its internal vector.
    ``form``: its parameters by name.
    ``rms``: root mean square residual of log loss.
    ``converged``: whether the fit may be used.
    """

    name: str
    problem: Problem
    optimum: Floats
    form: dict[str, float]
    rms: float
    converged: bool


def fit_multiplier(
    pairs: Sequence[Pair], *, level: float = 0.9, resamples: int = 1000, seed: int = 0
) -> Multiplier:
    """The compute multiplier from matched pairs.

    Raises ``FitError`` for too few pairs, or recipes that share no losses.
    """
    points, second = _joint_points(pairs)
    range_ = _loss_range(pairs)
    fits = [_joint(points, second, name) for name in SHARED]
    good = [fit for fit in fits if fit.converged]
    if not good:
        raise FitError("no law with a shape that both recipes share converges on their runs")
    best = min(good, key=lambda fit: fit.rms)  # the laws have as many parameters
    centre, notes, method = shared_log_multiplier(best.form), [], "no interval"
    low = high = None
    if resamples and points.n_clusters >= LEAST_CLUSTERS:
        drawn = bootstrap(
            best.problem, best.optimum, points, resamples=resamples, seed=seed, level=level
        )
        draws = np.array([shared_log_multiplier(best.problem.form(x)) for x in drawn.internal])
        low, high = (math.exp(x) for x in interval(draws, centre, level, drawn.widen))
        method, notes = drawn.method, list(drawn.notes)
    own = _joint(points, second, best.name, own_slopes=True)
    ends, trend = _trend(own, points, range_, (level, resamples, seed))
    changes = None if trend is None else not trend[0] <= 1 <= trend[1]
    flops, losses = _frontiers(own if changes else best, points)
    return Multiplier(
        law=best.name,
        value=math.exp(centre),
        low=low,
        high=high,
        method=method,
        loss_range=range_,
        gains=_gains(best.form),
        rms_log_residual=best.rms,
        others={f.name: math.exp(shared_log_multiplier(f.form)) for f in good if f is not best},
        ends=ends,
        trend=trend,
        changes=changes,
        frontier_flops=flops,
        frontier_losses=losses,
        notes=tuple(dict.fromkeys(notes)),
    )


def _gains(form: dict[str, float]) -> tuple[float, float]:
    return math.exp(form["gain_size"] / form["alpha"]), math.exp(form["gain_data"] / form["beta"])


def _joint_points(pairs: Sequence[Pair]) -> tuple[FitPoints, Floats]:
    """The matched runs of both recipes as points, clustered by pair of trunks; 1 for B's [n]."""
    sizes, horizons = {p.size for p in pairs}, {round(math.log(p.tokens), 2) for p in pairs}
    if len(sizes) < 3 or len(horizons) < 2 or len(pairs) < _LEAST_RUNS:
        raise FitError(
            f"{len(pairs)} matched pairs of {len(sizes)} sizes and {len(horizons)} horizons: a"
            f" compute multiplier needs {_LEAST_RUNS} pairs of 3 sizes and 2 horizons"
        )
    points = points_from_arrays(
        [p.params[i] for i in (0, 1) for p in pairs],
        [p.tokens for _ in (0, 1) for p in pairs],
        [p.losses[i] for i in (0, 1) for p in pairs],
        cluster=[p.cluster for _ in (0, 1) for p in pairs],
    )
    return points, np.repeat([0.0, 1.0], len(pairs))


def _loss_range(pairs: Sequence[Pair]) -> tuple[float, float]:
    """The losses that both recipes have runs at."""
    sides = [[p.losses[i] for p in pairs] for i in (0, 1)]
    low, high = max(map(min, sides)), min(map(max, sides))
    if high < _LEAST_SPAN * low:
        raise FitError(
            f"the recipes share no losses (A {min(sides[0]):.3g} to {max(sides[0]):.3g}, B"
            f" {min(sides[1]):.3g} to {max(sides[1]):.3g}): no compute compares at equal loss"
        )
    return low, high


def _joint(points: FitPoints, second: Floats, name: str, *, own_slopes: bool = False) -> _Joint:
    law = widened(name, own_slopes=own_slopes)
    variables = recipe_variables(points.params, points.tokens, second)
    # least squares: differences of paired runs have no outliers that need Huber's loss
    problem = Problem(law, variables, points.loss_nats, Objective(loss="mse_log"))
    solution = problem.solve(problem.starts())
    best = solution.best
    optimum = solution.internal[best]
    fitted = law.log_loss(optimum[None], problem.basis)[0][0]
    form = problem.form(optimum)
    usable = form["alpha"] > 1e-3 and form["beta"] > 1e-3 and all(map(math.isfinite, form.values()))
    return _Joint(
        name=name,
        problem=problem,
        optimum=optimum,
        form=form,
        rms=float(np.sqrt(np.mean((problem.target - fitted) ** 2))),
        converged=bool(solution.converged[best]) and usable,
    )


def _pivots(points: FitPoints) -> dict[str, float]:
    return {name: float(np.log(points.variable(name)).mean()) for name in ("params", "tokens")}


def _frontiers(
    joint: _Joint, points: FitPoints
) -> tuple[tuple[float, ...], tuple[tuple[float, ...], tuple[float, ...]]]:
    """Budgets over those of the runs, and the least loss of A and of B at each."""
    budgets = 6 * points.params * points.tokens
    flops = np.geomspace(budgets.min(), budgets.max(), _FRONTIER_STEPS)
    both = surfaces(joint.name, joint.form, _pivots(points))
    first, other = (tuple(frontier_losses(one, flops).tolist()) for one in both)
    return tuple(flops.tolist()), (first, other)


def _trend(
    joint: _Joint,
    points: FitPoints,
    loss_range: tuple[float, float],
    how: tuple[float, int, int],
) -> tuple[tuple[AtLoss, ...], tuple[float, float] | None]:
    """The multiplier at both ends of the losses, and the interval of their ratio.

    Each recipe has its own slopes. Empty and None where the runs do not determine it.
    """
    level, resamples, seed = how
    if not joint.converged or not resamples or points.n_clusters < LEAST_CLUSTERS:
        return (), None
    pivots = _pivots(points)

    def ends_of(form: dict[str, float]) -> list[float]:
        first, other = surfaces(joint.name, form, pivots)
        return [log_multiplier(first, other, loss) for loss in loss_range]

    centre = ends_of(joint.form)
    drawn = bootstrap(
        joint.problem, joint.optimum, points, resamples=resamples, seed=seed, level=level
    )
    draws = np.array([ends_of(joint.problem.form(x)) for x in drawn.internal])
    draws = draws[np.isfinite(draws).all(axis=1)]
    if len(draws) < resamples / 2 or not all(map(math.isfinite, centre)):
        return (), None
    ends = []
    for i, loss in enumerate(loss_range):
        low, high = interval(draws[:, i], centre[i], level, drawn.widen)
        ends.append(
            AtLoss(loss=loss, value=math.exp(centre[i]), low=math.exp(low), high=math.exp(high))
        )
    gap = interval(draws[:, 0] - draws[:, 1], centre[0] - centre[1], level, drawn.widen)
    return tuple(ends), (math.exp(gap[0]), math.exp(gap[1]))
