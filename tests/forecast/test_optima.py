import itertools
import math
from functools import partial

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.solver.interval import log_loss
from scaling_law.fit.surface import surface_of
from scaling_law.forecast.optima import (
    MOST_FLOPS,
    Loss,
    cheapest_for_loss,
    compute_optimal,
    inference_aware,
    over_trained,
    size_cost_curve,
)
from scaling_law.forecast.published import PUBLISHED_SURFACES, published_law
from scaling_law.forecast.shape import concrete_shape


def chinchilla(
    params: float,
    tokens: float,
    *,
    floor: float = 1.8172,
    size: float = 482.01,
    data: float = 2085.43,
    alpha: float = 0.3478,
    beta: float = 0.3658,
) -> float:
    """Besiroglu 2024, written out once more."""
    return math.log(floor + size * params**-alpha + data * tokens**-beta)


def published(name: str) -> Loss:
    fit = published_law(name)
    return lambda n, d: log_loss(fit.law, fit.params, {"params": n, "tokens": d})


@pytest.mark.parametrize("name", PUBLISHED_SURFACES)
@pytest.mark.parametrize("flops", [1e15, 1e21, 5.76e23, 1e27])
def test_the_optimum_matches_the_closed_form(name, flops):
    fit = published_law(name)
    surface = surface_of(fit.law, fit.params)
    assert surface is not None and surface.split is not None
    best = compute_optimal(published(name), flops)
    assert best.params == pytest.approx(surface.split.params(flops), rel=1e-7)
    assert best.tokens == pytest.approx(surface.split.tokens(flops), rel=1e-7)
    assert best.flops == pytest.approx(flops, rel=1e-12)
    assert best.tokens_per_param == pytest.approx(best.tokens / best.params)
    assert best.kind == "compute_optimal"


def test_besiroglus_law_gives_twenty_tokens_per_parameter():
    best = compute_optimal(chinchilla, 5.76e23)
    assert best.tokens_per_param == pytest.approx(18.4, abs=0.1)
    assert best.params == pytest.approx(72e9, rel=0.01)


@settings(deadline=None, max_examples=40)
@given(
    flops=st.floats(1e12, 1e28),
    shift=st.floats(-3, 3),
    alpha=st.floats(0.15, 0.8),
    beta=st.floats(0.15, 0.8),
    floor=st.floats(0, 3),
)
def test_no_other_split_of_the_same_compute_has_a_lower_loss(flops, shift, alpha, beta, floor):
    law = partial(chinchilla, alpha=alpha, beta=beta, floor=floor)
    try:
        best = compute_optimal(law, flops)
    except FitError:
        assume(False)
        raise
    params = best.params * math.exp(shift)
    assert law(params, flops / 6 / params) >= math.log(best.loss_nats) - 1e-12


def test_the_optimum_is_stationary_along_the_same_compute():
    best = compute_optimal(chinchilla, 1e22)
    ahead = chinchilla(best.params * 1.001, best.tokens / 1.001)
    behind = chinchilla(best.params / 1.001, best.tokens * 1.001)
    assert abs(ahead - behind) / 0.002 < 1e-8


def test_a_law_that_is_no_power_law_is_minimised():
    # no closed form: repeated data worth less, as a cap on the tokens that count
    def capped(params: float, tokens: float) -> float:
        return chinchilla(params, 1e11 * (1 - math.exp(-tokens / 1e11)))

    best = compute_optimal(capped, 1e23)
    free = compute_optimal(chinchilla, 1e23)
    assert best.params > free.params
    for factor in (0.9, 0.99, 1.01, 1.1):
        other = capped(best.params * factor, best.tokens / factor)
        assert other > math.log(best.loss_nats)


@pytest.mark.parametrize(
    "law",
    [
        lambda n, d: math.log(2 + 400 / n**0.3),  # tokens do not matter
        lambda n, d: math.log(2 + 400 / d**0.3),  # params do not matter
        lambda n, d: math.nan,
        lambda n, d: math.inf,
    ],
)
def test_a_law_without_an_interior_optimum_is_refused(law):
    with pytest.raises(FitError, match="no compute-optimal split") as caught:
        compute_optimal(law, 1e20)
    assert len(caught.value.lines) == 1


@pytest.mark.parametrize("flops", [0.0, -1.0, 5.0, math.nan, math.inf, 1e61])
def test_an_invalid_budget_is_refused(flops):
    with pytest.raises(FitError):
        compute_optimal(chinchilla, flops)


