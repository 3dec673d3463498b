"""What a plan says before training: rounded sizes, one rate at every batch, too few tokens."""

from __future__ import annotations

from scaling_law.config.load import load_config
from scaling_law.config.schema import DEVICE_KINDS
from scaling_law.plan.make import make_plan
from scaling_law.plan.remarks import remarks
from scaling_law.run.text import dry_run_text, too_few_words
from tests.fakes import config_of, cpu_profile, ladder_config

SWEEP = """
name: remarks
data: {corpus: installed, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 16}
grid:
  - sizes: [nano14k]
    tokens: [50k, 100k, 200k]
optim: {rule: slaw_small, batch_tokens: 512}
precision: fp32
limits: {time: 10h}
"""


def said(*overrides: str) -> list[str]:
    config = config_of(SWEEP, *overrides)
    return remarks(config, make_plan(config, cpu_profile(), train_tokens=None))


def test_a_plan_with_nothing_to_remark_has_none():
    config = ladder_config()
    assert not remarks(config, make_plan(config, cpu_profile(), train_tokens=None))
    assert not said()


def test_a_count_that_no_shape_has_is_said_with_the_nearest():
    (line,) = said("grid.0.sizes=[nano14k, 100k]")
    assert "100k is 2x64-98.6k, of 98,624" in line
    assert not said("grid.0.sizes=[98624]"), "a count that a shape has needs no word"


def test_counts_are_rounded_in_every_arm_and_those_that_differ_are_named():
    axes = "axes={model.architecture: [gpt, lstm], optim.lr_mult: [1, 2]}"
    (line,) = said("grid.0.sizes=[100k]", axes)
    assert "98,624 (model.architecture=gpt, optim.lr_mult=1 and 1 further arm); 100k is" in line
    assert line.count("100k is ") == 2 and "(model.architecture=lstm, " in line
    (line,) = said("grid.0.sizes=[100k]", "axes={optim.weight_decay: [0, 0.1]}")
    assert line.endswith("100k is 2x64-98.6k, of 98,624"), "the arms agree"


def test_a_batch_axis_under_one_learning_rate_says_so_and_what_to_do():
    batches = "axes={optim.batch_tokens: [512, 2048]}"
    (line,) = said(batches)
    assert "rule slaw_small gives a size one rate at every batch (512 to 2.05K tokens)" in line
    assert "optim.lr_mult" in line and "slaw tune" in line
    both = "axes={optim.batch_tokens: [512, 2048], optim.lr_mult: [0.5, 1]}"
    assert not said(both), "the rates are searched"
    assert not said(batches, "optim.lr=0.01"), "the rate is the user's own"


def test_a_hopeless_ratio_of_tokens_to_parameters_is_remarked():
    (line,) = [line for line in said("grid.0.sizes=[nano14k, medium]") if "tokens:" in line]
    assert line.startswith("tokens: 3 of 6 points have fewer than 0.1 tokens a parameter (matmul)")
    assert "down to 0.00088 (medium-seed0-h50.2K)" in line and "smaller sizes" in line


def test_the_dry_run_prints_the_remarks():
    config = config_of(SWEEP, "grid.0.sizes=[100k]")
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    assert "100k is 2x64-98.6k" in dry_run_text(config, plan)


def test_the_tour_is_short_and_can_be_fitted_on_every_device():
    for kind in DEVICE_KINDS:
        config = load_config("tour", device_kind=kind)
        plan = make_plan(config, cpu_profile(), train_tokens=None)
        assert plan.flops_total < 1e12, "a minute on two cores"
        assert not remarks(config, plan) and not too_few_words(config, plan)
