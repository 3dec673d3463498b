"""Profiles one parameter: the best objective with it held at a value, and the interval.

Where a parameter is weakly identified (the irreducible loss, above all) its estimate says
little; its profile says how much worse the fit gets along its range. The interval is
where the mean squared log residual stays below the minimum's times 1 + F / (n - k), F the
quantile of Student's t squared with G - 1 degrees of freedom (Bates 1988, "Nonlinear
Regression Analysis", section 6.1), times the variance inflation that the trunks' shared
residuals cause (a design effect).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from scaling_law.errors import ConfigError, quoted
from scaling_law.fit.approaches.parametric import problem_of
from scaling_law.fit.laws import Law, joint_laws, load_law
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import bound_words
from scaling_law.fit.solver.bootstrap_t import covariances
from scaling_law.fit.solver.solve import Objective, Problem
from scaling_law.fit.solver.student import t_reach

_STEPS = 41
_REACH = 4.0
_BISECTIONS = 12
_FLOORS = ("E", "L_inf")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The profile likelihood of one parameter.

    ``law``: the law's name.
    ``param``: the parameter.
    ``estimate``: its value at the optimum.
    ``values``: the values that it is held at.
    ``rises``: relative excess of the mean squared log residual at each value.
    ``allowed``: the rise at the ends of the interval.
    ``level``: confidence level of the interval.
    ``low``: lower end; None where the profile stays below ``allowed`` to the end of its range, so
        that the data set no bound.
    ``high``: upper end; None likewise.
    """

    law: str
    param: str
    estimate: float
    values: tuple[float, ...]
    rises: tuple[float, ...]
    allowed: float
    level: float
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """The interval in words."""
        ends = (self.low, self.high)
        low, high = map(bound_words, ends)
        return f"{self.param} = {self.estimate:.4g}, profile [{low}, {high}]"


def check_profiled(params: Collection[str]) -> None:
    """Raises ``ConfigError`` for a parameter that can be profiled in no joint law."""
    laws = [load_law(name) for name in joint_laws()]
    known = dict.fromkeys(n for law in laws for n in law.names if n in law.exponents)
    for param in params:
        if param not in known and param not in _FLOORS:
            raise ConfigError(
                f"profile {quoted(param)}: expected one of {', '.join((*_FLOORS, *known))}"
            )


def profile(points: FitPoints, law: Law, param: str, *, level: float = 0.9) -> Profile:
    """Profile ``param`` (E or an exponent) of a law by least squares in log loss.

    It is least squares whatever the fit's own loss is: a profile compares objectives, and Huber's
    with a sharp threshold has no curvature to compare with. Raises ``ConfigError`` for a parameter
    that cannot be profiled.
    """
    if param not in law.names or (param not in law.exponents and param not in _FLOORS):
        names = [n for n in law.names if n in law.exponents or n in _FLOORS]
        raise ConfigError(f"{param!r}: expected one of {', '.join(names)} of law {law.name}")
    problem = problem_of(law, points, Objective(loss="mse_log"))
    solution = problem.solve_from(problem.starts())
    optimum = solution.internal[solution.best]
    least = float(solution.objective[solution.best])
    place = law.names.index(param)
    error, inflation = _error(problem, points, optimum, place, least)
    grid = _grid(problem, optimum, place, error)
    free = max(len(points) - problem.n_params, 1)
    quantile = t_reach(max(points.n_clusters - 1, 1), level)
    allowed = quantile**2 * inflation / free
    walk = _Walk(problem, optimum, place)
    rises = walk.along(grid) / max(least, 1e-300) - 1
    ends = walk.ends(grid, rises, allowed, least)
    public = np.exp(grid) if param in _FLOORS else grid
    low, high = (None if e is None else float(np.exp(e) if param in _FLOORS else e) for e in ends)
    return Profile(
        law=law.name,
        param=param,
        estimate=float(problem.form(optimum)[param]),
        values=tuple(float(x) for x in public),
        rises=tuple(float(x) for x in rises),
        allowed=allowed,
        level=level,
        low=low,
        high=high,
    )


def _error(
    problem: Problem, points: FitPoints, optimum: Floats, place: int, least: float
) -> tuple[float, float]:
    """The parameter's standard error, and the factor (at least 1) by which trunks inflate its
    variance."""
    ones, targets = np.ones((1, len(points))), problem.target[None]
    robust = covariances(problem, optimum[None], ones, targets, points.cluster_index)[0]
    _, shares, log_sum = problem.law.log_loss(optimum[None], problem.basis)
    gram = problem.gram(problem.jacobian(optimum[None], shares, log_sum), ones)[0]
    free = max(len(points) - problem.n_params, 1)
    naive = np.linalg.pinv(gram, rcond=1e-13, hermitian=True) * 2 * least / free
    variances = max(float(robust[place, place]), 0.0), max(float(naive[place, place]), 1e-30)
    return math.sqrt(max(variances)), max(1.0, variances[0] / variances[1])


def _grid(problem: Problem, optimum: Floats, place: int, error: float) -> Floats:
    reach = min(max(_REACH * error, 0.02), 10.0)
    low = max(float(problem.low[place]), float(optimum[place]) - reach)
    high = min(float(problem.high[place]), float(optimum[place]) + reach)
    half = _STEPS // 2
    down = np.linspace(low, optimum[place], half, endpoint=False)
    return np.concatenate([down, np.linspace(optimum[place], high, half + 1)])


class _Walk:
    """Finds the least objective with one parameter pinned, each value from its neighbour's.

    Both sides of the optimum are walked at once.
    """

    def __init__(self, problem: Problem, optimum: Floats, place: int) -> None:
        self.problem, self.optimum, self.place = problem, optimum, place

    def at(self, values: Floats, starts: Floats) -> tuple[Floats, Floats]:
        """The least objectives at ``values`` [R], and their places [R, k]."""
        starts = starts.copy()
        starts[:, self.place] = values
        solution = self.problem.solve(starts, pinned={self.place: values})
        return solution.objective, solution.internal

    def along(self, grid: Floats) -> Floats:
        """The least objective at each value of the grid, walking outwards from its middle."""
        least = np.empty(len(grid))
        self.places = np.empty((len(grid), len(self.optimum)))
        centre = len(grid) // 2
        starts = np.stack([self.optimum] * 2)
        for step in range(centre + 1):
            rows = [centre - step, centre + step]
            least[rows], starts = self.at(grid[rows], starts)
            self.places[rows] = starts
        return least

    def ends(self, grid: Floats, rises: Floats, allowed: float, least: float) -> list[float | None]:
        """Where the rise crosses ``allowed`` on either side, by bisection; None where never."""
        middle = len(grid) // 2
        crossings: list[tuple[int, int, int]] = []  # the side, and the rows before and after
        for side, way in enumerate((range(middle, 0, -1), range(middle, len(grid) - 1))):
            for row in way:
                if rises[row] <= allowed < rises[row + way.step]:
                    crossings.append((side, row, row + way.step))
                    break
        ends: list[float | None] = [None, None]
        if not crossings:
            return ends
        near, far = (grid[[rows[i] for rows in crossings]] for i in (1, 2))
        starts = self.places[[row for _, row, _ in crossings]]
        for _ in range(_BISECTIONS):
            half = 0.5 * (near + far)
            values, there = self.at(half, starts)
            within = values / max(least, 1e-300) - 1 <= allowed
            near, far = np.where(within, half, near), np.where(within, far, half)
            starts = np.where(within[:, None], there, starts)
        for (side, _, _), end in zip(crossings, near, strict=True):
            ends[side] = float(end)
        return ends
