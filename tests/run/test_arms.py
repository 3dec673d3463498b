"""A sweep's folder with several arms: which runs may join, and how far each arm is."""

from __future__ import annotations

import json

import pytest

from scaling_law.cli.main import main
from scaling_law.config.load import load_config
from scaling_law.errors import ConfigError
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records, write_record
from scaling_law.monitor.page import render_page
from scaling_law.monitor.page_data import PageData
from scaling_law.monitor.terminal import plain_line
from scaling_law.plan.plan import read_plan
from scaling_law.run.pinned import refuse_other_recipe
from scaling_law.run.sweep_state.reader import SweepReader, sweep_status
from scaling_law.run.sweep_state.text import format_status
from scaling_law.spec.arms import arm_of
from tests.fakes import ONE_SIZE, plan_of, record_of


@pytest.fixture
def begun(tmp_path) -> SweepDir:
    """A folder whose arms 0 and 0.3 of weight decay have finished."""
    sweep = SweepDir(tmp_path / "s")
    for run in plan_of(ONE_SIZE + "axes: {optim.weight_decay: [0, .3]}\n").runs:
        write_record(sweep.run(run.run_id), record_of(run.spec))
    return sweep


@pytest.mark.parametrize(
    "text",
    [
        "axes: {optim.weight_decay: [0, .3]}\n",
        "axes: {optim.weight_decay: [0, .3, 1]}\n",
        "axes: {optim.weight_decay: [1]}\n",
        "axes: {optim.weight_decay: [0, .3], model.position: [rotary, alibi]}\n",
        "optim: {weight_decay: .3}\n",
    ],
)
def test_arms_may_join_a_folder(begun, text):
    refuse_other_recipe(plan_of(ONE_SIZE + text), begun)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("axes: {optim.weight_decay: [0, 1]}\noptim: {lr_mult: 2}\n", "optim.lr_mult 2 here, 1"),
        ("axes: {optim.weight_decay: [1]}\noptim: {lr_mult: 2}\n", "optim.lr_mult 2 here, 1"),
        (
            "axes: {model.position: [rotary, alibi]}\n",
            "optim.weight_decay 0.1 here, 0 or 0.3 there",
        ),
        ("optim: {weight_decay: 1}\n", "optim.weight_decay 1 here, 0 or 0.3 there"),
    ],
)
def test_another_recipe_is_refused_in_a_folder_with_arms(begun, text, said):
    with pytest.raises(ConfigError) as caught:
        refuse_other_recipe(plan_of(ONE_SIZE + text), begun)
    assert said in str(caught.value)


def test_axes_may_be_added_to_a_folder_without_axes(tmp_path):
    sweep = SweepDir(tmp_path / "s")
    for run in plan_of(ONE_SIZE).runs:
        write_record(sweep.run(run.run_id), record_of(run.spec))
    refuse_other_recipe(plan_of(ONE_SIZE + "axes: {optim.weight_decay: [.1, .3]}\n"), sweep)


def test_status_monitor_and_page_show_each_arm(tmp_path):
    plan = plan_of(ONE_SIZE + "axes: {optim.weight_decay: [0, .3]}\n")
    sweep = SweepDir(tmp_path / "s")
    layout.write_json(sweep.plan, plan.to_json())
    for run in plan.runs[:4]:
        write_record(sweep.run(run.run_id), record_of(run.spec))
    status = json.loads(json.dumps(sweep_status(sweep)))
    assert status["arms"] == [
        {"name": f"optim.weight_decay={decay}", "values": {"optim.weight_decay": decay}, "runs": 3,
         "counts": counts}
        for decay, counts in (("0", {"done": 3}), ("0.3", {"done": 1, "waiting": 2}))
    ]  # fmt: skip
    assert [run["arm"] for run in status["runs"]][2:4] == [
        "optim.weight_decay=0", "optim.weight_decay=0.3"
    ]  # fmt: skip
    text = format_status(status)
    assert "  arm optim.weight_decay=0: 3 of 3 done\n" in text
    assert "  arm optim.weight_decay=0.3: 1 of 3 done; 2 waiting" in text
    line = plain_line(SweepReader(sweep).read())
    assert "arms done: weight_decay 0: 3/3; weight_decay 0.3: 1/3" in line
    page = render_page(PageData(sweep).read(), "x")
    assert "Arms done: weight_decay 0: 3/3; weight_decay 0.3: 1/3" in page
    for run in plan.runs[4:]:
        write_record(sweep.run(run.run_id), record_of(run.spec))
    assert f"next: slaw fit {sweep.path} --by optim.weight_decay" in plain_line(
        SweepReader(sweep).read()
    )


