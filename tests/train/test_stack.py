"""Stacked members train as they would alone and do not affect each other."""

import dataclasses
import itertools

import pytest
import torch

from scaling_law.spec.model import ModelSpec
from scaling_law.spec.optim import OptimSpec
from scaling_law.train.architectures._gpt_stack import StackedGPT
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.optim import make_optimizer

BASE = ModelSpec(vocab_size=300, n_ctx=16, n_layer=2, d_model=32, n_head=4, n_kv_head=4, d_ff=96)
VARIANTS = [
    dataclasses.replace(BASE, norm=n, position=p, activation=a, qk_norm=q, tied=t, n_kv_head=k)
    for (n, q, t, k), p, a in itertools.product(
        (("rmsnorm", True, False, 4), ("layernorm", False, True, 2)),
        ("rotary", "learned", "alibi", "none"),
        ("gelu", "swiglu", "relu2"),
    )
]


def _batch(members: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 300, (members, 3, 17), generator=generator)


def _train(
    seeds: list[int], steps: int = 5
) -> dict[int, tuple[list[float], dict[str, torch.Tensor]]]:
    """Seed -> losses and final weights, the seeds stacked."""
    models = [GPT(BASE, seed) for seed in seeds]
    optim = [make_optimizer(m, OptimSpec(lr=0.01, rule="test"), "cpu") for m in models]
    stack, losses = StackedGPT(models), []
    for step in range(steps):
        ids = torch.stack([_batch(1, 100 * seed + step)[0] for seed in seeds])
        stack_losses = stack.losses(ids[..., :-1], ids[..., 1:])
        stack_losses.sum().backward()
        stack.share_gradients()
        stack.clip_gradients([1.0] * len(seeds))
        for optimizer in optim:
            optimizer.step()
        stack.drop_gradients()
        losses.append(stack_losses.detach().tolist())
    curves = zip(*losses, strict=True)
    states = [{k: v.clone() for k, v in m.state_dict().items()} for m in models]
    return {s: (list(c), w) for s, c, w in zip(seeds, curves, states, strict=True)}


@pytest.mark.parametrize("spec", VARIANTS, ids=lambda s: f"{s.norm}-{s.position}-{s.activation}")
def test_losses_and_gradients_equal_those_of_each_model_alone(spec):
    ids = _batch(3)
    alone = [GPT(spec, seed) for seed in range(3)]
    expected = [m.loss(x[:, :-1], x[:, 1:]) for m, x in zip(alone, ids, strict=True)]
    for loss in expected:
        loss.backward()
    members = [GPT(spec, seed) for seed in range(3)]
    stack = StackedGPT(members)
    losses = stack.losses(ids[..., :-1], ids[..., 1:])
    torch.testing.assert_close(losses, torch.stack(expected))
    losses.sum().backward()
    stack.share_gradients()
    for one, member in zip(alone, members, strict=True):
        for ours, theirs in zip(member.parameters(), one.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_a_members_bits_do_not_depend_on_the_other_members():
    whole, some, one = _train([1, 2, 3, 4]), _train([3, 2]), _train([3])
    for losses, weights in (some[3], one[3]):
        assert losses == whole[3][0]
        for name, value in weights.items():
            assert torch.equal(value, whole[3][1][name]), name
    assert whole[1][0] != whole[2][0]


def test_a_state_loaded_into_a_member_enters_the_stack():
    members = [GPT(BASE, seed) for seed in (1, 2)]
    stack, other, ids = StackedGPT(members), GPT(BASE, 7), _batch(2)
    members[1].load_state_dict(other.state_dict())
    losses = stack.losses(ids[..., :-1], ids[..., 1:])
    torch.testing.assert_close(losses[1], other.loss(ids[1, :, :-1], ids[1, :, 1:]))


def _norm(model: GPT) -> torch.Tensor:
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def test_each_member_is_clipped_to_its_own_norm():
    members, ids = [GPT(BASE, seed) for seed in (1, 2)], _batch(2)
    stack = StackedGPT(members)
    stack.losses(ids[..., :-1], ids[..., 1:]).sum().backward()
    stack.share_gradients()
    before = [_norm(member) for member in members]
    norms = stack.clip_gradients([0.1, 1e9])
    assert norms == pytest.approx([float(norm) for norm in before], rel=1e-5)
    after = [_norm(member) for member in members]
    assert float(after[0]) == pytest.approx(0.1, rel=1e-4)
    assert torch.equal(after[1], before[1])


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        StackedGPT([GPT(BASE, 0), GPT(dataclasses.replace(BASE, n_layer=1), 0)])
