"""Fits one law to points, with proof of convergence, intervals and a status."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_law.errors import FitError
from scaling_law.fit.flops_count import flops_knots
from scaling_law.fit.laws import Law, load_law
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import STATUS_REMEDY, FitResult
from scaling_law.fit.solver.bootstrap import LEAST_CLUSTERS, Bootstrap, bootstrap, interval
from scaling_law.fit.solver.bootstrap_t import bootstrap_t_interval, covariances, errors
from scaling_law.fit.solver.newton import Solution
from scaling_law.fit.solver.solve import Objective, Problem
from scaling_law.fit.split import Split
from scaling_law.fit.surface import split_of
from scaling_law.spec.enough import LEAST_VALUES
from scaling_law.units import count_of

# Starts whose objective exceeds the best by at most this share agree with it.
AGREEING = 1e-6
# Beyond this the centred normal matrix no longer separates the parameters.
MAX_CONDITION = 1e12
_LOGARITHMIC = frozenset(("E", "A", "B", "K", "N_c", "D_c", "C_c", "L_inf", "G", "d", "R_D", "R_N"))
INTERVALS = ("percentile", "studentised")  # studentised: bootstrap-t
_AXES = ("params", "tokens", "flops")
_MORE_VALUES = {"params": "add sizes", "tokens": "add horizons"}
# Budgets whose logarithms vary less than this share of those of the sizes are one budget.
_SAME_BUDGET = 0.02
# A refit takes at least so many starts beside the known optimum, and more while all starts times
# points are within a batch of this size: until then a step costs its calls, hardly its arithmetic.
_FEW_STARTS, _BATCH_CELLS = 8, 16_000
# Subsets of more points than this are fitted one by one, each with a first pass on some points.
_MOST_TOGETHER = 1000
# Over a smaller factor than this a power law looks like any other curve.
_LEAST_SPAN = 2.0


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals are made.

    ``resamples``: number of bootstrap resamples; 0: no intervals.
    ``seed``: of the resamples.
    ``level``: confidence level.
    ``intervals``: one of ``INTERVALS``.
    """

    resamples: int = 0
    seed: int = 0
    level: float = 0.9
    intervals: str = "percentile"


def fit_law(
    points: FitPoints,
    name: str,
    *,
    objective: Objective | None = None,
    level: float = 0.9,
    resamples: int = 0,
    seed: int = 0,
    intervals: str = "percentile",
) -> FitResult:
    """Fit law ``name`` to ``points``; without ``resamples`` there are no intervals.

    The result's ``status`` says whether it may be used. Raises ``FitError`` for points that no
    law can be fitted to (fewer than two, or all of one loss).
    """
    refitter = Refitter(points, load_law(name), objective)
    return refitter.with_intervals(
        Resampling(resamples=resamples, seed=seed, level=level, intervals=intervals)
    )


def problem_of(
    law: Law, points: FitPoints, scoring: Objective, centres: Mapping[str, float] | None = None
) -> Problem:
    """The least-residuals problem of ``law`` on ``points``."""
    variables = {v: points.variable(v) for v in law.variables}
    return Problem(law, variables, points.loss_nats, scoring, centres)


@dataclass(frozen=True, kw_only=True)
class _Subset:
    """Some of the points, with the problem that they pose.

    ``rows``: which of all points they are [n].
    ``points``: they.
    ``problem``: centred as that of all points is, so that internal vectors carry over.
    """

    rows: NDArray[np.bool_]
    points: FitPoints
    problem: Problem


