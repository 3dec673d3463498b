"""Optimizers against AdamW, each at its own best learning rate at every size.

    slaw run optimizers              # AdamW, Muon, SGD at three sizes
    slaw run optimizers_more         # Lion, SOAP, schedule-free: pip install 'slaw[optimizers]'
    slaw report results/optimizers   # the multipliers with intervals, and their power of the size

A compute multiplier says how many times the data, and so the compute, AdamW needs for the same loss
at the same size. AdamW at an eighth of its rule's rate shows what an untuned baseline makes of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
from scaling_law.experiment.conditions import conditions
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, log_axis
from scaling_law.experiment.findings import (
    AGAIN,
    Axis,
    Claim,
    Figure,
    Findings,
    Multiplier,
    Panel,
    Published,
    Series,
    Table,
)
from scaling_law.experiment.speedup import (
    Level,
    Levels,
    Speedup,
    read_speedup,
    tuned_levels,
)
from scaling_law.experiment.tuning import Optimum, Trial, Tuning, trials_of, tuned
from scaling_law.experiment.tuning_stages import Settings, next_stage, other_axes
from scaling_law.experiment.warmups import Warmup
from scaling_law.spec.counts import count_params
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of, format_count

REFERENCE = "adamw"
MATRIX = ("muon", "soap")  # they see a matrix as one, not element by element
MISLED = 1.3  # apparent over true multiplier from which on a baseline misleads
NON_EMBEDDING = "non-embedding parameters"
WEN, ZHAO = "Wen 2025", "Zhao 2024"
# What a verdict says beside an optimizer's multipliers; ``_literature`` has the sources.
_PUBLISHED = {
    "muon": f"{WEN}: 1.4 at .1B, 1.1 at 1.2B; Liu 2025: about 2",
    "soap": f"{WEN}: 1.4 at .1B, 1.1 at 1.2B",
    "sgd": f"{ZHAO}: worse, without a multiplier",
}
_SAYS = {
    "adamw": "AdamW", "muon": "Muon", "sgd": "SGD", "lion": "Lion", "soap": "SOAP",
    "schedule_free": "schedule-free AdamW",
}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What the runs show.

    ``tunings`` are the cells of each optimizer, with the scatter of its own runs;
    ``speedups`` are those against AdamW, best first;
    ``untuned`` is AdamW at its lowest rate against AdamW at its best one;
    ``multiple`` is that rate as a multiple of the rule's, None without runs.
    """

    tunings: Mapping[str, Tuning]
    speedups: tuple[Speedup, ...]
    untuned: Speedup
    multiple: float | None

    @property
    def optima(self) -> tuple[Optimum, ...]:
        """The cells of all optimizers."""
        return tuple(best for tuning in self.tunings.values() for best in tuning.optima)

    @property
    def good(self) -> tuple[Speedup, ...]:
        """The optimizers with a multiplier at some size."""
        return tuple(one for one in self.speedups if one.at)

    def conditions(self, *names: str) -> str:
        """The seeds and the warm-up of these optimizers and of AdamW."""
        return conditions(b for b in self.optima if b.cell.recipe in (REFERENCE, *names))


def says(name: str) -> str:
    """An optimizer as texts name it."""
    return _SAYS.get(name, name)


def recipe_of(run: Run) -> str:
    """A run's optimizer, and further axes; the schedule is that of the optimizer."""
    further = [
        pair
        for pair in other_axes(run).split(", ")
        if pair and not pair.startswith(("name=", "shape="))
    ]
    return ", ".join((run.spec.optim.component.name, *further))


def read(evidence: Evidence) -> Seen:
    """Return what the runs show."""
    trials: dict[str, list[Trial]] = {}
    for trial in trials_of(evidence.runs, recipe_of):
        trials.setdefault(trial.cell.recipe, []).append(trial)
    tunings = {name: tuned(trials[name]) for name in sorted(trials)}
    levels_of = {name: tuned_levels(tuning, name) for name, tuning in tunings.items()}
    reference = levels_of.pop(REFERENCE, {})
    speedups = [
        read_speedup(name, reference, own, base=says(REFERENCE)) for name, own in levels_of.items()
    ]
    multiple, levels = _untuned(evidence)
    return Seen(
        tunings=tunings,
        speedups=tuple(sorted(speedups, key=lambda one: -one.at[-1].value if one.at else 0.0)),
        untuned=read_speedup("untuned", reference, levels),
        multiple=multiple,
    )


