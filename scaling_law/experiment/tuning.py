"""Find the best learning rate of each cell: of a size, a horizon and a batch.

    tuning = tuned(trials_of(evidence.runs))
    for best in tuning.optima: ...           # its rate, interval, interpolated loss and error

The logarithm of the loss is a parabola in the logarithm of the rate, fitted to the rates near the
one of lowest loss (``parabola``): all cells of a size are skewed alike and scatter alike; sizes may
share the skew, but each has a scatter of its own. Seeds
have levels of their own, so that a seed trained at a few rates tilts nothing. In simulations the
90% intervals of the minimum hold it in 80 to 95% of the cells. The lowest rate or the highest one
is no minimum: it is an edge.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeAlias

from scaling_law.experiment.evidence import Run
from scaling_law.experiment.parabola import (
    LEAST_FREEDOM,
    Parabola,
    Points,
    fit_parabolas,
    scatter_of,
)
from scaling_law.experiment.seeds import LEVEL, SeedNoise, pooled_noise
from scaling_law.experiment.standard_error import StandardError
from scaling_law.experiment.warmups import Warmup
from scaling_law.spec.counts import count_params
from scaling_law.spec.model import Model
from scaling_law.units import count_of, format_count

FEWEST = 3  # rates that a parabola needs
# The parabola is fitted to rates within this factor of the one of lowest loss, with a loss within
# this share of the lowest, and to the two next to it: farther away the loss is no parabola.
WINDOW, HEIGHT = 4.0, 0.06
# Standard deviation of a loss, as a share of it, where the runs do not measure it: that of seeds
# in the quick sweep (results/reference/quick-cpu), with its degrees of freedom.
STATED = SeedNoise(squares=8 * 0.0021**2, freedom=8)
MOST_SEEDS = 100  # seeds beyond which a remedy asks for something else
_NO_POINTS = Points((), (), ())
SAME_HORIZON = 1.05  # horizons within this factor are one: they differ by whole steps of the batch

# What horizons that share a trunk have in common: size, batch, weight decay and recipe.
Trunk: TypeAlias = tuple[str, int, float, str]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What runs at several learning rates have in common.

    ``size`` is the name of the size, and ``model`` the model;
    ``tokens`` are those of the horizon;
    ``batch_tokens`` are the tokens of a step;
    ``weight_decay`` is the optimizer's;
    ``recipe`` names what else sets runs apart, such as the optimizer; "" for nothing.
    """

    size: str
    model: Model
    tokens: int
    batch_tokens: int
    weight_decay: float
    recipe: str = ""

    @property
    def params(self) -> int:
        """Non-embedding parameters."""
        return count_params(self.model).non_embedding

    @property
    def trunk(self) -> Trunk:
        """What horizons that share a trunk have in common."""
        return self.size, self.batch_tokens, self.weight_decay, self.recipe

    @property
    def text(self) -> str:
        """``nano55k, 262K tokens, batch 512``."""
        words = f"{self.size}, {format_count(self.tokens)} tokens, batch {self.batch_tokens}"
        return f"{self.recipe}, {words}" if self.recipe else words


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a cell.

    ``lr`` is its peak learning rate;
    ``seed`` is its seed;
    ``loss`` is its loss in the objective's unit, None where it diverged;
    ``warmup_steps`` are the steps of its warm-up, None where they are not known.
    """

    cell: Cell
    lr: float
    seed: int
    loss: float | None
    warmup_steps: int | None = None


def no_recipe(run: Run) -> str:
    """The recipe of runs that differ in nothing but what a cell holds."""
    return ""


def trials_of(runs: Iterable[Run], recipe: Callable[[Run], str] = no_recipe) -> list[Trial]:
    """Return what the finished runs are as trials; ``recipe`` names what else sets them apart.

    Trunks, and runs that were stopped early, are none. A trunk that diverged has no branches: its
    horizons are those of the other trunks of its size and batch, and diverged.
    """
    every = list(runs)
    trials = [
        _trial(run, run.spec.tokens, run.record.val_loss_nats, recipe)
        for run in every
        if run.record.kind != "trunk" and run.record.status != "stopped_early"
    ]
    branched = {(run.spec.branch.trunk_id, run.spec.tokens) for run in every if run.spec.branch}
    horizons: dict[Trunk, set[int]] = {}
    for trial in trials:
        horizons.setdefault(trial.cell.trunk, set()).add(trial.cell.tokens)
    for run in every:
        if run.record.kind == "trunk" and run.record.status == "diverged":
            alone = _trial(run, run.spec.tokens, None, recipe)
            trials += [
                dataclasses.replace(alone, cell=dataclasses.replace(alone.cell, tokens=tokens))
                for tokens in sorted(horizons.get(alone.cell.trunk, {alone.cell.tokens}))
                if (run.record.run_id, tokens) not in branched
            ]
    return trials


def trunk_of(run: Run, recipe: Callable[[Run], str] = no_recipe) -> Trunk:
    """Return what a run has in common with those on its trunk at other learning rates."""
    return _trial(run, run.spec.tokens, None, recipe).cell.trunk


def _trial(run: Run, tokens: int, loss: float | None, recipe: Callable[[Run], str]) -> Trial:
    cell = Cell(
        size=dict(run.spec.tags).get("size", run.spec.label),
        model=run.spec.model,
        tokens=tokens,
        batch_tokens=run.spec.batch_tokens,
        weight_decay=run.spec.optim.weight_decay,
        recipe=recipe(run),
    )
    return Trial(
        cell=cell,
        lr=run.spec.optim.lr,
        seed=run.spec.seed,
        loss=loss,
        warmup_steps=run.spec.schedule.warmup_steps,
    )


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The best learning rate of a cell.

    ``trials`` are its runs;
    ``lowest`` is the rate of lowest loss that was tried, None where every run diverged;
    ``edge`` is ``low`` or ``high`` where that is the lowest or the highest rate that gives a loss;
    ``lr`` is the rate at the minimum of the parabola, None where there is none between the rates;
    ``interval`` is its (low, high) at ``LEVEL``, None where the losses do not bound it;
    ``loss`` is the loss at the minimum, and ``error`` its standard error, in the unit of the
    losses, the noise of seeds included;
    ``levels`` are the log losses at the minimum, by seed, for comparisons in pairs;
    ``curvature`` is that of log loss in the logarithm of the rate there, and ``skew`` the
    coefficient of its cube;
    ``seeds_needed`` are the seeds at which the same losses and noise would give an interval, by the
    root of their number; None where it has one, or ``MOST_SEEDS`` are too few;
    ``why`` says why there is no minimum, or no interval; "" where there are both.
    """

    cell: Cell
    trials: tuple[Trial, ...]
    lowest: float | None = None
    edge: str = ""
    lr: float | None = None
    interval: tuple[float, float] | None = None
    loss: float | None = None
    error: float | None = None
    levels: Mapping[int, float] = field(default_factory=dict)
    curvature: float = 0.0
    skew: float = 0.0
    seeds_needed: int | None = None
    why: str = ""

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates that were tried, rising."""
        return tuple(sorted({trial.lr for trial in self.trials}))

    @property
    def warmups(self) -> frozenset[Warmup]:
        """The warm-ups of its runs; none where that of any of them is not known."""
        steps = self.cell.tokens // self.cell.batch_tokens
        known = [one.warmup_steps for one in self.trials if one.warmup_steps is not None]
        return frozenset(Warmup(own, steps) for own in known if len(known) == len(self.trials))

    @property
    def mean_losses(self) -> dict[float, float]:
        """The mean loss over seeds at each rate at which none diverged, by rising rate."""
        ended = _losses(self.trials)
        return {rate: fmean(ended[rate].values()) for rate in sorted(ended)}

    @property
    def run_noise(self) -> SeedNoise:
        """The spread of one run's log loss from seed to seed, at the rate nearest to the best.

        ``levels`` are means over rates, whose spread shrinks with the number of rates. Needs a
        minimum.
        """
        assert self.lr is not None, "asked only of a cell with a minimum"
        best, losses = self.lr, _losses(self.trials)
        nearest = min(losses, key=lambda rate: abs(math.log(rate / best)))
        return pooled_noise([[math.log(loss) for loss in losses[nearest].values()]])

    @property
    def diverged(self) -> tuple[float, ...]:
        """The learning rates at which a seed diverged, rising."""
        return tuple(sorted({trial.lr for trial in self.trials if trial.loss is None}))

    @property
    def factor(self) -> float:
        """The interval's upper end over its lower one; infinite where there is none."""
        return self.interval[1] / self.interval[0] if self.interval else math.inf

    @property
    def log_error(self) -> float:
        """The standard error of the rate's logarithm, by its interval."""
        from scaling_law.fit.solver.student import normal_reach

        return math.log(self.factor) / 2 / normal_reach(LEVEL)

    def excess(self, lr: float) -> float:
        """The share of loss that another rate costs, by the parabola; needs a minimum.

        Where the skew bends the curve down again, far from the minimum, it is the most before that:
        such a rate costs at least as much.
        """
        assert self.lr is not None, "asked only of a cell with a minimum"
        return self._rise(math.log(lr / self.lr))

    def excess_between(self, lr: float) -> tuple[float, float]:
        """The least and the most that another rate costs, with the best one in its interval."""
        assert self.interval is not None, "asked only of a cell whose best rate is bounded"
        ends = sorted(self._rise(math.log(lr / end)) for end in self.interval)
        inside = self.interval[0] <= lr <= self.interval[1]
        return (0.0 if inside else ends[0]), ends[1]

    def _rise(self, away: float) -> float:
        """The share of loss above the minimum, at a log ratio from it."""
        turn = -2 * self.curvature / (3 * self.skew) if self.skew else math.inf
        if away / turn > 1:
            away = turn
        return math.expm1(self.curvature * away**2 + self.skew * away**3)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The cells with their best learning rates.

    ``optima`` are they, by recipe, weight decay, size, batch and tokens;
    ``scatter`` is the spread of log losses about the parabolas of all cells, ``STATED`` where the
    runs do not measure it;
    ``scatter_by_size`` is that of the cells of a recipe and size, where they measure it: small
    models scatter more, and so do flat minima;
    ``noise`` is the spread of log losses from seed to seed, as ``repeats`` measure it; with
    few of them it is pooled with ``STATED``;
    ``repeats`` are how many differences from a first seed it rests on, one for each trunk.
    """

    optima: tuple[Optimum, ...]
    scatter: SeedNoise
    scatter_by_size: Mapping[tuple[str, str], SeedNoise]
    noise: SeedNoise
    repeats: int

    @property
    def bounded(self) -> tuple[Optimum, ...]:
        """The cells whose best learning rate has an interval."""
        return tuple(best for best in self.optima if best.interval is not None)

    def fit_error(self, best: Optimum) -> StandardError:
        """The part of a lowest log loss's error that is not the noise of seeds; needs a minimum."""
        assert best.loss is not None and best.error is not None, "asked only of a cell with one"
        noise = self.noise.error(len(best.levels))
        return StandardError(
            math.sqrt(max(0.0, (best.error / best.loss) ** 2 - noise**2)),
            self.scatter_by_size.get(of_size(best.cell), self.scatter).freedom,
        )

    @property
    def run_noise(self) -> SeedNoise:
        """The spread of one run's log loss from seed to seed: what a unit of seed noise is.

        It is that of the longest horizons of all trunks at the rates nearest to their best, with
        ``STATED`` where the runs measure it less surely.
        """
        longest = {best.cell.trunk: best for best in self.optima if best.lr is not None}
        noise = pooled_noise(())
        for best in longest.values():
            noise += best.run_noise
        return noise if noise.freedom >= STATED.freedom else noise + STATED

    @property
    def open_text(self) -> str:
        """How many cells have no bounded best rate, with the first one's reason; "" for none."""
        unbounded = [best for best in self.optima if best.why]
        if not unbounded:
            return ""
        edges = [f"{sum(b.edge == edge for b in unbounded)} at the {edge} edge of their rates"
                 for edge in ("low", "high")]  # fmt: skip
        edges.append(f"{sum(b.lowest is None for b in unbounded)} diverged at every rate")
        words = "; ".join(edge for edge in edges if not edge.startswith("0 "))
        first = f"the first, {unbounded[0].cell.text}: {unbounded[0].why}"
        return (
            f"{len(unbounded)} of {len(self.optima)} cells have no bounded best learning rate"
            f"{f' ({words})' if words else ''}; {first}"
        )

    @property
    def noise_text(self) -> str:
        """How large the noise is, and where that is known from."""
        known = sorted(one.deviation for one in self.scatter_by_size.values())
        scatter = f"{100 * self.scatter.deviation:.2f}% of loss"
        scatter += (
            ", stated: too few rates to measure it"
            if self.scatter == STATED
            else " about the parabolas"
        )
        if len(known) > 1:
            scatter += f" ({100 * known[0]:.2f} to {100 * known[-1]:.2f}% by size)"
        seeds = f"{100 * self.noise.deviation:.2f}%"
        if self.repeats < STATED.freedom:
            few = f"with {count_of(self.repeats, 'repeat')} here" if self.repeats else "no repeats"
            seeds += f", stated ({few})"
        return f"noise {scatter}; from seed to seed {seeds}"


