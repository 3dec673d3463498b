"""What holds for every engine: those of the package, and the tests' own, named by its path."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from scaling_law import parts
from scaling_law.cli.main import main
from scaling_law.config.load import load_config
from scaling_law.config.slots import Choice
from scaling_law.config.written import config_yaml
from scaling_law.errors import ConfigError, EngineError
from scaling_law.files import layout
from scaling_law.files.layout import RunDir
from scaling_law.files.lease import read_lease
from scaling_law.files.record import load_records, read_record
from scaling_law.parts import Reference
from scaling_law.plan import device_profile
from scaling_law.plan.plan import PlannedRun
from scaling_law.run import engines
from scaling_law.run.engines import EnginePart, Executor, engine_named, own_environment, start
from scaling_law.run.pinned import begun_plan
from scaling_law.run.planning import plan_only
from scaling_law.run.request import Request, resumed
from scaling_law.run.request import config_of as config_of_request
from scaling_law.run.runner import Runner
from scaling_law.run.session import run_sweep
from scaling_law.spec.to_json import to_json
from tests.fakes import config_of, cpu_profile
from tests.faults.world import CONFIG, Sweep
from tests.run.fake_ray import install as install_ray
from tests.run.fake_slurm import FakeSlurm, install

INLINE = str(Path(__file__).resolve().parents[1] / "inline_engine.py")
PACKAGED = parts.names("engine")


def trunk_of(sweep: Sweep, **changes) -> tuple[PlannedRun, RunDir]:
    """The trunk with ``changes``, and its folder as the runner leaves it to a worker."""
    trunk = next(run for run in sweep.plan.runs if run.spec.kind == "trunk")
    run = dataclasses.replace(trunk, spec=dataclasses.replace(trunk.spec, **changes))
    run_dir = sweep.dir.run(run.run_id)
    layout.write_json(run_dir.spec, to_json(run.spec))
    layout.write_json(run_dir.resources, to_json(run.resources))
    return run, run_dir


def until_ended(executor: Executor, handle) -> str:
    deadline = time.monotonic() + 600
    while (state := executor.state(handle)) == "running":
        assert time.monotonic() < deadline, "it never ended"
        time.sleep(0.02)
    return state


def until_trained(run_dir: RunDir) -> int:
    """Wait until a worker takes steps; the worker's pid."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        holder = read_lease(run_dir.lease)
        process = holder.process if holder else None
        if process and process.is_surely_alive() and run_dir.progress.is_file():
            return process.pid
        time.sleep(0.02)
    raise AssertionError("no worker trains it")


@pytest.mark.parametrize("name", [*PACKAGED, INLINE])
def test_an_engine_keeps_its_contract(name):
    part = engine_named(name).part
    assert isinstance(part, EnginePart) and dataclasses.is_dataclass(part.settings)
    where = part.environment()
    assert where and all(isinstance(text, str) for text in (*where, *where.values()))


def fake_slurm(patch) -> Callable[[], None]:
    return install(patch, FakeSlurm(processes=True)).close


def fake_ray(patch) -> Callable[[], None]:
    install_ray(patch)
    return lambda: None


# What an engine needs to run here: a stand-in for a service that is absent, and settings. A
# stand-in is installed by a function that gives the one which ends it.
STAND_INS = {"slurm": fake_slurm, "ray": fake_ray}
SETTINGS = {"slurm": {"queued": 1, "poll": 0.1}}
# Workers that are started anew for each submission load torch each time.
EACH = [
    pytest.param(name, marks=pytest.mark.slow if name in STAND_INS else ()) for name in PACKAGED
]


@pytest.fixture
def chosen(monkeypatch):
    """A function that gives an engine by name, its service replaced where it is absent here."""
    services = []

    def choose(name: str) -> Choice:
        engine = engine_named(name)
        if name in STAND_INS:
            services.append(STAND_INS[name](monkeypatch))
        settings = engine.part.settings(**SETTINGS.get(name, {}))
        return dataclasses.replace(engine, settings=settings)

    yield choose
    for end in services:
        end()


