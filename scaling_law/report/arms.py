"""``slaw report`` of a sweep with several arms: their laws and losses on one page, side by side.

Each arm is compared with the first, by the machinery of ``slaw report A B``.
"""

from __future__ import annotations

import math
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling_law.files.layout import SweepDir, atomic_write
from scaling_law.files.record import RunRecord, loss_unit
from scaling_law.fit.arms import (
    HEADINGS,
    NO_COMMON_LOSS,
    ArmFit,
    ArmRuns,
    axis_keys,
    law_rows,
    loss_unit_of,
    losses_compare,
    split_by,
    stored_or_fitted_arm,
)
from scaling_law.fit.recipes.compare_arms import ArmComparison, compare_arms
from scaling_law.fit.session import KnownLaws
from scaling_law.forecast.outlook import outlook_of
from scaling_law.plan.plan import Plan
from scaling_law.report import arm_figures, curves, registered, style, tables
from scaling_law.report.arm_figures import ArmPoints
from scaling_law.report.charts import live_charts
from scaling_law.report.compare_figures import multiplier_words
from scaling_law.report.compare_recipes import difference_words, multiplier_range_words
from scaling_law.report.destination import Destination
from scaling_law.report.evidence import Evidence
from scaling_law.report.exports import write_table, write_tables
from scaling_law.report.metric_figures import metric_plots
from scaling_law.report.page import (
    Section,
    bullets,
    card,
    drawing,
    embedded,
    note,
    page,
    paragraph,
    sentence,
    table,
)
from scaling_law.report.plot import saved
from scaling_law.spec.arms import by_options, short_names
from scaling_law.units import format_count

_MOST_CARDS = 6
_LINE_POINTS = 24


@dataclass(frozen=True, kw_only=True)
class Arms:
    """What is known of a sweep's arms, all in one order, the reference first.

    ``fits`` are their laws;
    ``comparisons`` are each against the reference;
    ``names`` are short.
    """

    fits: tuple[ArmFit, ...]
    comparisons: tuple[ArmComparison, ...]
    names: tuple[str, ...]

    @property
    def runs(self) -> list[ArmRuns]:
        """The arms' runs."""
        return [fit.arm for fit in self.fits]

    def to_json(self) -> dict[str, Any]:
        """The document of ``slaw report SWEEP --json``: strict JSON, full precision."""
        return {
            "reference": self.fits[0].arm.name,
            "losses_compare": losses_compare(self.runs),
            "arms": [
                {**fit.to_json(), **comparison.to_json()}
                for fit, comparison in zip(self.fits, self.comparisons, strict=True)
            ],
        }


def gather_arms(sweep: SweepDir, records: Sequence[RunRecord], plan: Plan | None) -> Arms | None:
    """Fit and compare the arms of a sweep; None where it has not several.

    The reference is the first arm of the plan that has runs.
    """
    keys = axis_keys(records)
    if not keys:
        return None
    arms = split_by(records, keys, str(sweep.path))
    planned = [arm.values for arm in plan.arms] if plan else []
    order = [tuple(values.get(key) for key in keys) for values in planned]
    arms.sort(key=lambda arm: _place(order, tuple(value for _, value in arm.values)))
    return Arms(
        fits=tuple(stored_or_fitted_arm(arm, sweep) for arm in arms),
        comparisons=compare_arms(arms),
        names=tuple(short_names([arm.values for arm in arms])),
    )


def _place(order: list[tuple[str | None, ...]], values: tuple[str, ...]) -> int:
    return order.index(values) if values in order else len(order)


def write_arms(sweep: SweepDir, evidence: Evidence, arms: Arms, place: Destination) -> None:
    """Write the page, its figures and its tables."""
    figures, numbers = place.figures, place.tables
    points = tuple(_points(fit, name) for fit, name in zip(arms.fits, arms.names, strict=True))
    drawn = ""
    with style.applied():
        if losses_compare(arms.runs):
            svg = style.save(
                arm_figures.loss_figure(points, loss_unit_of(arms.runs)), figures, "arms_loss"
            )
            shows = "Validation loss against training compute, arm by arm"
            caption = (
                "One mark a run. Lines: the least loss for a budget by the law of each arm alone;"
                " none where its runs allow no law."
            )
            drawn += _drawing(svg, "arms_loss", shows, caption)
        figure = arm_figures.comparison_figure(arms.comparisons, arms.names)
        shows = f"Each arm against {arms.names[0]}: differences of loss, and compute"
        caption = (
            "Left: mean difference of loss at equal size, tokens and seed, with its interval over"
            " pairs of trunks. Right: the compute that the reference needs for an arm's loss, over"
            " the arm's; arms without a mark have too few runs for it."
        )
        svg = style.save(figure, figures, "arms_compared")
        drawn += _drawing(svg, "arms_compared", shows, caption, wide=True)
        unit = loss_unit(evidence.records)
        training = curves.training_curves(curves.curves_of(evidence), unit)
        svg = style.save(training, figures, "training_curves")
        shows = "Validation loss against training tokens for every run"
        drawn += _drawing(svg, "training_curves", shows, curves.caption(evidence))
        for plot in metric_plots(evidence):
            drawn += saved(plot, figures)
    write_tables(evidence, numbers)
    write_table(_comparison_rows(arms), numbers / "arms.csv")
    atomic_write(place.page, _page(sweep, evidence, arms, points, drawn))


