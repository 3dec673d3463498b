"""Named rules against their published formulas, and named scales against the issue's table."""

import dataclasses
import itertools
import math

import pytest

from scaling_law import parts
from scaling_law.errors import ConfigError
from scaling_law.spec.architectures import template_of
from scaling_law.spec.architectures.gpt import (
    MODEL_SCALES,
    default_d_ff,
    heads_for,
    model_of,
    shape_for,
)
from scaling_law.spec.counts import CONVENTIONS, count_params
from scaling_law.spec.hyperparams import (
    MAX_BATCH_TOKENS,
    RuleChoice,
    Sizing,
    beta2_for,
    load_rule,
    round_batch,
    rule_for,
)
from scaling_law.spec.model import ModelSpec
from tests.fakes import tiny_model

TEMPLATE = tiny_model(vocab_size=1024, n_ctx=128)


def model(name: str) -> ModelSpec:
    return model_of(MODEL_SCALES[name], TEMPLATE)


def chosen(rule: str, model: ModelSpec, shortest: float, longest: float, **more) -> RuleChoice:
    part = load_rule(rule)
    sizing = Sizing(model=model, shortest_tokens=shortest, longest_tokens=longest, **more)
    return part.choose(sizing, part.settings())


def test_olmo_ladder_gives_its_reference_values():
    """LR .0047, batch 160 * 2048 tokens and N tokens of warm-up at N = 108e6."""
    shape = dataclasses.replace(model("medium"), n_layer=15)
    size = count_params(shape).non_embedding
    assert size == pytest.approx(108e6, rel=0.02)
    choice = chosen("olmo_ladder", shape, 2e9, 2e9, shares_trunk=False)
    assert choice.lr == pytest.approx(0.0047, rel=0.01)
    assert choice.batch_tokens == 2**18  # 327,680 to the nearest power of two
    assert choice.warmup_tokens == size
    halved = chosen("olmo_ladder", shape, 2e9, 2e9)
    assert halved.lr == pytest.approx(choice.lr / 2, rel=1e-3)


def test_steplaw_gives_the_published_values():
    """LR = 1.79 N^-.713 D^.307, batch = .58 D^.571 (arXiv 2503.04715, equation 1)."""
    shape = model("medium")
    size = count_params(shape).non_embedding
    choice = chosen("steplaw", shape, 1e8, 1e10)
    assert choice.lr == pytest.approx(1.79 * size**-0.713 * 1e9**0.307, rel=1e-3)
    assert choice.batch_tokens == round_batch(0.58 * 1e9**0.571, 128)


@pytest.mark.parametrize("rule", parts.names("rule"))
def test_rules_stay_within_their_validated_range(rule):
    for name in MODEL_SCALES:
        for shortest in (1e5, 1e6, 1e12):
            choice = chosen(rule, model(name), shortest, 8 * shortest)
            seqs = choice.batch_tokens // 128
            assert 8 * 128 <= choice.batch_tokens <= MAX_BATCH_TOKENS
            assert math.log2(seqs).is_integer()
            assert choice.beta2 == beta2_for(choice.batch_tokens)
            assert choice.warmup_tokens <= 0.1 * shortest


def test_lr_of_the_small_rule_never_rises_with_size():
    rates = [chosen("slaw_small", model(name), 1e6, 8e6).lr for name in MODEL_SCALES]
    assert rates == sorted(rates, reverse=True) and rates[-1] < rates[0]


def test_rules_are_limited_beyond_their_tokens_and_warm_up():
    shape = model("xxl")
    size = count_params(shape).non_embedding
    assert size > 901e6  # of Porian 2024, whose warm-up is N tokens
    at, far = (chosen("steplaw", shape, tokens, tokens) for tokens in (1e11, 4e13))
    assert far.lr == at.lr == pytest.approx(1.79 * size**-0.713 * 1e11**0.307, rel=1e-3)
    assert far.warmup_tokens == 901e6
    assert far.batch_wanted_tokens == pytest.approx(0.58 * 4e13**0.571)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ConfigError, match=r"no rule is named 'steplow' .did you mean steplaw?"):
        load_rule("steplow")


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        (1e3, "slaw_small"), (440e3, "slaw_small"), (1.4e6, "slaw_small"), (1.6e6, "olmo_ladder"),
        (59e6, "olmo_ladder"), (60e6, "steplaw"), (950e6, "steplaw"), (1e12, "steplaw"),
    ],
)  # fmt: skip
def test_the_rule_measured_nearest_in_size_is_used(params, rule):
    assert rule_for(params) == rule


