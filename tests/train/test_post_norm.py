"""The GPT with its norms after the residual sums: counts, what it computes, generating."""

from __future__ import annotations

import torch

from scaling_law.spec.architectures.gpt import gpt_of
from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import build, inside
from scaling_law.train.generate import generate
from tests.train.test_generate import DRAWN, PROMPTS, closest

MODEL = OtherModel(
    architecture=Component(name="post_norm"),
    shape=(("d_model", 32), ("n_head", 4), ("n_kv_head", 2), ("n_layer", 2)),
    vocab_size=60,
    n_ctx=16,
)


def test_counts_are_those_of_the_gpt_and_of_the_module():
    module, dense = build(MODEL), gpt_of(MODEL)
    assert count_params(MODEL) == count_params(dense)
    assert count_params(MODEL).total == sum(p.numel() for p in module.parameters())
    assert flops_per_token(MODEL) == flops_per_token(dense)
    for mine, theirs in zip(module.parameters(), build(dense).parameters(), strict=True):
        assert torch.equal(mine, theirs)  # the same first weights


def test_what_a_block_gives_is_normed():
    states = inside(build(MODEL), torch.arange(12)[None], "stream")
    for state in states[1:]:
        rms = state.square().mean(dim=-1).sqrt()
        torch.testing.assert_close(rms, torch.ones_like(rms), atol=1e-3, rtol=0)


def test_a_cache_gives_what_no_cache_gives():
    module = build(MODEL, 1).eval()
    cached = generate(module, PROMPTS, DRAWN, n_ctx=16)
    assert closest(cached, generate(module, PROMPTS, DRAWN, n_ctx=16, cache=False)) < 1e-5
