"""Kaplan's split of a budget against Chinchilla's and ours: at equal compute, which loss is lower?

    slaw run experiments/allocation.yaml          # trains every size at every budget
    python experiments/allocation.py RESULTS      # which rule won, by how much; two figures
    python experiments/allocation.py --grid       # the grid of allocation.yaml, from the rules

A rule says how many parameters a budget in exact FLOPs should have; the rest of the budget is
tokens. All sizes are the reference sweep's: two layers, vocabulary 1,024, context 64.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError, SlawError
from scaling_law.files.layout import SweepDir, atomic_write
from scaling_law.files.record import RunRecord, load_records
from scaling_law.spec.architectures.gpt import Shape, heads_for, model_of
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.run import ModelSpec
from scaling_law.units import format_count

REFERENCE = Path(__file__).resolve().parents[1] / "results" / "reference" / "quick-cpu"
BUDGETS, SEEDS = (3e11, 1.2e12, 4.8e12), (0, 1)
ANCHOR_FLOPS = 1e11  # Kaplan's slope starts from our optimum here, the reference's smallest cell
PETAFLOP_DAY = 8.64e19
# widths tried: multiples of 4, of 8 from 64 on
WIDTHS = (*range(8, 64, 4), *range(64, 241, 8))
_TEMPLATE = ModelSpec(
    vocab_size=1024, n_ctx=64, n_layer=2, d_model=24, n_head=2, n_kv_head=2, d_ff=96
)


def model(width: int) -> ModelSpec:
    """The two-layer model of a width."""
    return model_of(Shape(n_layer=2, d_model=width, n_head=heads_for(width)), _TEMPLATE)


@cache
def reference_law() -> Any:
    """(params, tokens) -> log loss: the coupled law fitted to the reference sweep, matmul
    parameters."""
    from scaling_law.fit.approaches.parametric import fit_law
    from scaling_law.fit.points.dataset import gather_material
    from scaling_law.fit.solver.interval import log_loss

    fit = fit_law(gather_material([REFERENCE]).points, "coupled", resamples=0)
    return lambda params, tokens: log_loss(
        fit.law, fit.params, {"params": params, "tokens": tokens}
    )


def predicted(width: int, flops: float) -> float:
    """log loss by the reference law of a width trained for exact FLOPs."""
    shape = model(width)
    return float(reference_law()(count_params(shape).matmul, flops / flops_per_token(shape)))


def ours(flops: float) -> int:
    """The width with the lowest loss under the law fitted to the reference sweep."""
    widths: Sequence[int] = WIDTHS
    return min(widths, key=lambda width: predicted(width, flops))


def chinchilla(flops: float) -> int:
    """20 tokens a parameter, all parameters counted (Hoffmann 2022, arXiv 2203.15556)."""

    def off(width: int) -> float:
        shape = model(width)
        return abs(math.log(flops / flops_per_token(shape) / count_params(shape).total / 20))

    return min(WIDTHS, key=off)


def kaplan_slope(flops: float) -> int:
    """Kaplan's growth, non-embedding params ~ C^.73 (2001.08361, table 5), from our optimum."""
    first = min(range(8, 100, 2), key=lambda width: predicted(width, ANCHOR_FLOPS))
    start = count_params(model(first)).non_embedding
    return _nearest(start * (flops / ANCHOR_FLOPS) ** 0.73)


def kaplan(flops: float) -> int:
    """Kaplan's law as it stands: 1.3e9 non-embedding params at a petaflop-day, ~ C^.73."""
    return _nearest(1.3e9 * (flops / PETAFLOP_DAY) ** 0.73)


def _nearest(non_embedding: float) -> int:
    return min(
        WIDTHS, key=lambda w: abs(math.log(count_params(model(w)).non_embedding / non_embedding))
    )


@dataclass(frozen=True)
class Rule:
    """``width`` of a budget; ``budgets`` it is trained at."""

    width: Callable[[float], int]
    budgets: tuple[float, ...] = BUDGETS


