"""Sweeps that no session watches: ``slaw run --detach``, its jobs, and ``slaw cancel``."""

from __future__ import annotations

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_OK, EXIT_PREEMPTED, ConfigError, EngineError, Preempted
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.run import detached, engines
from scaling_law.run.engines import _slurm_client as client
from scaling_law.run.engines._slurm_controller import controlling, detach
from scaling_law.run.engines._slurm_files import Files
from scaling_law.run.engines.slurm import Settings
from scaling_law.run.request import Request
from tests.fakes import cpu_profile
from tests.faults.world import CONFIG, begin_sweep, write_text
from tests.inline_engine import InlineExecutor
from tests.run.fake_slurm import FakeSlurm, install

COMMAND = ["run", "s.yaml", "--detached"]


@pytest.fixture
def slurm(monkeypatch):
    return install(monkeypatch, FakeSlurm())


def in_job(monkeypatch, slurm: FakeSlurm, job: str) -> None:
    """Let this process run in a job, as its successor's dependency says."""
    monkeypatch.setenv("SLURM_JOB_ID", job)
    for number, one in slurm.jobs.items():
        one.state = "RUNNING" if number == job else one.state


def test_a_cancelled_sweep_stops_after_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    sweep = begin_sweep(tmp_path / "sweep", write_text(tmp_path / "text"))
    monkeypatch.setattr("scaling_law.run.runner._CANCEL_LOOK_SECONDS", 0.0)

    def cancel(run_dir):
        layout.write_json(sweep.dir.cancelled, {"time": 0})

    outcome = sweep.run(InlineExecutor(sweep.dir, before=cancel))
    assert outcome.exit_code == EXIT_PREEMPTED and len(outcome.done) == 1


def test_cancelling_what_nobody_works_on_says_so(tmp_path):
    said: list[str] = []
    assert detached.cancel(SweepDir(tmp_path), said.append) == EXIT_OK
    assert said == [f"{tmp_path}: nothing works on it"] and not any(tmp_path.iterdir())


def test_a_queue_that_cannot_be_asked_is_not_taken_for_an_empty_one(tmp_path, monkeypatch, slurm):
    sweep, said = SweepDir(tmp_path), list[str]()
    detach(Settings(), sweep, COMMAND, said.append)
    slurm.away, asked = True, []
    client._answers.clear()

    def answer_again(seconds):
        asked.append(seconds)
        slurm.away = False

    monkeypatch.setattr("scaling_law.run.engines._slurm_queue.time.sleep", answer_again)
    assert detached.cancel(sweep, said.append) == EXIT_OK
    assert asked and slurm.jobs["1"].state == "CANCELLED" and not sweep.cancelled.exists()
    detach(Settings(), sweep, COMMAND, said.append)

    def refuse(*words, **given):
        raise EngineError("engine slurm: squeue cannot be run")

    monkeypatch.setattr(client, "_answers", [])
    monkeypatch.setattr(client, "ask", refuse)
    with pytest.raises(EngineError, match="squeue cannot be run"):
        detached.cancel(sweep, said.append)


