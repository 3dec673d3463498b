"""Kaplan's split of a budget against Chinchilla's and ours: at equal compute, which loss is lower?

    slaw run allocation                      # trains every size at every budget
    slaw report results/allocation           # which rule won, by how much; two figures
    python experiments/allocation.py         # prints the grid of allocation.yaml, from the rules

A rule says how many parameters a budget in exact FLOPs should have; the rest of the budget is
tokens. All sizes are the reference sweep's: two layers, vocabulary 1,024, context 64.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, log_axis, number
from scaling_law.experiment.findings import (
    AGAIN,
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Series,
    Table,
)
from scaling_law.experiment.seeds import SeedNoise, pooled_noise
from scaling_law.spec.architectures.gpt import Shape, heads_for, model_of
from scaling_law.spec.counts import count_params, flops_per_token, train_flops
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

BUDGETS, SEEDS = (3e11, 1.2e12, 4.8e12), (0, 1)
# The coupled law as fitted to the reference sweep (results/reference/quick-cpu; N counts matmul
# parameters), and the noise of log loss in that sweep's repeats. A test holds both against the
# sweep.
LAW = {
    "A": 144895.667482408,
    "B": 139975.67980756026,
    "alpha": 0.6451807872341023,
    "beta": 0.5124903257211169,
    "gamma": 0.256079635936185,
}
REPEATS = SeedNoise(squares=3.6360037062304544e-05, freedom=8)
ANCHOR_FLOPS = 1e11  # Kaplan's slope starts from our optimum here, the reference's smallest cell
PETAFLOP_DAY = 8.64e19
# widths tried: multiples of 4, of 8 from 64 on
WIDTHS: tuple[int, ...] = (*range(8, 64, 4), *range(64, 241, 8))
_TEMPLATE = ModelSpec(
    vocab_size=1024, n_ctx=64, n_layer=2, d_model=24, n_head=2, n_kv_head=2, d_ff=96
)


def model(width: int) -> ModelSpec:
    """The two-layer model of a width."""
    return model_of(Shape(n_layer=2, d_model=width, n_head=heads_for(width)), _TEMPLATE)


@cache
def predicted(width: int, flops: float) -> float:
    """log loss by the reference law of a width trained for exact FLOPs."""
    shape = model(width)
    tokens = flops / flops_per_token(shape)
    size = LAW["A"] * math.pow(count_params(shape).matmul, -LAW["alpha"])
    return LAW["gamma"] * math.log(size + LAW["B"] * math.pow(tokens, -LAW["beta"]))


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
    return _nearest(start * math.pow(flops / ANCHOR_FLOPS, 0.73))


def kaplan(flops: float) -> int:
    """Kaplan's law as published: 1.3e9 non-embedding params at a petaflop-day, ~ C^.73."""
    return _nearest(1.3e9 * (flops / PETAFLOP_DAY) ** 0.73)


def _nearest(non_embedding: float) -> int:
    return min(
        WIDTHS, key=lambda w: abs(math.log(count_params(model(w)).non_embedding / non_embedding))
    )


@dataclass(frozen=True)
class Rule:
    """A rule for the size of a model.

    ``name`` is what tables call it; ``width`` gives the width for a budget in exact FLOPs;
    ``budgets`` are those it is trained at.
    """

    name: str
    width: Callable[[float], int]
    budgets: tuple[float, ...] = BUDGETS


