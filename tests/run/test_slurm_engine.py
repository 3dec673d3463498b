"""The SLURM engine against commands in memory: what it submits, and how it reads the answers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version

import pytest

from scaling_law.errors import ConfigError, DeviceError, EngineError, PlanError
from scaling_law.files import checksum, layout
from scaling_law.files.lease import Leases
from scaling_law.plan.device_profile import load_profile, save_profile
from scaling_law.plan.make import make_plan
from scaling_law.plan.steps import JointShape, JointStep
from scaling_law.run import engines
from scaling_law.run.engines import Workplace, _slurm_executor, _slurm_nodes
from scaling_law.run.engines import _slurm_client as client
from scaling_law.run.engines import _slurm_worker as worker
from scaling_law.run.engines import slurm as slurm_part
from scaling_law.run.engines._slurm_client import JobState
from scaling_law.run.engines._slurm_executor import SlurmExecutor
from scaling_law.run.engines._slurm_files import Files, Voice
from scaling_law.run.engines._slurm_scripts import SETUP_FAILED, packed
from scaling_law.run.engines.slurm import Settings
from scaling_law.run.runner import Runner
from scaling_law.run.sweep_state.reader import SweepReader
from scaling_law.run.sweep_state.text import format_status
from scaling_law.spec.parallel import Parallel
from scaling_law.spec.to_json import to_json
from tests.fakes import ONE_SIZE, config_of, cpu_profile, tiny_model
from tests.faults.world import begin_sweep, results
from tests.run.fake_slurm import FakeSlurm, install

FAST = Settings(concurrent=2, poll=0.1)


@pytest.fixture
def slurm(monkeypatch, sweep):
    return install(monkeypatch, FakeSlurm(files=Files(sweep.dir)))


def executor_of(sweep, settings: Settings = FAST, slots: int = 2) -> SlurmExecutor:
    return SlurmExecutor(settings, Workplace(sweep=sweep.dir, slots=slots, variables={"A": "b c"}))


def hand_out(sweep) -> None:
    """Write the runs' folders as the runner leaves them to a worker."""
    for run in sweep.plan.runs:
        run_dir = sweep.dir.run(run.run_id)
        layout.write_json(run_dir.spec, to_json(run.spec))
        layout.write_json(run_dir.resources, to_json(run.resources))


def run_on(sweep, settings: Settings = FAST):
    runner = Runner(sweep.plan, sweep.dir, executor_of(sweep, settings))
    return runner.run()


def test_a_sweep_is_trained_in_arrays_with_the_bits_of_any_engine(sweep, slurm, text, tmp_path):
    slurm.work = slurm.train
    where = Settings(
        concurrent=2, poll=0.1, partition="work", account="me", qos="low", gpus=1, time=3600.0,
        sbatch=("#SBATCH --constraint=fast", "--mem 8G"), setup="module load x",
    )  # fmt: skip
    assert run_on(sweep, where).exit_code == 0
    other = begin_sweep(tmp_path / "inline", text)
    other.run()
    assert results(sweep.dir) == results(other.dir)
    assert slurm.option("--array") == ["0-0%1", "0-1%2"], "the branches share an array"
    first = next(words for words in slurm.calls if words[0] == "sbatch")
    assert set(first) > {
        "--partition=work", "--account=me", "--qos=low", "--gres=gpu:1", "--constraint=fast",
        "--mem", "8G", "--time=16", "--signal=B:USR1@120", "--requeue", "--export=ALL",
    }  # fmt: skip
    script = slurm.jobs["1_0"].script
    assert script.index("module load x") < script.index("export A='b c'") < script.rindex("exec ")
    assert not Files(sweep.dir).names()


def test_many_small_runs_share_a_job_and_none_waits_for_a_free_one():
    tasks = [(str(number), 1.0) for number in range(10)]
    assert [len(job) for job in packed(tasks, 4, 600.0)] == [3, 3, 2, 2]
    assert len(packed(tasks, 2, 2.5)) == 4, "as long as asked for"
    assert packed([("a", 900.0), ("b", 1.0), ("c", 1.0)], 1, 600.0) == [["a"], ["b", "c"]]
    assert packed(tasks[:2], 16, 600.0) == [["0"], ["1"]]


