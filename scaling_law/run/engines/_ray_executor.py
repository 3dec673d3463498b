"""Hands runs out to a Ray cluster in the order of the plan, no more than there is room for."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from scaling_law.errors import EngineError
from scaling_law.files.lease import read_lease
from scaling_law.plan.plan import PlannedRun
from scaling_law.run.engines import SubmissionState, Workplace
from scaling_law.run.engines._ray_client import Connection, require
from scaling_law.run.engines._ray_files import Files, Session, write_tasks
from scaling_law.run.engines._ray_node import Order, own_versions
from scaling_law.units import count_of

if TYPE_CHECKING:
    from scaling_law.run.engines.ray import Settings

# Between two times that displays are given what is handed out.
_WRITE_SECONDS = 2.0
# How long a task waits for a place before it is said, and between two looks for it.
_WAIT_SECONDS, _LOOK_SECONDS = 60.0, 10.0
# Ray counts GPUs in ten-thousandths.
_PARTS = 10_000
_LOST = "the connection to the Ray cluster was lost"


@dataclass(eq=False, kw_only=True)
class _Task:
    """A submission.

    ``order`` is what its node has to do;
    ``slots`` are those that it takes;
    ``began`` is when it was handed out, by the monotonic clock;
    ``words`` says why it ended, "" for none.
    """

    order: Order
    slots: int
    began: float
    state: SubmissionState = "running"
    words: str = ""


class RayExecutor:
    """Tasks of one sweep in a cluster. A lost connection is made again for the next task."""

    resubmissions = 2

    def __init__(self, settings: Settings, workplace: Workplace) -> None:
        require()
        self._settings, self._workplace = settings, workplace
        self._files = Files(workplace.sweep)
        self.logs = self._files.folder
        self._session = Session(self._files, secrets.token_hex(8))
        self._variables = {**workplace.variables, **carried()}
        self._versions = own_versions()
        self._tasks: dict[int, _Task] = {}  # those that have not ended, by number
        self._last = 0
        self._news: list[str] = []
        self._written: tuple[float, tuple[int, ...]] = -1e9, ()
        self._looked, self._said_waiting = time.monotonic(), False
        self._session.begin()
        try:
            self._connection = self._connected()
        except BaseException:
            self._session.end()
            raise
        self._connection.heard()
        self._per_gpu = self._shares()
        self._on_gpus, self._unit = False, "run"
        self._places: int | None = None  # not known before the first run says its device

    def _connected(self) -> Connection:
        return Connection(self._settings, self._workplace.slots, self._files.driver_log)

    def _room(self) -> int:
        """How many runs have a CPU, or a share of a GPU, on the nodes that are alive."""
        alive = places(self._connection.nodes, self._on_gpus)
        return alive * self._per_gpu if self._on_gpus else alive

    def _shares(self) -> int:
        """How many runs share a GPU, as planned."""
        gpus = self._settings.concurrent or sum(node["gpus"] for node in self._connection.nodes)
        return math.ceil(self._workplace.slots / gpus) if gpus else 1

    @property
    def slots(self) -> int:
        """The plan's, or fewer while nodes are missing: Ray's own queue knows no priorities."""
        if self._settings.concurrent is not None or self._places is None:
            return self._workplace.slots
        return max(min(self._workplace.slots, self._places), 1)

    def submit(self, runs: Sequence[PlannedRun]) -> _Task:
        """Hand ``runs`` out to a node."""
        taken, busy = self.slots_of(runs), sum(task.slots for task in self._tasks.values())
        if busy + taken > self.slots:
            raise EngineError(f"no free slot: {busy} of {self.slots} are busy")
        if self._connection.is_lost:
            self._connection.close(0.0)
            self._connection = self._connected()
            self._news.append("connected to the Ray cluster again")
        self._last += 1
        order = Order(
            number=self._last,
            runs=tuple(run.run_id for run in runs),
            sweep=str(self._workplace.sweep.path.absolute()),
            session=self._session.name,
            variables=self._variables,
            versions=self._versions,
        )
        if self._places is None:
            self._on_gpus = runs[0].resources.device == "cuda"
            self._places = self._room()
        devices = _devices(runs)
        self._unit = "device" if devices > 1 else self._unit
        # a run of several GPUs has whole ones: Ray gives shares of one GPU only
        gpus = float(devices) if devices > 1 else (_PARTS // self._per_gpu) / _PARTS
        self._connection.send(
            do="submit", order=asdict(order), cpus=devices, gpus=gpus if self._on_gpus else 0.0,
            name=runs[0].spec.label,
        )  # fmt: skip
        task = _Task(order=order, slots=taken, began=time.monotonic())
        self._tasks[order.number] = task
        return task

    def slots_of(self, runs: Sequence[PlannedRun]) -> int:
        """One, or all slots of each device of a run of several."""
        devices = _devices(runs)
        each = self._per_gpu if runs[0].resources.device == "cuda" else 1
        return min(devices * each if devices > 1 else 1, self.slots)

    def state(self, task: _Task) -> SubmissionState:
        """How far a task is. All of them share one look at what the driver says."""
        self._hear()
        return task.state

    def last_words(self, task: _Task) -> str:
        """Why it ended, as the node or Ray says it."""
        return task.words

    def news(self) -> list[str]:
        """Lines about the cluster since the last call."""
        self._write_tasks()
        self._note_waiting()
        lines, self._news = self._news, []
        return lines

    def cancel(self, task: _Task) -> None:
        """Ask a task to write a checkpoint and end."""
        if task.state == "running":
            self._session.ask_to_stop(task.order.number)
            self._connection.send(do="cancel", number=task.order.number)

    def close(self) -> None:
        """End every task, and leave the cluster."""
        try:
            self._connection.close()
        finally:
            self._session.end()

    def _hear(self) -> None:
        is_lost = self._connection.is_lost
        for line in self._connection.heard():
            if line["say"] == "ended":
                self._end(line["number"], line["state"], line["words"])
            elif line["say"] == "news":
                self._news.append(line["line"])
            elif line["say"] == "nodes":
                self._note_nodes()
        if is_lost and self._tasks:
            why = self._connection.why_lost
            self._news.append(f"{_LOST} ({why})" if why else _LOST)
            for number in list(self._tasks):
                self._end(number, "stopped", _LOST)

    def _end(self, number: int, state: SubmissionState, words: str) -> None:
        task = self._tasks.pop(number, None)
        if task is not None:
            task.state, task.words = state, words
            self._session.forget(number)

    def _note_nodes(self) -> None:
        if self._places is None:
            return
        before, self._places = self._places, self._room()
        if before != self._places:
            nodes = count_of(len(self._connection.nodes), "node")
            now = count_of(self._places, self._unit)
            self._news.append(f"the Ray cluster has {nodes} now, with room for {now} at once")

    def _write_tasks(self) -> None:
        numbers = tuple(self._tasks)
        if numbers != self._written[1] and time.monotonic() - self._written[0] > _WRITE_SECONDS:
            self._written = time.monotonic(), numbers
            write_tasks(
                self._files, [run for task in self._tasks.values() for run in task.order.runs]
            )

    def _note_waiting(self) -> None:
        """Say once if tasks have waited for a place for long, and no task trains."""
        now = time.monotonic()
        if self._said_waiting or now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        old = [task for task in self._tasks.values() if now - task.began > _WAIT_SECONDS]
        leases = [self._workplace.sweep.run(task.order.runs[0]).lease for task in old]
        if leases and all(read_lease(lease) is None for lease in leases):
            self._said_waiting = True
            self._news.append(
                f"{count_of(len(leases), 'run')} waiting for a free place in the Ray cluster:"
                " `ray status` shows who uses it"
            )


def _devices(runs: Sequence[PlannedRun]) -> int:
    """How many devices train these runs together."""
    return runs[0].resources.devices_of(runs[0].spec).devices


def places(nodes: Sequence[dict[str, int]], on_gpus: bool) -> int:
    """How many runs have a device of their own on these nodes."""
    if on_gpus:
        return sum(min(node["gpus"], node["cpus"]) for node in nodes)
    return sum(node["cpus"] for node in nodes)


def carried() -> dict[str, str]:
    """The variables of this process that workers on other machines need too."""
    return {
        name: value
        for name, value in os.environ.items()
        if name == "PYTHONPATH" or (name.startswith("SLAW_") and name != "SLAW_ENGINE")
    }
