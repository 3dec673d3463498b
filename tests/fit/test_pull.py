"""The pull of a fit towards known values: slopes, and where it ends."""

import dataclasses

import numpy as np
import pytest

from scaling_law.fit.approaches.parametric import problem_of
from scaling_law.fit.laws import joint_laws, load_law
from scaling_law.fit.points.points import points_from_arrays
from scaling_law.fit.solver.solve import Objective
from scaling_law.fit.usual import UsualShape


def points():
    params = np.repeat(np.geomspace(1e7, 3e8, 5), 4)
    tokens = np.tile(np.geomspace(2e8, 1e10, 4), 5)
    loss = 1.8 + 480 * params**-0.35 + 2000 * tokens**-0.37
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(loss))
    return points_from_arrays(params, tokens, loss * np.exp(noise))


@pytest.mark.parametrize("name", joint_laws())
def test_the_slopes_of_a_pull_are_those_of_its_value(name):
    problem = problem_of(load_law(name), points(), Objective())
    at = problem.starts(8)[:3]
    one = np.ones(len(at))
    pull = UsualShape().pull(problem.law, 2.0 * one, 3.0 * one, np.random.default_rng(1))
    if pull is None:
        pytest.skip(f"{name} has no parameter of the usual shape")
    gradient, hessian, major = pull.derivatives(at)
    for place in range(at.shape[1]):
        moved = np.zeros_like(at)
        moved[:, place] = 1e-5
        ends = [pull.value(at + side * moved) for side in (1, -1)]
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(gradient[:, place], rel=1e-4, abs=1e-4)
        slopes = [pull.derivatives(at + side * moved)[0] for side in (1, -1)]
        by_difference = (slopes[0] - slopes[1]) / 2e-5
        assert by_difference == pytest.approx(hessian[:, place], rel=1e-3, abs=1e-3)
    assert (np.linalg.eigvalsh(major) > -1e-9).all()


def test_a_strong_pull_ends_at_its_values_and_none_at_the_plain_fit():
    law = load_law("skaling")
    problem = problem_of(law, points(), Objective())
    starts = problem.starts(8)
    least, typical = np.full(len(starts), 2.0), np.full(len(starts), 1e-5)
    plain = problem.solve(starts)
    assert UsualShape(runs=0.0).pull(law, least, typical) is None
    none = problem.solve(starts, pull=UsualShape(runs=1e-9).pull(law, least, typical))
    assert none.objective.min() == pytest.approx(plain.objective.min(), rel=1e-6)
    shape = UsualShape(runs=1e9, power=0.8)
    strong = problem.solve(starts, pull=shape.pull(law, least, typical))
    params = problem.form(strong.internal[strong.best])
    assert params["alpha"] * params["k"] == pytest.approx(shape.exponent, rel=1e-3)
    assert params["beta"] * params["k"] == pytest.approx(shape.exponent, rel=1e-3)
    assert params["k"] == pytest.approx(shape.power, rel=1e-3)
    assert params["E"] == pytest.approx(2.0 * shape.floor, rel=1e-3)


def test_a_pulled_fit_is_the_least_of_the_sum():
    law = load_law("chinchilla")
    problem = problem_of(law, points(), Objective(loss="mse_log"))
    starts = problem.starts(8)
    pull = UsualShape(runs=20.0).pull(law, np.full(len(starts), 2.0), np.full(len(starts), 1e-4))
    ends = problem.solve(starts, pull=pull)
    best = ends.internal[ends.best]
    near = best + 1e-3 * np.random.default_rng(2).standard_normal((200, len(best)))
    same = np.ones(len(problem.target))
    values = problem.values(law.log_loss(near, problem.basis)[0], same, problem.target)
    assert pull is not None
    one = pull.take(np.zeros(len(near), dtype=int))
    assert ends.converged[ends.best]
    assert (values + one.value(near)).min() >= ends.objective.min() * (1 - 1e-9)


def test_every_resample_has_a_usual_shape_of_its_own():
    law, one = load_law("chinchilla"), np.ones(4000)
    shape = UsualShape()
    pull = shape.pull(law, 2.0 * one, one, np.random.default_rng(0))
    assert pull is not None
    spreads = [shape.exponent_spread, shape.exponent_spread, 2 * shape.floor_spread]
    assert pull.centre.std(axis=0) == pytest.approx(spreads, rel=0.1)
    fixed = dataclasses.replace(shape, exponent_spread=1e-9).pull(law, one, one)
    assert fixed is not None and np.allclose(fixed.centre[:, 0], np.log(shape.exponent))