def test_no_more_jobs_are_submitted_than_may_run_at_once(sweep, slurm):
    executor = executor_of(sweep, slots=1)
    first, second = (executor.submit([run]) for run in sweep.plan.runs[:2])
    executor.state(first)
    assert slurm.option("--array") == ["0-0%1"], "both share a job"
    third = executor.submit([sweep.plan.runs[2]])
    executor.state(third)
    assert slurm.count("sbatch") == 1
    slurm.work = slurm.train
    while "running" in {executor.state(one) for one in (first, second, third)}:
        pass
    assert slurm.count("sbatch") == 2 and slurm.count("squeue") <= 6
    executor.close()


@pytest.mark.parametrize(
    ("state", "said", "expected", "words"),
    [
        ("FAILED", None, "ended", "job 1_0 on fake1 ended (failed): Illegal instruction"),
        ("OUT_OF_MEMORY", None, "ended", "ran out of memory; ask for more, as in engine.sbatch"),
        ("FAILED", 10, "stopped", "job 1_0 on fake1 stopped after a checkpoint"),
        ("TIMEOUT", None, "stopped", "reached its time limit"),
        ("NODE_FAIL", None, "stopped", "lost its node"),
        ("PREEMPTED", 15, "stopped", "was preempted"),
        ("CANCELLED", 15, "cancelled", "was cancelled in the queue"),
    ],
)
def test_how_a_job_ended_is_what_the_runner_hears(sweep, slurm, state, said, expected, words):
    def work(job, one):
        slurm.die(job, one)
        if said is not None:
            Voice(slurm.files.said(one.name, one.element)).say("stopped", signal=said)
        return state

    slurm.work = work
    executor = executor_of(sweep, slots=1)
    first, behind = (executor.submit([run]) for run in sweep.plan.runs[:2])
    while executor.state(first) == "running":
        pass
    assert first.state == expected and words in executor.last_words(first)
    # the run that was in the line behind is submitted again, unless a person cancelled its job
    assert behind.state == ("cancelled" if expected == "cancelled" else "running")
    slurm.work = slurm.train
    executor.close()


def test_a_worker_that_dies_each_time_is_submitted_three_times(sweep, slurm):
    slurm.work = slurm.die
    outcome = run_on(sweep)
    assert outcome.exit_code == 3 and slurm.count("sbatch") == 3
    (reason,) = outcome.failed.values()
    assert "its worker died three times; it wrote last: job 3_0 on fake1 ended (failed)" in reason
    assert str(Files(sweep.dir).folder) in reason
    assert "its trunk did not reach" in next(iter(outcome.blocked.values()))


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        ("echo no such module >&2; exit 3", "with exit code 3: no such module; mend"),
        ("false", "with exit code 127: "),
    ],
)
def test_a_setup_that_fails_is_one_line_and_is_not_tried_again(
    sweep, slurm, setup, said, monkeypatch
):
    slurm.processes = True
    # the worker is called by its name, as a setup that activates an environment has it
    monkeypatch.setattr(_slurm_executor, "WORKER", ("no-such-python", "-m", "worker"))
    settings = dataclasses.replace(FAST, setup=setup)
    with pytest.raises(EngineError) as error:
        run_on(sweep, settings)
    (line,) = error.value.lines
    assert line.startswith("engine slurm: job 1_0 on fake1 trained nothing, and others would fail")
    assert said in line
    assert "mend engine.setup; its log is" in line and error.value.exit_code == 5
    assert slurm.count("sbatch") == 1


def test_a_setup_whose_last_line_fails_is_no_trouble_where_the_worker_begins(sweep, slurm):
    def work(job, one):
        state = slurm.train(job, one)
        log = slurm.files.log(one.name, one.element)
        log.write_text(f"{SETUP_FAILED} 1\n")
        return state

    slurm.work = work
    assert run_on(sweep).exit_code == 0


def test_a_run_that_gets_no_further_within_its_time_limit_fails(sweep, slurm):
    def work(job, one):
        slurm.die(job, one)
        return "TIMEOUT"

    slurm.work = work
    outcome = run_on(sweep)
    (reason,) = outcome.failed.values()
    assert slurm.count("sbatch") == 3 and "all ended with a checkpoint of step 0" in reason