def of_size(cell: Cell) -> tuple[str, str]:
    """The recipe and size of a cell, whose parabolas scatter alike."""
    return cell.recipe, cell.size


def tuned(trials: Iterable[Trial], alike: Callable[[Cell], tuple[str, str]] = of_size) -> Tuning:
    """Return the best learning rate of every cell, or why it has none.

    Cells of which ``alike`` is equal share a skew; those of a recipe and size share a scatter.
    """
    groups: dict[Cell, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.cell, []).append(trial)
    cells = sorted(groups, key=lambda c: (c.recipe, c.weight_decay, c.params, c.size,
                                          c.batch_tokens, c.tokens))  # fmt: skip
    read = {cell: _read(cell, groups[cell]) for cell in cells}
    shared: dict[tuple[str, str], list[Cell]] = {}
    for cell, (_, points) in read.items():
        if points is not None:
            shared.setdefault(alike(cell), []).append(cell)
    fits: dict[Cell, Parabola | None] = {}
    for own in shared.values():
        curves = fit_parabolas([read[cell][1] or _NO_POINTS for cell in own])
        fits |= dict(zip(own, curves, strict=True))
    sizes: dict[tuple[str, str], list[Parabola]] = {}
    for cell, fit in fits.items():
        if fit is not None:
            sizes.setdefault(of_size(cell), []).append(fit)
    scatters = {key: scatter_of(curves) for key, curves in sizes.items()}
    whole = scatter_of(fit for curves in sizes.values() for fit in curves)
    # of horizons that share a trunk, and so its noise, the longest
    trunks = {cell.trunk: fit for cell, fit in fits.items() if fit is not None}
    repeats = pooled_noise(tuple(fit.levels.values()) for fit in trunks.values())
    tuning = Tuning(
        optima=(),
        scatter=whole if whole.freedom >= LEAST_FREEDOM else STATED,
        scatter_by_size={
            key: scatter for key, scatter in scatters.items() if scatter.freedom >= LEAST_FREEDOM
        },
        noise=repeats + STATED if repeats.freedom < STATED.freedom else repeats,
        repeats=repeats.freedom,
    )
    known = tuning.scatter_by_size
    optima = tuple(
        _placed(best, fits.get(cell), known.get(of_size(cell), tuning.scatter), tuning.noise)
        for cell, (best, _) in read.items()
    )
    return dataclasses.replace(tuning, optima=optima)


