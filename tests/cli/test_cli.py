"""Commands on a finished sweep: their output on each stream, and their exit codes."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scaling_law import console
from scaling_law.cli.main import main
from scaling_law.config.load import load_config
from scaling_law.config.written import config_yaml
from scaling_law.console import say, show
from scaling_law.design import session
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records, write_record
from scaling_law.plan.make import make_plan
from scaling_law.report import page
from scaling_law.report.exports import write_table
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.counts import count_params
from scaling_law.units import format_count, format_seconds
from tests.fakes import PLANTED, cpu_profile, planted_records
from tests.monitor.half_way import half_way


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    sweep = SweepDir(tmp_path_factory.mktemp("results") / "planted")
    for record in planted_records():
        write_record(sweep.run(record.run_id), record)
    return sweep


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def test_fit_json_prints_exactly_one_document(sweep, capsys):
    code, out, _ = run(capsys, "fit", str(sweep.path), "--resamples", "100", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["points"] == 32
    assert document["laws"]["chinchilla"]["params"]["E"] == pytest.approx(PLANTED["E"], rel=0.1)


def test_fit_says_where_it_is_saved(sweep, capsys):
    code, out, _ = run(capsys, "fit", str(sweep.path), "--resamples", "100")
    assert code == 0
    assert "32 annealed points from 8 independent trunks" in out
    assert f"saved in {sweep.fits / 'fit.json'}" in out


def test_extrapolate_uses_the_saved_fit_and_names_it(sweep, capsys):
    run(capsys, "fit", str(sweep.path), "--resamples", "100")
    words = ("extrapolate", "--params", "175e9", "--results", str(sweep.path))
    code, out, _ = run(capsys, *words)
    assert code == 0
    verdict, loss, origin = out.splitlines()[:3]
    assert verdict.endswith("quote the range, never its middle")
    assert loss.startswith("loss somewhere in ")
    assert "laws by their weights (chinchilla " in origin and f"fitted to {sweep.path}" in origin
    assert "orders of magnitude" in out
    code, out, _ = run(capsys, *words, "--json")
    document = json.loads(out)
    assert code == 0
    wanted = {"law", "params", "tokens", "flops", "loss_nats", "low_nats", "high_nats", "level"}
    assert wanted | {"beyond_data", "warnings"} <= document.keys()
    assert document["low_nats"] < document["loss_nats"] < document["high_nats"]
    assert document["beyond_data"]["params"] > 1e5


def test_a_folder_with_one_sweep_stands_for_it_and_the_sweep_is_named(sweep, capsys, monkeypatch):
    run(capsys, "fit", str(sweep.path), "--resamples", "100")
    words = ("extrapolate", "--params", "10x", "--results", str(sweep.path.parent))
    code, out, _ = run(capsys, *words)
    assert code == 0 and f"fitted to {sweep.path} (see slaw fit)" in out.splitlines()[0]
    monkeypatch.setattr("scaling_law.cli.fit.RESULTS", str(sweep.path.parent))
    _, _, err = run(capsys, "fit", str(sweep.path.parent), "--resamples", "0")
    assert f"reading {sweep.path}" in err


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two sizes at two horizons, which no law of both can be fitted to."""
    sweep = SweepDir(tmp_path_factory.mktemp("small") / "small")
    records = [record for record in planted_records() if record.kind != "trunk"]
    sizes = sorted({record.params_matmul for record in records})[:2]
    for size in sizes:
        own = [record for record in records if record.params_matmul == size]
        for record in own[:2]:
            write_record(sweep.run(record.run_id), record)
    return sweep


TOO_FEW = "too few for a law of size and tokens: 2 sizes (at least 3), "


@pytest.mark.parametrize("words", [(), ("--full",), ("--law", "skaling"), ("--compare",)])
def test_a_fit_without_a_law_is_shown_and_ends_with_4(small, capsys, words):
    code, out, err = run(capsys, "fit", str(small.path), *words)
    assert code == 4 and "too few points" in out
    (line,) = [line for line in err.splitlines() if line.startswith("slaw: ")]
    assert TOO_FEW in line and "4 annealed points (at least 6); add them" in line


def test_a_fit_without_a_law_in_json_is_one_document(small, capsys):
    code, out, err = run(capsys, "fit", str(small.path), "--json")
    assert code == 4 and TOO_FEW in err
    assert not json.loads(out)["laws"]["chinchilla"]["params"]


