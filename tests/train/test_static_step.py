"""The step as one program: its bits when recorded, and the fallback when recording fails."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch

from scaling_law.spec.model import ModelSpec
from scaling_law.spec.optim import OptimSpec
from scaling_law.train.architectures._gpt_stack import StackedGPT
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.optim import make_optimizer
from scaling_law.train.static_step import WARM_STEPS, StaticStep

SPEC = ModelSpec(vocab_size=300, n_ctx=16, n_layer=2, d_model=32, n_head=4, n_kv_head=4, d_ff=64)


def step_of(device: str, said: list[str]) -> tuple[StaticStep, StackedGPT]:
    models = [GPT(SPEC, seed).to(device) for seed in range(3)]
    joint = make_optimizer(torch.nn.ModuleList(models), OptimSpec(lr=0.01, rule="test"), device)
    for group in joint.param_groups:
        group["capturable"] = device == "cuda"
        group["lr"] = torch.full((), 0.01, device=device)
    stack = StackedGPT(models)
    step = StaticStep(
        stack,
        batch_seqs=2,
        limits=[1.0, 0.1, math.inf],
        context=contextlib.nullcontext,
        update=joint.step,
        log=said.append,
    )
    return step, stack


def ids(number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    return torch.randint(0, 300, (3, 2, 17), generator=generator)


def pairs(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    return ids(number)[..., :-1].contiguous(), ids(number)[..., 1:].contiguous()


def test_norms_are_clipped_as_in_the_ordinary_step():
    stacks = [StackedGPT([GPT(SPEC, seed) for seed in range(3)]) for _ in range(2)]
    for stack in stacks:
        stack.losses(ids(0)[..., :-1], ids(0)[..., 1:]).sum().backward()
    limits = [1.0, 0.1, math.inf]
    norms = stacks[0].clip_gradients(limits)
    scaled_norms = stacks[1].scale_gradients(torch.tensor(limits, dtype=torch.float64))
    assert scaled_norms.tolist() == pytest.approx(norms, rel=1e-12)
    assert min(norms) > 0.1
    for name, weight in stacks[0].weights.items():
        ours, theirs = weight.grad, stacks[1].weights[name].grad
        assert ours is not None
        assert theirs is not None
        assert torch.equal(ours, theirs)


def test_a_program_that_cannot_be_recorded_runs_unrecorded_with_one_message(monkeypatch):
    said: list[str] = []
    plain, expected = step_of("cpu", said)
    for number in range(6):
        plain.take(*pairs(number))
    assert not said

    @contextlib.contextmanager
    def refuse(graph, stream):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", refuse)
    step, stack = step_of("cpu", said)
    step._warm_steps_left = WARM_STEPS
    for number in range(6):
        step.take(*pairs(number))
    assert said == [
        "the step cannot be recorded (operation not permitted); operators are started one by one"
    ]
    for name, weight in stack.weights.items():
        assert torch.equal(weight, expected.weights[name])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_recorded_steps_equal_ordinary_ones():
    said: list[str] = []
    recorded, stack = step_of("cuda", said)
    plain, expected = step_of("cuda", said)
    plain._warm_steps_left = -1
    for number in range(WARM_STEPS + 5):
        recorded_step, wanted = recorded.take(*pairs(number)), plain.take(*pairs(number))
        assert recorded_step[0] == pytest.approx(wanted[0], rel=1e-5)
        assert recorded_step[1] == pytest.approx(wanted[1], rel=1e-4)
    assert said == ["a step of 3 models recorded as one CUDA graph"]
    for name, weight in stack.weights.items():
        torch.testing.assert_close(weight, expected.weights[name], rtol=1e-4, atol=1e-5)
