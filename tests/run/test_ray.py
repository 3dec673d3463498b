"""The Ray engine on a real cluster: whatever happens, every bit is the local engine's."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.run.cluster_world import (
    World,
    check,
    ended,
    resumed,
    survive_a_killed_worker,
    until,
    was_resumed,
    worker_of,
    world_in,
)
from tests.run.ray_cluster import cluster, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture(scope="module")
def ray():
    with cluster() as running:
        yield running


@pytest.fixture(scope="module")
def world(ray, tmp_path_factory):
    engine = {"name": "ray", "address": ray.address}
    with world_in(tmp_path_factory.mktemp("ray"), engine, ray.environment) as made:
        yield made


@pytest.fixture(scope="module")
def expected(world):
    return world.expected()


def check_all(world: World, out: str, expected: dict[str, Any]) -> None:
    check(world.sweep(out), expected)
    assert not list(world.sweep(out).engine("ray").glob("*.session"))


def test_two_sweeps_at_once_one_in_a_hostile_folder(world, expected):
    hostile = 'it\'s "a" $(b) `c` %j\\ \n#SBATCH -d'
    sweeps = {out: world.run(out) for out in ("plain", hostile)}
    said = [ended(process) for process in sweeps.values()]
    assert all("2 runs at once" in one for one in said)
    for out in sweeps:
        check_all(world, out, expected)


def test_a_killed_worker_is_handed_out_again(world, ray, expected):
    survive_a_killed_worker(world)
    check_all(world, "killed", expected)


def test_a_killed_node_loses_nothing(world, ray, expected):
    process = world.run("node", step=1.0)
    run_dir = world.running("node")
    node = ray.node_of(worker_of(run_dir))
    began = time.monotonic()
    ray.kill(node)
    said = "the Ray cluster has 2 nodes now, with room for 1 run at once"
    until(lambda: said in process.log.read_text())  # a quick machine would finish before
    world.go("node")
    resumed(run_dir, began)
    ended(process)
    check_all(world, "node", expected)
    ray.start_node(node)


def test_a_worker_that_was_thought_dead_with_its_raylet_writes_nothing(world, ray, expected):
    """It is stopped while its raylet is killed, and goes on when another worker has its run."""
    process = world.run("fenced", step=1.0, stale_seconds=15)
    run_dir = world.running("fenced")
    worker = worker_of(run_dir)
    node = ray.node_of(worker)
    for pid in (parent_of(worker), worker):
        os.kill(pid, signal.SIGSTOP)
    os.kill(ray.raylet_of(node), signal.SIGKILL)
    until(lambda: was_resumed(run_dir))
    os.kill(worker, signal.SIGCONT)
    until(lambda: "stopped without writing" in run_dir.log.read_text())
    world.go("fenced")
    said = ended(process)
    assert "its node was lost; submitting it again from step" in said
    assert "waiting for runs that are trained elsewhere: 1 by pid" in said
    check_all(world, "fenced", expected)
    ray.kill(node)
    ray.start_node(node)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_slaw_cancel_is_obeyed_and_the_same_command_resumes(world, expected):
    process = world.run("cancelled", step=1.0)
    run_dir = world.running("cancelled")
    status = ended(world.slaw("status", "cancelled"))
    assert "Ray: 1 run training" in status
    ended(world.slaw("cancel", "cancelled"))
    assert "cancelled by `slaw cancel`" in ended(process, code=75)
    assert list(run_dir.checkpoints.glob("*.pt")) and not run_dir.lease.exists()
    began = time.monotonic()
    process = world.run("cancelled")
    resumed(run_dir, began)
    ended(process)
    check_all(world, "cancelled", expected)


def test_a_cluster_that_slaw_starts_ends_with_it(world, expected):
    ended(world.run("own", address="", start=True))
    check_all(world, "own", expected)


@pytest.mark.parametrize(
    ("engine", "code", "said"),
    [
        ({"address": "127.0.0.1:1"}, 5, "engine ray: nothing answers at '127.0.0.1:1'"),
        ({"address": "ray://127.0.0.1:1"}, 2, "expected host and port of a head node"),
        ({"start": True}, 2, "leave one of them out"),
    ],
)
def test_what_the_cluster_refuses_is_one_line(world, engine, code, said):
    errors = ended(world.run("refused", **engine), code=code)
    assert said in errors and "Traceback" not in errors
    assert not world.sweep("refused").runs.exists()
