"""Engines: where runs are executed, one file each: ``engine: local`` is ``engines/local.py``.

An engine starts workers on runs and says when they have ended. It never decides whether a run
succeeded: the files in the run's folder say that, and a lease on the folder keeps a worker that
was believed dead from writing. An engine is no part of what a run is, nor of its recipe: one
sweep may begin on one engine and resume on another.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from scaling_law import parts
from scaling_law.config.slots import DEFAULT_ENGINE, Choice
from scaling_law.console import Say
from scaling_law.errors import ConfigError, EngineError, SlawError, one_line
from scaling_law.files.layout import SweepDir
from scaling_law.parts import NoSettings, Reference
from scaling_law.plan.device_profile import DeviceProfile

if TYPE_CHECKING:
    from scaling_law.plan.plan import PlannedRun
    from scaling_law.plan.steps import StepShape

Handle = Any
# ended: the worker let go of the runs, and their folders say with what result; elsewhere: ended,
# and another process has or took those without a record; hung: ended, because the engine killed a
# worker that gave no sign of life.
SubmissionState = Literal["running", "ended", "elsewhere", "hung"]

_ENGINE = "SLAW_ENGINE"
# glibc returns large freed blocks to the kernel at once, so that every step has to map its logits
# again; with these it keeps them (32 MiB is the largest threshold that glibc accepts).
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}


class Executor(Protocol):
    """An engine at work on one sweep.

    It may have a method ``last_words(handle)`` as well: the last line that the worker of an ended
    submission wrote to its standard error, "" for none. A run's failure quotes it.
    """

    @property
    def slots(self) -> int:
        """How many submissions may run at once."""

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
    ``slots`` is how many submissions may run at once;
    ``variables`` are the environment variables that every worker must have: its speed was measured
    under them, and its bits depend on them.
    """

    sweep: SweepDir
    slots: int
    variables: Mapping[str, str]


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
    ``settings`` is a dataclass.
    """

    start: Callable[[Any, Workplace], Executor]
    profile: Callable[[Any, str, Say], DeviceProfile]
    environment: Callable[[], dict[str, str]]
    measure_steps: (
        Callable[[Any, str, DeviceProfile, Sequence[StepShape], Say], DeviceProfile] | None
    ) = None
    settings: type = NoSettings


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


def start(engine: Choice, sweep: SweepDir, slots: int) -> Executor:
    """Start ``engine`` on a sweep. Any error of its file becomes an ``EngineError``."""
    workplace = Workplace(sweep=sweep, slots=slots, variables=worker_variables(engine.reference))
    with _engine_errors(engine.spelled):
        return _Checked(engine.part.start(engine.settings, workplace), engine.spelled)


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

    def state(self, handle: Handle) -> SubmissionState:
        with _engine_errors(self._name):
            return self._executor.state(handle)

    def last_words(self, handle: Handle) -> str:
        with _engine_errors(self._name):
            return last_words(self._executor, handle)

    def cancel(self, handle: Handle) -> None:
        with _engine_errors(self._name):
            self._executor.cancel(handle)

    def close(self) -> None:
        with _engine_errors(self._name):
            self._executor.close()


def last_words(executor: Executor, handle: Handle) -> str:
    """The last line that a dead worker wrote to its standard error, "" where that is not known."""
    ask = getattr(executor, "last_words", None)
    return one_line(ask(handle)) if ask is not None else ""


@contextlib.contextmanager
def _engine_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (SlawError, AssertionError):
        raise
    except Exception as problem:
        why = one_line(f"{type(problem).__name__}: {problem}")
        raise EngineError(f"engine {name} failed ({why})") from problem


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
    name, _, source_sha256 = os.environ.get(_ENGINE, "").partition(":")
    if not name:
        return {}
    reference = Reference(name=name, source_sha256=source_sha256 or None)
    with _engine_errors(name):
        environment: dict[str, str] = parts.load("engine", reference).environment()
    return environment