RULES = {
    "ours": Rule(ours),
    "Chinchilla, 20 tokens a param": Rule(chinchilla),
    "Kaplan's slope from our start": Rule(kaplan_slope),
    # at 4.8e12 it asks for 30M tokens on 16 wide: two epochs, and the time of all the others
    "Kaplan's own constants": Rule(kaplan, BUDGETS[:2]),
}


def grid() -> str:
    """The grid of allocation.yaml: each size once, with every budget that a rule gives it."""
    wanted: dict[int, set[float]] = {}
    for rule in RULES.values():
        for flops in rule.budgets:
            wanted.setdefault(rule.width(flops), set()).add(flops)
    lines = []
    for width in sorted(wanted):
        budgets, heads = wanted[width], model(width).n_head
        listed = ", ".join(f"{flops:g}".replace("e+", "e") for flops in sorted(budgets))
        lines.append(
            f"  - {{sizes: [{{n_layer: 2, d_model: {width}, n_head: {heads}}}], flops: [{listed}],"
            f" seeds: {list(SEEDS)}}}"
        )
    return "\n".join(["grid:", *lines])


@dataclass(frozen=True, kw_only=True)
class Row:
    """A rule at a budget: its runs' log losses, their mean, and what the reference law says.

    ``excess`` over the best rule's mean at the budget and ``error``, the standard error of that
    difference, both in log loss; ``expected`` that excess by the law.
    """

    rule: str
    flops: float
    width: int
    params_total: int
    tokens: int
    log_losses: tuple[float, ...]
    excess: float = 0.0
    error: float = 0.0
    expected: float = 0.0

    @property
    def mean(self) -> float:
        """Of the log losses."""
        return sum(self.log_losses) / len(self.log_losses)


def analyse(records: Sequence[RunRecord]) -> tuple[list[Row], float]:
    """Every rule at every budget that was trained, and the seed noise (sd of log loss).

    The noise is pooled over these seeds and the reference sweep's, for a few runs alone would be
    sure of a difference too soon. Raises ``ConfigError`` where nothing can be compared.
    """
    rows = [
        row
        for flops in BUDGETS
        for name, rule in RULES.items()
        if (row := _row(records, name, rule.width(flops), flops)) is not None
    ]
    if len(rows) < 2:
        raise ConfigError("expected finished runs of experiments/allocation.yaml")
    groups = [row.log_losses for row in rows] + _reference_repeats()
    squares = sum((x - sum(group) / len(group)) ** 2 for group in groups for x in group)
    noise = math.sqrt(squares / sum(len(group) - 1 for group in groups))
    return [_against_best(row, rows, noise) for row in rows], noise


def _reference_repeats() -> list[tuple[float, ...]]:
    """Log losses of the reference sweep's runs that differ in their seed alone."""
    found: dict[tuple[int, int], list[float]] = {}
    for record in load_records(SweepDir(REFERENCE)):
        if record.kind != "trunk" and record.val_loss_nats is not None:
            key = (record.params_total, record.tokens)
            found.setdefault(key, []).append(math.log(record.val_loss_nats))
    return [tuple(group) for group in found.values() if len(group) > 1]


def _row(records: Sequence[RunRecord], name: str, width: int, flops: float) -> Row | None:
    found = [
        record
        for record in records
        if record.kind != "trunk"
        and record.spec.model.d_model == width
        and abs(math.log(record.flops_exact / flops)) < 0.01
        and record.val_loss_nats is not None
    ]
    if not found:
        return None
    return Row(
        rule=name,
        flops=flops,
        width=width,
        params_total=found[0].params_total,
        tokens=found[0].tokens,
        log_losses=tuple(math.log(record.val_loss_nats or math.nan) for record in found),
    )


def _against_best(row: Row, rows: Sequence[Row], noise: float) -> Row:
    rivals = [other for other in rows if other.flops == row.flops]
    best = min(rivals, key=lambda other: other.mean)
    each = 1 / len(row.log_losses) + 1 / len(best.log_losses)
    return dataclasses.replace(
        row,
        excess=row.mean - best.mean,
        error=0.0 if row.width == best.width else noise * math.sqrt(each),
        expected=predicted(row.width, row.flops) - predicted(best.width, row.flops),
    )


