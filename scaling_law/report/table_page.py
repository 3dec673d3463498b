"""``write_table_report``: the page of a table of runs, in the shape of a sweep's page."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from scaling_law.errors import ConfigError, FitError
from scaling_law.files.layout import atomic_write
from scaling_law.files.record import NATS, short_unit
from scaling_law.fit.points.dataset import from_points
from scaling_law.fit.points.points import FitPoints, counted_params
from scaling_law.fit.points.table import read_table
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.session import laws_of
from scaling_law.fit.suite import FitSettings, FitSuite, fit_data, save_suite
from scaling_law.forecast.target import LARGEST
from scaling_law.report import explore, findings, style, tables
from scaling_law.report.charts import live_charts
from scaling_law.report.curves import Line, TrainingCurves, training_curves
from scaling_law.report.destination import cannot_write, destination
from scaling_law.report.evidence import LawEvidence, fitted_of, middle_params, rows_by_size
from scaling_law.report.exports import NO_PARQUET, Row, has_parquet, law_tables, write_each
from scaling_law.report.law_plots import choices_of, law_plots
from scaling_law.report.page import (
    Section,
    embedded,
    listing,
    page,
    paragraph,
    signed_percent,
    table,
)
from scaling_law.report.plot import Plot, saved
from scaling_law.report.style import power_of_ten
from scaling_law.tables.plain import PlainRun
from scaling_law.tables.session import read_curves
from scaling_law.units import count_of, format_count, format_ratio


@dataclass(frozen=True, kw_only=True)
class TableEvidence(LawEvidence):
    """A table of runs as the report sees it.

    ``path`` is its file, ``typed`` are the options with which it was read;
    ``points`` are its usable runs, before screening;
    ``curves`` are runs with the losses along their training, none where the table has none, and
    ``curves_path`` is the source that the user names for them.
    """

    path: Path
    typed: tuple[str, ...]
    points: FitPoints
    curves: tuple[PlainRun, ...]
    curves_path: Path | None

    @property
    def shown(self) -> FitPoints:
        """The runs that the page lists: the points of the fit, or else all usable ones."""
        return self.fitted.points if self.fitted else self.points

    @property
    def left_out(self) -> tuple[tuple[str, str], ...]:
        """(row, reason) of each row that is no point."""
        return self.shown.dropped


def write_table_report(
    path: Path,
    *,
    settings: TableSettings | None = None,
    curves: Path | None = None,
    out: Path | None = None,
    target_params: float = 175e9,
    typed: Sequence[str] = (),
) -> tuple[Path, str]:
    """Write the page of a table, its figures and its numbers.

    Returns the page's path, and why no law could be fitted, "" where one is.

    They go into a folder beside the table that is named after it, or where ``out`` says.
    ``curves`` are losses along training, in any format that ``slaw import`` reads; a table whose
    rows are histories of runs has its own. ``typed`` are the options that the page repeats. A table
    that supports no fit gives a page that says why. Raises ``ConfigError`` for a table or curves
    that cannot be read, and for a page that cannot be written.
    """
    place = destination(path.with_name(f"{path.stem}-report") / "report.html", out)
    if not 1 <= target_params <= LARGEST:
        raise ConfigError(f"params is {target_params:g}: expected 1 to {LARGEST:g}")
    settings = settings or TableSettings()
    evidence, suite = _gathered(path, settings, curves, target_params, tuple(typed))
    try:
        drawn = ""
        with style.applied():
            for plot in _plots(evidence):
                drawn += saved(plot, place.figures)
        write_each(_rows_of(evidence), place.tables)
        if suite is not None:
            save_suite(suite, place.tables.parent)
        atomic_write(place.page, _page(evidence, drawn))
    except OSError as problem:
        raise cannot_write(place, problem) from None
    return place.page, evidence.why_no_fit


def _gathered(
    path: Path,
    settings: TableSettings,
    curves: Path | None,
    target_params: float,
    typed: tuple[str, ...],
) -> tuple[TableEvidence, FitSuite | None]:
    points = read_table(path, settings)
    runs: list[PlainRun] = []
    if curves is not None:
        runs = read_curves(curves)
    elif settings.history:
        runs = _histories(read_table(path, dataclasses.replace(settings, history="all")))
    fitted, suite, why = None, None, ""
    try:
        data = from_points(points, origin=str(path))
        suite = fit_data(data, FitSettings())
        fitted = fitted_of(data, laws_of(suite), suite.to_json(), target_params)
    except FitError as problem:
        why = str(problem).removeprefix("no law can be fitted: ")
    evidence = TableEvidence(
        name=path.name,
        target_params=target_params,
        fitted=fitted,
        why_no_fit=why,
        path=path,
        typed=typed,
        points=points,
        curves=tuple(run for run in runs if len(_line_points(run)) > 1),
        curves_path=curves,
    )
    return evidence, suite


def _histories(rows: FitPoints) -> list[PlainRun]:
    """The curves of a table whose rows are training histories, from all of its rows."""
    runs: dict[str, PlainRun] = {}
    for row in np.argsort(rows.tokens, kind="stable").tolist():
        name, params = rows.cluster[row], float(rows.params[row])
        run = runs.setdefault(name, PlainRun(name, "", cells={"params": params}))
        point = {"tokens": float(rows.tokens[row]), "loss": float(rows.loss_nats[row])}
        run.curve.append(point)
    return list(runs.values())


def _page(evidence: TableEvidence, drawn: str) -> str:
    body = paragraph("No figure can be drawn from these runs.")
    drawn, rules = style.classed(drawn)
    if drawn:
        body = f'{choices_of(evidence.fitted)}<div class="figures">{drawn}</div>\n'
    sections = [
        findings.answer(evidence),
        Section(anchor="figures", heading="Figures", body=body),
        findings.law(evidence),
        findings.checks(evidence),
        _runs(evidence),
        _exclusions(evidence),
        _reproduce(evidence),
    ]
    unit = evidence.shown.loss_unit
    training = explore.training_chart(_curves(evidence), unit)
    live = live_charts(explore.document_of(evidence, unit, {}, training))
    theme = rules + style.theme_css(f"{rules}{drawn}{embedded(live.values)}")
    return page(
        f"Scaling law of the table “{evidence.name}”",
        _size_words(evidence.shown),
        [section for section in sections if section is not None],
        "Made by slaw (scaling_law). This file needs no network; without scripts its figures are "
        "as drawn.",
        theme,
        live,
    )


def _plots(evidence: TableEvidence) -> list[Plot]:
    unit = evidence.shown.loss_unit
    training = Plot(
        name="training_curves",
        shows="Validation loss along training for every run with a curve",
        caption=f"{count_of(len(evidence.curves), 'run')} with a curve, coloured by size.",
        make=lambda: training_curves(_curves(evidence), unit),
    )
    if evidence.fitted is None:
        return [training]
    return law_plots(evidence.fitted, evidence.target_params, [training])


def _line_points(run: PlainRun, along: str = "") -> list[dict[str, float]]:
    """The points of a curve that have a loss, and a place ``along`` it."""
    needed = {along} if along else {"tokens", "step"}
    return [point for point in run.curve if "loss" in point and needed & point.keys()]


def _curves(evidence: TableEvidence) -> TrainingCurves:
    """The curves of a table's runs, along tokens, or along steps where they have no tokens."""
    points = evidence.shown
    groups = rows_by_size(points)
    colours = dict(zip(groups, style.ramp(len(groups)), strict=True))
    middles = {name: middle_params(points, rows) for name, rows in groups.items()}
    params = dict(zip(points.run_id, points.params.tolist(), strict=True))
    has_tokens = all(len(_line_points(run, "tokens")) > 1 for run in evidence.curves)
    along = "tokens" if has_tokens else "step"
    lines, unsized = [], False
    for run in evidence.curves:
        own = _line_points(run, along)
        size = params.get(run.name, run.cells.get("params"))
        group, colour = "runs of unknown size", style.FAINT
        if isinstance(size, float) and size > 0:
            group = min(middles, key=lambda name: abs(np.log(middles[name] / size)))
            colour = colours[group]
        unsized |= colour == style.FAINT
        lines.append(
            Line(name=run.name, group=group, colour=colour, losses=[p["loss"] for p in own],
                 tokens=[p[along] for p in own])
        )  # fmt: skip
    entries = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    if unsized:
        entries.append(Line2D([], [], color=style.FAINT, label="runs of unknown size"))
    return TrainingCurves(
        lines=lines,
        entries=entries,
        legend_title="size",
        columns=3,
        along="training tokens seen" if has_tokens else "training steps",
    )


