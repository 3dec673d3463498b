"""``slaw import`` reads what other programs write, and says how."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from scaling_law import parts
from scaling_law.cli.main import main
from scaling_law.fit.points.table import read_table
from tests.tables import written

UI = """\
"Name","State","Runtime","n_params","train/tokens","train/loss","val/loss","val/acc"
"s-a","finished","100","1.3M","26,000,000","3.2","3.31","0.3"
"s-b","finished","200","5M","100,000,000","2.9","3.01","0.35"
"s-c","crashed","20","5M","10,000,000","3.9","4.01","0.3"
"s-d","finished","300","20M","400,000,000","2.6","2.71","NaN"
"""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def imported(capsys, *words: str) -> tuple[str, list[dict[str, str]]]:
    """What an import prints, and the rows that it writes."""
    assert main(["import", *words, "--out", "out.csv"]) == 0, capsys.readouterr().err
    return capsys.readouterr().out, rows_of("out.csv")


def refused(capsys, *words: str) -> str:
    """The message of an import that is refused and writes nothing."""
    assert main(["import", *words, "--out", "out.csv"]) == 2
    assert not Path("out.csv").exists()
    return capsys.readouterr().err


def refused_beside(capsys, *words: str) -> str:
    """The message of an import that is refused where a table lies already."""
    before = Path("out.csv").read_text()
    assert main(["import", *words, "--out", "out.csv"]) == 2
    assert Path("out.csv").read_text() == before
    return capsys.readouterr().err


def test_an_export_of_the_page_of_wandb(here, capsys):
    Path("ui.csv").write_text(UI)
    out, rows = imported(capsys, "ui.csv")
    assert "loss    is val/loss" in out and "(before train/loss)" in out
    assert "left out, 1 run: state is crashed: not finished: s-c" in out
    assert [(r["run_id"], r["params"], r["tokens"], r["loss"]) for r in rows] == [
        ("s-a", "1300000", "26000000", "3.31"),
        ("s-b", "5000000", "100000000", "3.01"),
        ("s-d", "20000000", "400000000", "2.71"),
    ]
    assert [r["val/acc"] for r in rows] == ["0.3", "0.35", ""]
    points = read_table(Path("out.csv"))
    assert points.run_id == ("s-a", "s-b", "s-d") and points.loss_nats.tolist() == [
        3.31,
        3.01,
        2.71,
    ]


def test_an_export_of_the_api_of_wandb_with_objects_in_cells(here, capsys):
    row = "{i},\"{{'val_loss': {loss}, 'tokens_seen': {tokens}, 'best': nan}}\","
    row += "\"{{'m': {{'n_params': {params}}}}}\",{name}\n"
    lines = [row.format(i=0, loss=3.1, tokens=2e7, params=1000000, name="a"),
             row.format(i=1, loss=2.9, tokens=8e7, params=4000000, name="b")]  # fmt: skip
    Path("project.csv").write_text(",summary,config,name\n" + "".join(lines))
    out, rows = imported(capsys, "project.csv")
    assert "summary.val_loss" in out and "config.m.n_params" in out
    assert [(r["run_id"], r["params"], r["tokens"], r["loss"]) for r in rows] == [
        ("a", "1000000", "20000000", "3.1"),
        ("b", "4000000", "80000000", "2.9"),
    ]


def test_curves_of_the_page_of_wandb_side_by_side_join_with_a_table_of_sizes(here, capsys):
    Path("curves.csv").write_text(
        '"Step","a - val/loss","a - val/loss__MIN","a - val/loss__MAX","b - val/loss"\n'
        '"0","5.0","5.0","5.0","5.1"\n"1000","3.2","3.2","3.2",""\n"2000","3.0","3.0","3.0","2.8"\n'
    )
    Path("sizes.csv").write_text("run,params\na,1e6\nb,4e6\n")
    out, rows = imported(
        capsys, "curves.csv", "sizes.csv", "--tokens-per-step", "0.5M", "--curves", "c.csv"
    )
    assert "2 columns of least and most values passed over" in out
    assert "2 runs joined from several sources by name" in out
    assert [(r["run_id"], r["params"], r["tokens"], r["loss"]) for r in rows] == [
        ("a", "1000000", "1000000000", "3"),
        ("b", "4000000", "1000000000", "2.8"),
    ]
    points = [(r["run"], r["step"], r["tokens"], r["loss"]) for r in rows_of("c.csv")]
    assert points[:3] == [
        ("a", "0", "0", "5"), ("a", "1000", "500000000", "3.2"), ("a", "2000", "1000000000", "3")
    ]  # fmt: skip
    assert len(points) == 5


def test_a_curve_a_row_with_several_evaluation_sets_needs_a_choice(here, capsys):
    Path("log.csv").write_text(
        "run,step,params,tokens,eval/c4/loss,eval/pile/loss\n"
        "a,1,1e6,1e7,4.0,4.4\na,2,1e6,2e7,3.5,3.9\nb,1,2e6,1e7,3.9,4.3\nb,2,2e6,2e7,3.4,3.8\n"
    )
    said = refused(capsys, "log.csv")
    assert (
        "2 columns may be the loss: eval/c4/loss, eval/pile/loss; choose one, as in --loss" in said
    )
    out, rows = imported(
        capsys, "log.csv", "--loss", "eval/c4/loss", "--metric", "pile=eval/pile/loss"
    )
    assert "4 rows read as curves of 2 runs" in out
    assert [(r["loss"], r["pile"], r["tokens"]) for r in rows] == [
        ("3.5", "3.9", "20000000"),
        ("3.4", "3.8", "20000000"),
    ]


def test_offline_folders_of_wandb(here, capsys):
    history = [{"_step": i, "val/loss": 4 - i / 10, "tokens": 1e6 * (i + 1)} for i in range(8)]
    written.wandb_folder(
        here, "abc1", log=written.wandb_log("abc1", "small", {"n_params": 1000000}, history)
    )
    written.wandb_folder(
        here, "abc2", config={"n_params": 4000000}, summary={"val/loss": 3.0, "tokens": 8e6}
    )
    written.wandb_folder(here, "abc3", config={"n_params": 4000000})
    out, rows = imported(capsys, ".", "--curves", "c.csv")
    assert [(r["run_id"], r["params"], r["loss"], r["tokens"]) for r in rows] == [
        ("small", "1000000", "3.3", "8000000"),
        ("abc2", "4000000", "3", "8000000"),
    ]
    assert "no summary and no history" in out and "offline-run-20261130_120000-abc3" in out
    assert len(rows_of("c.csv")) == 8


def test_decimal_commas_and_units_in_headers(here, capsys):
    Path("de.csv").write_text(
        "run;Parameter (Mio);train tokens (B);val_loss\na;1,5;0,02;3,21\nb;3,0;0,04;3,11\n"
    )
    out, rows = imported(capsys, "de.csv")
    assert "decimal commas read in" in out and "units of 1e+06" in out
    assert [(r["params"], r["tokens"], r["loss"]) for r in rows] == [
        ("1500000", "20000000", "3.21"), ("3000000", "40000000", "3.11")
    ]  # fmt: skip


def test_a_log_of_wandb_over_several_blocks_and_cut_off(here, capsys):
    history = [{"_step": i, "val/loss": 4.0 - i / 1000, "note": "x" * 900} for i in range(90)]
    log = written.wandb_log("r1", "", {"n_params": 1e6, "tokens": 1e8}, history)
    folder = written.wandb_folder(here, "r1", log=log)
    out, rows = imported(capsys, str(folder))
    assert float(rows[0]["loss"]) == pytest.approx(3.911)
    (folder / "run-r1.wandb").write_bytes(log[: len(log) // 2])
    out, rows = imported(capsys, str(folder))
    assert "its end is cut off" in out and float(rows[0]["loss"]) > 3.94


def test_a_resumed_run_of_wandb_is_one_run(here, capsys):
    for time, losses in (("20261130_120000", [4.0, 3.8]), ("20261130_130000", [3.6])):
        points = [{"_step": i, "val/loss": x, "tokens": x * 1e6} for i, x in enumerate(losses)]
        log = written.wandb_log("r1", "one", {"n_params": 1e6}, points)
        written.wandb_folder(here, "r1", log=log, time=time)
    out, rows = imported(capsys, ".")
    assert "1 folder read as later parts of a run: r1" in out
    assert [(r["run_id"], r["loss"]) for r in rows] == [("one", "3.6")]


def test_a_crashed_run_of_wandb_is_left_out_and_no_run_at_all_is_refused(here, capsys):
    log = written.wandb_log("r1", "one", {"n_params": 1e6}, [{"val/loss": 3.0, "tokens": 1e7}], 1)
    written.wandb_folder(here, "r1", log=log)
    assert "0 of 1 rows can be used" in refused(capsys, ".")
    empty = written.wandb_folder(here / "other", "r2", config={"n_params": 1})
    assert "no run that can be read; offline-run-20261130_120000-r2: no summary" in refused(
        capsys, str(empty)
    )


def test_event_files_of_tensorboard(here, capsys):
    for name, params, loss in (("a", 1e6, 3.0), ("b", 4e6, 2.8)):
        Path("logs", name).mkdir(parents=True)
        scalars = [(0, "n_params", params)]
        for step in (1, 2):
            scalars += [(step, "eval/loss", loss + 1 / step), (step, "tokens_seen", 1e6 * step)]
        Path("logs", name, "events.out.tfevents.1.host").write_bytes(written.event_file(scalars))
    out, rows = imported(capsys, "logs")
    assert "event files (format tensorboard), 2 runs" in out
    assert [(r["run_id"], r["params"], r["tokens"]) for r in rows] == [
        ("a", "1000000", "2000000"), ("b", "4000000", "2000000")
    ]  # fmt: skip
    assert [float(r["loss"]) for r in rows] == pytest.approx([3.5, 3.3])
    (file,) = Path("logs/a").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    assert "its last record is cut off" in imported(capsys, "logs")[0]


def test_a_scalar_that_the_page_of_tensorboard_exports(here, capsys):
    Path("run-a-tag-eval_loss.csv").write_text("Wall time,Step,Value\n1.0,1,4.0\n2.0,2,3.5\n")
    words = ["--params", "1M", "--tokens-per-step", "1M"]
    _, rows = imported(capsys, "run-a-tag-eval_loss.csv", *words)
    assert [(r["run_id"], r["loss"], r["tokens"]) for r in rows] == [("a", "3.5", "2000000")]


def test_logs_of_nanogpt_and_one_that_did_not_finish(here, capsys):
    for name, params, loss in (("a", "29.94M", 3.5), ("b", "123.59M", 3.1)):
        Path(f"{name}.log").write_text(written.NANOGPT.format(params=params, loss=loss))
    half = written.NANOGPT.format(params="29.94M", loss=3.5).split("step 2000")[0]
    Path("half.log").write_text(half + "step 20")
    out, rows = imported(capsys, "a.log", "b.log", "half.log")
    assert "state is stopped at step 1000 of 2000: not finished: half" in out
    assert [(r["run_id"], r["params"], r["tokens"], r["loss"]) for r in rows] == [
        ("a", "29940000", "983040000", "3.5"),
        ("b", "123590000", "983040000", "3.1"),
    ]


def test_a_log_of_nanochat_in_bits_per_byte_and_in_nats(here, capsys):
    Path("d12.txt").write_text(written.NANOCHAT)
    said = refused(capsys, "d12.txt")
    assert "columns may be the parameters: parameters wte, parameters lm_head" in said
    words = ["d12.txt", "--params", "parameters total"]
    _, rows = imported(capsys, *words)
    assert float(rows[0]["loss (bits per byte)"]) == pytest.approx(0.912345)
    assert float(rows[0]["flops"]) == pytest.approx(7.945e8 * 524288 * 2000)
    _, rows = imported(capsys, *words, "--bytes-per-token", "4.5")
    assert float(rows[0]["loss"]) == pytest.approx(0.912345 * math.log(2) * 4.5)


def test_metrics_of_olmo_core(here, capsys):
    for name, loss in (("190M-1xC", 3.6), ("370M-1xC", 3.4)):
        Path(name).mkdir()
        metrics = {
            "train/CE loss": loss - 0.1, "eval/lm/c4_en-validation/CE loss": loss,
            "eval/lm/c4_en-validation/PPL": math.exp(loss), "throughput/total tokens": 3.8e9,
            "throughput/total petaflops": 4354.0, "optim/LR": 1e-5,
        }  # fmt: skip
        Path(name, "metrics.json").write_text(json.dumps(metrics))
        early = metrics | {"eval/lm/c4_en-validation/CE loss": 4.0, "throughput/total tokens": 1e9}
        Path(name, "metrics_step100.json").write_text(json.dumps(early))
    Path("sizes.csv").write_text("run,params\n190M-1xC,190354176\n370M-1xC,371262464\n")
    said = refused(capsys, ".", "--format", "olmo_core")
    assert "no column for the params" in said and "add a source with the same run names" in said
    out, rows = imported(capsys, "190M-1xC", "370M-1xC", "sizes.csv", "--curves", "c.csv")
    assert (
        "eval/lm/c4_en-validation/CE loss" in out and "flops   is throughput/total petaflops" in out
    )
    assert [(r["params"], r["loss"], float(r["flops"])) for r in rows] == [
        ("190354176", "3.6", 4.354e18), ("371262464", "3.4", 4.354e18)
    ]  # fmt: skip


def test_tokens_follow_from_flops_only_where_the_user_says_so(here, capsys):
    Path("t.csv").write_text("run,params,flops,loss\na,1e6,6e13,3.5\nb,2e6,12e13,3.3\n")
    assert "no column for the tokens" in refused(capsys, "t.csv")
    out, rows = imported(capsys, "t.csv", "--tokens", "6nd")
    assert "tokens taken as flops / 6 / params" in out
    assert [r["tokens"] for r in rows] == ["10000000", "10000000"]


def test_results_of_lm_eval_carry_their_metrics_to_runs_of_that_name(here, capsys):
    Path("runs.csv").write_text("model,params,tokens,loss\nm-a,1e6,1e7,3.5\nm-b,2e6,2e7,3.4\n")
    for name, acc in (("m-a", 0.3), ("m-b", 0.4)):
        content = {
            "results": {"hellaswag": {"acc,none": acc, "n": "-"}, "lambada": {"ppl": 9.0}},
            "config": {"model_args": f"pretrained=/models/{name},dtype=bfloat16"},
        }  # fmt: skip
        Path(f"results_{name}.json").write_text(json.dumps(content))
    sources = ["runs.csv", "results_m-a.json", "results_m-b.json"]
    _, rows = imported(capsys, *sources, "--metric", "hellaswag=hellaswag/acc")
    assert [(r["run_id"], r["hellaswag"]) for r in rows] == [("m-a", "0.3"), ("m-b", "0.4")]
    assert [(r["loss"], r["lambada/ppl"]) for r in rows] == [("3.5", "9.0"), ("3.4", "9.0")]
    said = refused_beside(capsys, "results_m-a.json")
    assert "no column for the loss" in said and "do not say on how many tokens" in said


@pytest.mark.parametrize(
    ("table", "words", "said"),
    [
        ("run,params,tokens,acc\na,1,2,.5\n", ["--loss", "acc"], "says acc, which is no loss"),
        ("run,params,tokens,loss\na,1,2,3\n", ["--loss", "los"], "did you mean loss?"),
        ("run,params,tokens\na,1e6,2e6\n", [], "no column for the loss; name it with --loss"),
        ("run,params,params,tokens,loss\na,1,2,3,4\n", [], "columns 'params' are there twice"),
        ("run,params,tokens,loss\na,1e6,1e7,abc\nb,1e6,1e7,def\n", [], "no column for the loss"),
        ("run,params,tokens,loss\na,1e6,1e7,3,5\n", [], "cells"),
        ("run,n,tokens,loss\na,1e6,1e7,3\n", ["--bytes-per-token", "4"], "no loss is in bits"),
        ("run,n,tokens,loss\na,1e6,1e7,3\n", ["--metric", "x"], "expected NAME=COLUMN"),
        ("", [], "no rows"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused_in_a_line(here, capsys, table, words, said):
    Path("t.csv").write_text(table)
    message = refused(capsys, "t.csv", *words)
    assert said in message and message.count("\n") == 1


def test_names_of_runs_are_one_line(here, capsys):
    Path("t.csv").write_text('run,params,tokens,loss\n"a\nb ",1e6,1e7,3.5\n c,2e6,1e7,3.4\n')
    _, rows = imported(capsys, "t.csv")
    assert [r["run_id"] for r in rows] == ["a\\nb", "c"]


def test_losses_in_two_units_are_refused(here, capsys):
    Path("a.csv").write_text("run,params,tokens,val loss\na,1e6,1e7,3.5\n")
    Path("b.csv").write_text("run,params,tokens,val bpb\nb,1e6,1e7,0.9\n")
    assert "losses in nats in a.csv and bits-per-byte in b.csv" in refused(capsys, "a.csv", "b.csv")


def test_one_run_with_two_losses_is_refused(here, capsys):
    Path("a.csv").write_text("run,params,tokens,loss\na,1e6,1e7,3.5\n")
    Path("b.csv").write_text("run,params,tokens,loss\na,1e6,1e7,3.4\n")
    assert "run 'a' has loss 3.5 in a.csv and 3.4 in b.csv" in refused(capsys, "a.csv", "b.csv")


def test_a_column_that_differs_between_sources_is_said(here, capsys):
    Path("a.csv").write_text("run,params,tokens,loss,acc\na,1e6,1e7,3.5,.3\nb,2e6,1e7,3.4,.4\n")
    Path("b.csv").write_text("run,acc\na,.3\nb,.9\n")
    said, rows = imported(capsys, "a.csv", "b.csv")
    assert "note: 1 run with another acc in b.csv than in a.csv: that of a.csv is taken" in said
    assert [row["acc"] for row in rows] == [".3", ".4"]


def test_a_metric_never_takes_the_place_of_another_column(here, capsys):
    Path("a.csv").write_text(
        "run,params,tokens,loss,acc,x\na,1e6,1e7,3.5,.3,.5\nb,2e6,1e7,3,.4,.6\n"
    )
    assert "expected another name" in refused(capsys, "a.csv", "--metric", "params=acc")
    _, rows = imported(capsys, "a.csv", "--metric", "acc=x")
    assert (rows[0]["acc"], rows[0]["given acc"]) == (".5", ".3")


def test_a_curve_that_ends_in_an_infinite_loss_is_left_out(here, capsys):
    rows = "a,1,1e6,1e7,5\na,2,1e6,2e7,4\na,3,1e6,3e7,inf\n"
    kept = "b,1,1e6,1e7,5\nb,2,1e6,2e7,4\nb,3,1e6,3e7,\n"
    Path("a.csv").write_text("run,step,params,tokens,loss\n" + rows + kept)
    said, written_rows = imported(capsys, "a.csv")
    assert "left out, 1 run: state is diverged: not finished: a" in said
    assert [(row["run_id"], row["tokens"]) for row in written_rows] == [("b", "20000000")]


def test_a_step_that_a_curve_has_twice_is_one_point(here, capsys):
    rows = ["1,1e6,5,5.5", "2,2e6,4,4.5", "1,1e6,5,", "2,2e6,3,", "2,2e6,,3.5"]
    Path("a.csv").write_text(
        "run,params,step,tokens,loss,train_loss\n" + "".join(f"a,1e6,{row}\n" for row in rows)
    )
    out, (row,) = imported(capsys, "a.csv", "--curves", "c.csv", "--loss", "loss")
    assert "note: 2 points of a step that a curve has twice: the later loss counts" in out
    assert row["loss"] == "3"
    points = [(r["step"], r["loss"], r["train_loss"]) for r in rows_of("c.csv")]
    assert points == [("1", "5", "5.5"), ("2", "3", "3.5")]


def test_a_log_that_ends_in_nan_is_a_diverged_run(here, capsys):
    log = "tokens per iteration will be: 4,096\nnumber of parameters: 0.80M\n"
    steps = "".join(f"step {s}: train loss 3.0, val loss {x}\n" for s, x in ((0, 4), (100, 3)))
    Path("a.log").write_text(log + steps + "step 200: train loss nan, val loss nan\n")
    Path("b.log").write_text(log + steps)
    said, rows = imported(capsys, "a.log", "b.log")
    assert "left out, 1 run: state is diverged: not finished: a" in said
    assert [row["run_id"] for row in rows] == ["b"]


def test_settings_of_wandb_that_are_a_list_are_refused(here, capsys):
    folder = Path("wandb/run-1-abcd/files")
    folder.mkdir(parents=True)
    (folder / "wandb-summary.json").write_text('{"loss": 3}')
    (folder / "config.yaml").write_text("- a\n")
    assert "config.yaml: a list, expected settings by name" in refused(capsys, "wandb")


def test_a_source_is_never_overwritten(here, capsys):
    Path("out.csv").write_text("run,params,tokens,loss\na,1e6,1e7,3.5\n")
    assert main(["import", "out.csv", "--out", "out.csv"]) == 2
    assert "is one of the sources" in capsys.readouterr().err


def test_a_format_of_ones_own_is_a_file(here, capsys):
    Path("mine.py").write_text(
        "from scaling_law.tables.formats import Format, Source, SourceRun\n"
        "def read(path):\n"
        "    values = dict(zip(('params', 'tokens', 'loss'), path.read_text().split()))\n"
        "    return Source(runs=(SourceRun(name=path.stem, values=values),))\n"
        "FORMAT = Format(sniff=lambda path: '', read=read)\n"
    )
    Path("a.dat").write_text("1e6 1e7 3.5")
    assert "of no format that is known" in refused(capsys, "a.dat")
    _, rows = imported(capsys, "a.dat", "--format", "mine.py")
    assert rows[0]["loss"] == "3.5"
    assert "tensorboard" in parts.names("format")


def test_decimal_commas_are_read_in_columns_without_a_role_and_texts_stay(here, capsys):
    Path("runs.csv").write_text(
        ";Name;Params (M);tokens (B);val loss;c4/loss;recipe;version;tokens/s;val_set\n"
        "0;a;5,0;0,05;4,5;4,213;muon;1,0 beta;500.000;pile\n"
        "1;b;10,0;0,1;4,2;4,012;adamw;1,1 beta;248.200;pile\n"
    )
    _, rows = imported(capsys, "runs.csv")
    assert [row["c4/loss"] for row in rows] == ["4.213", "4.012"]
    assert [row["version"] for row in rows] == ["1,0 beta", "1,1 beta"]
    assert [row["tokens_per_second"] for row in rows] == ["500000", "248200"]
    # one value in all rows, but `slaw compare` needs it
    assert {row["val_set"] for row in rows} == {"pile"}


def test_an_online_folder_of_wandb_without_a_summary_says_so(here, capsys):
    files = here / "wandb" / "run-20240101_000000-abc" / "files"
    files.mkdir(parents=True)
    (files / "config.yaml").write_text("lr: {value: 1}\n")
    assert "no summary and no history" in refused(capsys, "wandb")


def test_a_table_of_several_recipes_is_said_to_be_fitted_by_them(here, capsys):
    Path("runs.csv").write_text(
        "params,tokens,loss,recipe\n5M,1B,4.5,a\n9M,2B,4.2,a\n5M,1B,4.4,b\n9M,2B,4.1,b\n"
    )
    said, _ = imported(capsys, "runs.csv")
    assert "--by recipe" in said.splitlines()[-2] and "slaw compare" in said.splitlines()[-1]
