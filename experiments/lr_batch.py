"""The best learning rate and batch, and how they move with size, tokens and batch.

    slaw run lr_batch             # three sizes, horizons and batches; later stages close in
    slaw report results/lr_batch  # the best rates, their law, published rules at the same cells
    slaw tune CONFIG              # the same for a config of your own; writes the law as a rule

Every size, horizon and batch is a cell: several learning rates, and a parabola through the losses.
The horizons of a size branch from one trunk, so that they share its learning rate; what that costs
the shortest and the longest one is read from their parabolas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import (
    AGAIN,
    Claim,
    Findings,
    Published,
    Table,
)
from scaling_law.experiment.lr_figures import WORDS, law_figure, loss_figure
from scaling_law.experiment.lr_law import (
    HELD_OUT_WITHIN,
    LrLaw,
    PublishedRates,
    fit_lr_law,
    law_cells,
    published_rates,
)
from scaling_law.experiment.seeds import Mean, mean_over
from scaling_law.experiment.shared_rates import shared_rates
from scaling_law.experiment.tuning import (
    BestBatch,
    Cell,
    Optimum,
    Tuning,
    best_batches,
    trials_of,
    tuned,
)
from scaling_law.experiment.tuning_stages import MULTIPLE, Settings, next_stage
from scaling_law.spec.counts import count_params
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of, format_count

LITTLE = 0.4  # units of seed noise that sharing a learning rate may cost a horizon
CLOSE = 0.2  # scatter of log rates about the law up to which it describes them
MOST = 0.75  # share of the cells that must have a bounded best rate


@dataclass(frozen=True)
class Seen:
    """What the runs show.

    ``tuning`` are the cells of runs that differ in learning rate, size, horizon and batch alone;
    ``law_cells`` are those that the law can hold for, by their weight decay;
    ``law`` is the law of their best rates, or why there is none;
    ``batches`` are the best batches;
    ``published`` are published rules at the cells;
    ``rule_rates`` are the rates of the rule in force, by cell;
    ``settings`` are the experiment's;
    ``left_out`` counts runs that differ in something else.
    """

    tuning: Tuning
    law_cells: tuple[Optimum, ...]
    law: LrLaw | str
    batches: tuple[BestBatch, ...]
    published: tuple[PublishedRates, ...]
    rule_rates: Mapping[Cell, float]
    settings: Settings
    left_out: int

    @property
    def bounded(self) -> tuple[Optimum, ...]:
        """The cells whose best learning rate has an interval."""
        return self.tuning.bounded

    @property
    def bounded_of_law(self) -> tuple[Optimum, ...]:
        """Those of them that the law can hold for."""
        return tuple(best for best in self.law_cells if best.interval is not None)

    @property
    def noise(self) -> float:
        """The spread of one run's loss from seed to seed, as a share of it."""
        return self.tuning.run_noise.deviation

    @property
    def no_law(self) -> tuple[str, str] | None:
        """Why the best rates give no law, and what it takes; None where they give one."""
        law, open_ = self.law, self.tuning.open_text
        if not self.tuning.optima:
            return "no run has finished", AGAIN
        if isinstance(law, str):
            return law, open_ or "it takes more sizes and horizons"
        if len(self.bounded_of_law) < MOST * len(self.law_cells):
            return open_, (
                f"a law of the others alone would be biased; it needs {MOST:.0%} of the cells: more"
                " stages (experiment.most)"
            )
        return None


def read(evidence: Evidence) -> Seen:
    """Return what the runs show."""
    same = [run for run in evidence.runs if not _others(run)]
    tuning = tuned(trials_of(same))
    hot = all(run.spec.schedule.part.shares_trunk for run in same[:1])
    cells = [best.cell for best in tuning.optima]
    settings = evidence.settings
    of_law = law_cells(tuning.optima)
    return Seen(
        tuning=tuning,
        law_cells=tuple(of_law),
        law=fit_lr_law(of_law),
        batches=tuple(best_batches(tuning.optima)),
        published=published_rates(cells, shares_trunk=hot),
        rule_rates=_rule_rates(same),
        settings=settings if isinstance(settings, Settings) else Settings(),
        left_out=len(evidence.runs) - len(same),
    )


def _others(run: Run) -> list[str]:
    """The axes of a run that this analysis does not read."""
    held = (MULTIPLE, "optim.batch_tokens", "optim.weight_decay")
    return [key for key in run.arm if key not in held]


