"""From dollars, ratios and service to a target, and what a target takes."""

from __future__ import annotations

import dataclasses
import math

import pytest

from scaling_law.errors import ConfigError, FitError
from scaling_law.forecast.allocate import allocate
from scaling_law.forecast.budget import Budget
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.hardware import Hardware, named_hardware
from scaling_law.forecast.published import comparison, published_law
from scaling_law.forecast.scenario import Scenario, consequences, decision_lines, settle, spend
from scaling_law.forecast.session import find_law, forecast
from scaling_law.forecast.shape import LARGE_MODEL
from scaling_law.forecast.target import Target

FIT = published_law("besiroglu2024")


def test_dollars_become_the_flops_of_the_named_device():
    dollars = Budget(unit="dollars", amount=1e6)
    hardware = Hardware(gpu="h100", dollars_per_hour=2.0, utilisation=0.5)
    target = spend(Target(), dollars, hardware)
    assert target.flops == pytest.approx(1e6 / 2.0 * 3600 * 989.4e12 * 0.5)
    answer = forecast(
        law="besiroglu2024",
        results=None,
        target=Target(),
        budget=dollars,
        hardware=Hardware(dollars_per_hour=2.0),
    )
    assert answer.decision["cost"]["dollars"] == pytest.approx(1e6)
    assert "$1,000,000" in answer.text and "H100" in answer.text


@pytest.mark.parametrize("target", [Target(flops=6e20), Target(params=1e9), Target(tokens=1e11)])
def test_a_ratio_of_tokens_completes_any_target(target):
    settled, _ = settle(FIT, target, Scenario(tokens_per_param=100.0))
    assert settled.given == pytest.approx({"params": 1e9, "tokens": 1e11})


def test_over_training_says_what_it_costs():
    settled, _ = settle(FIT, Target(params=7e9), Scenario(tokens_per_param=200.0))
    prediction = extrapolate(FIT, settled)
    decision = consequences(FIT, prediction, Scenario(), None)
    assert decision["over_training"]["compute_ratio"] > 1.3
    assert "not the compute-optimal split" in "\n".join(decision_lines(decision))
    best = extrapolate(FIT, Target(flops=1e23))
    exact = consequences(FIT, best, Scenario(), None)
    assert exact["over_training"]["compute_ratio"] == pytest.approx(1.0, abs=1e-6)


def test_serving_makes_the_model_smaller():
    scenario = Scenario(tokens_served=1e13)
    settled, choice = settle(FIT, Target(target_loss=2.1), scenario)
    plain = extrapolate(FIT, Target(target_loss=2.1))
    assert plain.params is not None and settled.given["params"] < plain.params
    prediction = extrapolate(FIT, settled)
    assert prediction.loss_nats == pytest.approx(2.1)
    lines = "\n".join(decision_lines(consequences(FIT, prediction, scenario, choice)))
    assert "serving 10T tokens" in lines


def test_the_shape_has_the_size():
    prediction = extrapolate(FIT, Target(params=175e9))
    shape = consequences(FIT, prediction, Scenario(), None)["shape"]
    assert shape["n_layer"] == 96 and shape["d_model"] == 12288
    assert abs(shape["params_total"] / 175e9 - 1) < 0.05


@pytest.mark.parametrize(
    ("target", "scenario", "said"),
    [
        (Target(params=1e9), Scenario(tokens_served=1e12), "need a target loss"),
        (
            Target(params=1e9, tokens=1e9),
            Scenario(tokens_per_param=20.0),
            "expected one of params",
        ),
        (
            Target(target_loss=2.1),
            Scenario(tokens_served=1e12, tokens_unique=1e9),
            "slaw allocate takes both",
        ),
        (Target(params=1e9), Scenario(memory_bytes=1e9), "slaw allocate takes it"),
    ],
)
def test_contradictory_options_are_refused(target, scenario, said):
    with pytest.raises(ConfigError, match=said):
        settle(FIT, target, scenario)


@pytest.mark.parametrize(
    ("target", "hardware", "said"),
    [
        (Target(flops=1e20), Hardware(), "dollars and flops given: expected one of them"),
        (Target(), Hardware(gpu="m2"), "no rental price"),
        (Target(), Hardware(gpu="h10000"), "did you mean H100 SXM"),
        (Target(), Hardware(utilisation=1.5), r"utilisation \(--mfu\) is 1.5"),
    ],
)
def test_dollars_that_buy_no_flops_are_refused(target, hardware, said):
    with pytest.raises(ConfigError, match=said):
        spend(target, Budget(unit="dollars", amount=100.0), hardware)


def test_a_price_needs_a_device():
    price = Hardware(dollars_per_hour=2.0)
    with pytest.raises(ConfigError, match="gpu price given without a device"):
        named_hardware(price, dollars=None)
    assert named_hardware(price, dollars=5.0) is price
    assert named_hardware(Hardware(), dollars=None) is None


def test_a_loss_below_the_laws_minimum_is_refused():
    with pytest.raises(FitError, match=r"no model reaches 1\.5"):
        settle(FIT, Target(target_loss=1.5), Scenario(tokens_served=1e12))