_HEAD = ("run", "loss (UNIT)", "law (UNIT)", "residual", "params", "tokens", "tokens/param",
         "FLOPs", "trunk", "seed")  # fmt: skip


def _runs(evidence: TableEvidence) -> Section:
    """Every usable run of the table, beside what the law says of it."""
    points, fitted = evidence.shown, evidence.fitted
    expected = explore.predicted(fitted.best, points) if fitted else None
    rows = [_run(points, row, None if expected is None else float(expected[row]))
            for row in range(len(points))]  # fmt: skip
    absent = {
        name
        for name, there in (
            ("seed", len(set(points.seed)) > 1),
            ("trunk", points.n_clusters < len(points)),
            ("law (UNIT)", expected is not None),
            ("residual", expected is not None),
        )
        if not there
    }
    shown = [i for i, name in enumerate(_HEAD) if name not in absent]
    head = [_HEAD[i].replace("UNIT", short_unit(points.loss_unit)) for i in shown]
    caption = (
        f"The usable runs of the table, {len(points)}."
        + ("" if expected is None else " Law: what the law shown says of a run it was fitted to;"
           " residual: the measured loss over that − 1.")
    )  # fmt: skip
    body = table(caption, head, [[row[i] for i in shown] for row in rows], 1)
    return Section(anchor="runs", heading="All runs", body=body)


