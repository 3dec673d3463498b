import dataclasses
import itertools
import math

import pytest
import torch

from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.model import ModelSpec, OtherModel
from scaling_law.spec.optim import OptimSpec
from scaling_law.train.architectures import module_of
from scaling_law.train.architectures.gpt import GPT, alibi_bias, rotary_tables, rotate
from scaling_law.train.optim import make_optimizer

BASE = ModelSpec(vocab_size=300, n_ctx=16, n_layer=2, d_model=32, n_head=4, n_kv_head=4, d_ff=128)
VARIANTS = [
    dataclasses.replace(BASE, norm=n, position=p, activation=a, qk_norm=q, tied=t, n_kv_head=k)
    for n, p, a, (q, t, k) in itertools.product(
        ("rmsnorm", "layernorm"),
        ("rotary", "learned", "alibi", "none"),
        ("gelu", "swiglu", "relu2"),
        ((True, False, 4), (False, True, 2)),
    )
]


def _name(spec: ModelSpec) -> str:
    return f"{spec.norm}-{spec.position}-{spec.activation}-kv{spec.n_kv_head}"


@pytest.mark.parametrize("spec", VARIANTS, ids=_name)
def test_formula_counts_equal_the_built_model(spec):
    model = GPT(spec, seed=0)
    counts = count_params(spec)
    assert counts.total == sum(p.numel() for p in model.parameters())
    tables = {"embedding.weight", "position.weight", "head.weight"}
    blocks = {n: p for n, p in model.named_parameters() if n not in tables}
    assert counts.non_embedding == sum(p.numel() for p in blocks.values())
    matrices = sum(p.numel() for p in blocks.values() if p.ndim == 2)
    assert counts.matmul == matrices + model.head.weight.numel()


@pytest.mark.parametrize("spec", VARIANTS, ids=_name)
def test_no_token_sees_the_future_and_gradients_reach_every_weight(spec):
    model = _shaken(spec)
    ids = torch.arange(32).view(2, 16) * 7 % 300
    changed = ids.clone()
    changed[:, 10:] = (changed[:, 10:] + 5) % 300
    before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def _shaken(spec: ModelSpec, gradient_checkpointing: bool = False) -> GPT:
    """A model with every matrix away from zero, as after some training."""
    model = GPT(spec, 1, gradient_checkpointing)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return model


