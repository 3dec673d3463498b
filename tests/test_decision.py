"""From dollars, ratios and service to a target, and what a target takes."""

from __future__ import annotations

import pytest

from scaling_law.decision import Wish, consequences, decision_lines, settle
from scaling_law.errors import ConfigError, FitError
from scaling_law.extrapolate import extrapolate
from scaling_law.fit.published import published_law
from scaling_law.forecast import forecast

FIT = published_law("besiroglu2024")


def test_dollars_buy_the_flops_of_the_named_device():
    asked, _ = settle(FIT, {}, Wish(dollars=1e6, gpu="h100", gpu_price=2.0, utilisation=0.5))
    assert asked["flops"] == pytest.approx(1e6 / 2.0 * 3600 * 989.4e12 * 0.5)
    found = forecast(
        law="besiroglu2024", results=None, targets={}, wish=Wish(dollars=1e6, gpu_price=2.0)
    )
    assert found.decision["cost"]["dollars"] == pytest.approx(1e6)
    assert "$1,000,000" in found.text and "H100" in found.text


@pytest.mark.parametrize(
    ("targets", "params", "tokens"),
    [
        ({"flops": 6e20}, 1e9, 1e11),
        ({"params": 1e9}, 1e9, 1e11),
        ({"tokens": 1e11}, 1e9, 1e11),
    ],
)
def test_a_ratio_of_tokens_completes_any_target(targets, params, tokens):
    asked, _ = settle(FIT, targets, Wish(tokens_per_param=100.0))
    assert asked == pytest.approx({"params": params, "tokens": tokens})


def test_over_training_says_what_it_costs():
    asked, _ = settle(FIT, {"params": 7e9}, Wish(tokens_per_param=200.0))
    prediction = extrapolate(FIT, params=asked["params"], tokens=asked["tokens"])
    found = consequences(FIT, prediction, Wish(), None)
    assert found["over_training"]["compute_ratio"] > 1.3
    assert "not the compute-optimal split" in "\n".join(decision_lines(found))
    best = extrapolate(FIT, flops=1e23)
    exact = consequences(FIT, best, Wish(), None)
    assert exact["over_training"]["compute_ratio"] == pytest.approx(1.0, abs=1e-6)


def test_what_is_served_makes_the_model_smaller():
    wish = Wish(tokens_served=1e13)
    asked, choice = settle(FIT, {"target_loss": 2.1}, wish)
    plain = extrapolate(FIT, target_loss=2.1)
    assert plain.params is not None and asked["params"] < plain.params
    prediction = extrapolate(FIT, params=asked["params"], tokens=asked["tokens"])
    assert prediction.loss_nats == pytest.approx(2.1)
    lines = "\n".join(decision_lines(consequences(FIT, prediction, wish, choice)))
    assert "serving 10T tokens" in lines


def test_the_shape_is_of_the_size():
    prediction = extrapolate(FIT, params=175e9)
    shape = consequences(FIT, prediction, Wish(), None)["shape"]
    assert shape["n_layer"] == 96 and shape["d_model"] == 12288
    assert abs(shape["params_total"] / 175e9 - 1) < 0.05


@pytest.mark.parametrize(
    ("targets", "wish", "said"),
    [
        ({"flops": 1e20}, Wish(dollars=5.0), "expected one of them"),
        ({"params": 1e9}, Wish(tokens_served=1e12), "need a target loss"),
        ({"params": 1e9, "tokens": 1e9}, Wish(tokens_per_param=20.0), "expected one of params"),
        ({}, Wish(dollars=100.0, gpu="m2"), "no rental price"),
        ({}, Wish(dollars=100.0, gpu="h10000"), "expected one of"),
        ({}, Wish(dollars=100.0, utilisation=1.5), "utilisation is 1.5"),
    ],
)
def test_contradictions_are_refused(targets, wish, said):
    with pytest.raises(ConfigError, match=said):
        settle(FIT, targets, wish)


def test_a_loss_below_the_floor_cannot_be_served():
    with pytest.raises(FitError, match=r"no model reaches 1\.5"):
        settle(FIT, {"target_loss": 1.5}, Wish(tokens_served=1e12))


def test_repeated_data_need_the_law_for_it():
    with pytest.raises(ConfigError, match="need law muennighoff"):
        extrapolate(FIT, params=1e9, tokens=1e11, tokens_unique=1e10)
