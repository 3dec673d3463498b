"""``slaw mix``: what it prints is a config's mixture, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest
import yaml

from scaling_law.cli.main import main
from scaling_law.config.load import load_config
from scaling_law.config.written import config_yaml
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records, write_record
from scaling_law.plan.make import make_plan
from tests.experiments.test_contract import experiment_of
from tests.fakes import cpu_profile, planted_runs


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """The first stage of ``mixing``, planted."""
    folder = SweepDir(tmp_path_factory.mktemp("mix") / "mixing")
    config = load_config("mixing", device_kind="cpu", overrides=["data.max_epochs=3"])
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    for run in planted_runs(experiment_of("mixing"), [run.spec for run in plan.runs]):
        write_record(folder.run(run.record.run_id), run.record)
    folder.config.write_text(config_yaml(config))
    return folder.path


def test_its_output_is_yaml_with_the_mixture(sweep, capsys):
    assert main(["mix", str(sweep)]) == 0
    text = capsys.readouterr().out
    mix = yaml.safe_load(text)["data"]["mix"]
    assert set(mix) == {"cpp", "py-code", "py-docs"} and sum(mix.values()) == pytest.approx(1)
    assert "law: exponential" in text and "at most 3 (data.max_epochs)" in text
    assert "did not count here" in text


def test_a_component_twice_in_a_target_is_refused(sweep, capsys):
    assert main(["mix", str(sweep), "--target", "cpp=.5,cpp=.5"]) == 2
    assert "'cpp' is there twice; give it once" in capsys.readouterr().err


def test_runs_that_have_not_finished_are_counted(sweep, capsys):
    run = SweepDir(sweep).runs / "later"
    run.mkdir()
    try:
        assert main(["mix", str(sweep)]) == 0
    finally:
        run.rmdir()
    assert "has not finished: slaw status" in capsys.readouterr().out


def test_repetition_limits_the_proposal(sweep, capsys):
    assert main(["mix", str(sweep), "--target", "cpp=1", "--tokens", "40M", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["proposed"]["epochs"]["cpp"] == pytest.approx(3, abs=0.01)
    target = document["proposed"]["target"]
    assert target["low"] < target["value"] < target["high"]
    natural = document["others"]["natural"]
    assert natural["target"]["value"] == pytest.approx(natural["measured"], abs=0.01)


def test_a_proposal_that_limits_make_worse_is_no_tie(sweep, capsys):
    words = ["mix", str(sweep), "--target", "cpp=1", "--tokens", "100M"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "above the best measured mixture" in text and "a tie" not in text
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tie"] is False


def test_what_it_cannot_do_is_one_line(sweep, tmp_path, capsys):
    few = SweepDir(tmp_path / "few")
    for folder in sorted((sweep / "runs").iterdir())[:3]:
        few.run(folder.name).path.mkdir(parents=True)
        few.run(folder.name).record.write_text((folder / "record.json").read_text())
    for words, code, why in (
        ([str(sweep), "--target", "java=1"], 2, "there are cpp, py-code, py-docs"),
        ([str(sweep), "--target", "cpp=nan,py-code=1"], 2, "expected a finite number"),
        ([str(sweep), "--tokens", "1T"], 2, "passes at the largest measured share: cpp"),
        ([str(few.path)], 4, "add mixtures to the axis data.mix"),
        ([str(tmp_path / "none")], 2, "no such folder"),
    ):
        assert main(["mix", *words]) == code
        said = capsys.readouterr().err
        assert why in said and said.count("\n") == 1


def test_no_mixture_is_proposed_where_losses_do_not_depend_on_it(sweep, tmp_path, capsys):
    noise = SweepDir(tmp_path / "noise")
    draw = random.Random(0)
    for record in load_records(SweepDir(sweep)):
        metrics = {name: draw.gauss(4, 0.1) for name in record.metrics}
        write_record(noise.run(record.run_id), dataclasses.replace(record, metrics=metrics))
    assert main(["mix", str(noise.path)]) == 4
    out, said = capsys.readouterr()
    assert not out, "nothing that could be taken for a mixture"
    assert "no law predicts a held-out mixture better than the mean of all does" in said
