"""A real Ray cluster on this machine, started by ``ray start`` and ended by its own pids.

Its head node gives no CPU to tasks, so that the others can be lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from scaling_law.run.engines._ray_client import Connection
from scaling_law.run.engines.ray import Settings
from tests.run.slurm_cluster import children_of, free_port

NODES = ("n1", "n2")
_START_SECONDS = 300.0
_LOCK = Path(tempfile.gettempdir()) / "slaw-ray.lock"


def why_not() -> str:
    """Why no cluster can be started here; "" if it can."""
    if importlib.util.find_spec("ray") is None:
        return "no ray here: pip install 'slaw[ray]' runs this test"
    return ""


@dataclass
class Cluster:
    """The cluster's folder, which has a short path: Ray's sockets are in it."""

    folder: Path
    cpus: int = 1  # of each node
    port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which Ray's commands may ask this cluster."""
        return {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start all nodes and wait until those that train are there."""
        head = ["--head", f"--port={self.port}", "--include-dashboard=false"]
        self._start("head", *head, f"--temp-dir={self.folder}", "--num-cpus=0")
        for name in NODES:
            self.start_node(name)
        with self.connection() as connection:
            deadline = time.monotonic() + _START_SECONDS
            while sum(node["cpus"] for node in connection.nodes) < self.cpus * len(NODES):
                assert time.monotonic() < deadline, f"nodes did not start; see {self.folder}"
                time.sleep(0.2)
                connection.heard()

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        with contextlib.closing(
            Connection(Settings(address=self.address), None, self.folder / "test.log")
        ) as connection:
            connection.heard()
            yield connection

    def start_node(self, name: str) -> None:
        """Start a node."""
        self._start(name, f"--address={self.address}", f"--num-cpus={self.cpus}")

    def _start(self, name: str, *words: str) -> None:
        """Start a node and wait for it: two that start at once would choose the same ports."""
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *words]
        command += ["--object-store-memory=80000000", "--disable-usage-stats"]
        out, deadline = self.folder / f"{name}.out", time.monotonic() + _START_SECONDS
        with _LOCK.open("w") as lock, out.open("wb") as written:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._processes[name] = subprocess.Popen(
                command, stdout=written, stderr=written, start_new_session=True
            )
            while "Ray runtime started" not in out.read_text():
                assert time.monotonic() < deadline, f"{name} did not start; see {self.folder}"
                time.sleep(0.1)

    def node_of(self, worker: int) -> str:
        """The node of one of our workers."""
        return next(name for name, one in self._processes.items() if worker in children_of(one.pid))

    def raylet_of(self, name: str) -> int:
        """The raylet of a node."""
        (raylet,) = [
            pid
            for pid in children_of(self._processes[name].pid)
            if b"raylet/raylet" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        return raylet

    def kill(self, name: str) -> None:
        """SIGKILL everything on a node, as when its machine loses power."""
        process = self._processes.pop(name)
        for pid in (process.pid, *children_of(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """End all nodes and what runs below them."""
        for name in reversed(list(self._processes)):
            self.kill(name)


@contextlib.contextmanager
def cluster(cpus: int = 1) -> Iterator[Cluster]:
    """Run a cluster until the block ends; this process may ask it meanwhile.

    ``cpus`` are those of each node.
    """
    running = Cluster(Path(tempfile.mkdtemp(prefix="slaw-ray-")), cpus)
    try:
        with mock.patch.dict(os.environ, running.environment):
            running.start()
            yield running
    finally:
        running.close()
        shutil.rmtree(running.folder, ignore_errors=True)
