"""The information of runs against refits, the search against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scaling_law.design.prior import REFERENCE, prior_from_fits, prior_of
from scaling_law.design.search import Costs, Minimums, Search, SearchSpace
from scaling_law.design.simulate import expected_fits
from scaling_law.design.variance import (
    Noise,
    PlantedLaw,
    Runs,
    columns,
    log_slopes,
    posterior_of,
    whitening,
)
from scaling_law.errors import FitError
from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.laws import joint_laws, load_law
from scaling_law.fit.points.points import points_from_arrays
from scaling_law.fit.solver.solve import Objective, Problem
from scaling_law.fit.worlds import worlds_of

PLANTED = {
    "chinchilla": {"E": 1.8, "A": 60.0, "B": 200.0, "alpha": 0.34, "beta": 0.37},
    "coupled": REFERENCE["coupled"],
    "skaling": REFERENCE["skaling"],
    "gadre": {"E": 2.0, "a": 100.0, "b": 300.0, "eta": 0.2},
    "kaplan_nd": {"N_c": 1.4e9, "D_c": 2.8e9, "a_N": 0.13, "a_D": 0.16},
}


def planted(name: str) -> PlantedLaw:
    return PlantedLaw(load_law(name), load_law(name).internal(PLANTED[name]))


def grid(sizes: int = 6, horizons: int = 5) -> Runs:
    params, tokens = np.meshgrid(
        np.geomspace(4e4, 1e6, sizes), np.geomspace(4e5, 1e7, horizons), indexing="ij"
    )
    return Runs(params.ravel(), tokens.ravel())


def trunks_of(sizes: int = 6, horizons: int = 5) -> list[tuple[int, ...]]:
    return [tuple(range(horizons * i, horizons * (i + 1))) for i in range(sizes)]


@pytest.mark.parametrize("name", joint_laws())
def test_gradients_equal_finite_differences(name):
    law, here, runs = load_law(name), planted(name), grid(3, 3)
    _, slopes = log_slopes(law, here.internal, runs.params, runs.tokens)
    for place in range(len(here.internal)):
        step = np.zeros_like(here.internal)
        step[place] = 1e-6
        above, below = (
            log_slopes(law, here.internal + side * step, runs.params, runs.tokens)[0]
            for side in (1, -1)
        )
        assert slopes[:, place] == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-8)


def test_the_predicted_variance_matches_refits():
    """Least squares on drawn losses, trunk noise and all: standard deviations within 10%."""
    here, runs, trunks = planted("coupled"), grid(), trunks_of()
    noise = Noise(run_log=0.002, trunk_log=0.003, misfit_log=0.0)
    target = 1e7, 2e8
    posterior = posterior_of([here], runs, target, noise)
    predicted = float(np.sqrt(posterior.variance(posterior.whole(trunks))[0]))
    law, generator = load_law("coupled"), np.random.default_rng(0)
    known = columns(runs.params, runs.tokens)
    losses = np.exp(here.at(runs.params, runs.tokens)[0])
    problem = Problem(law, {v: known[v] for v in law.variables}, losses, Objective(loss="mse_log"))
    start = problem.solve(problem.starts()[::8])
    optimum = start.internal[int(start.objective.argmin())]
    draws = np.log(losses) + noise.run_log * generator.standard_normal((600, len(losses)))
    for trunk in trunks:
        draws[:, trunk] += noise.trunk_log * generator.standard_normal((600, 1))
    solution = problem.solve(np.tile(optimum, (600, 1)), targets=draws)
    logs = {"params": np.log([target[0]]), "tokens": np.log([target[1]])}
    basis = law.basis({v: logs[v] - problem.centres[v] for v in law.variables})
    there = law.log_loss(solution.internal, basis)[0][:, 0]
    assert float(there.std()) == pytest.approx(predicted, rel=0.1)
    # without the shared noise it would be far off: the test can tell
    alone = posterior_of([here], runs, target, Noise(run_log=0.002, trunk_log=0, misfit_log=0))
    assert float(np.sqrt(alone.variance(alone.whole(trunks))[0])) < 0.75 * predicted


def test_more_seeds_do_not_reduce_misfit():
    here, runs, trunks = planted("coupled"), grid(), trunks_of()
    with_misfit = posterior_of([here], runs, (1e7, 2e8), Noise(misfit_log=0.004))
    without = posterior_of([here], runs, (1e7, 2e8), Noise(misfit_log=0.0))
    floor = with_misfit.variance(with_misfit.whole(trunks * 50))[0]
    assert floor > 20 * without.variance(without.whole(trunks * 50))[0]


def test_the_prior_alone_gives_a_finite_variance_and_runs_lower_it():
    runs = grid()
    prior = prior_of(runs)
    posterior = posterior_of(prior.planted, runs, (1e8, 1e9), Noise())
    before, after = (posterior.variance(posterior.whole(t)) for t in ([], trunks_of()))
    assert np.isfinite(before).all()
    assert (after < before).all()
    assert set(prior.laws) == {"coupled", "skaling", "chinchilla"}


def test_coordinates_whiten_the_anchors():
    runs = grid()
    here = planted("chinchilla")
    slopes = here.at(runs.params, runs.tokens)[1] @ whitening(here, runs)
    # a box's own runs are as uncertain a priori as its anchors, to a factor
    spread = np.sqrt((slopes**2).sum(axis=1))
    assert 0.03 < spread.min() < spread.max() < 0.12


@pytest.mark.parametrize("name", ["coupled", "skaling", "chinchilla"])
def test_expected_fits_forecast_like_refits(name):
    """This also holds where the points hardly determine the floor, whose linearised error is
    huge."""
    here, runs, trunks = planted("coupled"), grid(), trunks_of()
    counts = {"params": "matmul", "flops": "exact", "loss": "nats per token"}
    flops = 7 * runs.params * runs.tokens
    fits = expected_fits(here, [load_law(name)], runs, trunks, Noise(), counts, flops=flops)
    fit = fits[name]
    assert fit.data_range["flops"] == (flops.min(), flops.max())
    assert (fit.n_points, fit.n_clusters, len(fit.samples)) == (30, 6, 200)
    for rows, within in ((slice(None), 0.02), ([-1], 0.02)):
        inputs = columns(runs.params[rows], runs.tokens[rows])
        planned = np.exp(here.at(runs.params[rows], runs.tokens[rows])[0])
        for sample in fit.sampled_params():
            refitted = fit.law.predict(sample, inputs)
            assert refitted == pytest.approx(planned, rel=3 * within)
    # no resample has a floor above the losses themselves
    floors = [sample.get("E", 0.0) for sample in fit.sampled_params()]
    assert max(floors) < planned.min()


def searched(budget: float, minimums: Minimums) -> tuple[Search, Runs, Costs]:
    runs = grid(3, 3)
    flops = 6 * runs.params * runs.tokens
    posterior = posterior_of([planted("chinchilla"), planted("coupled")], runs, (1e8, 1e9), Noise())
    costs = Costs(single=flops, trunk=0.8 * flops, branch=0.2 * flops)
    of_size = tuple(tuple(range(3 * i, 3 * i + 3)) for i in range(3))
    return (
        Search(posterior, costs, SearchSpace(of_size, (0, 1, 2) * 3, seeds=1), minimums),
        runs,
        costs,
    )


def test_the_search_comes_near_brute_force():
    """All designs of one trunk a size on a 3 x 3 grid: within 2% of the best variance."""
    none = Minimums(trunks=1, sizes=1, horizons=1, repeats=0)
    search, runs, costs = searched(1.0, none)
    budget = 0.6 * float((6 * runs.params * runs.tokens).max())
    every = [
        [tuple(c) for k in range(4) for c in itertools.combinations(range(3 * i, 3 * i + 3), k)]
        for i in range(3)
    ]
    best = np.inf
    for some in itertools.product(*every):
        trunks = [t for t in some if t]
        if trunks and sum(map(costs.of, trunks)) <= budget:
            information = search.posterior.whole(trunks)
            best = min(best, float(search.posterior.score(search.posterior.variance(information))))
    chosen = search.run(budget)
    assert chosen.cost <= budget * (1 + 1e-6)
    assert chosen.score <= best + 0.02


def test_the_search_respects_minimums_and_is_deterministic():
    runs = grid(8, 6)
    flops = 6 * runs.params * runs.tokens
    posterior = posterior_of(prior_of(runs).planted[:8], runs, (1e8, 1e9), Noise())
    costs = Costs(single=flops, trunk=0.8 * flops, branch=0.2 * flops)
    of_size = tuple(tuple(range(6 * i, 6 * i + 6)) for i in range(8))
    space = SearchSpace(of_size, tuple(range(6)) * 8)
    first, second = (Search(posterior, costs, space).run(2e13) for _ in range(2))
    assert first.trunks == second.trunks
    sizes = [size for size, _ in first.trunks]
    assert len(first.trunks) >= 6
    assert len(set(sizes)) >= 3
    assert any(sizes.count(size) > 1 for size in set(sizes))
    assert len({run % 6 for _, trunk in first.trunks for run in trunk}) >= 3
    gains = Search(posterior, costs, space).contributions(first)
    assert max(gains.values()) > 0.02
    with pytest.raises(FitError, match="raise the budget"):
        Search(posterior, costs, space).run(1e11)


def test_pruning_drops_runs_that_add_no_information():
    runs = grid(8, 6)
    flops = 6 * runs.params * runs.tokens
    posterior = posterior_of([planted("chinchilla"), planted("coupled")], runs, (1e8, 1e9), Noise())
    costs = Costs(single=flops, trunk=0.8 * flops, branch=0.2 * flops)
    of_size = tuple(tuple(range(6 * i, 6 * i + 6)) for i in range(8))
    search = Search(posterior, costs, SearchSpace(of_size, tuple(range(6)) * 8))
    pruned = search._pruned(search.design({size: (of_size[size],) * 3 for size in range(8)}))
    assert sum(len(trunk) for _, trunk in pruned.trunks) < 8 * 3 * 6
    scores = [search.design(some).score for some in search._fewer(pruned) if search.whole(some)]
    assert min(scores) > pruned.score


def test_a_fit_that_does_not_extrapolate_is_not_used_as_a_prior():
    runs = grid()
    losses = np.exp(planted("chinchilla").at(runs.params, runs.tokens)[0])
    points = points_from_arrays(runs.params, runs.tokens, losses)
    fit = fit_law(points, "chinchilla", resamples=0)
    import dataclasses

    stuck = dataclasses.replace(fit, status="at_bound", message="beta at a bound")
    with pytest.raises(FitError, match="beta at a bound"):
        prior_from_fits({"chinchilla": stuck}, "chinchilla", runs)
    assert prior_from_fits({"chinchilla": fit}, "chinchilla", runs).laws == ("chinchilla",)


def test_a_design_counts_the_laws_as_the_worlds_of_the_fit_do():
    runs = grid()
    at = runs.params, runs.tokens
    losses = np.exp(planted("coupled").at(*at)[0])
    points = points_from_arrays(*at, losses)
    fits = {
        name: fit_law(points, name, resamples=0) for name in ("coupled", "chinchilla", "skaling")
    }
    shares = {"chinchilla": 0.8, "skaling": 0.2}
    worlds = worlds_of({name: fits[name] for name in shares}, shares, noise_log=0.0)
    prior = prior_from_fits(fits, "coupled", runs, worlds)
    assert prior.planted[0].law.name == "coupled", "the law that is shown"
    weights = dict.fromkeys(prior.laws, 0.0)
    for one, weight in zip(prior.planted, prior.weights, strict=True):
        weights[one.law.name] += weight
    assert weights["chinchilla"] == pytest.approx(4 * weights["skaling"])
    assert weights["coupled"] < weights["chinchilla"]
    assert "chinchilla 80%, skaling 20%" in prior.origin
    for one in prior.planted[1:]:
        expected = np.log(one.law.predict(fits[one.law.name].params, columns(*at)))
        assert one.at(*at)[0] == pytest.approx(expected, abs=1e-4)
    posterior = posterior_of(prior.planted, runs, (1e8, 1e9), Noise(), prior.weights)
    variance = posterior.variance(posterior.whole(trunks_of()))
    logs = np.log(variance + Noise().new_run_log ** 2)
    assert posterior.score(variance) == pytest.approx(np.average(logs, weights=prior.weights))
