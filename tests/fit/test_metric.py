"""``slaw fit --metric``: a metric of the runs, fitted in place of their validation loss."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import FitError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from scaling_law.fit.points.dataset import from_records
from scaling_law.fit.result import finite_json
from scaling_law.fit.suite import FitSettings, fit_suite
from scaling_law.fit.summary import format_suite
from scaling_law.spec.component import Component
from scaling_law.spec.data import TaskSpec
from tests.fakes import planted_records

NAME = "loss.val:length-32"
COUNTED: dict[str, Any] = {"convention": "matmul", "flops": "exact"}


@pytest.fixture(scope="module")
def records():
    """Records whose metric is twice their loss."""
    return [
        dataclasses.replace(
            record,
            metrics={NAME: 2 * (record.val_loss_nats or 0.0)},
            metric_units={NAME: "bits per token"},
        )
        for record in planted_records()
    ]


@pytest.fixture(scope="module")
def folder(records, tmp_path_factory):
    sweep = SweepDir(tmp_path_factory.mktemp("results") / "measured")
    for record in records:
        write_record(sweep.run(record.run_id), record)
    return sweep.path


def test_the_metric_replaces_the_loss(records):
    losses = from_records(records, **COUNTED).points
    points = from_records(records, metric=NAME, **COUNTED).points
    assert points.run_id == losses.run_id
    assert points.loss_nats.tolist() == (2 * losses.loss_nats).tolist()
    assert points.convention["loss"] == f"{NAME} (bits per token)"


def test_runs_without_a_positive_value_are_left_out_by_name(records):
    done = [record for record in records if record.kind != "trunk"]
    zero = dataclasses.replace(done[0], metrics={NAME: 0.0})
    without = dataclasses.replace(done[1], metrics={})
    dropped = dict(from_records([zero, without, *done[2:]], metric=NAME, **COUNTED).points.dropped)
    assert dropped[zero.run_id] == f"{NAME} is 0.0, expected above 0 and finite"
    assert dropped[without.run_id] == f"{NAME} was not measured"


def test_a_run_that_stopped_early_has_no_predicted_metric(records):
    done = [record for record in records if record.kind != "trunk"]
    early = dataclasses.replace(done[0], status="stopped_early")
    points = from_records([early, *done[1:]], metric=NAME, keep=["stopped_early"], **COUNTED).points
    assert "only its loss is predicted" in dict(points.dropped)[early.run_id]


def test_two_units_of_one_metric_are_refused(records):
    other = dataclasses.replace(records[0], metric_units={NAME: "nats per token"})
    with pytest.raises(FitError, match="in several units \\(bits per token, nats per token\\)"):
        from_records([other, *records[1:]], metric=NAME, **COUNTED)


def test_the_text_names_the_metric_and_nothing_is_saved(folder, capsys):
    assert main(["fit", str(folder), "--metric", NAME, "--resamples", "0"]) == 0
    said = capsys.readouterr().out
    assert f"fitted in place of the loss: {NAME} (bits per token)" in said
    assert "not saved: forecasts read a saved fit as one of the loss" in said
    assert not (folder / "fits").exists()


def test_the_json_names_the_metric(folder, capsys):
    assert main(["fit", str(folder), "--metric", NAME, "--resamples", "0", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["settings"]["metric"] == NAME
    assert content["convention"]["loss"] == f"{NAME} (bits per token)"
    assert "metric" not in finite_json(FitSettings())


def test_the_json_lists_the_metrics_that_can_be_fitted(folder, records, capsys):
    assert main(["fit", str(folder), "--resamples", "0", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["metrics"] == [
        {"name": NAME, "unit": "bits per token", "points": content["points"]}
    ]


def test_a_loss_is_printed_with_its_own_unit(records):
    squares = [dataclasses.replace(record, loss_unit="squared errors") for record in records]
    plain = fit_suite(records, FitSettings(resamples=0))
    assert "; loss: nats per token, natural logarithm; no intervals" in format_suite(plain)
    suite = dataclasses.replace(plain, points=from_records(squares, **COUNTED).points)
    assert "; loss: squared errors; no intervals (--resamples 0)" in format_suite(suite)
    assert suite.to_json()["convention"]["loss"] == "squared errors"


def test_repeated_examples_of_a_task_are_not_left_out(records):
    seen = [dataclasses.replace(r, tokens_unique=max(1, r.tokens // 9)) for r in records]
    with pytest.raises(FitError, match="every run is left out; first: repeats: saw its data 9"):
        from_records(seen, **COUNTED)
    task = TaskSpec(source=Component(name="modular_addition"))
    learning = [dataclasses.replace(r, spec=dataclasses.replace(r.spec, data=task)) for r in seen]
    points = from_records(learning, **COUNTED).points
    assert not [reason for _, reason in points.dropped if "repeats" in reason]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--metric", "loss.val:length-23"], f"no run has it (did you mean {NAME}"),
        (["--metric", "zzz"], f"no run has it; expected one of {NAME}"),
        (["--metric", NAME, "--out", "there"], "--metric with --out: forecasts read"),
        (["--metric", NAME, "--by", "precision"], "--metric is for one fit"),
    ],
)
def test_a_metric_that_cannot_be_fitted_is_one_line(folder, capsys, more, said):
    assert main(["fit", str(folder), *more]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert said in captured.err