def test_arms_without_a_law_end_with_4_and_one_reason(tmp_path, capsys):
    rows = ["params,tokens,loss,recipe"]
    for recipe in ("a", "b", "c"):
        rows += [f"{n}e6,{d}e8,{3 - 0.1 * n - 0.01 * d},{recipe}" for n in (1, 2) for d in (1, 2)]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(rows) + "\n")
    code, out, err = run(capsys, "fit", str(table), "--by", "recipe")
    assert code == 4 and out.count("  none  ") == 3
    assert "no law: recipe=a, recipe=b, recipe=c: " + TOO_FEW in out
    lines = [line for line in err.splitlines() if line.startswith("slaw: ")]
    assert len(lines) == 1 and "slaw: recipe=a, recipe=b, recipe=c: " + TOO_FEW in lines[0]


def test_published_laws_need_no_results(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("extrapolate", "--law", "besiroglu2024", "--params", "70e9", "--tokens", "1.4e12")
    code, out, _ = run(capsys, *words, "--json")
    # Besiroglu 2024's parameters in Hoffmann's equation 2
    expected = 1.8172 + 482.01 / 70e9**0.3478 + 2085.43 / 1.4e12**0.3658
    assert code == 0
    assert json.loads(out)["loss_nats"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["fit", "nowhere"], 2, "nowhere: no such folder"),
        (["fit", "."], 2, "holds no run records"),
        (["extrapolate", "--params", "1e9", "--results", "nowhere"], 2, "no such folder"),
        (["extrapolate"], 2, "nothing to forecast"),
        (["extrapolate", "--params", "10", "--tokens", "10", "--results", "@"], 4, "above ln("),
        (["extrapolate", "--law", "newton", "--params", "1e9", "--results", "@"], 2, "'newton'"),
        (["extrapolate", "--target-loss", "0.5", "--results", "@"], 4, "irreducible"),
        (["extrapolate", "--params", "1e9", "--level", "2", "--results", "@"], 2, "level 2"),
        (["fit", "@", "--level", "7"], 2, "level 7"),
        (["fit", "@", "--resamples", "5"], 2, "resamples 5"),
        (["status", "@"], 2, "plan.json: no such file"),
        (["report", "nowhere"], 2, "no such folder"),
        (["extrapolate", "--law", "foo", "--params", "1e9"], 2, "law 'foo': expected a law"),
        (
            ["extrapolate", "--law", "besiroglu2024", "--dollars", "9", "--gpu", "m1"],
            2,
            "no rental",
        ),
        (["fit", "@", "--columns", "params=N"], 2, "are for tables"),
        (["fit", "@", "--keep", "plateaus"], 2, "rule 'plateaus' (did you mean plateau?)"),
        (
            ["fit", "@", "--law", "chinchila"],
            2,
            "named 'chinchila' (did you mean chinchilla?)",
        ),
        (["fit", "@", "--resamples", "1000000000"], 2, "GB: ask for at most"),
        (["validate", "nowhere"], 2, "no such folder"),
        (["validate", "@", "--law", "newton"], 2, "no law is named 'newton'"),
        (["fit", "gone.csv"], 2, "gone.csv"),
    ],
)
def test_bad_input_gives_one_line_and_an_exit_code(
    sweep, capsys, tmp_path, monkeypatch, words, code, said
):
    monkeypatch.chdir(tmp_path)
    exit_code, out, err = run(capsys, *[w.replace("@", str(sweep.path)) for w in words])
    assert exit_code == code
    assert out == ""
    assert all(line.startswith("slaw: ") for line in err.splitlines())
    assert said in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["extrapolate", "--params", "many"],
        ["fit", "--loss", "l1"],
        ["fit", "--figure", "fit.pdf"],
        ["walk"],
    ],
)
def test_bad_flags_exit_with_2_and_name_the_help(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert err.startswith("slaw: ") and err.endswith("--help`\n") and err.count("\n") == 1


def test_completion_and_schema_are_printed(capsys):
    assert run(capsys, "completion", "bash")[1].startswith("# AUTOMATICALLY GENERATED")
    schema = json.loads(run(capsys, "config", "--schema")[1])
    assert {"name", "data", "grid"} <= schema["properties"].keys()
    assert "base_flops" in run(capsys, "config", "--mode", "quick", "--device", "cpu")[1]


def test_fish_completes_every_command_option_and_choice(capsys):
    lines = run(capsys, "completion", "fish")[1].splitlines()
    assert lines[1] == "complete -c slaw -f"
    assert all(line.startswith(("#", "complete -c slaw ")) for line in lines)
    inside = "complete -c slaw -n '__fish_seen_subcommand_from"
    assert (
        f"{inside} export' -l format -x -a 'safetensors hf' -d 'format of the weights"
        in "\n".join(lines)
    )
    assert f"{inside} completion' -a 'bash zsh fish tcsh'" in lines
    assert f"{inside} run' -l dry-run -d 'print the plan and write nothing'" in lines
    assert any("use_subcommand -a retrodict -d '" in line for line in lines)
    assert any("Student\\'s t" in line for line in lines), "a quote in a help text is escaped"


def test_a_forecast_for_a_size_states_its_tokens(sweep, capsys):
    run(capsys, "fit", str(sweep.path), "--resamples", "100")
    words = ("extrapolate", "--results", str(sweep.path), "--params", "3e6")
    alone = run(capsys, *words)[1]
    tokens = json.loads(run(capsys, *words, "--json")[1])["tokens"]
    said = f"; the loss and its interval are for exactly {format_count(tokens)} tokens\n"
    assert said in alone
    assert "are for exactly" not in run(capsys, *words, "--tokens", "1e7")[1]


def test_a_table_is_fitted_forecast_and_validated(sweep, capsys, tmp_path):
    path = tmp_path / "runs.csv"
    rows = ["N,D,val,trunk"]
    for size in range(6):
        for horizon in range(4):
            n, d = 14e3 * 2**size, 4e5 * 2**horizon
            noise = 1 + 0.002 * ((7 * size + 3 * horizon) % 5 - 2)
            rows.append(f"{n},{d},{(1.8 + 80 * n**-0.35 + 350 * d**-0.37) * noise},t{size}")
    path.write_text("\n".join(rows))
    options = ("--columns", "params=N,tokens=D,loss=val,cluster=trunk", "--params-are", "total")
    kept, figure = tmp_path / "kept", tmp_path / "fit.png"
    code, out, err = run(
        capsys, "fit", str(path), *options, "--out", str(kept), "--figure", str(figure), "--full"
    )
    assert code == 0 and "24 points from 6 independent trunks" in out
    assert "params: total" in out
    assert figure.read_bytes().startswith(b"\x89PNG") and "fit.png" in err
    code, out, _ = run(capsys, "extrapolate", "--params", "1e6", "--results", str(kept), "--json")
    assert code == 0 and json.loads(out)["low_nats"] < json.loads(out)["high_nats"]
    code, again, _ = run(
        capsys, "extrapolate", "--params", "1e6", "--results", str(path), *options, "--json"
    )
    assert json.loads(again)["law"] == json.loads(out)["law"]
    code, out, _ = run(
        capsys, "fit", str(path), *options, "--resamples", "0", "--law", "saturating:params",
        "--full",
    )  # fmt: skip
    assert code == 0 and "saturating:params: converged" in out


def _grid(sizes: int, horizons: int, iso: bool = False) -> list[str]:
    rows = []
    for i in range(sizes):
        for j in range(horizons):
            n = 1e5 * 2**i
            d = 1e12 / n if iso else 1e6 * 2**j
            rows.append(f"{n},{d},{1.8 + 80 * n**-0.35 + 350 * d**-0.37}")
    return rows


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        (["1e5,1e6,3"], 2, "1 of 1 rows can be used"),
        (["1e5,1e6,3", "2e5,1e6,2.9"], 4, "no law can be fitted"),
        (["1e5,1e6,3"] * 12, 4, "left out: duplicates (11)"),
        (["1e5,0,3", "1e5,-1,3", "1e5,nan,3"], 2, "0 of 3 rows can be used"),
        (["many,rows,of"] * 3, 2, "expected numbers"),
    ],
)
def test_a_table_that_no_law_fits_is_refused_in_one_line(capsys, tmp_path, rows, code, said):
    path = tmp_path / "t.csv"
    path.write_text("params,tokens,loss\n" + "\n".join(rows) + "\n")
    exit_code, out, err = run(capsys, "fit", str(path))
    assert (exit_code, out) == (code, "")
    assert said in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (_grid(1, 8), "1 different value of params; at least 3 needed"),
        (_grid(8, 1), "1 different value of tokens; at least 3 needed"),
        (_grid(8, 1, iso=True), "the same params * tokens (one IsoFLOP cell): vary the budget"),
        ([f"{n},{20 * n},{3 - k / 20}" for k, n in enumerate((1e5, 2e5, 4e5, 8e5, 16e5, 32e5))],
         "params and tokens move together: vary them apart"),
    ],
)  # fmt: skip
def test_unidentified_laws_of_a_table_say_which_runs_to_add(capsys, tmp_path, rows, said):
    path = tmp_path / "t.csv"
    path.write_text("params,tokens,loss\n" + "\n".join(rows) + "\n")
    code, out, err = run(capsys, "fit", str(path), "--resamples", "0", "--json")
    chinchilla = json.loads(out)["laws"]["chinchilla"]
    assert code == 4 and chinchilla["status"] == "too_few_points"
    assert said in err or "(at least 3); add them" in err
    assert said in chinchilla["message"] and not chinchilla["params"]
    assert run(capsys, "extrapolate", "--params", "1e9", "--results", str(path))[0] == 4


