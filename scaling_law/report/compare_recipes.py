"""``slaw report A B``: compare two recipes on one grid, as a page and as text."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from scaling_law.errors import ConfigError
from scaling_law.files.layout import SweepDir, atomic_write
from scaling_law.files.record import load_records
from scaling_law.fit.points.dataset import unfinished_notes
from scaling_law.fit.recipes.compare_recipes import RecipeComparison, compare_sweeps
from scaling_law.fit.summary import left_out_lines
from scaling_law.report import compare_figures, style
from scaling_law.report.charts import live_charts
from scaling_law.report.compare_figures import (
    at_loss_words,
    by_size,
    multiplier_words,
    noise_percent,
    percent,
)
from scaling_law.report.destination import cannot_write, destination
from scaling_law.report.exports import write_table
from scaling_law.report.page import (
    Section,
    bullets,
    card,
    drawing,
    embedded,
    listing,
    note,
    page,
    paragraph,
    sentence,
    table,
)


def write_versus(
    first: SweepDir, second: SweepDir, *, out: Path | None = None, convention: str = "matmul"
) -> tuple[Path, RecipeComparison]:
    """Write the comparison of recipe B (``second``) with A (``first``); returns page and values.

    The page is ``<B>/versus-<A>.html``, or where ``out`` says (``destination``). Raises
    ``FitError`` for sweeps that do not compare, ``ConfigError`` for what cannot be read or written.
    """
    if first.path.resolve() == second.path.resolve():
        raise ConfigError(f"{second.path}: the same sweep twice; name two to compare")
    place = destination(second.versus(first), out)
    page = place.page
    versus = compare_sweeps(
        load_records(first), load_records(second), _names(first, second), convention=convention
    )
    notes = (*unfinished_notes([first.path, second.path]), *versus.notes)
    versus = dataclasses.replace(versus, notes=notes)
    try:
        with style.applied():
            drawn = "".join(_draw(versus, place.figures, page.stem, name) for name in _PLOTS)
        write_table(_rows(versus), place.tables / f"{page.stem}.csv")
        atomic_write(page, _page(versus, (first, second), drawn))
    except OSError as problem:
        raise cannot_write(place, problem) from None
    return page, versus


def _rows(versus: RecipeComparison) -> list[dict[str, Any]]:
    return [
        {"size": p.size, "seed": p.seed, "tokens": p.tokens, "params_a": p.params[0],
         "params_b": p.params[1], "run_a": p.run_ids[0], "run_b": p.run_ids[1],
         "loss_a": p.losses[0], "loss_b": p.losses[1], "log_ratio": p.log_ratio,
         "unit": versus.unit}
        for p in versus.pairs
    ]  # fmt: skip


def _names(first: SweepDir, second: SweepDir) -> tuple[str, str]:
    names = first.path.resolve().name, second.path.resolve().name
    return names if names[0] != names[1] else (str(first.path), str(second.path))


_MULTIPLIER = "Compute A needs for B’s loss, over B’s"
_PLOTS: dict[str, tuple[Callable[[RecipeComparison], Figure | None], str, str]] = {
    "difference": (
        compare_figures.difference_figure,
        "Differences of loss between the recipes at equal size, tokens and seed",
        "One mark a matched pair of runs. The grey band is what another seed would change in a "
        "pair; the mean's interval is over pairs of trunks. Below 0, B is better.",
    ),
    "frontier": (
        compare_figures.frontier_figure,
        "Loss against compute under both recipes, with the least loss for a budget",
        "Lines: the fitted law of each recipe at the best split of 6 × parameters × tokens. How "
        "far they lie apart sideways is the compute multiplier; they share one shape unless it "
        "changes with scale.",
    ),
}


def _draw(versus: RecipeComparison, folder: Path, stem: str, name: str) -> str:
    make, shows, caption = _PLOTS[name]
    svg = style.save(make(versus), folder, f"{stem}-{name}")
    if svg is None:
        return ""
    return drawing(style.inline_svg(svg, name, shows), caption, shows, chart=name)


def headline(versus: RecipeComparison) -> list[str]:
    """The comparison in a few lines, the answer first."""
    ours, theirs = versus.names
    multiplier, difference = versus.multiplier, versus.difference
    lines = []
    if multiplier is None:
        lines.append(f"no compute multiplier: {versus.why_no_multiplier}")
    else:
        lines.append(
            f"compute multiplier of {theirs} over {ours}: {multiplier_words(versus)} (above 1x it"
            " saves compute)"
        )
        lines.append(multiplier_range_words(versus))
    lines.append(
        f"at equal size, tokens and seed its loss is {difference_words(versus)} on average"
        f" ({difference.pairs} pairs of runs, {difference.trunks} pairs of trunks)"
    )
    lines.append(_noise(versus))
    lines += _left_out_lines(versus)
    return [*lines, *(f"note: {words}" for words in versus.notes)]


def _left_out_lines(versus: RecipeComparison) -> list[str]:
    return [
        line
        for which, runs in zip("AB", versus.left_out, strict=True)
        for line in left_out_lines(runs, f"left out of {which}")
    ]


def difference_words(versus: RecipeComparison) -> str:
    """``-0.91% [-1.10%, -0.72%]``: B's mean loss over A's, with its interval."""
    difference = versus.difference
    mean = 100 * math.expm1(difference.mean_log)
    if difference.low_log is None or difference.high_log is None:
        return f"{mean:+.2f}% (one pair of trunks: no interval)"
    low, high = (100 * math.expm1(x) for x in (difference.low_log, difference.high_log))
    return f"{mean:+.2f}% [{low:+.2f}%, {high:+.2f}%]"


def multiplier_range_words(versus: RecipeComparison) -> str:
    """Over which losses it holds, and whether it changes with scale."""
    multiplier = versus.multiplier
    assert multiplier is not None
    low, high = multiplier.loss_range
    words = f"from loss {high:.3g} to {low:.3g} ({versus.unit}), law {multiplier.law}"
    if multiplier.changes is None:
        return f"{words}; whether it changes with scale is not known"
    if multiplier.changes:
        ends = "" if multiplier.low is None else f" [{multiplier.low:.2f}, {multiplier.high:.2f}]"
        return (
            f"{words}; it changes with scale: {multiplier.value:.2f}x{ends} for all would mislead"
        )
    least, most = multiplier.ends
    return (
        f"{words}; no change with scale is seen (with slopes of each one's own"
        f" {at_loss_words(most)}, {at_loss_words(least)})"
    )


def _noise(versus: RecipeComparison) -> str:
    noise, difference, (ours, theirs) = noise_percent(versus), versus.difference, versus.names
    alone = [f"{100 * x:.2f}%" if x is not None else "unknown" for x in difference.seed_noise_log]
    words = f"seed noise of a run: {alone[0]} in {ours}, {alone[1]} in {theirs}"
    words += " (standard deviation of loss)"
    if noise is None:
        return f"{words}; no size was run with two seeds in both, so a pair's is unknown"
    return f"{words}; of a paired difference: {noise:.2f}%"


def _page(versus: RecipeComparison, sweeps: tuple[SweepDir, SweepDir], drawn: str) -> str:
    drawn, rules = style.classed(drawn)
    live = live_charts(compare_figures.document(versus))
    theme = rules + style.theme_css(f"{rules}{drawn}{embedded(live.values)}")
    figures = f'<div class="figures">{drawn}</div>\n'
    sections = [
        _answer(versus),
        Section(anchor="figures", heading="Figures", body=figures),
        _recipes(versus),
        _pairs(versus),
        _unmatched(versus),
        _reproduce(versus, sweeps),
    ]
    title = f"Recipe B “{versus.names[1]}” against A “{versus.names[0]}”"
    lead = (
        f"{versus.difference.pairs} pairs of runs of one size, horizon and seed; losses in "
        f"{versus.unit}; parameters: {versus.convention.replace('_', '-')}"
    )
    footer = "Made by slaw (scaling_law). This file needs no network."
    return page(title, lead, [s for s in sections if s.body], footer, theme, live)


def _answer(versus: RecipeComparison) -> Section:
    level = f"{100 * versus.level:g}%"
    multiplier = versus.multiplier
    if multiplier is None:
        compute = card(_MULTIPLIER, "unknown", [sentence(versus.why_no_multiplier)])
    else:
        words = [f"Interval at {level}, {multiplier.method}.", multiplier_range_words(versus)]
        words = [sentence(line) for line in words]
        words += [f"By the {name} law {x:.2f}x." for name, x in multiplier.others.items()]
        big = multiplier_words(versus)
        if multiplier.changes:
            big = f"{multiplier.ends[1].value:.2f}x to {multiplier.ends[0].value:.2f}x"
            words.insert(0, sentence(multiplier_words(versus)))
        compute = card(_MULTIPLIER, big, words)
    difference = card(
        "Loss of B over A’s, same size, tokens, seed",
        difference_words(versus),
        [f"Mean over pairs of trunks, {level} interval by Student’s t.", sentence(_noise(versus))],
    )
    differs = list(versus.differs.items())
    words = [f"{key}: {a} → {b}" for key, (a, b) in differs[:5]]
    if len(differs) > 5:
        words.append(f"and {len(differs) - 5} more, below")
    what = card("What differs, A → B", f"{len(differs)} settings", words)
    body = f'<div class="cards">{compute}{difference}{what}</div>\n'
    notes = list(versus.notes) + (list(multiplier.notes) if multiplier else [])
    body += bullets([sentence(words) for words in notes])
    if not versus.differs:
        body += note("The specs of the matched runs do not differ: this measures noise.")
    if multiplier is not None and multiplier.changes:
        body += paragraph(
            "With slopes of its own, each recipe has its own law: the multiplier is the least "
            "compute with which A reaches a loss, over B’s, at both ends of the losses that both "
            "have runs at. What lies beyond them is not measured, and a trend seldom "
            "continues."
        )
    elif multiplier is not None:
        body += paragraph(
            "The multiplier is u v, where a parameter under B is worth u and a token v of "
            f"A’s (here u = {multiplier.gains[0]:.2f}, v = {multiplier.gains[1]:.2f}; their "
            "product is known better than either): both recipes then follow one law, and their "
            "best losses for a budget differ by a constant factor of compute. It is measured on "
            "the sizes and horizons of these sweeps and claims nothing beyond them."
        )
    return Section(anchor="answer", heading="The answer", body=body)


def _recipes(versus: RecipeComparison) -> Section:
    rows = [(key, a, b) for key, (a, b) in versus.differs.items()]
    caption = "Settings of the matched runs that differ; ranges where a rule sets them by size"
    body = table(caption, ("setting", "A", "B"), rows, 3) if rows else ""
    return Section(anchor="recipes", heading="The two recipes", body=body)


def _pairs(versus: RecipeComparison) -> Section:
    noise = noise_percent(versus)
    rows = [
        (
            f"{p.size}, seed {p.seed}", f"{p.tokens:,.0f}", f"{p.losses[0]:.4f}",
            f"{p.losses[1]:.4f}", f"{p.losses[1] - p.losses[0]:+.4f}", f"{percent(p):+.2f}%",
            f"{percent(p) / noise:+.1f}" if noise else "–", *p.run_ids,
        )
        for pairs in by_size(versus).values()
        for p in pairs
    ]  # fmt: skip
    unit = versus.unit.split()[0]
    head = (
        "size and seed", "tokens", "loss of A", "loss of B", f"B − A ({unit})", "B − A",
        "over seed noise", "run of A", "run of B",
    )  # fmt: skip
    caption = (
        f"Matched runs; loss in {versus.unit}. Over seed noise: the difference in standard "
        "deviations of a paired difference between seeds."
    )
    return Section(anchor="pairs", heading="Pair by pair", body=table(caption, head, rows, 1))


def _unmatched(versus: RecipeComparison) -> Section:
    body = ""
    for which, runs in zip("AB", versus.unmatched, strict=True):
        if runs:
            body += f"<h3>Only in {which} ({len(runs)})</h3>\n" + bullets(runs)
    for which, left in zip("AB", versus.left_out, strict=True):
        if left:
            body += f"<h3>Left out of {which} ({len(left)})</h3>\n"
            body += bullets([f"{run_id}: {why}" for run_id, why in left])
    return Section(anchor="unmatched", heading="Runs without a partner", body=body)


def _reproduce(versus: RecipeComparison, sweeps: tuple[SweepDir, SweepDir]) -> Section:
    folders = " ".join(shlex.quote(str(sweep.path)) for sweep in sweeps)
    lines = f"slaw report {folders}\nslaw report {folders} --json    # the same numbers\n"
    return Section(anchor="reproduce", heading="Make it again", body=listing(lines))
