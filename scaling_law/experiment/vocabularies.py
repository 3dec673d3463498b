"""Read what vocabularies do at equal compute, by model size, and which is best.

The horizons of a trunk end at the budgets of the config's grid. Losses are in bits per byte of the
validation text, which all runs share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from scaling_law.experiment.basin import Line
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.groups import of_one_recipe
from scaling_law.experiment.minimum import FEWEST, Minimum, minimum_of
from scaling_law.experiment.more_runs import entries_of
from scaling_law.spec.counts import count_params, train_flops
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.run import RunSpec

WINDOW = 5.0  # vocabularies within this factor of the lowest loss make the parabola
NEAR = 1.2  # factor in compute within which a run stands for a budget

Points: TypeAlias = list[
    tuple[float, float]
]  # (log FLOPs, log bits per byte) of a trunk's horizons


@dataclass(frozen=True, order=True)
class Size:
    """A model size.

    ``body`` are the parameters outside embedding and head; ``width`` is the width.
    """

    body: int
    width: int

    @property
    def name(self) -> str:
        """``width 8``."""
        return f"width {self.width}"


@dataclass(frozen=True, order=True)
class Setting:
    """What the horizons of several seeds share.

    ``vocab`` is the number of ids; ``rate`` is the multiple of the rule's learning rate.
    """

    size: Size
    rate: float
    vocab: int


Bests: TypeAlias = Mapping[Size, Mapping[float, Minimum]]  # by model size and budget, both rising


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the runs did.

    ``budgets`` are the FLOPs, rising;
    ``points`` are those of each setting, by seed;
    ``bytes_per_token`` are those of the validation text, by vocabulary;
    ``used`` counts the runs.
    """

    budgets: tuple[float, ...]
    points: Mapping[Setting, Mapping[int, Points]]
    bytes_per_token: Mapping[int, float]
    used: int

    @property
    def rate(self) -> float:
        """The multiple of the rule's learning rate that most settings have; others check it."""
        rates = [setting.rate for setting in self.points]
        return max(sorted(set(rates)), key=rates.count, default=1.0)

    @property
    def sizes(self) -> list[Size]:
        """The model sizes, rising."""
        return sorted({setting.size for setting in self.points})

    def line(self, size: Size, budget: float, rate: float | None = None) -> Line:
        """The log bits per byte of a model size at a budget, by vocabulary and seed."""
        wanted = self.rate if rate is None else rate
        line: dict[float, dict[int, float]] = {}
        for setting, of_seed in self.points.items():
            if (setting.size, setting.rate) != (size, wanted):
                continue
            levels = {seed: level_at(points, budget) for seed, points in of_seed.items()}
            if near := {seed: level for seed, level in levels.items() if level is not None}:
                line[float(setting.vocab)] = near
        return line

    @property
    def bests(self) -> Bests:
        """The best vocabulary at each model size and budget."""
        return {
            size: {
                budget: minimum_of(line, WINDOW)
                for budget in self.budgets
                if (line := self.line(size, budget))
            }
            for size in self.sizes
        }

    @property
    def _lines_by_rate(self) -> dict[float, Line]:
        """The lines by multiple of the rate, where one size and budget has several.

        They have the vocabularies that all of these rates have.
        """
        rates = sorted({setting.rate for setting in self.points})
        for size in reversed(self.sizes):
            for budget in self.budgets:
                lines = {rate: self.line(size, budget, rate) for rate in rates}
                shared = set.intersection(*map(set, lines.values())) if lines else set()
                if len(rates) > 1 and len(shared) >= FEWEST:
                    return {
                        rate: {vocab: line[vocab] for vocab in sorted(shared)}
                        for rate, line in lines.items()
                    }
        return {}

    @property
    def by_rate(self) -> dict[float, Minimum]:
        """The best vocabulary by multiple of the rate, where one size and budget has several."""
        return {rate: minimum_of(line, WINDOW) for rate, line in self._lines_by_rate.items()}

    @property
    def at_best_rates(self) -> Minimum | None:
        """The best vocabulary there, each with the rate of its lowest loss; None without rates."""
        lines = list(self._lines_by_rate.values())
        if not lines:
            return None
        best = {
            vocab: min((line[vocab] for line in lines), key=lambda levels: fmean(levels.values()))
            for vocab in lines[0]
        }
        return minimum_of(best, WINDOW)

    def untrained(self, vocab: float) -> float:
        """The bits per byte of a model for which every id is equally likely."""
        return math.log2(vocab) / self.bytes_per_token[round(vocab)]


def level_at(points: Points, budget: float) -> float | None:
    """The level at a budget by the line through the two nearest points; None far from any."""
    at = math.log(budget)
    nearest = sorted(points, key=lambda point: abs(point[0] - at))[:2]
    if abs(nearest[0][0] - at) > math.log(NEAR):
        return None
    (x0, y0), (x1, y1) = nearest[0], nearest[-1]
    return y0 if x0 == x1 else y0 + (at - x0) * (y1 - y0) / (x1 - x0)


def setting_of(spec: RunSpec) -> Setting | None:
    """The setting that a run is one of; None where it is not of a GPT."""
    if not isinstance(spec.model, ModelSpec):
        return None
    size = Size(count_params(spec.model).non_embedding, spec.model.d_model)
    return Setting(size, spec.optim.overrides.lr_mult or 1.0, spec.model.vocab_size)


def seen_in(evidence: Evidence) -> Seen:
    """Sort the runs of one recipe into settings."""
    points: dict[Setting, dict[int, Points]] = {}
    of_tokens: dict[int, float] = {}
    used = 0
    runs = [run for run in evidence.ended if setting_of(run.spec) and run.record.val_bits_per_byte]
    for run in of_one_recipe(runs, "data.vocab_size", "optim.lr_mult"):
        setting, bits = setting_of(run.spec), run.record.val_bits_per_byte
        if setting is None or not bits or not run.record.val_loss_nats:
            continue
        used += 1
        spent = math.log(train_flops(run.spec.model, run.spec.tokens))
        points.setdefault(setting, {}).setdefault(run.spec.seed, []).append((spent, math.log(bits)))
        of_tokens[setting.vocab] = run.record.val_loss_nats / math.log(2) / bits
    entries = entries_of(evidence).values()
    return Seen(
        budgets=tuple(sorted({float(one) for e in entries for one in e.get("flops") or ()})),
        points={setting: points[setting] for setting in sorted(points)},
        bytes_per_token=dict(sorted(of_tokens.items())),
        used=used,
    )