def test_compare_and_validate_print_their_tables(sweep, capsys, tmp_path):
    figure = tmp_path / "compare.svg"
    words = ("--resamples", "100", "--compare", "--figure", str(figure))
    code, out, _ = run(capsys, "fit", str(sweep.path), *words)
    assert code == 0 and figure.read_text().startswith("<?xml")
    for name in ("parametric (chinchilla)", "IsoFLOP", "envelope"):
        for count in ("matmul", "total", "non-embedding"):
            assert any(x.startswith(name) and count in x for x in out.splitlines()), (name, count)
    code, out, _ = run(capsys, "validate", str(sweep.path), "--resamples", "100")
    assert code == 0 and "each trunk left out" in out and "verdict:" in out
    code, out, _ = run(
        capsys, "validate", str(sweep.path), "--resamples", "0", "--law", "skaling", "--json"
    )
    assert json.loads(out)["expanding"][0]["n_fitted"] > 0


def test_a_closed_pipe_is_not_an_error():
    code = "import sys; from scaling_law.cli.main import main; main(['config', '--schema'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=600)
    assert err == ""


def test_help_explains_every_option_of_every_command():
    import argparse

    from scaling_law.cli.main import make_parser

    (commands,) = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    silent = [
        f"{name} {(action.option_strings or [action.dest])[0]}"
        for name, parser in commands.choices.items()
        for action in parser._actions
        if not action.help
    ]
    assert silent == []
    assert [name for name, parser in commands.choices.items() if not parser.description] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["extrapolate", "--parms", "1e9"],
            "--parms 1e9 (did you mean --params?); see `slaw extrapolate --help`",
        ),
        (
            ["allocate", "results/quick", "--flops", "1e18"],
            "results/quick (a sweep goes after --results); see `slaw allocate --help`",
        ),
        (["status", "a", "b"], "unrecognized arguments: b; see `slaw status --help`"),
    ],
)
def test_an_unknown_argument_suggests_the_nearest_and_the_help(capsys, words, said):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def commanding(text: str) -> set[str]:
    """The characters of a text that may command a terminal."""
    return {c for c in text if ord(c) < 32 or 127 <= ord(c) < 160} - {"\n", "\t"}


