"""Findings as values, from a sweep's folder, and whose code a report executes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_FIT, EXIT_OK, EXIT_USAGE
from scaling_law.experiment.analysis import analysed, report_command
from scaling_law.experiment.evidence import gather
from scaling_law.experiment.findings import Axis, Claim, Figure, Findings, Series, Table
from scaling_law.files.layout import SweepDir
from scaling_law.run import experiments

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "allocation-cpu"
ALLOCATION = Path(__file__).parents[2] / "experiments" / "allocation.yaml"
GROKKING = REFERENCE.parent / "grokking_transformer"
OWN = """
from pathlib import Path
from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.findings import Findings

def analyse(evidence):
    Path("executed").touch()
    return Findings(verdict="it ran", measures={"runs": len(evidence.runs)})

EXPERIMENT = Experiment(
    question="Is it executed?", analyse=analyse,
    planted=Planted(outcome=lambda spec: Outcome(), measures={}),
)
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep of two records whose config names no experiment, in the folder of a user."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / "mine"
    folder.mkdir(parents=True)
    for name in ("plan.json", "sweep.yaml"):
        shutil.copy(REFERENCE / name, folder)
    for run in sorted((REFERENCE / "runs").iterdir())[:2]:
        shutil.copytree(run, folder / "runs" / run.name)
    config = folder / "sweep.yaml"
    config.write_text(config.read_text().replace("experiment: allocation\n", ""))
    (tmp_path / "own.py").write_text(OWN)
    return folder


def name_in(sweep: Path, text: str) -> None:
    with (sweep / "sweep.yaml").open("a") as file:
        file.write(f"experiment: {text}\n")


def test_the_json_has_the_measures_and_lists_what_is_missing(sweep, capsys):
    name_in(sweep, "allocation")
    assert main(["report", str(sweep), "--json"]) == EXIT_OK
    document = json.loads(capsys.readouterr().out)
    assert document["experiment"] == "allocation"
    assert document["runs"] == 2 and len(document["missing"]) > 20
    assert document["measures"]["excess.ours.3e11"] is None
    assert {claim["established"] for claim in document["claims"]} == {None}
    assert "established" in document["verdict"]


