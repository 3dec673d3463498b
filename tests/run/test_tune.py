"""``slaw tune``: what it trains, what it refuses, and the rule that it writes."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

from scaling_law.cli.main import main
from scaling_law.config.load import load_config
from scaling_law.console import Say
from scaling_law.errors import EXIT_FIT, EXIT_OK, EXIT_USAGE, ConfigError, FitError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from scaling_law.plan.device_profile import save_profile
from scaling_law.plan.plan import Plan
from scaling_law.run.pinned import keep_plan
from scaling_law.run.planning import planned
from scaling_law.run.request import Request, config_and_profile, sweep_of
from scaling_law.run.runner import SweepOutcome
from scaling_law.run.tune import SECONDS, tune, tuned_request
from tests.experiments.test_contract import experiment_of
from tests.fakes import cpu_profile, planted_runs, record_of, write_text

CONFIG = """
name: mine
data: {corpus: text, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2, max_epochs: 1000}
model: {n_ctx: 64}
grid:
  - {sizes: [nano14k, nano25k, nano55k, nano98k], tokens: [130k, 260k, 520k]}
optim: {rule: slaw_small, batch_tokens: 1024}
precision: fp32
probes: [weight_norm]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A measured machine, and a config with its text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    save_profile(cpu_profile(torch_version=importlib.metadata.version("torch")), "auto")
    write_text(tmp_path / "text", 40)
    (tmp_path / "mine.yaml").write_text(CONFIG)
    return tmp_path


def silent(*words: str) -> None:
    """Say nothing."""


def request(*overrides: str, config: str = "mine.yaml") -> Request:
    return Request(config=config, device="cpu", overrides=overrides)


def grid_of(changed: Request) -> list[dict[str, Any]]:
    config = load_config(changed.config, overrides=changed.overrides, device_kind="cpu")
    assert config.name == "mine-tune" and config.choice("experiment").reference.name == "lr_batch"
    assert not config.choices["probe"] and config.keep_weights == "none"
    (grid,) = (text for text in changed.overrides if text.startswith("grid="))
    return json.loads(grid.removeprefix("grid="))


def test_three_sizes_and_three_horizons_are_tuned_at_the_configs_batch(here):
    grid = grid_of(tuned_request(request(), 1e6, silent))
    assert [entry["sizes"] for entry in grid] == [["nano14k"], ["nano55k"], ["nano98k"]]
    # whole steps of the largest batch
    assert grid[0]["tokens"] == [129_024, 260_096, 520_192]
    axes = {"optim.lr_mult": [0.5, 1.0, 2.0], "optim.batch_tokens": [512, 1024, 2048]}
    assert all(entry["axes"] == axes for entry in grid)


def test_the_probes_that_tuning_leaves_off_are_named(here):
    said: list[str] = []
    tuned_request(request(), 1e6, said.append)
    assert "its runs measure no probes (left off: weight_norm)" in said


def test_less_time_takes_smaller_sizes_and_shorter_horizons(here):
    whole = grid_of(tuned_request(request(), 1e6, silent))
    little = grid_of(tuned_request(request(), 300, silent))
    assert little[-1]["tokens"][-1] <= whole[-1]["tokens"][-1]
    assert little != whole


@pytest.mark.parametrize(
    ("overrides", "seconds", "message"),
    [
        (
            ("grid=[{sizes: [nano14k, nano25k], tokens: [130k, 260k]}]",),
            SECONDS,
            r"--set grid: 2 sizes and 2 horizons to tune; expected at least 3 sizes, .* and 2",
        ),
        (
            ("grid=[{sizes: [nano14k, nano25k, nano55k], tokens: [130k]}]",),
            SECONDS,
            "3 sizes and 1 horizon to tune",
        ),
        ((), 1.0, r"least tuning takes about .* more than 1.0s; raise --time, or give smaller"),
    ],
)
def test_what_cannot_be_tuned_is_refused(here, overrides, seconds, message):
    with pytest.raises(ConfigError, match=message):
        tuned_request(request(*overrides), seconds, silent)


