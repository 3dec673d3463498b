"""Stands in for Ray Core where it is absent: a task is a process of its own, on one node.

``FAKE_RAY`` in the environment is JSON of what happens: ``refuses`` is what ``init`` raises,
``nodes`` are the nodes, by host, with what they have.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from . import exceptions

_RUN = (
    "import os, pickle, sys; from scaling_law.files.process import end_with;"
    "end_with(os.getppid());"
    "given = pickle.load(open(sys.argv[1], 'rb')); answer = given[0](*given[1]);"
    "pickle.dump(answer, open(sys.argv[2], 'wb'))"
)
_NODE = "FAKE_RAY_NODE"
_given = json.loads(os.environ.get("FAKE_RAY", "{}"))
_nodes = _given.get("nodes", {"a": {"CPU": 2.0, "memory": 4e9}})
_tasks: list[_Task] = []


def init(**words):
    if "refuses" in _given:
        raise RuntimeError(_given["refuses"])


def shutdown():
    for task in _tasks:
        if task.process.poll() is None:
            task.process.kill()
        task.process.wait()


def nodes():
    return [
        {"NodeID": name, "Alive": True, "NodeManagerHostname": name, "Resources": has}
        for name, has in _nodes.items()
    ]


class _Task:
    """A reference to what a process answers."""

    def __init__(self, function, arguments, node):
        folder = Path(tempfile.mkdtemp(prefix="fake-ray-"))
        self.given, self.answer = folder / "given", folder / "answer"
        self.given.write_bytes(pickle.dumps((function, arguments)))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(self.given), str(self.answer)],
            env={**os.environ, _NODE: node},
        )
        _tasks.append(self)


class _Remote:
    def __init__(self, function, **options):
        self.function, self.label_selector = function, options.get("label_selector", {})

    def options(self, **options):
        return _Remote(self.function, **options)

    def remote(self, *arguments):
        named = self.label_selector.get("ray.io/node-id", "!in()")
        ids = named.partition("(")[2].rstrip(")").split(",")
        fits = [name for name in _nodes if (name in ids) != named.startswith("!")]
        return _Task(self.function, arguments, fits[0])


def remote(function):
    return _Remote(function)


def wait(tasks, *, num_returns, timeout):
    over = [task for task in tasks if task.process.poll() is not None]
    return over, [task for task in tasks if task not in over]


def get(task):
    task.process.wait()
    try:
        return pickle.loads(task.answer.read_bytes())
    except (OSError, EOFError):
        raise exceptions.WorkerCrashedError("the worker died") from None


def cancel(task, *, force, recursive):
    """A task that runs ignores it, as Ray's do while they wait for a process."""


def get_runtime_context():
    return SimpleNamespace(get_node_id=lambda: os.environ[_NODE])