class Refitter:
    """Fits one law to different subsets of the points, starting from the fit to all of them.

    The full fit's optimum and a few starts spread over the grid replace the whole grid where
    points are many: the optimum of a subset is near that of all points, and the other starts catch
    the exceptions (benchmarks/warm_starts.py). ``most_starts`` thins the grid for all points.
    Raises ``FitError`` for points that no law can be fitted to.
    """

    def __init__(
        self,
        points: FitPoints,
        law: Law,
        objective: Objective | None = None,
        *,
        most_starts: int | None = None,
    ) -> None:
        self.points, self.law = points, law
        self.objective = objective or Objective()
        self.optimum: Floats | None = None
        self._fits: dict[bytes, tuple[FitResult, Floats | None] | FitError] = {}
        lacking = _lacking(self.law, points)
        self.problem = None if lacking else problem_of(self.law, points, self.objective)
        if self.problem is None:
            self.whole = refused(self.law, points, self.objective, lacking)
            return
        solution = self.problem.solve_from(self.problem.starts(most_starts))
        self.optimum = solution.internal[solution.best]
        self.whole = _point_fit(self.problem, solution, points, 0.9, 0)

    def prepare(self, subsets: Iterable[NDArray[np.bool_]]) -> None:
        """Fit all ``subsets`` [n] in one batch, for ``on`` to return.

        A batch of few points takes hardly longer than one of its members.
        """
        fresh: dict[bytes, _Subset] = {}
        for rows in subsets:
            key = rows.tobytes()
            if key in self._fits or key in fresh:
                continue
            some = self.points.take(rows)
            try:
                lacking = _lacking(self.law, some)
            except FitError as why:
                self._fits[key] = why
                continue
            if lacking or self.problem is None:
                lacking = lacking or self.whole.message
                self._fits[key] = refused(self.law, some, self.objective, lacking), None
                continue
            fresh[key] = _Subset(rows=rows, points=some, problem=self.problem_on(rows))
        solutions = self._solved(list(fresh.values()))
        for (key, subset), solution in zip(fresh.items(), solutions, strict=True):
            result = _point_fit(subset.problem, solution, subset.points, 0.9, 0)
            self._fits[key] = result, solution.internal[solution.best]

    def _solved(self, subsets: Sequence[_Subset]) -> list[Solution]:
        """The optima of each subset from its starts."""
        assert self.optimum is not None or not subsets
        most = _few(len(subsets) * len(self.points))
        starts = [_starts_near(subset.problem, self.optimum, most) for subset in subsets]
        if self.problem is None or len(self.points) > _MOST_TOGETHER:
            return [_best_of(s.problem, x) for s, x in zip(subsets, starts, strict=True)]
        if not subsets:
            return []
        count = len(starts[0])
        together = self.problem.solve(
            np.concatenate(starts),
            np.repeat([subset.rows for subset in subsets], count, axis=0).astype(np.float64),
            bounds=(
                np.repeat([subset.problem.low for subset in subsets], count, axis=0),
                np.repeat([subset.problem.high for subset in subsets], count, axis=0),
            ),
            rivals=np.repeat(np.arange(len(subsets)), count),
        )
        solutions = []
        for number, subset in enumerate(subsets):
            solution = together.take(slice(number * count, (number + 1) * count))
            if not solution.converged[solution.best]:  # as where a left-out point overflows
                solution = _best_of(subset.problem, starts[number])
            solutions.append(solution)
        return solutions

    def on(self, rows: NDArray[np.bool_], *, resamples: int = 0, level: float = 0.9) -> FitResult:
        """The fit to the points where ``rows`` [n] is true, with intervals given ``resamples``."""
        self.prepare([rows])
        fit = self._fits[rows.tobytes()]
        if isinstance(fit, FitError):
            raise fit
        result, optimum = fit
        result = dataclasses.replace(result, level=level)
        if optimum is None or self.problem is None:
            return result
        how = Resampling(resamples=resamples, level=level)
        some = self.points.take(rows)
        return _resampled(result, self.problem_on(rows), optimum, some, how)

    def problem_on(self, rows: NDArray[np.bool_]) -> Problem:
        """The problem that some of the points pose, centred as that of all points is."""
        assert self.problem is not None
        return problem_of(self.law, self.points.take(rows), self.objective, self.problem.centres)

    def with_intervals(self, how: Resampling) -> FitResult:
        """The fit to all points, with intervals where there are enough trunks."""
        if self.problem is None or self.optimum is None:
            return self.whole
        whole = dataclasses.replace(self.whole, level=how.level, seed=how.seed)
        return _resampled(whole, self.problem, self.optimum, self.points, how)


