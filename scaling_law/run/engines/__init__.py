"""Engines: where runs are executed, one file each: ``engine: local`` is ``engines/local.py``.

An engine starts workers on runs and says when they have ended. It never decides whether a run
succeeded: the files in the run's folder say that, and a lease on the folder keeps a worker that
was believed dead from writing. An engine is no part of what a run is, nor of its recipe: one
sweep may begin on one engine and resume on another.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from scaling_law import parts
from scaling_law.config.slots import DEFAULT_ENGINE, Choice
from scaling_law.console import Say
from scaling_law.errors import ConfigError, EngineError, SlawError, one_line
from scaling_law.files.layout import SweepDir
from scaling_law.files.process import module_command
from scaling_law.parts import NoSettings, Reference
from scaling_law.plan.device_profile import DeviceProfile

if TYPE_CHECKING:
    from scaling_law.plan.plan import PlannedRun
    from scaling_law.plan.steps import JointShape, StepShape

Handle = Any
# running: a worker has the runs, or they wait for one; ended: the worker let go of the runs, and
# their folders say with what result; elsewhere: ended, and another process has or took those
# without a record; hung: ended, because the engine killed a worker that gave no sign of life;
# stopped: ended before the runs did, at a time limit, by a preemption or with its machine;
# cancelled: ended, because a person cancelled it in the engine's queue.
SubmissionState = Literal["running", "ended", "elsewhere", "hung", "stopped", "cancelled"]

HandingOver: TypeAlias = contextlib.AbstractContextManager[Callable[[], None]]

_ENGINE = "SLAW_ENGINE"
# torch's own launcher of groups of processes
LAUNCHER = tuple(module_command("torch.distributed.run"))
# glibc returns large freed blocks to the kernel at once, so that every step has to map its logits
# again; with these it keeps them (32 MiB is the largest threshold that glibc accepts).
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}


class Executor(Protocol):
    """An engine at work on one sweep.

    It may have more, which the functions of the same names below ask for:
    ``last_words(handle)`` is why a submission ended, or the last line that its worker wrote to its
    standard error, "" for none; a run's failure quotes it;
    ``logs`` is the folder of the workers' logs, where that is not ``workers.log``;
    ``slots_of(runs)`` is how many of its slots a submission takes (1);
    ``news()`` are lines for the user that came since the last call;
    ``resubmissions`` is how often a run is submitted again whose worker died (1);
    ``has(run_ids)`` says whether a worker that another process submitted has these runs, and
    ``submit`` would take it over;
    ``leave()`` takes the place of ``close``: it lets the workers go on, for the next executor on
    the same folder to take over.
    """

    @property
    def slots(self) -> int:
        """How many submissions it takes at once; where there is a queue, more than run at once."""

    def submit(self, runs: Sequence[PlannedRun]) -> Handle:
        """Start a worker on ``runs``: one run, or those of one stack.

        Raises ``EngineError`` when it cannot be started, or no slot is free.
        """

    def state(self, handle: Handle) -> SubmissionState:
        """How far a submission is. An ended one stays ended."""

    def cancel(self, handle: Handle) -> None:
        """Ask the worker of a submission to write a checkpoint and end."""

    def close(self) -> None:
        """End every worker, even a busy one, and free what they hold."""


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What an engine works on.

    ``sweep`` is the folder of the sweep, which every worker must see;
    ``slots`` is how many workers may run at once;
    ``variables`` are the environment variables that every worker must have: its speed was measured
    under them, and its bits depend on them.
    """

    sweep: SweepDir
    slots: int
    variables: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Queue:
    """What an engine's queue holds of one sweep; an empty ``text`` stands for nothing.

    ``text`` says it in a line: how many jobs run and wait, and why;
    ``runs`` says where a run in the queue is, by run id;
    ``working`` are the ids of the runs that a worker trains now;
    ``has_controller`` says that a job in it watches the sweep, as ``--detach`` submits;
    ``is_known`` is false where the queue cannot be asked now: it may hold anything.
    """

    text: str = ""
    has_controller: bool = False
    is_known: bool = True
    runs: Mapping[str, str] = field(default_factory=dict)
    working: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class EnginePart:
    """An engine.

    ``start(settings, workplace)`` gives an ``Executor``; nothing runs before its first ``submit``;
    ``profile(settings, device, say)`` is the place that will train, with its ``slots``: measured
    there on first use, then cached. It raises ``DeviceError`` for a device that is not there;
    ``environment()`` says where a worker runs, short texts by name, for the records of its runs;
    it is called in the worker itself;
    ``measure_steps(settings, device, profile, shapes, say)`` is the profile with the training steps
    of these shapes measured where they will train, kernels chosen; None for an engine whose runs
    take their kernels by the thresholds of ``train.kernels``;
    ``measure_joint_steps(settings, device, profile, shapes, say)`` likewise, with the steps of
    several devices together; None for an engine whose plans assume ideal scaling;
    ``settings`` is a dataclass;
    ``own_devices`` says that each submission has a device of its own, so that ``limits.slots``
    changes no run's speed or memory;
    ``slot_is_device`` says that each of its slots is one device, so that a run of several takes as
    many; with ``own_devices`` alone a slot is a job, which has all devices of its run;
    ``shares_gpus`` says that of these, several may share a GPU: as many as ``limits.slots`` is
    larger than the profile's slots;
    ``refusal(settings, devices)`` says why it cannot train runs of so many devices each, "" where
    it can; None for an engine that can train any;
    ``spans(devices)`` is the command by which torch's launcher starts a group of processes, one a
    device, from a worker; None for all on the worker's own machine;
    the others are for engines whose workers outlive the ``slaw run`` that submitted them:
    ``queue(sweep)`` is what its queue holds of a sweep now;
    ``cancel(sweep, say)`` ends what the queue holds of a sweep, running workers after a checkpoint;
    ``detach(settings, sweep, command, say)`` submits a job that runs ``command``, the ``slaw run``
    of the sweep, to its end without the user's session;
    ``watch(settings, sweep, command, say)`` is a context around that ``slaw run`` in its job. It
    gives a function to call when the job is stopped before the sweep has ended.
    """

    start: Callable[[Any, Workplace], Executor]
    profile: Callable[[Any, str, Say], DeviceProfile]
    environment: Callable[[], dict[str, str]]
    measure_steps: (
        Callable[[Any, str, DeviceProfile, Sequence[StepShape], Say], DeviceProfile] | None
    ) = None
    measure_joint_steps: (
        Callable[[Any, str, DeviceProfile, Sequence[JointShape], Say], DeviceProfile] | None
    ) = None
    settings: type = NoSettings
    own_devices: bool = False
    slot_is_device: bool = False
    shares_gpus: bool = False
    refusal: Callable[[Any, int], str] | None = None
    spans: Callable[[int], list[str]] | None = None
    queue: Callable[[SweepDir], Queue] | None = None
    cancel: Callable[[SweepDir, Say], None] | None = None
    detach: Callable[[Any, SweepDir, Sequence[str], Say], None] | None = None
    watch: Callable[[Any, SweepDir, Sequence[str], Say], HandingOver] | None = None