@pytest.mark.parametrize("name", EACH)
def test_a_cancelled_submission_leaves_a_checkpoint_and_frees_its_slot(name, sweep, chosen):
    engine = chosen(name)
    run, run_dir = trunk_of(sweep, total_steps=10**6)
    short, short_dir = trunk_of(sweep)
    executor = start(engine, sweep.dir, 1)
    try:
        assert executor.slots == 1
        handle = executor.submit([run])
        with pytest.raises(EngineError, match="slot"):
            executor.submit([short])
        assert executor.state(handle) == "running"
        until_trained(run_dir)
        executor.cancel(handle)
        assert until_ended(executor, handle) == "ended"
        assert list(run_dir.checkpoints.glob("*.pt"))
        assert not run_dir.record.exists() and not run_dir.failure.exists()
        second = executor.submit([short])
        assert until_ended(executor, second) == "ended"
        assert executor.state(handle) == executor.state(second) == "ended", "they stay so"
        executor.cancel(second)  # too late: nothing happens
    finally:
        executor.close()
    environment = read_record(short_dir.record).environment
    assert environment is not None and environment.keys() == engine.part.environment().keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGED)
def test_a_killed_worker_ends_its_submission_and_close_ends_a_busy_one(
    name, sweep, monkeypatch, chosen
):
    monkeypatch.setattr(f"scaling_law.run.engines.{name}._CLOSE_SECONDS", 0.5, raising=False)
    run, run_dir = trunk_of(sweep, total_steps=10**6)
    executor = start(chosen(name), sweep.dir, 1)
    try:
        handle = executor.submit([run])
        assert executor.state(handle) == "running"
        os.kill(until_trained(run_dir), signal.SIGKILL)
        assert until_ended(executor, handle) == "ended"
        assert not run_dir.record.exists() and not run_dir.failure.exists()
        run_dir.progress.unlink()
        handle = executor.submit([run])
        assert executor.state(handle) == "running"
        pid = until_trained(run_dir)
    finally:
        executor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


class Dying:
    """An executor whose service goes away: each method in ``broken`` raises."""

    slots = 1

    def __init__(self, broken: str) -> None:
        self.broken, self.closed = broken, 0

    def submit(self, runs):
        self._die("submit")
        return object()

    def state(self, handle):
        self._die("state")
        return "running"

    def cancel(self, handle):
        self._die("cancel")

    def close(self):
        self.closed += 1
        self._die("close")

    def _die(self, method: str) -> None:
        if method == self.broken:
            raise ConnectionError("the cluster\nwent away")


@pytest.mark.parametrize("broken", ["submit", "state"])
def test_an_engine_that_dies_is_an_engine_error(broken, sweep):
    dying = Dying(broken)
    part = EnginePart(
        start=lambda settings, workplace: dying,
        profile=lambda settings, device, say: cpu_profile(),
        environment=dict,
    )
    engine = engine_named()
    parts_load = {("engine", engine.reference): part}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "load", lambda word, reference: parts_load[word, reference])
        executor = start(engine, sweep.dir, 1)
    with pytest.raises(EngineError) as error:
        Runner(sweep.plan, sweep.dir, executor).run()
    assert error.value.exit_code == 5 and dying.closed == 1
    assert error.value.lines == (r"engine local failed (ConnectionError: the cluster\nwent away)",)


def test_a_worker_that_cannot_be_started_is_an_engine_error(sweep, monkeypatch):
    monkeypatch.setattr("scaling_law.run.engines.local.WORKER", ("/no/such/python",))
    run, _ = trunk_of(sweep)
    executor = start(engine_named(), sweep.dir, 1)
    with pytest.raises(EngineError, match="a worker could not be started"):
        executor.submit([run])
    executor.close()


def test_a_worker_that_no_engine_started_records_no_environment(sweep):
    assert sweep.run().exit_code == 0
    for record in load_records(sweep.dir):
        assert "environment" not in layout.read_json(sweep.dir.run(record.run_id).record)


def test_a_worker_asks_the_engine_that_started_it(monkeypatch, request):
    request.addfinalizer(own_environment.cache_clear)
    own_environment.cache_clear()
    inline = engine_named(INLINE).reference
    for name, value in engines.worker_variables(inline).items():
        monkeypatch.setenv(name, value)
    assert own_environment() == {"engine": "inline"}


# the config chooses it


def sweep_yaml(text: Path, engine: str) -> str:
    return CONFIG.format(text=text, more=f"engine: {engine}" if engine else "")


@pytest.mark.parametrize("spelled", ["", "local", "{name: local}"])
def test_the_local_engine_is_the_default_and_is_absent_from_the_config(text, spelled):
    config = config_of(sweep_yaml(text, spelled))
    assert config.choice("engine").reference == Reference(name="local")
    assert "engine" not in config_yaml(config)