def test_control_characters_in_a_folders_name_never_reach_the_terminal(tmp_path, capsys):
    folder = tmp_path / "a\x1b[31mred\x07"
    half_way(folder)
    for words in (["status"], ["monitor", "--once"]):
        assert main([*words, str(folder)]) == 0
        said = "".join(capsys.readouterr())
        assert r"\x1b[31m" in said, words
        assert not commanding(said), words
    show(folder)
    say(f"{folder}:\n\tnext")
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path}/" + r"a\x1b[31mred\x07" + "\n"
    assert printed.err == f"{tmp_path}/" + r"a\x1b[31mred\x07" + ":\n\tnext\n"


def test_no_command_prints_past_the_one_place_that_escapes():
    commands = Path(console.__file__).parent / "cli"
    prints = {p.name for p in commands.glob("*.py") if re.search(r"(?<!\w)print\(", p.read_text())}
    assert prints == {"main.py", "monitor.py"}, "completion scripts, and an empty line"


def test_reports_hold_no_control_characters(tmp_path):
    name = "a\x1b[31m\x00\x9b\nb"
    assert not commanding(page.text(name))
    write_table([{name: name, "loss": 1.0}], tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text()
    assert not commanding(text)
    assert len(text.splitlines()) == 2


def test_fit_prints_one_screen_and_full_prints_the_rest(sweep, capsys):
    words = ("fit", str(sweep.path), "--resamples", "100")
    brief, full = run(capsys, *words)[1], run(capsys, *words, "--full")[1]
    assert len(brief.splitlines()) <= 25 < len(full.splitlines())
    assert re.search("law chinchilla, which .* at predicting held-out runs:\n    E = ", brief)
    assert "forecasts are over 2 laws by their weights: chinchilla " in brief
    assert "\nverdict: trust forecasts up to " in brief and "x the compute of the largest" in brief
    assert "left out, not_annealed: a trunk (its branches are the points): 8 runs" in brief
    assert "other laws" in full and "joint laws: rms residual" not in brief
    target, results = re.findall(r"next: slaw extrapolate (.*x) (--results .*)\n", brief)[0]
    code, out, _ = run(capsys, "extrapolate", *target.split(), *results.split())
    assert code == 0 and "by their weights (chinchilla" in out, "the command that it suggests works"


def test_without_trust_the_suggested_forecast_stays_at_the_largest_compute(capsys, tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("params,tokens,loss\n" + "\n".join(_grid(3, 3)[:7]) + "\n")
    code, out, _ = run(capsys, "fit", str(path), "--resamples", "0")
    assert code == 0 and "trust forecasts up to" not in out
    assert "next: slaw extrapolate --flops 1x --results" in out
    for law, said in (("kaplan", "mean kaplan_nd?"), ("hoffmann2022", "--law chinchilla fits its")):
        for command in ("fit", "validate"):
            assert run(capsys, command, str(path), "--law", law)[0] == 2
            # the law is refused before the table is read
            assert said in run(capsys, command, str(path), "--law", law)[2]
    path.write_text("params,tokens,loss\n" + "\n".join(_grid(1, 8)) + "\n")
    code, out, _ = run(capsys, "fit", str(path), "--resamples", "0")
    assert code == 4 and "no joint law could be fitted" in out
    assert "slaw extrapolate" not in out, "it would be refused"


def test_without_trust_a_sweep_is_pointed_to_further_runs_and_their_cost(capsys, tmp_path):
    config = load_config("tour", device_kind="cpu")
    sweep = SweepDir(tmp_path / "tour")
    for record in planted_records(0.05, config):
        write_record(sweep.run(record.run_id), dataclasses.replace(record, seconds=15.0))
    code, out, _ = run(capsys, "fit", str(sweep.path), "--resamples", "0")
    assert "trust forecasts up to" not in out
    assert "next: slaw extrapolate --flops 1x" in out, "further runs need the config and the plan"
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    layout.write_json(sweep.plan, plan.to_json())
    sweep.config.write_text(config_yaml(config))
    code, out, _ = run(capsys, "fit", str(sweep.path), "--resamples", "0")
    # 16 runs of 15 seconds on the plan's slots
    minutes = math.ceil(16 * 15 / plan.slots / 60)
    assert code == 0 and "slaw extrapolate" not in out
    assert f"next: slaw plan {sweep.path} --target 524K --time {minutes}m\n" in out
    assert f"4 times the largest size best, for {minutes}m of training" in out
    # the price of the target itself stands beside that of the runs which forecast it
    _, said, _ = run(
        capsys, "extrapolate", "--params", "524K", "--results", str(sweep.path), "--json"
    )
    tokens = json.loads(said)["tokens"]
    records = load_records(sweep)
    longest = max(records, key=lambda r: (count_params(r.spec.model).matmul, r.tokens))
    size = count_params(longest.spec.model).matmul
    seconds = 15 * longest.flops_exact / longest.flops_spent * 4 * tokens / longest.tokens
    own = f"a run of that size itself, on {format_count(tokens)} tokens, takes about"
    assert f"{own} {format_seconds(seconds)} at their pace" in out and size > 1e5
    assert ("at their pace, which is less: add the size" in out) == (seconds < 16 * 15 / plan.slots)
    for record in records:
        small = count_params(record.spec.model).matmul < size
        slowed = dataclasses.replace(record, seconds=1500.0 if small else 0.01)
        write_record(sweep.run(record.run_id), slowed)
    assert (
        "at their pace, which is less: add the size to the grid"
        in run(capsys, "fit", str(sweep.path), "--resamples", "0")[1]
    )
    counted = ("--convention", "total", "--resamples", "0")
    total = format_count(4 * max(count_params(run.spec.model).total for run in plan.runs))
    assert f"--target {total} --time" in run(capsys, "fit", str(sweep.path), *counted)[1]
    # 4 epochs of it are two horizons of the smallest size: slaw plan would refuse
    short = dataclasses.replace(plan, train_tokens=60_000)
    layout.write_json(sweep.plan, short.to_json())
    code, out, _ = run(capsys, "fit", str(sweep.path), "--resamples", "0")
    assert code == 0 and "next: slaw extrapolate --flops 1x" in out and "slaw plan" not in out
    sweep.plan.write_text("{")
    code, out, _ = run(capsys, "fit", str(sweep.path), "--resamples", "0")
    assert code == 0 and "next: slaw extrapolate --flops 1x" in out, "a fit needs no plan"


def test_a_fit_points_to_no_plan_that_an_architecture_without_shapes_refuses(
    capsys, tmp_path, monkeypatch
):
    config = load_config("tour", device_kind="cpu")
    sweep = SweepDir(tmp_path / "tour")
    for record in planted_records(0.05, config):
        write_record(sweep.run(record.run_id), record)
    layout.write_json(sweep.plan, make_plan(config, cpu_profile(), train_tokens=None).to_json())
    sweep.config.write_text(config_yaml(config))
    assert "next: slaw plan" in run(capsys, "fit", str(sweep.path), "--resamples", "0")[1]
    part = architecture_of(load_records(sweep)[0].spec.model)
    part = dataclasses.replace(part, shape_for=None)
    monkeypatch.setattr(session, "architecture_of", lambda model: part)
    code, out, _ = run(capsys, "fit", str(sweep.path), "--resamples", "0")
    assert code == 0 and "next: slaw extrapolate --flops 1x" in out and "slaw plan" not in out


@pytest.mark.slow
def test_suggested_commands_repeat_the_tables_options(capsys, tmp_path):
    path = tmp_path / "my runs.csv"
    path.write_text("N,D,val\n" + "\n".join(_grid(6, 4)) + "\n")
    options = ["--columns", "params=N,tokens=D,loss=val", "--params-are", "non-embedding"]
    code, out, _ = run(capsys, "fit", str(path), *options, "--resamples", "0")
    assert code == 0 and "params: non_embedding" in out
    (command,) = re.findall(r"next: slaw (extrapolate .*)\n", out)
    code, out, _ = run(capsys, *shlex.split(command))
    assert code == 0 and "laws by their weights" in out


def test_distances_are_multiples_of_the_largest_fitted_run(sweep, capsys):
    results = ("--results", str(sweep.path), "--json")
    run(capsys, "fit", str(sweep.path), "--resamples", "100")
    for flag, name in (("--params", "params"), ("--tokens", "tokens"), ("--flops", "flops")):
        document = json.loads(run(capsys, "extrapolate", flag, "10x", *results)[1])
        assert document["beyond_data"][name] == pytest.approx(10)
    document = json.loads(run(capsys, "allocate", "--flops", "10x", *results)[1])
    assert document["beyond_data"]["flops"] == pytest.approx(10)
    code, _, err = run(capsys, "allocate", "--flops", "10x", "--dollars", "5")
    assert code == 2 and "expected one of --flops, --target-loss, --dollars" in err


def test_the_json_marks_the_figures_that_the_text_omits(sweep, capsys):
    run(capsys, "fit", str(sweep.path), "--resamples", "100")
    words = ("--results", str(sweep.path), "--json")
    near = json.loads(run(capsys, "extrapolate", "--params", "2x", *words)[1])
    far = json.loads(run(capsys, "extrapolate", "--params", "175e9", *words)[1])
    assert (
        "params ~ compute^a of the forecast near"
        in run(capsys, "extrapolate", "--params", "2x", *words[:2])[1]
    ), "it differs from the law's own, which slaw fit prints"
    assert near["figures_refused"] == []
    assert far["figures_refused"] == [
        "loss_nats", "tokens_for_params", "params_optimal", "tokens_optimal",
    ]  # fmt: skip
    near = json.loads(run(capsys, "allocate", "--flops", "2x", *words)[1])
    far = json.loads(run(capsys, "allocate", "--flops", "1e24", *words)[1])
    assert near["figures_refused"] == []
    assert {"params", "tokens", "loss_nats"} <= set(far["figures_refused"]) <= far.keys()
    assert "flops" not in far["figures_refused"], "a budget is exact"


def test_without_results_the_message_suggests_a_published_law(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (("allocate", "--flops", "1e18"), ("extrapolate", "--params", "1e9")):
        code, _, err = run(capsys, *words)
        assert code == 2 and "results: no such folder" in err
        assert "published law, which needs no results, as in --law besiroglu2024" in err
    assert "--law" not in run(capsys, "allocate", "--flops", "1e18", "--results", "gone")[2]
