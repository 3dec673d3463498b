"""What was measured beside the loss: its table on the page and its columns in the tables."""

from __future__ import annotations

import csv
import dataclasses

from scaling_law.files.layout import SweepDir
from scaling_law.files.record import CurvePoint, write_curve, write_record
from scaling_law.report import tables
from scaling_law.report.evidence import gather_evidence
from scaling_law.report.exports import write_tables
from scaling_law.report.metric_figures import metric_curves
from tests.fakes import record_of, tiny_spec


def measured(folder):
    """Two runs, of which one measured an accuracy and a number without a unit."""
    sweep = SweepDir(folder / "s")
    point = CurvePoint(
        step=20, tokens=640, train_loss_nats=3.0, val_loss_nats=3.0, lr=0.01, grad_norm=1.0,
        seconds=1.0, metrics={"accuracy.val": 0.25},
    )  # fmt: skip
    record = dataclasses.replace(
        record_of(tiny_spec()),
        metrics={"accuracy.val": 0.5, "count": 3.0},
        metric_units={"accuracy.val": "fraction"},
        loss_unit="half nats per token",
    )
    write_record(sweep.run(record.run_id), record)
    write_curve(sweep.run(record.run_id), [point])
    plain = record_of(tiny_spec(seed=1))
    write_record(sweep.run(plain.run_id), plain)
    return gather_evidence(sweep, 1e9), record


def test_the_page_has_a_table_of_final_metrics_with_units(tmp_path):
    evidence, record = measured(tmp_path)
    section = tables.metrics(evidence)
    assert section is not None
    for words in (record.run_id, "accuracy.val (fraction)", "0.5", ">count<"):
        assert words in section.body
    assert "half nats/token" in tables.runs(evidence).body


def test_runs_without_metrics_have_no_such_table(tmp_path):
    evidence, _ = measured(tmp_path)
    plain = [r for r in evidence.records if not r.metrics]
    assert tables.metrics(dataclasses.replace(evidence, records=tuple(plain))) is None


def test_the_tables_have_a_column_for_each_metric(tmp_path):
    evidence, record = measured(tmp_path)
    write_tables(evidence, tmp_path)
    with (tmp_path / "runs.csv").open() as file:
        rows = {row["run_id"]: row for row in csv.DictReader(file)}
    assert rows[record.run_id]["accuracy.val (fraction)"] == "0.5"
    assert rows[record.run_id]["count"] == "3.0"
    assert [row["count"] for name, row in rows.items() if name != record.run_id] == [""]
    with (tmp_path / "curves.csv").open() as file:
        (point,) = csv.DictReader(file)
    assert point["accuracy.val (fraction)"] == "0.25" and "metrics" not in point


def test_metrics_along_training_are_drawn_a_panel_each(tmp_path):
    evidence, _ = measured(tmp_path)
    figure = metric_curves(evidence)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["accuracy.val (fraction)"]
    assert metric_curves(dataclasses.replace(evidence, curves={})) is None
