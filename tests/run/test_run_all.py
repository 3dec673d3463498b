"""All experiments within a budget: which are chosen, what is left out, failures, stops."""

from __future__ import annotations

import importlib.metadata
import json
import time
from pathlib import Path

import pytest

import scaling_law.run.experiments as experiments_module
import scaling_law.run.run_all as run_all_module
from scaling_law.cli.main import main
from scaling_law.errors import (
    EXIT_OK,
    EXIT_PREEMPTED,
    EXIT_RUN_FAILED,
    EXIT_USAGE,
    ConfigError,
    Preempted,
)
from scaling_law.files.layout import SweepDir
from scaling_law.parts import shipped_files
from scaling_law.plan.device_profile import save_profile
from scaling_law.run.experiments import Listed, listed
from scaling_law.run.run_all import choose, run_all
from tests.fakes import cpu_profile

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def entry(name: str, seconds: float | None, why: str = "") -> Listed:
    return Listed(
        name=name,
        config=Path(f"{name}.yaml"),
        question="?",
        reproduces="",
        stages=False,
        further=False,
        runs=1,
        seconds=seconds,
        why_no_cost=why,
    )


THREE_SHIPPED = ("critical_size", "critical_size_grid", "double_descent")
THREE = (entry("slow", 50), entry("quick", 10), entry("middle", 20))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A measured machine, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    save_profile(cpu_profile(torch_version=importlib.metadata.version("torch")), "auto")
    return tmp_path


@pytest.fixture
def three_ship(monkeypatch):
    """Only three of the experiments: a plan of all takes a second or two."""
    files = [file for file in shipped_files("experiments", "*.yaml") if file.stem in THREE_SHIPPED]
    monkeypatch.setattr(experiments_module, "shipped_files", lambda *_: files)


def names(entries) -> list[str]:
    return [one.name for one in entries]


def test_the_cheapest_are_chosen_and_the_others_named_with_the_reason():
    choice = choose([*THREE, entry("broken", None, "cannot be run here: no text")], 40)
    assert names(choice.chosen) == ["quick", "middle"] and choice.seconds == 30
    reasons = {one.name: why for one, why in choice.left_out}
    assert reasons["slow"] == "needs about 50s, 10s would be left"
    assert reasons["broken"] == "cannot be run here: no text"
    assert "about 30s of the budget of 40s" in choice.text


def test_without_a_budget_all_are_chosen():
    assert names(choose(THREE, None).chosen) == ["quick", "middle", "slow"]


def test_a_budget_that_fits_nothing_says_which_would():
    with pytest.raises(ConfigError, match=r"no experiment fits; the cheapest, quick, needs .* 10s"):
        choose(THREE, 5)
    with pytest.raises(ConfigError, match="a: no text"):
        choose([entry("a", None, "no text")], 5)


def test_finished_runs_cost_nothing(here, three_ship):
    def cost() -> float:
        (one,) = [one for one in listed(here / "results") if one.name == "double_descent"]
        assert one.seconds is not None
        return one.seconds

    whole = cost()
    everything = {one.name: one for one in listed()}
    assert whole == pytest.approx(everything["double_descent"].seconds)
    # a grid of sizes is trained in one stage, where a search begins with the ends of its range
    assert everything["critical_size"].further and not everything["critical_size_grid"].further
    runs = sorted((REFERENCE / "double_descent" / "runs").iterdir())
    assert len(runs) == 147
    for number, run in enumerate(runs):
        folder = here / "results" / "double_descent" / "runs" / run.name
        folder.mkdir(parents=True)
        if number % 2:
            (folder / "record.json").touch()
    assert 0 < cost() < whole
    for run in (here / "results" / "double_descent" / "runs").iterdir():
        (run / "record.json").touch()
    assert cost() == 0


def test_a_failure_does_not_keep_the_others_from_running(tmp_path, capsys):
    trained = []

    def train(one, folder, say):
        trained.append(one.name)
        if one.name == "quick":
            raise ConfigError("no text here")
        return SweepDir(folder / one.name), EXIT_RUN_FAILED if one.name == "slow" else EXIT_OK

    code = run_all(choose(THREE, None), tmp_path, lambda line: None, train=train)
    assert trained == ["quick", "middle", "slow"] and code == EXIT_USAGE
    out = capsys.readouterr().out
    assert "1 experiment finished" in out and "failed: quick: no text here" in out
    assert f"failed: slow: runs failed; their logs are in {tmp_path}/slow/runs" in out