def _rule_rates(runs: Iterable[Run]) -> dict[Cell, float]:
    """The learning rates that the rule gives, by cell."""
    rates = {}
    for run in runs:
        for trial in trials_of([run]):
            rates[trial.cell] = trial.lr / (run.spec.optim.overrides.lr_mult or 1.0)
    return rates


def propose(evidence: Evidence) -> Mapping[str, Any] | None:
    """Give the learning rates that are still needed, or None."""
    runs = [run for run in evidence.runs if not _others(run)]
    return next_stage(runs, evidence.settings, evidence.stage)


def analyse(evidence: Evidence) -> Findings:
    """Return the best learning rates, their law, and what sharing one among horizons costs."""
    seen = read(evidence)
    claims = (
        _law_claim(seen),
        _bounded_claim(seen),
        _direction(seen, "tokens", "longer_lowers", "training longer lowers the best rate", -1),
        _direction(seen, "params", "larger_lowers", "a larger size lowers the best rate", -1),
        _direction(seen, "batch_tokens", "batch_raises", "a larger batch raises the best rate", 1),
        _held_out_claim(seen),
        _rule_claim(seen),
        _shared_claim(seen),
    )
    optima = seen.tuning.optima
    notes = [seen.tuning.noise_text] if optima else []
    if (open_ := seen.tuning.open_text) and open_ not in (seen.no_law or ()):
        notes.append(open_)
    if without := len(optima) - len(seen.law_cells):
        notes.append(
            f"{count_of(without, 'cell')} without weight decay left out of the law: a power of"
            " weight decay says nothing at 0"
        )
    if seen.left_out:
        notes.append(
            f"{seen.left_out} runs left out: they differ in more than rate, batch and decay"
        )
    return answer(
        claims,
        lambda: _words(seen),
        measures=_measures(seen),
        tables=(_cell_table(seen), _batch_table(seen), _published_table(seen)),
        figures=(
            law_figure("lr_batch_rates", seen.law, seen.bounded_of_law),
            loss_figure("lr_batch_losses", seen.bounded, seen.noise),
        ),
        literature=_literature(seen),
        notes=notes,
        units={"excess": "share", "noise": "share", "best": "learning rate"},
    )


def _need_law(seen: Seen) -> LrLaw:
    """The precondition of the claims about the law."""
    need(seen.no_law is None, "the best rates give no law", "it takes what the first claim says")
    assert isinstance(seen.law, LrLaw)
    return seen.law


def _law_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        if why := seen.no_law:
            need(False, *why)
        law = _need_law(seen)
        low, high = law.scatter_interval
        words = (
            f"{law.text}; {law.cells} cells scatter by a factor of {math.exp(law.scatter):.2f}"
            f" ({math.exp(low):.2f} to {math.exp(high):.2f}) beyond their own errors"
        )
        most = f"{words}, on both sides of {math.exp(CLOSE):.2f}"
        need(high <= CLOSE or low > CLOSE, most, "more cells: sizes, horizons or batches")
        return high <= CLOSE, words

    return claim(
        "power_law",
        "the best learning rate is a power law of size and tokens, about which it scatters by a"
        f" factor of {math.exp(CLOSE):.2f} at most",
        decide,
    )


def _bounded_claim(seen: Seen) -> Claim:
    within = seen.settings.within

    def decide() -> Decision:
        optima = seen.tuning.optima
        need(bool(optima), "no run has finished", AGAIN)
        wide = [best for best in optima if best.factor > within]
        need(
            not wide,
            f"{len(wide)} of {len(optima)} cells are not, such as"
            f" {wide[0].cell.text if wide else ''}",
            "more stages (experiment.most) or seeds (experiment.seeds)",
        )
        return True, f"{len(optima)} cells; the widest interval is a factor of {_widest(optima)}"

    return claim(
        "all_bounded",
        f"every cell has its best learning rate between those tried, within a factor of {within:g}",
        decide,
    )


def _widest(optima: Sequence[Optimum]) -> str:
    return f"{max(best.factor for best in optima):.2f}"


def _direction(seen: Seen, variable: str, name: str, says: str, sign: int) -> Claim:
    def decide() -> Decision:
        law = _need_law(seen)
        need(
            variable in law.exponents,
            f"the cells have one value of {WORDS[variable]}",
            f"it takes two: more in the grid or in axes for {WORDS[variable]}",
        )
        low, high = law.intervals[variable]
        need(
            low > 0 or high < 0,
            f"exponent {law.exponent_text(variable)}, on both sides of 0",
            "more seeds, or a wider range",
        )
        return sign * law.exponents[variable] > 0, f"exponent {law.exponent_text(variable)}"

    return claim(name, says, decide)


