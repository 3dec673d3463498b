"""Damaged checkpoints: an older one is used, or the trunk is trained to the state again."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from scaling_law.data.dataset_folder import dataset_folder
from scaling_law.data.text import open_dataset
from scaling_law.files.layout import RunDir
from scaling_law.spec.resources import Resources
from scaling_law.train import checkpoint
from scaling_law.train.begin import Job
from scaling_law.train.loop import train_run
from tests.fakes import text_spec
from tests.faults.world import begin_sweep, results, write_text
from tests.inline_engine import InlineExecutor


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path_factory.getbasetemp() / "states-cache"))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text"))


def flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.fixture(scope="module")
def expected(text, tmp_path_factory):
    """What an undisturbed sweep ends with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(tmp_path_factory.getbasetemp() / "states-cache"))
        whole = begin_sweep(tmp_path_factory.mktemp("whole"), text)
        assert whole.run().exit_code == 0
    return results(whole.dir)


@pytest.mark.parametrize(
    ("which", "damage"),
    [
        (0, "flipped"),
        (1, "missing"),
        pytest.param(0, "folder", marks=pytest.mark.slow),
        pytest.param(1, "flipped", marks=pytest.mark.slow),
    ],
)
def test_one_call_writes_a_damaged_branch_point_again(text, tmp_path, expected, which, damage):
    hurt = begin_sweep(tmp_path / "hurt", text)
    victim = hurt.branches[which].path.name
    state = hurt.trunk.checkpoint(hurt.plan.by_id[victim].spec.start_step)
    done: list[str] = []

    def before(run_dir: RunDir) -> None:
        if run_dir.path.name != victim or done:
            return
        done.append(victim)
        if damage == "flipped":
            flip(state)
        else:
            state.unlink()
        if damage == "folder":
            (state / "in the way").mkdir(parents=True)

    engine = InlineExecutor(hurt.dir, before)
    outcome = hurt.run(engine)
    assert (outcome.exit_code, outcome.failed, outcome.blocked) == (0, {}, {})
    assert engine.trained.count(hurt.trunk.path.name) == 2
    assert engine.trained.count(victim) == 2
    assert results(hurt.dir) == expected
    assert not list(hurt.dir.runs.glob("*/ckpt/*"))


def test_a_state_damaged_every_time_fails_the_run_and_is_named(text, tmp_path):
    hurt = begin_sweep(tmp_path / "hurt", text)
    victim = hurt.branches[0].path.name
    state = hurt.trunk.checkpoint(hurt.plan.by_id[victim].spec.start_step)
    engine = InlineExecutor(hurt.dir, lambda run: flip(state) if run.path.name == victim else None)
    outcome = hurt.run(engine)
    assert outcome.exit_code == 3
    assert state.name in outcome.failed[victim]
    assert engine.trained.count(hurt.trunk.path.name) <= 3
    assert hurt.run().exit_code == 0, "the next call trains it again"


@pytest.mark.parametrize("spoiled", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_damaged_state_is_named_and_an_older_one_is_used(text, tmp_path, expected, spoiled):
    more = "checkpoints: {every_steps: 5, keep: 2}"
    hurt = begin_sweep(tmp_path / "hurt", text, more)
    run = next(r for r in hurt.plan.runs if r.spec.kind == "trunk")
    data = open_dataset(dataset_folder(text_spec(hurt.config)))
    asked = iter(range(1000))
    hurt.trunk.path.mkdir(parents=True)
    job = Job(
        spec=run.spec,
        resources=run.resources,
        run_dir=hurt.trunk,
        dataset=data,
        should_stop=lambda: next(asked) == 22,
    )
    assert train_run(job) is None
    steps = checkpoint.checkpoint_steps(hurt.trunk)
    assert len([s for s in steps if s not in run.resources.save_steps]) == 2
    for step in steps[:spoiled]:
        flip(hurt.trunk.checkpoint(step))
    hurt.trunk.curve.write_text("torn")  # the state remembers the curve up to its step
    assert hurt.run().exit_code == 0
    log = hurt.trunk.log.read_text()
    assert log.count("content does not match its checksum") == min(spoiled, len(steps))
    assert results(hurt.dir) == expected


def test_training_uses_no_random_generator(text, tmp_path):
    sweep = begin_sweep(tmp_path / "sweep", text)
    run = next(r for r in sweep.plan.runs if r.spec.kind == "trunk")
    sweep.trunk.path.mkdir(parents=True)
    job = Job(
        spec=run.spec,
        resources=Resources(),
        run_dir=sweep.trunk,
        dataset=open_dataset(dataset_folder(text_spec(sweep.config))),
    )
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    assert train_run(job) is not None
    after = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
