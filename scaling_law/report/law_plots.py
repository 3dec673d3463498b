"""The figures of a fitted law, in the order of the page: for the runs of a sweep or of a table."""

from __future__ import annotations

from collections.abc import Sequence

from scaling_law.files.record import NATS
from scaling_law.report import figures, optimum
from scaling_law.report.evidence import Fitted
from scaling_law.report.explore import conventions_of
from scaling_law.report.held_out import held_out_figure
from scaling_law.report.page import choices
from scaling_law.report.plot import Plot
from scaling_law.units import format_count


def choices_of(fitted: Fitted | None) -> str:
    """Which parameters count and which law is drawn, as radio buttons; nothing without a law."""
    if fitted is None or not fitted.known.best_law:
        return ""
    used = fitted.points.convention["params"]
    counts = [(name, name.replace("_", "-")) for name in conventions_of(fitted)]
    laws = [(name, name) for name, fit in fitted.fits[used].items() if fit.usable]
    return choices(
        [
            ("convention", "Parameters counted", counts, used),
            ("law", "Law", laws, fitted.known.best_law),
        ]
    )


def law_plots(fitted: Fitted, target_params: float, measured: Sequence[Plot]) -> list[Plot]:
    """The figures of a law; those of what was ``measured`` stand behind those of the loss."""
    against, residuals = _law_plots(fitted)[:3], _law_plots(fitted)[3:]
    optima = _optimum_plots(fitted, target_params)
    # the answer first, then in pairs, as the page sets them
    return [
        optima[-1], *against, *measured, *residuals, *optima[:-1], _held_out_plot(fitted)
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
