"""The CPU's own operators equal torch's, in value and gradient, and are used where they pay."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom

from scaling_law.spec.model import ModelSpec
from scaling_law.train import kernels
from scaling_law.train.architectures.gpt import GPT

WIDE = ModelSpec(vocab_size=2048, n_ctx=128, n_layer=1, d_model=64, n_head=2, n_kv_head=2, d_ff=256)


def _made_by(y: torch.Tensor) -> str:
    assert y.grad_fn is not None
    return y.grad_fn.name()


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()


@pytest.mark.parametrize("rows", [3, 4, 7, 100])
def test_head_cross_entropy_matches_torch_with_gradients(rows):
    hidden, weight = (_random(7, 5, dtype=torch.float64), _random(9, 5, dtype=torch.float64))
    targets = torch.tensor([0, 8, 3, 3, 5, 0, 7])
    loss = kernels.head_cross_entropy(hidden, weight, targets, rows)
    torch.testing.assert_close(loss, F.cross_entropy(hidden @ weight.t(), targets))
    assert torch.autograd.gradcheck(
        lambda h, w: kernels.head_cross_entropy(h, w, targets, rows) * 3, (hidden, weight)
    )


def test_a_target_whose_share_underflows_has_its_exact_loss():
    hidden, weight = _random(3, 4), _random(5, 4, seed=1)
    with torch.no_grad():
        weight[:, 0], hidden[:, 0] = torch.tensor([200.0, 0, 0, 0, -200]), 1
    targets = torch.tensor([4, 0, 1])
    expected = F.cross_entropy(hidden @ weight.t(), targets)
    assert expected > 100
    loss = kernels.head_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(loss, expected)
    gradients, wanted = (torch.autograd.grad(x, (hidden, weight)) for x in (loss, expected))
    torch.testing.assert_close(gradients, wanted)


@pytest.mark.parametrize("time,block", [(6, 2), (7, 3), (5, 8)])
def test_blocked_attention_matches_causal_attention_with_gradients(time, block):
    q, k, v = (_random(3, 2, time, 4, seed=s, dtype=torch.float64) for s in range(3))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(kernels.blocked_attention(q, k, v, block), expected)
    assert torch.autograd.gradcheck(
        lambda *x: kernels.blocked_attention(x[0], x[1], x[2], block), (q, k, v), nondet_tol=0.0
    )


def test_attention_has_the_same_bits_without_an_in_place_softmax(monkeypatch):
    torch.manual_seed(2)
    inputs = torch.randn(3, 2, 4, 150, 8).unbind()
    results = []
    for overwrites in (True, False):
        monkeypatch.setattr(kernels, "_OVERWRITES", overwrites)
        q, k, v = (x.clone().requires_grad_() for x in inputs)
        y = kernels.blocked_attention(q, k, v)
        results.append((y, *torch.autograd.grad(y.square().sum(), (q, k, v))))
    assert all(torch.equal(ours, plain) for ours, plain in zip(*results, strict=True))


def test_a_torch_without_an_in_place_softmax_is_detected(monkeypatch):
    assert kernels._can_overwrite() is kernels._OVERWRITES
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "_overwrite", lambda scores: scores)
        assert not kernels._can_overwrite()
    monkeypatch.setattr(kernels, "_overwrite_backward", lambda grad: grad)
    assert not kernels._can_overwrite()


def test_blocked_attention_takes_parts_of_the_joint_projection_in_fp32():
    joint = _random(2, 192, 3 * 2, 16)
    results = []
    for blocked in (True, False):
        q, k, v = (part.transpose(1, 2) for part in joint.split([2, 2, 2], dim=2))
        if blocked:
            y = kernels.blocked_attention(q, k, v)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        results.append((y, torch.autograd.grad(y.square().sum(), joint)[0]))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("widths", [(256, 1024), (1024, 256), (1024, 1024), (64, 2048)])
def test_a_weights_gradient_is_the_same_product_in_memory_order(widths):
    grad, x = _random(40, widths[0]), _random(40, widths[1], seed=1)
    product = kernels._weight_gradient(grad.detach(), x.detach())
    assert product.is_contiguous()
    torch.testing.assert_close(product, (grad.t() @ x).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(kernels._ONEDNN is None, reason="this torch has no oneDNN product")
def test_the_onednn_product_equals_torchs_forward_and_backward():
    results = []
    for product in (kernels.linear, F.linear):
        x, weight = _random(8, 128, 64), _random(128, 64, seed=1)
        y = product(x, weight)
        assert ("OneDnn" in _made_by(y)) == (product is kernels.linear)
        y.square().mean().backward()
        results.append((y, x.grad, weight.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_model_with_the_kernels_has_torchs_loss_and_gradients(monkeypatch):
    ids = torch.randint(0, 2048, (8, 129), generator=torch.Generator().manual_seed(3))
    results = []
    for fast in (True, False):
        if not fast:
            monkeypatch.setattr(kernels, "_training_fp32_on_cpu", lambda x: False)
        model = GPT(WIDE, seed=1)
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        assert ("HeadCrossEntropy" in _made_by(loss)) == fast
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in model.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_other_shapes_modes_and_types_use_torchs_operators():
    short = torch.randn(2, 2, 64, 8, requires_grad=True)
    assert "Blocked" not in _made_by(kernels.causal_attention(short, short, short))
    narrow = torch.randn(4096, 32, requires_grad=True)
    assert "OneDnn" not in _made_by(kernels.linear(narrow, torch.randn(64, 32)))
    hidden, weight = torch.randn(4, 8, requires_grad=True), torch.randn(2048, 8)
    assert kernels.chunked_head_pays(hidden, weight)
    assert not kernels.chunked_head_pays(hidden, weight[:1024])
    many = torch.randn(8, 128, 64, requires_grad=True)
    assert kernels.chunked_head_pays(many, torch.randn(256, 64))
    assert not kernels.chunked_head_pays(many[:4], torch.randn(256, 64))  # the quick sweep's 512
    assert not kernels.chunked_head_pays(hidden.bfloat16(), weight)
    with torch.no_grad():
        assert not kernels.chunked_head_pays(hidden, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not kernels.chunked_head_pays(hidden, weight)


def test_sequence_losses_do_not_depend_on_the_micro_batch(monkeypatch):
    model = GPT(dataclasses.replace(WIDE, n_ctx=16), seed=2)
    ids = torch.randint(0, 2048, (5, 17), generator=torch.Generator().manual_seed(4))
    whole = model.sequence_losses(ids[:, :-1], ids[:, 1:])
    monkeypatch.setattr("scaling_law.train.architectures.gpt._EVAL_LOGITS", 2 * 16 * 2048)
    torch.testing.assert_close(model.sequence_losses(ids[:, :-1], ids[:, 1:]), whole)
