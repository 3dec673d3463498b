"""What to train for a budget: against closed forms, published results and a numeric search."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from scaling_law.cli.main import main
from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.best_splits import BestSplits
from scaling_law.fit.laws import load_law
from scaling_law.fit.session import KnownLaws
from scaling_law.fit.solver.interval import log_loss
from scaling_law.fit.surface import surface_of
from scaling_law.fit.worlds import worlds_of
from scaling_law.forecast import allocate_text
from scaling_law.forecast.allocate import AllocationAnswer, allocate, budget_or_loss, compare
from scaling_law.forecast.budget import Budget
from scaling_law.forecast.hardware import Hardware
from scaling_law.forecast.published import PUBLISHED_SURFACES, published_law
from scaling_law.forecast.scenario import Scenario
from scaling_law.forecast.session import SourcedLaw, find_laws
from scaling_law.forecast.target import Target
from scaling_law.forecast.training_setup import training_setup
from scaling_law.spec.hyperparams import MAX_BATCH_TOKENS
from scaling_law.spec.optim import RuleOverrides
from scaling_law.units import format_count, rounded_count
from tests.fakes import tiny_spec
from tests.fit.test_parametric import planted, planted_fits

KEYS = {
    "law",
    "params",
    "tokens",
    "flops",
    "loss_nats",
    "low_nats",
    "high_nats",
    "tokens_per_param",
    "shape",
    "gpu_hours",
    "dollars",
    "warnings",
}


def published(name: str = "besiroglu2024") -> SourcedLaw:
    return find_laws([name], None)[0]


def ask(name: str = "besiroglu2024", hardware: Hardware | None = None, **given) -> AllocationAnswer:
    asked = {key: given.pop(key) for key in ("flops", "target_loss", "dollars") if key in given}
    return allocate(published(name), budget_or_loss(**asked), hardware, Scenario(**given))


def flops(amount: float) -> Budget:
    return Budget(unit="flops", amount=amount)


def besiroglu(params: float, tokens: float) -> float:
    return 1.8172 + 482.01 * params**-0.3478 + 2085.43 * tokens**-0.3658


@pytest.fixture(scope="module")
def fitted() -> SourcedLaw:
    fit = fit_law(planted(0.002, trunk_noise=0.002), "chinchilla", resamples=100)
    known = KnownLaws(
        laws={"chinchilla": fit},
        best_law="chinchilla",
        seed_noise_log=0.002,
        trust_flops_factor=None,
    )
    return SourcedLaw(fit=fit, origin="law chinchilla fitted to a test", known=known)


def test_gophers_compute_gives_chinchillas_split():
    # Hoffmann 2022: 5.76e23 FLOPs. Besiroglu 2024's refit: about 20 tokens a parameter there.
    # Hoffmann's approach 3 has 40e9, the rounded parameters of its equation 10 give 32e9
    refit = ask(flops=5.76e23).choice
    assert refit.params == pytest.approx(72e9, rel=0.02)
    assert refit.tokens_per_param == pytest.approx(18.4, abs=0.2)
    own = ask("hoffmann2022", flops=5.76e23).choice
    assert own.params == pytest.approx(32e9, rel=0.02)
    kaplan = ask("kaplan2020", flops=8.64e19).choice
    assert kaplan.params == pytest.approx(1.3e9, rel=1e-6)  # a petaflop-day, its table 5


@pytest.mark.parametrize("name", [n for n in PUBLISHED_SURFACES if n != "kaplan2020"])
@pytest.mark.parametrize("flops", [1e18, 1e22, 1e26])
def test_the_split_minimises_the_loss(name, flops):
    fit = published_law(name)

    def loss(log_params: float) -> float:
        params = math.exp(log_params)
        target = {"params": params, "tokens": flops / 6 / params}
        return log_loss(fit.law, fit.params, target)

    least = minimize_scalar(loss, bounds=(5, 35), method="bounded", options={"xatol": 1e-10})
    choice = ask(name, flops=flops).choice
    assert math.log(choice.params) == pytest.approx(least.x, abs=1e-3)
    assert choice.loss_nats == pytest.approx(math.exp(least.fun), rel=1e-9)


@pytest.mark.parametrize("name", PUBLISHED_SURFACES)
def test_the_loss_of_the_split_follows_the_formula(name):
    fit = published_law(name)
    surface = surface_of(fit.law, fit.params)
    assert surface is not None
    for params, tokens in ((1e4, 1e6), (7e9, 1.4e11), (1e12, 3e13)):
        target = {"params": params, "tokens": tokens}
        want = log_loss(fit.law, fit.params, target)
        assert surface.log_loss(params, tokens) == pytest.approx(want, rel=1e-12)


def test_a_target_loss_and_its_budget_give_the_same_split():
    there = ask(flops=1e23)
    back = ask(target_loss=there.choice.loss_nats)
    assert back.choice.flops == pytest.approx(1e23, rel=1e-6)
    assert back.choice.params == pytest.approx(there.choice.params, rel=1e-6)


def test_dollars_follow_from_the_device():
    hardware = Hardware(gpu="H100", dollars_per_hour=2.0, utilisation=0.5, count=16)
    made = ask(hardware=hardware, dollars=1e6)
    hours = 1e6 / 2.0
    assert made.choice.flops == pytest.approx(hours * 3600 * 989.4e12 * 0.5)
    assert made.cost.gpu_hours == pytest.approx(hours)
    assert made.cost.days == pytest.approx(hours / 16 / 24)
    assert made.cost.dollars == pytest.approx(1e6)


def test_serving_matches_sardana():
    # Sardana 2023, arXiv 2401.00448, section 3: to serve 2e12 tokens at the quality of a
    # Chinchilla-optimal 13B, train a 7B on 2.1 times the data: 1.7e22 FLOPs or 17% less. With
    # Hoffmann's parameters as that paper has them, less rounded than the printed ones.
    rounded = published_law("hoffmann2022")
    params = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.336, "beta": 0.283}
    surface = surface_of(rounded.law, params)
    assert surface is not None and surface.split is not None
    split = surface.split
    fit = dataclasses.replace(rounded, params=params, optimum=split)
    quality = math.exp(surface.log_loss(13e9, split.tokens(split.flops_for_params(13e9))))
    source = SourcedLaw(fit=fit, origin="Hoffmann 2022")
    made = allocate(source, Target(target_loss=quality), scenario=Scenario(tokens_served=2e12))
    choice, extra = made.choice, made.choice.extra
    assert made.plain.params == pytest.approx(13e9, rel=1e-3)
    assert choice.params == pytest.approx(7e9, rel=0.01)
    assert choice.tokens / made.plain.tokens == pytest.approx(2.1, abs=0.1)
    assert extra["saving"] == pytest.approx(0.17, abs=0.006)
    saved = extra["compute_optimal_total_flops"] - extra["total_flops"]
    assert saved == pytest.approx(1.7e22, rel=0.01)
    # and no other size of that loss has a smaller total
    for factor in (0.9, 1.1):
        size = choice.params * factor
        rest = quality - 1.69 - 406.4 * size**-0.336
        tokens = (410.7 / rest) ** (1 / 0.283)
        assert 6 * size * tokens + 2 * size * 2e12 > extra["total_flops"]


def test_a_budget_for_training_and_serving_is_the_dual():
    made = ask(flops=1e23, tokens_served=1e13)
    extra = made.choice.extra
    assert made.choice.kind == "lifetime_optimal"
    assert made.choice.flops + extra["inference_flops"] == pytest.approx(1e23)
    back = ask(target_loss=made.choice.loss_nats, tokens_served=1e13)
    assert back.choice.extra["total_flops"] == pytest.approx(1e23, rel=1e-6)
    assert back.choice.params == pytest.approx(made.choice.params, rel=1e-4)


def test_serving_no_tokens_changes_nothing():
    made = ask(flops=1e22, tokens_served=1e-3)
    assert made.choice.params == pytest.approx(made.plain.params, rel=1e-6)


def test_repeated_tokens_count_less_and_change_the_split():
    # Muennighoff 2023, section 5: with data short, spend on epochs rather than on parameters
    made = ask("muennighoff2023", flops=1e22, tokens_unique=25e9)
    assert made.choice.kind == "data_limited"
    assert made.epochs is not None and 4 < made.epochs < 30
    assert made.choice.params < made.plain.params and made.choice.tokens > made.plain.tokens
    assert made.prediction.loss_nats > made.plain.loss_nats
    assert made.prediction.loss_nats == pytest.approx(made.choice.loss_nats, rel=1e-9)
    assert any("epochs" in words for words in made.warnings)
    ample = ask("muennighoff2023", flops=1e22, tokens_unique=1e15)
    assert ample.choice.params == pytest.approx(ample.plain.params, rel=1e-6)
    assert ample.prediction.loss_nats == pytest.approx(ample.plain.loss_nats, rel=1e-9)


def test_a_fitted_laws_own_value_of_repeats_is_used():
    fit = dataclasses.replace(
        published_law("muennighoff2023"),
        law=load_law("muennighoff"),
        params={**published_law("muennighoff2023").params, "R_D": 3.0, "R_N": 2.0},
        optimum=None,
    )
    source = SourcedLaw(fit=fit, origin="own")
    made = allocate(source, flops(1e22), scenario=Scenario(tokens_unique=25e9))
    target = {
        "params": made.choice.params,
        "tokens": made.choice.tokens,
        "tokens_unique": 25e9,
    }
    assert math.log(made.choice.loss_nats) == pytest.approx(
        log_loss(fit.law, fit.params, target), rel=1e-9
    )
    elsewhere = ask("muennighoff2023", flops=1e22, tokens_unique=25e9)
    assert made.choice.tokens < elsewhere.choice.tokens


def test_memory_limits_the_size_and_more_tokens_are_trained():
    made = ask(flops=1e23, memory_bytes=80e9)
    assert made.choice.kind == "memory_limited" and made.most_params is not None
    assert made.choice.params == pytest.approx(made.most_params)
    assert made.most_params < made.plain.params
    assert made.choice.flops == pytest.approx(1e23)
    assert made.setup is not None and made.setup.train_bytes <= 80e9
    assert made.choice.loss_nats == pytest.approx(besiroglu(made.choice.params, made.choice.tokens))
    served = ask(flops=1e23, memory_bytes=80e9, memory_for="serve")
    assert served.most_params is not None and served.most_params > 5 * made.most_params
    roomy = ask(flops=1e20, memory_bytes=80e9)
    assert roomy.choice.kind == "compute_optimal"


def test_smaller_models_of_the_same_loss_are_computed():
    made = ask(flops=5.76e23)
    shares = {row["shrink"]: row for row in made.smaller}
    half = shares[0.5]
    assert half["params"] is not None and half["tokens"] is not None
    assert besiroglu(half["params"], half["tokens"]) == pytest.approx(made.choice.loss_nats)
    assert half["compute_ratio"] == pytest.approx(6 * half["params"] * half["tokens"] / 5.76e23)
    assert shares[0.125]["tokens"] is None
    assert "no number of tokens reaches it" in allocate_text.format_allocation(made)
    assert ask("kaplan2020", flops=1e21).smaller == ()


def test_a_smaller_model_far_beyond_the_fitted_tokens_has_no_figures(fitted):
    most = fitted.fit.data_range["tokens"][1]
    made = allocate(fitted, flops(10 * fitted.fit.data_range["flops"][1]))
    small = {"shrink": 0.25, "params": 1e5, "flops": 6e5 * most, "compute_ratio": 9.0}
    for times, said in ((900.0, "+800%"), (1100.0, "no figures so far beyond the data")):
        row = {**small, "tokens": times * most, "tokens_per_param": times * most / 1e5}
        text = allocate_text.format_allocation(dataclasses.replace(made, smaller=(row,)))
        assert next(x for x in text.splitlines() if x.startswith("  1/4")).endswith(said)


def test_intervals_cover_the_planted_answer(fitted):
    made = allocate(fitted, flops(1e15))
    assert made.params_interval and made.tokens_interval
    low, high = made.params_interval
    assert low < made.choice.params < high
    assert made.tokens_interval[0] < made.choice.tokens < made.tokens_interval[1]
    # under C = 6ND the two are one: their ends multiply to C / 6 crosswise
    assert low * made.tokens_interval[1] == pytest.approx(1e15 / 6, rel=1e-6)
    assert made.prediction.low_nats is not None
    wider = allocate(fitted, flops(1e15), level=0.98)
    assert wider.params_interval and wider.params_interval[0] < low
    limited = allocate(fitted, flops(1e15), scenario=Scenario(tokens_unique=made.choice.tokens / 8))
    assert limited.params_interval is not None


@pytest.fixture(scope="module")
def over_laws() -> SourcedLaw:
    fits = planted_fits()
    worlds = worlds_of(fits, {"chinchilla": 0.6, "coupled": 0.4}, noise_log=0.003)
    known = KnownLaws(
        laws=fits,
        worlds=worlds,
        best_law="chinchilla",
        seed_noise_log=0.002,
        trust_flops_factor=None,
    )
    return SourcedLaw(fit=fits["chinchilla"], origin="2 laws", worlds=worlds, known=known)


def test_an_answer_over_laws_is_the_least_of_their_mean_loss(over_laws):
    made = allocate(over_laws, flops(1e14))
    worlds = over_laws.worlds
    assert worlds is not None and made.params_interval and made.tokens_interval
    sizes = made.choice.params * np.array([0.9, 1.0, 1.1])
    losses = worlds.point_log(sizes, 1e14 / 6 / sizes)
    assert losses.argmin() == 1
    assert math.log(made.choice.loss_nats) == pytest.approx(losses[1])
    assert made.prediction.loss_nats == pytest.approx(made.choice.loss_nats)
    assert made.params_interval[0] < made.choice.params < made.params_interval[1]
    assert made.params_interval[0] * made.tokens_interval[1] == pytest.approx(1e14 / 6)
    own = np.exp(BestSplits(worlds).own_params(1e14))
    inside = (made.params_interval[0] <= own) & (own <= made.params_interval[1])
    assert float(worlds.weight[inside].sum()) == pytest.approx(0.9, abs=0.02)
    back = allocate(over_laws, Target(target_loss=made.choice.loss_nats))
    assert back.choice.params == pytest.approx(made.choice.params, rel=1e-6)
    assert back.prediction.flops_interval and back.params_interval
    assert back.prediction.flops_interval[0] < 1e14 < back.prediction.flops_interval[1]
    text = allocate_text.format_allocation(made)
    assert "loss by each law, fitted with more weight on runs of more compute: chinchilla " in text
    assert "worlds of the forecast" in text
    document = allocate_text.allocation_json(made)
    assert [row["law"] for row in document["by_law"]] == ["chinchilla", "coupled"]


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(tokens_unique=2e6),
        Scenario(tokens_served=1e9),
        Scenario(tokens_unique=2e6, tokens_served=1e8),
    ],
    ids=["repeats", "service", "both"],
)
def test_limits_are_answered_over_laws_with_an_interval(over_laws, scenario):
    made = allocate(over_laws, flops(1e14), scenario=scenario)
    assert made.params_interval and made.tokens_interval
    assert made.params_interval[0] < made.choice.params < made.params_interval[1]
    assert made.choice.params < made.plain.params
    assert made.prediction.loss_nats == pytest.approx(made.choice.loss_nats, rel=1e-9)
    nearby = allocate(over_laws, flops(1e14)).choice
    assert made.choice.loss_nats > nearby.loss_nats


def test_an_answer_that_the_worlds_do_not_determine_says_so(over_laws):
    made = allocate(over_laws, flops(1e14))
    wide = dataclasses.replace(made, params_interval=(1e2, 1e20), tokens_interval=(1e1, 1e30))
    text = allocate_text.format_allocation(wide)
    assert "90% interval: params not determined, tokens not determined (" in text
    far = dataclasses.replace(made.prediction, refused="too far")
    text = allocate_text.format_allocation(dataclasses.replace(wide, prediction=far))
    assert "compute-optimal: params and tokens not determined, 100T FLOPs" in text


@pytest.mark.parametrize("flops", [1.3e20, 1e24])
@pytest.mark.parametrize("name", PUBLISHED_SURFACES)
def test_published_laws_give_no_interval_of_the_split(name, flops):
    # the error of a alone is zero within the data, where all of it is in the other parameter
    made = ask(name, flops=flops)
    assert made.params_interval is None and made.tokens_interval is None
    text = allocate_text.format_allocation(made)
    assert "90% interval" not in text and text.count("no interval") == 1, "it is said once"
    known = "params ~ flops^a was published: 0.513 +- 0.020 (one standard error)" in text
    assert known == (name == "besiroglu2024")


def test_far_beyond_its_data_a_fitted_law_gives_only_ranges(fitted):
    made = allocate(fitted, flops(1e20))
    assert made.prediction.refused and made.params_interval and made.tokens_interval
    text = allocate_text.format_allocation(made)
    choice = made.choice
    low, high = (rounded_count(end, 2) for end in made.params_interval)
    assert f"{low} to {high} params on" in text.splitlines()[1]
    assert f"{format_count(choice.params)} params on" not in text
    assert format_count(choice.tokens) + " tokens" not in text.splitlines()[1]
    assert f"{choice.loss_nats:.3f}" not in text and "from smaller models:" not in text
    assert "the fewest" not in text and "no figures so far beyond the data" in text
    rows = allocate_text.format_comparison([made], [])
    assert f"{low} to {high}" in rows and format_count(choice.params) not in rows
    # the cost is then a range as well
    expensive = allocate(fitted, Target(target_loss=1.96))
    assert expensive.prediction.refused and expensive.prediction.flops_interval
    assert re.search(
        r"peak: \S+ to \S+ device-hours at", allocate_text.format_allocation(expensive)
    )
    # and near the data single figures are given
    near = allocate_text.format_allocation(allocate(fitted, flops(1e14)))
    assert "from smaller models:" in near and "90% interval:" in near


def test_a_range_of_sizes_has_the_shapes_of_its_ends_and_none_between(fitted):
    made = allocate(fitted, flops(1e20))
    assert made.setup is None and made.layout is None and made.params_interval
    far = allocate_text.format_allocation(made)
    (line,) = [line for line in far.splitlines() if line.startswith("shapes from ")]
    for end, setup in zip(made.params_interval, made.end_setups, strict=True):
        size = setup.shape["params_" + setup.counted]
        assert abs(math.log(size / end)) < 0.1 and setup.shape["text"] in line
    assert "\nshape" not in far.replace("\nshapes from", "") and "layout" not in far
    document = allocate_text.allocation_json(made)
    assert document["shape"] is None and len(document["of_the_range"]) == 2


def test_a_range_that_is_too_wide_to_pick_a_size_says_so(fitted):
    made = allocate(fitted, flops(1e20))
    low, _ = made.params_interval or (math.nan, math.nan)
    for orders, said in ((0.9, False), (5.0, True)):
        wide = dataclasses.replace(made, params_interval=(low, low * 10**orders))
        text = allocate_text.format_allocation(wide)
        assert ("too many to pick one: train larger models first" in text) is said
        assert ("span 5.0 orders of magnitude" in text) is said


def test_a_size_that_the_worlds_do_not_determine_has_no_shape(fitted):
    far = allocate(fitted, flops(1e20))
    unknown = dataclasses.replace(far, params_interval=None, tokens_interval=None, end_setups=())
    assert "\nshape" not in allocate_text.format_allocation(unknown)


def test_the_memory_limit_is_met_exactly(fitted):
    made = allocate(fitted, flops(1e20), scenario=Scenario(memory_bytes=2e9))
    assert made.choice.kind == "memory_limited" and made.prediction.refused
    words = allocate_text.format_allocation(made).splitlines()[1]
    assert f"{format_count(made.choice.params)} params on" in words


@pytest.mark.parametrize(("flops", "capped"), [(1e20, False), (1.3e20, False), (1e22, True)])
def test_a_batch_at_the_rules_limit_is_reported(flops, capped):
    made = ask(flops=flops)
    assert made.setup is not None
    assert (made.setup.batch_wanted_tokens > MAX_BATCH_TOKENS) == capped
    assert any("the largest validated" in words for words in made.warnings) == capped


def test_steplaws_lr_stops_growing_beyond_its_measured_tokens():
    # arXiv 2503.04715: 2B to 100B tokens, at 39T its formula would give six times the LR
    made = ask(flops=1e24, memory_bytes=80e9)
    assert made.setup is not None and made.setup.rule == "steplaw"
    size = made.setup.shape["params_non_embedding"]
    assert made.setup.lr == pytest.approx(1.79 * size**-0.713 * 100e9**0.307, rel=1e-3)
    assert made.setup.warmup_tokens <= 901e6  # as far as Porian 2024 measured N tokens of it
    assert any("not on 39.2T: its LR" in words for words in made.warnings)
    text = allocate_text.format_allocation(made)
    assert "60M to 1B params on 2B to 100B tokens" in text
    within = ask(flops=1.3e20)
    assert not any("tokens, not on" in words for words in within.warnings)


def test_the_sweeps_own_rule_goes_first_near_its_sizes_and_another_says_why():
    own = dataclasses.replace(
        tiny_spec().optim, rule="slaw_small", overrides=RuleOverrides(batch_tokens=512)
    )
    near, far = (training_setup(n, 20 * n, "non_embedding", own=own) for n in (2e6, 1e9))
    assert near.rule == "slaw_small"
    assert near.why_rule == "the sweep's own, without its batch_tokens=512"
    assert any("tune near its values" in words for words in near.doubts)
    assert far.rule == "steplaw"
    assert far.why_rule == (
        "the nearest to this size; the sweep's own is slaw_small batch_tokens=512, of 14K to 440K"
        " params"
    )
    assert training_setup(1e9, 2e10, "matmul", own=own, rule="slaw_small").why_rule == "as asked"
    assert training_setup(1e9, 2e10, "matmul").why_rule == "the nearest to this size"


def test_a_rule_far_beyond_its_sizes_is_marked_as_a_guess():
    far, near = (" ".join(ask(flops=flops).warnings) for flops in (1e26, 1e21))
    assert "its LR there is a guess" in far
    assert "its LR there is a guess" not in near and "tune near its values" in near


def test_energy_states_its_factors_and_long_times_print_in_years():
    text = allocate_text.format_allocation(ask(flops=1e24))
    assert "80.1 years" in text and "K days" not in text
    assert "540K kWh (0.7 kW a device x PUE 1.1)" in text
    assert "below $0.01 at $3 an hour" in allocate_text.format_allocation(ask(flops=1e13))


@pytest.mark.parametrize("name", PUBLISHED_SURFACES)
def test_a_law_is_called_by_the_requested_name(name):
    made = ask(name, flops=1e22)
    document = allocate_text.allocation_json(made)
    assert document["law"] == name and document["form"] == published_law(name).law.name


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"target_loss": 1.5}, "irreducible loss E"),
        ({"flops": 1.0}, "no such model"),
        ({"flops": 1e22, "memory_bytes": 1e6}, "no model fits into 1 MB to train"),
        ({"target_loss": 2.0, "memory_bytes": 24e9}, "no number of tokens brings"),
        ({"flops": 1e20, "tokens_served": 1e30}, "do not pay for any model"),
        ({"target_loss": 2.0, "tokens_unique": 1e9}, "with 1B different tokens"),
    ],
)
def test_impossible_allocations_are_refused(asked, said):
    with pytest.raises(FitError, match=said) as caught:
        ask(**asked)
    assert len(caught.value.lines) == 1


def test_a_law_at_a_bound_does_not_extrapolate(fitted):
    bound = dataclasses.replace(
        fitted.fit, status="at_bound", params={**fitted.fit.params, "beta": 1e-4}
    )
    with pytest.raises(FitError, match="beta"):
        allocate(dataclasses.replace(fitted, fit=bound), flops(1e15))


def test_laws_of_one_variable_have_no_split():
    with pytest.raises(FitError, match="no best split"):
        ask("kaplan2020_c", flops=1e20)


@pytest.mark.parametrize("given", [{}, {"flops": 1e20, "dollars": 5.0}])
def test_exactly_one_budget_is_expected(given):
    with pytest.raises(ConfigError, match="expected one of --flops"):
        budget_or_loss(**given)


def test_several_laws_are_rows_and_a_failing_one_leaves_the_others(fitted):
    laws = [*find_laws(["besiroglu2024", "kaplan2020_c"], None), fitted]
    made, refused = compare(laws, lambda source: allocate(source, flops(1e15)))
    assert len(made) == 2 and len(refused) == 1
    text = allocate_text.format_comparison(made, refused)
    assert "besiroglu2024" in text and "no best split" in text
    assert "params counted" in text and "FLOPs 6 x params x tokens" in text
    document = allocate_text.comparison_json(made, refused)
    assert {each["form"] for each in document["allocations"]} == {"chinchilla"}
    assert [each["law"] for each in document["allocations"]] == ["besiroglu2024", "chinchilla"]
    with pytest.raises(FitError, match="no best split"):
        compare(laws[1:2], lambda source: allocate(source, flops(1e15)))


@pytest.mark.parametrize("words", ["--flops 1e24", "--target-loss 2 --tokens-served 1e12"])
def test_the_command_prints_one_document_with_its_conventions(words, capsys):
    assert main(["allocate", "--law", "besiroglu2024", *words.split(), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.keys() >= KEYS
    assert document["conventions"]["params"] == "total"
    assert "6nd" in document["conventions"]["flops"]
    assert document["device"]["default"] and document["device"]["name"] == "H100 SXM"
    assert document["params"] * document["tokens"] * 6 == pytest.approx(document["flops"])
    shape = document["shape"]
    assert abs(math.log(shape["params_total"] / document["params"])) < 0.1


def test_the_command_names_its_defaults(capsys):
    assert main(["allocate", "--law", "hoffmann2022", "--flops", "1e21"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("law hoffmann2022, published")
    assert "(the default: choose with --gpu)" in out
    assert out.count("no interval") == 1
    assert np.char.count(out, "the same loss") == 1


def test_a_budget_that_pays_for_serving_states_the_price():
    made = ask(dollars=1e6, tokens_served=1e13)
    assert made.choice.flops < made.choice.extra["total_flops"]
    assert any("pay for serving" in words for words in made.warnings)
    assert not any("pay for serving" in words for words in ask(dollars=1e6).warnings)


@pytest.mark.parametrize(
    ("amount", "count", "said"),
    [
        (1e20, 8, "fits data parallel over 8 devices.*kind: ddp, devices: 8"),
        (1e23, 64, "fits ZeRO-3 over 64 devices.*kind: fsdp, devices: 64"),
        (1e23, 1, "needs ZeRO-3 over 8 devices.*or pipeline 9.*8 devices of 80 GB, and 1 given"),
        (1e23, 2048, "they cannot share a batch of 512 sequences evenly: the layout is of 8"),
        (1e25, 1, "needs ZeRO-1 2 x pipeline 116, 232 devices.*slaw itself does not train it"),
        (1e25, 512, "data parallel alone does not fit: the layout is of 232"),
        (1e28, 1, "neither ZeRO-3 nor tensor parallel, a pipeline and ZeRO-1 together"),
    ],
)
def test_the_layout_is_one_of_the_given_devices_or_says_why_not(amount, count, said):
    answer = ask(flops=amount, hardware=Hardware(count=count))
    text = allocate_text.format_allocation(answer)
    assert re.search(said, text, re.DOTALL), text
