"""Knows the nodes that will train: the limits of their partition, and their measured speed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from scaling_law.console import Say
from scaling_law.errors import ConfigError, DeviceError, EngineError, did_you_mean, listed, one_line
from scaling_law.files import layout
from scaling_law.files.process import module_command
from scaling_law.parts import Reference
from scaling_law.plan.device_profile import (
    DeviceProfile,
    load_profile,
    profile_from_json,
    save_profile,
)
from scaling_law.plan.steps import JointShape, JointStep
from scaling_law.run.engines import _joint_steps, installed_torch, worker_variables
from scaling_law.run.engines import _slurm_client as client
from scaling_law.run.engines._slurm_client import Away, Full, JobState, Partition
from scaling_law.run.engines._slurm_scripts import common_words, quoted, script
from scaling_law.spec.to_json import to_json
from scaling_law.units import count_of, format_seconds

if TYPE_CHECKING:
    from scaling_law.run.engines.slurm import Settings

# What a measurement asks for, within the partition's limit; it takes about 20 seconds, and as many
# for each shape of several devices.
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
    waited_out(lambda: _refuse_places(settings))
    kind = waited_out(lambda: kind_of_node(settings))
    known = load_profile(device, kind)
    if known is None or known.torch_version != installed_torch(known.torch_version):
        known = _measured(settings, device, say)
        save_profile(known, device, kind)
    # several nodes exchange gradients over the network, one does not
    spread = load_profile(device, _spread(kind, settings)) if settings.nodes > 1 else known
    return dataclasses.replace(
        known,
        slots=settings.concurrent,
        memory_bytes=known.memory_bytes * settings.concurrent,
        joint_steps=spread.joint_steps if spread is not None else (),
        devices=_devices_of_job(settings, known.kind),
    )


def _spread(kind: str, settings: Settings) -> str:
    """The name, in the cache, of as many nodes of a kind as a job has."""
    return f"{kind}-{settings.nodes}-nodes" if settings.nodes > 1 else kind


def _devices_of_job(settings: Settings, device_kind: str) -> int | None:
    """How many devices the largest job may have; None where that is not known."""
    if "," in settings.partition:
        return None  # the others may have larger nodes
    partition = waited_out(lambda: partition_of(settings))
    each = partition.devices(are_gpus=device_kind == "cuda")
    return None if each is None else each * settings.nodes


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
    if settings.partition:
        # sbatch takes several with commas: the first stands for all
        return _named(settings.partition.partition(",")[0], "partition")
    chosen = [one for one in _partitions() if one.is_default]
    if chosen:
        return chosen[0]
    raise ConfigError(f"engine.partition: the cluster has no default partition; {_there()}")


def _named(name: str, key: str) -> Partition:
    """The partition of that name; ``key`` is the engine's key that has it."""
    known = {one.name: one for one in _partitions()}
    if name in known:
        return known[name]
    raise ConfigError(
        f"engine.{key}: {name!r:.60}: no such partition{did_you_mean(name, known)}; {_there()}"
    )


def _there() -> str:
    names = [one.name for one in _partitions()]
    return f"there are {listed(names, 8)}" if names else "the cluster shows you none"


