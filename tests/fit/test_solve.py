"""The solver: starts, steps, and refits that need few starts."""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import nnls

from scaling_law.errors import FitError
from scaling_law.fit.approaches.parametric import Refitter, problem_of
from scaling_law.fit.checks.hold_out import HoldOuts
from scaling_law.fit.laws import joint_laws, load_law
from scaling_law.fit.points.points import FitPoints, points_from_arrays
from scaling_law.fit.points.table import read_table
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.solver.bootstrap import bootstrap
from scaling_law.fit.solver.newton import _solved
from scaling_law.fit.solver.solve import Objective, _non_negative

TABLE = Path(__file__).parents[1] / "published" / "chinchilla240.csv"
TRUTHS = {
    "chinchilla": {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28},
    "skaling": {"E": 1.2, "A": 2e3, "B": 9e3, "alpha": 0.5, "beta": 0.5, "k": 0.5},
    "coupled": {"A": 4e3, "B": 2e4, "alpha": 0.5, "beta": 0.5, "gamma": 0.2},
}


def grid_of(law: str, sizes: int, horizons: int, noise: float) -> FitPoints:
    n = np.repeat(np.geomspace(1e6, 1e9, sizes), horizons)
    d = np.tile(np.geomspace(1e8, 1e11, horizons), sizes)
    loss = load_law(law).predict(TRUTHS[law], {"params": n, "tokens": d})
    noises = np.random.default_rng(sizes).standard_normal(len(n))
    return points_from_arrays(n, d, loss * np.exp(noise * noises))


def test_coefficients_that_may_not_be_negative_are_scipys():
    columns = np.exp(np.random.default_rng(0).normal(-1, 1, size=(60, 25, 3)))
    columns[:20, :, 1] = 1 / columns[:20, :, 0]  # some optima at a bound
    expected = np.array([nnls(rows, np.ones(25))[0] for rows in columns])
    assert (expected == 0).any() and (expected > 0).all(axis=1).any()
    assert _non_negative(columns) == pytest.approx(expected, abs=1e-7)


def test_a_column_twice_has_coefficients_all_the_same():
    columns = np.ones((1, 9, 2)) * 0.5
    assert _non_negative(columns).sum() == pytest.approx(2, rel=1e-6)


def test_steps_turn_negative_curvature_positive():
    generator = np.random.default_rng(1)
    roots = generator.normal(size=(2, 30, 5, 5))
    matrices = roots @ np.swapaxes(roots, 2, 3)
    matrices[0, ::3] -= np.eye(5)
    force, ridge = generator.normal(size=(30, 5)), np.full((2, 30), 1e-6)
    values, axes = np.linalg.eigh(matrices)
    assert (values[0] < 0).any() and (values[0] > 0).all(axis=1).any()
    along = (force[None, :, None, :] @ axes)[:, :, 0] / (np.abs(values) + 1e-6)
    expected = (axes @ along[..., None])[..., 0]
    assert _solved(matrices, force, ridge) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("truth", "law"),
    [
        pytest.param(truth, law, marks=() if truth in ("published", law) else pytest.mark.slow)
        for truth in ("published", *TRUTHS)
        for law in joint_laws()
    ],
)
def test_subsets_fitted_together_end_where_all_starts_of_each_end(law, truth):
    points = (
        read_table(TABLE, TableSettings(params_are="total"))
        if truth == "published"
        else grid_of(truth, 6, 4, 0.003)
    )
    refitter = Refitter(points, load_law(law))
    checks = HoldOuts(points, refitter.law, refitter=refitter)
    folds = [*checks.sizes_left_out()[::3], *checks.rollout_flops()[::3]]
    refitter.prepare(~held for _, held in folds)
    assert len(folds) > 3
    for words, held in folds:
        fit = refitter.on(~held)
        if not fit.params:
            continue
        alone = refitter.problem_on(~held)
        best = alone.solve(alone.starts()).objective.min()
        assert fit.objective <= best * (1 + 1e-6), words


