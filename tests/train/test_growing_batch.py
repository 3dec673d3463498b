"""The optimizer growing_batch: it updates by the mean gradient of several steps, more and more."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch

from scaling_law.config.part_settings import Refused, part_settings
from scaling_law.files.record import read_curve
from scaling_law.spec.component import Component
from scaling_law.spec.optim import OptimSpec
from scaling_law.train.architectures import build
from scaling_law.train.loop import train_run
from scaling_law.train.optim import make_optimizer, set_lr
from scaling_law.train.optimizers._growing_batch import GrowingBatch
from scaling_law.train.optimizers.growing_batch import OPTIMIZER, Settings
from tests.fakes import tiny_model, tiny_spec
from tests.train.test_loop import job, losses

GROWS = (("double_after", 6), ("first", 2), ("last", 8))


def spec_of(**settings: float) -> OptimSpec:
    component = Component(name="growing_batch", settings=tuple(sorted(settings.items())))
    return OptimSpec(lr=0.01, rule="test", optimizer=component)


def stepped(optimizer: torch.optim.Optimizer, weight: torch.Tensor, gradients) -> list[float]:
    """The weight after each step."""
    values = []
    for gradient in gradients:
        set_lr(optimizer, 0.1)
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        optimizer.zero_grad()
        values.append(float(weight.detach()))
    return values


def test_an_update_is_that_of_the_mean_gradient():
    options: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.1}
    one, other = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    several = GrowingBatch(
        [{"params": [one]}], first=2, last=2, double_after=100, lr_power=0, **options
    )
    plain = torch.optim.AdamW([other], **options)
    moved = stepped(several, one, [1.0, 2.0, 5.0, -1.0])
    assert moved[0] == 1 and moved[2] == moved[1]
    assert moved[1::2] == stepped(plain, other, [1.5, 2.0])


def test_the_steps_of_an_update_double_up_to_the_last():
    weight = torch.nn.Parameter(torch.ones(1))
    options: dict[str, Any] = {"first": 2, "last": 8, "double_after": 6, "lr_power": 0.5, "lr": 0.1}
    optimizer = GrowingBatch([{"params": [weight]}], **options)
    values = [1.0, *stepped(optimizer, weight, [1.0] * 34)]
    updates = [step for step, (a, b) in enumerate(itertools.pairwise(values), 1) if a != b]
    # three of 2 steps until step 6, two of 4 until 14, then of 8
    assert updates == [2, 4, 6, 10, 14, 22, 30]
    # with constant gradients Adam moves by the learning rate, here times the root of the steps
    moved = [values[step - 1] - values[step] for step in updates]
    decay = optimizer.param_groups[0]["weight_decay"]
    assert decay < 0.1 and moved[-1] / moved[0] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("stop_at", [5, 15])
def test_a_run_that_stops_between_updates_resumes_to_the_same_bits(dataset, tmp_path, stop_at):
    spec = tiny_spec(optim=spec_of(**dict(GROWS)))
    undisturbed = job(dataset, tmp_path / "a", spec)
    expected = train_run(undisturbed)
    asked = iter(range(1, 1000))
    broken = job(dataset, tmp_path / "b", spec, should_stop=lambda: next(asked) == stop_at)
    assert train_run(broken) is None
    result = train_run(job(dataset, tmp_path / "b", spec))
    assert result is not None and expected is not None
    assert result.val_loss_nats == expected.val_loss_nats
    assert losses(read_curve(broken.run_dir)) == losses(read_curve(undisturbed.run_dir))


def test_its_state_is_as_large_as_it_says():
    module = build(tiny_model())
    optimizer = make_optimizer(module, spec_of(**dict(GROWS)), "cpu")
    for _ in range(3):  # an update, and a step towards the next
        for weight in module.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
    state = [s for weight in module.parameters() for s in optimizer.state[weight].values()]
    size = sum(one.numel() * one.element_size() for one in state if one.ndim)
    count = sum(weight.numel() for weight in module.parameters())
    assert size == OPTIMIZER.state_bytes_per_param * count


def test_a_batch_that_falls_is_refused():
    with pytest.raises(Refused) as refused:
        part_settings(Settings, {"first": 8, "last": 2})
    assert "last 2 is below first 8" in str(refused.value.errors[0])


def test_a_state_from_before_the_first_update_is_restored():
    options: dict[str, Any] = {"first": 2, "last": 2, "double_after": 9, "lr_power": 0, "lr": 0.1}
    one, other = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    whole = GrowingBatch([{"params": [one]}], **options)
    begun = stepped(whole, one, [1.0])
    again = GrowingBatch([{"params": [other]}], **options)
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    assert begun == [1.0]
    assert stepped(again, other, [3.0, 1.0, 2.0]) == stepped(whole, one, [3.0, 1.0, 2.0])
