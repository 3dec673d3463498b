"""A grown model computes what the smaller one did, and its copies diverge in training."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch

from scaling_law.spec.model import ModelSpec
from scaling_law.spec.optim import OptimSpec
from scaling_law.train import grow
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.grow import grown_state
from scaling_law.train.optim import make_optimizer

pytestmark = pytest.mark.usefixtures("one_thread")

BASE = ModelSpec(vocab_size=300, n_ctx=16, n_layer=2, d_model=24, n_head=4, n_kv_head=4, d_ff=40)
VARIANTS = [
    dataclasses.replace(BASE, norm=n, position=p, activation=a, qk_norm=q, tied=t, n_kv_head=k)
    for (n, q, t, k), p, a in itertools.product(
        (("rmsnorm", True, False, 4), ("layernorm", False, True, 2), ("rmsnorm", True, True, 1)),
        ("rotary", "learned", "alibi", "none"),
        ("gelu", "swiglu", "relu2"),
    )
]


def larger(spec: ModelSpec, width: int = 1, layers: int = 0, units: int = 0) -> ModelSpec:
    """``spec`` with ``width`` times the width and heads, more layers and more units."""
    return dataclasses.replace(
        spec,
        d_model=width * spec.d_model,
        n_head=width * spec.n_head,
        n_kv_head=width * spec.n_kv_head,
        d_ff=width * spec.d_ff + units,
        n_layer=spec.n_layer + layers,
    )


def trained(spec: ModelSpec, steps: int = 3) -> GPT:
    """A model whose norms' gains are no longer one."""
    model = GPT(spec, 1)
    train(model, steps)
    return model


def train(model: GPT, steps: int, seed: int = 0) -> None:
    optimizer = make_optimizer(model, OptimSpec(lr=0.01, rule="test"), "cpu")
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        ids = torch.randint(0, 300, (4, 17), generator=generator)
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()


def grown(model: GPT, large: ModelSpec, seed: int = 0) -> GPT:
    module = GPT(large, 5)
    module.load_state_dict(grown_state(model.state_dict(), model.spec, large, seed))
    return module


def logits(model: GPT) -> torch.Tensor:
    ids = torch.randint(0, 300, (3, 16), generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        return model(ids)


@pytest.mark.parametrize(
    "spec", VARIANTS, ids=lambda s: f"{s.norm}{s.n_kv_head}-{s.position}-{s.activation}"
)
def test_growing_by_width_or_depth_or_both_preserves_the_logits(spec):
    small = trained(spec)
    expected = logits(small)
    scale = float(expected.abs().max())
    for large in (
        larger(spec, width=2),
        larger(spec, width=3, units=7),
        larger(spec, layers=1),
        larger(spec, width=2, layers=3),
    ):
        grown_logits = logits(grown(small, large))
        assert float((grown_logits - expected).abs().max()) < 1e-5 * scale, large


def test_a_wrong_share_changes_the_logits():
    small = trained(BASE)
    large = larger(BASE, width=2)
    state = grown_state(small.state_dict(), BASE, large, 0)
    state["blocks.0.mlp.out.weight"] *= 1.001
    model = GPT(large, 0)
    model.load_state_dict(state)
    expected = logits(small)
    assert float((logits(model) - expected).abs().max()) > 1e-5 * float(expected.abs().max())


def test_growing_in_depth_alone_copies_the_old_blocks_bit_for_bit():
    small = trained(BASE)
    state = grown_state(small.state_dict(), BASE, larger(BASE, layers=2), 0)
    old = small.state_dict()
    for new, before in ((0, 0), (2, 1)):
        for name in ("attention.qkv", "mlp.out", "norm_mlp"):
            key = f"{name}.weight"
            assert torch.equal(state[f"blocks.{new}.{key}"], old[f"blocks.{before}.{key}"])
    for new in (1, 3):
        assert not state[f"blocks.{new}.attention.out.weight"].any()
        assert not state[f"blocks.{new}.mlp.out.weight"].any()
        assert state[f"blocks.{new}.mlp.up.weight"].any()


def parting(model: GPT, width: int) -> dict[str, float]:
    """The difference of the first two copies, relative to their size: 0 for equal copies."""
    state, half = model.state_dict(), model.spec.d_model // width
    table = state["embedding.weight"]
    unit = state["blocks.0.mlp.up.weight"].sum(1).view(width, -1)
    size = model.spec.head_size
    head = state["blocks.0.attention.qkv.weight"].view(-1, size, model.spec.d_model).sum(2)
    pairs = {
        "stream": (table[:, :half], table[:, half : 2 * half]),
        "units": (unit[0], unit[1]),
        "heads": (head[0], head[1]),
    }
    return {k: float((a - b).norm() / a.norm()) for k, (a, b) in pairs.items()}


def test_uneven_shares_let_copies_diverge_in_training(monkeypatch):
    small, large = trained(BASE), larger(BASE, width=2)
    model = grown(small, large)
    start = parting(model, 2)
    assert start["stream"] == 0
    assert max(start.values()) < 1e-5
    train(model, 20, seed=3)
    assert min(parting(model, 2).values()) > 0.02
    monkeypatch.setattr(grow, "_NOISE", 0.0)
    alike = grown(small, large)
    train(alike, 20, seed=3)
    assert max(parting(alike, 2).values()) < 1e-3


def test_random_weights_cancel_over_the_copies_and_come_from_the_seed():
    small, large = trained(BASE), larger(BASE, width=2)
    state = grown_state(small.state_dict(), BASE, large, 0)
    again = grown_state(small.state_dict(), BASE, large, 0)
    other = grown_state(small.state_dict(), BASE, large, 1)
    assert all(torch.equal(state[name], again[name]) for name in state)
    head, old = state["head.weight"], small.state_dict()["head.weight"]
    assert not torch.equal(head, other["head.weight"])
    first, second = head[:, : BASE.d_model], head[:, BASE.d_model :]
    torch.testing.assert_close(first + second, old)
    # two draws less their mean: each is 2^-1/2 of one
    apart = float(((first - second) / 2).std() / old.std())
    assert math.isclose(apart, 0.5**0.5, rel_tol=0.05)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"d_model": 36, "n_head": 6, "n_kv_head": 6}, "whole multiple of the smaller one's 24"),
        ({"d_model": 48}, "head_size 12, the smaller model has 6; take n_head 8"),
        ({"d_model": 48, "n_head": 8}, "n_kv_head 4, expected 2 times 4"),
        ({"n_layer": 1}, "n_layer 1 is below"),
        ({"d_ff": 32}, "d_ff 32 is below"),
        ({"vocab_size": 301}, "vocab_size 301, the smaller model has 300"),
        ({"n_ctx": 32}, "n_ctx 32"),
        ({"qk_norm": False}, "qk_norm False"),
        ({}, "the same model"),
    ],
)
def test_models_that_growth_cannot_preserve_are_refused(changes, said):
    large = dataclasses.replace(BASE, **changes)
    with pytest.raises(ValueError, match=said):
        grown_state({}, BASE, large, 0)
