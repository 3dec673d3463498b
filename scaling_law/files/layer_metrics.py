"""Which metrics belong together: ``rms.layers.0``, ``rms.layers.1``, and the cells of a map.

The cell in row 3 and column 1 of a map is ``layers.0.heads.0.map.3.1``. Maps have figures and a
table of their own: they are no measures by layer, and no column or line has their cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

_LAYER = re.compile(r"\.(?:layers|blocks)\.(\d+)(?=\.|$)")
_CELL = re.compile(r"\.map\.(\d+)\.(\d+)$")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


Cells: TypeAlias = dict[tuple[int, int], float]  # of a map, by row and column


def cell_key(name: str, row: int, column: int) -> str:
    """Return the key of one cell of the map ``name``."""
    return f"{name}.map.{row}.{column}"


def maps_of(metrics: Mapping[str, float]) -> dict[str, Cells]:
    """Return the maps among ``metrics``, by name."""
    maps: dict[str, Cells] = {}
    for metric, value in metrics.items():
        if match := _CELL.search(metric):
            maps.setdefault(metric[: match.start()], {})[int(match[1]), int(match[2])] = value
    return maps


def without_maps(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that are no cells of a map."""
    return {metric: value for metric, value in metrics.items() if not _CELL.search(metric)}


@dataclass(frozen=True, kw_only=True)
class LayerMeasure:
    """A measure that a probe takes of several layers.

    ``name`` is the metrics' name without the layer, ``*`` for further numbers such as a head's;
    ``probe`` is the name of the probe;
    ``layers`` are the layers by metric; a layer may have several metrics;
    ``beside`` are metrics of the measure that belong to no layer, with their short names.
    """

    name: str
    probe: str
    layers: dict[str, int] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)


def layer_measures(names: Iterable[str]) -> list[LayerMeasure]:
    """Return the measures by layer among ``names``; none for a probe without any layer.

    What such a probe measures beside its layers stands beside the measure that has its name, or
    else in a measure of its own, without layers.
    """
    measures: dict[str, LayerMeasure] = {}
    others: list[str] = []
    for metric in names:
        if _CELL.search(metric):
            continue
        if match := _LAYER.search(metric):
            rest = _NUMBER.sub("*", metric[match.end() :])
            name = metric[: match.start()] + rest
            measure = LayerMeasure(name=name, probe=metric.partition(".")[0])
            measures.setdefault(name, measure).layers[metric] = int(match[1])
        else:
            others.append(metric)
    probes = {measure.probe for measure in measures.values()}
    for metric in others:
        probe, _, rest = metric.partition(".")
        if probe not in probes:
            continue
        parent, _, short = metric.rpartition(".")
        if parent not in measures:
            parent, short = f"{probe}, not of a layer", rest or metric
            measures.setdefault(parent, LayerMeasure(name=parent, probe=probe))
        measures[parent].beside[metric] = short
    order = list(dict.fromkeys(measure.probe for measure in measures.values()))
    return sorted(measures.values(), key=lambda measure: order.index(measure.probe))


def without_layers(names: Iterable[str]) -> list[str]:
    """Return the names that belong to no layer, and to no map."""
    names = [name for name in names if not _CELL.search(name)]
    taken = {metric for measure in layer_measures(names) for metric in measure.layers}
    return [name for name in names if name not in taken]


def without_measures(names: Iterable[str]) -> list[str]:
    """Return the names that neither belong to a layer nor stand beside layers."""
    names = list(names)
    taken = {metric for measure in layer_measures(names) for metric in measure.beside}
    return [name for name in without_layers(names) if name not in taken]


def summaries(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return the metrics in words, by name; those of one measure by layer as their range."""
    measure_of = {m: measure for measure in layer_measures(metrics) for m in measure.layers}
    words: dict[str, str] = {}
    for name, value in without_maps(metrics).items():
        measure = measure_of.get(name)
        if measure is None:
            words[name] = f"{value:.4g}"
        elif measure.name not in words:
            values = [metrics[metric] for metric in measure.layers]
            words[measure.name] = f"{min(values):.3g} to {max(values):.3g}"
    return words


def measure_units(units: Mapping[str, str]) -> dict[str, str]:
    """Return the units of metrics, and those of the measures by layer among them."""
    measures = layer_measures(units)
    return {**{m.name: units[first] for m in measures for first in list(m.layers)[:1]}, **units}