def test_a_law_that_overflows_in_a_corner_is_still_minimised():
    def brittle(params: float, tokens: float) -> float:
        if params < 1e4:
            raise OverflowError
        return math.nan if tokens < 1e4 else chinchilla(params, tokens)

    expected = compute_optimal(chinchilla, 1e20).params
    assert compute_optimal(brittle, 1e20).params == pytest.approx(expected, rel=1e-9)


def test_over_training_costs_loss_and_compute():
    best = compute_optimal(chinchilla, 1e22)
    same = over_trained(chinchilla, 1e22, best.tokens_per_param)
    assert same.params == pytest.approx(best.params)
    assert same.extra["loss_penalty_nats"] == pytest.approx(0, abs=1e-12)
    assert same.extra["compute_ratio"] == pytest.approx(1, rel=1e-9)
    ratios = []
    for tokens_per_param in (40, 200, 1000):
        choice = over_trained(chinchilla, 1e22, tokens_per_param)
        assert choice.params == pytest.approx(math.sqrt(1e22 / 6 / tokens_per_param))
        assert choice.tokens / choice.params == pytest.approx(tokens_per_param)
        assert choice.flops == pytest.approx(1e22)
        penalty = choice.extra["loss_penalty_nats"]
        assert choice.loss_nats - best.loss_nats == pytest.approx(penalty) and penalty > 0
        # the compute-optimal model of that much less compute has the same loss
        cheaper = compute_optimal(chinchilla, 1e22 / choice.extra["compute_ratio"])
        assert cheaper.loss_nats == pytest.approx(choice.loss_nats, rel=1e-9)
        ratios.append(choice.extra["compute_ratio"])
    assert ratios == sorted(ratios) and ratios[0] > 1


@pytest.mark.parametrize("name", PUBLISHED_SURFACES)
def test_cheapest_for_loss_is_the_dual_of_compute_optimal(name):
    law = published(name)
    best = compute_optimal(law, 1e21)
    cheapest = cheapest_for_loss(law, best.loss_nats)
    assert cheapest.flops == pytest.approx(1e21, rel=1e-9)
    assert cheapest.params == pytest.approx(best.params, rel=1e-6)
    assert cheapest.loss_nats == pytest.approx(best.loss_nats, rel=1e-12)


def test_more_serving_gives_a_smaller_model_trained_for_longer():
    # Sardana 2023: both shift with demand, at the same loss
    target = compute_optimal(chinchilla, 1e23).loss_nats
    plain = cheapest_for_loss(chinchilla, target)
    nothing = inference_aware(chinchilla, target, 0)
    assert nothing.params == pytest.approx(plain.params)
    assert nothing.extra["saving"] == pytest.approx(0, abs=1e-12)
    choices = [
        inference_aware(chinchilla, target, served) for served in (0, 1e11, 1e12, 1e13, 1e14)
    ]
    for before, after in itertools.pairwise(choices):
        assert after.params < before.params and after.tokens > before.tokens
        assert after.flops > before.flops
        assert after.extra["saving"] > before.extra["saving"] - 1e-12
        assert after.loss_nats == pytest.approx(target, rel=1e-10)
    last = choices[-1].extra
    assert last["total_flops"] == pytest.approx(choices[-1].flops + last["inference_flops"])
    assert last["inference_flops"] == pytest.approx(2 * choices[-1].params * 1e14)
    assert last["compute_optimal_total_flops"] == pytest.approx(
        plain.flops + 2 * plain.params * 1e14
    )
    assert last["saving"] == pytest.approx(
        1 - last["total_flops"] / last["compute_optimal_total_flops"]
    )


def test_the_inference_aware_choice_is_the_cheapest_on_its_contour():
    # tokens that give the loss at a size, in closed form
    target, served = 2.1, 2e12

    def total(params: float) -> float:
        rest = target - 1.8172 - 482.01 * params**-0.3478
        tokens = (2085.43 / rest) ** (1 / 0.3658)
        return 6 * params * tokens + 2 * params * served

    choice = inference_aware(chinchilla, target, served)
    assert total(choice.params) == pytest.approx(choice.extra["total_flops"], rel=1e-10)
    slope = (total(choice.params * 1.0001) - total(choice.params / 1.0001)) / 0.0002
    assert abs(slope) / total(choice.params) < 1e-5
    for factor in (0.8, 0.95, 1.05, 1.3):
        assert total(choice.params * factor) > total(choice.params)


