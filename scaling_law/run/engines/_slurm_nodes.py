"""Knows the nodes that will train: the limits of their partition, and their measured speed."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from scaling_law.console import Say
from scaling_law.errors import ConfigError, DeviceError, EngineError, did_you_mean, listed, one_line
from scaling_law.files import layout
from scaling_law.files.process import module_command
from scaling_law.plan.device_profile import (
    DeviceProfile,
    load_profile,
    profile_from_json,
    save_profile,
)
from scaling_law.run.engines import _slurm_client as client
from scaling_law.run.engines import installed_torch, worker_variables
from scaling_law.run.engines._slurm_client import Away, JobState, Partition
from scaling_law.run.engines._slurm_scripts import common_words, quoted, script
from scaling_law.units import format_seconds

if TYPE_CHECKING:
    from scaling_law.run.engines.slurm import Settings

# What a measurement asks for; it takes about 20 seconds.
_MEASURE_SECONDS = 900.0
# Between two looks at the measurement's job, doubling up to the second.
_LOOK_SECONDS, _MOST_LOOK_SECONDS = 0.5, 10.0
# How long a network may take to show a node's file to this machine.
_SHARED_SECONDS = 60.0
# Between two lines while the measurement waits in the queue.
_SAY_SECONDS = 60.0
# How long a controller that does not answer is asked before a sweep has begun.
_PATIENCE_SECONDS = 60.0
_MIB = 2**20
_Answer = TypeVar("_Answer")


def profile(settings: Settings, device: str, say: Say) -> DeviceProfile:
    """The device of a node of the kind that will train: cached, or measured there by a job now.

    Raises ``ConfigError`` for a partition that there is not, ``DeviceError`` for a device that the
    node does not have, and ``EngineError`` when it cannot be measured.
    """
    client.require()
    kind = waited_out(lambda: kind_of_node(settings))
    known = load_profile(device, kind)
    if known is None or known.torch_version != installed_torch(known.torch_version):
        known = _measured(settings, device, say)
        save_profile(known, device, kind)
    return dataclasses.replace(
        known,
        slots=settings.concurrent,
        memory_bytes=known.memory_bytes * settings.concurrent,
    )


def kind_of_node(settings: Settings) -> str:
    """A name for the kind of nodes that jobs get, for the cache.

    It depends on the nodes of the partition as SLURM describes them, and on what a job asks for.
    """
    partition = partition_of(settings)
    asked = [partition.name, *partition.nodes, str(settings.gpus), *settings.extra]
    digest = hashlib.sha256("\n".join(asked).encode()).hexdigest()[:12]
    return f"slurm-{digest}"


def partition_of(settings: Settings) -> Partition:
    """The partition that jobs go to.

    Raises ``ConfigError`` where it does not exist, and ``Away``.
    """
    known = _partitions()
    if settings.partition:
        # sbatch takes several with commas: the first stands for all
        name = settings.partition.partition(",")[0]
        chosen = [one for one in known if one.name == name]
    else:
        name = ""
        chosen = [one for one in known if one.is_default]
    if chosen:
        return chosen[0]
    names = [one.name for one in known]
    there = f"there are {listed(names, 8)}" if names else "the cluster shows you none"
    if not name:
        raise ConfigError(f"engine.partition: the cluster has no default partition; {there}")
    raise ConfigError(
        f"engine.partition: {name!r:.60}: no such partition{did_you_mean(name, names)}; {there}"
    )


@functools.cache
def _partitions() -> tuple[Partition, ...]:
    return tuple(client.partitions())


def most_seconds(settings: Settings) -> float | None:
    """The longest that a job may run in its partition; None for no limit. Raises ``Away``."""
    return partition_of(settings).most_seconds


def waited_out(question: Callable[[], _Answer]) -> _Answer:
    """The answer to ``question``, asked again while the controller does not answer.

    Raises ``EngineError`` after a minute: before a sweep has begun nobody need wait longer.
    """
    deadline, pause = time.monotonic() + _PATIENCE_SECONDS, _LOOK_SECONDS
    while True:
        try:
            return question()
        except Away:
            if time.monotonic() > deadline:
                raise EngineError(
                    "engine slurm: the cluster's controller does not answer; try again later"
                    " (scontrol ping shows whether it is up)"
                ) from None
            time.sleep(pause)
            pause = min(2 * pause, _MOST_LOOK_SECONDS)


def _measured(settings: Settings, device: str, say: Say) -> DeviceProfile:
    """Measure ``device`` on a node; the memory is that of one job."""
    try:
        folder = layout.cache_dir() / "slurm" / f"measure-{time.time_ns():x}"
        folder.mkdir(parents=True)
    except OSError as problem:
        raise ConfigError(
            f"{layout.cache_dir()}: cannot be written ({problem.strerror}); {layout.CACHE_REMEDY}"
        ) from None
    try:
        return _measured_in(folder.absolute(), settings, device, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measured_in(folder: Path, settings: Settings, device: str, say: Say) -> DeviceProfile:
    out, about = quoted(folder / "profile.json"), quoted(folder / "about.txt")
    calibrate = " ".join(map(quoted, module_command("scaling_law.train.calibrate", device)))
    memory = (
        '"${SLURM_MEM_PER_NODE:-0} ${SLURM_MEM_PER_CPU:-0} ${SLURM_CPUS_ON_NODE:-1} $(nproc --all)"'
    )
    done = quoted(folder / "code.txt")
    command = ["bash", "-c", quoted(
        f"echo {memory} > {about}; {calibrate} > {out}; echo $? > {done}.new;"
        f" mv {done}.new {done}"
    )]  # fmt: skip
    log = folder / "log.txt"
    text = script(command, quoted(log), settings, worker_variables())
    words = [*common_words("slaw-measure", settings, _MEASURE_SECONDS), *settings.place]
    job = waited_out(lambda: client.submit(text, words))
    partition = partition_of(settings).name
    say(f"measuring a node of partition {partition} once, by job {job}")
    try:
        _wait(job, folder / "code.txt", say)
    except BaseException:
        client.cancel([job])
        raise
    said = [line for line in _text(log).splitlines() if line.strip()]
    last = one_line(said[-1]) if said else "no message"
    code = int(_text(folder / "code.txt"))
    if code == DeviceError.exit_code:
        raise DeviceError(f"on the nodes of partition {partition}: {last}")
    if code:
        raise EngineError(f"measuring device {device!r} by job {job} failed: {last}")
    measured = profile_from_json(json.loads(_text(folder / "profile.json")))
    if measured.kind != "cpu":
        return dataclasses.replace(measured, slots=1)
    bytes_ = _memory_of_job(_text(folder / "about.txt").split(), measured)
    return dataclasses.replace(measured, slots=1, memory_bytes=bytes_)


def _memory_of_job(about: Sequence[str], measured: DeviceProfile) -> int:
    """The memory of one job: what SLURM grants it, else the share of its cores in the node's."""
    of_node, of_core, own, cores = (int(number) for number in about)
    granted = of_node or of_core * own
    return granted * _MIB if granted else measured.memory_bytes * own // max(cores, own)


