"""Number formats round what they say, wherever the model runs, and nothing else."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import nn

from scaling_law import parts
from scaling_law.errors import ConfigError, PlanError
from scaling_law.parts import NoSettings, Reference
from scaling_law.plan.table import render_plan
from scaling_law.spec.component import Component
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.resources import Resources
from scaling_law.spec.to_json import to_json
from scaling_law.train import number_formats, rounding
from scaling_law.train.architectures import build
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.begin import begin
from scaling_law.train.loop import train_run
from scaling_law.train.number_formats import NumberFormat, e4m3, e5m2, float16, integer
from scaling_law.train.probes import post_training, underflow
from tests.fakes import plan_of, tiny_model, tiny_spec
from tests.train.test_loop import job
from tests.train.test_moe import mixture
from tests.train.test_probes import subject_of

NAMES = [name for name in parts.names("number_format") if name != "native"]
FOUR_BITS = Component(name="integer", settings=(("bits", 4),))
TEXT = """name: rounds
data: {corpus: installed, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 16}
grid: [{sizes: [{n_layer: 1, d_model: 8, n_head: 2}], tokens: [4k], seeds: [0, 1]}]
number_format: {name: integer, bits: 4}
precision: fp32
"""


def part_of(name: str) -> NumberFormat:
    return parts.load("number_format", Reference(name=name))


def numbers(rows: int = 3, columns: int = 64) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_rounding_again_changes_nothing_and_each_row_is_rounded_by_itself(name):
    part = part_of(name)
    assert part.round is not None
    settings, rows = part.settings(), numbers()
    once = part.round(rows, settings)
    assert once.shape == rows.shape and once.dtype == rows.dtype and not torch.equal(once, rows)
    torch.testing.assert_close(part.round(once, settings), once, rtol=1e-6, atol=0)
    assert torch.equal(part.round(rows[:1], settings), once[:1])
    assert not part.round(torch.zeros(2, 3), settings).any()
    assert part.round(torch.zeros(0, 3), settings).shape == (0, 3)


@pytest.mark.parametrize(("bits", "values"), [(2, 3), (3, 7), (4, 15)])
def test_integers_have_the_values_of_their_bits(bits, values):
    rows = torch.cat([numbers(1, 4096), -numbers(1, 4096)], dim=1)
    rounded = integer.rounded(rows, integer.Settings(bits=bits))
    assert len(rounded.unique()) == values
    largest = rows.abs().max()
    torch.testing.assert_close(rounded.abs().max(), largest)
    assert (rounded - rows).abs().max() <= largest / (2 ** (bits - 1) - 1) / 2 * 1.001


@pytest.mark.parametrize(("part", "digits", "exponents"), [(e4m3, 3, 4), (e5m2, 2, 5)])
def test_floats_of_eight_bits_have_their_digits(part, digits, exponents):
    numbers_there = torch.tensor([[part.LARGEST, 1.0, 1 + 2.0**-digits, 2.0 ** -(exponents + 1)]])
    rounded = part.rounded(numbers_there, part.NUMBER_FORMAT.settings())
    torch.testing.assert_close(rounded, numbers_there)
    between = torch.tensor([[part.LARGEST, 1 + 2.0 ** -(digits + 2)]])
    assert part.rounded(between, part.NUMBER_FORMAT.settings())[0, 1] == 1


def test_half_precision_loses_small_gradients_unless_they_are_scaled():
    small = torch.tensor([[1e-8, 1e-3]])
    lost = float16.gradient(small, float16.Settings())
    assert lost[0, 0] == 0 and lost[0, 1] == pytest.approx(1e-3, rel=1e-3)
    saved = float16.gradient(small, float16.Settings(loss_scale=2.0**16))
    torch.testing.assert_close(saved, small, rtol=1e-3, atol=0)


def test_gradients_pass_the_rounding_and_formats_may_round_them():
    layer, x = nn.Linear(8, 4, bias=False), numbers(5, 8).requires_grad_()
    settings = integer.Settings(bits=3, activations=True)
    with rounding.rounded(integer.NUMBER_FORMAT, settings):
        y = layer(x)
    rounded = (integer.rounded(part.detach(), settings) for part in (x, layer.weight))
    read, weight = rounded
    torch.testing.assert_close(y, read @ weight.T)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.ones(5, 4) @ weight)
    torch.testing.assert_close(layer.weight.grad, torch.ones(4, 5) @ read)
    with rounding.rounded(float16.NUMBER_FORMAT, float16.Settings()):
        loss = (layer(x.detach()) * 1e-9).sum()
    layer.weight.grad = None
    loss.backward()
    assert layer.weight.grad is not None and not layer.weight.grad.any()


def test_a_convolutions_weight_has_a_scale_for_each_output():
    layer = nn.Conv2d(2, 3, 3, bias=False)
    settings = integer.Settings(bits=2)
    image = torch.ones(1, 2, 3, 3)
    with rounding.rounded(integer.NUMBER_FORMAT, settings):
        outputs = layer(image).flatten()
    by_hand = integer.rounded(layer.weight.detach().flatten(1), settings).sum(dim=1)
    torch.testing.assert_close(outputs, by_hand)


@pytest.mark.parametrize("architecture", ["gpt", "moe"])
def test_a_model_that_is_rounded_equals_one_whose_weights_are(architecture):
    model = build(tiny_model(n_layer=2) if architecture == "gpt" else mixture(), seed=3)
    ids = torch.arange(16).view(2, 8)
    settings = integer.Settings(bits=3)
    with rounding.rounded(integer.NUMBER_FORMAT, settings), torch.no_grad():
        outputs = model(ids)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.copy_(integer.rounded(module.weight, settings))
        torch.testing.assert_close(outputs, model(ids), rtol=1e-4, atol=1e-5)


def test_recomputed_activations_are_rounded_in_the_backward_pass_too():
    ids = torch.arange(16).view(2, 8)
    gradients = []
    for recompute in (False, True):
        model = GPT(tiny_model(n_layer=2), 3, recompute).train()
        with rounding.rounded(integer.NUMBER_FORMAT, integer.Settings(bits=3, activations=True)):
            loss = model.loss(ids, ids)
        loss.backward()
        gradients.append([weight.grad for weight in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
    assert not number_formats.is_open()


def test_a_rounded_run_resumes_and_is_measured_rounded(dataset, tmp_path):
    spec = tiny_spec(number_format=FOUR_BITS)
    assert run_spec_from_json(to_json(spec)) == spec and "number_format" in to_json(spec)
    whole = train_run(job(dataset, tmp_path / "whole", spec))
    stops = itertools.count()
    first = job(dataset, tmp_path, spec, should_stop=lambda: next(stops) == 20)
    assert train_run(first) is None
    resumed = train_run(dataclasses.replace(first, should_stop=lambda: False))
    native = train_run(job(dataset, tmp_path / "native", tiny_spec()))
    assert whole is not None and resumed is not None and native is not None
    assert resumed.val_loss_nats == whole.val_loss_nats != native.val_loss_nats
    # the same weights, measured without rounding, give another loss
    state = begin(job(dataset, tmp_path, spec))
    subject = subject_of(state)
    losses, _ = subject.losses(next(subject.batches("val")))
    with rounding.of_run(spec)():
        rounded, _ = subject.losses(next(subject.batches("val")))
    assert not torch.equal(losses, rounded)


def test_probes_measure_rounding_after_training_and_underflow(dataset, tmp_path):
    state = begin(job(dataset, tmp_path, tiny_spec(), resources=Resources()))
    subject = subject_of(state)
    rises = post_training.measure(subject, post_training.Settings(bits=(2, 16)))
    assert abs(rises["bits-16"]) < 1e-4 < abs(rises["bits-2"])
    assert underflow.measure(subject, NoSettings()) == 0
    # the weights whose gradient flows through products underflow where it is rounded to half
    tiny = dataclasses.replace(float16.Settings(), loss_scale=1e-4)
    with rounding.rounded(float16.NUMBER_FORMAT, tiny):
        assert 0.1 < underflow.measure(subject, NoSettings()) <= 1


def test_a_plan_says_that_formats_are_simulated_and_counts_their_time():
    rounded, native = plan_of(TEXT), plan_of(TEXT, "number_format=native")
    assert "number formats: of 2 of 2 runs, simulated by rounding" in render_plan(rounded)
    assert "number formats" not in render_plan(native)
    assert rounded.runs[0].seconds > native.runs[0].seconds
    assert rounded.runs[0].memory_bytes > native.runs[0].memory_bytes
    assert all(run.resources.stack is None for run in rounded.runs)
    assert {run.spec.number_format for run in native.runs} == {None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.architecture=lstm", r"number_format: integer rounds the products of"),
        ("number_format.bits=1", r"number_format.bits: expected at least 2"),
        ("number_format.weights=false", "nothing is rounded"),
        ("number_format=fp4", "no number_format is named 'fp4'"),
    ],
)
def test_what_cannot_be_rounded_is_refused_before_training(change, said):
    changes = [change]
    if "lstm" in change:
        changes.append('grid.0.sizes=[{"n_layer": 1, "d_model": 8}]')
    with pytest.raises((ConfigError, PlanError), match=said):
        plan_of(TEXT, *changes)


def test_no_number_of_bits_is_refused():
    with pytest.raises(ValueError, match="nothing is measured"):
        post_training.Settings(bits=())
