"""What probes measure by layer has a figure a probe, and one of the runs' ends."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from scaling_law.files.layer_metrics import cell_key
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import CurvePoint, write_curve, write_record
from scaling_law.report import tables
from scaling_law.report.evidence import Evidence, gather_evidence
from scaling_law.report.exports import tables_of
from scaling_law.report.layer_figures import layer_plots, shown_runs
from scaling_law.report.map_figures import map_plots
from scaling_law.report.metric_figures import metric_curves, metric_ends
from tests.fakes import record_of, tiny_spec

VALUES = {"p.rms.embedding": 1.0, "p.rms.layers.0": 2.0, "p.rms.layers.1": 40.0, "p.head": 3.0}


MAPS = {
    cell_key(f"attention_maps.layers.0.heads.{head}", row, column): 1 / (1 + row)
    for head in (0, 1)
    for row in range(3)
    for column in range(row + 1)
}


def evidence_of(
    folder, sizes: int = 1, horizons: int = 2, ends: dict[str, float] | None = None
) -> Evidence:
    """Runs of several sizes and horizons with a measure of two layers, and what ``ends`` adds."""
    sweep = SweepDir(folder / "s")
    for size in range(sizes):
        for horizon in range(1, horizons + 1):
            spec = tiny_spec(
                label=f"size{size}-h{horizon}",
                tags=(("size", f"size{size}"),),
                total_steps=20 * horizon,
                seed=size,
            )
            record = dataclasses.replace(
                record_of(spec),
                metrics={**VALUES, **(ends or {})},
                metric_units={
                    **dict.fromkeys(VALUES, "activation"),
                    **dict.fromkeys(ends or {}, "share of attention"),
                },
            )
            points = [
                CurvePoint(
                    step=step, tokens=step * 32, train_loss_nats=3.0, val_loss_nats=3.0, lr=0.01,
                    grad_norm=1.0, seconds=1.0, metrics=VALUES,
                )
                for step in (10, 20)
            ]  # fmt: skip
            write_record(sweep.run(record.run_id), record)
            write_curve(sweep.run(record.run_id), points)
    return gather_evidence(sweep, 1e9)


def test_a_probe_has_a_figure_with_a_line_for_each_layer(tmp_path):
    evidence = evidence_of(tmp_path)
    plots = layer_plots(evidence)
    assert [plot.name for plot in plots] == ["layers_p", "layers_ends"]
    assert "1 further run measured it" in plots[0].caption
    figure = plots[0].make()
    assert figure is not None
    rms, rest = figure.axes
    assert (rms.get_title(), rest.get_title()) == ("p.rms", "p, not of a layer")
    assert rms.get_ylabel() == "activation" and rms.get_yscale() == "log"
    assert len(rms.lines) == 3 and len(rest.lines) == 1
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "layer 0", "layer 1", "embedding", "head",
    ]  # fmt: skip


def test_the_longest_run_of_some_sizes_is_shown_and_others_are_counted(tmp_path):
    evidence = evidence_of(tmp_path, sizes=5)
    runs, left_out = shown_runs(evidence, "p")
    assert [run.spec.label for run in runs] == ["size0-h2", "size2-h2", "size4-h2"]
    assert left_out == 7
    figure = layer_plots(evidence)[0].make()
    assert figure is not None and len(figure.axes) == 2 * 3


def test_the_ends_of_all_runs_are_drawn_against_the_layer(tmp_path):
    figure = layer_plots(evidence_of(tmp_path, sizes=2))[1].make()
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_xlabel() == "layer"
    lines = [np.asarray(line.get_xydata()).tolist() for line in axes.lines]
    assert len(lines) == 2 * 4  # a line and its marks for each run
    assert all(line == [[0.0, 2.0], [1.0, 40.0]] for line in lines)


def test_other_figures_and_the_table_leave_layers_out(tmp_path):
    evidence = evidence_of(tmp_path)
    assert metric_curves(evidence) is None and metric_ends(evidence) is None
    ends = metric_ends(dataclasses.replace(evidence, curves={}))
    assert ends is not None
    rows = {axes.get_ylabel() for axes in ends.axes} - {""}
    assert rows == {"p.rms.embedding (activation)", "p.head (activation)"}
    section = tables.metrics(evidence)
    assert section is not None and "rms.layers" not in section.body
    assert "p.head" in section.body and "2 metrics of single layers: in the figures" in section.body


def test_runs_without_layers_have_no_such_figure(tmp_path):
    evidence = evidence_of(tmp_path)
    plain = [dataclasses.replace(r, metrics={"accuracy.val": 0.5}) for r in evidence.records]
    bare = dataclasses.replace(evidence, records=tuple(plain), curves={})
    assert layer_plots(bare) == []


@pytest.mark.parametrize("probe", ["p", "other"])
def test_a_run_with_one_point_has_no_curve(tmp_path, probe):
    evidence = evidence_of(tmp_path)
    once = {name: points[:1] for name, points in evidence.curves.items()}
    assert shown_runs(dataclasses.replace(evidence, curves=once), probe) == ([], 0)


def test_maps_have_a_panel_each_and_a_table(tmp_path):
    evidence = evidence_of(tmp_path, ends=MAPS)
    (plot,) = map_plots(evidence)
    assert plot.name == "maps_attention_maps" and "size0-h2" in plot.caption
    assert "1 further run measured it: in tables/maps.csv" in plot.caption
    figure = plot.make()
    assert figure is not None
    first, second, bar = figure.axes
    assert [a.get_title() for a in (first, second)] == ["layer 0, head 0", "layer 0, head 1"]
    assert bar.get_ylabel() == "share of attention"
    (image,) = second.images
    drawn: Any = np.ma.filled(np.ma.asarray(image.get_array(), dtype=float), np.nan)
    np.testing.assert_allclose(
        drawn, [[1, np.nan, np.nan], [0.5, 0.5, np.nan], [1 / 3, 1 / 3, 1 / 3]]
    )
    written = tables_of(evidence)
    assert len(written["maps"]) == 2 * len(MAPS)
    assert not any(".map." in name for row in written["runs"] for name in row)
    section = tables.metrics(evidence)
    assert section is not None and "2 metrics of single layers: in the figures" in section.body


def test_a_run_of_many_heads_says_how_many_maps_are_left_out(tmp_path):
    cells = {cell_key(f"a.layers.{at}.heads.0", 0, 0): 1.0 for at in range(40)}
    (plot,) = map_plots(evidence_of(tmp_path, horizons=1, ends=cells))
    assert "8 further maps of this run are left out" in plot.caption
    figure = plot.make()
    assert figure is not None and len(figure.axes) == 32 + 1