def test_nodes_that_do_not_see_the_folder_are_one_line(sweep, slurm):
    slurm.work = lambda job, one: "FAILED"
    with pytest.raises(EngineError) as error:
        run_on(sweep)
    (line,) = error.value.lines
    assert line.startswith(f"{sweep.dir.path}: job 1_0 ran on node fake1 and left no file here")
    assert error.value.exit_code == 5


def test_a_node_where_no_worker_begins_is_left_out_and_ends_no_sweep(sweep, slurm, monkeypatch):
    def work(job, one):
        if one.element == 1 and "--exclude=bad" not in one.words:
            one.node = "bad"
            return "FAILED"
        return slurm.train(job, one)

    slurm.work = work
    said: list[str] = []
    executor = executor_of(sweep)
    news = executor.news

    def heard() -> list[str]:
        lines = news()
        said.extend(lines)
        return lines

    monkeypatch.setattr(executor, "news", heard)
    assert Runner(sweep.plan, sweep.dir, executor).run().exit_code == 0
    assert slurm.option("--exclude") == ["bad"]
    assert "job 2_1 ended on bad before its worker began; no further job goes there" in said


def test_an_array_whose_submission_was_not_answered_is_not_submitted_twice(sweep, slurm):
    slurm.lost_answer, slurm.work = True, slurm.train
    assert run_on(sweep).exit_code == 0
    assert slurm.count("sbatch") == 2, "one for the trunk, one for the branches"


def test_a_controller_that_is_away_is_waited_out(sweep, slurm):
    hand_out(sweep)
    executor = executor_of(sweep)
    slurm.away = True
    handle = executor.submit([sweep.plan.runs[0]])
    assert executor.state(handle) == executor.state(handle) == "running"
    assert sum("does not answer" in line for line in executor.news()) == 1
    slurm.away, slurm.work = False, slurm.train
    while executor.state(handle) == "running":
        pass
    assert sweep.trunk.record.is_file() and slurm.count("sbatch") == 1
    assert any("answers again" in line for line in executor.news())


def test_a_site_that_takes_no_more_jobs_is_an_error_only_where_none_is_in_the_queue(sweep, slurm):
    slurm.full = True
    executor = executor_of(sweep)
    with pytest.raises(EngineError, match="takes no more jobs of yours"):
        executor.state(executor.submit([sweep.plan.runs[0]]))


def test_an_array_that_is_too_large_for_the_site_is_submitted_in_parts(sweep, slurm):
    slurm.most, slurm.work = 1, slurm.train
    assert run_on(sweep).exit_code == 0
    assert slurm.option("--array") == ["0-0%1", "0-1%2", "0-0%1", "0-0%1"]


def test_a_site_that_takes_no_more_jobs_for_a_while_is_waited_out(sweep, slurm):
    hand_out(sweep)
    slurm.work = slurm.train
    executor = executor_of(sweep)
    first = executor.submit([sweep.plan.runs[0]])
    while executor.state(first) == "running":
        pass
    slurm.full = True
    second = executor.submit([sweep.plan.runs[1]])
    assert executor.state(second) == executor.state(second) == "running"
    (line,) = executor.news()
    assert "takes no more jobs of yours now (sbatch: Job violates policy" in line
    slurm.full = False
    while executor.state(second) == "running":
        pass
    assert sweep.dir.run(sweep.plan.runs[1].run_id).record.is_file()
    executor.close()


@pytest.mark.parametrize("widens", [True, False])
def test_jobs_in_line_get_the_room_that_others_leave(sweep, slurm, widens):
    slurm.widens = widens
    executor = executor_of(sweep, Settings(concurrent=2, poll=0.1, pack=1e-6))
    first = executor.submit([sweep.plan.runs[0]])
    executor.state(first)
    others = [executor.submit([run]) for run in sweep.plan.runs[1:3]]
    executor.state(first)
    assert slurm.option("--array") == ["0-0%1", "0-1%1"], "one of the two has room"
    slurm.jobs["1_0"].state = "CANCELLED"
    deadline = time.monotonic() + 30
    while executor.state(first) == "running" and time.monotonic() < deadline:
        pass
    executor.state(others[0])
    calls = [words for words in slurm.calls if words[0] == "scontrol"]
    assert calls == [("scontrol", "update", "JobId=2", "ArrayTaskThrottle=2")], "asked once"
    assert any("array 2 stays at 1 at once" in line for line in executor.news()) is not widens
    executor.close()


