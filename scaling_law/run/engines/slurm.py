"""Runs as jobs of a SLURM cluster: arrays of one-slot jobs, submitted with plain ``sbatch``."""

from __future__ import annotations

import os
import platform
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from scaling_law.console import Say
from scaling_law.files.layout import SweepDir
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.steps import JointShape
from scaling_law.run.engines import (
    LAUNCHER,
    EnginePart,
    Executor,
    HandingOver,
    Queue,
    Workplace,
)
from scaling_law.spec.values import Number, Text
from scaling_law.units import count_of

# Options of sbatch that the engine sets itself: another value would lose jobs.
_OWN = (
    "--account", "--array", "--begin", "--clusters", "--dependency", "--error", "--gres",
    "--input", "--job-name", "--no-requeue", "--open-mode", "--output", "--parsable", "--partition",
    "--qos", "--requeue", "--signal", "--test-only", "--time", "--wait", "--wrap",
)  # fmt: skip
_SHORT = {
    "-A": "--account", "-a": "--array", "-b": "--begin", "-d": "--dependency", "-e": "--error",
    "-i": "--input", "-J": "--job-name", "-M": "--clusters", "-o": "--output",
    "-p": "--partition", "-q": "--qos", "-t": "--time", "-W": "--wait",
}  # fmt: skip
_KEYS = ("account", "partition", "qos", "time")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the jobs go, and how many.

    ``partition``, ``account`` and ``qos`` are sbatch's; "" leaves them to the cluster;
    ``concurrent`` is how many jobs may run at once;
    ``time`` is the most seconds that a job asks for, None for the partition's limit; a run that
    needs longer continues in the next job;
    ``pack`` is the planned seconds of a job: smaller runs share one until it has as many;
    ``gpus`` are those of each job; a run of several GPUs has as many;
    ``nodes`` are those of each job of a run of several devices, which are spread over them;
    ``sbatch`` are further options of sbatch, each as on its command line;
    ``setup`` are lines of bash that run in each job before the worker;
    ``queued`` is how many groups of runs may be in the queue at once;
    ``poll`` is the most seconds between two questions to the controller;
    ``controller`` is the partition of the job that ``--detach`` submits, "" for ``partition``.
    """

    partition: Annotated[str, Text("partition of the jobs; the cluster's default without it")] = ""
    account: Annotated[str, Text("account that is charged")] = ""
    qos: Annotated[str, Text("quality of service")] = ""
    concurrent: Annotated[int, Number("jobs that run at once", low=1, high=100_000)] = 16
    time: Annotated[
        float | None, Number("most that a job asks for", "seconds", low=60.0, high=1e8)
    ] = None
    pack: Annotated[
        float, Number("smaller runs share a job until it is as long", "seconds", high=1e7)
    ] = 600.0
    gpus: Annotated[int, Number("GPUs of each job", low=0, high=64)] = 0
    nodes: Annotated[int, Number("nodes that the devices of a run are on", low=1, high=10_000)] = 1
    sbatch: tuple[str, ...] = ()
    setup: Annotated[str, Text("lines of bash that run before each worker")] = ""
    queued: Annotated[int, Number("groups of runs in the queue at once", low=1, high=10**6)] = 2000
    poll: Annotated[
        float, Number("between two questions to the controller", "seconds", low=0.1, high=3600.0)
    ] = 15.0
    controller: Annotated[str, Text("partition of the job that --detach submits")] = ""

    def __post_init__(self) -> None:
        for line in self.sbatch:
            words = _words_of(line)
            if not words or not words[0].startswith("-"):
                # sbatch would take it for the script to run
                raise ValueError(f"sbatch: {line!r:.60}: expected an option, such as --mem=8G")
            for word in words:
                option = word.partition("=")[0]
                option = _SHORT.get(option[:2], option)
                # sbatch takes the beginning of an option for the option
                begun = len(option) > 2 and option.startswith("--")
                option = next((own for own in _OWN if begun and own.startswith(option)), option)
                if option in _OWN:
                    key = option.removeprefix("--")
                    use = f"; set engine.{key}" if key in _KEYS else "; leave it out"
                    use = "; set engine.gpus" if key == "gres" else use
                    raise ValueError(f"sbatch: {option} is set by slaw itself{use}")

    @property
    def extra(self) -> tuple[str, ...]:
        """The words of ``sbatch``."""
        return tuple(word for line in self.sbatch for word in _words_of(line))

    @property
    def place(self) -> tuple[str, ...]:
        """The options of sbatch that say where a job may run, and on how many GPUs."""
        return self.place_of(1, on_gpus=False)

    def place_of(self, devices: int, *, on_gpus: bool) -> tuple[str, ...]:
        """The ``place`` of a job whose runs have ``devices`` each."""
        named = {"partition": self.partition, "account": self.account, "qos": self.qos}
        words = [f"--{name}={value}" for name, value in named.items() if value]
        if devices == 1:
            words += [f"--gres=gpu:{self.gpus}"] if self.gpus else []
            return (*words, *self.extra)
        each = devices // self.nodes
        words += [f"--nodes={self.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={each}"]
        words += [f"--gres=gpu:{each}"] if on_gpus else []
        return (*words, *self.extra)


def _words_of(line: str) -> list[str]:
    """The words of an option, which may be spelled as in a script: ``#SBATCH --mem=8G``."""
    try:
        return shlex.split(line.removeprefix("#SBATCH"))
    except ValueError as problem:
        raise ValueError(f"sbatch: {line!r:.60}: {problem}") from None