def _drawing(svg: bytes | None, name: str, shows: str, caption: str, *, wide: bool = False) -> str:
    if svg is None:
        return ""
    inline = style.inline_svg(svg, name, shows)
    return drawing(inline, caption, shows, chart=name, wide=wide)


def _points(fit: ArmFit, name: str) -> ArmPoints:
    """The arm's fitted runs, and its law's least loss over their range of compute."""
    left_out = {item["run_id"] for item in fit.summary["dropped"]} if fit.summary else set()
    runs = [
        r
        for r in fit.arm.records
        if r.kind != "trunk" and r.run_id not in left_out and r.val_loss_nats is not None
    ]
    flops = [6.0 * r.params_matmul * r.tokens for r in runs]
    return ArmPoints(
        name=name,
        labels=tuple(r.spec.label for r in runs),
        flops=tuple(flops),
        losses=tuple(r.val_loss_nats for r in runs if r.val_loss_nats is not None),
        line=tuple(_least_losses(fit.known, flops)) if fit.known is not None and flops else (),
    )


def _least_losses(known: KnownLaws, flops: Sequence[float]) -> list[tuple[float, float]]:
    """Budgets over the range of ``flops``, and the least loss forecast for each.

    Empty where the law cannot be used, or has no compute-optimal split.
    """
    best = known.laws.get(known.best_law)
    if best is None or not best.usable:
        return []
    outlook = outlook_of(best, known.worlds)
    if outlook.split is None:
        return []
    line = []
    for budget in np.geomspace(min(flops), max(flops), _LINE_POINTS).tolist():
        params = outlook.split.params(budget)
        line.append((budget, math.exp(outlook.loss_at(params, budget / 6 / params))))
    return line


def _comparison_rows(arms: Arms) -> list[dict[str, Any]]:
    rows = []
    for comparison in arms.comparisons:
        row: dict[str, Any] = {"arm": comparison.arm.name, **dict(comparison.arm.values)}
        row |= {"runs": len(comparison.arm.records), "why_not": comparison.why_not}
        versus = comparison.versus
        if versus is not None:
            difference, multiplier = versus.difference, versus.multiplier
            row |= {
                "unit": versus.unit, "level": versus.level, "pairs": difference.pairs,
                "mean_log_ratio": difference.mean_log, "low_log": difference.low_log,
                "high_log": difference.high_log,
                "multiplier": multiplier.value if multiplier else None,
                "multiplier_low": multiplier.low if multiplier else None,
                "multiplier_high": multiplier.high if multiplier else None,
                "changes_with_scale": multiplier.changes if multiplier else None,
            }  # fmt: skip
        rows.append(row)
    return rows


def _page(
    sweep: SweepDir,
    evidence: Evidence,
    arms: Arms,
    points: tuple[ArmPoints, ...],
    drawn: str,
) -> str:
    drawn, rules = style.classed(drawn)
    live = live_charts(arm_figures.document(points, arms.to_json(), loss_unit_of(arms.runs)))
    theme = rules + style.theme_css(f"{rules}{drawn}{embedded(live.values)}")
    sections = [
        _answer(arms),
        Section(anchor="figures", heading="Figures", body=f'<div class="figures">{drawn}</div>\n'),
        _laws(arms),
        _losses(arms),
        _settings(arms),
        registered.record(evidence.registered, evidence.why_not_registered),
        tables.runs(evidence),
        tables.metrics(evidence),
        tables.notes(evidence),
        _left_out(evidence, arms),
        tables.cost(evidence),
        tables.setup(evidence),
        tables.environment(evidence),
        tables.reproduce(evidence, _commands(sweep, arms)),
    ]
    lead = f"{len(arms.fits)} arms; {tables.size_words(evidence)}"
    footer = (
        "Made by slaw (scaling_law). This file needs no network; without scripts its figures are "
        "as drawn."
    )
    title = f"Arms of the sweep “{evidence.name}”"
    return page(title, lead, [s for s in sections if s is not None and s.body], footer, theme, live)


def _commands(sweep: SweepDir, arms: Arms) -> list[str]:
    folder = shlex.quote(str(sweep.path))
    keys = [key for key, _ in arms.fits[0].arm.values]
    where = " ".join(
        f"--where {shlex.quote(f'{key}={value}')}" for key, value in arms.fits[0].arm.values
    )
    return [
        f"slaw fit {folder}{by_options(keys)}",
        f"slaw extrapolate --params 175e9 --results {folder} {where}",
        f"slaw report {folder}",
        f"slaw report {folder} --json    # the same numbers",
    ]