def _wait(job: str, last_file: Path, say: Say) -> None:
    """Wait until a job has written its last file. Raises ``EngineError`` if it ends without it."""
    began = said_at = time.monotonic()
    pause, over_at = _LOOK_SECONDS, None
    while not last_file.is_file():
        time.sleep(pause)
        pause = min(1.5 * pause, _MOST_LOOK_SECONDS)
        try:
            state = client.jobs().get(job)
        except Away:
            continue
        if state is None or state.is_over:
            over_at = over_at or time.monotonic()
            list(last_file.parent.iterdir())  # a network's file system looks again
            if time.monotonic() - over_at > _grace(state, last_file):
                raise _no_result(job, state, last_file.parent)
        elif time.monotonic() - said_at > _SAY_SECONDS:
            said_at = time.monotonic()
            say(f"job {job}: {state.words}, {format_seconds(said_at - began)} so far")


def _grace(state: JobState | None, last_file: Path) -> float:
    """How long to wait for the files of a job that has ended."""
    if state is not None and state.state == "CANCELLED":
        return 0.0
    return 5.0 if any(last_file.parent.iterdir()) else _SHARED_SECONDS


def _no_result(job: str, state: JobState | None, folder: Path) -> EngineError:
    lines = [line for line in _text(folder / "log.txt").splitlines() if line.strip()]
    if lines or (state is not None and state.state not in ("COMPLETED", "FAILED")):
        how = state.state.lower() if state is not None else "ended"
        why = f": {one_line(lines[-1])}" if lines else ""
        return EngineError(f"measuring a node failed: job {job} {how}{why}")
    node = f"node {state.node}" if state is not None and state.node else "its node"
    return EngineError(
        f"{layout.cache_dir()}: job {job} ran on {node} and left no file here; this folder must be"
        f" on a file system that this machine and the nodes share; {layout.CACHE_REMEDY} there"
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