def _read(cell: Cell, trials: Sequence[Trial]) -> tuple[Optimum, Points | None]:
    """Return a cell's lowest rate and edge, and the points about it if it has a minimum."""
    bare = Optimum(cell=cell, trials=tuple(trials))
    ended = _losses(trials)
    rates = sorted(ended)
    if not rates:
        runs = "its only run" if len(trials) == 1 else f"all of its {len(trials)} runs"
        why = f"{runs} diverged; try lower learning rates"
        return dataclasses.replace(bare, why=why), None
    levels = _levels(ended)
    lowest = min(rates, key=lambda rate: levels[rate])
    edge = "low" if lowest == rates[0] else "high" if lowest == rates[-1] else ""
    seen = dataclasses.replace(bare, lowest=lowest, edge=edge)
    if len(rates) < FEWEST:
        count = count_of(len(rates), "learning rate")
        return dataclasses.replace(
            seen, why=f"{count} with a loss, and a parabola needs {FEWEST}"
        ), None
    if edge:
        beyond = "lower" if edge == "low" else "higher"
        why = f"the lowest loss is at the {edge} edge, {lowest:.3g}; try {beyond} learning rates"
        if edge == "high" and bare.diverged and bare.diverged[0] > lowest:
            why = (
                f"the lowest loss is at {lowest:.3g}, the highest learning rate that does not"
                f" diverge ({bare.diverged[0]:.3g} does); try rates between the two"
            )
        return dataclasses.replace(seen, why=why), None
    at = rates.index(lowest)
    near = [
        rate
        for rate in rates
        if 1 / WINDOW <= rate / lowest * (1 + 1e-9) <= WINDOW * 1.001
        and levels[rate] <= levels[lowest] + HEIGHT
    ]
    near = sorted({*near, *rates[at - 1 : at + 2]})
    points = [(math.log(rate), math.log(loss), seed) for rate in near
              for seed, loss in ended[rate].items()]  # fmt: skip
    return seen, Points(*zip(*points, strict=True))


