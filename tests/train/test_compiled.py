"""Runs through torch.compile, by the backends of it that need no compiler: the step is the same."""

from __future__ import annotations

import contextlib

import pytest
import torch

from scaling_law.layout import RunDir
from scaling_law.spec import Resources
from scaling_law.train import compiled, loop
from scaling_law.train.compiled import compiled_loss
from scaling_law.train.loop import Job, train_run
from scaling_law.train.model import GPT
from tests.fakes import tiny_model, tiny_spec

COMPILED = Resources(compiled=True)


@pytest.fixture(autouse=True)
def fresh_compiler():
    yield
    torch.compiler.reset()


def test_a_compiled_run_takes_the_steps_of_one_that_is_not(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    found = []
    said: list[str] = []
    for resources in (Resources(), COMPILED):
        run_dir = RunDir(tmp_path / str(resources.compiled))
        run_dir.path.mkdir()
        spec = tiny_spec(total_steps=12)
        job = Job(spec=spec, resources=resources, run_dir=run_dir, dataset=dataset, log=said.append)
        found.append(train_run(job))
    assert found[0] is not None and found[1] is not None
    assert found[1].val_loss_nats == pytest.approx(found[0].val_loss_nats, rel=1e-6)
    assert [line.split(" in ")[0] for line in said] == ["loss compiled"]


def test_a_compiler_that_fails_is_said_and_the_run_goes_on_without(dataset, tmp_path, monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no C compiler found\nand much more")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    said: list[str] = []
    run_dir = RunDir(tmp_path)
    spec = tiny_spec(total_steps=6)
    job = Job(spec=spec, resources=COMPILED, run_dir=run_dir, dataset=dataset, log=said.append)
    state = loop.begin(job)
    assert state.loss == state.model.loss
    assert len(said) == 1
    assert said[0].startswith("not compiled (")
    assert "no C compiler found" in said[0]
    assert "much more" not in said[0]
    assert train_run(job) is not None


def test_the_trial_leaves_no_gradient_and_no_changed_weight(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    model, same = GPT(tiny_model(), seed=3), GPT(tiny_model(), seed=3)
    loss = compiled_loss(model, 2, contextlib.nullcontext, lambda line: None)
    assert loss != model.loss
    assert all(weight.grad is None for weight in model.parameters())
    pairs = zip(model.parameters(), same.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_a_batch_too_large_for_the_trial_is_left_to_the_step(monkeypatch):
    def full(graph, inputs):
        def call(*_):
            raise torch.OutOfMemoryError("CUDA out of memory")

        return call

    monkeypatch.setattr(compiled, "BACKEND", full)
    said: list[str] = []
    model = GPT(tiny_model(), seed=0)
    loss = compiled_loss(model, 2, contextlib.nullcontext, said.append)
    assert loss != model.loss
    assert not said


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_card_the_compiled_loss_is_the_models():
    said: list[str] = []
    model = GPT(tiny_model(), seed=0).to("cuda")
    loss = compiled_loss(model, 2, contextlib.nullcontext, said.append)
    ids = torch.randint(0, model.spec.vocab_size, (2, model.spec.n_ctx + 1), device="cuda")
    found = float(loss(ids[:, :-1], ids[:, 1:]))
    assert found == pytest.approx(float(model.loss(ids[:, :-1], ids[:, 1:])), rel=1e-4)
    assert said[0].startswith("loss compiled")