@pytest.mark.parametrize(
    ("field", "value"),
    [("lr", math.nan), ("batch_tokens", 0), ("beta2", 1.0), ("warmup_tokens", -1)],
)
def test_invalid_choices_of_a_rule_are_refused(field, value):
    fields = {"lr": 0.1, "batch_tokens": 64, "beta2": 0.9, "warmup_tokens": 10.0}
    with pytest.raises(ValueError, match=f"{field} is {value}, expected"):
        RuleChoice(**{"batch_wanted_tokens": 64.0, **fields, field: value})


def test_beta2_changes_at_half_a_million_tokens():
    assert (beta2_for(524_287), beta2_for(524_288)) == (0.99, 0.95)


def test_named_scales_have_their_documented_shapes():
    shapes = {name: (s.n_layer, s.d_model, s.n_head) for name, s in MODEL_SCALES.items()}
    assert shapes["tiny"] == (4, 256, 4)
    assert shapes["small"] == (6, 512, 8)
    assert shapes["medium"] == (8, 768, 12)
    assert shapes["base"] == (12, 1024, 16)
    assert shapes["large"] == (16, 1280, 20)
    assert shapes["xlarge"] == (24, 1536, 24)
    assert shapes["xxl"] == (32, 2048, 32)


def test_the_ladder_is_smooth_and_starts_near_ten_thousand():
    sizes = [count_params(model(name)).non_embedding for name in MODEL_SCALES]
    assert sizes == sorted(sizes)
    assert 9e3 < sizes[0] < 2e4
    assert all(b / a < 6.1 for a, b in itertools.pairwise(sizes))
    below_tiny = sizes[: list(MODEL_SCALES).index("tiny") + 1]
    assert all(b / a < 2.5 for a, b in itertools.pairwise(below_tiny))


@pytest.mark.parametrize("name", [n for n in MODEL_SCALES if n.startswith("nano")])
def test_a_nano_scale_has_the_parameters_in_its_name(name):
    size = count_params(model(name)).non_embedding
    number, suffix = float(name[4:-1]), {"k": 1e3, "m": 1e6}[name[-1]]
    assert size == pytest.approx(number * suffix, rel=0.025)


@pytest.mark.parametrize("width", [20, 24, 32, 48, 64, 80, 96, 128, 192, 256, 384, 512, 2048])
def test_heads_are_even_and_at_most_64_wide(width):
    size = width // heads_for(width)
    assert size % 2 == 0 and size <= 64 and heads_for(width) >= 2


def test_widths_without_an_even_head_are_refused():
    with pytest.raises(ValueError, match="no even head size"):
        heads_for(33)


def test_swiglu_keeps_the_parameters_of_the_mlp():
    assert default_d_ff(768, "gelu") == 3072
    assert default_d_ff(768, "swiglu") == 2048
    assert default_d_ff(256, "swiglu") % 8 == 0


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("aspect_ratio", [None, 32])
@pytest.mark.parametrize("params", [7e4, 1e6, 3e7, 1e9])
def test_shapes_come_near_the_requested_parameters(params, convention, aspect_ratio):
    scale = shape_for(params, convention, template_of(TEMPLATE), aspect_ratio)
    count = count_params(model_of(scale, TEMPLATE)).by(convention)
    assert count == pytest.approx(params, rel=0.14)
    if aspect_ratio and scale.n_layer > 4:
        assert scale.d_model / scale.n_layer == pytest.approx(aspect_ratio, rel=0.25)


def test_a_size_smaller_than_its_embedding_is_refused():
    with pytest.raises(ValueError, match="no shape has 5e\\+03 total parameters"):
        shape_for(5e3, "total", template_of(TEMPLATE))
