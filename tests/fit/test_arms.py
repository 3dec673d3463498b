"""Arms fitted each on its own, side by side: planted surfaces, refusals, what is saved."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_FIT, EXIT_USAGE, FitError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import RunRecord, write_record
from scaling_law.fit.arms import (
    axis_keys,
    fit_by,
    fits_json,
    losses_compare,
    split_by,
    stored_or_fitted_arm,
)
from scaling_law.fit.points.dataset import from_records
from scaling_law.fit.points.table import read_table_by
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.recipes.compare_arms import compare_arms
from scaling_law.fit.session import known_laws
from scaling_law.fit.suite import FitSettings
from tests.fakes import planted_arms

SWEEP = """
name: arms
data: {corpus: installed, tokenizer: bpe, vocab_size: 1024}
model: {n_ctx: 64}
axes: {optim.weight_decay: [0.3, 0]}
grid:
  - sizes: [nano14k, nano25k, nano55k]
    tokens: [500K, 1M, 2M]
optim: {batch_tokens: 512}
precision: fp32
"""
KEY = "optim.weight_decay"
QUICK = FitSettings(resamples=0)


def arm_records(text: str = SWEEP) -> list[RunRecord]:
    """Planted runs, of which those without weight decay are better."""
    return planted_arms(text, lambda spec: spec.optim.weight_decay == 0)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> SweepDir:
    folder = SweepDir(tmp_path_factory.mktemp("results") / "arms")
    for record in arm_records():
        write_record(folder.run(record.run_id), record)
    return folder


@pytest.fixture(scope="module")
def fits(sweep):
    return fit_by([sweep.path], [KEY], QUICK)


def test_each_arm_has_the_law_of_its_own_runs(fits):
    arm_fits, saved = fits
    assert [fit.arm.values for fit in arm_fits] == [((KEY, "0"),), ((KEY, "0.3"),)]
    for fit in arm_fits:
        alone = from_records(fit.arm.records, convention="matmul", flops="exact")
        assert fit.summary["points"] == len(alone.points) == 9
        assert {r.spec.optim.weight_decay for r in fit.arm.records} == {float(fit.arm.values[0][1])}
    laws = [fit.known.laws["chinchilla"].params["E"] for fit in arm_fits]
    assert laws[0] != laws[1]
    assert saved is not None


def test_an_arms_saved_fit_is_reused_for_forecasts(sweep, fits):
    arm_fits, saved = fits
    assert saved == sweep.fits
    folder = sweep.fits / "weight_decay0.3"
    assert known_laws(folder).best_law == arm_fits[1].known.best_law
    again = stored_or_fitted_arm(arm_fits[1].arm, sweep)
    assert again.suite is None and again.summary == json.loads(json.dumps(arm_fits[1].summary))


def test_arms_are_refused_as_one_law_with_the_options(sweep, capsys):
    for words in (["fit"], ["validate"], ["extrapolate", "--params", "1M", "--results"],
                  ["allocate", "--flops", "1e15", "--results"]):  # fmt: skip
        assert main([*words, str(sweep.path)]) == EXIT_FIT
        (line,) = capsys.readouterr().err.splitlines()
        assert "optim.weight_decay=0 in 9 runs" in line and f"`slaw fit`, adding --by {KEY}" in line
        assert "--where 'optim.weight_decay=" in line


def test_an_arm_is_chosen_with_where(sweep, capsys):
    words = ["fit", str(sweep.path), "--where", f"{KEY}=0.3", "--resamples", "0", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["points"] == 9


def test_the_command_prints_a_line_per_arm(sweep, capsys):
    assert main(["fit", str(sweep.path), "--by", KEY, "--resamples", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines if line.startswith(KEY)] == [
        [f"{KEY}=0", "9", "3"], [f"{KEY}=0.3", "9", "3"]
    ]  # fmt: skip
    assert lines[-1] == f"saved in {sweep.fits}, a folder each"


def test_the_json_has_an_entry_per_arm(fits):
    document = json.loads(json.dumps(fits_json(fits[0]), allow_nan=False))
    assert document["by"] == [KEY] and document["losses_compare"] is True
    assert [arm["values"] for arm in document["arms"]] == [{KEY: "0"}, {KEY: "0.3"}]
    assert all(arm["fit"]["points"] == 9 for arm in document["arms"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--by", "optim.weigh_decay"], "no run has it (did you mean optim.weight_decay?); the"
         " runs' axes: optim.weight_decay"),
        (["--by", KEY, "--figure", "x.png"], "--figure is for one fit"),
        (["--by", KEY, "--compare"], "--compare is for one fit"),
    ],
)  # fmt: skip
def test_invalid_questions_about_arms_are_one_line(sweep, capsys, more, said):
    assert main(["fit", str(sweep.path), *more]) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def table_of_kinds() -> str:
    """Rows of two kinds whose irreducible losses are 1.5 and 1.7, and one of a third kind."""
    rows = [
        f"{n:g},{d:g},{floor + 3 * (n / 1e4) ** -0.4 + 2 * (d / 1e5) ** -0.3:.6f},{kind}"
        for kind, floor in (("b", 1.7), ("a", 1.5))
        for n in (1e5, 3e5, 1e6)
        for d in (1e6, 3e6, 1e7)
    ]
    return "\n".join(["params,tokens,loss,kind", *rows, "1e5,1e6,2.0,c"]) + "\n"


def test_a_table_is_fitted_for_each_value_of_a_column(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(table_of_kinds())
    fits, saved = fit_by([table], ["kind"], QUICK, out=tmp_path / "out")
    assert [(fit.arm.name, fit.arm.count) for fit in fits] == [
        ("kind=a", 9), ("kind=b", 9), ("kind=c", 0)
    ]  # fmt: skip
    floors = [fit.known.laws["chinchilla"].params["E"] for fit in fits if fit.known is not None]
    assert floors == pytest.approx([1.5, 1.7], abs=0.01)
    assert "1 of 1 rows can be used, expected at least 2" in fits[2].why_no_fit
    # what is saved serves forecasts
    assert saved == tmp_path / "out" and known_laws(tmp_path / "out" / "kind-a").best_law
    assert fits_json(fits)["arms"][0]["runs"] == 9
    chosen = read_table_by(table, ["kind"], TableSettings(where=("kind!=c",)))
    assert [values for values, _ in chosen] == [("b",), ("a",)]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--by", "kin"], "--by: no column 'kin'; found params, tokens, loss, kind"),
        (["--by", "kind", "--where", "kind=z"], "no row has kind=z"),
    ],
)
def test_a_missing_column_is_one_line(tmp_path, capsys, more, said):
    table = tmp_path / "t.csv"
    table.write_text(table_of_kinds())
    assert main(["fit", str(table), *more]) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_runs_can_be_grouped_by_any_key_of_the_recipe():
    records = arm_records()
    arms = split_by(records, ["model.n_ctx"], "here")
    assert [(arm.name, len(arm.records)) for arm in arms] == [("model.n_ctx=64", len(records))]
    assert axis_keys(records) == [KEY]


def test_values_are_sorted_and_numbers_numerically():
    text = SWEEP.replace("[0.3, 0]", "[10, 9, 0.3]")
    values = [arm.values[0][1] for arm in split_by(arm_records(text), [KEY], "here")]
    assert values == ["0.3", "9", "10"]
    text = SWEEP.replace("optim.weight_decay: [0.3, 0]", "optim.name: [sgd]")
    plain = SWEEP.replace("axes: {optim.weight_decay: [0.3, 0]}", "")
    both = [*arm_records(text), *arm_records(plain)]
    assert [arm.values[0][1] for arm in split_by(both, ["optim.name"], "here")] == ["adamw", "sgd"]


def test_runs_on_different_texts_are_never_one_law():
    records = arm_records(SWEEP.replace("optim.weight_decay: [0.3, 0]", "data.corpus: [installed, "
                                        "synthetic]"))  # fmt: skip
    records = [
        dataclasses.replace(r, corpus_fingerprint=f"{r.spec.data.name:0<16}") for r in records
    ]
    with pytest.raises(FitError, match=r"different texts \(installed; synthetic\)"):
        from_records(records, convention="matmul", flops="exact", keep=["recipes"])
    arms = split_by(records, ["data.corpus"], "here")
    assert not losses_compare(arms)
    compared = compare_arms(arms, resamples=0)
    assert compared[1].versus is None and "different validation text" in compared[1].why_not


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "{}", "--by", KEY, "--resamples", "0"),
        ("compare", "{}", "--by", KEY),
    ],
)
def test_what_reads_a_sweep_counts_its_unfinished_runs(sweep, tmp_path, capsys, words):
    folder = tmp_path / "mine"
    shutil.copytree(sweep.path, folder)
    (folder / "runs" / "later").mkdir()
    code = main([word.format(folder) for word in words])
    said = capsys.readouterr().out
    assert code == 0 and "1 of 25 runs of" in said and "has not finished: slaw status" in said


def test_each_arm_is_compared_with_the_first():
    compared = compare_arms(split_by(arm_records(), [KEY], "here"), resamples=100)
    assert compared[0].versus is None
    versus = compared[1].versus
    assert versus is not None and versus.names == (f"{KEY}=0", f"{KEY}=0.3")
    assert versus.difference.mean_log > 0 and versus.difference.pairs == 9
    assert versus.multiplier is not None and versus.multiplier.value < 1
    assert versus.differs == {KEY: ("0", "0.3")}


def test_where_no_arm_can_be_fitted_each_reason_is_a_line_with_its_arms(tmp_path: Path):
    folder = SweepDir(tmp_path / "arms")
    for record in arm_records():
        if record.kind == "trunk":
            write_record(folder.run(record.run_id), record)
    with pytest.raises(FitError) as caught:
        fit_by([folder.path], [KEY], QUICK)
    assert [line.partition(":")[0] for line in caught.value.lines] == [f"{KEY}=0, {KEY}=0.3"]
