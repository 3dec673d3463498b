"""Objectives: targets, weights, and the losses of runs."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from scaling_law import parts
from scaling_law.data.batch import Batch
from scaling_law.errors import RunFailed
from scaling_law.parts import Reference
from scaling_law.spec.component import Component
from scaling_law.spec.resources import Resources
from scaling_law.train import loop
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.begin import begin
from scaling_law.train.evaluate import evaluate
from scaling_law.train.forward import Trainable, tensors_of
from scaling_law.train.loop import train_run
from scaling_law.train.objectives import Objective
from scaling_law.train.state import State
from tests.fakes import tiny_model, tiny_spec
from tests.train.test_loop import job

NEXT_TOKEN = parts.load("objective", Reference(name="next_token"))
MASKED = '''
"""Some tokens are hidden and predicted from all others."""
from dataclasses import dataclass
import numpy as np
import torch.nn.functional as F
from scaling_law.data.batch import Batch
from scaling_law.train.objectives import Objective


@dataclass(frozen=True)
class Settings:
    rate: float = 0.25


def view(batch, settings, of):
    hidden = np.random.default_rng(of.seed).random(batch.inputs.shape) < settings.rate
    hidden[:, 0] = True
    inputs = np.where(hidden, of.vocab_size - 1, batch.inputs)
    return Batch(inputs=inputs, targets=batch.inputs, weights=hidden.astype(np.float32))


def loss(outputs, targets, settings):
    return F.cross_entropy(outputs.transpose(1, 2), targets, reduction="none")


OBJECTIVE = Objective(
    loss=loss, view=view, unit="nats per hidden token", comparable="masked", attention="full",
    settings=Settings,
)
'''


def masked(folder: Path, **settings: Any) -> Component:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "masked.py").write_text(MASKED)
    reference = parts.read_file("objective", folder / "masked.py")
    return Component(
        name=reference.name,
        source_sha256=reference.source_sha256,
        settings=tuple(settings.items()),
    )


class Weighing:
    """A dataset of which only some targets count."""

    def __init__(self, dataset: Any, weigh: Any) -> None:
        self._dataset, self._weigh = dataset, weigh

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def batch(self, split: str, step: int, **sizes: Any) -> Batch:
        return self._weighed(self._dataset.batch(split, step, **sizes))

    def val_batches(self, split: str, **sizes: Any) -> Any:
        return map(self._weighed, self._dataset.val_batches(split, **sizes))

    def val_bytes(self, *sizes: Any, **named: Any) -> None:
        return None

    def _weighed(self, batch: Batch) -> Batch:
        weights = self._weigh(batch.targets.shape).astype(np.float32)
        return dataclasses.replace(batch, weights=weights)


def gradients(dataset, folder, micro_seqs: int) -> tuple[float, dict[str, torch.Tensor]]:
    resources = Resources(micro_seqs=micro_seqs)
    this = job(dataset, folder, tiny_spec(batch_tokens=80), resources=resources)
    state = begin(this)
    loss = loop.accumulate_gradients(this, state)
    weights = state.model.named_parameters()
    return loss, {name: w.grad.clone() for name, w in weights if w.grad is not None}


def uneven(shape):
    weights = np.random.default_rng(0).random(shape)
    weights[2] = 0  # a sequence of which nothing counts
    return weights


@pytest.mark.parametrize("micro_seqs", [1, 2, 3])
def test_the_loss_is_the_weighted_mean_for_any_micro_batch(dataset, tmp_path, micro_seqs):
    weighing = Weighing(dataset, uneven)
    whole, expected = gradients(weighing, tmp_path / "whole", 5)
    loss, weight_gradients = gradients(weighing, tmp_path / "cut", micro_seqs)
    assert loss == pytest.approx(whole, rel=1e-6)
    assert weight_gradients.keys() == expected.keys()
    for name, gradient in weight_gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)


def test_equal_weights_equal_no_weights(dataset, tmp_path):
    plain, expected = gradients(dataset, tmp_path / "plain", 2)
    loss, weight_gradients = gradients(
        Weighing(dataset, lambda s: np.full(s, 0.5)), tmp_path / "w", 2
    )
    assert loss == pytest.approx(plain, rel=1e-6)
    for name, gradient in weight_gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("weigh", "said"),
    [
        (np.zeros, "one above 0"),
        (lambda shape: np.full(shape, -1.0), "at least 0"),
        (lambda shape: np.full(shape, np.nan), "finite"),
        (lambda shape: np.ones(shape[:1]), "weights of shape"),
    ],
)
def test_invalid_weights_fail_the_run_with_one_line(dataset, tmp_path, weigh, said):
    with pytest.raises(RunFailed, match="a batch of train cannot be used") as problem:
        train_run(job(Weighing(dataset, weigh), tmp_path, tiny_spec()))
    assert said in str(problem.value) and len(problem.value.lines) == 1


def test_a_run_of_weighted_targets_ends_with_their_mean_loss(dataset, tmp_path):
    def last(shape):
        weights = np.zeros(shape)
        weights[:, -4:] = 1
        return weights

    this = job(Weighing(dataset, last), tmp_path, tiny_spec(), resources=Resources())
    record = train_run(this)
    assert record is not None and record.val_bits_per_byte is None
    state = begin(this)
    losses, weights = [], []
    for batch in state.meter.examples.measured("val", this.spec.eval.val_tokens):
        with torch.no_grad():
            each, counts = state.trainable.example_losses(batch)
        losses.append(each)
        weights.append(counts)
    assert set(torch.cat(weights).tolist()) == {4.0}


def test_mean_and_standard_error_use_the_weights():
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    squared = Objective(
        loss=lambda outputs, targets, _: (outputs - targets).square(),
        unit="square error",
        comparable="square error",
    )
    batch = Batch(
        inputs=np.array([[1.0], [2.0], [3.0]]),
        targets=np.array([[0.0], [0.0], [0.0]]),
        weights=np.array([[1.0], [1.0], [2.0]], np.float32),
    )
    evaluation = evaluate(
        Trainable(model, squared), [tensors_of(batch)], "cpu", contextlib.nullcontext, at_once=2
    )
    assert evaluation is not None
    assert evaluation.loss_nats == pytest.approx((1 + 4 + 2 * 9) / 4)
    assert evaluation.tokens == 3
    assert evaluation.sem_nats is not None and 0 < evaluation.sem_nats < 4


def test_the_models_own_loss_equals_the_objectives():
    model = GPT(tiny_model(), seed=0)
    rows = np.random.default_rng(0).integers(0, 257, (3, 17))
    batch = tensors_of(Batch(inputs=rows[:, :-1], targets=rows[:, 1:]))
    fast = Trainable(model, NEXT_TOKEN)
    plain = Trainable(model, dataclasses.replace(NEXT_TOKEN, fast=False))
    assert fast.is_fast and not plain.is_fast
    torch.testing.assert_close(fast.loss(batch), plain.loss(batch))
    for ours, theirs in zip(fast.example_losses(batch), plain.example_losses(batch), strict=True):
        # a sequence weighs as many targets as it has
        torch.testing.assert_close(ours, theirs)


def test_fewer_targets_than_positions_belong_to_the_last_positions():
    model = GPT(tiny_model(), seed=0)
    rows = np.random.default_rng(0).integers(0, 257, (3, 17))
    last = tensors_of(Batch(inputs=rows[:, :-1], targets=rows[:, -1:]))
    weights = np.zeros((3, 16), np.float32)
    weights[:, -1] = 1
    weighted = tensors_of(Batch(inputs=rows[:, :-1], targets=rows[:, 1:], weights=weights))
    one = Trainable(model, NEXT_TOKEN)
    torch.testing.assert_close(one.loss(last), one.loss(weighted))
    for ours, theirs in zip(one.example_losses(last), one.example_losses(weighted), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_users_own_objective_trains_resumes_and_is_recorded(dataset, tmp_path):
    spec = tiny_spec(objective=masked(tmp_path, rate=0.5))
    assert spec.run_id != tiny_spec().run_id
    record = train_run(job(dataset, tmp_path / "a", spec))
    assert record is not None and record.val_loss_nats is not None
    assert (record.loss_unit, record.loss_family) == ("nats per hidden token", "masked")
    assert record.val_bits_per_byte is None
    asked = iter(range(100))
    broken = job(dataset, tmp_path / "b", spec, should_stop=lambda: next(asked) == 11)
    assert train_run(broken) is None
    again = train_run(job(dataset, tmp_path / "b", spec))
    assert again is not None
    assert (again.val_loss_nats, again.curve_sha256) == (
        record.val_loss_nats,
        record.curve_sha256,
    )
    plain = train_run(job(dataset, tmp_path / "plain", tiny_spec()))
    assert plain is not None
    assert (plain.loss_unit, plain.loss_family, plain.metric_units) == (None, None, {})


@pytest.mark.parametrize("position", ["rotary", "alibi", "learned"])
def test_full_attention_sees_later_positions(tmp_path, position):
    model = GPT(tiny_model(position=position), seed=0)
    tokens = torch.randint(0, 257, (1, 16), generator=torch.Generator().manual_seed(0))
    other = tokens.clone()
    other[0, -1] = (other[0, -1] + 1) % 257
    full = parts.load("objective", masked(tmp_path).reference)
    with torch.no_grad():
        assert torch.equal(model(tokens)[:, :-1], model(other)[:, :-1])
        Trainable(model, full)
        assert not torch.equal(model(tokens)[:, 0], model(other)[:, 0])
        Trainable(model, NEXT_TOKEN)
        assert torch.equal(model(tokens)[:, :-1], model(other)[:, :-1])


def test_a_view_differs_at_each_step_and_is_fixed_for_validation(dataset, tmp_path):
    def states(seed: int) -> State:
        spec = tiny_spec(objective=masked(tmp_path), seed=seed)
        return begin(job(dataset, tmp_path / str(seed), spec))

    one, other = states(0).meter.examples, states(1).meter.examples
    for split in ("train", "val"):
        for ours, theirs in zip(one.measured(split, 512), other.measured(split, 512), strict=True):
            assert torch.equal(ours.inputs, theirs.inputs)
    assert torch.equal(one.training(3).inputs, one.training(3).inputs)
    hidden = [one.training(step).weights for step in (0, 1)]
    assert hidden[0] is not None and hidden[1] is not None
    assert not torch.equal(hidden[0], hidden[1])


def test_a_loss_of_the_wrong_shape_fails_the_run_with_one_line():
    model = GPT(tiny_model(), seed=0)
    rows = np.zeros((2, 17), np.int64)
    batch = tensors_of(Batch(inputs=rows[:, :-1], targets=rows[:, 1:]))
    whole = Objective(loss=lambda outputs, *_: outputs.mean(), unit="x", comparable="x")
    with pytest.raises(RunFailed, match=r"of shape \[\], expected one for each target, \[2, 16\]"):
        Trainable(model, whole).loss(batch)


def test_a_loss_of_one_example_has_no_standard_error():
    batch = Batch(inputs=np.array([[1.0]], dtype=np.float32), targets=np.array([[3]]))
    squared = Objective(
        loss=lambda outputs, targets, settings: (outputs - targets).square(),
        unit="squared error", comparable="squares",
    )  # fmt: skip
    scored = evaluate(
        Trainable(nn.Identity(), squared), [tensors_of(batch)], "cpu", contextlib.nullcontext
    )
    assert scored is not None and (scored.loss_nats, scored.sem_nats) == (4.0, None)