def _untuned(evidence: Evidence) -> tuple[float | None, Levels]:
    """AdamW's lowest multiple of the rule's rate, and its losses at each size and horizon."""
    runs = [run for run in evidence.ended if recipe_of(run) == REFERENCE]
    if not runs:
        return None, {}
    lowest = min(run.spec.optim.overrides.lr_mult or 1.0 for run in runs)
    cells: dict[float, dict[float, list[Run]]] = {}
    for run in runs:
        if (run.spec.optim.overrides.lr_mult or 1.0) == lowest and run.record.val_loss_nats:
            by_tokens = cells.setdefault(float(count_params(run.spec.model).non_embedding), {})
            by_tokens.setdefault(float(run.spec.tokens), []).append(run)
    return lowest, {
        params: {tokens: _level(several) for tokens, several in by.items()}
        for params, by in cells.items()
    }


def _level(runs: Sequence[Run]) -> Level:
    """The losses of a cell's runs at one rate."""
    return Level(
        logs={run.spec.seed: math.log(run.record.val_loss_nats or math.nan) for run in runs},
        warmups=frozenset(
            Warmup(run.spec.schedule.warmup_steps, run.spec.total_steps) for run in runs
        ),
    )


def propose(evidence: Evidence) -> Mapping[str, Any] | None:
    """Give the learning rates that are still needed, or None."""
    return next_stage(evidence.runs, evidence.settings, evidence.stage)


def analyse(evidence: Evidence) -> Findings:
    """Return the multipliers by size, their trend, and what an untuned baseline makes of them."""
    seen = read(evidence)
    claims = (
        _compared_claim(seen),
        _best_claim(seen),
        _falls_claim(seen),
        _sgd_claim(seen),
        _untuned_claim(seen),
        _tuned_claim(seen),
    )
    notes = [f"{says(name)}: {tuning.noise_text}" for name, tuning in seen.tunings.items()]
    notes += [
        f"{says(one.name)} has no multiplier: {'; '.join(one.open)}"
        for one in seen.speedups
        if one.open
    ]
    return answer(
        claims,
        lambda: _words(seen),
        measures=_measures(seen),
        tables=(_table(seen), _rate_table(seen)),
        figures=(_size_figure(seen), _rate_figure(seen)),
        literature=_literature(seen),
        notes=notes,
        units={
            "multiplier": "times",
            "apparent": "times",
            "untuned": "times",
            "noise": "share of loss",
        },
        multipliers=[
            dataclasses.replace(at, recipe=says(one.name))
            for one in seen.speedups
            for at in (*one.at, *one.bounds)
        ],
    )


def _need_speedups(seen: Seen) -> tuple[Speedup, ...]:
    """The optimizers with a multiplier. Needs one."""
    need(bool(seen.optima), "no run has finished", AGAIN)
    why = "; ".join(f"{says(one.name)}: {one.open[0]}" for one in seen.speedups if one.open)
    need(bool(seen.good), why or "AdamW alone has finished", AGAIN)
    return seen.good


def _compared_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        good = _need_speedups(seen)
        sizes = sorted({at.params for one in good for at in one.at})
        lacking = [f"{says(one.name)}: {'; '.join(one.open)}" for one in seen.speedups if one.open]
        words = f"{', '.join(says(one.name) for one in good)} at"
        words += f" {', '.join(map(format_count, sizes))} {NON_EMBEDDING},"
        words += f" {seen.conditions(*(one.name for one in good))}"
        return not lacking, "; ".join((words, *lacking))

    return claim(
        "all_compared", "every optimizer has a multiplier against AdamW at every size", decide
    )