def _run(points: FitPoints, row: int, expected: float | None) -> tuple[str, ...]:
    loss, error = float(points.loss_nats[row]), float(points.loss_sem_nats[row])
    params, tokens = float(points.params[row]), float(points.tokens[row])
    return (
        points.run_id[row],
        f"{loss:.4f}" + (f" ± {error:.4f}" if error > 0 else ""),
        "–" if expected is None else f"{expected:.4f}",
        signed_percent(None if expected is None else loss / expected - 1),
        format_count(params),
        format_count(tokens),
        format_ratio(tokens / params),
        power_of_ten(float(points.flops[row])),
        points.cluster[row],
        str(points.seed[row]),
    )


def _exclusions(evidence: TableEvidence) -> Section:
    body = tables.listed_by_reason("Rows that are not points of the fit:", evidence.left_out)
    if not body:
        body = paragraph(
            "Every row of the table is a point of the fit."
            if evidence.fitted
            else f"Nothing was fitted: {evidence.why_no_fit}"
        )
    return Section(anchor="excluded", heading="What was left out, and why", body=body)


def _reproduce(evidence: TableEvidence) -> Section:
    """The commands that make this page again."""
    source, options = str(evidence.path), list(evidence.typed)
    curves = [] if evidence.curves_path is None else ["--curves", str(evidence.curves_path)]
    target = tables.plain_count(evidence.target_params)
    lines = [
        ["slaw", "fit", source, *options],
        ["slaw", "extrapolate", "--params", target, "--results", source, *options],
        ["slaw", "report", source, "--params", target, *options, *curves],
    ]
    body = listing("\n".join(map(shlex.join, lines)) + "\n")
    numbers = "CSV and parquet" if has_parquet() else f"CSV ({NO_PARQUET})"
    body += paragraph(
        "Beside this page lie the figures as PNG and SVG (figures), the runs, curves, fits and "
        f"predictions as {numbers} (tables), and the fit as slaw fit --json prints it "
        "(fits/fit.json)."
    )
    return Section(anchor="reproduce", heading="Make it again", body=body)


def _rows_of(evidence: TableEvidence) -> dict[str, list[Row]]:
    """The rows of the tables ``runs``, ``curves``, ``fits`` and ``predictions``."""
    points = evidence.shown
    unit = "loss_nats" if points.loss_unit == NATS else f"loss ({points.loss_unit})"
    runs: list[Row] = [
        {
            "run_id": points.run_id[row],
            "params": float(points.params[row]),
            "tokens": float(points.tokens[row]),
            "flops": float(points.flops[row]),
            unit: float(points.loss_nats[row]),
            "cluster": points.cluster[row],
            "seed": points.seed[row],
            "left_out": "",
        }
        for row in range(len(points))
    ]
    runs += [{"run_id": name, "left_out": reason} for name, reason in evidence.left_out]
    curves: list[Row] = [
        {"run_id": run.name, **_named(point, unit)}
        for run in evidence.curves
        for point in run.curve
    ]
    return {"runs": runs, "curves": curves, **law_tables(evidence.fitted)}


def _named(point: dict[str, float], unit: str) -> dict[str, Any]:
    return {unit if name == "loss" else name: value for name, value in point.items()}


def _size_words(points: FitPoints) -> str:
    """``40 runs; 6 sizes of 14K to 440K parameters; ...`` for the head of the page."""
    sizes = len(set(points.params.tolist()))
    return (
        f"{count_of(len(points), 'run')}; {count_of(sizes, 'size')} of"
        f" {_span(points, 'params')} {counted_params(points.convention['params'])};"
        f" {_span(points, 'tokens')} tokens"
    )


def _span(points: FitPoints, name: str) -> str:
    return " to ".join(dict.fromkeys(format_count(end) for end in points.data_range[name]))