def test_repeats_count_as_in_allocate():
    source = find_law("muennighoff2023", None)
    budget = Budget(unit="flops", amount=1e22)
    made = allocate(source, budget, scenario=Scenario(tokens_unique=25e9))
    prediction = extrapolate(
        source.fit, Target(params=made.choice.params, tokens=made.choice.tokens), tokens_unique=25e9
    )
    assert prediction.loss_nats == pytest.approx(made.choice.loss_nats, rel=1e-9)
    assert prediction.tokens == made.choice.tokens and prediction.tokens_unique == 25e9
    plain = extrapolate(source.fit, Target(params=prediction.params, tokens=prediction.tokens))
    assert plain.loss_nats < prediction.loss_nats
    # Muennighoff 2023, equation 5, written out: 10 epochs of 100B tokens, which fill 4e9 parameters
    worth = 100e9 * (1 + 15.39 * (1 - math.exp(-9 / 15.39)))
    prediction = extrapolate(source.fit, Target(params=4e9, tokens=1e12), tokens_unique=100e9)
    assert prediction.loss_nats == pytest.approx(1.87 + 521 / 4e9**0.353 + 1488 / worth**0.353)
    rows = {row["law"]: row for row in comparison(prediction)}
    expected = 1.8172 + 482.01 / 4e9**0.3478 + 2085.43 / worth**0.3658
    assert rows["besiroglu2024"]["loss_nats"] == pytest.approx(expected)


def test_repeats_are_reported_under_any_law():
    short, target = Scenario(tokens_unique=100e9), Target(params=7e9, tokens=1e12)
    answer = forecast(law="besiroglu2024", results=None, target=target, scenario=short)
    assert "1T tokens (10 epochs of 100B)" in answer.text
    assert "with nothing repeated, best split" in answer.text
    assert answer.decision["over_training"] is None
    assert any("not this law's" in words for words in answer.prediction.warnings)
    ample = Scenario(tokens_unique=1e15)
    once = forecast(law="besiroglu2024", results=None, target=target, scenario=ample)
    assert "1T tokens, all different, 4.2e+22 FLOPs" in once.text
    assert once.prediction.loss_nats == pytest.approx(
        extrapolate(FIT, Target(params=7e9, tokens=1e12)).loss_nats
    )
    own = forecast(law="muennighoff2023", results=None, target=target, scenario=short)
    assert not any("not this law's" in words for words in own.prediction.warnings)


@pytest.mark.parametrize(
    ("law", "target", "said"),
    [
        ("besiroglu2024", Target(target_loss=2.2), "slaw allocate"),
        ("kaplan2020_c", Target(flops=1e20), "law kaplan2020_c is not one of params and tokens"),
    ],
)
def test_repeats_that_cannot_be_valued_are_refused(law, target, said):
    with pytest.raises(ConfigError, match=said):
        forecast(law=law, results=None, target=target, scenario=Scenario(tokens_unique=1e9))


def test_the_shape_has_the_sweeps_vocabulary_and_context():
    template = dataclasses.replace(LARGE_MODEL, vocab_size=1024, n_ctx=64)
    prediction = extrapolate(FIT, Target(params=2e6))
    own, large = (
        decision_lines(consequences(FIT, prediction, Scenario(), None, template=t))
        for t in (template, None)
    )
    assert "the sweep's vocabulary 1,024 and context 64" in own[0]
    assert "a large model's vocabulary 50,304 and context 2,048" in large[0]
    shape = consequences(FIT, prediction, Scenario(), None, template=template)["shape"]
    assert shape["params_non_embedding"] > 0.7 * 2e6


def test_a_size_of_which_only_a_range_may_be_quoted_has_no_shape():
    best = extrapolate(FIT, Target(flops=1e20))
    far = dataclasses.replace(best, refused="too far", level=0.9)
    shapes = {
        (prediction is far, chosen): consequences(FIT, prediction, Scenario(), None, chosen=chosen)[
            "shape"
        ]
        for prediction in (best, far)
        for chosen in (True, False)
    }
    assert [case for case, shape in shapes.items() if shape is None] == [(True, True)]


@pytest.mark.parametrize(
    ("law", "said"),
    [
        ("chinchilla", "--law hoffmann2022, besiroglu2024 or muennighoff2023"),
        ("kaplan_nd", "its published parameters need no runs: --law kaplan2020"),
        ("kaplan", r"did you mean kaplan2020 \(published\) or kaplan_nd\?"),
        ("hoffmann", r"did you mean hoffmann2022 \(published\)\?"),
        ("skaling", "or take a published law"),
    ],
)
def test_a_law_without_runs_is_answered_with_the_published_ones_of_its_form(
    law, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        find_law(law, None)


def test_costs_below_a_cent_and_the_constant_of_energy_are_printed():
    small = extrapolate(FIT, Target(params=1e5, tokens=1e6))
    lines = "\n".join(
        decision_lines(consequences(FIT, small, Scenario(), None, hardware=Hardware(gpu="h100")))
    )
    assert "below $0.01" in lines and "$0," not in lines
    assert "(0.7 kW a device x PUE 1.1)" in lines
