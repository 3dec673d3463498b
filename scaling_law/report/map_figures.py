"""Figures of what probes measure as maps, such as where each head of attention looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from scaling_law.files.layer_metrics import Cells, maps_of
from scaling_law.files.record import RunRecord, metric_units
from scaling_law.report.evidence import Evidence
from scaling_law.report.groups import groups_of
from scaling_law.report.plot import Plot
from scaling_law.units import count_of

_MOST_MAPS = 32  # of a run
_COLUMNS = 8
_PANEL = 1.15  # inches


def map_plots(evidence: Evidence) -> list[Plot]:
    """A figure for each probe that measures maps: those of the longest run of a group."""
    measured = {record.run_id: maps_of(record.metrics) for record in evidence.records}
    probes = dict.fromkeys(name.partition(".")[0] for maps in measured.values() for name in maps)
    plots = []
    for probe in probes:
        runs = [r for r in evidence.records if _of_probe(measured[r.run_id], probe)]
        run = _shown(evidence, runs)
        maps = _of_probe(measured[run.run_id], probe)
        more = [f"{count_of(len(runs) - 1, 'further run')} measured it"] * (len(runs) > 1)
        if len(maps) > _MOST_MAPS:
            more.append(f"{len(maps) - _MOST_MAPS} further maps of this run are left out")
        elsewhere = f" {'; '.join(more).capitalize()}: in tables/maps.csv." if more else ""
        plots.append(
            Plot(
                name=f"maps_{probe}",
                shows=f"{probe} at the end of {run.spec.label}, a panel for each map",
                caption=f"{probe} at the end of {run.spec.label}: rows are the positions that look,"
                f" columns those that are looked at, both from the first.{elsewhere}",
                make=partial(draw, evidence, maps),
                wide=True,
            )
        )
    return plots


def _of_probe(maps: Mapping[str, Cells], probe: str) -> dict[str, Cells]:
    return {name: cells for name, cells in maps.items() if name.partition(".")[0] == probe}


def _shown(evidence: Evidence, runs: Sequence[RunRecord]) -> RunRecord:
    """The longest run of the first group; runs that branched or ended, where there is one."""
    groups = groups_of(evidence)
    ended = [run for run in runs if run.kind != "trunk"] or runs
    first = groups.of_run[ended[0].run_id]
    return max((r for r in ended if groups.of_run[r.run_id] == first), key=lambda r: r.tokens)


def draw(evidence: Evidence, maps: Mapping[str, Cells]) -> Figure:
    """Draw the maps side by side, on one scale, which shows small values by their square roots."""
    shown = dict(list(maps.items())[:_MOST_MAPS])
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    size = max(columns * _PANEL + 1.4, 3.5), rows * (_PANEL + 0.45) + 0.6
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    tables = {name: _table(cells) for name, cells in shown.items()}
    top = max(float(np.nanmax(table)) for table in tables.values())
    norm = mpl.colors.PowerNorm(0.5, 0.0, top)
    image = None
    for axes in panels.flat[len(tables) :]:
        axes.remove()
    for axes, (name, table) in zip(panels.flat, tables.items(), strict=False):
        image = axes.imshow(table, cmap=mpl.colormaps["viridis"], norm=norm)
        axes.set_title(_short(name), fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
    assert image is not None, "there is a map"
    unit = next((u for n, u in metric_units(evidence.records).items() if maps_of({n: 0.0})), "")
    bar = figure.colorbar(image, ax=panels, label=unit, shrink=0.8, aspect=18)
    bar.ax.tick_params(labelsize=8)
    return figure


def _table(cells: Cells) -> np.ndarray:
    """The cells as an array, NaN where there is none."""
    table = np.full([1 + max(place) for place in zip(*cells, strict=True)], np.nan)
    for place, value in cells.items():
        table[place] = value
    return table


def _short(name: str) -> str:
    """``layer 0, head 1``: a map's name without its probe."""
    words = name.partition(".")[2].split(".")
    pairs = zip(words[0::2], words[1::2], strict=False)
    return ", ".join(f"{word.removesuffix('s')} {number}" for word, number in pairs)
