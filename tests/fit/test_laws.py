import dataclasses
import math

import numpy as np
import pytest

from scaling_law.errors import ConfigError
from scaling_law.fit.laws import law_names, load_law
from scaling_law.fit.solver.solve import Objective, Problem

GRID = {
    "params": np.repeat(np.geomspace(1e4, 1e6, 6), 4),
    "tokens": np.tile(np.geomspace(3e5, 4e6, 4), 6) * np.linspace(1, 1.5, 24),
}
GRID["flops"] = 6 * GRID["params"] * GRID["tokens"]
# every third run repeats its data, up to 40 times: Muennighoff's law needs it
GRID["tokens_unique"] = GRID["tokens"] / np.tile([1.0, 4.0, 40.0], 8)
PLANTED_REPEATS = {
    "E": 1.8, "A": 60.0, "B": 200.0, "alpha": 0.34, "beta": 0.37, "R_D": 15.0, "R_N": 5.0,
}  # fmt: skip
TRUE = {
    "chinchilla": {"E": 1.8, "A": 60.0, "B": 200.0, "alpha": 0.34, "beta": 0.37},
    "coupled": {"A": 2e4, "B": 5e4, "alpha": 0.5, "beta": 0.52, "gamma": 0.26},
    "kaplan_nd": {"N_c": 2e9, "D_c": 3e9, "a_N": 0.13, "a_D": 0.16},
    "kaplan_n": {"N_c": 8.8e13, "a_N": 0.076},
    "kaplan_d": {"D_c": 5.4e13, "a_D": 0.095},
    "kaplan_c": {"C_c": 2.7e28, "a_C": 0.05},
    "gadre": {"E": 1.8, "a": 60.0, "b": 60.0, "eta": 0.17},
    "skaling": {"E": 1.5, "A": 2e3, "B": 5e3, "alpha": 0.5, "beta": 0.55, "k": 0.6},
    "muennighoff": PLANTED_REPEATS,
    "broken": {"E": 1.5, "b": 300.0, "c0": 0.2, "c1": 0.2, "d": 3e11, "f": 0.4},
    "saturating": {"L_inf": 2.0, "K": 500.0, "b": 0.22},
}


def test_every_law_is_tested():
    assert tuple(sorted(TRUE)) == law_names()


@pytest.mark.parametrize("name", TRUE)
def test_a_planted_law_is_recovered_without_noise(name):
    law = load_law(name)
    losses = law.predict(TRUE[name], GRID)
    problem = Problem(law, {v: GRID[v] for v in law.variables}, losses, Objective())
    solution = problem.solve(problem.starts())
    best = solution.internal[solution.objective.argmin()]
    for parameter, value in problem.form(best).items():
        assert math.log(value) == pytest.approx(math.log(TRUE[name][parameter]), abs=1e-5)
    assert problem.at_bound(best) == []


@pytest.mark.parametrize("loss", ["huber_log", "mse_log", "mse"])
@pytest.mark.parametrize("name", TRUE)
def test_gradient_and_hessian_match_finite_differences(name, loss):
    law = load_law(name)
    wobble = 1 + 0.05 * np.sin(np.arange(24) * 2.3)
    losses = law.predict(TRUE[name], GRID) * wobble
    # a wide threshold keeps every residual inside: the Huber kink has no second derivative
    objective = Objective(loss=loss, delta=0.5)
    problem = Problem(law, {v: GRID[v] for v in law.variables}, losses, objective)
    solution = problem.solve(problem.starts()[:1], max_steps=3)
    x = solution.internal + 0.02
    weights, targets = np.linspace(0.5, 1.5, 24)[None], problem.target[None]
    _, gradient, hessian, _ = problem.evaluate(x, weights, targets)
    step = 1e-5
    for k in range(problem.n_params):
        ahead, behind = x.copy(), x.copy()
        ahead[0, k] += step
        behind[0, k] -= step
        up, down = (problem.evaluate(point, weights, targets) for point in (ahead, behind))
        slope = (up[0] - down[0])[0] / (2 * step)
        assert gradient[0, k] == pytest.approx(slope, rel=1e-5, abs=1e-9)
        bend = (up[1] - down[1])[0] / (2 * step)
        np.testing.assert_allclose(hessian[0, k], bend, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["saturating:tokens", "broken:params"])
def test_a_law_of_compute_can_be_fitted_in_another_variable(name):
    law, plain = load_law(name), load_law(name.partition(":")[0])
    variable = name.partition(":")[2]
    assert law.variables == (variable,)
    true = TRUE[plain.name] | ({"d": 1e5} if plain.name == "broken" else {})
    x = np.geomspace(1e4, 1e6, 24)
    losses = law.predict(true, {variable: x})
    np.testing.assert_allclose(losses, plain.predict(true, {"flops": x}))
    problem = Problem(law, {variable: x}, losses, Objective())
    solution = problem.solve(problem.starts())
    best = solution.internal[solution.objective.argmin()]
    fitted = law.predict(problem.form(best), {variable: x})
    np.testing.assert_allclose(fitted, losses, rtol=1e-4)


def test_an_unknown_law_or_one_not_of_compute_is_refused():
    for name, said in (
        ("chinchila", "expected one of"),
        ("chinchilla:tokens", "not a law of FLOPs alone"),
        ("saturating:steps", "expected saturating:params"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_law(name)


def test_kaplans_law_has_its_published_values():
    # Kaplan 2020, section 1.2: L(N) at a million and a billion non-embedding parameters
    law = load_law("kaplan_n")
    sizes = {"params": np.array([1e6, 1e9, 1e11])}
    losses = law.predict({"N_c": 8.8e13, "a_N": 0.076}, sizes)
    np.testing.assert_allclose(losses, [4.02, 2.38, 1.67], atol=0.01)


def test_the_coupled_law_contains_kaplans():
    kaplan = {"N_c": 6.4e13, "D_c": 1.8e13, "a_N": 0.076, "a_D": 0.103}
    ratio = kaplan["a_N"] / kaplan["a_D"]
    coupled = {
        "A": kaplan["N_c"] ** ratio,
        "B": kaplan["D_c"],
        "alpha": ratio,
        "beta": 1.0,
        "gamma": kaplan["a_D"],
    }
    np.testing.assert_allclose(
        load_law("coupled").predict(coupled, GRID), load_law("kaplan_nd").predict(kaplan, GRID)
    )


def test_laws_compare_by_value_and_an_unknown_name_is_refused():
    law = load_law("chinchilla")
    assert dataclasses.replace(law, name="other").variables == ("params", "tokens")
    with pytest.raises(ConfigError, match="no law is named 'newton'; expected one of"):
        load_law("newton")


@pytest.mark.parametrize("name", ["skaling", "broken"])
def test_parameters_beyond_floats_stay_numbers_above_0(name):
    law = load_law(name)
    for far in (1e-300, 1e300):
        form = dict.fromkeys(law.names, 0.5) | dict.fromkeys(("K", "b"), far)
        form |= {"r": 15.0, "k": 0.05, "log_d": math.log(far) * 3}
        public = law.to_public(form)
        assert all(0 < value < math.inf for value in public.values())
        assert np.isfinite(law.internal(public)).all()
