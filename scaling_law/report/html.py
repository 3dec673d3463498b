"""``write_report``: one page and its figures from a sweep's folder."""

from __future__ import annotations

from pathlib import Path

from scaling_law.errors import ConfigError
from scaling_law.experiment.analysis import Analysed
from scaling_law.files.layout import SweepDir, atomic_write
from scaling_law.files.record import loss_unit
from scaling_law.forecast.target import LARGEST
from scaling_law.report import (
    curves,
    experiment,
    explore,
    findings,
    registered,
    style,
    tables,
)
from scaling_law.report.arms import gather_arms, write_arms
from scaling_law.report.charts import live_charts
from scaling_law.report.destination import cannot_write, destination
from scaling_law.report.evidence import Evidence, gather_evidence
from scaling_law.report.exports import write_tables
from scaling_law.report.law_plots import choices_of, law_plots
from scaling_law.report.metric_figures import metric_plots
from scaling_law.report.page import Section, embedded, page, paragraph
from scaling_law.report.plot import Plot, saved


def write_report(
    sweep: SweepDir,
    *,
    out: Path | None = None,
    target_params: float = 175e9,
    analysed: Analysed | None = None,
) -> Path:
    """Write the page, its figures and its numbers; returns the page's path.

    They go into the sweep's folder, or where ``out`` says (``destination``). The sweep is fitted if
    there is no fit of these records yet; records that support none give a page that says why. A
    sweep with several arms gets a page of them, side by side. Raises ``ConfigError`` for a sweep
    without records or with damaged files, or a page that cannot be written there.
    """
    place = destination(sweep.report, out)
    if not 1 <= target_params <= LARGEST:
        raise ConfigError(f"params is {target_params:g}: expected 1 to {LARGEST:g}")
    evidence = gather_evidence(sweep, target_params)
    arms = gather_arms(sweep, evidence.records, evidence.plan) if analysed is None else None
    drawn, findings_drawn = "", ""
    try:
        if arms is not None:
            write_arms(sweep, evidence, arms, place)
            return place.page
        with style.applied():
            for figure in analysed.findings.figures if analysed else ():
                findings_drawn += saved(experiment.plot(figure), place.figures)
            for plot in _plots(evidence):
                drawn += saved(plot, place.figures)
        write_tables(evidence, place.tables)
        atomic_write(place.page, _page(evidence, drawn, analysed, findings_drawn))
    except OSError as problem:
        raise cannot_write(place, problem) from None
    return place.page


_BETWEEN = "\0"


def _page(
    evidence: Evidence, drawn: str, analysed: Analysed | None = None, findings_drawn: str = ""
) -> str:
    body = paragraph("No figure can be drawn from these runs.")
    # at once, as the classes of styles are numbered by the page
    classed, rules = style.classed(f"{findings_drawn}{_BETWEEN}{drawn}")
    findings_drawn, _, drawn = classed.partition(_BETWEEN)
    if drawn:
        body = f'{choices_of(evidence.fitted)}<div class="figures">{drawn}</div>\n'
    # an experiment need not have a law: its findings are the answer
    without_law = analysed is not None and evidence.fitted is None
    sections = [
        experiment.section(analysed, findings_drawn, evidence.why_no_fit) if analysed else None,
        None if without_law else findings.answer(evidence),
        Section(anchor="figures", heading="Figures", body=body),
        findings.law(evidence),
        findings.checks(evidence),
        registered.record(evidence.registered, evidence.why_not_registered),
        tables.runs(evidence),
        tables.metrics(evidence),
        tables.notes(evidence),
        None if without_law and not tables.has_gaps(evidence) else tables.exclusions(evidence),
        tables.cost(evidence),
        tables.setup(evidence),
        tables.environment(evidence),
        tables.reproduce(evidence, tables.report_commands(evidence) if without_law else None),
    ]
    shown = [section for section in sections if section is not None]
    footer = (
        "Made by slaw (scaling_law). This file needs no network; without scripts its figures are "
        "as drawn."
    )
    what = "The experiment" if analysed else "Scaling law of the sweep"
    title = f"{what} “{evidence.name}”"
    live = live_charts(explore.document(evidence))
    theme = rules + style.theme_css(f"{rules}{findings_drawn}{drawn}{embedded(live.values)}")
    return page(title, tables.size_words(evidence), shown, footer, theme, live)


def _plots(evidence: Evidence) -> list[Plot]:
    unit = loss_unit(evidence.records)
    training = Plot(
        name="training_curves",
        shows="Validation loss against training tokens for every run",
        caption=curves.caption(evidence),
        make=lambda: curves.training_curves(curves.curves_of(evidence), unit),
    )
    metrics = metric_plots(evidence)
    if evidence.fitted is None:
        return [training, *metrics]
    return law_plots(evidence.fitted, evidence.target_params, [training, *metrics])