def _refuse_places(settings: Settings) -> None:
    """Raise ``ConfigError`` for a place where a job would wait for ever. Raises ``Away``."""
    partition = partition_of(settings)
    for key in ("partition", "controller"):
        for name in filter(None, getattr(settings, key).split(",")):
            _named(name, key)
    if "," not in settings.partition and settings.nodes > partition.n_nodes:
        there = count_of(partition.n_nodes, "node")
        raise ConfigError(
            f"engine.nodes: {settings.nodes}, and partition {partition.name} has {there}; ask for"
            f" at most {partition.n_nodes}"
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


def joint_profile(
    settings: Settings, device: str, known: DeviceProfile, shapes: Sequence[JointShape], say: Say
) -> DeviceProfile:
    """``known`` with steps of several devices measured by a job, which has the devices of a run.

    Where that is not possible the plan assumes ideal scaling; a line says so.
    """
    missing = _joint_steps.missing_of(known, shapes)
    if not missing:
        return known
    say(_joint_steps.announced(missing))
    kind = waited_out(lambda: kind_of_node(settings))
    devices = missing[0].parallel.devices  # all runs of a sweep have the same
    where = settings.place_of(devices, on_gpus=known.kind == "cuda")
    steps: list[JointStep] = []
    with _folder() as folder:
        asked, out = folder / "shapes.json", folder / "steps.jsonl"
        asked.write_text(json.dumps([to_json(shape) for shape in missing]))
        module = module_command("scaling_law.run.engines._joint_steps", str(asked))
        line = f"{' '.join(map(quoted, module))} > {quoted(out)}"
        try:
            done = _by_job(folder, line, settings, where, say)
            steps, why = _joint_steps.read(_text(out)), done.last if done.code else ""
        except EngineError as problem:
            why = str(problem)
    _joint_steps.say_results(steps, why, say)
    if steps:
        place = _spread(kind, settings)
        cached = load_profile(device, place) or load_profile(device, kind)
        if cached is not None:
            save_profile(_joint_steps.with_steps(cached, steps), device, place)
    return _joint_steps.with_steps(known, steps)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder for one measurement, which the nodes see. Raises ``ConfigError``."""
    try:
        folder = layout.cache_dir() / "slurm" / f"measure-{time.time_ns():x}"
        folder.mkdir(parents=True)
    except OSError as problem:
        raise ConfigError(
            f"{layout.cache_dir()}: cannot be written ({problem.strerror}); {layout.CACHE_REMEDY}"
        ) from None
    try:
        yield folder.absolute()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class _Done:
    """A job that has ended: its id, the exit code of its command, the last line that it said."""

    job: str
    code: int
    last: str


def _by_job(folder: Path, line: str, settings: Settings, place: Sequence[str], say: Say) -> _Done:
    """Run a line of bash by a job at ``place``. Raises ``EngineError`` where it ends without."""
    done, log = quoted(folder / "code.txt"), folder / "log.txt"
    command = ["bash", "-c", quoted(f"{line}; echo $? > {done}.new; mv {done}.new {done}")]
    text = script(command, quoted(log), settings, worker_variables(Reference(name="slurm")))
    limits = [_MEASURE_SECONDS, waited_out(lambda: most_seconds(settings)), settings.time]
    seconds = min(limit for limit in limits if limit is not None)
    words = [*common_words("slaw-measure", settings, seconds), *place]
    try:
        job = waited_out(lambda: client.submit(text, words))
    except Full as full:
        raise EngineError(
            f"engine slurm: the cluster takes no more jobs of yours now (sbatch: {full}); wait for"
            " others to end"
        ) from None
    say(f"measuring a node of partition {partition_of(settings).name} once, by job {job}")
    try:
        _wait(job, folder / "code.txt", say)
    except BaseException:
        client.cancel([job])
        raise
    said = [line for line in _text(log).splitlines() if line.strip()]
    last = one_line(said[-1]) if said else "no message"
    return _Done(job=job, code=int(_text(folder / "code.txt")), last=last)


def _measured(settings: Settings, device: str, say: Say) -> DeviceProfile:
    """Measure ``device`` on a node; the memory is that of one job."""
    with _folder() as folder:
        return _measured_in(folder, settings, device, say)


def _measured_in(folder: Path, settings: Settings, device: str, say: Say) -> DeviceProfile:
    out, about = quoted(folder / "profile.json"), quoted(folder / "about.txt")
    calibrate = " ".join(map(quoted, module_command("scaling_law.train.calibrate", device)))
    memory = (
        '"${SLURM_MEM_PER_NODE:-0} ${SLURM_MEM_PER_CPU:-0} ${SLURM_CPUS_ON_NODE:-1} $(nproc --all)"'
    )
    line = f"echo {memory} > {about}; {calibrate} > {out}"
    done = _by_job(folder, line, settings, settings.place, say)
    if done.code == DeviceError.exit_code:
        raise DeviceError(f"on the nodes of partition {partition_of(settings).name}: {done.last}")
    if done.code:
        raise EngineError(f"measuring device {device!r} by job {done.job} failed: {done.last}")
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
