"""The mixture of experts: its counts, its router, and the loss that balances it."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import cast

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from scaling_law import parts
from scaling_law.files.record import read_curve
from scaling_law.parts import NoSettings, Reference
from scaling_law.spec.architectures.gpt import gpt_of
from scaling_law.spec.architectures.moe import Settings
from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.model import OtherModel
from scaling_law.spec.resources import Resources
from scaling_law.train.architectures import build
from scaling_law.train.architectures.gpt import Block
from scaling_law.train.architectures.moe import Experts, MixtureGPT, imbalance
from scaling_law.train.begin import begin
from scaling_law.train.checkpoint import load_checkpoint
from scaling_law.train.forward import Trainable
from scaling_law.train.generate import generate
from scaling_law.train.loop import train_run
from scaling_law.train.probes import expert_load
from scaling_law.train.tensors import Tensors
from tests.fakes import tiny_spec
from tests.train.test_generate import DRAWN, PROMPTS, closest
from tests.train.test_loop import job
from tests.train.test_probes import subject_of

SHAPE = (("d_model", 32), ("n_head", 2), ("n_layer", 2))


def mixture(**settings) -> OtherModel:
    own = Component(name="moe", settings=tuple(sorted(settings.items())))
    return OtherModel(architecture=own, shape=SHAPE, vocab_size=60, n_ctx=16)


def built(seed: int, recompute: bool = False, **settings) -> MixtureGPT:
    return MixtureGPT(mixture(**settings), seed, recompute)


def router_gradients(module: nn.Module) -> list[float]:
    """The sum of absolute gradients of each router."""
    routers = (m.router.weight.grad for m in module.modules() if isinstance(m, Experts))
    return [0.0 if grad is None else float(grad.abs().sum()) for grad in routers]


MODELS = [{}, {"n_active": 2}, {"n_expert": 8, "n_active": 2, "activation": "swiglu"}]


@pytest.mark.parametrize("settings", MODELS)
def test_the_counts_are_those_of_the_module(settings):
    model = mixture(**settings, position="none")
    counts, dense = count_params(model), count_params(gpt_of(model))
    module, inputs = build(model), torch.randint(0, 60, (5, 16))
    assert counts.total == sum(p.numel() for p in module.parameters())
    assert counts.non_embedding == counts.total - 2 * 60 * 32
    values = model.values_as(Settings)
    router = 2 * 32 * values.n_expert
    # a token goes through the router and the active experts
    assert counts.matmul - dense.matmul == router + (values.n_active - 1) * dense.groups["mlp"]
    with FlopCounterMode(display=False) as counter:
        module(inputs)
    products = counter.get_flop_counts()["Global"]
    matrices = sum(n for op, n in products.items() if str(op) in ("aten.mm", "aten.addmm"))
    attention = 12 * 2 * 16 * 32
    assert 3 * matrices == 5 * 16 * (flops_per_token(model) - attention)


def test_an_answer_is_the_weighted_sum_of_the_chosen_experts():
    model = mixture(n_active=2)
    experts = Experts(gpt_of(model), model.values_as(Settings))
    x = torch.randn(3, 5, 32)
    probabilities, chosen = experts.route(x.view(-1, 32))
    for row, (each, best) in enumerate(zip(probabilities, chosen, strict=True)):
        assert set(best.tolist()) == set(each.topk(2).indices.tolist())
        wanted = sum(
            each[e] / each[best].sum() * experts.experts[e](x.view(-1, 32)[row]) for e in best
        )
        assert torch.allclose(experts(x).view(-1, 32)[row], wanted, atol=1e-5)


def test_one_expert_is_weighed_by_its_probability_so_that_the_router_learns():
    module = built(1, balance=0.0)
    ids = torch.randint(0, 60, (4, 16))
    module.loss(ids, ids).backward()
    gradients = router_gradients(module)
    assert len(gradients) == 2 and min(gradients) > 0


def test_the_imbalance_is_1_for_even_loads_and_the_number_of_experts_for_one():
    even = torch.full((8, 4), 0.25)
    assert imbalance(even, torch.arange(8)[:, None] % 4) == pytest.approx(1)
    one = torch.zeros(8, 4)
    one[:, 2] = 1
    assert imbalance(one, torch.full((8, 1), 2)) == pytest.approx(4)


def test_training_minimises_the_imbalance_and_does_not_record_it():
    module = built(3, balance=0.5)
    trainable = Trainable(module, parts.load("objective", Reference(name="next_token")))
    ids = torch.randint(0, 60, (4, 16))
    batch = Tensors(inputs=ids, targets=ids)
    loss = trainable.loss(batch)
    extra = trainable.extra_loss()
    assert extra is not None
    assert 0.5 * 2 * 0.9 < extra.item() < 0.5 * 2 * 4  # of two blocks
    extra.backward()
    assert min(router_gradients(module)) > 0
    module.eval()
    recorded = trainable.example_losses(batch)[0].mean()
    assert loss.item() == pytest.approx(recorded.item(), rel=1e-5)
    assert trainable.extra_loss() == 0  # a measurement leaves none behind
    copy.deepcopy(module)


def test_the_loop_minimises_the_imbalance_beside_the_loss(dataset, tmp_path):
    shares, losses = [], []
    for balance in (0.0, 10.0):
        model = dataclasses.replace(mixture(balance=balance, n_expert=8), vocab_size=257)
        this = job(
            dataset,
            tmp_path / str(balance),
            tiny_spec(model=model, total_steps=60),
            resources=Resources(keep_weights=True),
        )
        record = train_run(this)
        assert record is not None
        losses.append(read_curve(this.run_dir)[-1].train_loss_nats)
        module = MixtureGPT(model).eval()
        module.load_state_dict(load_checkpoint(this.run_dir.weights)["model"])
        first = cast(Block, module.blocks[0])
        _, chosen = cast(Experts, first.mlp).route(first.norm_mlp(module.embedding.weight))
        shares.append(torch.bincount(chosen.flatten(), minlength=8).max().item() / 257)
    assert shares[1] < shares[0]
    assert max(losses) < 6  # a recorded imbalance would add 20


def test_other_models_have_no_extra_loss():
    trainable = Trainable(nn.Linear(2, 2), parts.load("objective", Reference(name="next_token")))
    assert trainable.extra_loss() is None


def test_recomputed_blocks_have_the_same_gradients():
    ids = torch.randint(0, 60, (4, 16))
    gradients = []
    for recompute in (False, True):
        module = built(5, recompute, n_active=2, balance=0.1)
        (module.loss(ids, ids) + module.extra_loss()).backward()
        gradients.append([p.grad for p in module.parameters() if p.grad is not None])
    for one, two in zip(*gradients, strict=True):
        assert torch.allclose(one, two, atol=1e-6)


def test_a_cache_gives_what_no_cache_gives():
    module = build(mixture(n_active=2), 1).eval()
    cached = generate(module, PROMPTS, DRAWN, n_ctx=16)
    assert closest(cached, generate(module, PROMPTS, DRAWN, n_ctx=16, cache=False)) < 1e-5


def test_the_first_weights_keep_the_scale_of_the_dense_model():
    module = build(mixture(n_expert=8))
    ups = [weight for name, weight in module.named_parameters() if name.endswith("up.weight")]
    assert len(ups) == 2 * 8
    assert all(weight.std().item() == pytest.approx(math.sqrt(1 / 32), rel=0.1) for weight in ups)


@pytest.mark.parametrize("n_active", [1, 2])
def test_the_shares_of_experts_add_up_to_the_active_ones_and_one_for_all_is_uneven(
    dataset, tmp_path, monkeypatch, n_active
):
    model = dataclasses.replace(mixture(n_active=n_active), vocab_size=257)
    spec = tiny_spec(model=model)
    subject = subject_of(begin(job(dataset, tmp_path, spec)))
    load = expert_load.measure(subject, NoSettings())
    for layer in range(2):
        shares = [load[f"share.layers.{layer}.experts.{expert}"] for expert in range(4)]
        assert sum(shares) == pytest.approx(n_active) and max(shares) <= 1
        assert 1 <= load[f"imbalance.layers.{layer}"] <= 4
    monkeypatch.setattr(Experts, "route", one_for_all)
    load = expert_load.measure(subject, NoSettings())
    assert load["share.layers.1.experts.0"] == 1.0
    assert load["imbalance.layers.1"] == pytest.approx(4 / n_active)


def one_for_all(layer: Experts, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A router that sends every row to the first experts."""
    probabilities = layer.router(rows).softmax(dim=-1)
    return probabilities, torch.arange(layer.n_active).expand(len(rows), -1)