def test_flops_formula_equals_torchs_count():
    """Matmul FLOPs counted operator by operator, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    spec = dataclasses.replace(BASE, activation="gelu", qk_norm=False)
    model = _shaken(spec)
    ids = torch.zeros((2, spec.n_ctx + 1), dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        logits = model(ids[:, :-1])
    forward = counter.get_total_flops()
    assert logits.shape == (2, spec.n_ctx, spec.vocab_size)
    # torch counts no attention on CPUs' fused kernel in every release: the matrices are exact,
    # and the excess, if any, is the attention term
    tokens = 2 * spec.n_ctx
    matrices = 2 * count_params(spec).matmul * tokens
    attention = flops_per_token(spec) * tokens // 3 - matrices
    assert forward in (matrices, matrices + attention)


def test_initial_loss_equals_that_of_unit_variance_logits_at_every_size():
    ids = torch.arange(64).view(4, 16)
    for width in (16, 64, 256):
        for layers in (1, 6):
            spec = dataclasses.replace(BASE, d_model=width, d_ff=4 * width, n_layer=layers)
            loss = GPT(spec, seed=3).loss(ids[:, :-1], ids[:, 1:])
            # E[logsumexp] of V independent N(0, 1) logits is ln V + 1/2
            assert loss.item() == pytest.approx(math.log(300) + 0.5, abs=0.35)


def test_weights_depend_on_the_seed_alone_and_global_rng_state_is_unchanged():
    state = torch.get_rng_state()
    one, two, other = GPT(BASE, seed=5), GPT(BASE, seed=5), GPT(BASE, seed=6)
    assert torch.equal(state, torch.get_rng_state())
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.embedding.weight, other.embedding.weight)


POST_NORM = OtherModel(
    architecture=Component(name="post_norm"),
    shape=(("d_model", 32), ("n_head", 4), ("n_kv_head", 2), ("n_layer", 3)),
    vocab_size=60,
    n_ctx=16,
)


@pytest.mark.parametrize(
    "model",
    [BASE, dataclasses.replace(BASE, position="learned", tied=True), POST_NORM],
    ids=["gpt", "tied", "post_norm"],
)
def test_blocks_that_are_filled_one_after_the_other_have_the_weights_of_the_whole(model):
    part = module_of(model)
    whole = {n: w.clone() for n, w in part.build(model, 7, False).named_parameters()}
    assert part.build_empty is not None
    module, fill = part.build_empty(model, False)
    assert all(weight.is_meta for weight in module.parameters())
    n_blocks = 0
    for block in fill(7):
        there = [n for n, w in module.named_parameters() if "blocks." in n and not w.is_meta]
        assert there and all(name.startswith(f"blocks.{n_blocks}.") for name in there)
        for name, weight in block.named_parameters(f"blocks.{n_blocks}"):
            assert torch.equal(weight, whole.pop(name)), name
        block.to("meta")  # as if its shares were kept elsewhere
        n_blocks += 1
    assert n_blocks == dict(model.dimensions)["n_layer"]
    rest = {n: w for n, w in module.named_parameters() if "blocks." not in n}
    assert rest.keys() == whole.keys() and all(torch.equal(rest[n], whole[n]) for n in whole)


def test_gradients_match_finite_differences():
    spec = dataclasses.replace(BASE, d_model=8, n_head=2, n_kv_head=1, d_ff=16, vocab_size=20)
    model = _shaken(spec).double()
    for name in ("table_0", "table_1"):
        setattr(model, name, getattr(model, name).double())
    ids = torch.arange(34).view(2, 17) % 20

    def loss() -> torch.Tensor:
        logits = model(ids[:, :-1])
        return torch.nn.functional.cross_entropy(logits.reshape(-1, 20), ids[:, 1:].reshape(-1))

    loss().backward()
    for weight in model.parameters():
        index = tuple(size // 2 for size in weight.shape)
        with torch.no_grad():
            weight[index] += 1e-6
            up = loss()
            weight[index] -= 2e-6
            down = loss()
            weight[index] += 1e-6
        assert weight.grad is not None
        assert weight.grad[index].item() == pytest.approx(
            ((up - down) / 2e-6).item(), rel=1e-4, abs=1e-8
        )


def test_gradient_checkpointing_changes_no_gradient():
    ids = torch.arange(34).view(2, 17)
    gradients = []
    for flag in (False, True):
        model = _shaken(BASE, gradient_checkpointing=flag)
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert a is not None
        torch.testing.assert_close(a, b)


def test_rotation_depends_on_distance_alone():
    cos, sin = rotary_tables(32, 8)
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn((2, 1, 1, 1, 8), generator=generator)
    turned_q = rotate(q.expand(1, 1, 32, 8), cos, sin)[0, 0]
    turned_k = rotate(k.expand(1, 1, 32, 8), cos, sin)[0, 0]
    scores = turned_q @ turned_k.T
    torch.testing.assert_close(scores[5, 2], scores[20, 17])
    torch.testing.assert_close(turned_q[0], q[0, 0, 0])


def test_alibi_bias_is_causal_and_linear():
    bias = alibi_bias(8, 4)
    assert bias.shape == (8, 4, 4)
    assert bias[0, 3, 1].item() == pytest.approx(-2 * 0.5)
    assert math.isinf(bias[0, 1, 3].item())


def test_only_matrices_decay():
    model = GPT(BASE, seed=0)
    optimizer = make_optimizer(model, OptimSpec(lr=1e-3, rule="t", weight_decay=0.3), "cpu")
    decayed, free = optimizer.param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
    names = {id(p): n for n, p in model.named_parameters()}
    assert {names[id(p)].split(".")[0] for p in decayed["params"]} == {"blocks", "head"}
    assert all(names[id(p)].startswith("emb") or p.ndim == 1 for p in free["params"])