def test_what_sbatch_refuses_is_one_line_and_leaves_no_file(sweep, slurm):
    slurm.sinfo += "closed|infinite|2|4 cores\n"
    with pytest.raises(EngineError, match="not permitted"):
        run_on(sweep, Settings(partition="closed"))
    assert not list(Files(sweep.dir).folder.iterdir())


def test_jobs_that_were_left_are_adopted(sweep, slurm):
    hand_out(sweep)
    first = executor_of(sweep)
    first.state(first.submit([sweep.plan.runs[0]]))
    first.leave()
    second = executor_of(sweep)
    handle = second.submit([sweep.plan.runs[0]])
    assert second.state(handle) == "running" and slurm.count("sbatch") == 1
    assert second.news() == ["1 job of an earlier `slaw run` is in the queue; adopted"]
    slurm.work = slurm.train
    while second.state(handle) == "running":
        pass
    assert sweep.trunk.record.is_file() and slurm.count("sbatch") == 1
    second.close()


def test_a_job_that_has_begun_its_run_is_adopted_by_the_next_watcher(sweep, slurm):
    hand_out(sweep)
    first = executor_of(sweep)
    first.state(first.submit([sweep.plan.runs[0]]))
    first.leave()
    with Leases() as leases:
        lease = leases.take(sweep.trunk.lease)  # as its worker has it

        def work(job, one):
            slurm.work = slurm.train
            leases.drop(lease)
            return slurm.train(job, one)

        slurm.work = work
        assert run_on(sweep).exit_code == 0
    assert slurm.option("--array") == ["0-0%1", "0-1%2"], "the trunk was submitted once"


def test_jobs_that_are_about_to_be_submitted_are_adopted_once_they_are(sweep, slurm, monkeypatch):
    monkeypatch.setattr("scaling_law.run.engines._slurm_executor._SCAN_SECONDS", 0.0)
    hand_out(sweep)
    first, second = executor_of(sweep), executor_of(sweep)
    first.state(first.submit([sweep.plan.runs[0]]))
    files = Files(sweep.dir)
    (name,) = files.names()
    batch = files.read(name)
    assert batch is not None
    files.write(dataclasses.replace(batch, job=""))  # as before sbatch answers
    known, slurm.jobs = slurm.jobs, {}
    handle = second.submit([sweep.plan.runs[0]])
    second._adopt()
    slurm.jobs = known
    second._adopt()
    assert second.state(handle) == "running" and slurm.count("sbatch") == 1
    assert "adopted" in second.news()[0]


def test_jobs_that_cannot_be_ended_are_named(sweep, slurm, monkeypatch):
    executor = executor_of(sweep)
    executor.state(executor.submit([sweep.plan.runs[0]]))
    slurm.away = True
    monkeypatch.setattr("scaling_law.run.engines._slurm_executor._CLOSE_SECONDS", 0.0)
    with pytest.raises(EngineError, match="may go on; slaw cancel"):
        executor.close()


def test_a_sweep_that_is_stopped_while_its_jobs_wait_ends_at_once(sweep, slurm):
    executor = executor_of(sweep)
    handles = [executor.submit([run]) for run in sweep.plan.runs[:2]]
    executor.state(handles[0])
    assert slurm.option("--array") == ["0-1%2"]
    for handle in handles:
        executor.cancel(handle)
    deadline = time.monotonic() + 600
    while "running" in {executor.state(handle) for handle in handles}:
        assert time.monotonic() < deadline
    assert {handle.state for handle in handles} == {"ended"}
    assert "was cancelled in the queue" in executor.last_words(handles[0])
    executor.close()


def test_a_worker_thought_dead_is_fenced_by_its_lease(sweep, slurm):
    executor = executor_of(sweep)
    handle = executor.submit([sweep.plan.runs[0]])
    executor.state(handle)
    with Leases() as leases:
        leases.take(sweep.trunk.lease)
        slurm.work = slurm.train
        while executor.state(handle) == "running":
            pass
    assert executor.state(handle) == "elsewhere" and not sweep.trunk.record.exists()