RULES = {
    "ours": Rule("our law", ours),
    "chinchilla": Rule("Chinchilla, 20 tokens a param", chinchilla),
    "kaplan_slope": Rule("Kaplan's slope from our start", kaplan_slope),
    # at 4.8e12 it asks for 30M tokens on 16 wide: two epochs, and the time of all the others
    "kaplan": Rule("Kaplan's own constants", kaplan, BUDGETS[:2]),
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
        listed = ", ".join(map(number, sorted(budgets)))
        lines.append(
            f"  - {{sizes: [{{n_layer: 2, d_model: {width}, n_head: {heads}}}], flops: [{listed}],"
            f" seeds: {list(SEEDS)}}}"
        )
    return "\n".join(["grid:", *lines])


@dataclass(frozen=True, kw_only=True)
class Row:
    """A rule at a budget.

    ``rule`` is the rule's key; ``flops`` is the budget, exact;
    ``width``, ``params_total`` and ``tokens`` are the model's and the run's;
    ``log_losses`` are those of its runs, a seed each;
    ``excess`` is their mean over the best rule's at the budget, in log loss;
    ``error`` is the standard error of that difference;
    ``expected`` is the excess by the reference law.
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
        """The mean of the log losses."""
        return fmean(self.log_losses)

    @property
    def sure(self) -> float:
        """The excess in standard errors; 0 for the best and for the same size as it."""
        return self.excess / self.error if self.error else 0.0


def compare(runs: Sequence[Run]) -> tuple[list[Row], SeedNoise]:
    """Return every rule at every budget that was trained, and the seed noise of log loss.

    The noise is pooled over these seeds and the reference sweep's: the few runs here alone would
    be too sure of a difference.
    """
    rows = [
        row
        for flops in BUDGETS
        for key, rule in RULES.items()
        if (row := _row(runs, key, rule.width(flops), flops)) is not None
    ]
    noise = pooled_noise([row.log_losses for row in rows], REPEATS)
    return [_against_best(row, rows, noise) for row in rows], noise


def _row(runs: Sequence[Run], rule: str, width: int, flops: float) -> Row | None:
    records = [
        run.record
        for run in runs
        if run.spec.model.dimensions.get("d_model") == width
        and abs(math.log(run.record.flops_exact / flops)) < 0.01
    ]
    if not records:
        return None
    return Row(
        rule=rule,
        flops=flops,
        width=width,
        params_total=records[0].params_total,
        tokens=records[0].tokens,
        log_losses=tuple(math.log(record.val_loss_nats or math.nan) for record in records),
    )


def _against_best(row: Row, rows: Sequence[Row], noise: SeedNoise) -> Row:
    rivals = [other for other in rows if other.flops == row.flops]
    best = min(rivals, key=lambda other: other.mean)
    same = row.width == best.width
    return dataclasses.replace(
        row,
        excess=row.mean - best.mean,
        error=0.0 if same else noise.error(len(row.log_losses), len(best.log_losses)),
        expected=predicted(row.width, row.flops) - predicted(best.width, row.flops),
    )


def analyse(evidence: Evidence) -> Findings:
    """Return which rule has the lowest loss at each budget, and by how much."""
    rows, noise = compare(evidence.ended)
    claims = (
        _claim(rows, "ours", BUDGETS, wins=True),
        _claim(rows, "chinchilla", BUDGETS[:2], wins=False),
        _claim(rows, "kaplan", BUDGETS[:2], wins=False),
    )
    measures: dict[str, float | None] = {"seed_noise": noise.deviation if rows else None}
    for key, rule in RULES.items():
        for flops in rule.budgets:
            mine = [row for row in rows if row.rule == key and row.flops == flops]
            measures[f"excess.{key}.{number(flops)}"] = mine[0].excess if mine else None
    return answer(
        claims,
        lambda: _words(claims),
        measures=measures,
        tables=(_table(rows, noise) if rows else None,),
        figures=(_losses(rows, noise), _sizes(rows)),
        literature=_literature(rows),
        notes=(_sentence(rows, flops) for flops in BUDGETS),
        units=dict.fromkeys(("excess", "seed_noise"), "log loss"),
    )


def _claim(rows: Sequence[Row], rule: str, budgets: Sequence[float], *, wins: bool) -> Claim:
    """Whether a rule is within the noise of the best at each budget, or beyond it at each."""
    listed = ", ".join(f"{flops:.2g}" for flops in budgets)
    says = (
        f"{RULES[rule].name}: within two standard errors of the best at {listed} FLOPs"
        if wins
        else f"{RULES[rule].name}: more than three standard errors above the best at {listed} FLOPs"
    )

    def decide() -> Decision:
        mine = [row for row in rows if row.rule == rule and row.flops in budgets]
        compared = [row for row in mine if sum(other.flops == row.flops for other in rows) > 1]
        need(
            len(compared) == len(budgets),
            f"at {len(compared)} of these {len(budgets)} budgets there are finished runs of this"
            " rule and of another",
            "it needs them at each: " + AGAIN,
        )
        holds = all(row.sure < 2 for row in mine) if wins else all(row.sure > 3 for row in mine)
        return holds, ", ".join(f"{100 * row.excess:+.2f} ±{100 * row.error:.2f}%" for row in mine)

    return claim(f"{rule}_{'within' if wins else 'beyond'}_noise", says, decide)


def _words(claims: Sequence[Claim]) -> str:
    ours_wins, chinchilla_loses, _ = (one.established for one in claims)
    words = "within the noise of the best" if ours_wins else "beyond the noise of the best"
    more = (
        "; 20 tokens a parameter loses beyond the noise at the two smaller ones"
        if chinchilla_loses
        else ""
    )
    return f"At equal compute our law's split is {words} at every budget{more}."


def _table(rows: Sequence[Row], noise: SeedNoise) -> Table:
    return Table(
        caption="Each rule at each budget. Params: all; FLOPs: exact; seed noise"
        f" {100 * noise.deviation:.2f}% of loss (standard deviation, pooled with the reference"
        " sweep's); ± one standard error of the difference",
        head=(
            "rule", "FLOPs", "width", "params", "tokens", "tokens a param", "seeds", "loss",
            "above the best", "by the law",
        ),
        rows=tuple(
            (
                RULES[row.rule].name,
                f"{row.flops:.2g}",
                row.width,
                format_count(row.params_total),
                format_count(row.tokens),
                f"{row.tokens / row.params_total:.1f}",
                len(row.log_losses),
                f"{math.exp(row.mean):.3f}",
                f"{100 * row.excess:+.2f} ±{100 * row.error:.2f}%" if row.excess else "the best",
                f"{100 * row.expected:+.2f}%",
            )
            for row in rows
        ),
    )  # fmt: skip


def _sentence(rows: Sequence[Row], flops: float) -> str:
    rivals = sorted((row for row in rows if row.flops == flops), key=lambda row: row.excess)
    if len(rivals) < 2:
        return f"{flops:.2g} FLOPs: not finished"
    words = []
    for row in rivals[1:]:
        name = RULES[row.rule].name
        if not row.error:
            words.append(f"{name} is the same size")
            continue
        sure = row.sure
        verdict = "beyond the noise" if sure > 3 else "within the noise" if sure < 2 else "likely"
        words.append(f"{name} +{100 * row.excess:.2f}% ({sure:.1f} standard errors, {verdict})")
    return f"{flops:.2g} FLOPs: {RULES[rivals[0].rule].name} is best; {'; '.join(words)}"


def _literature(rows: Sequence[Row]) -> tuple[Published, ...]:
    def excess(rule: str) -> str:
        mine = [row for row in rows if row.rule == rule]
        return ", ".join(f"{100 * row.excess:+.1f}% at {row.flops:.2g}" for row in mine)

    return (
        beside(
            "20 tokens a parameter: loss above the best",
            theirs="0: their best split (6e18 to 3e21 FLOPs)",
            ours=excess("chinchilla"),
            source="Hoffmann 2022, arXiv 2203.15556",
        ),
        beside(
            "size as compute to the .73: loss above the best",
            theirs="0: their best split (up to 1e20 FLOPs)",
            ours=excess("kaplan_slope"),
            source="Kaplan 2020, arXiv 2001.08361",
        ),
    )


def _by_rule(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each rule, by its name."""
    return {rule.name: [r for r in rows if r.rule == key] for key, rule in RULES.items()}


def _losses(rows: Sequence[Row], noise: SeedNoise) -> Figure | None:
    ticks = {f"{value:g}": value for value in (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)}
    series = (
        Series(
            label=name,
            points=tuple((row.flops, 100 * row.excess) for row in mine),
            intervals=tuple(
                (100 * (row.excess - row.error), 100 * (row.excess + row.error)) for row in mine
            ),
        )
        for name, mine in _by_rule(rows).items()
    )
    panel = Panel(
        x=log_axis("budget (exact FLOPs)", BUDGETS),
        y=Axis(label="% of loss", scale="symlog", low=-0.2, values=ticks),
        series=tuple(series),
        bands=(("one seed's noise", 0.0, 100 * noise.deviation),),
    )
    return figure(
        "allocation_loss",
        "Loss above the best rule at equal compute",
        "Bars: one standard error of the difference. Grey: one seed's noise.",
        (panel,),
    )


def _sizes(rows: Sequence[Row]) -> Figure | None:
    series = (
        Series(label=name, points=tuple((row.flops, float(row.params_total)) for row in mine))
        for name, mine in _by_rule(rows).items()
    )
    panel = Panel(
        x=log_axis("budget (exact FLOPs)", BUDGETS),
        y=log_axis("parameters (all)"),
        series=tuple(series),
    )
    return figure(
        "allocation_size",
        "The size each rule gives a budget",
        "All parameters, embeddings included.",
        (panel,),
    )


def _planted(spec: RunSpec) -> Outcome:
    """The reference law's loss, the seeds .1% apart."""
    flops = train_flops(spec.model, spec.tokens)
    log_loss = predicted(spec.model.dimensions["d_model"], flops) + 0.001 * (spec.seed - 1)
    return Outcome(val_loss_nats=math.exp(log_loss))


EXPERIMENT = Experiment(
    question="At equal compute, which rule for the size of a model ends with the lower loss?",
    reproduces="Kaplan 2020 against Hoffmann 2022 (Chinchilla)",
    parts={"corpus": ("installed",), "rule": ("slaw_small",), "schedule": ("wsd",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        # by the law that is planted; budgets come in whole steps
        measures={
            "excess.ours.3e11": (0.0, 0.001),
            "excess.ours.4.8e12": (0.0, 0.001),
            "excess.chinchilla.3e11": (0.011, 0.0145),
            "excess.kaplan_slope.4.8e12": (0.007, 0.010),
            "excess.kaplan.1.2e12": (0.155, 0.160),
            "seed_noise": (0.001, 0.0022),
        },
        claims={
            "ours_within_noise": True,
            "chinchilla_beyond_noise": True,
            "kaplan_beyond_noise": True,
        },
    ),
)

if __name__ == "__main__":
    print(grid())
