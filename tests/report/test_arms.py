"""The page of a sweep with arms: their numbers, the reference, what does not compare."""

from __future__ import annotations

import csv
import dataclasses
import json

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_USAGE
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from scaling_law.fit.arms import fit_by
from scaling_law.plan.make import make_plan
from scaling_law.report.html import write_report
from tests.fakes import config_of, cpu_profile
from tests.fit.test_arms import KEY, QUICK, SWEEP, arm_records
from tests.report.test_html import values_of


def write_sweep(folder, text: str = SWEEP) -> SweepDir:
    sweep = SweepDir(folder)
    config = config_of(text)
    for record in arm_records(text):
        write_record(sweep.run(record.run_id), record)
    plan = make_plan(config, cpu_profile(), train_tokens=10**9)
    layout.write_json(sweep.plan, plan.to_json())
    return sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> SweepDir:
    sweep = write_sweep(tmp_path_factory.mktemp("results") / "<b>arms & odd")
    fit_by([sweep.path], [KEY], QUICK)
    return sweep


@pytest.fixture(scope="module")
def page(sweep) -> str:
    return write_report(sweep).read_text()


def test_the_page_agrees_with_its_json(sweep, page, capsys):
    assert main(["report", str(sweep.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    # the first value in the config is the reference, not the smallest
    assert document["reference"] == f"{KEY}=0.3"
    assert [arm["arm"] for arm in document["arms"]] == [f"{KEY}=0.3", f"{KEY}=0"]
    multiplier = document["arms"][1]["comparison"]["multiplier"]
    assert 1 < multiplier["low"] < multiplier["value"] < multiplier["high"]
    assert values_of(page)["arms"] == document
    assert f"{multiplier['value']:.2f}x [{multiplier['low']:.2f}, {multiplier['high']:.2f}]" in page
    assert "weight_decay 0" in page and "<b>arms" not in page
    assert [layer["name"] for layer in values_of(page)["charts"]["arms_loss"][0]["layers"]][
        -1
    ] == "weight_decay 0"
    assert {path.name for path in sweep.figures.iterdir()} >= {
        f"{name}.{kind}" for name in ("arms_loss", "arms_compared") for kind in ("png", "svg")
    }
    with (sweep.tables / "arms.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row[KEY] for row in rows] == ["0.3", "0"]
    assert float(rows[1]["multiplier"]) == multiplier["value"]


def test_losses_are_printed_side_by_side(page):
    records = {
        (r.spec.optim.weight_decay, dict(r.spec.tags)["size"], r.tokens): r.val_loss_nats
        for r in arm_records()
        if r.kind == "branch"
    }
    tokens = min(t for _, _, t in records)
    ours, theirs = (records[decay, "nano14k", tokens] for decay in (0.3, 0.0))
    row = f'<td class="n">{tokens:,}</td><td class="n">{ours:.4f}</td><td class="n">{theirs:.4f}'
    assert row in page


def test_losses_of_arms_on_different_texts_are_not_compared(tmp_path):
    text = SWEEP.replace(f"{KEY}: [0.3, 0]", "data.corpus: [installed, synthetic]")
    text = text.replace("500K, ", "")
    sweep = SweepDir(tmp_path / "texts")
    for record in arm_records(text):
        fingerprint = f"{record.spec.data.name:0<16}"
        record = dataclasses.replace(record, corpus_fingerprint=fingerprint)
        write_record(sweep.run(record.run_id), record)
    fit_by([sweep.path], ["data.corpus"], QUICK)
    page = write_report(sweep).read_text()
    assert "does not compare" in page and "different validation text" in page
    assert not (sweep.figures / "arms_loss.png").exists(), "no common axis for their losses"


def test_a_sweep_of_one_arm_prints_no_comparison(tmp_path, capsys):
    text = SWEEP.replace("[0.3, 0]", "[0.3]")
    sweep = write_sweep(tmp_path / "one", text)
    assert main(["report", str(sweep.path), "--json"]) == EXIT_USAGE
    assert "a sweep of several arms" in capsys.readouterr().err
