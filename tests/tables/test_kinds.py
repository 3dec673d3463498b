"""Kinds of real exports: files that are called alike, documents, logs that end early."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tables import written
from tests.tables.test_import import here, imported, refused, rows_of

__all__ = ["here"]  # a fixture

CURVE = "step,tokens,val_loss\n10,1e6,4.0\n15,1.5e6,3.8\n20,2e6,{loss}\n"
NANOGPT = """\
Overriding config with config/tiny.py:
# a tiny model
max_iters = 40 # few
lr_decay_iters = 40
Overriding: n_embd = 32
tokens per iteration will be: 512
number of parameters: 1.63M
step 0: train loss 10.7, val loss 10.8
iter 10: loss 9.9, time 30.11ms, mfu 0.00%
step 20: train loss 8.0, val loss 8.1
"""


def folder_with(name: str, **files: str) -> None:
    Path(name).mkdir(parents=True)
    for stem, text in files.items():
        Path(name, stem.replace("__", ".")).write_text(text)


def test_files_called_alike_are_runs_of_their_folders_and_are_read_together(here, capsys):
    for name, loss in (("a", "3.5"), ("b", "3.4")):
        folder_with(f"runs/{name}", metrics__csv=CURVE.format(loss=loss))
    out, rows = imported(
        capsys, "runs/a/metrics.csv", "runs/b/metrics.csv", "--params", "1e6", "--curves", "c.csv"
    )
    assert out.count("is val_loss") == 1 and "runs/a/metrics.csv and 1 more: a table" in out
    assert [(r["run_id"], r["tokens"], r["loss"]) for r in rows] == [
        ("a", "2000000", "3.5"), ("b", "2000000", "3.4")
    ]  # fmt: skip
    assert [r["run"] for r in rows_of("c.csv")] == ["a"] * 3 + ["b"] * 3


def test_equal_names_in_several_folders_are_told_apart_by_as_many_as_it_takes(here, capsys):
    for name, loss in (("x/one/9m", "3.5"), ("x/two/9m", "3.4")):
        folder_with(name, last__csv=CURVE.format(loss=loss))
    _, rows = imported(capsys, "x/one/9m/last.csv", "x/two/9m/last.csv", "--params", "1e6")
    assert [r["run_id"] for r in rows] == ["one/9m/last", "two/9m/last"]


def test_a_document_of_numbers_is_a_run_and_joins_the_curve_in_its_folder(here, capsys):
    for name, params in (("a", 1e6), ("b", 2e6)):
        summary = json.dumps({"model": {"n_params": params}, "out_dir": "/x", "flags": ["--a"]})
        folder_with(name, metrics__csv=CURVE.format(loss="3.5"), summary__json=summary)
    words = [f"{name}/{file}" for file in ("metrics.csv", "summary.json") for name in "ab"]
    out, rows = imported(capsys, *words)
    assert "params  is model.n_params" in out and "2 runs joined from several sources" in out
    assert [(r["run_id"], r["params"]) for r in rows] == [("a", "1000000"), ("b", "2000000")]


def test_cells_of_a_curve_that_are_no_numbers_are_counted_and_shown(here, capsys):
    Path("m.csv").write_text(
        "run,step,tokens,val_loss\na,1,1e6,4.0\na,2,2e6,OOM\na,3,3e6,-1\na,4,4e6,\na,5,5e6,3.5\n"
    )
    out, rows = imported(capsys, "m.csv", "--params", "1e6", "--curves", "c.csv")
    assert "2 cells of val_loss in curves cannot be used, as 'OOM' of a" in out
    assert rows[0]["loss"] == "3.5" and len(rows_of("c.csv")) == 2


def test_tokens_of_a_step_are_a_product_of_columns_which_the_refusal_proposes(here, capsys):
    history = [{"_step": i, "train/loss": 4 - i / 10} for i in range(3)]
    settings = {"n_params": 1e6, "batch_size": 8, "seq_len": 64}
    written.wandb_folder(here, "r1", log=written.wandb_log("r1", "one", settings, history))
    assert "as in 'batch_size*seq_len'" in refused(capsys, ".")
    _, rows = imported(capsys, ".", "--tokens-per-step", "batch_size*seq_len")
    assert rows[0]["tokens"] == "1024"
    Path("out.csv").unlink()
    said = refused(capsys, ".", "--tokens-per-step", "batch_size*len")
    assert "has no column 'len' of numbers" in said


def test_a_folder_of_wandb_whose_summary_only_names_a_runtime_is_left_out(here, capsys):
    written.wandb_folder(here, "r1", config={"n": 1}, summary={"_wandb": {"runtime": 40}})
    written.wandb_folder(
        here, "r2", config={"n_params": 1e6}, summary={"val/loss": 3.0, "tokens": 1e7}
    )
    out, rows = imported(capsys, ".")
    assert "no summary and no history" in out and len(rows) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NANOGPT, "state is stopped at step 20 of 40: not finished"),
        (NANOGPT.replace("max_iters", "iters"), "whether the run finished"),
        (NANOGPT.split("step 0")[0], "ended before its first evaluation"),
        (f"{NANOGPT}step 40: train loss 7, val loss 7.5\n", ""),
    ],
)
def test_a_log_of_nanogpt_says_whether_it_finished(here, capsys, text, said):
    Path("whole.log").write_text(f"{NANOGPT}step 40: train loss 7.0, val loss 7.1\n")
    Path("other.log").write_text(text)
    out, rows = imported(capsys, "whole.log", "other.log")
    assert said in out
    left_out = "stopped" in said or "before" in said
    assert [r["loss"] for r in rows] == ["7.1"] + ([] if left_out else [rows[-1]["loss"]])


def test_results_of_lm_eval_are_found_by_what_they_are_and_of_one_model_together(here, capsys):
    Path("runs.csv").write_text("model,params,tokens,loss\nm-a,1e6,1e7,3.5\nm-b,2e6,2e7,3.4\n")
    Path("evals/few").mkdir(parents=True)
    for name in ("m-a", "m-b"):
        for shots, acc in ((0, 0.3), (5, 0.4)):
            content = {
                "results": {"piqa": {"acc": acc, "acc_stderr": 0.01}},
                "config": {"model_args": f"pretrained=org/{name}", "num_fewshot": shots},
            }
            Path(f"evals/few/{name}-{shots}.json").write_text(json.dumps(content))
    out, rows = imported(capsys, "runs.csv", "evals")
    assert "results of lm-eval (format lm_eval), 2 runs" in out
    words = ["--metric", "zero=piqa (0-shot)/acc", "--metric", "five=piqa (5-shot)/acc"]
    _, rows = imported(capsys, "runs.csv", "evals", *words)
    assert [(r["zero"], r["five"]) for r in rows] == [("0.3", "0.4")] * 2


def test_a_log_of_no_known_program_is_not_taken_for_a_table(here, capsys):
    Path("r.txt").write_text("import torch\n\nstep:1/9 train_loss:3.2\nstep:2/9 train_loss:3.1\n")
    assert "r.txt: of no format that is known" in refused(capsys, "r.txt")


def test_documents_of_a_run_at_several_steps_are_its_curve(here, capsys):
    for run, losses in (("d8", (3.0, 2.5)), ("d12", (2.9, 2.4, 2.2))):
        documents = {
            f"meta_{100 * step:06}__json": json.dumps({"step": 100 * step, "val_loss": loss})
            for step, loss in enumerate(losses, 1)
        }
        folder_with(f"checkpoints/{run}", **documents)
    sources = map(str, sorted(Path("checkpoints").rglob("*.json")))
    words = ["--params", "1e6", "--tokens-per-step", "1000", "--curves", "c.csv"]
    out, rows = imported(capsys, *sources, *words)
    assert "checkpoints/d12: 3 documents read as the curve of one run, by their steps" in out
    assert [(r["run_id"], r["tokens"], r["loss"]) for r in rows] == [
        ("d12", "300000", "2.2"), ("d8", "200000", "2.5")
    ]  # fmt: skip
