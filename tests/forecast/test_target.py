"""From dollars, ratios and service to a target, and what a target takes."""

from __future__ import annotations

import dataclasses
import math

import pytest

from scaling_law.errors import ConfigError, FitError
from scaling_law.forecast.allocate import Question, allocate
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.published import comparison, published_law
from scaling_law.forecast.session import find_law, forecast
from scaling_law.forecast.shape import LARGE_MODEL
from scaling_law.forecast.target import Wish, consequences, decision_lines, settle

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
        (
            {"target_loss": 2.1},
            Wish(tokens_served=1e12, tokens_unique=1e9),
            "slaw allocate takes both",
        ),
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


def test_repeats_are_worth_as_much_as_to_allocate():
    found = find_law("muennighoff2023", None)
    made = allocate(found, Question(flops=1e22, tokens_unique=25e9))
    told = extrapolate(
        found.fit, params=made.choice.params, tokens=made.choice.tokens, tokens_unique=25e9
    )
    assert told.loss_nats == pytest.approx(made.choice.loss_nats, rel=1e-9)
    assert told.tokens == made.choice.tokens and told.tokens_unique == 25e9
    plain = extrapolate(found.fit, params=told.params, tokens=told.tokens)
    assert plain.loss_nats < told.loss_nats
    # Muennighoff 2023, equation 5, written out: 10 epochs of 100B tokens, which fill 4e9 parameters
    worth = 100e9 * (1 + 15.39 * (1 - math.exp(-9 / 15.39)))
    told = extrapolate(found.fit, params=4e9, tokens=1e12, tokens_unique=100e9)
    assert told.loss_nats == pytest.approx(1.87 + 521 / 4e9**0.353 + 1488 / worth**0.353)
    rows = {row["law"]: row for row in comparison(told)}
    expected = 1.8172 + 482.01 / 4e9**0.3478 + 2085.43 / worth**0.3658
    assert rows["besiroglu2024"]["loss_nats"] == pytest.approx(expected)


def test_repeats_are_told_under_any_law():
    wish = Wish(tokens_unique=100e9)
    found = forecast(
        law="besiroglu2024", results=None, targets={"params": 7e9, "tokens": 1e12}, wish=wish
    )
    assert "1T tokens (10 epochs of 100B)" in found.text
    assert "with nothing repeated, best split" in found.text
    assert found.decision["over_training"] is None
    assert any("not this law's" in words for words in found.prediction.warnings)
    ample = Wish(tokens_unique=1e15)
    once = forecast(
        law="besiroglu2024", results=None, targets={"params": 7e9, "tokens": 1e12}, wish=ample
    )
    assert "1T tokens, all different, 4.2e+22 FLOPs" in once.text
    assert once.prediction.loss_nats == pytest.approx(
        extrapolate(FIT, params=7e9, tokens=1e12).loss_nats
    )
    own = forecast(
        law="muennighoff2023", results=None, targets={"params": 7e9, "tokens": 1e12}, wish=wish
    )
    assert not any("not this law's" in words for words in own.prediction.warnings)


@pytest.mark.parametrize(
    ("law", "targets", "said"),
    [
        ("besiroglu2024", {"target_loss": 2.2}, "slaw allocate"),
        ("kaplan2020_c", {"flops": 1e20}, "law kaplan2020_c is not one of params and tokens"),
    ],
)
def test_repeats_that_cannot_be_valued_are_refused(law, targets, said):
    with pytest.raises(ConfigError, match=said):
        forecast(law=law, results=None, targets=targets, wish=Wish(tokens_unique=1e9))


def test_the_shape_has_the_sweeps_vocabulary_and_context():
    template = dataclasses.replace(LARGE_MODEL, vocab_size=1024, n_ctx=64)
    prediction = extrapolate(FIT, params=2e6)
    own, large = (
        decision_lines(consequences(FIT, prediction, Wish(), None, t)) for t in (template, None)
    )
    assert "the sweep's vocabulary 1,024 and context 64" in own[0]
    assert "a large model's vocabulary 50,304 and context 2,048" in large[0]
    shape = consequences(FIT, prediction, Wish(), None, template)["shape"]
    assert shape["params_non_embedding"] > 0.7 * 2e6


def test_costs_below_a_cent_and_energys_constant_are_said():
    small = extrapolate(FIT, params=1e5, tokens=1e6)
    lines = "\n".join(decision_lines(consequences(FIT, small, Wish(gpu="h100"), None)))
    assert "below $0.01" in lines and "$0," not in lines
    assert "(0.7 kW a device x PUE 1.1)" in lines