def test_an_engine_without_a_queue_cannot_detach(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--mode", "quick", "--detach"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "engine local has no queue" in error


def test_the_watcher_of_a_sweep_is_succeeded_until_the_sweep_has_ended(
    tmp_path, monkeypatch, slurm
):
    files, said = Files(SweepDir(tmp_path)), list[str]()
    settings = Settings(partition="work", gpus=1)
    detach(settings, files.sweep, COMMAND, said.append)
    detach(settings, files.sweep, COMMAND, said.append)
    assert [line.split(":")[0] for line in said] == ["detached", "already detached"]
    assert "--gres=gpu:1" not in slurm.calls[-2], "it needs no GPU"
    assert slurm.jobs["1"].script.rstrip().endswith("-m scaling_law.cli run s.yaml --detached")
    assert engines.queues(files.sweep)[0].text.endswith(
        "detached: job 1 watches (pending (Priority))"
    )
    in_job(monkeypatch, slurm, "1")
    with controlling(settings, files.sweep, COMMAND, said.append) as hand_over:
        assert slurm.option("--dependency") == ["afterany:1"]
        hand_over()
    in_job(monkeypatch, slurm, "2")
    with controlling(settings, files.sweep, COMMAND, said.append):
        assert slurm.option("--dependency") == ["afterany:1", "afterany:2"]
    assert slurm.jobs["3"].state == "CANCELLED" and not files.controller.exists()


def test_watchers_that_are_killed_again_and_again_have_no_further_successor(
    tmp_path, monkeypatch, slurm
):
    files, said = Files(SweepDir(tmp_path)), list[str]()
    detach(Settings(), files.sweep, COMMAND, said.append)
    killed = []  # within the block: its end never comes
    for job in range(1, 5):
        in_job(monkeypatch, slurm, str(job))
        killed.append(controlling(Settings(), files.sweep, COMMAND, said.append))
        killed[-1].__enter__()
    assert slurm.count("sbatch") == 4
    assert said[-1] == (
        "the job that watched this sweep before failed or was killed (3 in a row); this is the last"
    )
    assert checksum.read(files.controller, "")["next"] == ""


@pytest.mark.parametrize(
    ("problem", "goes_on"),
    [(EngineError("x"), True), (OSError("stale"), True), (ConfigError("x"), False)],
)
def test_a_watcher_that_the_cluster_fails_is_succeeded(
    tmp_path, monkeypatch, slurm, problem, goes_on
):
    files, said = Files(SweepDir(tmp_path)), list[str]()
    detach(Settings(), files.sweep, COMMAND, said.append)
    in_job(monkeypatch, slurm, "1")
    watch = controlling(Settings(), files.sweep, COMMAND, said.append)
    with pytest.raises(type(problem)), watch:
        raise problem
    assert slurm.jobs["2"].state == ("PENDING" if goes_on else "CANCELLED")
    assert files.controller.exists() is goes_on
    in_job(monkeypatch, slurm, "2")
    controlling(Settings(), files.sweep, COMMAND, said.append).__enter__()
    assert any("failed or was killed (1 in a row)" in line for line in said) is goes_on


def test_a_sweep_whose_job_still_waits_is_shown_and_cancelled(tmp_path, monkeypatch, slurm, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(engines, "profile", lambda engine, device, say: cpu_profile(slots=4))
    text = write_text(tmp_path / "text")
    (tmp_path / "s.yaml").write_text(CONFIG.format(text=text, more=""))
    words = ["run", "s.yaml", "--out", "out", "--device", "cpu"]
    assert main([*words, "--engine", "slurm", "--detach"]) == EXIT_OK
    client._answers.clear()  # the next command is another process
    assert main(["status", "out"]) == EXIT_OK
    assert "detached: job 1 watches (pending (Priority))" in capsys.readouterr().out
    assert main(["cancel", "out"]) == EXIT_OK
    assert slurm.jobs["1"].state == "CANCELLED"


def test_a_watcher_that_is_stopped_hands_over_and_one_that_was_cancelled_does_not(
    tmp_path, monkeypatch, slurm
):
    monkeypatch.chdir(tmp_path)
    text = write_text(tmp_path / "text")
    (tmp_path / "s.yaml").write_text(CONFIG.format(text=text, more=""))
    request = Request(config="s.yaml", out="out", engine="slurm", detached=True, device="cpu")
    sweep = SweepDir(tmp_path / "out")

    def stopped() -> int:
        raise Preempted("stopped")

    slurm.jobs.clear()
    detach(Settings(), sweep, COMMAND, lambda line: None)
    in_job(monkeypatch, slurm, "1")
    assert detached.watched(request, stopped, lambda line: None) == EXIT_PREEMPTED
    assert slurm.jobs["2"].state == "PENDING"
    in_job(monkeypatch, slurm, "2")
    layout.write_json(sweep.cancelled, {})
    assert detached.watched(request, stopped, lambda line: None) == EXIT_PREEMPTED
    assert slurm.jobs["3"].state == "CANCELLED"
