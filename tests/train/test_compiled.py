"""Runs through torch.compile with backends that need no compiler: the step is the same."""

from __future__ import annotations

import contextlib

import pytest
import torch

from scaling_law.errors import RunFailed
from scaling_law.files.layout import RunDir
from scaling_law.spec.resources import Resources
from scaling_law.train import compiled
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.begin import Job
from scaling_law.train.compiled import compiled_loss
from scaling_law.train.loop import train_run
from tests.fakes import tiny_model, tiny_spec

COMPILED = Resources(compiled=True)


@pytest.fixture(autouse=True)
def fresh_compiler():
    yield
    torch.compiler.reset()


def test_a_compiled_run_takes_the_same_steps(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    losses = []
    said: list[str] = []
    for resources in (Resources(), COMPILED):
        run_dir = RunDir(tmp_path / str(resources.compiled))
        run_dir.path.mkdir()
        spec = tiny_spec(total_steps=12)
        job = Job(spec=spec, resources=resources, run_dir=run_dir, dataset=dataset, log=said.append)
        losses.append(train_run(job))
    assert losses[0] is not None and losses[1] is not None
    assert losses[1].val_loss_nats == pytest.approx(losses[0].val_loss_nats, rel=1e-6)
    assert [line.split(" in ")[0] for line in said] == ["loss compiled"]


def test_a_run_that_cannot_be_compiled_fails_and_says_what_to_do(dataset, tmp_path, monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no C compiler found\nand much more")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    spec = tiny_spec(total_steps=6)
    job = Job(spec=spec, resources=COMPILED, run_dir=RunDir(tmp_path), dataset=dataset)
    with pytest.raises(RunFailed) as failure:
        train_run(job)
    said = str(failure.value)
    assert said.startswith("the loss cannot be compiled (")
    assert "no C compiler found" in said
    assert "much more" not in said
    assert said.endswith("set compile: off")


@pytest.mark.slow
def test_a_worker_compiles_every_run(monkeypatch):
    built = []

    def noting(graph, inputs):
        built.append(graph)
        return graph

    monkeypatch.setattr(compiled, "BACKEND", noting)
    for width in range(8, 88, 8):
        model = GPT(tiny_model(d_model=width, n_head=1, n_kv_head=1), seed=0)
        loss, _ = compiled_loss(model, 2, 2, contextlib.nullcontext, lambda line: None)
        before = len(built)
        loss(torch.zeros((2, 4), dtype=torch.int64), torch.zeros((2, 4), dtype=torch.int64))
        assert len(built) > before, "another shape is compiled as well"
    assert len(built) >= 20


def test_the_trial_leaves_no_gradient_and_no_changed_weight(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    model, same = GPT(tiny_model(), seed=3), GPT(tiny_model(), seed=3)
    loss, seqs = compiled_loss(model, 2, 2, contextlib.nullcontext, lambda line: None)
    assert loss != model.loss
    assert seqs == 2
    assert all(weight.grad is None for weight in model.parameters())
    pairs = zip(model.parameters(), same.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_a_batch_too_large_is_halved_until_it_fits_and_its_remainder_is_compiled_too(monkeypatch):
    tried = []

    def limited(graph, inputs):
        def call(*arguments):
            rows = next(a.shape[0] for a in arguments if a.dtype == torch.int64)
            tried.append(rows)
            if rows > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return graph(*arguments)

        return call

    monkeypatch.setattr(compiled, "BACKEND", limited)
    said: list[str] = []
    model = GPT(tiny_model(), seed=0)
    _, seqs = compiled_loss(model, 8, 6, contextlib.nullcontext, said.append)
    assert seqs == 3
    assert {2, 3} <= set(tried)
    assert said[0] == "out of memory: micro-batch halved to 3 sequences"
    assert said[1].startswith("loss compiled")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_compiled_loss_equals_the_models():
    said: list[str] = []
    model = GPT(tiny_model(), seed=0).to("cuda")
    loss, _ = compiled_loss(model, 2, 2, contextlib.nullcontext, said.append)
    ids = torch.randint(0, model.spec.vocab_size, (2, model.spec.n_ctx + 1), device="cuda")
    computed = float(loss(ids[:, :-1], ids[:, 1:]))
    assert computed == pytest.approx(float(model.loss(ids[:, :-1], ids[:, 1:])), rel=1e-4)
    assert said[0].startswith("loss compiled")