@pytest.mark.parametrize("law", ["chinchilla", "skaling"])
def test_resamples_end_where_all_starts_end(law):
    points = grid_of("chinchilla", 6, 4, 0.003)
    refitter = Refitter(points, load_law(law))
    problem, optimum = refitter.problem, refitter.optimum
    assert problem is not None and optimum is not None
    drawn = bootstrap(problem, optimum, points, resamples=100, seed=0, level=0.9)
    starts = problem.starts()
    for row in range(0, 100, 20):
        weights, targets = (np.array(x[row : row + 1]) for x in (drawn.weights, drawn.targets))
        mine = problem.evaluate(drawn.internal[[row]], weights, targets, derivatives=False)[0]
        each = (np.repeat(x, len(starts), axis=0) for x in (weights, targets))
        assert mine[0] <= problem.solve(starts, *each).objective.min() * (1 + 1e-6)


def test_rivals_that_fall_behind_are_given_up_and_the_best_stays():
    # nine runs on a diagonal: half of the starts creep along a valley for 1,500 steps
    points = read_table(TABLE, TableSettings(params_are="total"))
    points = points.take(np.sort(np.argsort(points.params)[:9]))
    problem = problem_of(load_law("skaling"), points, Objective())
    starts = problem.starts(6)
    alone = problem.solve(starts)
    assert not alone.converged.all()
    together = problem.solve(starts, rivals=np.zeros(len(starts), dtype=np.int64))
    assert together.objective.min() == pytest.approx(alone.objective.min(), rel=1e-9)
    assert together.converged[together.best]


def test_steps_follow_a_narrow_valley():
    generator = np.random.default_rng(2)
    n = np.repeat(np.geomspace(2e8, 2e9, 6), 3)
    d = n * np.tile([20.0, 40.0, 80.0], 6)
    noise = 0.005 * generator.standard_normal(18)
    points = points_from_arrays(n, d, (1.8 + 480 * n**-0.35 + 2100 * d**-0.37) * np.exp(noise))
    problem = problem_of(load_law("chinchilla"), points, Objective())
    whole = problem.solve(problem.starts(8))
    weights = points.flops * generator.gamma(0.4, 2.5, (40, 18)).clip(0.01)
    starts = np.tile(whole.internal[whole.best], (40, 1))
    # by straight steps 11 of these need more than 300 of them, and some 1,000
    assert problem.solve(starts, weights / weights.mean(), max_steps=300).converged.all()


def test_many_points_are_polished_once_a_place():
    points = grid_of("chinchilla", 40, 30, 0.003)
    assert len(points) >= 1000, "enough for a first pass on some of them"
    problem = problem_of(load_law("chinchilla"), points, Objective())
    starts = problem.starts()
    every, plain = problem.solve_from(starts), problem.solve(starts)
    assert every.objective.min() == pytest.approx(plain.objective.min(), rel=1e-9)
    agreeing = [(s.objective <= s.objective.min() * (1 + 1e-6)).sum() for s in (every, plain)]
    assert agreeing[0] == agreeing[1]
    rivals = problem.solve_from(starts, rivals=np.zeros(len(starts), dtype=np.int64))
    assert rivals.objective.min() == pytest.approx(plain.objective.min(), rel=1e-9)


def test_a_subset_that_allows_no_fit_says_so_each_time():
    points = grid_of("chinchilla", 6, 4, 0.003)
    refitter = Refitter(points, load_law("chinchilla"))
    rows = np.zeros(len(points), dtype=bool)
    rows[0] = True
    refitter.prepare([rows])
    for _ in range(2):
        with pytest.raises(FitError, match="no law can be fitted"):
            refitter.on(rows)
    rows[1] = True
    assert refitter.on(rows).status == "too_few_points"


def test_starts_of_tiny_and_huge_losses_are_finite():
    points = grid_of("chinchilla", 4, 4, 0.003)
    for factor in (1e-250, 1e250):
        scaled = points_from_arrays(points.params, points.tokens, points.loss_nats * factor)
        for law in joint_laws():
            starts = problem_of(load_law(law), scaled, Objective()).starts()
            assert np.isfinite(starts).all()
