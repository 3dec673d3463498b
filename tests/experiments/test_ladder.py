"""Porian's ladder: from a table, from runs, and what it refuses."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.console import Say
from scaling_law.errors import EXIT_FIT, EXIT_OK, EXIT_USAGE
from scaling_law.experiment.findings import Findings
from scaling_law.experiment.ladder import RUNGS, Exponent, Measured, fall, ladder_findings
from scaling_law.experiment.seeds import LEVEL
from scaling_law.files.record import write_record
from scaling_law.fit.approaches.isoflop_joint import BUDGET, PAIR, SIZE, JointLine
from scaling_law.fit.solver.student import t_reach
from scaling_law.plan.device_profile import save_profile
from scaling_law.run import ablate as ablating
from scaling_law.run.pinned import keep_plan
from scaling_law.run.planning import planned
from scaling_law.run.request import Request, config_and_profile, sweep_of
from scaling_law.run.runner import SweepOutcome
from tests.experiments.changed import diverged, findings_with
from tests.experiments.test_contract import experiment_of
from tests.fakes import cpu_profile, planted_runs, record_of

NAME = "kaplan_chinchilla"
# the exponents that a table is planted with, and Porian's name of each configuration
PLANTED = {
    "head_not_counted": 0.8,
    "head_counted": 0.7,
    "warmup_by_size": 0.6,
    "decay_by_horizon": 0.55,
    "tuned_by_size": 0.5,
}
CONFIGS = {
    "head_not_counted": "rw/base/long/kaplan/kaplan/train",
    "head_counted": "rw/base/long/kaplan/standard/val",
    "warmup_by_size": "rw/base/short/kaplan/standard/val",
    "decay_by_horizon": "rw/base/short/chinchilla/standard/val",
    "tuned_by_size": "rw/tuned/short/const/standard/val",
}


def table(path: Path, names: Mapping[str, str], head: str = "config") -> Path:
    """A table whose optimal sizes go as compute to the planted exponents, under these names."""
    lines = [f"params,tokens,loss,{head}"]
    for rung, name in names.items():
        for budget in (1e18, 4e18, 1.6e19, 6.4e19):
            best = 3e7 * (budget / 1e18) ** PLANTED[rung]
            for ratio in (0.25, 0.5, 0.9, 1.7, 3.5):
                params = best * ratio
                loss = 3 + 0.1 * (ratio**0.7 + ratio**-0.7) - 0.1 * (budget / 1e18) ** 0.1
                lines.append(f"{params},{budget / 6 / params},{loss},{name}")
    path.write_text("\n".join(lines) + "\n")
    return path


def exponents(document: Mapping[str, float | None]) -> dict[str, float]:
    values = {rung.name: document[f"exponent.{rung.name}"] for rung in RUNGS}
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("config", CONFIGS),
        pytest.param("rung", {rung: rung for rung in PLANTED}, marks=pytest.mark.slow),
        pytest.param(
            "hparams,warmup,decay,count",
            {rung: ",".join(name.split("/")[1:5]) for rung, name in CONFIGS.items()},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_table_gives_the_planted_exponents(tmp_path, capsys, head, names):
    path = table(tmp_path / "t.csv", names, head)
    assert main(["ablate", "--table", str(path), "--json"]) == EXIT_OK
    document = json.loads(capsys.readouterr().out)
    assert exponents(document["measures"]) == pytest.approx(PLANTED, abs=0.02)


@pytest.mark.slow
def test_the_rungs_that_a_table_lacks_are_named(tmp_path, capsys):
    some = {rung: CONFIGS[rung] for rung in ("head_counted", "warmup_by_size")}
    path = table(tmp_path / "t.csv", {**some, "tuned_by_size": "rw/tuned/long/kaplan/kaplan/train"})
    assert main(["ablate", "--table", str(path), "--out", str(tmp_path / "drawn")]) == EXIT_OK
    out = capsys.readouterr().out
    assert "established: a warm-up by size lowers it" in out
    assert "the corrections from head counted to warm-up by size together lower" in out
    words = " ".join(out.split())
    assert "counting the head, decay by horizon, rate and batch by size: not established" in words
    assert "a warm-up by size: established." in words
    assert "no runs of the rung head not counted" in out
    assert "no runs of the rung rate and batch by size" in out
    assert "on no rung, left out: rw/tuned/long/kaplan/kaplan/train" in out
    assert {file.name for file in (tmp_path / "drawn").glob("*.png")} == {
        "ladder.png",
        "minima.png",
    }


@pytest.mark.parametrize(
    ("head", "names", "message"),
    [
        ("recipe", CONFIGS, "no column says how its rows were trained; expected rung"),
        (
            "config",
            {"head_counted": "gpt/a"},
            "no row is on a rung of the ladder: config has gpt/a",
        ),
        (
            "rung",
            {"head_counted": "head"},
            "rung has head; expected head_not_counted, head_counted",
        ),
        (
            "config",
            {
                "head_counted": "rw/base/long/kaplan/standard/val",
                "warmup_by_size": "owt/base/long/kaplan/standard/val",
            },
            "are both on the rung head_counted; choose one with --where",
        ),
    ],
)
def test_a_table_without_a_ladder_is_refused(tmp_path, capsys, head, names, message):
    path = table(tmp_path / "t.csv", names, head)
    assert main(["ablate", "--table", str(path)]) == EXIT_USAGE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "cell", "message"),
    [
        (["--columns", "params=foo"], "", "no column 'foo'"),
        ([], "nan", "0 of 20 rows can be used, expected at least 2"),
    ],
)
def test_a_table_without_a_usable_rung_is_refused_once(tmp_path, capsys, words, cell, message):
    path = table(tmp_path / "t.csv", {rung: rung for rung in PLANTED}, "rung")
    lines = path.read_text().splitlines()
    if cell:
        rows = (line.split(",") for line in lines[1:])
        lines[1:] = [",".join([params, tokens, cell, rung]) for params, tokens, _, rung in rows]
        path.write_text("\n".join(lines) + "\n")
    assert main(["ablate", "--table", str(path), *words]) == EXIT_USAGE
    said = capsys.readouterr().err.splitlines()
    assert message in said[0]
    assert len(said) == len(set(said)) == (len(PLANTED) if cell else 1)


@pytest.mark.slow
def test_rows_that_count_as_independent_are_noted_once(tmp_path, capsys):
    path = table(tmp_path / "t.csv", {rung: rung for rung in PLANTED}, "rung")
    assert main(["ablate", "--table", str(path)]) == EXIT_OK
    assert capsys.readouterr().out.count("every row counts as an independent run") == 1
    assert main(["ablate", "--table", str(path), "--columns", "cluster=tokens"]) == EXIT_OK
    assert "every row counts as an independent run" not in capsys.readouterr().out


def test_a_table_of_too_few_budgets_supports_no_exponent(tmp_path, capsys):
    path = table(tmp_path / "t.csv", {"head_counted": CONFIGS["head_counted"]})
    code = main(["ablate", "--table", str(path), "--where", "tokens<1e10"])
    assert code == EXIT_FIT
    err = capsys.readouterr().err
    assert "no rung has an exponent" in err and "at least 3 needed" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--table", "t.csv", "--set", "name=a"], "--set: is for runs"),
        (["--table", "t.csv", "--dry-run"], "--dry-run: a table trains nothing"),
        (["--params-are", "total"], "--params-are: is for a table"),
    ],
)
def test_options_of_the_other_kind_are_refused(capsys, words, message):
    assert main(["ablate", *words]) == EXIT_USAGE
    assert message in capsys.readouterr().err


def because(findings: Findings, name: str) -> str:
    (claim,) = (claim for claim in findings.claims if claim.name == name)
    assert claim.established is None
    return claim.because


def test_nothing_is_claimed_where_every_run_diverged():
    findings = findings_with(NAME, diverged)
    assert all(claim.established is None for claim in findings.claims)
    assert any("without a loss left out" in note for note in findings.notes)


def test_minima_at_the_edge_of_the_sizes_give_no_exponent():
    findings = findings_with(NAME, lambda run: run if run.record.params_matmul > 7e4 else None)
    why = because(findings, "ends_near_half")
    assert "have a minimum inside their sizes, at least 3 needed" in why
    assert any(": no minimum at " in note for note in findings.notes)


def test_few_budgets_give_one_exponent_together_and_say_so():
    findings = findings_with(NAME, lambda run: run)
    assert findings.measures["together.tuned_by_size"] == 5
    measures = findings.measures
    first, last = (measures[f"exponent.{rung.name}"] for rung in (RUNGS[0], RUNGS[-1]))
    whole, low = measures["fall.whole"], measures["fall.whole.low"]
    assert first is not None and last is not None and whole is not None and low is not None
    assert whole == pytest.approx(first - last) and 0 < low < whole
    assert f"it is lower by {whole:.3f} ({low:.3f} to " in findings.verdict
    (table,) = findings.tables
    row = next(row for row in table.rows if row[0] == "rate and batch by size")
    assert "5 together" in str(row[4]) and row[5] != "-"


Place = Mapping[tuple[int, ...], float]  # an exponent without a group, by the group's place


def together(value: float, **without: Place) -> Measured:
    """A rung whose exponent is that of all budgets; what it says without a group, by kind."""
    still: Place = {(place,): value for place in range(3)}
    joint = JointLine(
        exponent=value,
        without={kind: without.get(kind, still) for kind in (SIZE, BUDGET, PAIR)},
        by_width=(value, None),
    )
    exponent = Exponent(value=value, interval=(value - 0.1, value + 0.1))
    return Measured(exponent=exponent, joint=joint)


def fell(first: Measured, second: Measured) -> tuple[float, float]:
    """The interval of the first rung's exponent less the second's."""
    lower = fall(
        {"head_counted": first, "warmup_by_size": second}, "head_counted", "warmup_by_size"
    )
    assert lower is not None and lower.interval is not None
    return lower.interval


@pytest.mark.parametrize("kind", [SIZE, BUDGET])
def test_a_group_of_runs_that_two_rungs_share_moves_both(kind):
    own: Place = {(0,): 0.71, (1,): 0.69, (2,): 0.7}
    other: Place = {(0,): 0.61, (1,): 0.59, (2,): 0.6}
    first = together(0.7, **{kind: own})
    assert fell(first, together(0.6, **{kind: other})) == pytest.approx((0.1, 0.1))
    apart: Place = {(3 + place[0],): at for place, at in other.items()}
    low, high = fell(first, together(0.6, **{kind: apart}))
    # six groups: the squares of .01 are summed over four of them
    assert high - low == pytest.approx(2 * t_reach(2, LEVEL) * math.sqrt(5 / 6 * 4e-4))


def test_a_step_between_rungs_reaches_to_the_steps_at_other_widths():
    first, second = together(0.7), together(0.6)
    assert first.joint is not None and second.joint is not None
    above = dataclasses.replace(first.joint, by_width=(0.73, 0.71))
    below = dataclasses.replace(second.joint, by_width=(0.61, 0.65))
    ends = fell(dataclasses.replace(first, joint=above), dataclasses.replace(second, joint=below))
    assert ends == pytest.approx((0.06, 0.12))
    below = dataclasses.replace(below, by_width=(None, 0.65))
    ends = fell(dataclasses.replace(first, joint=above), dataclasses.replace(second, joint=below))
    assert ends == pytest.approx((0.06, 0.1))


def test_a_skew_at_its_bound_is_said():
    rung = together(0.5)
    assert rung.joint is not None
    bound = dataclasses.replace(
        rung, joint=dataclasses.replace(rung.joint, budgets=(1e15,), skew_at_bound=True)
    )
    (note,) = ladder_findings({"tuned_by_size": bound}, needs="rows").notes
    assert note.startswith("rate and batch by size: the skew of the curves is at its bound")


def test_a_recipe_that_was_not_trained_leaves_its_rungs_open():
    findings = findings_with(
        NAME, lambda run: None if run.spec.schedule.shape == "constant" else run
    )
    assert "no runs of the rung head not counted" in because(findings, "counting_lowers")
    assert findings.measures["exponent.tuned_by_size"] is not None


def test_rates_that_are_best_at_an_edge_are_not_called_tuned():
    findings = findings_with(
        NAME, lambda run: run if run.spec.optim.overrides.lr_mult != 0.5 else None
    )
    why = because(findings, "tuned_inside")
    assert "29 of 29 sizes and horizons are best at the lowest multiple" in why
    assert "it takes further optim.lr_mult" in why


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A measured machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    save_profile(cpu_profile(torch_version=importlib.metadata.version("torch")), "auto")
    return tmp_path


def test_a_dry_run_prints_the_plan_and_writes_nothing(here, capsys):
    assert main(["ablate", NAME, "--dry-run", "--device", "cpu"]) == EXIT_OK
    assert "arms: 6" in capsys.readouterr().out
    assert not (here / "results").exists()


def test_without_a_name_it_says_what_there_is_and_trains_nothing(here, capsys):
    assert main(["ablate"]) == EXIT_USAGE
    (said,) = capsys.readouterr().err.splitlines()
    assert f"{NAME} (360 runs, about " in said
    assert "--table FILE, which trains nothing" in said
    assert not (here / "results").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["schedules"], "names the experiment schedules; slaw ablate expects one with"),
        (["quick"], "names no experiment; slaw ablate expects one with"),
        (
            [NAME, "--set", "grid=[{sizes: [nano14k, nano25k], tokens: [1M, 2M, 4M]}]"],
            "2 sizes; expected at least 4",
        ),
        (
            [NAME, "--set", "grid=[{sizes: [nano14k, nano25k, nano55k, nano98k], flops: [1e11]}]"],
            "1 budget that runs decay at; expected at least 3",
        ),
    ],
)
def test_a_config_that_is_no_ladder_is_refused_before_it_trains(here, capsys, words, message):
    assert main(["ablate", *words, "--device", "cpu"]) == EXIT_USAGE
    assert message in capsys.readouterr().err
    assert not (here / "results").exists()


GRID = """grid=[{sizes: [{n_layer: 2, d_model: 8, n_head: 2}, {n_layer: 2, d_model: 12, n_head: 2},
  {n_layer: 2, d_model: 16, n_head: 2}, {n_layer: 2, d_model: 24, n_head: 2}],
  flops: [8e9, 1.2e10, 1.8e10], axes: {schedule.shape: [wsd], optim.batch_tokens: [256]}}]"""


@pytest.mark.parametrize(("diverge", "code"), [(False, EXIT_OK), (True, EXIT_FIT)])
def test_the_command_trains_and_shows_the_ladder(here, capsys, monkeypatch, diverge, code):
    def train(request: Request, say: Say):
        config, profile = config_and_profile(request, say)
        sweep, plan = sweep_of(request, config), planned(config, profile, None)
        keep_plan(plan, config, sweep)
        runs = planted_runs(experiment_of(NAME), [run.spec for run in plan.runs])
        for run in runs:
            lost = record_of(run.spec, status="diverged")
            write_record(sweep.run(run.record.run_id), lost if diverge else run.record)
        return sweep, plan, SweepOutcome(done=[run.record.run_id for run in runs])

    drawn: list[Path] = []

    def draw(findings: Findings, folder: Path) -> list[Path]:
        drawn.append(folder)
        return []

    monkeypatch.setattr(ablating.ablate, "__kwdefaults__", {"train": train})
    monkeypatch.setattr("scaling_law.report.experiment.write_figures", draw)
    assert main(["ablate", NAME, "--device", "cpu", "--out", "mine", "--set", GRID]) == code
    printed = capsys.readouterr()
    if diverge:
        assert "no rung has an exponent" in printed.err and not drawn
    else:
        assert "rate and batch by size  0." in printed.out and "3 of 3" in printed.out
        assert drawn == [Path("mine/figures")]