def test_a_stop_ends_all_and_says_how_to_resume(tmp_path, capsys):
    trained = []

    def train(one, folder, say):
        trained.append(one.name)
        return SweepDir(folder / one.name), EXIT_PREEMPTED

    choice = choose(THREE, None)
    assert run_all(choice, tmp_path, lambda line: None, train=train) == EXIT_PREEMPTED
    assert trained == ["quick"] and "stopped in quick, after 0" in capsys.readouterr().out

    def stopped(one, folder, say):
        raise Preempted("stopped")

    with pytest.raises(Preempted):
        run_all(choice, tmp_path, lambda line: None, train=stopped)


def test_the_time_spent_counts_not_the_time_planned(tmp_path, capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def train(one, folder, say):
        clock[0] += 35
        return SweepDir(folder / one.name), EXIT_OK

    choice = choose(THREE, 45)
    assert names(choice.chosen) == ["quick", "middle"]
    assert run_all(choice, tmp_path, lambda line: None, train=train) == EXIT_OK
    out = capsys.readouterr().out
    assert "left out: middle: needs about 20s, 10s of the budget was left" in out
    assert "left out: slow" in out and f"next: slaw report {tmp_path}" in out


def test_a_dry_run_lists_every_config_and_writes_nothing(here, three_ship, capsys):
    assert main(["experiments", "--run-all", "--dry-run"]) == EXIT_OK
    out = capsys.readouterr().out
    for name in THREE_SHIPPED:
        assert f"{name} " in out
    assert not (here / "results").exists()


def test_without_a_budget_the_first_line_says_that_it_can_be_stopped(
    here, three_ship, capsys, monkeypatch
):
    monkeypatch.setattr(run_all_module, "run_all", lambda *_: EXIT_OK)
    assert main(["experiments", "--run-all"]) == EXIT_OK
    first = capsys.readouterr().err.splitlines()[0]
    assert "can be stopped at any time" in first and "the same command resumes" in first
    assert main(["experiments", "--run-all", "--budget", "10h"]) == EXIT_OK
    assert "can be stopped" not in capsys.readouterr().err


def test_the_list_has_a_line_each_and_words_choose(here, capsys):
    assert main(["experiments", "optimizer"]) == EXIT_OK
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines[: lines.index("")]]
    assert names == ["experiment", "optimizers", "optimizers_more"]
    assert main(["experiments", "ADAMW", "soap", "--json"]) == EXIT_OK
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["optimizers_more"]
    assert main(["experiments", "optimizer", "--long"]) == EXIT_OK
    assert "reproduces Wen 2025" in capsys.readouterr().out
    assert main(["experiments", "optimizers"]) == EXIT_OK
    assert "train or resume it" in capsys.readouterr().out, "a whole name shows that one"


@pytest.mark.slow
def test_the_list_of_all_fits_a_screen_each_experiment_a_line(here, capsys):
    assert main(["experiments"]) == EXIT_OK
    lines = capsys.readouterr().out.splitlines()
    assert len(lines[: lines.index("")]) - 1 == len(shipped_files("experiments", "*.yaml"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--out", "x"], "--out goes with NAME or --run-all"),
        (["--budget", "1h"], "--budget goes with --run-all"),
        (["--dry-run"], "--dry-run goes with --run-all"),
        (["--run-all", "--budget", "1ms"], "expected a duration"),
        (["--run-all", "--budget", "0.01s"], "--budget 0.0s: no experiment fits; the cheapest,"),
        (["--run-all", "--json"], "not allowed with argument"),
    ],
)
def test_bad_input_is_refused_in_one_line(here, three_ship, capsys, words, says):
    try:
        assert main(["experiments", *words]) == EXIT_USAGE
    except SystemExit as ended:
        assert ended.code == EXIT_USAGE
    err = capsys.readouterr().err.strip()
    assert says in err and len(err.splitlines()) == 1
