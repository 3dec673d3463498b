"""The worlds of a forecast: weights, widths and coverage on planted surfaces; too few points."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.laws import load_law
from scaling_law.fit.make_worlds import METHOD, edges_of, make_worlds
from scaling_law.fit.points.points import FitPoints, points_from_arrays
from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.interval import prediction_interval
from scaling_law.fit.solver.solve import Objective
from scaling_law.fit.usual import NO_SHAPE, USUAL, UsualShape
from scaling_law.fit.weighted import weighted_fits
from scaling_law.fit.worlds import Worlds

SIZES, HORIZONS = np.geomspace(1e7, 3e8, 6), 2.0 ** np.arange(4)
NOISE = 0.003


def chinchilla(params, tokens):
    return 1.8172 + 482.01 * params**-0.3478 + 2085.43 * tokens**-0.3658


def sweep(loss, seed: int, noise: float = NOISE) -> FitPoints:
    """Six sizes by four horizons, every run with noise of its own."""
    params = np.repeat(SIZES, len(HORIZONS))
    tokens = 20 * SIZES[3] * np.sqrt(SIZES[3] / params) * np.tile(HORIZONS, len(SIZES))
    noises = noise * np.random.default_rng(seed).standard_normal(len(params))
    return points_from_arrays(params, tokens, loss(params, tokens) * np.exp(noises))


def laws_of(points: FitPoints) -> dict[str, FitResult]:
    """The laws that worlds are made of, as a suite fits them."""
    return {name: fit_law(points, name, resamples=100) for name in METHOD.laws}


def made(points: FitPoints, laws, best: str, **more) -> Worlds:
    worlds = make_worlds(points, laws, best=best, **more)
    assert worlds is not None
    return worlds


def ends(worlds: Worlds, params: np.ndarray, tokens: np.ndarray) -> tuple[float, float]:
    pair = worlds.interval(params, tokens, 0.9)
    assert pair is not None
    return float(pair[0][0]), float(pair[1][0])


def best_split(loss, flops: float) -> tuple[np.ndarray, np.ndarray]:
    params = np.exp(np.linspace(math.log(1e6), math.log(flops / 6e6), 2001))
    place = int(loss(params, flops / 6 / params).argmin())
    return params[place : place + 1], flops / 6 / params[place : place + 1]


@pytest.fixture(scope="module")
def planted():
    """Four draws of the surface: points, worlds, laws."""
    draws = [sweep(chinchilla, seed) for seed in range(4)]
    fitted = [(points, laws_of(points)) for points in draws]
    return [(points, made(points, laws, "chinchilla"), laws) for points, laws in fitted]


@pytest.fixture(scope="module")
def coupled_sweep():
    def together(params, tokens):
        return 1.7 + (400 * params**-0.6 + 1500 * tokens**-0.6) ** 0.5

    points = sweep(together, 0, noise=0.001)
    laws = laws_of(points)
    return points, laws, made(points, laws, "skaling")


def test_weights_add_up_to_one_over_at_most_800_worlds_and_are_the_same_every_time(planted):
    points, worlds, laws = planted[0]
    again = made(points, laws, "chinchilla")
    assert worlds.weight.sum() == pytest.approx(1) and len(worlds) <= 800
    assert set(worlds.laws) == {"chinchilla", "skaling"}
    for field in dataclasses.fields(Worlds):
        assert np.array_equal(getattr(worlds, field.name), getattr(again, field.name)), field.name


def test_the_law_that_is_true_weighs_more_than_one_that_cannot_be(coupled_sweep):
    _, _, worlds = coupled_sweep
    assert worlds.laws["skaling"] > 0.7


@pytest.mark.parametrize("shown", [((4.0, 0.008), (16.0, 0.012)), ((4.0, 0.01), (16.0, 0.03))])
def test_no_interval_is_narrower_than_the_errors_that_the_verdict_shows(coupled_sweep, shown):
    points, laws, without = coupled_sweep
    worlds = made(points, laws, "skaling", shown_errors=shown)
    for factor, error in shown:
        beyond = math.log(factor * points.flops.max() / 6) - worlds.size_edge - worlds.data_edge
        at = [np.exp([edge + beyond / 2]) for edge in (worlds.size_edge, worlds.data_edge)]
        half, narrow = ((high - low) / 2 for low, high in (ends(w, *at) for w in (worlds, without)))
        assert narrow < error <= 1.001 * math.expm1(half)


def test_intervals_wider_than_the_errors_of_the_verdict_stay_as_they_are(coupled_sweep):
    points, laws, without = coupled_sweep
    same = made(points, laws, "skaling", shown_errors=((4.0, 1e-4),))
    assert np.array_equal(same.size_bend, without.size_bend)
    assert same.noise_log == without.noise_log


def test_noisy_runs_are_pulled_to_the_usual_shape_and_quiet_ones_are_not():
    def steep(params, tokens):
        return 1.2 + 9e4 * params**-0.6 + 4e5 * tokens**-0.6

    def exponents(noise: float, runs: float) -> np.ndarray:
        draws = [sweep(steep, seed, noise=noise) for seed in range(5 if noise > 0.01 else 1)]
        law, shape = load_law("chinchilla"), UsualShape(runs=runs)
        fits = [weighted_fits(points, law, Objective(), [], 1.0, [shape]) for points in draws]
        return np.array([fit.surface.data_exponent for (fit,) in fits if fit is not None])

    assert exponents(1e-5, 3.0) == pytest.approx(exponents(1e-5, 0.0), abs=0.01)
    usual, alone = exponents(0.02, 3.0), exponents(0.02, 0.0)
    assert abs(usual.mean() - UsualShape().exponent) < abs(alone.mean() - UsualShape().exponent)
    assert usual.std() < 0.5 * alone.std()


def test_fits_with_and_without_a_pull_do_not_depend_on_each_other():
    points, law = sweep(chinchilla, 0), load_law("chinchilla")
    folds = [points.flops > points.flops.max() / 4]

    def fits(*shapes: UsualShape):
        return list(weighted_fits(points, law, Objective(), folds, 1.0, shapes))

    assert fits(USUAL, NO_SHAPE) == [*fits(USUAL), *fits(NO_SHAPE)]


def test_where_a_law_is_true_the_forecast_is_near_and_its_interval_little_wider(planted):
    errors, ratios, hits = [], [], 0
    for seed, (points, worlds, laws) in enumerate(planted):
        largest = float(points.flops.max())
        for times in (3, 10, 30):
            params, tokens = best_split(chinchilla, times * largest)
            noise = NOISE * np.random.default_rng([seed, times]).standard_normal()
            new = math.log(chinchilla(params, tokens)[0]) + noise
            low, high = ends(worlds, params, tokens)
            hits += low <= new <= high
            at = {"params": params[0], "tokens": tokens[0]}
            alone = prediction_interval(laws["chinchilla"], at, level=0.9)
            assert alone.nats is not None
            ratios.append((high - low) / math.log(alone.nats[1] / alone.nats[0]))
        params, tokens = best_split(chinchilla, 100 * largest)
        errors.append(
            float(worlds.point_log(params, tokens)[0]) - math.log(chinchilla(params, tokens)[0])
        )
    assert abs(np.mean(errors)) < 0.01
    assert hits >= 10  # of 12
    assert np.exp(np.mean(np.log(ratios))) < 2.5


def test_larger_models_and_more_data_lower_the_forecast_and_both_ends(planted):
    _, worlds, _ = planted[1]
    grid = np.geomspace(1e6, 1e14, 60)
    middle = np.full_like(grid, 1e10)
    for at in ((grid, middle), (middle, grid), (grid, 20 * grid)):
        low, high = worlds.interval(*at, 0.9)
        for line in (low, worlds.point_log(*at), high):
            assert (np.diff(line) <= 1e-12).all()


def test_the_misfit_begins_at_the_mean_of_the_most_expensive_runs(planted):
    points, worlds, _ = planted[0]
    top = points.flops >= points.flops.max() / 4
    assert worlds.size_edge == pytest.approx(np.log(points.params[top]).mean())
    assert worlds.data_edge == pytest.approx(np.log(points.tokens[top]).mean())
    cheaper = points.take(points.flops < points.flops.max() / 4)
    edges = edges_of(cheaper.params, cheaper.tokens, cheaper.flops)
    assert sum(edges) < worlds.size_edge + worlds.data_edge, "other runs have edges of their own"


def test_too_few_points_for_weights_leave_one_law_and_say_so():
    points = sweep(chinchilla, 0)
    few = points.take(np.array([size in points.size[:9] for size in points.size]))
    worlds = made(few, laws_of(few), "chinchilla")
    assert set(worlds.laws) == {"chinchilla"} and "one law only" in worlds.notes[0]