def _best_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_speedups(seen)
        largest = float(max(best.cell.params for best in seen.optima))
        there = [(one, at) for one in seen.good for at in one.at if at.params == largest]
        size = f"{format_count(largest)} {NON_EMBEDDING}"
        need(bool(there), f"no optimizer has a multiplier at {size}", AGAIN)
        best, at = max(there, key=lambda pair: pair[1].value)
        low, high = best.best_of(at, len(there))
        words = f"{says(best.name)} {at.value:.2f} ({low:.2f} to {high:.2f}) at {size}"
        words += f", the best of {len(there)}" if len(there) > 1 else ""
        words += f", {seen.conditions(best.name)}"
        words += f" ({WEN}: 1.1 at 1.2B)" if best.name in MATRIX else ""
        is_faster, is_slower = low > 1, all(one.side < 0 for _, one in there)
        open_ = [f"{says(one.name)} {other.text}" for one, other in there if other.side == 0]
        words += f"; {', '.join(open_)}" if high < 1 and open_ else ""
        need(
            is_faster or is_slower, f"{words}: on both sides of 1", "more seeds, or longer horizons"
        )
        lacking = [says(one.name) for one in seen.speedups if largest not in one.sizes]
        need(is_faster or not lacking, f"{words}; {', '.join(lacking)} without one there", AGAIN)
        return is_faster, words

    return claim(
        "beats_adamw", "an optimizer needs less data than AdamW at the largest size", decide
    )


def _falls_claim(seen: Seen) -> Claim:
    """Wen's claim: of the optimizers that it names, not of the one that is best in these runs."""

    def decide() -> Decision:
        _need_speedups(seen)
        named = [one for one in seen.speedups if one.name in MATRIX]
        need(bool(named), f"neither {' nor '.join(map(says, MATRIX))} has finished", AGAIN)
        short = [f"{says(one.name)} has {count_of(len(one.at), 'size')}"
                 for one in named if one.trend is None]  # fmt: skip
        need(not short, "; ".join(short), "it takes 3")
        trends = [one.trend for one in named if one.trend is not None]
        sizes = [format_count(size) for size in sorted({n for one in named for n in one.sizes})]
        powers = "; ".join(f"{says(one.name)}: as N^{trend.text}"
                           for one, trend in zip(named, trends, strict=True))  # fmt: skip
        words = f"{powers} from {sizes[0]} to {sizes[-1]} {NON_EMBEDDING},"
        words += f" {seen.conditions(*(one.name for one in named))}"
        words += f" ({WEN}: as N^-0.10 from .1B to 1.2B)"
        falls = all(trend.interval[1] < 0 for trend in trends)
        rises = any(trend.among(len(trends))[0] > 0 for trend in trends)
        need(falls or rises, f"{words}, on both sides of 0", "more seeds, or a wider range")
        return falls, words

    run = [says(one.name) for one in seen.speedups if one.name in MATRIX]
    return claim(
        "advantage_falls",
        "the multiplier of optimizers that see a matrix as one"
        f" ({' and '.join(run or map(says, MATRIX))}) falls with size",
        decide,
    )


def _named(seen: Seen, name: str) -> Speedup | None:
    return next((one for one in seen.good if one.name == name), None)


def _sgd_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_speedups(seen)
        sgd = next((one for one in seen.speedups if one.name == "sgd"), None)
        need(sgd is not None, "no run of SGD has finished", "slaw run optimizers trains it")
        assert sgd is not None
        need(bool(sgd.at), f"SGD: {'; '.join(sgd.open)}", "longer horizons of SGD")
        words = _by_size(sgd.at)
        words += f" {NON_EMBEDDING}, {seen.conditions('sgd')} ({ZHAO}: worse, without a multiplier)"
        slower = all(one.side < 0 for one in sgd.at)
        faster = any(sgd.best_of(one, len(sgd.at))[0] > 1 for one in sgd.at)
        need(slower or faster, f"{words}: on both sides of 1", "more seeds, or longer horizons")
        return slower, words

    return claim("sgd_is_slower", "SGD with momentum needs more data than AdamW", decide)


def apparent(one: Multiplier, untuned: Speedup) -> Multiplier | None:
    """The multiplier against the untuned baseline at that size; None where it has none.

    It is the product of two multipliers. Their errors are added as independent ones; as both rest
    on AdamW's curve, what they share cancels, and the interval is rather too wide.
    """
    at = next((at for at in untuned.at if at.params == one.params), None)
    if at is None:
        return None
    value = one.value / at.value
    (low, high), (least, most) = _ends(one), _ends(at)
    below = math.hypot(math.log(one.value / low), math.log(most / at.value))
    above = math.hypot(math.log(high / one.value), math.log(at.value / least))
    ends = (value * math.exp(-below), value * math.exp(above))
    return dataclasses.replace(one, base="AdamW, untuned", value=value, interval=ends)