def _held_out_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        law = _need_law(seen)
        need(
            bool(law.held_out),
            "no size and no horizon can be held out",
            "it takes three sizes or three horizons",
        )
        words = "; ".join(check.text for check in law.held_out)
        holds = [check.holds for check in law.held_out]
        open_ = False not in holds and None in holds
        need(
            not open_,
            f"{words}; on both sides of {HELD_OUT_WITHIN:g}",
            "more sizes, horizons, batches or seeds",
        )
        return False not in holds, words

    return claim(
        "predicts_held_out",
        "the law of the others predicts the rates of the largest size and of the longest horizon"
        f" within a factor of {HELD_OUT_WITHIN:g}",
        decide,
    )


def _rule_excess(seen: Seen) -> list[tuple[Optimum, float]]:
    """What the rule in force costs each cell, as a share of loss."""
    known = [best for best in seen.bounded if best.cell in seen.rule_rates]
    return [(best, best.excess(seen.rule_rates[best.cell])) for best in known]


def _rule_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_law(seen)
        costs = _rule_excess(seen)
        need(bool(costs), "no cell has a best rate", AGAIN)
        worst, most = max(costs, key=lambda pair: pair[1])
        ends = [best.excess_between(seen.rule_rates[best.cell]) for best, _ in costs]
        least, highest = (max(column) for column in zip(*ends, strict=True))
        words = (
            f"at most {100 * most:.2f}% of loss ({worst.cell.text}),"
            f" {100 * fmean(cost for _, cost in costs):.2f}% on average; seed noise"
            f" {100 * seen.noise:.2f}%"
        )
        most_noise = 2 * seen.noise
        need(
            highest <= most_noise or least > most_noise,
            f"{words}; the best rates' intervals leave {100 * least:.2f} to {100 * highest:.2f}%"
            " open",
            "more seeds",
        )
        return highest <= most_noise, words

    return claim(
        "rule_is_good",
        "the rule in force costs no cell more than two units of seed noise",
        decide,
    )


def _shared_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_law(seen)
        shared = shared_rates(seen.bounded)
        need(bool(shared), "no trunk has two horizons with a best rate", "it takes two horizons")
        need(len(shared) > 1, "one trunk has two horizons with a best rate", "it takes two trunks")
        means = [
            mean_over([one.excesses[place] / seen.noise for one in shared]) for place in (0, -1)
        ]
        (low, high), (first, last) = _ends(means), [mean.value for mean in means if mean]
        tokens = [shared[0].cells[place].cell.tokens for place in (0, -1)]
        words = (
            f"{first:.2f} at {format_count(tokens[0])} tokens, {last:.2f} at"
            f" {format_count(tokens[1])}, over {len(shared)} trunks"
        )
        need(
            high <= LITTLE or low > LITTLE,
            f"{words}; the larger one lies between {low:.2f} and {high:.2f}",
            "more trunks: sizes, batches or seeds",
        )
        return high <= LITTLE, words

    return claim(
        "one_rate_serves_all_horizons",
        f"sharing the middle rate costs the shortest and the longest horizon at most {LITTLE:g}"
        " units of seed noise on average",
        decide,
    )


def _ends(means: Iterable[Mean | None]) -> tuple[float, float]:
    """The largest lower end and the largest upper end of the intervals."""
    ends = [mean.interval for mean in means if mean is not None and mean.interval is not None]
    return max(low for low, _ in ends), max(high for _, high in ends)


def _words(seen: Seen) -> str:
    law = seen.law
    assert isinstance(law, LrLaw), "asked only where there is a law"
    moves = ", ".join(
        f"{WORDS[name]}^{law.exponent_text(name)}" for name in law.exponents if name in WORDS
    )
    words = f"The best learning rate goes as {moves}, by {law.cells} cells"
    costs = [cost for _, cost in _rule_excess(seen)]
    if costs:
        words += f"; the rule in force costs {100 * fmean(costs):.2f}% of loss on average"
        words += f" and at most {100 * max(costs):.2f}%"
    edges = [batch.edge for batch in seen.batches]
    if edges:
        words += f"; the smallest batch is best in {edges.count('low')} of {len(edges)} cells"
    return words + "."


