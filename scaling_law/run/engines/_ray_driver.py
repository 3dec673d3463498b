"""The process that is connected to a Ray cluster: ``python -m ..._ray_driver SETTINGS``.

It reads a command a line as JSON from standard input, and says a line for everything that happens.
Only this process imports ray, which takes over signals and standard error, and ends the process
when its node is lost. At the end of standard input it asks all tasks to stop after a checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

from scaling_law.errors import EngineError, SlawError, one_line
from scaling_law.run.engines import _ray_node as node
from scaling_law.run.engines._ray_node import session_of
from scaling_law.run.engines.ray import address_problem

_LOOK_SECONDS, _NODES_SECONDS = 0.1, 5.0
# How long a head node may take to accept a connection; Ray itself tries for two minutes.
_REACH_SECONDS = 5.0
# How long tasks may take to write a checkpoint once standard input has ended.
_END_SECONDS = 40.0


def _own_output() -> IO[str]:
    """Standard output for what this process says; what libraries print goes to standard error."""
    own = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return own


class Driver:
    """Tasks in a cluster, and what they answered."""

    def __init__(self, settings: dict[str, Any], out: IO[str]) -> None:
        import ray

        self._ray: Any = ray
        self._settings, self._out = settings, out
        self._tasks: dict[Any, tuple[node.Order, dict[str, Any]]] = {}  # by reference
        self._unfit: dict[str, str] = {}  # nodes that cannot train, and why
        self._nodes: list[dict[str, Any]] = []
        self._looked = -1e9
        self._train, self._measure = ray.remote(node.train), ray.remote(node.measure)
        self._measure_together = ray.remote(node.measure_together)

    def connect(self) -> None:
        """Attach to the cluster, or start one. Raises ``EngineError``."""
        address = self._settings["address"] or os.environ.get("RAY_ADDRESS") or "auto"
        words: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if "PYTHONPATH" in os.environ:  # Ray's processes on other nodes do not inherit it
            variables = {"PYTHONPATH": os.environ["PYTHONPATH"]}
            words["runtime_env"] = {"env_vars": variables}
        if self._settings["start"]:
            words |= {"address": "local", "include_dashboard": False}
            words |= {"num_cpus": self._settings["slots"]} if self._settings["slots"] else {}
        else:
            _reach(address)
            words["address"] = address
        try:
            self._ray.init(**words)
        except (Exception, SystemExit) as problem:  # a timeout of Ray's is a SystemExit
            raise EngineError(_why_not(problem, address)) from None
        # Ray's own handlers would end this process, and its tasks, at once
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._look_at_nodes()

    def say(self, what: str, **content: Any) -> None:
        """Say a line."""
        with contextlib.suppress(BrokenPipeError):  # the end of standard input says the same
            self._out.write(json.dumps({"say": what, **content}) + "\n")

    def serve(self, commands: queue.SimpleQueue[dict[str, Any] | None]) -> None:
        """Obey commands until None, then let all tasks stop."""
        while True:
            self._look_at_nodes()
            for command in _waiting(commands, _LOOK_SECONDS):
                if command is None:
                    self._stop_all()
                    return
                getattr(self, f"_{command.pop('do')}")(**command)
            self._collect()

    # commands

    def _submit(self, order: dict[str, Any], cpus: int, gpus: float, name: str) -> None:
        """Hand a task out. Ray gives it all its CPUs and GPUs on one node."""
        made = node.Order(**{**order, "runs": tuple(order["runs"])})
        self._hand_out(made, {"num_cpus": cpus, "num_gpus": gpus, "name": name})

    def _cancel(self, number: int) -> None:
        """Cancel a task that waits; one that runs looks for its stop file."""
        for reference, (order, _) in self._tasks.items():
            if order.number == number:
                self._ray.cancel(reference, force=False, recursive=False)

    def _profile(
        self, device: str, nodes: list[str], gpus: float, variables: dict[str, str]
    ) -> None:
        task = self._on(nodes, self._measure, 1, gpus).remote(device, variables)
        self.say("profile", **self._measurement(task))

    def _together(
        self, shapes: str, nodes: list[str], cpus: int, gpus: float, variables: dict[str, str]
    ) -> None:
        task = self._on(nodes, self._measure_together, cpus, gpus).remote(shapes, variables)
        self.say("together", **self._measurement(task))

    def _on(self, nodes: list[str], function: Any, cpus: int, gpus: float) -> Any:
        """``function`` as a task of so many CPUs and GPUs of one of ``nodes``."""
        where = {"ray.io/node-id": f"in({','.join(nodes)})"}
        return function.options(num_cpus=cpus, num_gpus=gpus, max_retries=0, label_selector=where)

    def _measurement(self, task: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._ray.get(task)
        except self._ray.exceptions.RayError as problem:
            return {"error": _last_line(problem), "code": EngineError.exit_code, "kind": ""}
        return answer

    # tasks

    def _hand_out(self, order: node.Order, options: dict[str, Any]) -> None:
        where: dict[str, Any] = {"scheduling_strategy": "SPREAD"}
        if self._unfit:
            where = {"label_selector": {"ray.io/node-id": f"!in({','.join(self._unfit)})"}}
        task = self._train.options(max_retries=0, **options, **where).remote(order)
        self._tasks[task] = order, options

    def _collect(self) -> None:
        """Say which tasks have ended, and hand those out again that an unfit node got."""
        if not self._tasks:
            return
        done, _ = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
        for reference in done:
            order, options = self._tasks.pop(reference)
            answer = self._answer(reference)
            if "unfit" in answer:
                self._avoid(answer["node"], answer["unfit"])
                self._hand_out(order, options)
            else:
                self.say("ended", number=order.number, **answer)

    def _answer(self, reference: Any) -> dict[str, Any]:
        errors = self._ray.exceptions
        try:
            answer: dict[str, Any] = self._ray.get(reference)
        except errors.TaskCancelledError:
            return {"state": "ended", "words": ""}
        except (errors.NodeDiedError, errors.LocalRayletDiedError):
            return {"state": "stopped", "words": "its node was lost"}
        except errors.OutOfMemoryError:
            words = "Ray ended it because its node was out of memory; lower limits.slots"
            return {"state": "ended", "words": words}
        except errors.WorkerCrashedError:
            return {"state": "stopped", "words": "Ray's process on its node has died"}
        except errors.RayError as problem:
            return {"state": "ended", "words": _last_line(problem)}
        return answer

    def _avoid(self, unfit: str, why: str) -> None:
        """Hand out no task to a node any more. Raises ``EngineError`` where none is left."""
        if unfit not in self._unfit:
            self._unfit[unfit] = why
            self.say("news", line=f"{why}; it gets no runs")
        if all(one["id"] in self._unfit for one in self._nodes):
            raise EngineError(why)

    def _look_at_nodes(self) -> None:
        if time.monotonic() - self._looked < _NODES_SECONDS:
            return
        self._looked = time.monotonic()
        nodes = [_described(one) for one in self._ray.nodes() if one["Alive"]]
        if nodes != self._nodes:
            self._nodes = nodes
            self.say("nodes", nodes=[one for one in nodes if one["id"] not in self._unfit])

    def _stop_all(self) -> None:
        sessions = {session_of(order) for order, _ in self._tasks.values()}
        for reference, (order, _) in self._tasks.items():
            session_of(order).ask_to_stop(order.number)
            self._ray.cancel(reference, force=False, recursive=False)
        deadline = time.monotonic() + _END_SECONDS
        while self._tasks and time.monotonic() < deadline:
            self._collect()
            time.sleep(_LOOK_SECONDS)
        for session in sessions:
            session.end()  # the `slaw run` may have been killed
        self._ray.shutdown()


def _waiting(
    commands: queue.SimpleQueue[dict[str, Any] | None], seconds: float
) -> Iterator[dict[str, Any] | None]:
    """The commands that are there, after a pause of at most ``seconds`` for the first."""
    with contextlib.suppress(queue.Empty):
        yield commands.get(timeout=seconds)
        while True:
            yield commands.get_nowait()


def _reach(address: str) -> None:
    """Raise ``EngineError`` where nothing listens at the address of a head node."""
    if address == "auto":
        return
    if why := address_problem(address):  # of $RAY_ADDRESS: the config's was checked
        raise EngineError(f"engine ray: RAY_ADDRESS={why}")
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _REACH_SECONDS):
            pass
    except (OSError, OverflowError) as problem:
        raise EngineError(
            f"engine ray: nothing answers at {address!r:.60} ({problem}); expected the address of"
            " a head node, as `ray start --head` prints it"
        ) from None


def _why_not(problem: BaseException, address: str) -> str:
    """Why there is no connection, in one line with what to do."""
    said = str(problem)
    if said.startswith("Version mismatch"):
        words = one_line(" ".join(said.split()))
        return f"engine ray: {words}; install the same Ray and Python here as in the cluster"
    if "Could not find any running Ray" in said:
        return (
            "engine ray: no Ray cluster runs on this machine; name one by engine.address, start one"
            " by `ray start --head`, or let slaw start one: engine: {name: ray, start: true}"
        )
    why = _last_line(problem)
    return f"engine ray: no connection to the cluster at {address} ({why})"


def _last_line(problem: BaseException) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    last = lines[-1] if lines else type(problem).__name__
    return one_line(last + "; install the same slaw on every node" * ("ModuleNotFound" in last))


def _described(known: dict[str, Any]) -> dict[str, Any]:
    """What is asked of a node: its id, its machine, and what it has."""
    has = known["Resources"]
    kinds = sorted(name for name in has if name.startswith("accelerator_type:"))
    return {
        "id": known["NodeID"], "host": known["NodeManagerHostname"],
        "cpus": math.floor(has.get("CPU", 0)), "gpus": math.floor(has.get("GPU", 0)),
        "memory_bytes": int(has.get("memory", 0)), "accelerators": kinds,
    }  # fmt: skip


def _read(commands: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    with contextlib.suppress(ValueError):
        for line in sys.stdin:
            commands.put(json.loads(line))
    commands.put(None)


def main(arguments: list[str]) -> int:
    """Exit code: 0 at the end of standard input, 5 without a connection, or when it was lost."""
    out = _own_output()
    driver = Driver(json.loads(arguments[0]), out)
    commands: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    try:
        driver.connect()
        driver.say("connected")
        threading.Thread(target=_read, args=(commands,), daemon=True).start()
        driver.serve(commands)
    except SlawError as problem:
        driver.say("refused", why=str(problem))
        return EngineError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
