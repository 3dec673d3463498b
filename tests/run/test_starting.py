"""A sweep in its first minutes, before a run has begun, is shown as starting and is no error."""

from __future__ import annotations

import json

import pytest

from scaling_law.cli.main import main
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import Leases


@pytest.fixture
def sweep(tmp_path, monkeypatch) -> SweepDir:
    monkeypatch.chdir(tmp_path)
    return SweepDir(tmp_path / "results" / "mine")


@pytest.mark.parametrize("folder", ["results/mine", "results"])
def test_a_sweep_that_prepares_its_data_is_starting(sweep, capsys, folder):
    with Leases() as leases:
        leases.take(sweep.lease)
        assert main(["status", folder]) == 0
        out = capsys.readouterr().out
        assert (
            out == f"{folder.removesuffix('/mine')}/mine: the sweep is starting: `slaw run` is"
            " preparing data\n"
        )
        assert main(["status", folder, "--json"]) == 0
        (state,) = json.loads(capsys.readouterr().out)
        assert state["phase"] == "no_plan" and state["at_work"] is True
        layout.write_json(sweep.data, {})
        assert main(["status", folder]) == main(["monitor", "--once", folder]) == 0
        assert capsys.readouterr().out.count("has its data and makes its plan") == 2
        assert main(["fit", folder]) == 2
        assert "results/mine: no run of this sweep has begun; see slaw status results/mine" in (
            capsys.readouterr().err
        )


def test_a_run_that_was_killed_before_its_plan_is_not_starting(sweep, capsys):
    sweep.path.mkdir(parents=True)
    layout.write_json(sweep.data, {})
    assert main(["status", "results/mine"]) == 0
    assert "ended before its plan; the same command begins again" in capsys.readouterr().out


def test_the_folder_of_a_run_at_work_is_no_sweep(sweep, capsys):
    run = sweep.run("nano14k-seed0")
    layout.write_json(run.spec, {})
    with Leases() as leases:
        leases.take(run.lease)
        for folder in (run.path, sweep.runs):
            assert main(["status", str(folder)]) == main(["monitor", "--once", str(folder)]) == 2
    assert capsys.readouterr().err.count("holds no run records") == 4