@pytest.mark.slow
def test_arms_may_have_data_of_their_own(tmp_path, monkeypatch):
    """A share of the pairs as an axis: two data sets in one folder, each run on its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(
        "name: s\ndata: {source: modular_addition, modulus: 13}\nprecision: fp32\n"
        "axes: {data.train_frac: [.4, .6]}\noptim: {lr: 0.003, batch_examples: 32}\n"
        "grid:\n  - sizes: [nano14k]\n    steps: [30]\n"
    )
    assert main(["run", "s.yaml", "--device", "cpu", "--out", "s"]) == 0
    records = load_records(SweepDir(tmp_path / "s"))
    assert len({record.corpus_fingerprint for record in records}) == len(records) == 2
    assert sorted(arm_of(r.spec)[0][1] for r in records) == ["0.4", "0.6"]
    assert main(["run", "s.yaml", "--device", "cpu", "--out", "s"]) == 0
    assert main(["report", "s"]) == 0


@pytest.mark.slow
def test_a_tiny_sweep_of_two_arms_is_trained_resumed_and_fitted(tmp_path, monkeypatch, capsys):
    """Two weight decays and two seeds, then a third value of the axis in the same folder."""
    monkeypatch.chdir(tmp_path)
    text = ONE_SIZE.replace("installed", "synthetic").replace("[500K, 1M]", "[20K, 40K]")
    text += "    seeds: [0, 1]\neval: {val_tokens: 1024, curve_tokens: 512, curve_points: 2}\n"
    text += "precision: fp32\n"
    (tmp_path / "s.yaml").write_text(f"{text}axes: {{optim.weight_decay: [0, .3]}}\n")
    assert main(["run", "s.yaml", "--device", "cpu", "--out", "s"]) == 0
    sweep = SweepDir(tmp_path / "s")
    first = {record.run_id: record.val_loss_nats for record in load_records(sweep)}
    assert len(first) == 12 and load_config(sweep.config, device_kind="cpu").crossed
    (tmp_path / "s.yaml").write_text(f"{text}axes: {{optim.weight_decay: [0, .3, 1]}}\n")
    assert main(["run", "s.yaml", "--device", "cpu", "--out", "s"]) == 0
    records = {record.run_id: record for record in load_records(sweep)}
    assert len(records) == len(read_plan(sweep.plan).runs) == 18
    assert {run_id: records[run_id].val_loss_nats for run_id in first} == first
    losses = {
        (arm_of(r.spec), r.spec.seed, r.tokens): r.val_loss_nats
        for r in records.values()
        if r.kind == "branch"
    }
    assert len(set(losses.values())) == len(losses) == 12, "weight decay trains another model"
    capsys.readouterr()
    assert main(["fit", "s"]) == 4
    assert "on its own with `slaw fit`, adding --by optim.weight_decay" in capsys.readouterr().err
    assert main(["fit", "s", "--by", "optim.weight_decay", "--resamples", "0"]) == 4
    out, err = capsys.readouterr()
    rows, _, why = out.partition("no law: ")
    assert rows.count("optim.weight_decay=") == 3 and "1 size (at least 3), 2 horizons" in err
    assert why.count("optim.weight_decay=") == 3 and "1 size (at least 3), 2 horizons" in why