def _by_size(several: Sequence[Multiplier]) -> str:
    """``1.08 (0.96 to 1.22) at 3.52K, 1.16 (1.05 to 1.28) at 13.9K``."""
    return ", ".join(f"{one.text} at {format_count(one.params)}" for one in several)


def _ends(one: Multiplier) -> tuple[float, float]:
    """The ends of a multiplier's interval, which every one here has."""
    assert one.interval is not None, "read_speedup gives an interval"
    return one.interval


def _inverse(one: Multiplier) -> Multiplier:
    """The multiplier of the base over the recipe."""
    low, high = _ends(one)
    return dataclasses.replace(
        one, recipe=one.base, base=one.recipe, value=1 / one.value, interval=(1 / high, 1 / low)
    )


def _untuned_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        need(seen.multiple is not None, "no run of AdamW has finished", AGAIN)
        at = seen.untuned.at
        need(bool(at), f"AdamW at its lowest rate: {'; '.join(seen.untuned.open)}", "longer ones")
        worse = [_inverse(one) for one in at]
        words = f"{_by_size(worse)} {NON_EMBEDDING}, {seen.conditions()}"
        lacking = f"; none at {'; '.join(seen.untuned.open)}" if seen.untuned.open else ""
        words = f"AdamW at its best rate against {seen.multiple:g} of its rule's: {words}{lacking}"
        words += f" ({WEN}: claims of 1.4 to 2 shrink to 1.1 to 1.4 over tuned baselines)"
        misled = all(_ends(one)[0] > MISLED for one in worse)
        sure = misled or any(_ends(one)[1] < MISLED for one in worse)
        need(sure, f"{words}: {MISLED:g} lies inside", "more seeds")
        return misled, words

    return claim(
        "untuned_baseline_misleads",
        f"against an untuned AdamW multipliers appear more than {MISLED:g} times as large, at every"
        " size that has one",
        decide,
    )


def _tuned_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        need(bool(seen.optima), "no run has finished", AGAIN)
        texts = ((says(name), tuning.open_text) for name, tuning in seen.tunings.items())
        open_ = "; ".join(f"{name}: {text}" for name, text in texts if text)
        need(not open_, open_, "more stages (experiment.most) or seeds")
        return True, f"{len(seen.optima)} cells"

    return claim(
        "all_tuned", "every optimizer has its best rate between those tried, at every size", decide
    )


def _words(seen: Seen) -> str:
    parts = []
    for one in seen.good:
        trend = f", as N^{one.trend.text}" if one.trend else ""
        tokens = format_count(one.at[-1].tokens)
        published = f" ({_PUBLISHED[one.name]})" if one.name in _PUBLISHED else ""
        parts.append(f"{says(one.name)}, {tokens} tokens: {_by_size(one.at)}{trend}{published}")
    rests = seen.conditions(*(one.name for one in seen.good))
    words = (
        f"AdamW needs so many times the data for the loss of another, by {NON_EMBEDDING}, with"
        f" intervals at 90%, each at its own best rate, {rests}: {'; '.join(parts)}"
    )
    best = seen.good[0]
    seeming = [value for at in best.at if (value := apparent(at, seen.untuned)) is not None]
    if seeming:
        words += (
            f". Against AdamW at {seen.multiple:g} of its rule's rate {says(best.name)} would"
            f" appear so many times as fast: {_by_size(seeming)}"
        )
    return words + "."


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {
        f"noise.{_key(name)}": tuning.noise.deviation for name, tuning in seen.tunings.items()
    }
    for one in seen.good:
        name = _key(one.name)
        for place, at in enumerate(one.at):
            size = f"{name}.{format_count(at.params)}"
            measures[f"multiplier.{size}"] = at.value
            measures[f"multiplier.{size}.low"], measures[f"multiplier.{size}.high"] = _ends(at)
            seeming = apparent(at, seen.untuned)
            measures[f"apparent.{size}"] = None if seeming is None else seeming.value
            if place == len(one.at) - 1:
                measures[f"multiplier.{name}.largest"] = at.value
        measures[f"exponent.{name}"] = one.trend.exponent if one.trend else None
        low, high = one.trend.interval if one.trend else (None, None)
        measures[f"exponent.{name}.low"], measures[f"exponent.{name}.high"] = low, high
    for at in seen.untuned.at:
        measures[f"untuned.{format_count(at.params)}"] = 1 / at.value
    return measures