def test_a_worker_waits_until_a_lease_from_a_dead_node_is_stale(sweep, monkeypatch):
    monkeypatch.setenv("SLAW_STALE_SECONDS", "0.1")
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.01)
    other = (
        "from pathlib import Path; from scaling_law.files import lease, process; import sys, os;"
        "process.socket.gethostname = lambda: 'another'; process._machine.cache_clear();"
        "leases = lease.Leases(); leases.take(Path(sys.argv[1])); os._exit(0)"
    )
    command = [sys.executable, "-c", other, str(sweep.trunk.lease)]
    sweep.trunk.path.mkdir(parents=True)
    subprocess.run(command, check=True)
    assert sweep.trunk.lease.exists()
    worker.wait_for_the_dead([sweep.trunk], lambda: False)
    assert not sweep.trunk.lease.exists()


def test_status_shows_the_queue(sweep, slurm):
    executor = executor_of(sweep)
    executor.state(executor.submit([sweep.plan.runs[0]]))
    snapshot = SweepReader(sweep.dir).read()
    assert snapshot.phase == "running" and snapshot.queue == (
        "SLURM: 0 jobs running, 1 pending (1 Priority)"
    )
    assert snapshot.runs[0].queued == "job 1_0 pending (Priority)"
    assert snapshot.queue in format_status(snapshot.to_json())
    slurm.away = True
    client._answers.clear()
    assert "does not answer now" in SweepReader(sweep.dir).read().queue


def test_status_names_the_log_of_the_last_job_that_watched(sweep, slurm):
    files = Files(sweep.dir)
    files.folder.mkdir(parents=True)
    checksum.write(files.controller, {"job": "7", "next": "", "deaths": 3, "handed_over": False})
    snapshot = SweepReader(sweep.dir).read()
    assert snapshot.phase == "idle" and snapshot.queue == (
        f"SLURM: no job watches this sweep any more, its log says why: {files.controller_log}"
    )
    assert snapshot.queue in format_status(snapshot.to_json())


def test_a_worker_without_a_sign_of_life_is_killed(sweep, slurm, monkeypatch):
    monkeypatch.setenv("SLAW_STALE_SECONDS", "0.2")

    def work(job, one):
        slurm.die(job, one)
        sweep.trunk.lease.parent.mkdir(parents=True)
        sweep.trunk.lease.write_text("{}")
        return "RUNNING"

    slurm.work = work
    executor = executor_of(sweep)
    handle = executor.submit([sweep.plan.runs[0]])
    deadline = time.monotonic() + 30
    while executor.state(handle) == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert executor.state(handle) == "hung"
    assert ("scancel", "--quiet", "--signal=KILL", "--full", "1_0") in slurm.calls


# where it runs


def measured_by(slurm: FakeSlurm, monkeypatch, tmp_path, *command: str) -> None:
    """Let a measurement's job run its script here, with ``command`` for the calibration."""
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir(exist_ok=True)
    monkeypatch.setattr(_slurm_nodes, "module_command", lambda *words: list(command))
    slurm.processes = True


