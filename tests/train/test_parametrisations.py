"""Parametrisations: standard leaves everything as it is; mup and completep by coordinate checks."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from scaling_law import parts
from scaling_law.errors import ConfigError
from scaling_law.parts import Reference
from scaling_law.plan.stacking import gain
from scaling_law.spec.architectures.gpt import stack_gain
from scaling_law.spec.component import Component
from scaling_law.spec.model import ModelSpec, OtherModel
from scaling_law.spec.optim import OptimSpec
from scaling_law.train.architectures import build, weights_of
from scaling_law.train.architectures._gpt_hf import hf_model
from scaling_law.train.optim import make_optimizer, set_lr
from scaling_law.train.parametrisations import Parametrisation, multipliers
from tests.fakes import tiny_model

MUP = Component(name="mup", settings=(("base_head_size", 16), ("base_width", 32)))
COMPLETEP = Component(
    name="completep", settings=(("base_depth", 2), ("base_head_size", 16), ("base_width", 32))
)
LR = 0.02


def gpt(width, parametrisation, n_layer=2, **changes):
    heads = width // 16
    return ModelSpec(
        vocab_size=64, n_ctx=16, n_layer=n_layer, d_model=width, n_head=heads, n_kv_head=heads,
        d_ff=4 * width, parametrisation=parametrisation, **changes,
    )  # fmt: skip


def change_of_the_stream(model, steps=4):
    """How far a few steps of Adam move the states that the last block gives, root mean square."""
    torch.manual_seed(0)
    ids = torch.randint(0, 64, (8, 17))
    module: Any = build(model, 1)
    states: list[torch.Tensor] = []
    module.get_submodule(f"blocks.{model.n_layer - 1}").register_forward_hook(
        lambda block, inputs, output: states.append(output.detach())
    )
    optimizer = make_optimizer(module, OptimSpec(lr=LR, rule="test"), "cpu")
    set_lr(optimizer, LR)
    for _ in range(steps + 1):
        module.loss(ids[:, :-1], ids[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return float((states[-1] - states[0]).square().mean().sqrt())


@pytest.mark.parametrize("name", parts.names("parametrisation"))
def test_every_parametrisation_gives_factors_above_zero(name):
    part: Parametrisation = parts.load("parametrisation", Reference(name=name))
    settings = part.settings()
    for width in (16, 4096):
        assert part.output(width, settings) > 0 and part.attention(width, settings) > 0
        assert part.residual(width, settings) > 0 and part.residual_initial(width, settings) > 0
        for role in ("input", "hidden", "output"):
            assert part.initial(role, width, settings) > 0 and part.lr(role, width, settings) > 0


def test_the_standard_parametrisation_changes_nothing():
    optimizer = make_optimizer(build(tiny_model()), OptimSpec(lr=0.1, rule="test"), "cpu")
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    # a checkpoint holds what it held before there were parametrisations
    assert all("lr_mult" not in group for group in optimizer.state_dict()["param_groups"])


def test_mup_passes_the_coordinate_check():
    """Yang 2022, arXiv 2203.03466, appendix D: what a few steps change is alike at every width."""
    mup = [change_of_the_stream(gpt(width, MUP)) for width in (32, 64, 128)]
    assert max(mup) < 1.2 * min(mup)
    # the check can tell: without it the change grows with the width
    standard = [change_of_the_stream(gpt(width, None)) for width in (32, 128)]
    assert standard[1] > 3 * standard[0]
    # at the base width it is standard
    assert mup[0] == standard[0]


@pytest.mark.parametrize("tied", [False, True])
def test_mup_matches_table_8(tied):
    base, wide = multipliers(MUP, 32), multipliers(MUP, 128)
    assert [base.lr(role) for role in ("input", "hidden", "output")] == [1, 1, 1]
    assert [wide.lr(role) for role in ("input", "hidden", "output")] == [1, 0.25, 1]
    assert (wide.output(), wide.attention(16), wide.attention(64)) == (0.25, 1, 0.5)
    # initial output weights are as large at every width; hidden ones by fan-in
    stds = {}
    for width in (32, 128):
        weights = dict(build(gpt(width, MUP, tied=tied), 0).named_parameters())
        output = "embedding.weight" if tied else "head.weight"
        names = (output, "blocks.0.mlp.up.weight")
        stds[width] = [float(weights[name].detach().std()) for name in names]
    assert stds[128] == pytest.approx([stds[32][0], stds[32][1] / 2], rel=0.1)


def test_mup_divides_attention_scores_by_the_head_size():
    """Table 8's 1/d: the architecture divides by its root, the multiplier by the other root."""
    scales = [multipliers(MUP, 64).attention(size) / size**0.5 for size in (16, 32, 64)]
    assert scales == pytest.approx([scales[0], scales[0] / 2, scales[0] / 4])


