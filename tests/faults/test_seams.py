"""Faults where two parts meet: growth and states, stacks and leases, a sweep and its readers."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.files.layout import RunDir
from scaling_law.files.lease import Leases, read_lease, remove_lease
from scaling_law.run import worker
from scaling_law.run.cleanup import temporary_files
from tests.faults.harness import assert_nothing_lost
from tests.faults.world import CONFIG, begin_sweep, results, write_text
from tests.inline_engine import InlineExecutor

GROWN = """
name: grown
data: {{corpus: {text}, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2, max_epochs: 50}}
model: {{n_ctx: 16}}
grid:
  - {{sizes: [{{n_layer: 1, d_model: 8, n_head: 2}}], tokens: [1k]}}
  - {{sizes: [{{n_layer: 2, d_model: 8, n_head: 2}}], tokens: [1k], grow_from: 1x8-792}}
optim: {{rule: slaw_small, lr: 0.01, batch_tokens: 32}}
eval: {{val_tokens: 128, curve_tokens: 64, curve_points: 4}}
precision: fp32
stacking: off
"""
STACKED = CONFIG.replace("tokens: [1k, 2k]", "tokens: [1k]\n    seeds: [0, 1, 2]").replace(
    "stacking: off", "stacking: auto"
)


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path_factory.getbasetemp() / "seams-cache"))


@pytest.mark.usefixtures("cache")
def test_a_damaged_parent_state_is_written_again_for_a_grown_run(tmp_path):
    text = write_text(tmp_path / "text")
    whole = begin_sweep(tmp_path / "whole", text, config_text=GROWN)
    assert whole.run().exit_code == 0
    hurt = begin_sweep(tmp_path / "hurt", text, config_text=GROWN)
    grown = next(run for run in hurt.plan.runs if run.spec.growth)
    growth = grown.spec.growth
    assert growth is not None
    parent = hurt.dir.run(growth.trunk_id)
    done: list[str] = []

    def before(run_dir: RunDir) -> None:
        if run_dir.path.name == grown.run_id and not done:
            done.append(grown.run_id)
            state = parent.checkpoint(growth.at_step)
            state.write_bytes(state.read_bytes()[:-1])

    engine = InlineExecutor(hurt.dir, before)
    outcome = hurt.run(engine)
    assert (outcome.exit_code, outcome.failed, outcome.blocked) == (0, {}, {})
    assert engine.trained.count(parent.path.name) == engine.trained.count(grown.run_id) == 2
    assert results(hurt.dir) == results(whole.dir)
    assert not list(hurt.dir.runs.glob("*/ckpt/*"))


@pytest.mark.usefixtures("cache")
def test_a_stack_member_that_loses_its_lease_stops_writing_and_the_others_continue(tmp_path):
    text = write_text(tmp_path / "text")
    whole = begin_sweep(tmp_path / "whole", text, config_text=STACKED)
    assert whole.run().exit_code == 0
    hurt = begin_sweep(tmp_path / "hurt", text, config_text=STACKED)
    stack = [run.run_id for run in hurt.plan.runs if run.resources.stack]
    assert len(stack) == 2
    victim = hurt.dir.run(stack[1])
    then: dict[str, bytes] = {}
    asked: list[int] = []
    another_worker = contextlib.ExitStack()

    def take_it() -> bool:
        asked.append(1)
        if len(asked) == 20:  # each member asks after each step
            seen = read_lease(victim.lease)
            assert seen is not None and remove_lease(victim.lease, seen.token)
            another_worker.enter_context(Leases()).take(victim.lease)
            then.update(_files(victim))
        return False

    class Stack(InlineExecutor):
        def submit(self, runs):
            if [run.run_id for run in runs] != stack:
                return super().submit(runs)
            run_dirs = [hurt.dir.run(run_id) for run_id in stack]
            assert worker.work_on(run_dirs, take_it) == [victim]
            assert _files(victim) == then
            assert "stopped without writing" in victim.log.read_text()
            assert all(hurt.dir.run(i).record.is_file() == (i != stack[1]) for i in stack)
            another_worker.close()
            return object()

        def state(self, handle):
            return "elsewhere"

    assert hurt.run(Stack(hurt.dir)).exit_code == 0
    assert len(asked) > 20
    assert results(hurt.dir) == results(whole.dir)


@pytest.mark.usefixtures("cache")
def test_a_worker_that_slept_before_starting_leaves_its_run_to_another(tmp_path, monkeypatch):
    hurt = begin_sweep(tmp_path / "hurt", write_text(tmp_path / "text"))
    another_worker = contextlib.ExitStack()
    listed = temporary_files

    def asleep(run_dir: RunDir) -> list[Path]:
        """Another process takes over the run between the lease and the first look at the folder."""
        monkeypatch.setattr(worker, "temporary_files", listed)
        holder = read_lease(run_dir.lease)
        assert holder is not None and remove_lease(run_dir.lease, holder.token)
        another_worker.enter_context(Leases()).take(run_dir.lease)
        (run_dir.path / ".curve.jsonl.theirs.tmp").touch()
        return listed(run_dir)

    monkeypatch.setattr(worker, "temporary_files", asleep)
    hurt.trunk.path.mkdir(parents=True)
    with another_worker:
        assert worker.work_on([hurt.trunk], lambda: False) == [hurt.trunk]
    left = {path.name for path in hurt.trunk.path.iterdir()}
    assert left == {".curve.jsonl.theirs.tmp"}, "nothing was written, nothing removed"


def _files(run_dir: RunDir) -> dict[str, bytes]:
    """What counts in a run's folder: not its log, its progress, and its lease's counter."""
    paths = [path for path in run_dir.path.rglob("*") if path.is_file()]
    apart = (run_dir.log, run_dir.progress, run_dir.lease)
    return {str(p): p.read_bytes() for p in paths if p not in apart}


@pytest.mark.slow
@pytest.mark.parametrize("fits", [False, True])
def test_status_and_fit_read_a_running_sweep_without_changing_it(world, undisturbed, capsys, fits):
    out = f"read-{fits}"
    process, folder = world.start(out), str(world.path / out)
    seen: list[int] = []
    codes: list[int] = []
    try:
        while process.poll() is None:
            time.sleep(0.05)
            if not Path(folder, "runs").is_dir():
                continue
            assert main(["status", folder, "--json"]) == 0
            (said,) = json.loads(capsys.readouterr().out)
            seen.append(said["counts"].get("done", 0))
            if fits and 0 not in codes:  # that takes a while
                codes.append(main(["fit", folder, "--out", str(world.path / "fitted")]))
                err = capsys.readouterr().err
                assert codes[-1] in (0, 4) or "no finished run yet" in err, err
    finally:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert seen == sorted(seen) and len(set(seen)) > 1
    assert not fits or {0, 4}.intersection(codes)
    assert_nothing_lost(world, out, undisturbed)
