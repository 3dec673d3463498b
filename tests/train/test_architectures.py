"""Modules of architectures against their counts, and what the loop asks of them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scaling_law import parts
from scaling_law.errors import ConfigError, RunFailed
from scaling_law.parts import Reference
from scaling_law.spec.architectures import sized, template_of
from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.model import OtherModel
from scaling_law.spec.optim import OptimSpec
from scaling_law.train import architectures
from scaling_law.train.architectures import build, module_of, weights_of
from scaling_law.train.forward import Trainable
from scaling_law.train.optim import make_optimizer, set_lr
from scaling_law.train.tensors import Tensors
from tests.fakes import tiny_model
from tests.spec.test_architectures import (
    OWN,
    architectures_with_a_rule_for_shapes,
    template_for,
)

MLP = OtherModel(architecture=Component(name="mlp"), shape=(("width", 24),), vocab_size=11, n_ctx=3)


def small(name):
    return sized(20_000, "total", template_for(name, vocab_size=50))


@pytest.mark.parametrize("name", architectures_with_a_rule_for_shapes())
def test_every_architecture_is_built_as_it_is_counted(name):
    model = small(name)
    state = torch.random.get_rng_state()
    module, again, other = build(model, 1), build(model, 1), build(model, 2)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left alone"
    assert sum(p.numel() for p in module.parameters()) == count_params(model).total
    for name, weight in module.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    pairs = zip(module.state_dict().values(), other.state_dict().values(), strict=True)
    assert any(not torch.equal(one, two) for one, two in pairs)
    features, outputs_wanted = template_of(model).features, template_of(model).outputs
    inputs = torch.zeros(
        (2, features or model.n_ctx), dtype=torch.float32 if features else torch.int64
    )
    outputs = module(inputs)
    assert outputs.shape[0] == 2 and outputs.shape[-1] == (model.vocab_size or outputs_wanted)
    weights = weights_of(module)
    assert {id(w.parameter) for w in weights} == {id(p) for p in module.parameters()}
    assert all(w.lr_mult == 1 for w in weights)


def test_the_flops_formula_of_an_mlp_equals_torchs_count():
    module = build(MLP)
    inputs = torch.randint(0, 11, (5, 3))
    with FlopCounterMode(display=False) as counter:
        module(inputs)
    # a training step is three forward passes; all of the example's tokens together
    assert 3 * counter.get_total_flops() == 5 * 3 * flops_per_token(MLP)


def test_an_mlp_predicts_one_token_from_all_before_it():
    module = build(MLP, 3)
    inputs = torch.tensor([[1, 2, 3], [1, 2, 4], [2, 1, 3]])
    logits = module(inputs)
    assert logits.shape == (3, 1, 11)
    assert not torch.allclose(logits[0], logits[1]) and not torch.allclose(logits[0], logits[2])
    # by hand: the square of the sum of three columns
    first, second = (p for p in module.parameters())
    columns = first[:, 1] + first[:, 11 + 2] + first[:, 22 + 3]
    assert torch.allclose(logits[0, 0], second @ columns.square(), atol=1e-5)


def test_an_mlp_learns_to_add():
    numbers = torch.cartesian_prod(torch.arange(11), torch.arange(11))
    model = dataclasses.replace(MLP, n_ctx=2, shape=(("width", 64),))
    module = build(model, 0)
    optimizer = make_optimizer(module, OptimSpec(lr=0.02, rule="test"), "cpu")
    for _ in range(100):
        logits = module(numbers)[:, 0]
        torch.nn.functional.cross_entropy(logits, numbers.sum(dim=1) % 11).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert (logits.argmax(dim=1) == numbers.sum(dim=1) % 11).float().mean() > 0.9


def test_a_users_own_architecture_builds_its_module(tmp_path):
    path = tmp_path / "low_rank.py"
    path.write_text(OWN)
    digest = parts.read_file("architecture", path).source_sha256
    own = Component(name="low_rank", source_sha256=digest)
    model = dataclasses.replace(MLP, architecture=own, shape=(("rank", 4),))
    module = build(model, 5)
    assert sum(p.numel() for p in module.parameters()) == count_params(model).total
    # what it does not say of its weights is what they look like
    assert all(weight.decays for weight in weights_of(module))
    optimizer = make_optimizer(module, OptimSpec(lr=0.1, rule="test"), "cpu")
    set_lr(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2]
    known = module_of(model)
    assert (known.stack, known.grow, known.to_hf) == (None, None, None)


def test_an_architecture_without_a_module_says_so(tmp_path):
    path = tmp_path / "half.py"
    path.write_text(OWN.replace("    build=build,\n", ""))
    digest = parts.read_file("architecture", path).source_sha256
    own = Component(name="half", source_sha256=digest)
    model = dataclasses.replace(MLP, architecture=own, shape=(("rank", 4),))
    with pytest.raises(ConfigError, match="the architecture half has no module: expected build="):
        build(model)


def test_a_gpt_supports_every_fast_path():
    module = module_of(tiny_model())
    assert module.stack and module.grow and module.to_hf
    assert module.repeated(tiny_model(tied=True)) == ("head.weight",)
    assert module.repeated(tiny_model()) == module_of(MLP).repeated(MLP) == ()
    assert architectures.build(tiny_model(), 1, True).gradient_checkpointing


def test_a_model_of_one_output_does_not_train_on_text():
    trainable = Trainable(build(MLP), parts.load("objective", Reference(name="next_token")))
    ids = torch.zeros((2, 3), dtype=torch.int64)
    with pytest.raises(RunFailed, match="outputs of an example are 1, its targets 3: choose data"):
        trainable.loss(Tensors(inputs=ids, targets=ids))
    assert trainable.loss(Tensors(inputs=ids, targets=ids[:, -1:])).isfinite()
