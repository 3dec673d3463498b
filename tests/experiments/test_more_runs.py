"""The command lines that train what an analysis lacks."""

from __future__ import annotations

import shlex

import pytest

from scaling_law.config.load import load_config
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.more_runs import rates_command, seeds_command
from scaling_law.files.layout import SweepDir

GRID = [{"seeds": [0, 1], "axes": {"optim.lr": [0.01]}}, {"seeds": [5]}]


def evidence(tmp_path) -> Evidence:
    return Evidence(runs=(), config={"name": "x", "grid": GRID}, sweep=SweepDir(tmp_path / "a b"))


def test_seeds_count_on_and_entries_that_have_enough_stay(tmp_path):
    words = shlex.split(seeds_command(evidence(tmp_path), 2))
    folder = tmp_path / "a b"
    assert words[:5] == ["slaw", "run", str(folder / "sweep.yaml"), "--out", str(folder)]
    assert words[5:] == ["--set", "grid.1.seeds=[5, 6]"]


def test_rates_go_on_to_both_sides_by_factors_of_two(tmp_path):
    words = shlex.split(
        rates_command(evidence(tmp_path), lambda entry: entry.get("axes", {}).get("optim.lr", ()))
    )
    assert words[5:] == ["--set", "grid.0.axes.optim.lr=[0.0025, 0.005, 0.01, 0.02, 0.04]"]
    assert rates_command(evidence(tmp_path), lambda entry: ()) == ""


@pytest.mark.parametrize("name", ["mup_depth", "batch_ramp"])
def test_a_config_takes_what_the_command_sets(name):
    config = {"name": name, "grid": [{"seeds": [0, 1, 2]}]}
    words = shlex.split(seeds_command(Evidence(runs=(), config=config), 5))
    assert words[:3] == ["slaw", "run", name]
    changed = load_config(name, device_kind="cpu", overrides=[words[4]])
    assert tuple(changed.grid[0].seeds) == (0, 1, 2, 3, 4)
