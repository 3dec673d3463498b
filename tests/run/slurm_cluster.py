"""A real SLURM cluster on this machine: one slurmctld and two slurmd, all on the loopback device.

Nothing outside its folder is changed, and every process is ended by its own pid. It needs root
and, on Debian, ``apt-get install slurm-wlm munge``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NODES = ("n1", "n2")
_PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "sinfo")
_START_SECONDS = 300.0
_CONF = """
ClusterName=slaw
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ctld_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=5
SlurmdParameters=config_overrides
SlurmctldTimeout=5
InactiveLimit=0
KillWait=5
MinJobAge=300
MessageTimeout=4
TCPTimeout=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=work Nodes=n[1-2] Default=YES MaxTime=1-00:00:00 State=UP PriorityTier=1
PartitionName=urgent Nodes=n[1-2] MaxTime=1-00:00:00 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=short Nodes=n[1-2] MaxTime=00:01:00 State=UP PriorityTier=1
"""


def why_not() -> str:
    """Why no cluster can be started here; "" if it can."""
    missing = [name for name in _PROGRAMS if _program(name) is None]
    if missing:
        return f"no {missing[0]} here: apt-get install slurm-wlm munge runs this test"
    return "" if os.getuid() == 0 else "a cluster is started as root only"


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def children_of(pid: int) -> list[int]:
    """The processes below ``pid``, deepest last."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(path.name))
    family, waiting = [], [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        family += below
        waiting += below
    return family


@dataclass
class Cluster:
    """The cluster's folder; its commands find it by ``environment``."""

    folder: Path
    cpus: int = 4
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which SLURM's commands ask this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        """Start every daemon and wait until both nodes take jobs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        host = socket.gethostname()
        ports = {name: free_port() for name in NODES}
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[name]}"
            f" CPUs={self.cpus} RealMemory=2000 State=UNKNOWN"
            for name in NODES
        )
        text = _CONF.format(host=host, folder=self.folder, ctld_port=free_port(), nodes=nodes)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "state").mkdir(exist_ok=True)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        names = {"socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
        files = [f"--{word}={self.folder / name}" for word, name in names.items()]
        seed = f"--seed-file={self.folder / 'munge.seed'}"
        self._start("munged", "-F", "--force", f"--key-file={key}", seed, *files)
        self._until((self.folder / "munge.socket").exists, "munged")
        self.start_controller()
        for name in NODES:
            self.start_node(name)
        self._until(self._is_idle, "the nodes")

    def start_controller(self) -> None:
        """Start slurmctld, which reads its saved state."""
        self._start("slurmctld", "-D")

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node."""
        (self.folder / f"spool-{name}").mkdir(exist_ok=True)
        self._start("slurmd", "-D", "-N", name, called=name)

    def _start(self, program: str, *words: str, called: str = "") -> None:
        path = _program(program)
        assert path is not None
        called = called or program
        with (self.folder / f"{called}.out").open("ab") as out:
            self._processes[called] = subprocess.Popen(
                [path, *words], stdout=out, stderr=out, env={**os.environ, **self.environment}
            )

    def _until(self, there, what: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not there():
            assert time.monotonic() < deadline, f"{what} did not start; see {self.folder}"
            time.sleep(0.05)

    def _is_idle(self) -> bool:
        return self.ask("sinfo", "-h", "-p", "work", "-o", "%t %D").split() == ["idle", "2"]

    def ask(self, *words: str) -> str:
        """What one of SLURM's commands prints."""
        done = subprocess.run(
            words, capture_output=True, text=True, check=False,
            env={**os.environ, **self.environment},
        )  # fmt: skip
        return done.stdout

    def kill(self, called: str) -> None:
        """SIGKILL a daemon and whatever runs below it, as when its machine loses power."""
        process = self._processes.pop(called)
        stepds = self._stepds(called)
        below = [child for stepd in stepds for child in children_of(stepd)]
        for pid in (process.pid, *stepds, *below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def stop_controller(self) -> None:
        """End slurmctld; its state is saved."""
        process = self._processes.pop("slurmctld")
        process.terminate()
        process.wait(20)

    def _stepds(self, node: str) -> list[int]:
        """The processes that watch over the jobs of a node: they do not end with its slurmd."""
        steps = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if b"slurmstepd" in (path / "cmdline").read_bytes():
                    conf = f"SLURM_CONF={self.folder}/".encode()
                    here = conf in (path / "environ").read_bytes()
                    if here and self._node_of(int(path.name)) == node:
                        steps.append(int(path.name))
        return steps

    def _node_of(self, stepd: int) -> str:
        for pid in children_of(stepd):
            with contextlib.suppress(OSError):
                for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    if word.startswith(b"SLURMD_NODENAME="):
                        return word.partition(b"=")[2].decode()
        return ""

    def close(self) -> None:
        """End all daemons and what still runs below them."""
        for name in NODES:
            if name in self._processes:
                self.kill(name)
        for process in reversed(list(self._processes.values())):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        self._processes.clear()


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A running cluster until the block ends."""
    running = Cluster(folder)
    try:
        running.start()
        yield running
    finally:
        running.close()
