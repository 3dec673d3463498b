"""``write_report``: one page and its figures from a sweep's folder."""

from __future__ import annotations

from pathlib import Path

from scaling_law.errors import ConfigError
from scaling_law.experiment.analysis import Analysed
from scaling_law.files.layout import SweepDir, atomic_write
from scaling_law.files.record import NATS
from scaling_law.forecast.target import LARGEST
from scaling_law.report import (
    curves,
    experiment,
    explore,
    figures,
    findings,
    optimum,
    registered,
    style,
    tables,
)
from scaling_law.report.arms import gather_arms, write_arms
from scaling_law.report.charts import live_charts
from scaling_law.report.destination import cannot_write, destination
from scaling_law.report.evidence import Evidence, Fitted, gather_evidence
from scaling_law.report.exports import write_tables
from scaling_law.report.held_out import held_out_figure
from scaling_law.report.metric_figures import metric_plots
from scaling_law.report.page import Section, choices, embedded, page, paragraph
from scaling_law.report.plot import Plot, saved
from scaling_law.spec.counts import CONVENTIONS
from scaling_law.units import format_count


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
        body = f'{_choices(evidence)}<div class="figures">{drawn}</div>\n'
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


def _choices(evidence: Evidence) -> str:
    """Which parameters count, and which law is drawn."""
    fitted = evidence.fitted
    if fitted is None or not fitted.known.best_law:
        return ""
    used = fitted.points.convention["params"]
    counts = [(n, n.replace("_", "-")) for n in CONVENTIONS if n in fitted.counted]
    laws = [(name, name) for name, fit in fitted.fits[used].items() if fit.usable]
    return choices(
        [
            ("convention", "Parameters counted", counts, used),
            ("law", "Law", laws, fitted.known.best_law),
        ]
    )


def _plots(evidence: Evidence) -> list[Plot]:
    training = Plot(
        name="training_curves",
        shows="Validation loss against training tokens for every run",
        caption=curves.caption(evidence),
        make=lambda: curves.training_curves(evidence),
    )
    metrics = metric_plots(evidence)
    fitted = evidence.fitted
    if fitted is None:
        return [training, *metrics]
    against, residuals = _law_plots(fitted)[:3], _law_plots(fitted)[3:]
    optima = _optimum_plots(fitted, evidence.target_params)
    # the answer first, then in pairs, as the page sets them
    return [
        optima[-1], *against, training, *metrics, *residuals, *optima[:-1], _held_out_plot(fitted)
    ]  # fmt: skip


def _held_out_plot(fitted: Fitted) -> Plot:
    return Plot(
        name="held_out",
        shows="Errors of predictions for runs held out of the fit",
        caption="Left: each size predicted from all others. Right: rollouts, expensive or large "
        "runs predicted from the cheaper or smaller ones, by how far in FLOPs they lie beyond "
        "those. The numbers are under Checks.",
        make=lambda: held_out_figure(fitted),
        wide=True,
    )


def _law_plots(fitted: Fitted) -> list[Plot]:
    bars = "" if fitted.known.seed_noise_log is None else " Bars: one deviation between seeds."
    usable = fitted.best.usable
    level = f"{100 * fitted.level:g}%"
    band = "No curve: the law could not be fitted." + bars
    if usable:
        band = (
            f"Lines: the {fitted.best.law.name} law, or the one chosen; bands its {level} bootstrap"
            f" interval.{bars}"
        )
    return [
        Plot(
            name="loss_params",
            shows="Validation loss against model size",
            caption=f"A curve per number of tokens; points in the colour of theirs. {band}",
            make=lambda: figures.loss_against_params(fitted),
        ),
        Plot(
            name="loss_tokens",
            shows="Validation loss against training tokens",
            caption=f"A curve per size. {band}",
            make=lambda: figures.loss_against_tokens(fitted),
        ),
        Plot(
            name="loss_flops",
            shows="Validation loss against training compute",
            caption=f"A curve per size; the lower envelope is what compute buys. {band}",
            make=lambda: figures.loss_against_flops(fitted),
        ),
        Plot(
            name="residuals",
            shows="Residuals of the fitted law against size and against tokens",
            caption="A trend would mean that the law has the wrong shape; scatter within the "
            "grey band is what another seed would change.",
            make=lambda: figures.residuals(fitted) if usable else None,
            wide=True,
        ),
    ]


def _optimum_plots(fitted: Fitted, target_params: float) -> list[Plot]:
    return [
        Plot(
            name="isoflop",
            shows="Loss against size at equal compute, one curve per budget",
            caption="Seeds are averaged and points moved to their cell's exact compute. Hollow "
            "points belong to refused cells. A curve interpolates its runs (three sizes: a "
            "parabola), and its minimum follows their noise: a cross-check of the fitted law, not "
            "an estimate.",
            make=lambda: optimum.isoflop_cells(fitted),
        ),
        Plot(
            name="allocation",
            shows="Compute-optimal model size against compute, by three approaches",
            caption="The forecast's split spends 6 × parameters × tokens; band: its "
            f"{100 * fitted.level:g}% interval. Kaplan's slope is "
            "drawn through the middle of the data, because its scale belongs to another tokenizer; "
            "the rule of 20 tokens per parameter as published.",
            make=lambda: optimum.allocation(fitted),
        ),
        Plot(
            name="forecast",
            shows=f"Forecast loss from the data out to {format_count(target_params)} parameters",
            caption="Every size at its compute-optimal tokens. The line ends where the fit no "
            "longer supports a figure; beyond it only the range may be quoted. Dots off the "
            "line are runs on other than the optimal tokens: above it on fewer, below it on "
            "more."
            + (
                " * Other text and tokenizers: their nats do not compare."
                if fitted.points.loss_unit == NATS
                else ""
            ),
            make=lambda: optimum.forecast_figure(fitted, target_params),
        ),
    ]