def test_another_sweeps_folder_gives_its_config_and_is_left_alone(here):
    asked = Request(config="results/mine", device="cpu")
    config, profile = config_and_profile(request(), silent)
    keep_plan(planned(config, profile, None), config, SweepDir(Path("results/mine")))
    changed = tuned_request(asked, 1e6, silent)
    assert changed.out is None and 'name="mine-tune"' in changed.overrides


def test_a_model_without_a_learning_rate_is_refused(here):
    with pytest.raises(ConfigError, match="solved in closed form and has no learning rate"):
        tuned_request(request(config="double_descent"), 1e6, silent)


@pytest.mark.parametrize("key", ["axes", "grid.0.axes"])
def test_axes_that_tuning_does_not_vary_are_refused(here, key):
    axes = f"{key}={{optim.lr_mult: [1, 2], optim.name: [lion, sgd]}}"
    with pytest.raises(ConfigError, match=r"axes vary optim\.name: lion, sgd, and one recipe"):
        tuned_request(request(axes), 1e6, silent)
    assert tuned_request(request(f"{key}={{optim.lr_mult: [1, 2]}}"), 1e6, silent)


def test_the_experiment_itself_is_taken_as_it_is(here):
    asked = request(config="lr_batch")
    assert tuned_request(asked, 1.0, silent) == asked


def test_a_dry_run_prints_the_plan_and_writes_nothing(here, capsys):
    assert main(["tune", "mine.yaml", "--dry-run", "--device", "cpu", "--time", "2h"]) == EXIT_OK
    out = capsys.readouterr().out
    assert "mine-tune: 108 runs: 81 annealed points, 27 trunks" in out
    assert "later stages train what the first leaves open" in out
    assert not (here / "results").exists()


def train(request: Request, say: Say, *, diverge: bool = False):
    """Record a stage's planted runs without training them."""
    config, profile = config_and_profile(request, say)
    sweep: SweepDir = sweep_of(request, config)
    plan: Plan = planned(config, profile, None)
    keep_plan(plan, config, sweep)
    runs = planted_runs(experiment_of("lr_batch"), [run.spec for run in plan.runs])
    for run in runs:
        record = record_of(run.spec, status="diverged") if diverge else run.record
        write_record(sweep.run(record.run_id), record)
    return sweep, plan, SweepOutcome(done=[run.record.run_id for run in runs])


def test_the_rule_is_written_and_a_config_takes_it(here, capsys):
    assert tune(request(), 1e6, None, silent, train=train) == EXIT_OK
    out = capsys.readouterr().out
    assert "The best learning rate goes as size^-0.4" in out
    place = Path("results/mine-tune/tuned_mine.py")
    assert "the lowest loss is at the low edge of the batches in 9 of 9 pairs" in out
    assert f"rule: {place}" in out and f"--set optim.rule={place}" in out
    source = place.read_text()
    assert source.startswith('"""Learning rate and batch as `slaw tune` measured them.')
    assert "optimizer adamw, schedule wsd, architecture gpt, parametrisation" in source
    # the same again trains nothing new and writes the same
    before = place.read_text()
    assert tune(request(), 1e6, None, silent, train=train) == EXIT_OK
    assert place.read_text() == before
    capsys.readouterr()
    line = ["plan", "mine.yaml", "--device", "cpu", "--set", f"optim.rule={place}"]
    assert main([*line, "--json"]) == EXIT_OK
    plan = json.loads(capsys.readouterr().out)
    assert {run["spec"]["optim"]["rule"] for run in plan["runs"]} == {
        "tuned_mine batch_tokens=1024"
    }
    beyond = [*line, "--set", "grid=[{sizes: [nano1.8m], tokens: [130k, 260k]}]"]
    assert main(beyond) == EXIT_USAGE
    error = capsys.readouterr().err
    assert "this rule was measured at" in error and "non-embedding params" in error


