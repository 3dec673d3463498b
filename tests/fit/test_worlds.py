"""Worlds: what a forecast reads off them is monotone, coherent, and right against brute force."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from scaling_law.fit.best_splits import BestSplits
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.surface import Surface
from scaling_law.fit.worlds import (
    Worlds,
    _normal_share,
    _normal_table,
    weighted_quantiles,
    worlds_of,
)
from tests.fit.test_parametric import planted_fits

SURFACE = ("floor", "size_log", "size_exponent", "data_log", "data_exponent", "power")


def drawn_worlds(seed: int, count: int = 60, *, plain: bool = False, noise: float = 0.01) -> Worlds:
    """Worlds of three laws with all that worlds may have: bends, floors of 0."""
    generator = np.random.default_rng(seed)
    weight = generator.random(count)
    none = np.ones(count)
    return Worlds(
        law=tuple(("chinchilla", "skaling", "coupled")[row % 3] for row in range(count)),
        weight=weight / weight.sum(),
        floor=generator.uniform(0, 2, count) * (np.arange(count) % 3 != 2),
        size_log=generator.uniform(4, 8, count),
        size_exponent=generator.uniform(0.2, 0.6, count),
        data_log=generator.uniform(4, 8, count),
        data_exponent=generator.uniform(0.2, 0.6, count),
        power=generator.uniform(0.3, 1.5, count),
        size_bend=none if plain else np.exp(generator.normal(0, 0.3, count)),
        data_bend=none if plain else np.exp(generator.normal(0, 0.3, count)),
        size_edge=math.log(1e8),
        data_edge=math.log(1e9),
        noise_log=noise,
    )


def best_of_grid(worlds: Worlds, flops: float) -> tuple[Floats, float]:
    """(each world's best params, the point forecast's) for a budget, by trying every size."""
    params = np.exp(np.linspace(1, math.log(flops / 6) - 1, 8001))
    losses = worlds.log_loss(params, flops / 6 / params)
    return params[losses.argmin(axis=1)], float(params[(worlds.weight @ losses).argmin()])


def ends(worlds: Worlds, at: Floats, level: float) -> tuple[Floats, Floats]:
    """The interval of a new run at ``at`` [2, n], params and tokens."""
    interval = worlds.interval(at[0], at[1], level)
    assert interval is not None
    return interval


@pytest.mark.parametrize("seed", range(8))
def test_the_forecast_and_its_interval_fall_with_params_and_with_tokens(seed):
    worlds = drawn_worlds(seed, noise=(0.0, 0.002, 0.05)[seed % 3])
    generator = np.random.default_rng(seed)
    small = np.exp(generator.uniform(math.log(1e5), math.log(1e14), (2, 50)))
    large = small * np.exp(generator.uniform(0, 3, (2, 50)) * (generator.random((2, 50)) < 0.7))
    before, after = (
        [worlds.point_log(at[0], at[1]), *ends(worlds, at, 0.9)] for at in (small, large)
    )
    for at_small, at_large in zip(before, after, strict=True):
        assert (at_large <= at_small + 1e-12).all()
    inner, outer = (ends(worlds, small, level) for level in (0.5, 0.99))
    assert (outer[0] <= inner[0]).all() and (inner[0] <= inner[1]).all()
    assert (inner[1] <= outer[1]).all()


def test_quantiles_are_those_of_many_drawn_runs():
    worlds = drawn_worlds(3)
    at = np.array([[1e9], [2e10]])
    losses = worlds.log_loss(at[0], at[1])[:, 0]
    generator = np.random.default_rng(0)
    runs = generator.choice(losses, 400_000, p=worlds.weight)
    runs = runs + worlds.noise_log * generator.standard_normal(len(runs))
    below, above = (float(np.mean(runs < end[0])) for end in ends(worlds, at, 0.9))
    assert (below, above) == pytest.approx((0.05, 0.95), abs=2e-3)


def test_the_normals_table_is_read_as_numpy_reads_it():
    places, shares, _ = _normal_table()
    between = 3 * np.random.default_rng(0).standard_normal((40, 50))
    for at in (places, np.nextafter(places, 99), np.nextafter(places, -99), between):
        assert np.array_equal(_normal_share(at), np.interp(at, places, shares))
    assert _normal_share(np.array([-np.inf, 0.0, np.inf])).tolist() == [shares[0], 0.5, shares[-1]]


def test_weighted_quantiles_are_those_of_repeated_values():
    generator = np.random.default_rng(1)
    values, times = generator.normal(size=(30, 2)), generator.integers(1, 5, 30)
    shares = (0.05, 0.31, 0.5, 0.95)
    wanted = np.quantile(np.repeat(values, times, axis=0), shares, axis=0, method="inverted_cdf")
    assert weighted_quantiles(values, times / times.sum(), shares) == pytest.approx(wanted)
    assert np.isposinf(weighted_quantiles(np.array([[1.0], [np.inf]]), np.array([0.5, 0.5]), [0.9]))


def test_one_law_without_bends_has_the_split_of_its_surface():
    worlds = drawn_worlds(5, 1, plain=True)
    splits = BestSplits(worlds)
    surface = Surface(**{name: float(getattr(worlds, name)[0]) for name in SURFACE})
    assert surface.split is not None
    for flops in (1e12, 1e18, 1e26):
        assert splits.params(flops) == pytest.approx(surface.split.params(flops), rel=1e-9)
        assert splits.exponent(flops) == pytest.approx(surface.split.exponent, rel=1e-9)
    assert splits.tokens_for_params(1e9) == pytest.approx(
        surface.split.tokens_for_params(1e9), rel=1e-9
    )
    assert splits.params_for_tokens(1e9) == pytest.approx(
        surface.split.params_for_tokens(1e9), rel=1e-9
    )
    assert worlds.point_at(1e9, 3e10) == pytest.approx(surface.log_loss(1e9, 3e10), rel=1e-12)


@pytest.mark.parametrize("flops", [1e12, 1e16, 1e18, 1e21, 1e28])
def test_the_splits_are_the_least_of_a_grid(flops):
    worlds = drawn_worlds(7)
    splits = BestSplits(worlds)
    own, point = best_of_grid(worlds, flops)
    assert np.exp(splits.own_params(flops)) == pytest.approx(own, rel=0.01)
    split = splits.params(flops)
    assert split == pytest.approx(point, rel=0.01)
    # the same optimum, read along params and along tokens
    assert splits.tokens_for_params(split) == pytest.approx(flops / 6 / split, rel=1e-6)
    assert splits.params_for_tokens(flops / 6 / split) == pytest.approx(split, rel=1e-6)
    tangent = splits.tangent(flops / 6 / split)
    assert tangent is not None and tangent.params(flops) == pytest.approx(split, rel=1e-6)


def test_the_cheapest_flops_of_each_world_reach_the_loss_and_no_fewer_do():
    worlds = drawn_worlds(9)
    splits = BestSplits(worlds)
    loss = 1.5
    flops = splits.own_cheapest(loss)
    never = worlds.floor >= loss
    assert 0 < never.sum() < len(worlds)
    assert np.isinf(flops[never]).all()
    params, tokens = splits.own_answers(None, loss)
    assert np.isnan(params[never]).all()
    some = np.isfinite(flops)
    places = (np.exp(np.nan_to_num(logs))[:, None] for logs in (params, tokens))
    reached = worlds.log_loss(*places)[:, 0]
    assert np.exp(reached[some]) == pytest.approx(np.full(int(some.sum()), loss), rel=1e-9)
    assert (params + tokens)[some] == pytest.approx(flops[some] - math.log(6))
    for row in np.flatnonzero(some)[:5]:
        own, _ = best_of_grid(worlds, math.exp(flops[row]))
        assert own[row] == pytest.approx(math.exp(params[row]), rel=0.01)


def test_the_shares_of_the_variance_add_up_and_name_what_was_planted():
    worlds = drawn_worlds(11)
    at = 1e9, 2e10
    shares = worlds.variance_shares(*at)
    assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) >= 0
    losses = worlds.log_loss(np.array([at[0]]), np.array([at[1]]))[:, 0]
    mean = float(worlds.weight @ losses)
    total = float(worlds.weight @ (losses - mean) ** 2) + worlds.noise_log**2
    assert shares["new_run"] == pytest.approx(worlds.noise_log**2 / total)
    said = worlds.by_law(*at)
    assert sum(one.weight for one in said) == pytest.approx(1)
    assert [one.weight for one in said] == sorted((one.weight for one in said), reverse=True)
    assert sum(one.weight * math.log(one.loss_nats) for one in said) == pytest.approx(mean)
    alike: dict[str, Any] = {name: np.full(len(worlds), 1.0) for name in SURFACE}
    only_bends = dataclasses.replace(worlds, **alike, noise_log=0.0)
    parts = only_bends.variance_shares(*at)
    assert parts["parameters"] == pytest.approx(0) == parts["new_run"] and parts["misfit"] > 0.8


def test_worlds_drawn_for_a_search_have_the_same_loss_and_the_same_weights():
    worlds = drawn_worlds(13)
    at = 3e9, 5e7
    every = worlds.log_loss(np.array([at[0]]), np.array([at[1]]))[:, 0]
    drawn = np.array([loss(*at) for loss in worlds.drawn(2000)])
    assert np.abs(drawn[:, None] - every[None]).min(axis=1).max() < 1e-12
    assert drawn.mean() == pytest.approx(float(worlds.weight @ every), abs=1e-3)


def test_json_holds_worlds_exactly():
    worlds = dataclasses.replace(drawn_worlds(15), notes=("one note",))
    again = Worlds.from_json(json.loads(json.dumps(worlds.to_json(), allow_nan=False)))
    for field in dataclasses.fields(Worlds):
        assert np.array_equal(getattr(again, field.name), getattr(worlds, field.name)), field.name
    plain = drawn_worlds(15, plain=True).to_json()
    assert plain["size_bend"] == [[1.0, 60]], "equal values in a row are counted"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight": [0.5, 0.4]}, "add up to 1"),
        ({"floor": [1.0]}, r"floor: \(1,\) values for 2 worlds"),
        ({"size_bend": [0.0, 1.0]}, "bends: expected above 0"),
    ],
)
def test_damaged_worlds_are_refused(change, words):
    stored = drawn_worlds(17, 2).to_json()
    with pytest.raises(ValueError, match=words):
        Worlds.from_json(stored | change)


def test_too_few_worlds_have_no_interval():
    worlds = drawn_worlds(19, 5)
    assert worlds.interval(np.array([1e9]), np.array([2e10]), 0.9) is None
    assert worlds.spread(BestSplits(worlds).own_params(1e18), 0.9) is None


def test_worlds_of_fits_are_their_resamples_by_weight():
    fits = planted_fits()
    worlds = worlds_of(fits, {"chinchilla": 3.0, "coupled": 1.0}, noise_log=0.002)
    assert worlds is not None
    assert worlds.laws == pytest.approx({"chinchilla": 0.75, "coupled": 0.25})
    fit = fits["chinchilla"]
    first = dict(zip(fit.params, fit.samples[0], strict=True))
    variables = {"params": np.array([1e7]), "tokens": np.array([1e8])}
    own = worlds.log_loss(variables["params"], variables["tokens"])[0, 0]
    assert math.exp(own) == pytest.approx(float(fit.law.predict(first, variables)[0]))


def test_refitted_worlds_have_the_weights_and_the_misfit_of_the_old_ones():
    fits = planted_fits()
    old = worlds_of(fits, {"chinchilla": 3.0, "coupled": 1.0}, noise_log=0.002)
    assert old is not None
    old = dataclasses.replace(old, size_bend=np.linspace(0.9, 1.1, len(old)))
    new = {name: dataclasses.replace(fit, samples=fit.samples[:30]) for name, fit in fits.items()}
    again = old.refitted(new, (18.0, 20.0))
    assert again is not None
    assert again.laws == pytest.approx(old.laws)
    assert np.array_equal(again.size_bend, old.size_bend)
    assert (again.size_edge, again.data_edge) == (18.0, 20.0)
    assert len(set(again.floor[: len(fits["chinchilla"].samples)].tolist())) == 30
    assert old.refitted({}, (18.0, 20.0)) is None
