"""Metrics of one measure by layer belong together."""

from __future__ import annotations

from scaling_law.files.layer_metrics import (
    cell_key,
    layer_measures,
    maps_of,
    measure_units,
    summaries,
    without_layers,
    without_maps,
    without_measures,
)

NAMES = (
    "accuracy.val", "p.rms.embedding", "p.rms.layers.0", "p.rms.layers.1", "q.layers.0.mlp",
    "q.layers.1.mlp", "q.head", "r.layers.0.heads.0", "r.layers.0.heads.1", "r.layers.10.heads.0",
    "w.blocks.0.mlp.up.weight", "best_of_n.4",
)  # fmt: skip


def test_a_measure_has_its_layers_and_what_stands_beside_them():
    measures = {measure.name: measure for measure in layer_measures(NAMES)}
    assert list(measures) == [
        "p.rms", "q.mlp", "q, not of a layer", "r.heads.*", "w.mlp.up.weight",
    ]  # fmt: skip
    assert measures["p.rms"].layers == {"p.rms.layers.0": 0, "p.rms.layers.1": 1}
    assert measures["p.rms"].beside == {"p.rms.embedding": "embedding"}
    assert measures["q, not of a layer"].beside == {"q.head": "head"}
    assert list(measures["r.heads.*"].layers.values()) == [0, 0, 10]
    assert [m.probe for m in measures.values()] == ["p", "q", "q", "r", "w"]


def test_other_metrics_stay_as_they_are():
    assert without_layers(NAMES) == ["accuracy.val", "p.rms.embedding", "q.head", "best_of_n.4"]
    assert without_measures(NAMES) == ["accuracy.val", "best_of_n.4"]
    assert layer_measures(["loss.val:layers.2x", "a.2"]) == []


def test_a_summary_has_the_range_over_layers():
    metrics = {"a": 1.5, "p.rms.layers.0": 2.0, "p.rms.embedding": 1.0, "p.rms.layers.1": 0.25}
    assert summaries(metrics) == {"a": "1.5", "p.rms": "0.25 to 2", "p.rms.embedding": "1"}
    units = measure_units(dict.fromkeys(metrics, "nats"))
    assert units == dict.fromkeys([*metrics, "p.rms"], "nats")


def test_cells_of_a_map_belong_together_and_to_no_layer():
    cells = {cell_key("a.layers.0.heads.1", row, column): 0.5 for row, column in ((0, 0), (1, 0))}
    metrics = {"p.rms.layers.0": 2.0, **cells}
    assert maps_of(metrics) == {"a.layers.0.heads.1": {(0, 0): 0.5, (1, 0): 0.5}}
    assert without_maps(metrics) == {"p.rms.layers.0": 2.0}
    assert without_layers(metrics) == [] and list(summaries(metrics)) == ["p.rms"]
    assert [measure.name for measure in layer_measures(metrics)] == ["p.rms"]