def engine_named(text: str = DEFAULT_ENGINE) -> Choice:
    """The engine of that name, or of the file at that path, with its default settings.

    Raises ``ConfigError`` when there is none, or it has no default for a setting.
    """
    reference = parts.refer("engine", text, Path())
    settings = parts.load("engine", reference).settings
    try:
        return Choice(word="engine", reference=reference, settings=settings())
    except TypeError as problem:
        raise ConfigError(
            f"engine {text}: {problem}; set it in the config, as engine: {{name: {text}, ...}}"
        ) from None


def profile(engine: Choice, device: str, say: Say) -> DeviceProfile:
    """The profile of ``device`` where ``engine`` will train."""
    with _engine_errors(engine.spelled):
        measured: DeviceProfile = engine.part.profile(engine.settings, device, say)
    return measured


def with_steps(
    engine: Choice, device: str, known: DeviceProfile, shapes: Sequence[StepShape], say: Say
) -> DeviceProfile:
    """``known`` with the training steps of ``shapes`` measured where ``engine`` will train."""
    if engine.part.measure_steps is None:
        return known
    with _engine_errors(engine.spelled):
        measured: DeviceProfile = engine.part.measure_steps(
            engine.settings, device, known, shapes, say
        )
    return measured


def with_joint_steps(
    engine: Choice, device: str, known: DeviceProfile, shapes: Sequence[JointShape], say: Say
) -> DeviceProfile:
    """``known`` with the steps of several devices measured where ``engine`` will train."""
    if engine.part.measure_joint_steps is None:
        return known
    with _engine_errors(engine.spelled):
        measured: DeviceProfile = engine.part.measure_joint_steps(
            engine.settings, device, known, shapes, say
        )
    return measured


def start(engine: Choice, sweep: SweepDir, slots: int) -> Executor:
    """Start ``engine`` on a sweep. Any error of its file becomes an ``EngineError``."""
    workplace = Workplace(sweep=sweep, slots=slots, variables=worker_variables(engine.reference))
    with _engine_errors(engine.spelled):
        return _Checked(engine.part.start(engine.settings, workplace), engine.spelled)


def detach(engine: Choice, sweep: SweepDir, command: Sequence[str], say: Say) -> None:
    """Submit a job that runs ``command``, a ``slaw run``, to the end of its sweep."""
    with _engine_errors(engine.spelled):
        engine.part.detach(engine.settings, sweep, command, say)


def watch(engine: Choice, sweep: SweepDir, command: Sequence[str], say: Say) -> HandingOver:
    """A context around the ``slaw run`` in that job."""
    context: HandingOver = engine.part.watch(engine.settings, sweep, command, say)
    return context