def _measures(seen: Seen) -> dict[str, float | None]:
    law = seen.law if isinstance(seen.law, LrLaw) else None
    measures: dict[str, float | None] = {
        "cells": float(len(seen.tuning.optima)) if seen.tuning.optima else None,
        "bounded_cells": float(len(seen.bounded)) if seen.tuning.optima else None,
        "noise": seen.noise if seen.tuning.optima else None,
        "best.centre": law.lr if law else None,
        "scatter": law.scatter if law else None,
        "scatter.low": law.scatter_interval[0] if law else None,
        "scatter.high": law.scatter_interval[1] if law else None,
    }
    for name, word in WORDS.items():
        known = law if law and name in law.exponents else None
        measures[f"exponent.{word}"] = known.exponents[name] if known else None
        for place, end in enumerate(("low", "high")):
            measures[f"exponent.{word}.{end}"] = known.intervals[name][place] if known else None
    for name in ("params", "tokens"):
        checks = [check for check in law.held_out if check.variable == name] if law else []
        low, high = (checks and checks[0].interval) or (None, None)
        measures[f"held_out.{WORDS[name]}"] = checks[0].missed if checks else None
        measures[f"held_out.{WORDS[name]}.low"] = low
        measures[f"held_out.{WORDS[name]}.high"] = high
    costs = [cost for _, cost in _rule_excess(seen)]
    measures["excess.rule.mean"] = fmean(costs) if costs else None
    measures["excess.rule.most"] = max(costs) if costs else None
    shared = shared_rates(seen.bounded)
    measures["excess.shared.first"] = fmean(s.excesses[0] for s in shared) if shared else None
    measures["excess.shared.last"] = fmean(s.excesses[-1] for s in shared) if shared else None
    for rule in seen.published:
        error = rule.error(seen.bounded)
        measures[f"missed.{rule.name.lower().replace(' ', '_')}"] = error[0] if error else None
    return measures


def _size(seen: Seen, cell: Cell) -> str:
    """The name of a cell's size, with its weight decay where that varies."""
    if len({best.cell.weight_decay for best in seen.tuning.optima}) < 2:
        return cell.size
    return f"{cell.size}, decay {cell.weight_decay:g}"


def _cell_table(seen: Seen) -> Table | None:
    if not seen.tuning.optima:
        return None
    law = seen.law if isinstance(seen.law, LrLaw) else None
    of_law = {best.cell for best in seen.law_cells}
    rows = []
    for best in seen.tuning.optima:
        cell, rule = best.cell, seen.rule_rates.get(best.cell)
        low, high = best.interval or (math.nan, math.nan)
        rows.append(
            (
                _size(seen, cell),
                format_count(cell.tokens),
                cell.batch_tokens,
                f"{best.rates[0]:.2g} to {best.rates[-1]:.2g} ({len(best.trials)})",
                "-" if best.lr is None else f"{best.lr:.3g}",
                f"{low:.2g} to {high:.2g}" if best.interval else "-",
                best.edge or "-",
                "-" if law is None or cell not in of_law else f"{law.at_cell(cell):.3g}",
                "-" if rule is None else f"{rule:.3g}",
                "-" if best.loss is None else f"{best.loss:.3f} ±{best.error:.3f}",
                "-" if rule is None or best.interval is None else f"{100 * best.excess(rule):.2f}%",
            )
        )
    return Table(
        caption="The best learning rate of each cell (interval at 90%), by the law, and by the rule"
        " in force; the interpolated lowest loss, and what the rule costs",
        head=(
            "size", "tokens", "batch", "rates (runs)", "best", "interval", "edge", "law", "rule",
            "lowest loss", "the rule costs",
        ),
        rows=tuple(rows),
    )  # fmt: skip


def _batch_table(seen: Seen) -> Table | None:
    if not seen.batches:
        return None
    sizes = sorted({best.cell.batch_tokens for one in seen.batches for best in one.cells})
    rows = []
    for one in seen.batches:
        first = one.cells[0].cell
        best = f"at the {one.edge} edge" if one.edge else f"{one.batch_tokens:.0f}"
        costs = (one.excess(size) for size in sizes)
        rows.append(
            (
                _size(seen, first),
                format_count(first.tokens),
                *("-" if cost is None else f"{100 * cost:.2f}%" for cost in costs),
                best,
            )
        )
    return Table(
        caption="Loss above that of the best batch, each at its own best learning rate",
        head=("size", "tokens", *(f"batch {size}" for size in sizes), "best batch"),
        rows=tuple(rows),
    )


