"""The Ray engine without a cluster: what it hands out, and how it reads the answers."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from scaling_law.errors import DeviceError, EngineError
from scaling_law.files import layout
from scaling_law.files.lease import Leases
from scaling_law.plan.steps import JointShape, JointStep
from scaling_law.run import request
from scaling_law.run.engines import (
    Workplace,
    _joint_steps,
    _ray_client,
    _ray_driver,
    _ray_executor,
    _ray_node,
    _ray_nodes,
    engine_named,
    installed_torch,
)
from scaling_law.run.engines._ray_client import FewLines
from scaling_law.run.engines._ray_executor import RayExecutor
from scaling_law.run.engines._ray_files import Files, Session
from scaling_law.run.engines.ray import Settings
from scaling_law.run.sweep_state.reader import SweepReader
from scaling_law.run.sweep_state.text import format_status
from scaling_law.spec.parallel import Parallel
from scaling_law.spec.to_json import to_json
from tests.fakes import cpu_profile, tiny_model
from tests.faults.world import begin_sweep
from tests.run.fake_ray.ray import exceptions


def node_of(name: str, **has) -> dict[str, Any]:
    plain = {"cpus": 1, "gpus": 0, "memory_bytes": 4 * 10**9, "accelerators": []}
    return {"id": name, "host": name, **plain, **has}


class FakeConnection:
    """A cluster of which a test decides what it says."""

    nodes: Any = (node_of("a"), node_of("b"))
    answer: ClassVar[dict[str, Any]] = {}
    made: ClassVar[list[FakeConnection]]

    def __init__(self, settings, slots, log) -> None:
        self.nodes = list(self.nodes)
        self.sent: list[dict[str, Any]] = []
        self.saying: list[dict[str, Any]] = []
        self.is_lost, self.why_lost = False, "its raylet has died"
        self.made.append(self)

    def send(self, **command) -> None:
        self.sent.append(command)

    def heard(self) -> list[dict[str, Any]]:
        lines, self.saying = self.saying, []
        for line in lines:
            self.nodes = line.get("nodes", self.nodes)
        return lines

    def wait_for(self, what, seconds) -> dict[str, Any]:
        return self.answer

    def close(self, seconds: float = 0.0) -> None:
        self.saying.append({"say": "closed"})


@pytest.fixture
def made(monkeypatch):
    """The connections that were made so far."""
    monkeypatch.setattr(FakeConnection, "made", [], raising=False)
    for module in (_ray_executor, _ray_nodes):
        monkeypatch.setattr(module, "Connection", FakeConnection)
        monkeypatch.setattr(module, "require", lambda: None)
    return FakeConnection.made


def executor_of(sweep, settings=None, slots: int = 2) -> RayExecutor:
    place = Workplace(sweep=sweep.dir, slots=slots, variables={"OMP_NUM_THREADS": "1"})
    return RayExecutor(settings or Settings(), place)


def test_a_task_carries_what_its_worker_needs_and_its_end_is_what_the_runner_hears(
    sweep, made, monkeypatch
):
    monkeypatch.setenv("SLAW_STALE_SECONDS", "7")
    executor = executor_of(sweep)
    task = executor.submit([sweep.plan.runs[0]])
    (connection,) = made
    (command,) = connection.sent
    order = command["order"]
    assert command["gpus"] == 0.0 and order["runs"] == (sweep.plan.runs[0].run_id,)
    carried = {"OMP_NUM_THREADS": "1", "SLAW_STALE_SECONDS": "7"}
    assert order["variables"].items() >= carried.items()
    assert executor.state(task) == "running"
    connection.saying = [{"say": "ended", "number": 1, "state": "hung", "words": "why"}]
    assert executor.state(task) == "hung" and executor.last_words(task) == "why"
    executor.close()
    assert not Files(sweep.dir).folder.exists(), "nothing is left over"


def test_what_is_handed_out_follows_the_nodes_that_are_there(sweep, made):
    executor = executor_of(sweep)
    assert executor.slots == 2
    task = executor.submit([sweep.plan.runs[0]])
    made[0].saying = [{"say": "nodes", "nodes": [node_of("a")]}]
    executor.state(task)
    assert executor.slots == 1
    assert executor.news() == ["the Ray cluster has 1 node now, with room for 1 run at once"]
    with pytest.raises(EngineError, match="no free slot"):
        executor.submit([sweep.plan.runs[1]])
    grows = executor_of(sweep, Settings(concurrent=5), slots=5)
    assert grows.slots == 5, "a cluster that grows on demand must see the demand"


@pytest.mark.parametrize(("slots", "share"), [(2, 1.0), (4, 0.5), (5, 0.3333)])
def test_runs_share_gpus_as_limits_slots_say(sweep, made, monkeypatch, slots, share):
    gpus = [node_of("a", cpus=8, gpus=2)]
    monkeypatch.setattr(FakeConnection, "nodes", gpus)
    run = sweep.plan.runs[0]
    run = dataclasses.replace(run, resources=dataclasses.replace(run.resources, device="cuda"))
    executor = executor_of(sweep, slots=slots)
    executor.submit([run])
    assert (executor.slots, made[0].sent[0]["gpus"]) == (slots, share)
    on_cpus = executor_of(sweep, slots=8)
    on_cpus.submit([sweep.plan.runs[0]])
    assert (on_cpus.slots, made[1].sent[0]["gpus"]) == (8, 0.0), "its GPUs are no limit"


@pytest.mark.parametrize(
    ("device", "slots", "taken", "asked"),
    [("cpu", 8, 2, (2, 0.0)), ("cuda", 4, 2, (2, 2.0)), ("cuda", 8, 4, (2, 2.0))],
)
def test_a_run_of_two_devices_has_whole_ones_of_one_node_and_their_slots(
    sweep, made, monkeypatch, device, slots, taken, asked
):
    monkeypatch.setattr(FakeConnection, "nodes", [node_of("a", cpus=8, gpus=4)])
    run = sweep.plan.runs[0]
    run = dataclasses.replace(
        run,
        spec=dataclasses.replace(run.spec, parallel=Parallel(kind="ddp", devices=2)),
        resources=dataclasses.replace(run.resources, device=device),
    )
    executor = executor_of(sweep, slots=slots)
    for number in range(slots // taken):
        assert executor.slots_of([run]) == taken
        executor.submit([run])
        command = made[0].sent[number]
        assert (command["cpus"], command["gpus"]) == asked
    with pytest.raises(EngineError, match="no free slot"):
        executor.submit([sweep.plan.runs[1]])


@pytest.mark.parametrize(("slots", "at_once", "speed"), [(None, 2, 1.0), (1, 1, 1.0), (4, 4, 0.5)])
def test_limits_slots_beyond_the_gpus_divide_them(
    text, tmp_path, monkeypatch, slots, at_once, speed
):
    profile = cpu_profile(kind="cuda", slots=2)
    monkeypatch.setattr("scaling_law.run.engines.profile", lambda engine, device, say: profile)
    config = begin_sweep(tmp_path, text, f"limits: {{slots: {slots}}}" if slots else "").config
    config = dataclasses.replace(
        config, device_kind="cuda", choices={**config.choices, "engine": (engine_named("ray"),)}
    )
    monkeypatch.setattr(request, "config_of", lambda request, kind: config)
    _, planned = request.config_and_profile(request.Request(config="s.yaml"), pytest.fail)
    assert planned.slots == at_once
    ratio = planned.speed[0].flops_per_second / profile.speed[0].flops_per_second
    assert ratio == pytest.approx(speed)


def test_a_lost_connection_stops_its_tasks_and_is_made_again(sweep, made):
    executor = executor_of(sweep)
    task = executor.submit([sweep.plan.runs[0]])
    made[0].is_lost = True
    assert executor.state(task) == "stopped"
    assert executor.news() == ["the connection to the Ray cluster was lost (its raylet has died)"]
    executor.submit([sweep.plan.runs[0]])
    assert len(made) == 2 and executor.news() == ["connected to the Ray cluster again"]


def test_a_cancelled_task_is_asked_by_a_file_that_its_node_sees(sweep, made):
    executor = executor_of(sweep)
    task = executor.submit([sweep.plan.runs[0]])
    executor.cancel(task)
    session = Session(Files(sweep.dir), task.order.session)
    assert session.is_visible() and session.is_asked_to_stop(1) and not session.is_asked_to_stop(2)
    assert made[0].sent[-1] == {"do": "cancel", "number": 1}
    executor.close()
    assert not session.is_visible()


def test_a_task_that_finds_no_place_is_said_once(sweep, made, monkeypatch):
    monkeypatch.setattr(_ray_executor, "_WAIT_SECONDS", -1.0)
    monkeypatch.setattr(_ray_executor, "_LOOK_SECONDS", 0.0)
    executor = executor_of(sweep)
    executor.submit([sweep.plan.runs[0]])
    (line,) = executor.news()
    assert line.startswith("1 run waiting for a free place in the Ray cluster")
    assert executor.news() == []


def test_status_says_which_runs_train_and_which_wait(sweep, made):
    executor = executor_of(sweep)
    for run in sweep.plan.runs[:2]:
        run_dir = sweep.dir.run(run.run_id)
        layout.write_json(run_dir.spec, to_json(run.spec))
        executor.submit([run])
    executor.news()
    with Leases() as leases:
        leases.take(sweep.dir.run(sweep.plan.runs[0].run_id).lease)
        assert SweepReader(sweep.dir).read().queue == "", "no `slaw run` is at work"
        leases.take(sweep.dir.runners / "1-a")
        snapshot = SweepReader(sweep.dir).read()
    assert snapshot.queue == "Ray: 1 run training, 1 waiting for a free place, or starting"
    assert snapshot.queue in format_status(snapshot.to_json())
    queued = [run.queued or "" for run in snapshot.runs]
    assert queued[0].startswith("on ") and "waits for a free place" in queued[1]


def test_ray_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install 'slaw\[ray\]'") as error:
        _ray_client.require()
    assert error.value.exit_code == 5


def test_lines_that_are_alike_are_written_a_few_times(tmp_path):
    lines = FewLines(tmp_path / "log")
    for number in range(1000):
        lines.write(f"[{number}] node 4f6f9a0b{number:04} is dead")
    lines.write("another")
    written = (tmp_path / "log").read_text().splitlines()
    assert len(written) == 4 and written[2].endswith("(further lines like this are left out)")


# the process that is connected


class InlineRay:
    """Ray of which a test decides what a task answers, by the node that it runs on."""

    exceptions = exceptions

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.handed: list[dict[str, Any]] = []

    def init(self, **words) -> None:
        if isinstance(self.answers.get("init"), BaseException):
            raise self.answers["init"]

    def nodes(self) -> list[dict[str, Any]]:
        has = {"CPU": 1.0, "memory": 1e9}
        return [
            {"NodeID": name, "Alive": True, "NodeManagerHostname": name, "Resources": has}
            for name in self.answers
        ]

    def remote(self, function):
        return SimpleNamespace(options=self.options)

    def options(self, **options):
        self.handed.append(options)
        where = options.get("label_selector", {}).get("ray.io/node-id", "!in()")
        named = where.partition("(")[2].rstrip(")").split(",")
        fits = next(n for n in self.answers if (n in named) != where.startswith("!"))
        return SimpleNamespace(remote=lambda *given: (fits, len(self.handed)))

    def wait(self, tasks, *, num_returns, timeout):
        return tasks, []

    def get(self, task):
        answer = self.answers[task[0]]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def driver_of(
    monkeypatch, answers: dict[str, Any]
) -> tuple[_ray_driver.Driver, InlineRay, io.StringIO]:
    ray, out = InlineRay(answers), io.StringIO()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    settings = {"address": "", "start": False, "slots": None}
    return _ray_driver.Driver(settings, out), ray, out


ORDER = {
    "number": 1, "runs": ["r"], "sweep": "/none", "session": "s", "variables": {}, "versions": {},
}  # fmt: skip


def said(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        ({"state": "ended", "words": "", "node": "a"}, "ended", ""),
        (exceptions.NodeDiedError(), "stopped", "its node was lost"),
        (exceptions.LocalRayletDiedError(), "stopped", "its node was lost"),
        (exceptions.WorkerCrashedError(), "stopped", "Ray's process on its node has died"),
        (exceptions.TaskCancelledError(), "ended", ""),
        (exceptions.OutOfMemoryError(), "ended", "out of memory; lower limits.slots"),
        (
            exceptions.RayError("x\nModuleNotFoundError: No module named 'scaling_law'\n"),
            "ended",
            "No module named 'scaling_law'; install the same slaw on every node",
        ),
    ],
)
def test_how_a_task_ended_is_said_in_a_line(monkeypatch, answer, state, words):
    driver, _, out = driver_of(monkeypatch, {"a": answer})
    driver._submit(ORDER, 1, 0.0, "label")
    driver._collect()
    (line,) = said(out)
    assert (line["say"], line["number"], line["state"]) == ("ended", 1, state)
    assert words in line["words"]


def test_a_node_that_does_not_fit_gets_no_runs_and_only_the_last_ends_the_sweep(monkeypatch):
    fits = {"state": "ended", "words": "", "node": "b"}
    unfit = {"unfit": "/none: a of the Ray cluster does not see this folder", "node": "a"}
    driver, ray, out = driver_of(monkeypatch, {"a": unfit, "b": fits})
    driver.connect()
    driver._submit(ORDER, 1, 0.0, "label")
    driver._collect()
    driver._collect()
    assert ray.handed[-1]["label_selector"] == {"ray.io/node-id": "!in(a)"}
    lines = {line["say"]: line for line in said(out)}
    assert lines["news"]["line"] == f"{unfit['unfit']}; it gets no runs"
    assert lines["ended"]["number"] == 1
    ray.answers["b"] = {**unfit, "node": "b"}
    driver._submit(ORDER, 1, 0.0, "label")
    with pytest.raises(EngineError, match="does not see this folder"):
        driver._collect()


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (
            RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n"),
            "Version mismatch: The cluster was started with: Ray: 2.9.0; install the same Ray",
        ),
        (ConnectionError("Could not find any running Ray instance."), "start one by `ray start"),
        (SystemExit("15"), "no connection to the cluster at auto (15)"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_one_line(monkeypatch, problem, words):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    driver, _, _ = driver_of(monkeypatch, {"init": problem})
    with pytest.raises(EngineError) as error:
        driver.connect()
    (line,) = error.value.lines
    assert line.startswith("engine ray: ") and words in line


@pytest.mark.parametrize("address", ["10.0.0.1", "ray://10.0.0.1:10001", "10.0.0.1:", ":6379"])
def test_an_address_that_is_not_host_and_port_is_one_line(monkeypatch, address):
    with pytest.raises(ValueError, match=r"address: .*expected host and port of a head node"):
        Settings(address=address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    driver, _, _ = driver_of(monkeypatch, {"a": {}})
    with pytest.raises(EngineError, match=r"RAY_ADDRESS=.*expected host and port") as error:
        driver.connect()
    assert len(error.value.lines) == 1


# nodes


def test_a_node_without_the_folder_or_with_other_versions_does_not_train(sweep, monkeypatch):
    monkeypatch.setattr(_ray_node, "_ray_node", lambda: "n")
    session = Session(Files(sweep.dir), "s")
    versions = _ray_node.own_versions()
    order = _ray_node.Order(
        number=1, runs=(), sweep=str(sweep.dir.path), session="s", variables={}, versions=versions
    )
    assert "does not see this folder" in _ray_node.train(order)["unfit"]
    session.begin()
    other = dataclasses.replace(order, versions={**versions, "torch": "0.1"})
    assert f"has torch {versions['torch']}, here is 0.1" in _ray_node.train(other)["unfit"]


def test_a_node_of_the_largest_kind_is_measured_once(made, monkeypatch, tmp_path):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path))
    monkeypatch.setattr(
        FakeConnection, "nodes", [node_of("small"), node_of("a", cpus=4), node_of("b", cpus=4)]
    )
    version = installed_torch("0")
    answer = {"profile": to_json(cpu_profile(slots=8, torch_version=version)), "lines": []}
    monkeypatch.setattr(FakeConnection, "answer", answer)
    lines: list[str] = []
    for _ in range(2):
        measured = _ray_nodes.profile(Settings(), "auto", lines.append)
        assert (measured.slots, measured.memory_bytes) == (9, 9 * 10**9)
        assert measured.devices == 4, "those of the largest node"
    assert lines == ["measuring a node of the Ray cluster once (a)"]
    assert made[0].sent[0]["nodes"] == ["a", "b"] and not made[1].sent
    grows = _ray_nodes.profile(Settings(concurrent=20), "cpu", lines.append)
    assert grows.slots == 20 and grows.devices is None, "it may get larger nodes"
    for device in ("cuda", "mps"):
        with pytest.raises(DeviceError, match=f"device {device}: no node of the Ray cluster"):
            _ray_nodes.profile(Settings(), device, pytest.fail)


def test_steps_of_several_devices_are_measured_once_on_a_node_that_has_them(
    made, monkeypatch, tmp_path
):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path))
    monkeypatch.setattr(FakeConnection, "nodes", [node_of("a"), node_of("b"), node_of("c", cpus=4)])
    shape = JointShape(
        model=tiny_model(), seqs=4, precision="fp32", recompute=False, device="cpu",
        parallel=Parallel(kind="ddp", devices=3),
    )  # fmt: skip
    profile = cpu_profile(slots=8, torch_version=installed_torch("0"))
    monkeypatch.setattr(FakeConnection, "answer", {"profile": to_json(profile), "lines": []})
    known, lines = _ray_nodes.profile(Settings(), "cpu", lambda line: None), list[str]()
    step = JointStep(shape=shape, speedup=2.5)
    monkeypatch.setattr(FakeConnection, "answer", {"steps": [to_json(step)], "why": ""})
    measure = engine_named("ray").part.measure_joint_steps
    assert measure is not None
    assert measure(Settings(), "cpu", known, [shape], lines.append).speedup_of == {shape: 2.5}
    (order,) = made[-1].sent
    assert (order["do"], order["nodes"], order["cpus"]) == ("together", ["c"], 3)
    again = _ray_nodes.profile(Settings(), "cpu", lambda line: None)
    assert again.speedup_of == {shape: 2.5}, "saved for the next time"
    assert measure(Settings(), "cpu", again, [shape], lines.append) == again and len(lines) == 1
    # the largest node is gone, or a cluster that grows on demand has none yet
    monkeypatch.setattr(FakeConnection, "nodes", [node_of("a")])
    assert measure(Settings(concurrent=9), "cpu", known, [shape], lines.append) == known
    assert "no node with 3 devices is there now" in lines[-1]
    failed = {"error": "Ray's process died", "code": 5, "kind": ""}
    monkeypatch.setattr(FakeConnection, "nodes", [node_of("c", cpus=4)])
    monkeypatch.setattr(FakeConnection, "answer", failed)
    assert measure(Settings(), "cpu", known, [shape], lines.append) == known
    assert "on c of the Ray cluster: Ray's process died" in lines[-1]


def test_a_node_answers_with_the_steps_that_it_measured(monkeypatch):
    shape = JointShape(
        model=tiny_model(), seqs=4, precision="fp32", recompute=False, device="cpu",
        parallel=Parallel(kind="ddp", devices=2),
    )  # fmt: skip
    good = ["bash", "-c", 'echo "{\\"speedup\\": $SLAW_TEST_SPEEDUP}"']
    monkeypatch.setattr(_joint_steps, "alone_command", lambda devices: good)
    monkeypatch.setenv("SLAW_TEST_SPEEDUP", "0")  # set back afterwards
    asked = json.dumps([to_json(shape)])
    answer = _ray_node.measure_together(asked, {"SLAW_TEST_SPEEDUP": "1.5"})
    assert answer == {"steps": [to_json(JointStep(shape=shape, speedup=1.5))], "why": ""}
    driver, _, out = driver_of(monkeypatch, {"a": answer})
    driver._together(asked, ["a"], 2, 0.0, {})
    assert said(out) == [{"say": "together", **answer}]