def test_the_command_for_the_findings_of_a_users_file_names_the_sweeps_copy(sweep, capsys):
    assert report_command(SweepDir(sweep)) == f"slaw report {sweep}"
    name_in(sweep, "own.py")
    copy = sweep / "parts" / "experiment" / "own.py"
    assert report_command(SweepDir(sweep)) == f"slaw report {sweep} --experiment {copy}"
    copy.parent.mkdir(parents=True)
    shutil.copy("own.py", copy)
    assert main([*report_command(SweepDir(sweep)).split()[1:], "--json"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["measures"] == {"runs": 2}


def test_a_users_file_is_executed_only_when_named(sweep, capsys):
    name_in(sweep, "own.py")
    (sweep / "parts" / "experiment").mkdir(parents=True)
    shutil.copy("own.py", sweep / "parts" / "experiment")
    assert main(["report", str(sweep), "--json"]) == EXIT_USAGE
    assert "a file of its user's own, own.py" in capsys.readouterr().err
    assert not Path("executed").exists()
    assert main(["report", str(sweep), "--json", "--experiment", "own.py"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["measures"] == {"runs": 2}
    assert Path("executed").exists()


@pytest.mark.parametrize(
    ("named", "asked", "says"),
    [
        ("", (), "its config names no experiment"),
        ("", ("--experiment", "alocation"), "no experiment is named 'alocation' (did you mean"),
        ("", ("--experiment", "gone.py"), "no file 'gone.py' for the experiment"),
        ("grokkin", (), "no experiment is named 'grokkin'"),
        ("{name: allocation, within: 3}", (), "experiment.within: not a setting of allocation"),
    ],
)
def test_an_invalid_experiment_is_refused_in_one_line(sweep, capsys, named, asked, says):
    if named:
        name_in(sweep, named)
    assert main(["report", str(sweep), "--json", *asked]) == EXIT_USAGE
    err = capsys.readouterr().err
    assert says in err and len(err.strip().splitlines()) == 1


def test_an_error_in_analyse_is_reported_with_its_line(sweep, capsys):
    Path("own.py").write_text(OWN.replace("len(evidence.runs)", "float('nan')"))
    assert main(["report", str(sweep), "--json", "--experiment", "own.py"]) == EXIT_USAGE
    assert "own.py:8: this experiment fails" in capsys.readouterr().err


def test_a_local_file_takes_precedence_over_a_shipped_name_and_a_line_says_so(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("allocation").write_text("name: other\n")
    assert main(["run", "allocation", "--dry-run"]) == EXIT_USAGE
    err = capsys.readouterr().err
    assert "allocation: taking the file ./allocation, not the shipped" in err
    assert "allocation:1: data: missing" in err


def test_the_list_shows_each_experiments_question(capsys, monkeypatch):
    files = [ALLOCATION, ALLOCATION.with_stem("grokking")]
    monkeypatch.setattr(experiments, "shipped_files", lambda *_: files)
    assert main(["experiments", "--json"]) == EXIT_OK
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries.keys() == {"allocation", "grokking"}
    assert entries["allocation"]["question"].endswith("?")
    assert "Kaplan" in entries["allocation"]["reproduces"]
    assert main(["experiments"]) == EXIT_OK
    assert entries["allocation"]["question"] in capsys.readouterr().out


def test_one_experiment_shows_its_question_its_command_and_what_its_runs_say(tmp_path, capsys):
    folder = REFERENCE.parent
    assert main(["experiments", "batch_ramp", "--out", str(folder)]) == EXIT_OK
    shown = capsys.readouterr().out
    entry, _, findings = shown.partition("\n\n")
    assert entry.startswith("batch_ramp\n  Does a batch that grows along training beat a fixed one")
    assert f"slaw run batch_ramp --out {folder / 'batch_ramp'}" in entry
    assert findings.startswith(f"by 48 runs in {folder / 'batch_ramp'}:\nA batch of ")
    assert "\n  established: " in findings and "\n  intervals are at 90%" in findings
    assert main(["experiments", "batch_ramp", "--out", str(tmp_path)]) == EXIT_OK
    assert f"no run has finished in {tmp_path / 'batch_ramp'}" in capsys.readouterr().out
    assert main(["experiments", "batch_ramp", "--out", str(folder), "--json"]) == EXIT_OK
    document = json.loads(capsys.readouterr().out)
    assert document["name"] == "batch_ramp" and document["findings"]["claims"]


def test_findings_refuse_values_that_a_page_cannot_show():
    with pytest.raises(ValueError, match="expected a number or None"):
        Findings(verdict="", measures={"a": float("inf")})
    with pytest.raises(ValueError, match="measure 'a b', expected letters"):
        Findings(verdict="", measures={"a b": 1.0})
    claim = Claim(name="a", says="", established=None, because="")
    with pytest.raises(ValueError, match="two of one name"):
        Findings(verdict="", measures={}, claims=(claim, claim))
    with pytest.raises(ValueError, match="2 cells in a table of 1 columns"):
        Table(caption="", head=("a",), rows=((1, 2),))
    with pytest.raises(ValueError, match="has the point nan"):
        Series(label="a", points=((1.0, float("nan")),))
    with pytest.raises(ValueError, match="has no panel"):
        Figure(name="a", title="", caption="", panels=())
    assert Axis(label="x").scale == "linear"


def test_runs_that_the_findings_leave_out_are_named_with_the_reason(sweep, capsys):
    name_in(sweep, "allocation")
    run_dir = sorted((sweep / "runs").iterdir())[0]
    (run_dir / "record.json").unlink()
    assert main(["report", str(sweep)]) == EXIT_OK
    (line,) = [row for row in capsys.readouterr().err.splitlines() if "not among" in row]
    assert line.startswith("23 runs are not among these findings: ")
    assert f"{run_dir.name.rpartition('-')[0]} (not finished)" in line
    assert line.endswith(f"and 18 more (planned, not finished); to train them: slaw run {sweep}")
    assert f"to train them: slaw run {sweep}" in (sweep / "report.html").read_text()


def test_the_remedy_names_the_folder_of_the_runs(sweep):
    name_in(sweep, "allocation")
    result = analysed(SweepDir(sweep))
    assert result is not None
    open_claims = [one.because for one in result.findings.claims if one.established is None]
    trains = f"it needs them at each: slaw run {sweep} trains those that are missing"
    assert open_claims and all(because.endswith(trains) for because in open_claims)


def test_the_remedy_is_another_config_where_all_runs_have_finished():
    result = analysed(SweepDir(GROKKING))
    assert result is not None
    plans_more = f"all runs of {GROKKING} have finished, so its config must plan more"
    assert result.evidence.remedy == plans_more


def test_fit_points_to_the_report_of_an_experiments_runs(sweep, capsys):
    assert main(["fit", str(sweep)]) == EXIT_FIT
    assert "belong to experiment" not in capsys.readouterr().err
    name_in(sweep, "allocation")
    assert main(["fit", str(sweep)]) == EXIT_FIT
    err = capsys.readouterr().err
    assert f"these runs belong to experiment allocation: slaw report {sweep}" in err


def test_the_remedy_of_runs_that_diverged_is_lower_rates():
    evidence = gather(SweepDir(GROKKING), None)
    lost = [
        dataclasses.replace(run, record=dataclasses.replace(run.record, status="diverged"))
        for run in evidence.runs[:2]
    ]
    evidence = dataclasses.replace(evidence, runs=(*lost, *evidence.runs[2:]))
    says = f"have finished, 2 of {len(evidence.runs)} diverged: lower learning rates (optim.lr)"
    assert evidence.remedy.endswith(says)