def _losses(trials: Sequence[Trial]) -> dict[float, dict[int, float]]:
    """The losses by rate and seed; a rate at which a seed diverged has none."""
    diverged = {trial.lr for trial in trials if trial.loss is None}
    losses: dict[float, dict[int, float]] = {}
    for trial in trials:
        if trial.loss is not None and trial.lr not in diverged:
            losses.setdefault(trial.lr, {})[trial.seed] = trial.loss
    return losses


def _levels(losses: dict[float, dict[int, float]]) -> dict[float, float]:
    """The mean log loss of each rate, as if every seed had been trained at every rate."""
    import numpy as np

    rates, seeds = sorted(losses), sorted({seed for by in losses.values() for seed in by})
    rows, values = [], []
    for place, rate in enumerate(rates):
        for seed, loss in losses[rate].items():
            row = np.zeros(len(rates) + len(seeds))
            row[place] = row[len(rates) + seeds.index(seed)] = 1
            rows.append(row)
            values.append(math.log(loss))
    solved = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return dict(zip(rates, map(float, solved[: len(rates)]), strict=True))


def _placed(best: Optimum, fit: Parabola | None, scatter: SeedNoise, noise: SeedNoise) -> Optimum:
    """Return a cell with the minimum of its parabola."""
    from scaling_law.fit.solver.student import t_reach

    if best.why:
        return best
    if fit is None:
        why = "its seeds have too few learning rates in common for a parabola"
        return dataclasses.replace(best, why=why)
    middle = fit.minimum
    if middle is None or not fit.ends[0] <= middle <= fit.ends[1]:
        why = "its losses do not lie on a parabola with a minimum; add seeds"
        return dataclasses.replace(best, why=why)
    reach = t_reach(scatter.freedom, LEVEL)
    reached = fit.interval(scatter.deviation, reach)
    levels = fit.levels_at(middle)
    loss = math.exp(fmean(levels.values()))
    error = math.hypot(fit.error_at(middle, scatter.deviation), noise.error(len(fit.levels)))
    return dataclasses.replace(
        best,
        lr=math.exp(middle),
        interval=None if reached is None else (math.exp(reached[0]), math.exp(reached[1])),
        loss=loss,
        error=loss * error,
        levels=levels,
        curvature=fit.bend(middle),
        skew=fit.skew,
        seeds_needed=None if reached else _seeds_needed(fit, scatter, reach),
        why="" if reached else "the noise is too large to bound its best learning rate; add seeds",
    )


