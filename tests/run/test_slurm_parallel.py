"""A run of two devices on two nodes of a real cluster."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest

from scaling_law.plan.device_profile import save_profile
from scaling_law.run.engines import _slurm_nodes
from scaling_law.run.engines._slurm_files import Files
from scaling_law.run.engines._slurm_nodes import kind_of_node
from scaling_law.run.engines.slurm import Settings
from tests.fakes import cpu_profile
from tests.faults.world import results
from tests.run.cluster_world import ROOT, SWEEP, TASK, World, ended
from tests.run.slurm_cluster import cluster, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory):
    path: Path = tmp_path_factory.mktemp("slurm")
    path.joinpath("task.py").write_text(TASK)
    # one run a job: a group of processes takes seconds to start
    path.joinpath("s.yaml").write_text(SWEEP.replace("[40, 80]", "[40]"))
    with cluster(path / "cluster") as running, pytest.MonkeyPatch.context() as patch:
        own = {**running.environment, "SLAW_CACHE": str(path / "cache"), "PYTHONPATH": str(ROOT)}
        for name, value in own.items():
            patch.setenv(name, value)
        profile = cpu_profile(slots=2, torch_version=importlib.metadata.version("torch"))
        _slurm_nodes._partitions.cache_clear()
        save_profile(profile, "cpu", kind_of_node(Settings()))
        save_profile(profile, "cpu")
        engine = {"name": "slurm", "concurrent": 1, "poll": 1.0}
        made = World(path, engine, {**os.environ, **own})
        yield made
        made.close()


def test_a_run_on_two_nodes_has_the_bits_of_two_processes_here(world):
    devices = ("--set", "parallel={kind: ddp, devices: 2}")
    ended(world.slaw("run", "s.yaml", "--device", "cpu", "--out", "local", *devices))
    process = world.run("spread", *devices, nodes=2)
    ended(process)
    sweep = world.sweep("spread")
    assert results(sweep) == results(world.sweep("local"))
    assert not Files(sweep).names()
    (run_dir,) = sweep.run_dirs()
    assert not list(run_dir.path.glob(".group*"))


def test_nodes_that_devices_cannot_be_spread_over_are_refused(world):
    process = world.run("uneven", "--set", "parallel.devices=2", nodes=3)
    message = "nodes: 3, and the 2 devices of a run cannot be spread evenly over them"
    assert message in ended(process, code=2)