def text(rows: Sequence[Row], noise: float) -> str:
    """The table, and one sentence a budget."""
    lines = [
        f"{'FLOPs':8} {'rule':30} {'width':>5} {'params':>8} {'tokens':>7} {'a param':>7}"
        f" {'seeds':>5} {'loss':>6} {'over the best':>18} {'by the law':>10}"
    ]
    for row in rows:
        over = f"{100 * row.excess:+.2f} ±{100 * row.error:.2f}%" if row.excess else "the best"
        lines.append(
            f"{row.flops:<8.2g} {row.rule:30} {row.width:5} {format_count(row.params_total):>8}"
            f" {format_count(row.tokens):>7} {row.tokens / row.params_total:7.1f}"
            f" {len(row.log_losses):5} {math.exp(row.mean):6.3f} {over:>18}"
            f" {100 * row.expected:+9.2f}%"
        )
    lines.append(
        f"seed noise {100 * noise:.2f}% of loss (standard deviation, pooled with the reference"
        " sweep's); ± one standard error of the difference; params: all; FLOPs: exact"
    )
    return "\n".join([*lines, *(_sentence(rows, flops) for flops in BUDGETS)])


def _sentence(rows: Sequence[Row], flops: float) -> str:
    rivals = sorted((row for row in rows if row.flops == flops), key=lambda row: row.excess)
    if len(rivals) < 2:
        return f"{flops:.2g} FLOPs: not finished"
    words = []
    for row in rivals[1:]:
        if not row.error:
            words.append(f"{row.rule} is the same size")
            continue
        sure = row.excess / row.error
        verdict = "beyond the noise" if sure > 3 else "within the noise" if sure < 2 else "likely"
        words.append(f"{row.rule} +{100 * row.excess:.2f}% ({sure:.1f} standard errors, {verdict})")
    return f"{flops:.2g} FLOPs: {rivals[0].rule} is best; {'; '.join(words)}"


def figures(rows: Sequence[Row], noise: float) -> dict[str, bytes]:
    """The excess loss and the sizes against the budget, as PNGs by name."""
    from scaling_law.report import style

    colours = dict(zip(RULES, (style.BLUE, style.PURPLE, style.ORANGE, style.RED), strict=True))
    with style.applied():
        loss, axes = style.new_figure("Loss above the best rule at equal compute")
        axes.axhspan(0, 100 * noise, color=style.FAINT, alpha=0.2, linewidth=0)
        sizes, below = style.new_figure("The size each rule gives a budget")
        for name, colour in colours.items():
            mine = [row for row in rows if row.rule == name]
            x = [row.flops for row in mine]
            y, error = [100 * r.excess for r in mine], [100 * r.error for r in mine]
            axes.errorbar(x, y, yerr=error, color=colour, marker="o", capsize=3, label=name)
            below.plot(x, [row.params_total for row in mine], "o-", color=colour, label=name)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(-0.2, None)
        axes.set_yticks([0, 0.5, 1, 2, 5, 10, 20], ["0", "0.5", "1", "2", "5", "10", "20"])
        axes.set_ylabel("% of loss (grey: one seed's noise)")
        below.set_yscale("log")
        style.count_axis(below, "y", "parameters (all)")
        drawn = {}
        for file, figure, panel in (
            ("allocation_loss", loss, axes),
            ("allocation_size", sizes, below),
        ):
            style.flops_axis(panel, "x", "budget (exact FLOPs)")
            style.legend_below(figure, panel.get_legend_handles_labels()[0], 2)
            drawn[file] = style.render(figure)[1]
        return drawn


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the findings of a sweep's folder and draw its figures; ``--grid``: the grid."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", default="results/allocation")
    parser.add_argument("--grid", action="store_true", help="print the grid of allocation.yaml")
    options = parser.parse_args(arguments)
    if options.grid:
        print(grid())
        return 0
    sweep = SweepDir(Path(options.results))
    try:
        rows, noise = analyse(load_records(sweep))
    except SlawError as problem:
        print(f"allocation: {problem}", file=sys.stderr)
        return problem.exit_code
    print(text(rows, noise))
    for name, picture in figures(rows, noise).items():
        atomic_write(sweep.figures / f"{name}.png", picture)
        print(f"figure: {sweep.figures / name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
