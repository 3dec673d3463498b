"""What `slaw status` says of a sweep that was killed."""

from __future__ import annotations

import json

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_OK, EXIT_USAGE
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import Leases
from scaling_law.files.record import write_record
from scaling_law.plan.make import make_plan
from scaling_law.run.sweep_state.reader import sweep_status
from scaling_law.run.sweep_state.text import format_status
from tests.fakes import cpu_profile, record_of, small_config


def test_a_killed_run_is_not_shown_as_running(tmp_path):
    plan = make_plan(small_config(), cpu_profile(), train_tokens=10**7)
    sweep = SweepDir(tmp_path / "s")
    layout.write_json(sweep.plan, plan.to_json())
    first, second = plan.runs[0].spec, plan.runs[1].spec
    write_record(sweep.run(first.run_id), record_of(first))
    run_dir = sweep.run(second.run_id)
    run_dir.path.mkdir(parents=True, exist_ok=True)
    beat = {"step": second.total_steps // 2, "tokens_per_second": 10.0}
    layout.write_json(run_dir.progress, beat)
    with Leases() as leases:
        leases.take(sweep.runners / "1")
        status = sweep_status(sweep)
        assert [run["state"] for run in status["runs"][:2]] == ["done", "started"]
        text = format_status(status)
        assert "1 done, 1 running" in text and "\n  running  " in text, "no raw words"
    status = sweep_status(sweep)
    assert [run["state"] for run in status["runs"][:2]] == ["done", "stopped"]
    assert 0 < status["flops_done_frac"] < 1
    assert "no worker is running" in format_status(status)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"error": "boom\\nand more"}', r"boom\nand more"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"error": 3}', "cannot be read"),
    ],
)
def test_a_failure_that_cannot_be_read_is_still_a_failure(tmp_path, content, said):
    sweep = SweepDir(tmp_path)
    plan = make_plan(small_config(), cpu_profile(), train_tokens=10**6)
    layout.write_json(sweep.plan, plan.to_json())
    layout.atomic_write(sweep.run(plan.runs[0].run_id).failure, content)
    entry = sweep_status(sweep)["runs"][0]
    assert entry["state"] == "failed" and said in entry["error"]


def planned_sweep(path):
    plan = make_plan(small_config(), cpu_profile(), train_tokens=10**7)
    layout.write_json(SweepDir(path).plan, plan.to_json())
    return SweepDir(path)


def test_a_folder_called_runs_of_another_program_is_no_sweep(tmp_path, capsys):
    planned_sweep(tmp_path / "a")
    for stray in (tmp_path, tmp_path / "z"):
        (stray / "runs" / "events").mkdir(parents=True)
        (stray / "runs" / "notes.txt").touch()
    assert main(["status", str(tmp_path)]) == EXIT_OK
    (line, *_) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{tmp_path / 'a'}: ")
    assert main(["status", str(tmp_path / "z")]) == EXIT_USAGE
    assert "holds no run records" in capsys.readouterr().err


def test_a_damaged_sweep_is_named_beside_the_others(tmp_path, capsys):
    planned_sweep(tmp_path / "a")
    broken = planned_sweep(tmp_path / "b")
    broken.plan.write_text("{")
    assert main(["status", str(tmp_path)]) == EXIT_USAGE
    out, err = capsys.readouterr()
    assert out.startswith(f"{tmp_path / 'a'}: ") and str(broken.plan) in err
    assert main(["status", str(tmp_path), "--json"]) == EXIT_USAGE
    assert len(json.loads(capsys.readouterr().out)) == 1