def _answer(arms: Arms) -> Section:
    """What each arm saves or costs against the reference, the largest gain first."""
    reference = arms.fits[0].arm.name
    pairs = list(zip(arms.comparisons[1:], arms.names[1:], strict=True))
    pairs.sort(key=lambda pair: _mean_log(pair[0]))
    cards = ""
    for comparison, name in pairs[:_MOST_CARDS]:
        versus = comparison.versus
        if versus is None:
            cards += card(name, "does not compare", [sentence(comparison.why_not)])
            continue
        words = [f"Loss {difference_words(versus)} at equal size, tokens and seed."]
        if versus.multiplier is None:
            big = difference_words(versus).partition(" ")[0]
            words.append(sentence(f"no compute multiplier: {versus.why_no_multiplier}"))
        else:
            big = multiplier_words(versus)
            words.append(sentence(f"compute multiplier, {multiplier_range_words(versus)}"))
        words += [sentence(said) for said in versus.notes]
        cards += card(name, big, words)
    body = paragraph(
        f"Reference: {reference}. The compute multiplier is the compute that the reference needs"
        " for the arm's loss, over the arm's: above 1x the arm saves compute; below 0% its loss is"
        " lower."
    )
    body += f'<div class="cards">{cards}</div>\n'
    if len(pairs) > _MOST_CARDS:
        body += paragraph(f"And {len(pairs) - _MOST_CARDS} more arms, in the table below.")
    if not losses_compare(arms.runs):
        body += note(sentence(NO_COMMON_LOSS))
    rows = [
        (
            comparison.arm.name,
            str(len(comparison.arm.records)),
            "–" if comparison.versus is None else str(comparison.versus.difference.pairs),
            "–" if comparison.versus is None else difference_words(comparison.versus),
            "–" if comparison.versus is None else multiplier_words(comparison.versus),
            comparison.why_not
            or (comparison.versus.why_no_multiplier if comparison.versus is not None else ""),
        )
        for comparison in arms.comparisons
    ]
    head = ("arm", "runs", "pairs", "loss over the reference's", "compute multiplier", "note")
    caption = "Every arm against the reference; intervals at 90%, over pairs of trunks"
    body += table(caption, head, rows, (0, 5))
    return Section(anchor="answer", heading="The answer", body=body)


def _mean_log(comparison: ArmComparison) -> float:
    return math.inf if comparison.versus is None else comparison.versus.difference.mean_log


def _laws(arms: Arms) -> Section:
    rows = law_rows(arms.fits)
    body = ""
    if rows:
        caption = (
            "The law of each arm alone, the first that none beats clearly on held-out runs; loss in"
            f" {loss_unit_of(arms.runs)}, parameters: matmul, intervals at 90%"
        )
        body += table(caption, ("arm", *HEADINGS[1:]), rows, (0, 3))
        body += paragraph(
            "Laws of different shape, or of few runs, do not compare parameter by parameter: the"
            " multiplier above fits both arms with one shape."
        )
    body += bullets(
        [f"{fit.arm.name}: not fitted: {fit.why_no_fit}" for fit in arms.fits if fit.known is None]
    )
    return Section(anchor="laws", heading="The law of each arm", body=body)


def _losses(arms: Arms) -> Section:
    """Mean loss by size and horizon, an arm a column."""
    cells: dict[tuple[float, str, int], dict[str, list[float]]] = defaultdict(dict)
    for fit in arms.fits:
        for record in fit.arm.records:
            if record.kind == "trunk" or record.val_loss_nats is None:
                continue
            size = dict(record.spec.tags).get("size", format_count(record.params_total))
            cell = cells[record.params_matmul, size, record.tokens]
            cell.setdefault(fit.arm.name, []).append(record.val_loss_nats)
    rows = [
        (
            size,
            f"{tokens:,}",
            *(
                tables.mean_and_spread(cells[params, size, tokens].get(fit.arm.name, []), ".4f")
                for fit in arms.fits
            ),
        )
        for params, size, tokens in sorted(cells)
    ]
    caption = (
        f"Final validation loss, {loss_unit_of(arms.runs)}, mean over seeds (± standard deviation)"
    )
    body = table(caption, ("size", "tokens", *arms.names), rows, 1)
    return Section(anchor="losses", heading="Losses side by side", body=body)


def _settings(arms: Arms) -> Section:
    rows = [
        (comparison.arm.name, key, ours, theirs)
        for comparison in arms.comparisons
        if comparison.versus is not None
        for key, (ours, theirs) in comparison.versus.differs.items()
    ]
    caption = "Settings of the matched runs that differ; ranges where a rule sets them by size"
    body = table(caption, ("arm", "setting", "reference", "arm"), rows, 4) if rows else ""
    return Section(anchor="settings", heading="What the arms vary", body=body)


def _left_out(evidence: Evidence, arms: Arms) -> Section:
    """Finished runs that are not points of their arm's law, and runs without a result."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for fit in arms.fits:
        for item in fit.summary["dropped"] if fit.summary else ():
            reasons[item["reason"]].append(item["run_id"])
    return tables.exclusions(evidence, reasons)