def test_gains_and_biases_learn_at_one_rate_at_every_width():
    """Table 8: vectors count as input weights."""
    settings = (("activation", "tanh"), ("depth", 3))
    dense = OtherModel(
        architecture=Component(name="dense", settings=settings), shape=(("width", 128),),
        vocab_size=0, n_ctx=1, features=3, outputs=1, parametrisation=MUP,
    )  # fmt: skip
    for model in (gpt(128, MUP), dense):
        weights = weights_of(build(model))
        assert {w.lr_mult for w in weights if w.parameter.ndim == 1} == {1}
        matrices = [w for w in weights if w.parameter.ndim > 1]
        hidden = {w.lr_mult for w in matrices if min(w.parameter.shape) >= 128}
        assert hidden == {0.25}


def test_completep_passes_the_coordinate_check_in_depth():
    """Dey 2025, arXiv 2505.01618: what a few steps change is alike at every depth."""
    deep = [change_of_the_stream(gpt(32, COMPLETEP, depth)) for depth in (2, 4, 16)]
    assert max(deep) < 1.5 * min(deep)
    # the check can tell: with muP alone the change grows with the depth
    mup = [change_of_the_stream(gpt(32, MUP, depth)) for depth in (2, 16)]
    assert mup[1] > 2 * mup[0]
    # at the base depth it is muP
    assert deep[0] == mup[0]


def test_completep_matches_table_1():
    """Branches are divided by the depth, first weights and learning rates do not depend on it."""
    shallow, deep = (dict(build(gpt(64, COMPLETEP, n), 0).named_modules()) for n in (2, 8))
    mults = [modules["blocks.0"].residual_mult for modules in (shallow, deep)]
    assert mults == [1, 0.25]
    name = "blocks.0.mlp.out"
    stds = [float(modules[name].weight.detach().std()) for modules in (shallow, deep)]
    assert stds[1] == pytest.approx(stds[0], rel=0.05)
    rates = {w.lr_mult for w in weights_of(build(gpt(64, COMPLETEP, 8), 0))}
    assert rates == {w.lr_mult for w in weights_of(build(gpt(64, MUP, 2), 0))} == {1, 0.5}


def test_generating_with_a_cache_multiplies_branches_too():
    module: Any = build(gpt(32, COMPLETEP, 8), 0)
    ids = torch.randint(0, 64, (2, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, memory = module.read_prompts(ids[:, :5], (5, 5), 8)
        following = module.next_logits(ids[:, 5], memory)
        whole = module(ids)
    assert torch.allclose(first, whole[:, 4], atol=1e-5)
    assert torch.allclose(following, whole[:, 5], atol=1e-5)


def test_weight_decay_per_step_is_independent_of_the_width():
    module = build(gpt(128, MUP))
    optimizer = make_optimizer(module, OptimSpec(lr=0.1, rule="test"), "cpu")
    set_lr(optimizer, 0.01)
    groups = [
        (len(group["params"]), group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
    ]
    # eight hidden matrices, the head, two tables and gains
    assert groups == [(8, 0.0025, 0.4), (1, 0.01, 0.1), (6, 0.01, 0.0)]


def test_an_mlp_has_input_and_output_weights_only():
    model = OtherModel(
        architecture=Component(name="mlp"), shape=(("width", 128),), vocab_size=11, n_ctx=2,
        parametrisation=MUP,
    )  # fmt: skip
    module = build(model)
    optimizer = make_optimizer(module, OptimSpec(lr=0.1, rule="test"), "cpu")
    assert len(optimizer.param_groups) == 1
    plain = build(dataclasses.replace(model, parametrisation=None))
    inputs = torch.zeros((1, 2), dtype=torch.int64)
    # first output weights twice as large, outputs a quarter
    assert torch.allclose(module(inputs), plain(inputs) / 2, rtol=1e-5)


def test_fast_paths_for_standard_only_are_not_taken():
    model = gpt(32, MUP)
    assert gain(model, 512, "cpu") == stack_gain(model, 512, "cuda") == 0
    with pytest.raises(ConfigError, match=r"model.parametrisation is mup: .*safetensors"):
        hf_model(model, build(model).state_dict())


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ((("tables", 0.02),), {"embedding": 0.02, "up": 1.0, "out": 1.0}),
        ((("matrices", 0.1),), {"embedding": 1.0, "up": 0.1, "out": 0.1}),
        ((("branches", "plain"),), {"embedding": 1.0, "up": 1.0, "out": 2.0}),
        ((("branches", "zero"),), {"embedding": 1.0, "up": 1.0, "out": 0.0}),
    ],
)
def test_start_scales_the_first_weights_of_a_role_and_nothing_else(settings, factors):
    mine, plain = (
        dict(build(gpt(16, component), 1).named_parameters())
        for component in (Component(name="start", settings=settings), None)
    )
    names = {"embedding": "embedding.weight", "up": "blocks.1.mlp.up.weight",
             "out": "blocks.1.mlp.out.weight"}  # fmt: skip
    for key, factor in factors.items():
        torch.testing.assert_close(mine[names[key]], factor * plain[names[key]])
    assert torch.equal(mine["head.weight"], plain["head.weight"])
