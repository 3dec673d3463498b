"""What Ray's processes do on a node: train one submission, or measure the node.

A worker is a child of Ray's process, with the environment variables of every engine's workers, so
that its bits are theirs. It serves all tasks that Ray gives this process, and so loads torch once.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law import __version__
from scaling_law.errors import SlawError
from scaling_law.files.layout import SweepDir
from scaling_law.parts import NoSettings
from scaling_law.plan.steps import joint_shape_from_json
from scaling_law.run.engines import Workplace, _joint_steps
from scaling_law.run.engines._ray_files import Files, Session
from scaling_law.run.engines.local import LocalExecutor
from scaling_law.run.engines.local import profile as local_profile
from scaling_law.spec.to_json import to_json

_LOOK_SECONDS = 0.1
# Between two looks at whether the task is to stop; many tasks ask one file system.
_ASK_SECONDS = 1.0
_NODE = "SLAW_RAY_NODE"
# Ray gives each of its processes the GPUs of its task by this variable.
_GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a task has to do.

    ``number`` is the task's in its session;
    ``runs`` are the ids of runs that train together;
    ``sweep`` is the folder's absolute path, and ``session`` the name of a session there;
    ``variables`` are the worker's environment variables;
    ``versions`` are those of packages that must be the same on the node.
    """

    number: int
    runs: tuple[str, ...]
    sweep: str
    session: str
    variables: Mapping[str, str]
    versions: Mapping[str, str]


def own_versions() -> dict[str, str]:
    """The versions of what decides a run's bits, as far as Ray does not compare them itself."""
    versions = {"slaw": __version__}
    for package in ("torch", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "none"
    return versions


def host_name() -> str:
    """The machine's name."""
    return platform.node()


def node_id() -> str:
    """The id by which Ray knows the node of this worker; "" outside of one."""
    return os.environ.get(_NODE, "")


def session_of(order: Order) -> Session:
    """The session that a task belongs to."""
    return Session(Files(SweepDir(Path(order.sweep))), order.session)


def train(order: Order) -> dict[str, Any]:
    """Train what is ordered, until it has ended or is to stop.

    The answer has the submission's ``state`` and the worker's last ``words``, or says why the node
    is ``unfit``.
    """
    node = _ray_node()
    session = session_of(order)
    if why := _unfit(order, session):
        return {"unfit": why, "node": node}
    executor = _executor_of(order, node)
    asked_at, is_asked = time.monotonic(), False
    with _interruptions() as is_interrupted:
        handle = executor.train(order.runs)
        while (state := executor.state(handle)) == "running":
            time.sleep(_LOOK_SECONDS)
            wanted = is_interrupted()
            if time.monotonic() - asked_at >= _ASK_SECONDS:
                asked_at = time.monotonic()
                wanted = wanted or session.is_asked_to_stop(order.number)
            if wanted and not is_asked:
                is_asked = True
                executor.cancel(handle)
    words = executor.last_words(handle)
    if is_asked or os.environ.get(_GPUS):
        _close()  # it is ending, or the next task here may have another GPU
    return {"state": state, "words": words, "node": node}


@contextlib.contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """Whether Ray has cancelled this task: it interrupts the task, now and then, as Ctrl-C does."""
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        yield lambda: bool(caught)
    finally:
        signal.signal(signal.SIGINT, before)


def measure(device: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """The node's ``profile`` as JSON and what was said meanwhile, or the ``error`` and its code."""
    os.environ.update(variables)
    lines: list[str] = []
    try:
        measured = local_profile(NoSettings(), device, lines.append)
    except SlawError as problem:
        return {"error": str(problem), "code": problem.exit_code, "kind": type(problem).__name__}
    return {"profile": to_json(measured), "lines": lines}


def measure_together(shapes: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Steps of several devices of this node, as JSON, of the ``shapes``, as JSON.

    ``why`` says why it ended before the last, "" for none.
    """
    os.environ.update(variables)
    asked = [joint_shape_from_json(one) for one in json.loads(shapes)]
    steps, why = _joint_steps.all_measured(asked, _joint_steps.alone_command)
    return {"steps": [to_json(step) for step in steps], "why": why}


def _ray_node() -> str:
    import ray

    node: str = ray.get_runtime_context().get_node_id()
    return node


def _unfit(order: Order, session: Session) -> str:
    """Why this node cannot train; "" if it can."""
    if not session.is_visible():
        return f"{order.sweep}: {host_name()} of the Ray cluster does not see this folder"
    for package, version in own_versions().items():
        wanted = order.versions[package]
        if version != wanted:
            return f"{host_name()} of the Ray cluster has {package} {version}, here is {wanted}"
    return ""


@dataclass(frozen=True)
class _OwnWorker:
    """The worker of this process, and what it is for."""

    reason: tuple[Any, ...]
    executor: LocalExecutor


_own: list[_OwnWorker] = []


def _executor_of(order: Order, node: str) -> LocalExecutor:
    """The worker that earlier tasks of the same sweep left, or a new one."""
    reason = (order.sweep, dict(order.variables), os.environ.get(_GPUS))
    if _own and _own[0].reason == reason:
        return _own[0].executor
    _close()
    sweep = SweepDir(Path(order.sweep))
    place = Workplace(sweep=sweep, slots=1, variables={**order.variables, _NODE: node})
    log = Files(sweep).worker_log(host_name(), os.getpid())
    _own.append(_OwnWorker(reason, LocalExecutor(NoSettings(), place, log)))
    return _own[0].executor


def _close() -> None:
    while _own:
        _own.pop().executor.close()