def test_extreme_serving_still_gives_a_size_that_reaches_the_loss():
    choice = inference_aware(chinchilla, 2.1, 1e22)
    smallest = (482.01 / (2.1 - 1.8172)) ** (1 / 0.3478)
    assert smallest < choice.params < 1.01 * smallest


def test_a_loss_below_the_laws_minimum_is_refused_with_that_minimum():
    for ask in (cheapest_for_loss, partial(inference_aware, tokens_served=1e12)):
        with pytest.raises(
            FitError, match=r"no model reaches 1\.8 nats: .* 1\.8172 nats"
        ) as caught:
            ask(chinchilla, 1.8)
        assert len(caught.value.lines) == 1


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf])
def test_an_invalid_target_loss_is_refused(target):
    with pytest.raises(FitError, match="positive number of nats"):
        cheapest_for_loss(chinchilla, target)


def test_a_target_loss_that_every_model_reaches_is_refused():
    with pytest.raises(FitError, match="no cheapest model"):
        cheapest_for_loss(chinchilla, 1e5)


@pytest.mark.parametrize("served", [-1.0, math.nan, 10 * MOST_FLOPS])
def test_serving_out_of_range_is_refused(served):
    with pytest.raises(ConfigError, match="tokens served"):
        inference_aware(chinchilla, 2.1, served)


def test_smaller_models_of_the_same_loss_cost_more_to_train():
    rows = size_cost_curve(chinchilla, 5.76e23)
    best = compute_optimal(chinchilla, 5.76e23)
    assert [row["shrink"] for row in rows] == [1, 0.75, 0.5, 0.35, 0.25]
    ratios = []
    for row in rows:
        params, tokens, ratio = row["params"], row["tokens"], row["compute_ratio"]
        assert params is not None and tokens is not None and ratio is not None
        # tokens = (B / (L - E - A N^-alpha))^(1/beta)
        rest = best.loss_nats - 1.8172 - 482.01 * params**-0.3478
        assert tokens == pytest.approx((2085.43 / rest) ** (1 / 0.3658), rel=1e-9)
        assert ratio == pytest.approx(6 * params * tokens / 5.76e23, rel=1e-9)
        ratios.append(ratio)
    assert ratios[0] == pytest.approx(1, rel=1e-9)
    assert ratios == sorted(ratios)


def test_half_the_size_costs_a_fifth_more_compute_under_hoffmanns_law():
    # de Vries 2023, with Hoffmann's parametric fit: 20% at half the size
    (row,) = size_cost_curve(published("hoffmann2022"), 5.76e23, shrink=(0.5,))
    assert row["compute_ratio"] == pytest.approx(1.20, abs=0.015)


def test_a_size_that_cannot_reach_the_loss_is_marked():
    (row,) = size_cost_curve(chinchilla, 5.76e23, shrink=(0.01,))
    assert row["tokens"] is None and row["flops"] is None and row["compute_ratio"] is None
    with pytest.raises(FitError, match="shrink"):
        size_cost_curve(chinchilla, 5.76e23, shrink=(0.0,))


def test_175_billion_parameters_give_gpt3s_shape():
    shape = concrete_shape(175e9)
    assert (shape["n_layer"], shape["d_model"]) == (96, 12288)
    assert shape["d_ff"] == 4 * 12288 and shape["d_model"] % shape["n_head"] == 0


@pytest.mark.parametrize("convention", ["total", "non_embedding", "matmul"])
@pytest.mark.parametrize("params", [30e6, 125e6, 1.3e9, 6.7e9, 70e9, 1e12])
def test_shapes_have_the_parameters_and_a_sensible_depth(params, convention):
    shape = concrete_shape(params, convention)
    assert shape[f"params_{convention}"] == pytest.approx(params, rel=0.1)
    assert shape["d_model"] <= 130 * shape["n_layer"]
    assert shape["params_total"] > shape["params_matmul"] > 0


def test_depth_grows_with_size():
    shapes = [concrete_shape(10 ** (7 + k / 4)) for k in range(25)]
    depths = [shape["n_layer"] for shape in shapes]
    assert depths == sorted(depths)


@pytest.mark.parametrize("params", [0.0, 1e4, 1e40, math.nan])
def test_a_size_without_a_shape_is_a_config_error(params):
    with pytest.raises(ConfigError):
        concrete_shape(params)


def test_an_unknown_convention_is_a_config_error():
    with pytest.raises(ConfigError, match="convention"):
        concrete_shape(1e9, "active")