class _Checked:
    """An executor whose failures of any kind are engine errors, in one line."""

    def __init__(self, executor: Executor, name: str) -> None:
        self._executor, self._name = executor, name

    @property
    def slots(self) -> int:
        return self._executor.slots

    def submit(self, runs: Sequence[PlannedRun]) -> Handle:
        with _engine_errors(self._name):
            return self._executor.submit(runs)

    def slots_of(self, runs: Sequence[PlannedRun]) -> int:
        with _engine_errors(self._name):
            return slots_of(self._executor, runs)

    def state(self, handle: Handle) -> SubmissionState:
        with _engine_errors(self._name):
            return self._executor.state(handle)

    def last_words(self, handle: Handle) -> str:
        with _engine_errors(self._name):
            return last_words(self._executor, handle)

    def news(self) -> list[str]:
        with _engine_errors(self._name):
            return news(self._executor)

    @property
    def resubmissions(self) -> int:
        return resubmissions(self._executor)

    def has(self, run_ids: Sequence[str]) -> bool:
        with _engine_errors(self._name):
            return has(self._executor, run_ids)

    def cancel(self, handle: Handle) -> None:
        with _engine_errors(self._name):
            self._executor.cancel(handle)

    @property
    def logs(self) -> Path | None:
        return logs_of(self._executor)

    def leave(self) -> None:
        with _engine_errors(self._name):
            leave(self._executor)

    def close(self) -> None:
        with _engine_errors(self._name):
            self._executor.close()


def last_words(executor: Executor, handle: Handle) -> str:
    """Why a submission ended, or what its worker wrote last, "" where that is not known."""
    ask = getattr(executor, "last_words", None)
    return one_line(ask(handle)) if ask is not None else ""


def news(executor: Executor) -> list[str]:
    """What the engine has to say since the last call."""
    ask = getattr(executor, "news", None)
    return list(ask()) if ask is not None else []


def slots_of(executor: Executor, runs: Sequence[PlannedRun]) -> int:
    """How many slots of the executor a submission of ``runs`` takes."""
    ask = getattr(executor, "slots_of", None)
    return int(ask(runs)) if ask is not None else 1


def resubmissions(executor: Executor) -> int:
    """How often a run is submitted again whose worker died."""
    return int(getattr(executor, "resubmissions", 1))


def has(executor: Executor, run_ids: Sequence[str]) -> bool:
    """Whether ``submit`` would take over the worker that has these runs."""
    ask = getattr(executor, "has", None)
    return ask is not None and bool(ask(run_ids))


def logs_of(executor: Executor) -> Path | None:
    """Where the workers' logs are; None for the sweep's ``workers.log``."""
    return getattr(executor, "logs", None)


def leave(executor: Executor) -> None:
    """Let the workers go on without this process; end them where the engine cannot."""
    go = getattr(executor, "leave", executor.close)
    go()


def queues(sweep: SweepDir) -> list[Queue]:
    """What the queues of the engines that worked on a sweep hold of it now.

    An engine that cannot say it (its commands are on another machine, say) holds nothing.
    """
    asked = []
    for part in parts_at_work(sweep):
        if part.queue is not None:
            with contextlib.suppress(SlawError, OSError):
                asked.append(part.queue(sweep))
    return [queue for queue in asked if queue.text]


def parts_at_work(sweep: SweepDir) -> list[EnginePart]:
    """The engines of the package that have files of their own in a sweep's folder."""
    return [
        parts.load("engine", Reference(name=name))
        for name in parts.names("engine")
        if sweep.engine(name).is_dir()
    ]


@contextlib.contextmanager
def _engine_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (SlawError, AssertionError):
        raise
    except Exception as problem:
        why = one_line(f"{type(problem).__name__}: {problem}")
        raise EngineError(f"engine {name} failed ({why})") from problem


def installed_torch(otherwise: str) -> str:
    """The version of torch that is installed here; ``otherwise`` where none is."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("torch")
    return otherwise


def worker_variables(engine: Reference | None = None) -> dict[str, str]:
    """The environment variables of a single-thread worker; ``engine`` is the one that starts it."""
    variables = {**_ALLOCATOR, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if engine is not None:
        variables[_ENGINE] = ":".join(filter(None, (engine.name, engine.source_sha256)))
    return variables


def worker_environment() -> dict[str, str]:
    """This process's environment variables with those of a worker."""
    return {**os.environ, **worker_variables()}


@functools.cache
def own_environment() -> dict[str, str]:
    """Where this worker runs, as the engine that started it says; none if no engine did."""
    reference = _own_engine()
    if reference is None:
        return {}
    with _engine_errors(reference.name):
        environment: dict[str, str] = parts.load("engine", reference).environment()
    return environment


def group_command(devices: int) -> list[str]:
    """The beginning of the command that starts a group of processes from this worker."""
    reference = _own_engine()
    spans = None if reference is None else parts.load("engine", reference).spans
    if reference is None or spans is None:
        return [*LAUNCHER, "--standalone", f"--nproc-per-node={devices}"]
    with _engine_errors(reference.name):
        command: list[str] = spans(devices)
    return command


def _own_engine() -> Reference | None:
    """The engine that started this worker."""
    name, _, source_sha256 = os.environ.get(_ENGINE, "").partition(":")
    return Reference(name=name, source_sha256=source_sha256 or None) if name else None