def test_an_own_engine_with_settings_plans_and_runs_and_is_not_part_of_the_identity(
    text, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(Path(INLINE).read_text())
    Path("s.yaml").write_text(sweep_yaml(text, "{name: mine.py, cores: 3}"))
    Path("plain.yaml").write_text(sweep_yaml(text, ""))
    said: list[str] = []
    folder, plan, outcome = run_sweep(Request(config="s.yaml", out="out"), said.append)
    assert (outcome.exit_code, plan.slots, plan.device_name) == (0, 3, "an inline CPU")
    assert len(outcome.done) == len(plan.runs)
    assert "engine: {name: mine.py, cores: 3}" in folder.config.read_text()
    Path("mine.py").unlink()  # the sweep's folder has a copy
    _, again = plan_only(resumed(Request(config="out")), said.append)
    assert (again.slots, again.device_name) == (3, "an inline CPU")
    # on another engine it is still the same sweep
    plain = load_config("plain.yaml", device_kind="cpu")
    assert begun_plan(plain, cpu_profile(), folder, pytest.fail) is not None
    device_profile.save_profile(cpu_profile(torch_version=version("torch")), "cpu")
    _, local = plan_only(Request(config="plain.yaml", device="cpu"), said.append)
    assert [run.run_id for run in local.runs] == [run.run_id for run in plan.runs]


def test_the_flag_chooses_an_engine_and_keeps_the_settings_of_the_configs_own(
    text, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(Path(INLINE).read_text())
    Path("s.yaml").write_text(sweep_yaml(text, "{name: mine.py, cores: 3}"))
    Path("plain.yaml").write_text(sweep_yaml(text, ""))
    for config, slots in (("s.yaml", 3), ("plain.yaml", 2)):
        assert main(["plan", config, "--engine", "mine.py", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["slots"] == slots


def test_settings_of_an_engine_may_stand_beside_the_flag_that_names_it(text, tmp_path):
    plain, ray = tmp_path / "plain.yaml", tmp_path / "ray.yaml"
    plain.write_text(sweep_yaml(text, ""))
    ray.write_text(sweep_yaml(text, "{name: ray, start: true}"))

    def chosen(path: Path, *overrides: str, engine: str = "slurm") -> Any:
        return config_of_request(
            Request(config=str(path), overrides=overrides, engine=engine), "cpu"
        ).choice("engine")

    for name in ((), ("engine.name=slurm",), ("engine=slurm", "engine={name: slurm}")):
        assert chosen(plain, *name, "engine.partition=long").settings.partition == "long"
    assert chosen(ray, "limits.slots=1").settings.partition == ""
    with pytest.raises(ConfigError, match=r"engine\.start: unknown key"):
        chosen(ray, "engine.partition=long")


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("locla", "engine: no engine is named 'locla' (did you mean local?); expected one of"),
        ("{name: local, partition: gpu}", "engine.partition: unknown key"),
        (
            "{name: slurm, partitoin: gpu}",
            "engine.partitoin: unknown key (did you mean partition?)",
        ),
        ("{name: ray, adress: x}", "engine.adress: unknown key (did you mean address?)"),
        ("{name: ray, address: 'ray://x'}", "engine: address: 'ray://x': expected host and port"),
        ("{name: slurm, time: soon}", "engine.time: expected a duration such as 2h"),
        ("{name: slurm, sbatch: [--array=3]}", "engine: sbatch: --array is set by slaw itself"),
        ("{name: INLINE, cores: none}", "engine.cores: expected a whole number, found 'none'"),
        ("{name: INLINE, cors: 2}", "engine.cors: unknown key (did you mean cores?)"),
        ("{partition: gpu}", "engine.name: missing"),
        ("{name: 3}", "engine.name: expected the name of a part, found 3"),
        ("3", "engine: expected a name, or a mapping with name and settings, found 3"),
        ("none.py", "engine: no file 'none.py' for the engine; looked in"),
    ],
)
def test_an_unknown_engine_or_setting_is_one_line(text, tmp_path, engine, said):
    path = tmp_path / "s.yaml"
    path.write_text(sweep_yaml(text, engine.replace("INLINE", INLINE)))
    with pytest.raises(ConfigError) as error:
        load_config(path, device_kind="cpu")
    (line,) = error.value.lines
    assert line.startswith(f"{path}:12: {said}")


def test_a_flag_that_names_no_engine_is_one_line(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(sweep_yaml(text, ""))
    assert main(["run", "s.yaml", "--engine", "lcal"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("slaw: no engine is named 'lcal' (did you mean local?)")
    assert err.count("\n") == 1 and not Path("results").exists()