def test_a_node_is_measured_once_by_a_job_and_cached_by_its_kind(slurm, monkeypatch, tmp_path):
    one = cpu_profile(slots=8, torch_version=version("torch"))
    (tmp_path / "answer").write_text(json.dumps(to_json(one)))
    measured_by(slurm, monkeypatch, tmp_path, "cat", str(tmp_path / "answer"))
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "512")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    slurm.sinfo += "big|infinite|2|64 cores, 9000 MB, (null), (null)\n"
    said: list[str] = []
    for settings in (Settings(), Settings(concurrent=3)):
        profile = _slurm_nodes.profile(settings, "auto", said.append)
    assert (profile.slots, profile.memory_bytes) == (3, 3 * 1024 * 2**20)
    assert said == ["measuring a node of partition work once, by job 1"]
    assert not list((tmp_path / "cache" / "slurm").iterdir())
    assert load_profile("auto") is None, "this host was not measured"
    _slurm_nodes.profile(Settings(partition="big"), "auto", said.append)
    assert slurm.count("sbatch") == 2

    def none_here(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", none_here)
    _slurm_nodes.profile(Settings(), "auto", said.append)
    assert slurm.count("sbatch") == 2, "a login node needs no torch once a node is measured"
    slurm.close()


TOGETHER = JointShape(
    model=tiny_model(), seqs=4, precision="fp32", recompute=False, device="cpu",
    parallel=Parallel(kind="ddp", devices=4),
)  # fmt: skip


def test_steps_of_several_devices_are_measured_once_where_they_will_train(
    slurm, monkeypatch, tmp_path
):
    step = JointStep(shape=TOGETHER, speedup=3.5)
    (tmp_path / "answer").write_text(json.dumps(to_json(step)) + "\n")
    measured_by(slurm, monkeypatch, tmp_path, "cat", str(tmp_path / "answer"))
    where, said = Settings(concurrent=3, nodes=2), list[str]()
    measure = slurm_part.ENGINE.measure_joint_steps
    assert measure is not None
    kind = _slurm_nodes.kind_of_node(where)
    save_profile(cpu_profile(slots=1, torch_version=version("torch")), "cpu", kind)
    for _ in range(2):
        known = _slurm_nodes.profile(where, "cpu", said.append)
        known = measure(where, "cpu", known, [TOGETHER], said.append)
        assert known.speedup_of == {TOGETHER: 3.5} and known.slots == 3
    assert slurm.count("sbatch") == 1 and len(said) == 2
    alone = _slurm_nodes.profile(Settings(concurrent=3), "cpu", said.append)
    assert not alone.joint_steps, "the devices of one node exchange nothing over the network"
    (words,) = [words for words in slurm.calls if words[0] == "sbatch"]
    assert {"--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2"} <= set(words)
    assert "export SLAW_ENGINE=slurm" in slurm.jobs["1"].script, "it starts groups as a worker does"
    assert not list((tmp_path / "cache" / "slurm").iterdir())
    slurm.close()


def test_steps_that_no_job_can_measure_leave_ideal_scaling(slurm, monkeypatch, tmp_path):
    measured_by(slurm, monkeypatch, tmp_path, "bash", "-c", "echo 'no second node' >&2; exit 5")
    known, said = cpu_profile(), list[str]()
    measure = slurm_part.ENGINE.measure_joint_steps
    assert measure is not None
    assert measure(Settings(), "cpu", known, [TOGETHER], said.append) == known
    assert said[-1] == "they could not be measured (no second node); the plan assumes ideal scaling"
    slurm.full = True
    assert measure(Settings(), "cpu", known, [TOGETHER], said.append) == known
    assert "takes no more jobs of yours now" in said[-1] and said[-1].endswith("ideal scaling")
    slurm.close()


@pytest.mark.parametrize(
    ("limit", "time", "minutes"),
    [("infinite", None, "15"), ("0:10:00", None, "10"), ("1:00:00", 300.0, "5")],
)
def test_a_measurement_asks_for_no_more_than_a_job_may_have(
    slurm, monkeypatch, tmp_path, limit, time, minutes
):
    measured_by(slurm, monkeypatch, tmp_path, "bash", "-c", "echo stop >&2; exit 1")
    slurm.sinfo = f"work*|{limit}|2|4 cores\n"
    with pytest.raises(EngineError, match="stop"):
        _slurm_nodes.profile(Settings(time=time), "cpu", lambda line: None)
    assert slurm.option("--time") == [minutes]
    slurm.close()


@pytest.mark.parametrize(
    ("command", "error", "said"),
    [
        (
            ("bash", "-c", "echo 'no CUDA here' >&2; exit 2"),
            DeviceError,
            "on the nodes of partition",
        ),
        (("bash", "-c", "echo 'no torch' >&2; exit 1"), EngineError, "failed: no torch"),
    ],
)
def test_a_measurement_that_fails_is_one_line(slurm, monkeypatch, tmp_path, command, error, said):
    measured_by(slurm, monkeypatch, tmp_path, *command)
    with pytest.raises(error, match=said):
        _slurm_nodes.profile(Settings(), "cuda", lambda line: None)
    slurm.close()


def test_a_cache_that_the_nodes_do_not_see_is_one_line(slurm, monkeypatch, tmp_path):
    measured_by(slurm, monkeypatch, tmp_path, "true")
    slurm.processes, slurm.work = False, lambda job, one: "FAILED"
    with pytest.raises(EngineError, match=r"job 1 ran on node fake1 and left no file here.*SLAW_C"):
        _slurm_nodes.profile(Settings(), "auto", lambda line: None)


def test_a_partition_that_does_not_exist_is_named_with_those_that_do(slurm):
    with pytest.raises(ConfigError) as error:
        _slurm_nodes.profile(Settings(partition="wrok"), "auto", lambda line: None)
    assert error.value.lines == (
        "engine.partition: 'wrok': no such partition (did you mean work?); there are work",
    )


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (Settings(controller="wrok"), "engine.controller: 'wrok': no such partition (did you mean"),
        (Settings(partition="work,wrok"), "engine.partition: 'wrok': no such partition (did you"),
        (Settings(nodes=5), "engine.nodes: 5, and partition work has 2 nodes; ask for at most 2"),
    ],
)
def test_a_place_where_a_job_would_wait_for_ever_is_refused(slurm, where, said):
    with pytest.raises(ConfigError) as error:
        _slurm_nodes.profile(where, "auto", lambda line: None)
    (line,) = error.value.lines
    assert line.startswith(said) and not slurm.count("sbatch")


