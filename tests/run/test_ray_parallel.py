"""Runs of two devices on a real Ray cluster, each on one of its nodes."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.world import results
from tests.run.cluster_world import check, ended, until, was_resumed, worker_of, world_in
from tests.run.ray_cluster import cluster, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]
TWO = ("--set", "parallel={kind: ddp, devices: 2}")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with cluster(cpus=2) as ray:
        engine = {"name": "ray", "address": ray.address}
        path = tmp_path_factory.mktemp("ray")
        with world_in(path, engine, ray.environment, slots=2) as made:
            yield made


def test_two_devices_have_the_bits_of_two_processes_here_even_after_a_kill(world):
    ended(world.slaw("run", "s.yaml", "--device", "cpu", "--out", "local", *TWO))
    process = world.run("killed", *TWO, step=1.0)
    run_dir = world.running("killed")
    os.kill(worker_of(run_dir), signal.SIGKILL)
    world.go("killed")
    until(lambda: was_resumed(run_dir))
    ended(process)
    check(world.sweep("killed"), results(world.sweep("local")))
    assert not list(run_dir.path.glob(".group*"))


def test_more_devices_than_a_node_has_are_refused_in_one_line(world):
    process = world.run("wide", "--set", "parallel={kind: ddp, devices: 5}")
    message = "devices: 5, and 2 cores may be used on one node of the cluster, one a device"
    assert message in ended(process, code=2)
    assert not world.sweep("wide").runs.exists()