def _few(cells: int) -> int:
    """How many starts refits of together so many ``cells`` (refits times points) take."""
    return max(_FEW_STARTS, _BATCH_CELLS // max(cells, 1))


def _starts_near(problem: Problem, optimum: Floats | None, most: int) -> Floats:
    """``optimum`` [k] and at most about ``most`` starts spread over the grid: [s, k]."""
    few = problem.starts(most)
    return few if optimum is None else np.vstack([optimum[None], few])


def _best_of(problem: Problem, starts: Floats) -> Solution:
    """The optima from ``starts`` [s, k], of which only the best counts."""
    return problem.solve_from(starts, rivals=np.zeros(len(starts), dtype=np.int64))


def _resampled(
    result: FitResult,
    problem: Problem,
    optimum: Floats,
    points: FitPoints,
    how: Resampling,
) -> FitResult:
    if not how.resamples or result.status == "not_converged":
        return result
    if result.status == "at_bound":
        note = "no intervals: a parameter is at its bound"
        return dataclasses.replace(result, notes=(*result.notes, note))
    if points.n_clusters < LEAST_CLUSTERS:
        trunks = count_of(points.n_clusters, "independent trunk")
        note = f"no intervals: {trunks}, {LEAST_CLUSTERS} needed"
        return dataclasses.replace(result, notes=(*result.notes, note))
    drawn = bootstrap(
        problem, optimum, points, resamples=how.resamples, seed=how.seed, level=how.level
    )
    result = _with_intervals(result, problem, drawn, how.level)
    if how.intervals == "studentised":
        result = with_bootstrap_t(result, problem, optimum, points, drawn)
    return _without_bounds(result, problem, optimum, drawn)


def _without_bounds(
    result: FitResult, problem: Problem, optimum: Floats, drawn: Bootstrap
) -> FitResult:
    """The same result with infinity for every interval end that is the law's bound, not the data's.

    The bounds are in internal coordinates: of a term's coefficient relative to the typical loss
    (the lower one stands for 0), of an exponent as it is. A public parameter that mixes several,
    such as Kaplan's scales, has no bound of its own.
    """
    intervals = dict(result.intervals)
    for place, name in enumerate(problem.law.names):
        if name not in intervals:
            continue
        low, high = intervals[name]
        ends = interval(drawn.internal[:, place], float(optimum[place]), result.level, drawn.widen)
        below, above = problem.beyond(place, *ends)
        if (
            name in problem.law.exponents
        ):  # the end as reported: a bootstrap-t end may lie further out
            outside = problem.beyond(place, low, high)
            below, above = below or outside[0], above or outside[1]
        intervals[name] = (-math.inf if below else low, math.inf if above else high)
    return dataclasses.replace(result, intervals=intervals)


def _point_fit(
    problem: Problem, solution: Solution, points: FitPoints, level: float, seed: int
) -> FitResult:
    """The best of the starts as a result, without intervals."""
    scoring = problem.objective
    best = solution.best
    optimum = solution.internal[best]
    agreeing = int((solution.objective <= solution.objective[best] * (1 + AGREEING) + 1e-18).sum())
    status, message = _status(problem, solution, best)
    residual = _log_residuals(problem, optimum)
    return FitResult(
        law=problem.law,
        params=problem.form(optimum),
        status=status,
        message=message,
        objective=float(solution.objective[best]),
        n_points=len(points),
        n_clusters=points.n_clusters,
        n_starts=len(solution.objective),
        n_starts_agreeing=agreeing,
        convention=dict(points.convention),
        data_range=points.data_range,
        flops_over_6nd=flops_knots(points),
        level=level,
        huber_delta=scoring.delta if scoring.loss == "huber_log" else None,
        rms_log_residual=float(np.sqrt(np.mean(residual**2))),
        residual_scatter_log=_scatter(residual, problem.n_params),
        condition_number=_condition(problem, optimum),
        optimum=split_of(problem.law, problem.form(optimum)),
        dropped=points.dropped,
        notes=points.notes,
        seed=seed,
    )


def _lacking(law: Law, points: FitPoints) -> str:
    """What the points lack for this law, and what to add; "" when nothing is missing."""
    remedy = STATUS_REMEDY["too_few_points"]
    needed = len(law.names) + 1
    if len(points) < 2 or len(set(points.loss_nats.tolist())) < 2:
        raise FitError(
            f"{count_of(len(points), 'point')}, all of one loss: "
            "no law can be fitted; add sizes and horizons"
        )
    if len(points) < needed:
        few = f"{count_of(len(points), 'point')} for {len(law.names)} parameters"
        return f"{few}; at least {needed} needed; {remedy}"
    for variable in (v for v in law.variables if v not in law.also_needs or v in _AXES):
        values = points.n_different(variable)
        least = 2 if len(law.terms) == 1 else LEAST_VALUES
        if values < least:
            number = count_of(values, "different value")
            add = _MORE_VALUES.get(variable, remedy)
            return f"only {number} of {variable}; at least {least} needed; {add}"
        span = float(points.variable(variable).max() / points.variable(variable).min())
        if len(law.variables) == 1 and span < _LEAST_SPAN:
            return f"{variable} span {span:.2g}x; at least {_LEAST_SPAN:g}x needed; {remedy}"
    if {"params", "tokens"} <= set(law.variables):
        logs = np.stack([np.log(points.variable(v)) for v in ("params", "tokens")])
        if np.ptp(logs.sum(axis=0)) < _SAME_BUDGET * np.ptp(logs[0]):
            return "all points have the same params * tokens (one IsoFLOP cell): vary the budget"
        if abs(np.corrcoef(logs)[0, 1]) > 0.999:
            return "params and tokens move together: vary them apart"
    return law.lacking({v: points.variable(v) for v in law.variables})


def refused(law: Law, points: FitPoints, scoring: Objective, message: str) -> FitResult:
    """A result without parameters; ``message`` says what ``points`` lack for ``law``."""
    return FitResult(
        law=law,
        params={},
        status="too_few_points",
        message=message,
        objective=math.nan,
        n_points=len(points),
        n_clusters=points.n_clusters,
        n_starts=0,
        n_starts_agreeing=0,
        convention=dict(points.convention),
        data_range=points.data_range,
        flops_over_6nd=flops_knots(points),
        huber_delta=scoring.delta if scoring.loss == "huber_log" else None,
        dropped=points.dropped,
        notes=points.notes,
    )


def _status(problem: Problem, solution: Solution, best: int) -> tuple[str, str]:
    optimum = solution.internal[best]
    if not solution.converged[best]:
        return "not_converged", STATUS_REMEDY["not_converged"]
    endless = [name for name, x in problem.form(optimum).items() if not math.isfinite(x)]
    if endless:  # with an exponent near 0 the scale overflows: nothing can be evaluated
        why = f"{', '.join(endless)} beyond the largest number"
        return "ill_conditioned", f"{why}; {STATUS_REMEDY['ill_conditioned']}"
    hit = problem.at_bound(optimum)
    if hit:
        return "at_bound", f"{', '.join(hit)} at a bound; {STATUS_REMEDY['at_bound']}"
    if _condition(problem, optimum) > MAX_CONDITION:
        return "ill_conditioned", STATUS_REMEDY["ill_conditioned"]
    return "converged", ""


def _condition(problem: Problem, optimum: Floats) -> float:
    """Condition number of the Gauss-Newton matrix in centred, scaled parameters."""
    ones = np.ones((1, len(problem.target)))
    _, shares, log_sum = problem.law.log_loss(optimum[None], problem.basis)
    jacobian = problem.jacobian(optimum[None], shares, log_sum)
    gram = problem.gram(jacobian, ones)[0]
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    values = np.linalg.eigvalsh(gram / np.outer(scale, scale))
    return float(values[-1] / max(values[0], 1e-300))


def _log_residuals(problem: Problem, optimum: Floats) -> Floats:
    fitted = problem.law.log_loss(optimum[None], problem.basis)[0][0]
    return np.asarray(problem.target - fitted)


def _scatter(residual: Floats, free: int) -> float:
    """Residual standard deviation of log loss, corrected for ``free`` fitted parameters."""
    return float(np.sqrt(np.sum(residual**2) / max(len(residual) - free, 1)))


def _figures(split: Split | None) -> dict[str, float]:
    return split.figures if split else {}


def _with_intervals(
    result: FitResult, problem: Problem, drawn: Bootstrap, level: float
) -> FitResult:
    every = [problem.form(vector) for vector in drawn.internal]
    forms = [form for form in every if all(math.isfinite(x) for x in form.values())]
    names = tuple(result.params)
    samples = tuple(tuple(form[name] for name in names) for form in forms)
    splits = [_figures(split_of(result.law, form)) for form in forms]
    best = _figures(result.optimum)
    notes = [*result.notes, *drawn.notes]
    if drawn.unconverged:
        notes.append(f"{count_of(drawn.unconverged, 'resample')} did not converge and are left out")
    if len(forms) < len(every):
        lost = len(every) - len(forms)
        notes.append(f"{lost} resamples have a parameter that overflows and are left out")
    return dataclasses.replace(
        result,
        samples=samples,
        intervals=_intervals(result.params, forms, level, drawn.widen),
        optimum_intervals=_as_shares(
            _intervals(
                best, [split for split in splits if split.keys() == best.keys()], level, drawn.widen
            )
        ),
        interval_method=drawn.method,
        notes=tuple(notes),
    )


def with_bootstrap_t(
    result: FitResult, problem: Problem, optimum: Floats, points: FitPoints, drawn: Bootstrap
) -> FitResult:
    """The same result with bootstrap-t intervals in place of percentile ones."""
    clusters = points.cluster_index
    ones, targets = np.ones((1, len(points))), problem.target[None]
    scaled = {name for name in result.params if _is_scale(name, result.params)}

    def scalars(vector: Floats) -> dict[str, float]:
        form = problem.form(vector)
        figures = {n: math.log(x) if n in scaled and x > 0 else x for n, x in form.items()}
        best = _figures(split_of(result.law, form))
        if best:
            best["G"] = math.log(best["G"])
        return figures | {f"optimum {n}": x for n, x in best.items()}

    mine = covariances(problem, optimum[None], ones, targets, clusters)
    own = errors(scalars, optimum[None], mine)
    spreads = covariances(problem, drawn.internal, drawn.weights, drawn.targets, clusters)
    theirs = errors(scalars, drawn.internal, spreads)
    centre, every = scalars(optimum), [scalars(vector) for vector in drawn.internal]
    intervals: dict[str, dict[str, tuple[float, float]]] = {"params": {}, "optimum": {}}
    for name, value in centre.items():
        draws = np.array([figures.get(name, math.nan) for figures in every])
        ends = bootstrap_t_interval(draws, theirs[name], value, float(own[name][0]), result.level)
        if ends is None:
            continue
        plain = name.removeprefix("optimum ")
        if name in scaled or name == "optimum G":
            ends = (math.exp(min(ends[0], 700.0)), math.exp(min(ends[1], 700.0)))
        intervals["params" if plain == name else "optimum"][plain] = ends
    return dataclasses.replace(
        result,
        intervals=intervals["params"],
        optimum_intervals=_as_shares(intervals["optimum"]),
        interval_method=f"{result.interval_method.split(', Student')[0]}, studentised",
    )


def _is_scale(name: str, params: Mapping[str, float]) -> bool:
    # Gadre's coefficients share the names of the compute-optimal exponents
    return name in _LOGARITHMIC or (name in ("a", "b") and "eta" in params)


def _as_shares(intervals: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Intervals of a split's figures, those of its exponents a and b within 0 and 1.

    Where the loss falls with size and tokens both, a and b = 1 - a are shares of the growth of
    compute. An interval that is widened about its centre can go beyond.
    """
    return {
        name: (max(0.0, low), min(1.0, high)) if name in ("a", "b") else (low, high)
        for name, (low, high) in intervals.items()
    }


def _intervals(
    centre: dict[str, float], forms: list[dict[str, Any]], level: float, widen: float
) -> dict[str, tuple[float, float]]:
    intervals = {}
    for name, value in centre.items():
        draws = np.array([form[name] for form in forms])
        draws = draws[np.isfinite(draws)]
        if len(draws) < 20 or not math.isfinite(value):
            continue
        if _is_scale(name, centre) and value > 0 and (draws > 0).all():
            # scale parameters are skewed: widened on the logarithm, they stay positive
            low, high = interval(np.log(draws), math.log(value), level, widen)
            intervals[name] = (math.exp(min(low, 700.0)), math.exp(min(high, 700.0)))
        else:
            intervals[name] = interval(draws, value, level, widen)
    return intervals