@pytest.mark.parametrize(
    ("nodes", "cores", "gpus"),
    [
        ("4 cores, 2000 MB, (null), (null)", 4, None),
        ("64 cores, 9000 MB, a,b, gpu:a100:4(S:0-1),gpu:2", 64, 6),
        ("4+ cores, 2000+ MB, (null), (null)", None, None),
    ],
)
def test_a_partition_says_how_many_devices_its_largest_node_has(slurm, nodes, cores, gpus):
    slurm.sinfo = f"work*|infinite|2|2 cores, 1 MB, (null), gpu:1\nwork*|infinite|2|{nodes}\n"
    (partition,) = client.partitions()
    assert partition.devices(are_gpus=False) == cores
    assert partition.devices(are_gpus=True) == (gpus or 1)


def test_more_devices_than_the_largest_job_may_have_are_refused_in_one_line(slurm, monkeypatch):
    one = cpu_profile(slots=1, torch_version=version("torch"))
    monkeypatch.setattr(_slurm_nodes, "load_profile", lambda device, kind: one)
    config = "engine={name: slurm, nodes: 2}"
    for devices, said in ((8, ""), (10, "devices: 10, and 8 cores may be used by one job")):
        both = config_of(
            ONE_SIZE, config, f"parallel={{kind: ddp, devices: {devices}}}",
            f"optim.batch_tokens={64 * devices}",
        )  # fmt: skip
        profile = engines.profile(both.choice("engine"), "cpu", lambda line: None)
        with pytest.raises(PlanError, match=said) if said else contextlib.nullcontext():
            make_plan(both, profile, train_tokens=None)
    slurm.sinfo += "other|infinite|2|64 cores, 9000 MB, (null), (null)\n"
    _slurm_nodes._partitions.cache_clear()
    several = _slurm_nodes.profile(Settings(partition="work,other"), "cpu", lambda line: None)
    assert several.devices is None, "the others may have larger nodes"


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        ("infinite", None),
        ("1-00:00:00", 86400),
        ("2:30:00", 9000),
        ("30:00", 1800),
        ("1-12", 129600),
    ],
)
def test_slurm_s_times_are_read(limit, seconds, monkeypatch):
    monkeypatch.setattr(client, "ask", lambda *words: f"p|{limit}|2|4 cores\n")
    assert [one.most_seconds for one in client.partitions()] == [seconds]


