"""Runs whose numbers are rounded, in training or after it, by format, size, bits and seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from scaling_law import parts
from scaling_law.experiment.effective_params import SizeCurve, size_curve
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.seeds import Mean, mean_over
from scaling_law.spec.chosen import part_text
from scaling_law.spec.component import Component
from scaling_law.spec.run import RunSpec

LITTLE = 0.1  # share of the loss below which a rise by rounding after training is small
SeedLosses: TypeAlias = Mapping[int, float]  # by seed


@dataclass(frozen=True, order=True)
class Format:
    """How a run has its numbers.

    ``name`` is the precision, or the number format with its settings;
    ``bits`` are the bits that only its weights are rounded to; 0 for any other run;
    ``is_plain`` says that nothing is rounded further than fp32.
    """

    name: str
    bits: int = 0
    is_plain: bool = False


@dataclass(frozen=True)
class Seen:
    """All that the runs show.

    ``losses`` are those at the longest horizon, by format, parameters and seed;
    ``runs`` are the same runs;
    ``after`` are the rises in nats by rounding after training: by bits, parameters, tokens, seed;
    ``lost`` is the share of the gradient that is lost without a loss scale, by format.
    """

    losses: Mapping[Format, Mapping[int, SeedLosses]]
    runs: Mapping[Format, Sequence[Run]]
    after: Mapping[int, Mapping[int, Mapping[int, SeedLosses]]]
    lost: Mapping[Format, Sequence[float]]

    @property
    def plain(self) -> Mapping[int, SeedLosses]:
        """The losses in fp32 without rounding, by parameters and seed."""
        return next((own for kind, own in self.losses.items() if kind.is_plain), {})

    def rises(self, kind: Format, params: int) -> list[float]:
        """By how much log loss is above that without rounding, seed by seed."""
        mine, theirs = self.losses[kind].get(params, {}), self.plain.get(params, {})
        return [math.log(mine[seed] / theirs[seed]) for seed in sorted(mine.keys() & theirs.keys())]

    @property
    def cells(self) -> dict[tuple[int, int], list[float]]:
        """The rises of log loss with weights of few bits, by parameters and bits."""
        return {
            (params, kind.bits): rises
            for kind in sorted(self.losses)
            if kind.bits
            for params in sorted(self.losses[kind])
            if (rises := self.rises(kind, params))
        }

    @property
    def curve(self) -> SizeCurve | str:
        """The loss without rounding against parameters."""
        return size_curve({params: fmean(own.values()) for params, own in self.plain.items()})


def format_of(spec: RunSpec) -> Format:
    """How a run has its numbers."""
    own: Component | None = spec.number_format
    if own is None:
        return Format(spec.precision, is_plain=spec.precision == "fp32")
    part = parts.load("number_format", own.reference)
    settings = own.settings_as(part.settings)
    only_weights = settings.weights and not settings.activations
    return Format(part_text(own), bits=part.bits(settings) if only_weights else 0)


def seen_in(evidence: Evidence) -> Seen:
    """Sort the runs by format, size and seed."""
    ended = [run for run in evidence.ended if run.record.val_loss_nats]
    longest = max((run.spec.tokens for run in ended), default=0)
    losses: dict[Format, dict[int, dict[int, float]]] = {}
    runs: dict[Format, list[Run]] = {}
    after: dict[int, dict[int, dict[int, dict[int, float]]]] = {}
    lost: dict[Format, list[float]] = {}
    for run in ended:
        kind, params, seed = format_of(run.spec), run.record.params_matmul, run.spec.seed
        assert run.record.val_loss_nats is not None, "asked above"
        if run.spec.tokens == longest:
            losses.setdefault(kind, {}).setdefault(params, {})[seed] = run.record.val_loss_nats
            runs.setdefault(kind, []).append(run)
            if "underflow" in run.record.metrics:
                lost.setdefault(kind, []).append(run.record.metrics["underflow"])
        if kind.is_plain:
            for name, rise in run.record.metrics.items():
                if name.startswith("post_training.bits-"):
                    bits = int(name.rpartition("-")[2])
                    own = after.setdefault(bits, {}).setdefault(params, {})
                    own.setdefault(run.spec.tokens, {})[seed] = rise
    return Seen(losses, runs, after, lost)


@dataclass(frozen=True)
class After:
    """The powers that the rises by rounding after training go with.

    They are those at the fewest bits that raise the loss little: ``bits``. ``tokens`` is the power
    of tokens of each size, one number a seed; ``params`` is that of parameters at the longest
    horizon, one number a seed.
    """

    bits: int
    tokens: Mapping[int, Sequence[float]]
    params: Sequence[float]

    @property
    def of_tokens(self) -> Mean | None:
        """The power of tokens, over sizes and seeds."""
        return mean_over([power for own in self.tokens.values() for power in own])

    @property
    def of_params(self) -> Mean | None:
        """The power of parameters, over seeds."""
        return mean_over(self.params)


def after_training(seen: Seen) -> After:
    """Return the powers; none where a rise is not above 0."""
    if not seen.after:
        return After(0, {}, ())
    bits = small_rise(seen)
    own = seen.after[bits]
    tokens = {}
    by_params: dict[int, dict[int, float]] = {}
    for params, horizons in own.items():
        each = {
            seed: {t: seeds[seed] for t, seeds in horizons.items() if seed in seeds}
            for seed in horizons[max(horizons)]
        }
        powers = (_power(rises) for rises in each.values())
        tokens[params] = [power for power in powers if power is not None]
        for seed, rises in each.items():
            by_params.setdefault(seed, {})[params] = rises[max(rises)]
    over_sizes = (_power(rises) for rises in by_params.values())
    return After(bits, tokens, [power for power in over_sizes if power is not None])


def _power(values: Mapping[int, float]) -> float | None:
    """The slope of log y in log x; None for fewer than three points, or a y of 0 or below."""
    if len(values) < 3 or min(values.values()) <= 0:
        return None
    points = [(math.log(x), math.log(y)) for x, y in values.items()]
    middle, level = fmean(x for x, _ in points), fmean(y for _, y in points)
    return sum((x - middle) * (y - level) for x, y in points) / sum(
        (x - middle) ** 2 for x, _ in points
    )


def small_rise(seen: Seen) -> int:
    """The fewest bits that raise the loss by less than ``LITTLE`` at every size and horizon."""
    highest = max((loss for own in seen.plain.values() for loss in own.values()), default=0.0)
    for bits, sizes in sorted(seen.after.items()):
        means = [fmean(seeds.values()) for own in sizes.values() for seeds in own.values()]
        if max(means) < LITTLE * highest:
            return bits
    return max(seen.after)
