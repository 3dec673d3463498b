"""Several `slaw run` on one folder train each run once, even if some join, stop or die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from scaling_law.data.prepare import prepare
from scaling_law.data.text import open_dataset
from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import read_lease
from scaling_law.spec.data import DataSpec
from tests.faults.harness import (
    ROOT,
    World,
    assert_nothing_lost,
    signal_family,
    stop_in_a_run,
    sweep_of,
    trained_flops,
    wait_until,
)

OTHER_HOST = Path(__file__).resolve().parent / "other_host"


def leased(sweep: SweepDir) -> list[Path]:
    return sorted(sweep.runs.glob("*/claim"))


@pytest.mark.slow
def test_two_processes_share_the_runs_and_a_different_config_is_refused(world, undisturbed):
    first, second = world.start("together"), world.start("together")
    sweep = sweep_of(world, "together")
    wait_until(lambda: sweep.runs.is_dir() and bool(sweep.runner_leases()), first, second)
    for process in (first, second):  # the folder stays in use
        process.send_signal(signal.SIGSTOP)
    code, _, errors = world.run("together", "--set", "optim.lr=0.02")
    for process in (first, second):
        process.send_signal(signal.SIGCONT)
    assert code == 2
    assert "together: in use by pid" in errors
    assert "another config" in errors
    for process in (first, second):
        out, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        assert "9 of 9 runs done" in out
    assert_nothing_lost(world, "together", undisturbed)
    spent, planned = trained_flops(world, "together")
    assert spent == pytest.approx(planned)


@pytest.mark.slow
def test_a_process_that_joins_later_takes_free_runs(world, undisturbed):
    first = world.start("later")
    wait_until(lambda: bool(leased(sweep_of(world, "later"))), first)
    second = world.start("later")
    for process in (first, second):
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    assert_nothing_lost(world, "later", undisturbed)
    spent, planned = trained_flops(world, "later")
    assert spent == pytest.approx(planned)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["here", "on another host"])
def test_another_process_takes_the_runs_of_a_killed_one(world, undisturbed, where):
    out = f"killed-{where.replace(' ', '-')}"
    environment = {"SLAW_STALE_SECONDS": "8", "PYTHONPATH": f"{OTHER_HOST}{os.pathsep}{ROOT}"}
    if where == "on another host":
        environment["SLAW_FAKE_HOST"] = "elsewhere"
    first = world.start(out, **environment)
    holder = read_lease(stop_in_a_run(sweep_of(world, out), first).lease)
    signal_family(first.pid, signal.SIGSTOP)  # it is still there when the other one comes
    second = world.start(out, SLAW_STALE_SECONDS="8")
    wait_until(lambda: len(sweep_of(world, out).runner_leases()) > 1, second)
    signal_family(first.pid, signal.SIGKILL)
    first.communicate()
    _, errors = second.communicate(timeout=600)
    assert second.returncode == 0, errors
    assert holder is not None and holder.process is not None
    assert holder.process.host.startswith("elsewhere/") == (where == "on another host")
    assert_nothing_lost(world, out, undisturbed)


@pytest.mark.slow
def test_a_worker_that_slept_long_sees_its_run_taken_and_writes_nothing(world, undisturbed):
    out, environment = "asleep", {"SLAW_STALE_SECONDS": "6"}
    first = world.start(out, **environment)
    path = stop_in_a_run(sweep_of(world, out), first).lease
    holder = read_lease(path)
    assert holder is not None and holder.process is not None
    os.kill(first.pid, signal.SIGSTOP)  # all of it, as a frozen container
    second = world.start(out, **environment)
    wait_until(lambda: _is_another(path, holder.token), second)
    for pid in (first.pid, holder.process.pid):
        os.kill(pid, signal.SIGCONT)
    for process in (first, second):
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    log = (path.parent / "log.txt").read_text()
    assert "stopped without writing" in log
    assert_nothing_lost(world, out, undisturbed)


def _is_another(path: Path, token: str) -> bool:
    seen = read_lease(path)
    return (path.parent / "record.json").exists() or (seen is not None and seen.token != token)


def _prepare(spec: DataSpec, cache: str) -> str:
    os.environ["SLAW_CACHE"] = cache
    return str(prepare(spec))


@pytest.mark.slow
def test_data_prepared_by_several_processes_survives_kills(tmp_path):
    World(tmp_path / "world")
    text = str(tmp_path / "world" / "text")
    spec = DataSpec(corpus=text, tokenizer="bpe", vocab_size=400, val_fraction=0.2)
    context = multiprocessing.get_context("spawn")
    for delay_seconds in (0.2, 0.4, 0.6, 0.8):
        cache = tmp_path / f"cache{delay_seconds}"
        jobs = [context.Process(target=_prepare, args=(spec, str(cache))) for _ in range(4)]
        for job in jobs:
            job.start()
        time.sleep(delay_seconds)
        for job in jobs[:2]:
            job.kill()
        for job in jobs:
            job.join()
        assert [job.exitcode for job in jobs[2:]] == [0, 0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLAW_CACHE", str(cache))
            made = prepare(spec)
        open_dataset(made).check()