def test_without_slurm_s_commands_one_line_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError) as error:
        engines.profile(engines.engine_named("slurm"), "auto", lambda line: None)
    assert error.value.exit_code == 5
    assert "no command sbatch here" in str(error.value) and "slurm-client" in str(error.value)


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("squeue: error: Unable to contact slurm controller (connect failure)", client.Away),
        ("slurm_load_jobs error: Socket timed out on send/recv operation", client.Away),
        ("sbatch: error: AssocMaxSubmitJobLimit", client.Full),
        ("sbatch: error: unknown option\nTry sbatch --help", EngineError),
        ("sbatch: error: Batch job submission failed: Invalid account", EngineError),
    ],
)
def test_what_the_commands_complain_of(stderr, kind, tmp_path, monkeypatch):
    command = tmp_path / "sbatch"
    command.write_text(f"#!/bin/sh\necho '{stderr}' >&2; exit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(kind) as raised:
        client.ask("sbatch", "--parsable")
    assert stderr.partition("\n")[0].rpartition("error: ")[2] in str(raised.value)
    monkeypatch.setenv("SQUEUE_PARTITION", "gpu")
    command.write_text('#!/bin/sh\necho "job ${SLURM_JOB_ID-none} ${SQUEUE_PARTITION-none}"\n')
    assert client.ask("sbatch") == "job none none\n", "neither the job that this runs in"


def test_ctrl_c_does_not_reach_the_commands(tmp_path, monkeypatch):
    command = tmp_path / "sbatch"
    command.write_text("#!/bin/sh\nps -o pgid= -p $$\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert int(client.ask("sbatch")) != os.getpgrp()


def test_a_script_has_the_bytes_of_a_path_that_is_no_utf_8(tmp_path, monkeypatch):
    command = tmp_path / "sbatch"
    command.write_text(f"#!/bin/sh\ncat > '{tmp_path}/script'; echo a word of the site; echo 7\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert client.submit(os.fsdecode(b"cd \xff"), ()) == "7"
    assert (tmp_path / "script").read_bytes() == b"cd \xff"


def test_a_queue_that_answered_and_then_fails_is_waited_out(monkeypatch):
    def refuse(*words):
        raise EngineError("engine slurm: squeue refuses: authentication")

    monkeypatch.setattr(client, "_answers", [])
    monkeypatch.setattr(client, "ask", refuse)
    with pytest.raises(EngineError, match="authentication"):
        client.jobs()
    client._answers[:] = [(0.0, {})]
    with pytest.raises(client.Away, match="authentication"):
        client.jobs()


def test_the_state_of_a_job_in_words():
    pending = JobState(name="x", state="PENDING", reason="Priority", node="")
    running = JobState(name="x", state="RUNNING", reason="", node="n1")
    assert (pending.words, running.words) == ("pending (Priority)", "running on n1")


@pytest.mark.parametrize(
    "line", ["--array=1", "--arr 1", "-p gpu", "-t5", "-M other", "#SBATCH --gres=gpu:1"]
)
def test_options_that_the_engine_sets_are_refused(line):
    with pytest.raises(ValueError, match="is set by slaw itself"):
        Settings(sbatch=(line,))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train.sh", "sbatch: 'train.sh': expected an option, such as --mem=8G"),
        ("", "expected an option"),
        ("--comment='x", 'sbatch: "--comment=\'x": No closing quotation'),
    ],
)
def test_what_is_no_option_is_refused_before_sbatch_takes_it_for_the_script(line, said):
    with pytest.raises(ValueError, match=said):
        Settings(sbatch=(line,))


def test_a_job_asks_for_the_devices_of_its_runs(monkeypatch):
    where = Settings(gpus=1, nodes=2, partition="work")
    assert where.place_of(1, on_gpus=True) == ("--partition=work", "--gres=gpu:1")
    words = ("--partition=work", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=4")
    assert where.place_of(8, on_gpus=False) == words
    assert where.place_of(8, on_gpus=True) == (*words, "--gres=gpu:4")
    for name in ("SLURM_JOB_NUM_NODES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert slurm_part.spans(8)[-2:] == ["--standalone", "--nproc-per-node=8"]
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    spread = slurm_part.spans(8)
    assert spread[:4] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    assert {"--nnodes=2", "--nproc-per-node=4", "--rdzv-backend=c10d"} <= set(spread)


def test_runs_of_other_devices_are_in_another_array(sweep, slurm):
    wide = [
        dataclasses.replace(
            run,
            resources=dataclasses.replace(
                run.resources, resume_on=Parallel(kind="ddp", devices=2 if number else 1)
            ),
        )
        for number, run in enumerate(sweep.plan.runs)
    ]
    executor = executor_of(sweep)
    waiting = [executor.submit([run]) for run in wide]
    for one in waiting:
        executor.state(one)
    assert slurm.option("--cpus-per-task") == ["2"]
    assert slurm.count("sbatch") == 2
    executor.close()