def _start(settings: Settings, workplace: Workplace) -> Executor:
    from scaling_law.run.engines._slurm_executor import SlurmExecutor

    return SlurmExecutor(settings, workplace)


def _profile(settings: Settings, device: str, say: Say) -> DeviceProfile:
    from scaling_law.run.engines._slurm_nodes import profile

    return profile(settings, device, say)


def _joint_profile(
    settings: Settings, device: str, known: DeviceProfile, shapes: Sequence[JointShape], say: Say
) -> DeviceProfile:
    from scaling_law.run.engines._slurm_nodes import joint_profile

    return joint_profile(settings, device, known, shapes, say)


def environment() -> dict[str, str]:
    """The node and the job of this worker."""
    from scaling_law.run.engines._slurm_worker import job_name, node_name

    return {"host": node_name(), "slurm_job": job_name()}


def refusal(settings: Settings, devices: int) -> str:
    """Why the devices of a run cannot be on so many nodes."""
    if devices % settings.nodes == 0:
        return ""
    return (
        f"nodes: {settings.nodes}, and the {count_of(devices, 'device')} of a run cannot be spread"
        " evenly over them"
    )


def spans(devices: int) -> list[str]:
    """Start torch's launcher here or, in a job of several nodes, by srun once on each."""
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if nodes == 1:
        return [*LAUNCHER, "--standalone", f"--nproc-per-node={devices}"]
    each = devices // nodes
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    return [
        "srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1",
        f"--cpus-per-task={each}", "--kill-on-bad-exit=1", "--mpi=none",
        *LAUNCHER, f"--nnodes={nodes}", f"--nproc-per-node={each}", "--rdzv-backend=c10d",
        f"--rdzv-endpoint={platform.node()}:{port}",
        f"--rdzv-id={os.environ.get('SLURM_JOB_ID', 'slaw')}",
    ]  # fmt: skip


def _queue(sweep: SweepDir) -> Queue:
    from scaling_law.run.engines._slurm_queue import queue

    return queue(sweep)


def _cancel(sweep: SweepDir, say: Say) -> None:
    from scaling_law.run.engines._slurm_queue import cancel

    cancel(sweep, say)


def _detach(settings: Settings, sweep: SweepDir, command: Sequence[str], say: Say) -> None:
    from scaling_law.run.engines._slurm_controller import detach

    detach(settings, sweep, command, say)


def _watch(settings: Settings, sweep: SweepDir, command: Sequence[str], say: Say) -> HandingOver:
    from scaling_law.run.engines._slurm_controller import controlling

    return controlling(settings, sweep, command, say)


ENGINE = EnginePart(
    start=_start,
    profile=_profile,
    environment=environment,
    measure_joint_steps=_joint_profile,
    settings=Settings,
    own_devices=True,
    refusal=refusal,
    spans=spans,
    queue=_queue,
    cancel=_cancel,
    detach=_detach,
    watch=_watch,
)