def _key(name: str) -> str:
    """An optimizer as measures name it."""
    return name.replace(", ", "_").replace("=", "_")


def _table(seen: Seen) -> Table | None:
    rows = []
    for one in (*seen.good, seen.untuned):
        name = "AdamW, untuned" if one is seen.untuned else says(one.name)
        for at in one.at:
            seeming = None if one is seen.untuned else apparent(at, seen.untuned)
            rows.append(
                (
                    name,
                    format_count(at.params),
                    format_count(at.tokens),
                    at.text,
                    "-" if seeming is None else seeming.text,
                )
            )
    return rows_table(
        "How many times the data AdamW needs for the loss of each optimizer (interval at 90%), and"
        " what an AdamW at its lowest rate would make of it: the product with how much faster than"
        " that one AdamW at its best rate is, at its own longest horizon",
        ("optimizer", "non-embedding", "tokens", "multiplier", "against untuned AdamW"),
        rows,
    )


def _rate_table(seen: Seen) -> Table | None:
    rows = []
    for best in seen.optima:
        low, high = best.interval or (math.nan, math.nan)
        rows.append(
            (
                says(best.cell.recipe),
                format_count(best.cell.params),
                format_count(best.cell.tokens),
                f"{best.rates[0]:.2g} to {best.rates[-1]:.2g}",
                "-" if best.lr is None else f"{best.lr:.3g}",
                f"{low:.2g} to {high:.2g}" if best.interval else best.edge or "-",
                "-" if best.loss is None else f"{best.loss:.4f}",
            )
        )
    return rows_table(
        "The best learning rate of each cell (interval at 90%, or the edge that the lowest loss is"
        " at), and the loss there, in nats per token",
        ("optimizer", "non-embedding", "tokens", "rates", "best", "interval", "loss"),
        rows,
    )


def rows_table(
    caption: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]
) -> Table | None:
    """Return a table; None without rows."""
    return Table(caption=caption, head=head, rows=tuple(rows)) if rows else None


def _size_figure(seen: Seen) -> Figure | None:
    known = {says(one.name): one.at for one in seen.good}
    seeming = {
        f"{says(one.name)}, against untuned AdamW": [
            value for at in one.at if (value := apparent(at, seen.untuned)) is not None
        ]
        for one in seen.good[:1]
    }
    series = [
        Series(
            label=label,
            points=tuple((at.params, at.value) for at in several),
            intervals=tuple(map(_ends, several)),
            dashed=label in seeming,
        )
        for label, several in (known | seeming).items()
        if several
    ]
    rests = seen.conditions(*(one.name for one in seen.good))
    sizes = sorted({at.params for one in seen.good for at in one.at})
    series += [
        Series(
            label="AdamW at its best rate",
            points=tuple((size, 1.0) for size in sizes),
            marks=False,
        )
    ]
    return figure(
        "multipliers",
        "How many times the tokens AdamW needs for the loss of another optimizer",
        f"Intervals at 90%, by the noise of seeds and of the best rate ({rests});"
        " above 1 the optimizer needs less data than AdamW. Broken: the same optimizer against an"
        " AdamW whose rate was not tuned, the product of two multipliers.",
        [
            Panel(
                x=Axis(
                    label=NON_EMBEDDING,
                    scale="log",
                    values={format_count(size): size for size in sizes},
                ),
                y=log_axis("token multiplier over AdamW"),
                series=tuple(series),
            )
        ],
    )


