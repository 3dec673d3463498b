"""A grown run in the loop: it begins where its parent was, and resumes to the same bits."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from scaling_law.files.record import read_curve
from scaling_law.plan.growth import growth_from
from scaling_law.spec.counts import train_flops
from scaling_law.spec.resources import Resources
from scaling_law.train import loop
from scaling_law.train.begin import begin
from scaling_law.train.loop import train_run
from scaling_law.train.state import State
from tests.fakes import tiny_model, tiny_spec
from tests.train.test_loop import TRUNK, job


def test_a_grown_run_starts_at_its_parents_loss_and_resumes_to_the_same_bits(dataset, tmp_path):
    small = tiny_spec(label="small", schedule=TRUNK)
    parent = job(dataset, tmp_path, small, resources=Resources(save_steps=(40,)))
    train_run(parent)
    last = read_curve(parent.run_dir)[-1]
    wide = tiny_model(d_model=32, n_head=4, n_kv_head=4, d_ff=64, n_layer=2)
    spec = tiny_spec(label="wide", model=wide, growth=growth_from(small, 40))
    whole = job(dataset, tmp_path / "a", spec, trunk=parent.run_dir)
    state = begin(whole)
    measured = loop.measure(whole, state, final=True)
    assert measured is not None
    assert measured.val.loss_nats == pytest.approx(last.val_loss_nats, abs=2e-6)
    assert state.step == 0
    assert not state.optimizer.state
    ours, theirs = loop.next_batch(whole, state), loop.next_batch(parent, _at(state, 40))
    assert torch.equal(ours.inputs, theirs.inputs)
    expected = train_run(whole)
    assert expected is not None
    small_flops = train_flops(small.model, small.tokens)
    assert expected.metrics == {"parent_tokens": small.tokens, "parent_flops": small_flops}
    assert expected.flops_exact == train_flops(wide, spec.tokens)
    asked = 0

    def stop_once() -> bool:
        nonlocal asked
        asked += 1
        return asked == 11

    broken = job(dataset, tmp_path / "b", spec, trunk=parent.run_dir, should_stop=stop_once)
    assert train_run(broken) is None
    result = train_run(job(dataset, tmp_path / "b", spec, trunk=parent.run_dir))
    assert result is not None
    assert result.val_loss_nats == expected.val_loss_nats


def _at(state: State, step: int) -> State:
    return dataclasses.replace(state, step=step)
