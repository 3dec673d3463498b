"""What was measured beside the loss: its table on the page and its columns in the tables."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

from scaling_law.experiment.analysis import analysed
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import CurvePoint, write_curve, write_record
from scaling_law.report import tables
from scaling_law.report.evidence import gather_evidence
from scaling_law.report.exports import write_tables
from scaling_law.report.html import write_report
from scaling_law.report.metric_figures import metric_curves, metric_ends
from tests.fakes import record_of, tiny_spec

ROOT = Path(__file__).resolve().parents[2]


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


def test_the_page_lists_what_runs_report_such_as_a_probe_that_failed(tmp_path):
    evidence, record = measured(tmp_path)
    assert tables.notes(evidence) is None
    failed = dataclasses.replace(record, message="mine is not measured at step 1 (ValueError: no)")
    section = tables.notes(dataclasses.replace(evidence, records=(failed,)))
    assert section is not None
    assert record.run_id in section.body
    assert "mine is not measured at step 1 (ValueError: no)" in section.body


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


def by_arm(folder):
    """Two arms of one size at two horizons, two seeds each, with an accuracy."""
    sweep, records = SweepDir(folder / "s"), []
    for arm in ("0", "1"):
        for steps in (20, 40):
            for seed in (0, 1):
                spec = tiny_spec(
                    seed=seed, total_steps=steps, tags=(("axis:optim.weight_decay", arm),),
                    label=f"tiny-{arm}-{steps}-{seed}",
                )  # fmt: skip
                record = dataclasses.replace(
                    record_of(spec, loss_nats=3.0 + seed + float(arm)),
                    metrics={"accuracy.val": 0.25 * (1 + seed), "batches_skipped": 1.0},
                    metric_units={"accuracy.val": "fraction"},
                )
                write_record(sweep.run(record.run_id), record)
                write_curve(sweep.run(record.run_id), [])
                records.append(record)
    return gather_evidence(sweep, 1e9)


def test_each_arm_has_its_mean_and_the_spread_between_seeds(tmp_path):
    section = tables.metrics(by_arm(tmp_path))
    assert section is not None
    first = section.body.partition("At the end, by arm")[2].partition("</table>")[0]
    assert first.count("0.3750 ± 0.1768") == 4  # two arms, two horizons
    assert "optim.weight_decay=1" in first and "batches_skipped" not in first


def test_final_metrics_are_drawn_against_the_axes(tmp_path):
    figure = metric_ends(by_arm(tmp_path))
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "training tokens", "training compute (FLOPs, exact count)",
    ]  # fmt: skip
    assert figure.axes[0].get_ylabel() == "accuracy.val (fraction)"
    assert all(len(axes.lines) == 8 for axes in figure.axes)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["weight_decay 0", "weight_decay 1"]


def test_an_experiment_without_a_law_shows_its_findings_and_the_reason(tmp_path, blank_figures):
    reference = SweepDir(ROOT / "results" / "reference" / "grokking")
    path = write_report(reference, out=tmp_path / "page.html", analysed=analysed(reference))
    page = path.read_text()
    assert 'id="findings"' in page and 'id="metrics"' in page
    assert "No law could be fitted" not in page and 'id="answer"' not in page
    assert page.count("No scaling law: the runs learn from different texts") == 1
    assert "slaw extrapolate" not in page
    assert (tmp_path / "page-figures" / "metric_ends.png").is_file()


def test_each_metric_along_training_has_its_panel(tmp_path):
    evidence, record = measured(tmp_path)
    (once,) = evidence.curves[record.run_id]
    assert metric_curves(evidence) is None  # measured at one step only
    both = {**once.metrics, "at_end": 1.0}
    later = dataclasses.replace(once, step=40, tokens=1280, metrics=both)
    twice = {record.run_id: [once, later]}
    figure = metric_curves(dataclasses.replace(evidence, curves=twice))
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["accuracy.val (fraction)"]
    assert metric_curves(dataclasses.replace(evidence, curves={})) is None


def test_a_long_name_over_a_panel_takes_several_lines(tmp_path):
    evidence, record = measured(tmp_path)
    (once,) = evidence.curves[record.run_id]
    first = dataclasses.replace(once, metrics={"loss.val:" + 60 * "long": 1.0})
    later = dataclasses.replace(first, step=40, tokens=1280)
    figure = metric_curves(dataclasses.replace(evidence, curves={record.run_id: [first, later]}))
    assert figure is not None
    assert all(len(line) < 50 for line in figure.axes[0].get_title().splitlines())