def _published_table(seen: Seen) -> Table | None:
    rows = []
    for rule in seen.published:
        error = rule.error(seen.bounded)
        if error is not None:
            missed, bias, count = error
            side = "too high" if bias > 1 else "too low"
            apart = max(bias, 1 / bias)
            rows.append((rule.name, f"{missed:.2f}", f"{apart:.2f}, {side}", count, rule.source))
    law = seen.law
    if isinstance(law, LrLaw):
        misses = [math.log(law.at_cell(best.cell) / (best.lr or 1)) for best in seen.bounded_of_law]
        missed = math.exp(math.sqrt(fmean(miss**2 for miss in misses)))
        rows.append(("our law, fitted here", f"{missed:.2f}", "1", len(misses), ""))
    if not rows:
        return None
    return Table(
        caption="Published rules at these cells: the factor by which they miss the best learning"
        " rates (root mean square), and its mean",
        head=("rule", "missed by", "on average", "cells", "source"),
        rows=tuple(rows),
    )


def _literature(seen: Seen) -> tuple[Published, ...]:
    law = seen.law if isinstance(seen.law, LrLaw) else None

    def ours(name: str) -> str | None:
        return law.exponent_text(name) if law and name in law.exponents else None

    return (
        beside(
            "exponent of the best learning rate in size",
            theirs="-.713",
            ours=ours("params"),
            source="Step Law, arXiv 2503.04715",
        ),
        beside(
            "exponent in size",
            theirs="-1/3",
            ours=ours("params"),
            source="Porian 2024, arXiv 2406.19146",
        ),
        beside(
            "exponent in tokens",
            theirs="+.307 (the batch grows with them)",
            ours=ours("tokens"),
            source="Step Law, arXiv 2503.04715",
        ),
        beside(
            "exponent in tokens",
            theirs="-.3 ((T0 / T)^.3)",
            ours=ours("tokens"),
            source="Marin, Delphi (marin pull request 3292)",
        ),
        beside(
            "exponent in the batch, Adam",
            theirs=".5 (square root)",
            ours=ours("batch_tokens"),
            source="Malladi 2022, arXiv 2205.10287",
        ),
    )


# The law of the planted runs: its exponents, its rate at 14k, 262k tokens and a batch of 1,024.
_EXPONENTS = {"params": -0.4, "tokens": -0.2, "batch_tokens": 0.4}
_RATE, _CURVATURE = 0.02, 0.03


def _planted_rate(spec: RunSpec) -> float:
    values = {
        "params": count_params(spec.model).non_embedding / 14e3,
        "tokens": spec.tokens / 262144,
        "batch_tokens": spec.batch_tokens / 1024,
    }
    powers = (values[name] ** power for name, power in _EXPONENTS.items())
    return float(_RATE * math.prod(powers))


def _planted(spec: RunSpec) -> Outcome:
    """A parabola in log rate about the planted law; a little noise; a larger batch is worse."""
    away = math.log(spec.optim.lr / _planted_rate(spec))
    jitter: Callable[[float], float] = math.sin  # noise that every machine repeats
    noise = 0.0005 * jitter(1e4 * spec.optim.lr + spec.seed + spec.total_steps)
    level = 6 * count_params(spec.model).non_embedding ** -0.04 * spec.tokens**-0.02
    level *= (spec.batch_tokens / 512) ** 0.01 * (1 + 0.001 * spec.seed)
    return Outcome(val_loss_nats=level * math.exp(_CURVATURE * away**2 + noise))


EXPERIMENT = Experiment(
    question="Which learning rate and batch are best, and how do they move with size and tokens?",
    reproduces="Step Law, Porian 2024, Power Lines (learning rates of AdamW)",
    parts={"corpus": ("installed",), "rule": ("slaw_small",), "schedule": ("wsd",)},
    analyse=analyse,
    propose=propose,
    settings=Settings,
    planted=Planted(
        outcome=_planted,
        measures={
            "exponent.size": (-0.43, -0.37),
            "exponent.tokens": (-0.24, -0.16),
            "exponent.batch": (0.36, 0.44),
            "held_out.size": (1.0, 1.2),
        },
        claims={
            "power_law": True,
            "all_bounded": True,
            "longer_lowers": True,
            "larger_lowers": True,
            "batch_raises": True,
            "predicts_held_out": True,
            "rule_is_good": False,
        },
    ),
)