def _seeds_needed(fit: Parabola, scatter: SeedNoise, reach: float) -> int | None:
    """The fewest seeds that bound the minimum, as errors fall with the root of their number."""
    seeds = len(fit.levels)
    for count in range(seeds + 1, MOST_SEEDS + 1):
        if fit.interval(scatter.deviation * math.sqrt(seeds / count), reach) is not None:
            return count
    return None


@dataclass(frozen=True, kw_only=True)
class BestBatch:
    """The best batch of a size and horizon, each batch with its own best learning rate.

    ``cells`` are the batches' optima, rising;
    ``batch_tokens`` is the batch at the minimum of a parabola through them, or of lowest loss;
    ``edge`` is ``low`` or ``high`` where the lowest loss is at the smallest or the largest batch;
    ``loss`` is the lowest loss of a batch that was trained.
    """

    cells: tuple[Optimum, ...]
    batch_tokens: float
    edge: str
    loss: float

    def excess(self, batch_tokens: int) -> float | None:
        """The share of loss that a batch costs above the best; None where it was not tuned."""
        for best in self.cells:
            if best.cell.batch_tokens == batch_tokens and best.loss is not None:
                return best.loss / self.loss - 1
        return None


def best_batches(optima: Iterable[Optimum]) -> list[BestBatch]:
    """Return the best batch of each size and horizon at which several batches are tuned."""
    groups: list[list[Optimum]] = []
    for best in sorted(optima, key=lambda b: (b.cell.params, b.cell.tokens)):
        if best.loss is None:
            continue
        for group in groups:
            first = group[0].cell
            same = (first.size, first.weight_decay, first.recipe)
            own = (best.cell.size, best.cell.weight_decay, best.cell.recipe)
            if same == own and best.cell.tokens / first.tokens < SAME_HORIZON:
                group.append(best)
                break
        else:
            groups.append([best])
    return [_best_batch(group) for group in groups if len(group) > 1]


def _best_batch(group: Sequence[Optimum]) -> BestBatch:
    cells = tuple(sorted(group, key=lambda best: best.cell.batch_tokens))
    losses = [best.loss for best in cells if best.loss is not None]
    batches = [best.cell.batch_tokens for best in cells]
    place = losses.index(min(losses))
    edge = "low" if place == 0 else "high" if place == len(cells) - 1 else ""
    batch = float(batches[place])
    if not edge:
        near = slice(place - 1, place + 2)
        points = Points(tuple(map(math.log, batches[near])), tuple(map(math.log, losses[near])),
                        (0, 0, 0))  # fmt: skip
        middle = fit.minimum if (fit := fit_parabolas([points])[0]) is not None else None
        batch = batch if middle is None else math.exp(middle)
    return BestBatch(cells=cells, batch_tokens=batch, edge=edge, loss=min(losses))
