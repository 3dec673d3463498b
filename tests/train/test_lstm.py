"""The LSTM: its FLOPs, its state, and what it can learn."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scaling_law.spec.architectures.lstm import ARCHITECTURE
from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.model import OtherModel
from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.sampling import Sampling
from scaling_law.train.architectures import build, weights_of
from scaling_law.train.generate import OwnCache, generate
from scaling_law.train.optim import make_optimizer
from tests.train.test_generate import PROMPTS, closest


def lstm(width: int = 16, layers: int = 2, **changes) -> OtherModel:
    shape = (("d_model", width), ("n_layer", layers))
    fields = {"vocab_size": 60, "n_ctx": 16, "shape": shape, **changes}
    return OtherModel(architecture=Component(name="lstm"), **fields)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_flops_formula_equals_torchs_count(layers):
    model = lstm(24, layers)
    # in float64, of which a CPU has no fused kernel that would hide the products
    module, inputs = build(model).double(), torch.randint(0, 60, (5, 16))
    with FlopCounterMode(display=False) as counter:
        module(inputs)
    assert 3 * counter.get_total_flops() == 5 * 16 * flops_per_token(model)
    counts = count_params(model)
    assert counts.total == sum(p.numel() for p in module.parameters())
    assert counts.non_embedding == layers * 4 * (2 * 24 * 24 + 2 * 24)


def test_no_position_sees_a_later_one():
    module = build(lstm(), 1)
    first = torch.arange(16)[None]
    second = first.clone()
    second[0, 9] = 50
    one, two = module(first), module(second)
    assert torch.equal(one[:, :9], two[:, :9])
    assert not torch.allclose(one[:, 9:], two[:, 9:])


def test_its_state_gives_what_reading_anew_gives():
    module = build(lstm(), 2).eval()
    assert isinstance(module, OwnCache)
    how = Sampling(tokens=12, temperature=0.9, seed=3)
    cached = generate(module, PROMPTS, how, n_ctx=16)
    assert closest(cached, generate(module, PROMPTS, how, n_ctx=16, cache=False)) < 1e-5


def test_forget_gates_start_open_and_biases_do_not_decay():
    module = build(lstm())
    biases = {name: bias for name, bias in module.named_parameters() if ".bias_ih" in name}
    assert len(biases) == 2
    for bias in biases.values():
        assert bias.tolist() == [0.0] * 16 + [1.0] * 16 + [0.0] * 32
    decaying = {tuple(w.parameter.shape) for w in weights_of(module) if w.decays}
    assert decaying == {(64, 16), (60, 16)}


def test_it_learns_to_repeat_what_it_read_before():
    torch.manual_seed(0)
    model = lstm(32, 1, vocab_size=8)
    module = build(model, 0)
    optimizer = make_optimizer(module, OptimSpec(lr=0.01, rule="test"), "cpu")
    for _ in range(150):
        ids = torch.randint(0, 8, (32, 10))
        logits = module(ids)[:, 2:]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, :-2].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5  # without memory it is log 8 = 2.08


@pytest.mark.parametrize(
    ("width", "layers", "count"), [(1, 1, 1), (8, 1, 8), (24, 2, 8), (64, 1, 4)]
)
def test_the_plan_counts_what_the_backward_pass_reads(width, layers, count):
    model = lstm(width, layers, n_ctx=64)
    module, saved = build(model), dict[int, int]()
    weights = {weight.data_ptr() for weight in module.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = module(torch.randint(0, 60, (count, 64)))
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.zeros(count * 64).long())
    planned = ARCHITECTURE.activation_bytes(model, count, "fp32", False)
    assert 0.8 < planned / sum(saved.values()) < 2.5
