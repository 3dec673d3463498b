"""Kernels are chosen by measured steps: robust against noise, never slower than torch's own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scaling_law.plan.steps import StepShape, measured_part, step_from_json
from scaling_law.run.engines import worker_environment
from scaling_law.spec.kernels import PLAIN, Kernels, kernels_from_json
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.to_json import to_json
from scaling_law.train import kernels, step_speed
from scaling_law.train.architectures.gpt import GPT
from tests.fakes import tiny_model

WIDE = ModelSpec(vocab_size=2048, n_ctx=128, n_layer=1, d_model=64, n_head=2, n_kv_head=2, d_ff=256)
SHAPE = StepShape(model=WIDE, seqs=8, precision="fp32")
THRESHOLDS = kernels.by_thresholds(WIDE, SHAPE.tokens)

Cost = Callable[[Kernels], float]


def invented(cost: Cost, noise: float = 0.0, seed: int = 0, shape: StepShape = SHAPE) -> Any:
    """A stepper whose steps take ``cost`` seconds, up to (1 + noise) times as long, as if busy."""
    draw = Random(seed)
    busy = [1.0]

    def step(chosen: Kernels) -> float:
        busy[0] = 1 + noise * draw.random()
        if draw.random() < 0.1:  # another process takes the processor's caches
            busy[0] *= 1 + noise
        return cost(chosen) * busy[0]

    return SimpleNamespace(shape=shape, step=step)


def cost_of(**seconds: float) -> Cost:
    """A step of 10 ms to which each choice that is taken adds its own time, in ms."""

    def cost(chosen: Kernels) -> float:
        return 10 + sum(each for name, each in seconds.items() if getattr(chosen, name))

    return cost


def test_the_thresholds_stay_where_nothing_is_clearly_faster():
    as_today = cost_of(attention_block=-1, linear=-1, head_rows=-1, head_products=-1, fused=-1)
    assert step_speed.choose(invented(as_today))[0] == THRESHOLDS
    chosen, over_thresholds, over_plain = step_speed.choose(invented(cost_of(fused=0.1)))
    assert (chosen, over_thresholds) == (THRESHOLDS, 1)
    assert over_plain == pytest.approx(10 / 10.1)


def test_choices_that_slow_a_step_down_are_dropped_and_the_others_stay():
    chosen, over_thresholds, over_plain = step_speed.choose(
        invented(cost_of(attention_block=-1, linear=2, head_rows=-2, head_products=1, fused=1.5))
    )
    assert chosen == dataclasses.replace(
        THRESHOLDS, linear=False, gradients=False, head_products=False, fused=False
    )
    assert over_thresholds == pytest.approx(11.5 / 7)
    assert over_plain == pytest.approx(10 / 7)


def test_where_torch_s_own_operators_are_the_fastest_they_are_chosen():
    slower = cost_of(attention_block=1, linear=1, head_rows=1, head_products=1, fused=1)
    chosen, _, over_plain = step_speed.choose(invented(slower))
    assert (chosen, over_plain) == (PLAIN, 1)


def test_of_two_gains_that_do_not_add_up_one_stays():
    def apart(chosen: Kernels) -> float:
        turned = [chosen.linear != THRESHOLDS.linear, chosen.fused != THRESHOLDS.fused]
        return 20.0 if all(turned) else 9.0 if any(turned) else 10.0

    chosen, over_thresholds, _ = step_speed.choose(invented(apart))
    assert over_thresholds == pytest.approx(10 / 9)
    assert apart(chosen) == 9


@pytest.mark.parametrize("seed", range(20))
def test_on_a_busy_machine_a_choice_is_seldom_worse_and_a_large_gain_is_found(seed):
    slow_products = cost_of(attention_block=-0.1, linear=4, head_rows=-0.2, fused=-0.1)
    chosen, _, _ = step_speed.choose(invented(slow_products, noise=0.5, seed=seed))
    assert not chosen.linear
    assert slow_products(chosen) <= min(slow_products(THRESHOLDS), slow_products(PLAIN)) * 1.03


def test_large_steps_are_measured_on_a_part_of_the_model():
    large = dataclasses.replace(
        WIDE, n_layer=12, d_model=768, n_ctx=1024, vocab_size=4096, d_ff=3072
    )
    part = measured_part(dataclasses.replace(SHAPE, model=large, seqs=8))
    assert part is not None
    assert (part.model.n_layer, part.model.d_model, part.seqs) == (2, 768, 1)
    assert measured_part(SHAPE) == SHAPE
    vast = dataclasses.replace(large, d_model=12288, d_ff=49152)
    assert measured_part(dataclasses.replace(SHAPE, model=vast)) is None


def test_the_thresholds_written_out_compute_the_same_bits():
    ids = torch.randint(0, 2048, (8, 129), generator=torch.Generator().manual_seed(3))
    computed = []
    for chosen in (None, THRESHOLDS):
        kernels.use(chosen)
        model = GPT(WIDE, seed=1)
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        computed.append([loss.detach(), *(p.grad for p in model.parameters())])
    assert all(torch.equal(*pair) for pair in zip(*computed, strict=True))


@pytest.mark.parametrize(
    "chosen",
    [PLAIN, *step_speed.turned(THRESHOLDS, SHAPE), *step_speed.turned(PLAIN, SHAPE)],
    ids=str,
)
def test_every_choice_computes_the_loss_and_gradients_of_torch_s_own(chosen):
    ids = torch.randint(0, 2048, (8, 129), generator=torch.Generator().manual_seed(3))
    computed = []
    for one in (PLAIN, chosen):
        kernels.use(one)
        model = GPT(WIDE, seed=1)
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        assert loss.grad_fn is not None
        assert ("HeadCrossEntropy" in loss.grad_fn.name()) == bool(one.head_rows)
        loss.backward()
        computed.append([loss.detach(), *(p.grad for p in model.parameters())])
    for own, torchs in zip(*computed, strict=True):
        torch.testing.assert_close(own, torchs, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_shapes_are_measured_in_a_process_of_their_own():
    """With another step beside it, of a tiny model; the figures are positive, the kernels read."""
    shape = StepShape(model=tiny_model(), seqs=2, precision="fp32")
    done = subprocess.run(
        [sys.executable, "-m", "scaling_law.train.step_speed", "2"],
        input=json.dumps([to_json(shape)]),
        capture_output=True,
        text=True,
        check=True,
        env=worker_environment(),
    )
    step = step_from_json(json.loads(done.stdout))
    assert step.shape == shape
    assert step.seconds is not None and 0 < step.seconds < 1
    assert step.eval_seconds is not None and 0 < step.eval_seconds < step.seconds
    assert step.over_thresholds > 0 and step.over_plain > 0


def test_kernels_say_what_they_are():
    assert str(PLAIN) == "plain"
    assert str(Kernels(attention_block=64, linear=True, head_rows=512, fused=True)) == (
        "attention by 64 queries, oneDNN products, head by 512 tokens, fused AdamW"
    )
    assert kernels_from_json(to_json(THRESHOLDS)) == THRESHOLDS
    assert kernels_from_json(None) is None
    with pytest.raises(ValueError, match="head_rows is 'all'"):
        kernels_from_json({"head_rows": "all"})
