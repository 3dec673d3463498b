"""Workers that die or hang, clocks that jump, and signals: each with its documented end."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import read_lease
from scaling_law.files.process import module_command
from scaling_law.plan.make import make_plan
from scaling_law.run.engines import engine_named, local, start
from scaling_law.run.runner import Runner
from tests.fakes import cpu_profile, small_config
from tests.faults.harness import ROOT, assert_nothing_lost, stop_in_a_run, sweep_of, wait_until
from tests.faults.world import begin_sweep, write_text

WILD_CLOCK = Path(__file__).resolve().parent / "wild_clock"
CLI = (sys.executable, "-m", "scaling_law.cli")
# a worker that leases its run and then gives no further sign of life
HANGS = """
import json, sys, time
from pathlib import Path
from scaling_law.files.lease import Leases
with Leases(hung_seconds=0.1) as leases:
    leases.take(Path(json.loads(sys.stdin.readline())[0]) / "claim")
    time.sleep(600)
"""


def test_a_worker_without_a_sign_of_life_is_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("SLAW_STALE_SECONDS", "3")
    monkeypatch.setattr(local, "WORKER", (sys.executable, "-c", HANGS))
    run = make_plan(small_config(), cpu_profile(), train_tokens=10**7).runs[0]
    run_dir = SweepDir(tmp_path).run(run.run_id)
    run_dir.path.mkdir(parents=True)
    executor = start(engine_named(), SweepDir(tmp_path), 1)
    handle = executor.submit([run])
    state, deadline = "running", time.monotonic() + 600
    while state == "running" and time.monotonic() < deadline:
        state = executor.state(handle)
        time.sleep(0.05)
    assert state == "hung"
    holder = read_lease(run_dir.lease)
    assert holder is not None and holder.process is not None and holder.process.is_surely_dead()
    executor.close()


def test_the_last_output_of_a_dead_worker_is_in_the_message(tmp_path, monkeypatch):
    dies = "import sys; sys.exit('no module\\x1b[31m called randbits')"
    monkeypatch.setattr(local, "WORKER", (sys.executable, "-c", dies))
    sweep = begin_sweep(tmp_path / "sweep", write_text(tmp_path / "text"))
    executor = start(engine_named(), sweep.dir, 1)
    outcome = Runner(sweep.plan, sweep.dir, executor).run()
    assert outcome.exit_code == 3
    (reason,) = set(outcome.failed.values())
    assert r"it wrote last: no module\x1b[31m called randbits" in reason
    assert str(sweep.dir.workers_log) in reason


def test_our_modules_start_without_the_current_folder_on_their_path(tmp_path):
    """A user's own random.py takes no part in a worker, an export, a calibration or a fit."""
    (tmp_path / "random.py").write_text("raise SystemExit('the user's random.py was run')")
    for command in (module_command("scaling_law.cli", "--version"), [*CLI, "--version"]):
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    package = ROOT / "scaling_law"
    starts = [p for p in package.rglob("*.py") if "sys.executable" in p.read_text()]
    assert starts == [package / "files" / "process.py"], "every module is started by module_command"


def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    child = "import sys, time; from scaling_law.files.process import end_with;"
    child += (
        "end_with(int(sys.argv[1])); print('on', flush=True); time.sleep(600); print('outlived it')"
    )
    parent = "import os, subprocess, sys, time;"
    parent += f"p = subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())]);"
    parent += "print(p.pid, flush=True); time.sleep(600)"
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout as said:
        assert "on\n" in {said.readline(), said.readline()}
        process.kill()
        process.wait()
        assert said.read() == ""


@pytest.mark.slow
def test_a_frozen_worker_is_killed_and_its_run_retried_once(world, undisturbed):
    # a busy machine may delay the signs of life of a worker for seconds
    process = world.start("frozen", SLAW_STALE_SECONDS="12")
    stop_in_a_run(sweep_of(world, "frozen"), process)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "its worker hung and was killed; trying once more" in errors or "alone" in errors
    assert_nothing_lost(world, "frozen", undisturbed)


@pytest.mark.slow
def test_a_clock_that_goes_backwards_changes_nothing(world, undisturbed):
    code, _, errors = world.run("clock", PYTHONPATH=f"{WILD_CLOCK}{os.pathsep}{ROOT}")
    assert code == 0, errors
    assert_nothing_lost(world, "clock", undisturbed)


@pytest.mark.slow
def test_each_stop_signal_writes_a_checkpoint_and_changes_no_bit(world, undisturbed):
    sweep = sweep_of(world, "stopped")
    for number, code in ((signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGUSR1, 75)):
        began = len(list(sweep.runs.glob("*/record.json")))
        process = world.start("stopped")
        wait_until(functools.partial(_trains, sweep.runs, began), process)
        process.send_signal(number)
        out, errors = process.communicate(timeout=600)
        assert process.returncode == code, errors
        assert "run the same command again" in out
        assert not list(sweep.runs.glob("*/claim"))
    code, _, errors = world.run("stopped")
    assert code == 0, errors
    assert_nothing_lost(world, "stopped", undisturbed)


def _trains(runs: Path, began: int) -> bool:
    """Whether one more run has finished, and another has begun."""
    over = len(list(runs.glob("*/record.json")))
    return over > began and bool(list(runs.glob("*/claim")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_planning_ends_with_75_and_one_line(number):
    code = (
        "import os, scaling_law.run.session as s\n"
        f"s.config_and_profile = lambda request, say: os.kill(os.getpid(), {int(number)})\n"
        "from scaling_law.cli.main import main\nraise SystemExit(main(['run', '--mode', 'quick']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 75, done.stderr
    assert done.stderr.strip() == "slaw: stopped; run the same command again to resume"
