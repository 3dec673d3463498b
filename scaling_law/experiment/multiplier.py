"""Compare architectures, or other arms, with a base at equal size: what compute they save.

A compute multiplier is the factor on the base's compute with which an arm reaches the base's loss:
below 1 for an arm that saves compute. It is taken at one size, to first order: the log of the ratio
of losses at equal tokens, over the slope of log loss in log tokens, plus the log of the ratio of
exact FLOPs for a token. ``fit.recipes`` has the multiplier of whole sweeps, where parameters change
too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.seeds import Mean, mean_over
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.data import DataSpec
from scaling_law.spec.model import Model
from scaling_law.units import format_count


@dataclass(frozen=True)
class Cell:
    """What the seeds of a cell have in common.

    ``kind`` is the architecture; ``model`` is the model; ``tokens`` are those trained on;
    ``lr`` is the peak learning rate.
    """

    kind: str
    model: Model
    tokens: int
    lr: float

    @property
    def params(self) -> int:
        """The parameters in matrices that a token goes through."""
        return count_params(self.model).matmul


@dataclass(frozen=True)
class Seen:
    """What one run did.

    ``loss`` is its validation loss, in nats per token; ``metrics`` are its record's further
    figures, by name.
    """

    loss: float
    metrics: Mapping[str, float]


Seeds = Mapping[int, Seen]  # by seed
Cells = Mapping[Cell, Seeds]


def cells_of(evidence: Evidence, kind_of: Callable[[Model], str]) -> Cells:
    """What the runs of each cell did, smaller models first; runs on tasks are left out."""
    cells: dict[Cell, dict[int, Seen]] = {}
    for run in evidence.ended:
        spec, record = run.spec, run.record
        loss = record.val_loss_nats
        if isinstance(spec.data, DataSpec) and loss is not None and loss > 0:
            cell = Cell(kind_of(spec.model), spec.model, record.tokens, spec.optim.lr)
            cells.setdefault(cell, {})[spec.seed] = Seen(loss, record.metrics)
    return dict(sorted(cells.items(), key=lambda item: (item[0].params, item[0].tokens)))


def best_rates(cells: Cells, kind: str) -> dict[tuple[int, int], Cell]:
    """By parameters and tokens, the cell of the learning rate with most seeds and the lowest loss.

    ``better_rates`` says where a rate with fewer seeds does better on those that both have.
    """
    best: dict[tuple[int, int], Cell] = {}

    def rank(cell: Cell) -> tuple[int, float]:
        seeds = cells[cell]
        return -len(seeds), fmean(one.loss for one in seeds.values())

    for cell in cells:
        place = cell.params, cell.tokens
        if cell.kind == kind and (place not in best or rank(cell) < rank(best[place])):
            best[place] = cell
    return best


def sign_of(mean: Mean, middle: float = 0.0) -> int:
    """-1 where a mean's interval lies below ``middle``, 1 where it lies above, else 0."""
    ends = mean.interval
    return 0 if ends is None else int(ends[0] > middle) - int(ends[1] < middle)


@dataclass(frozen=True, kw_only=True)
class Versus:
    """An arm against the base of its size, trained on as many tokens with the same seeds.

    ``arm`` and ``base`` are their cells; ``logs`` are the logarithms of the compute multiplier by
    seed; ``differences`` are the arm's loss minus the base's by seed, in nats per token.
    """

    arm: Cell
    base: Cell
    logs: Mapping[int, float]
    differences: Mapping[int, float]

    @property
    def multiplier(self) -> Mean:
        """The compute multiplier: its geometric mean over seeds, with its interval."""
        mean = mean_over(list(self.logs.values()))
        assert mean is not None, "there is a seed"
        ends = mean.interval and (math.exp(mean.interval[0]), math.exp(mean.interval[1]))
        return Mean(value=math.exp(mean.value), interval=ends, seeds=mean.seeds)

    @property
    def side(self) -> int:
        """-1 where the multiplier's interval lies below 1, 1 where it lies above, else 0."""
        return sign_of(self.multiplier, 1.0)


def versus(cells: Cells, arms: Sequence[Cell], bases: Sequence[Cell]) -> list[Versus]:
    """Compare the horizons of one arm with those of the base of its size.

    Empty where there are not two horizons, which the slope of the loss needs, or no common seed.
    """
    pairs = [(arm, base) for arm in arms for base in bases if arm.tokens == base.tokens]
    common = set.intersection(*(set(cells[c]) for pair in pairs for c in pair)) if pairs else set()
    if len(pairs) < 2 or not common:
        return []
    (first, last), seeds = (pairs[0], pairs[-1]), sorted(common)

    def log_loss(cell: Cell) -> float:
        return fmean(math.log(cells[cell][seed].loss) for seed in seeds)

    apart = math.log(last[0].tokens / first[0].tokens)
    slope = fmean(log_loss(first[side]) - log_loss(last[side]) for side in (0, 1)) / apart
    if slope <= 0:
        return []
    compared = []
    for arm, base in pairs:
        cost = math.log(flops_per_token(arm.model) / flops_per_token(base.model))
        ends = {seed: (cells[arm][seed].loss, cells[base][seed].loss) for seed in seeds}
        compared.append(
            Versus(
                arm=arm,
                base=base,
                logs={s: math.log(a / b) / slope + cost for s, (a, b) in ends.items()},
                differences={s: a - b for s, (a, b) in ends.items()},
            )
        )
    return compared


def loss_text(seeds: Seeds) -> str:
    """``2.43 (2.41 to 2.45, 3 seeds)``: the mean loss of a cell's seeds."""
    mean = mean_over([one.loss for one in seeds.values()])
    return mean.text if mean else "–"


def better_rates(cells: Cells, chosen: Sequence[Cell]) -> list[str]:
    """Where another learning rate than a chosen one has the lower loss on the same seeds."""
    better = []
    for one in chosen:
        for other in cells:
            common = set(cells[other]) & set(cells[one])
            if other.model != one.model or other.tokens != one.tokens or not common:
                continue
            gain = fmean(cells[one][s].loss - cells[other][s].loss for s in common)
            if gain > 0:
                better.append(
                    f"{one.kind} of {format_count(one.params)} parameters at"
                    f" {format_count(one.tokens)} tokens, {other.lr:g} by {gain:.3f} nats"
                )
    return better
