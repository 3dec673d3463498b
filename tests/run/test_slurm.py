"""The SLURM engine on a real cluster: whatever happens, every bit is the local engine's."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import time
from typing import Any

import pytest

from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.lease import read_lease
from scaling_law.plan.device_profile import save_profile
from scaling_law.run.engines import _slurm_nodes
from scaling_law.run.engines._slurm_files import Files
from scaling_law.run.engines._slurm_nodes import kind_of_node
from scaling_law.run.engines.slurm import Settings
from scaling_law.run.sweep_state.progress import read_heartbeat
from tests.fakes import cpu_profile
from tests.run.cluster_world import (
    World,
    check,
    ended,
    resumed,
    survive_a_killed_worker,
    until,
    world_in,
)
from tests.run.slurm_cluster import cluster, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


def job_of(world: World, out: str, run_dir: RunDir) -> tuple[str, str]:
    """The job that trains a run, and its node."""
    files = Files(world.sweep(out))
    for name in files.names():
        batch = files.read(name)
        for element, groups in enumerate(batch.elements if batch is not None else ()):
            if batch is not None and (run_dir.path.name,) in groups:
                return batch.id_of(element), files.hear(name, element).host
    raise AssertionError("no job trains it")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("slurm") / "cluster") as running:
        yield running


@pytest.fixture(scope="module")
def world(slurm):
    engine = {"name": "slurm", "concurrent": 1, "poll": 1.0}
    with world_in(slurm.folder.parent, engine, slurm.environment) as made:
        profile = cpu_profile(slots=1, torch_version=importlib.metadata.version("torch"))
        _slurm_nodes._partitions.cache_clear()  # another test may have asked a fake
        for partition in ("work", "urgent"):
            save_profile(profile, "cpu", kind_of_node(Settings(partition=partition)))
        yield made


@pytest.fixture(scope="module")
def expected(world):
    return world.expected()


@pytest.fixture(scope="module", autouse=True)
def short_jobs(world, expected):
    """A sweep whose first job ends at its time limit, beside all other tests.

    SLURM warns a job of two minutes after 70 to 100 seconds, on a busy machine later; a trunk waits
    for longer than the limit itself.
    """
    return world.run("limited", step=5.0, concurrent=2, time=120, sbatch=["--nodelist=n2"])


def step_of(run_dir: RunDir) -> int:
    beat = read_heartbeat(run_dir)
    return beat.step if beat is not None else 0


def check_all(world: World, out: str, expected: dict[str, Any]) -> None:
    sweep = world.sweep(out)
    check(sweep, expected)
    assert not Files(sweep).names() and not list(Files(sweep).folder.glob("*.jsonl"))


def test_two_sweeps_at_once_one_in_a_hostile_folder(world, expected):
    hostile = 'it\'s "a" $(b) `c` %j\\ \n#SBATCH -d'
    sweeps = {out: world.run(out, concurrent=4) for out in ("plain", hostile)}
    for process in sweeps.values():
        ended(process)
    for out in sweeps:
        check_all(world, out, expected)
    record = json.loads(next((world.path / "plain").glob("runs/*/record.json")).read_text())
    place = record["environment"]
    assert place["host"] in ("n1", "n2") and "_" in place["slurm_job"]


def test_a_killed_worker_is_submitted_again(world, expected):
    survive_a_killed_worker(world)
    check_all(world, "killed", expected)


def test_a_job_that_is_preempted_is_requeued(world, slurm, expected):
    # on the node where no other test has a job that would be preempted, too
    process = world.run("preempted", step=1.0, sbatch=["--nodelist=n1"])
    run_dir = world.running("preempted")
    _, node = job_of(world, "preempted", run_dir)
    words = ["--partition=urgent", f"--nodelist={node}", "--exclusive", "--time=1"]
    began = time.monotonic()
    slurm.ask("sbatch", *words, "--output=/dev/null", "--wrap=sleep 3")
    until(lambda: "stopped after a checkpoint" in run_dir.log.read_text())
    world.go("preempted")
    resumed(run_dir, began)
    ended(process)
    check_all(world, "preempted", expected)


def test_scancel_is_obeyed_and_the_same_command_resumes(world, slurm, expected):
    process = world.run("cancelled", step=1.0)
    run_dir = world.running("cancelled")
    job, node = job_of(world, "cancelled", run_dir)
    slurm.ask("scancel", job)
    said = ended(process, code=3)
    assert f"job {job} on {node} was cancelled in the queue; run the same command again" in said
    assert list(run_dir.checkpoints.glob("*.pt"))
    began = time.monotonic()
    process = world.run("cancelled")
    resumed(run_dir, began)
    ended(process)
    check_all(world, "cancelled", expected)


def test_a_controller_that_does_not_answer_is_waited_out(world, slurm, expected):
    process = world.run("away", step=1.0)
    run_dir = world.running("away")
    slurm.stop_controller()
    until(lambda: "SLURM's controller does not answer" in process.said())
    here = step_of(run_dir)
    until(lambda: step_of(run_dir) >= here + 5)  # it trains on
    slurm.start_controller()
    until(lambda: "answers again after" in process.said())
    world.go("away")
    ended(process)
    check_all(world, "away", expected)


def test_a_detached_sweep_outlives_its_watcher_and_is_cancelled_and_resumed(world, expected):
    said = ended(world.run("detached", "--detach", step=5.0))
    assert "watches the sweep and submits its runs" in said
    run_dir = world.running("detached")
    sweep = world.sweep("detached")
    (runner,) = sweep.runner_leases()
    watcher = read_lease(runner)
    assert watcher is not None and watcher.process is not None
    os.kill(watcher.process.pid, signal.SIGKILL)
    status = ended(world.slaw("status", "detached"))
    assert "SLURM: 1 job running, detached: job" in status and "running on n" in status
    until(lambda: "watched this sweep before failed or was killed" in log_of(sweep))
    until(lambda: "1 job of an earlier `slaw run` is in the queue; adopted" in log_of(sweep))
    again = ended(world.run("detached", "--detach"))
    assert "already detached: job" in again
    said = ended(world.slaw("cancel", "detached"))
    assert "ending 1 job and the job that watches them" in said
    assert not run_dir.record.exists() and not run_dir.lease.exists()
    assert "no worker is running" in ended(world.slaw("status", "detached"))
    began = time.monotonic()
    ended(world.run("detached", "--detach"))
    resumed(run_dir, began)
    until(lambda: not Files(sweep).controller.exists())
    assert "3 of 3 runs done" in log_of(sweep)
    until(lambda: not list(sweep.path.glob("runners/*")))
    check_all(world, "detached", expected)


def log_of(sweep: SweepDir) -> str:
    return Files(sweep).controller_log.read_text()


def test_runs_longer_than_the_time_limit_continue_in_the_next_job(world, expected, short_jobs):
    again = "stopped after a checkpoint; submitting it again from step"
    until(lambda: again in short_jobs.said() or short_jobs.process.poll() is not None)
    began = time.monotonic()
    world.go("limited")
    (trunk,) = [one for one in world.sweep("limited").run_dirs() if "trunk" in one.path.name]
    resumed(trunk, began)
    said = ended(short_jobs)
    assert "measuring a node of partition work once, by job" in said and again in said
    check_all(world, "limited", expected)


def test_a_killed_node_loses_nothing(world, slurm, expected):
    process = world.run("node", step=1.0)
    run_dir = world.running("node")
    _, node = job_of(world, "node", run_dir)
    began = time.monotonic()
    slurm.kill(node)
    world.go("node")
    resumed(run_dir, began)
    ended(process)
    check_all(world, "node", expected)
    slurm.start_node(node)


@pytest.mark.parametrize(
    ("engine", "code", "said"),
    [
        ({"partition": "wrok"}, 2, "engine.partition: 'wrok': no such partition (did you mean"),
        ({"gpus": 2}, 5, "engine slurm: sbatch refuses: Invalid generic resource (gres)"),
        ({"sbatch": ["--array=3"]}, 2, "sbatch: --array is set by slaw itself; leave it out"),
    ],
)
def test_what_the_cluster_refuses_is_one_line_and_nothing_is_submitted(world, engine, code, said):
    errors = ended(world.run("refused", **engine), code=code)
    assert said in errors and "Traceback" not in errors
    assert not world.sweep("refused").runs.exists()