def _rate_figure(seen: Seen) -> Figure | None:
    """The loss by rate of every optimizer, with AdamW at the horizon of each of them."""
    lowest = {
        (best.cell.params, best.cell.tokens): best.loss
        for best in seen.optima
        if best.cell.recipe == REFERENCE and best.loss is not None
    }
    compared = {b.cell.tokens for b in seen.optima if b.cell.recipe != REFERENCE}
    drawn = [
        (best, loss)
        for best in seen.optima
        if (loss := lowest.get((best.cell.params, best.cell.tokens))) is not None
        and (not compared or best.cell.tokens in compared)
    ]
    panels = [
        Panel(
            title=f"{format_count(params)} {NON_EMBEDDING}",
            x=log_axis("peak learning rate"),
            y=Axis(label="loss over AdamW's lowest, %"),
            series=tuple(
                Series(
                    label=f"{says(best.cell.recipe)}, {format_count(best.cell.tokens)} tokens",
                    points=tuple(
                        (lr, 100 * (mean / loss - 1)) for lr, mean in best.mean_losses.items()
                    ),
                    dashed=best.cell.tokens < max(compared, default=0),
                )
                for best, loss in drawn
                if best.cell.params == params
            ),
        )
        for params in sorted({best.cell.params for best, _ in drawn})
    ]
    return figure(
        "rates",
        "The loss by learning rate, over AdamW's at its best rate and as many tokens",
        "Means over seeds. Each optimizer is at the horizon that it is compared at, and AdamW at"
        " those of all others. Broken: the shorter horizon.",
        panels,
        kinds=True,
    )


def _literature(seen: Seen) -> tuple[Published, ...]:
    matrix = [one for one in seen.good if one.name in MATRIX]
    muon, sgd = _named(seen, "muon"), _named(seen, "sgd")
    at_largest = "; ".join(f"{says(one.name)} {one.at[-1].text}" for one in matrix)
    trend = "; ".join(f"{says(one.name)} {one.trend.text}" for one in matrix if one.trend)
    return (
        beside(
            "the matrix optimizers' multipliers",
            theirs="1.4 at .1B, 1.1 at 1.2B parameters",
            ours=at_largest or None,
            source="Wen 2025, arXiv 2509.02046",
        ),
        beside(
            "their powers of the size",
            theirs="-0.10, by these two",
            ours=trend or None,
            source="Wen 2025, arXiv 2509.02046",
        ),
        beside(
            "Muon's multiplier",
            theirs="about 2 (compute-optimal training)",
            ours=None if muon is None else muon.at[-1].text,
            source="Liu 2025, arXiv 2502.16982",
        ),
        beside(
            "SGD with momentum against Adam",
            theirs="the only one of five optimizers that is worse; no multiplier",
            ours=None if sgd is None else sgd.at[-1].text,
            source=f"{ZHAO}, arXiv 2407.07972",
        ),
        beside(
            "how many times as fast optimizers seem",
            theirs="claimed 1.4 to 2; 1.1 to 1.4 over tuned baselines",
            ours="; ".join(
                f"{says(one.name)} against untuned AdamW {value.text}"
                for one in seen.good[:1]
                if (value := apparent(one.at[-1], seen.untuned)) is not None
            )
            or None,
            source=f"{WEN}, arXiv 2509.02046",
        ),
    )


_TRUE = {"muon": (1.5, -0.1), "sgd": (0.5, 0.0), "adamw": (1.0, 0.0)}
_BEST = {"muon": 1.0, "sgd": 16.0, "adamw": 1.0}


def _planted_outcome(spec: RunSpec) -> Outcome:
    """Chinchilla's law with multipliers, a parabola in the log rate, and a little noise."""
    name, params = spec.optim.component.name, count_params(spec.model).non_embedding
    multiplier, power = _TRUE[name]
    data = multiplier * (params / 14e3) ** power * spec.tokens
    loss = 1.2 + 8 / params**0.3 + 40 / data**0.4
    away = math.log((spec.optim.overrides.lr_mult or 1.0) / _BEST[name])
    noise = 1e-4 * math.sin(1 + 7 * spec.seed + 3 * len(name) + math.log(params) + 5 * away)
    return Outcome(val_loss_nats=loss * math.exp(0.01 * away**2 + noise))


EXPERIMENT = Experiment(
    question="How many times the data does AdamW need for the loss of another optimizer?",
    reproduces="Wen 2025 (arXiv 2509.02046): gains of optimizers shrink with size",
    parts={"optimizer": ("adamw", "muon", "sgd")},
    settings=Settings,
    propose=propose,
    analyse=analyse,
    planted=Planted(
        outcome=_planted_outcome,
        measures={
            "multiplier.muon.largest": (1.3, 1.5),
            "multiplier.sgd.largest": (0.45, 0.55),
            "exponent.muon": (-0.15, -0.05),
        },
        claims={
            "all_compared": True,
            "beats_adamw": True,
            "advantage_falls": True,
            "sgd_is_slower": True,
            "untuned_baseline_misleads": True,
            "all_tuned": True,
        },
    ),
)