def test_settings_of_the_experiment_are_taken(here):
    """``experiment.most`` is what a tuning that ended too early asks for."""
    changed = tuned_request(request("experiment.most=7", "experiment.seeds=3"), 1e6, silent)
    config = load_config(changed.config, overrides=changed.overrides, device_kind="cpu")
    settings = config.choice("experiment").settings
    assert (settings.most, settings.seeds, settings.within) == (7, 3, 1.5)
    itself = request("experiment.most=7", config="lr_batch")
    assert tuned_request(itself, 1.0, silent) == itself


def test_runs_that_all_diverge_give_no_rule(here, capsys):
    def all_diverge(request, say):
        return train(request, say, diverge=True)

    with pytest.raises(FitError, match="no rule is written") as refused:
        tune(request(), 1e6, None, silent, train=all_diverge)
    assert refused.value.exit_code == EXIT_FIT
    out = capsys.readouterr().out
    # the reason is in the verdict and in its claim, and nowhere else
    assert out.startswith("Not established: no cell has a bounded best learning rate; 27 of 27")
    assert out.count("27 diverged at every rate") == 2
    assert "diverged" not in str(refused.value)
    assert "(--set experiment.most=7) and more seeds (--set experiment.seeds=3)" in str(
        refused.value
    )
    assert not list(here.glob("results/mine-tune/tuned_*"))


def test_a_rule_of_several_weight_decays_takes_the_configs(here, capsys):
    axes = {"optim.lr_mult": [0.5, 1, 2, 4], "optim.weight_decay": [0, 0.1, 0.3]}
    asked = request(f"axes={json.dumps(axes)}", "name=decays", config="lr_batch")
    assert tune(asked, 1e6, None, silent, train=train) == EXIT_OK
    out = capsys.readouterr().out
    assert "The best learning rate goes as size^-0.4" in out
    assert "9 cells without weight decay left out of the law" in out
    assert "nano14k, decay 0.1" in out
    place = Path("results/decays/tuned_decays.py")
    # the planted losses do not fall with either: the larger of equal ones
    assert "weight decay: 0.3, of lowest loss (over 0.3: 0.1 costs 0.01% (-0.3" in out
    assert "0.1 and 0.3 cost no more than 0.5% of loss" in out
    assert f"--set optim.rule={place} --set optim.weight_decay=0.3" in out
    line = ["plan", "mine.yaml", "--device", "cpu", "--set", f"optim.rule={place}",
            "--set", "grid=[{sizes: [nano25k], tokens: [150k, 300k]}]"]  # fmt: skip
    batch = json.loads(place.read_text().rpartition("best_batch_tokens=")[2].partition(",")[0])
    line += ["--set", f"optim.batch_tokens={batch}"]
    assert main([*line, "--set", "optim.weight_decay=0.2"]) == EXIT_OK
    capsys.readouterr()
    assert main([*line, "--set", "optim.weight_decay=0"]) == EXIT_USAGE
    error = capsys.readouterr().err
    assert "measured at a weight decay of 0.1 to 0.3" in error and "found 0; set optim" in error


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rule.txt", "a rule is a file of Python"),
        ("nowhere/rule.py", "there is no folder nowhere"),
        ("own.py", "it exists and is no rule of slaw tune"),
        ("folder.py", "Is a directory"),
    ],
)
def test_a_place_for_the_rule_is_checked_before_training(here, capsys, name, message):
    (here / "own.py").write_text("print('mine')\n")
    (here / "folder.py").mkdir()
    for dry in ([], ["--dry-run"]):
        command = ["tune", "mine.yaml", "--write", name, "--device", "cpu", *dry]
        assert main(command) == EXIT_USAGE
        assert message in capsys.readouterr().err
    assert not (here / "results").exists()


def test_a_folder_that_takes_no_rule_is_refused_before_training(here, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert main(["tune", "mine.yaml", "--write", "rule.py", "--device", "cpu"]) == EXIT_USAGE
    assert "cannot be written (no permission); name another file with --write" in (
        capsys.readouterr().err
    )
    assert not (here / "results").exists()
