"""Runs by size, context and horizon: compare contexts at equal tokens and at equal compute.

A token of a longer context costs more FLOPs, by attention, so that equal tokens are not equal
compute. The loss at equal compute is read off lines between a context's horizons, in logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.run import RunSpec

SHORT_TEXT = "paragraphs"  # the corpus whose documents are shorter than the context
BySeed: TypeAlias = Mapping[int, Run]


@dataclass(frozen=True, order=True)
class Setting:
    """What the seeds of a setting share.

    ``params`` are the parameters in matrices; ``n_ctx`` is the context in tokens;
    ``tokens`` are those trained on; ``is_short`` says that documents are short;
    ``is_masked`` says that attention does not cross them.
    """

    params: int
    n_ctx: int
    tokens: int
    is_short: bool
    is_masked: bool


@dataclass(frozen=True)
class Seen:
    """The runs of each setting, by seed."""

    runs: Mapping[Setting, BySeed]

    @property
    def tokens(self) -> int:
        """The longest horizon."""
        return max((one.tokens for one in self.runs), default=0)

    @property
    def base(self) -> int:
        """The size, in parameters, that was trained at most contexts."""
        sizes = sorted({one.params for one in self.runs})
        return max(sizes, key=lambda size: len(self._contexts(size)), default=0)

    def _contexts(self, params: int) -> set[int]:
        return {s.n_ctx for s in self.runs if s.params == params and not s.is_short}

    @property
    def contexts(self) -> list[int]:
        """The contexts of that size, rising."""
        return sorted(self._contexts(self.base))

    def at(self, n_ctx: int, tokens: int, params: int | None = None) -> BySeed:
        """The runs on long documents at a context and horizon."""
        size = self.base if params is None else params
        return self.runs.get(Setting(size, n_ctx, tokens, False, False), {})

    @property
    def longest(self) -> dict[int, BySeed]:
        """The runs at the longest context and horizon, by parameters."""
        last = max((s.n_ctx for s in self.runs if not s.is_short), default=0)
        sizes = sorted({s.params for s in self.runs})
        return {size: runs for size in sizes if (runs := self.at(last, self.tokens, size))}

    @property
    def short(self) -> dict[bool, BySeed]:
        """The runs on short documents at the longest horizon, by whether they are masked."""
        own = (s for s in self.runs if s.is_short and s.tokens == self.tokens)
        return {setting.is_masked: self.runs[setting] for setting in own}


def setting_of(spec: RunSpec) -> Setting | None:
    """The setting that a run is a seed of; None where it is not of a GPT."""
    if not isinstance(spec.model, ModelSpec):
        return None
    model = spec.model
    return Setting(
        params=count_params(model).matmul,
        n_ctx=model.n_ctx,
        tokens=spec.tokens,
        is_short=spec.data.name == SHORT_TEXT,
        is_masked=model.documents is not None,
    )


def seen_in(evidence: Evidence) -> Seen:
    """Sort the runs by setting and seed."""
    runs: dict[Setting, dict[int, Run]] = {}
    for run in evidence.ended:
        setting = setting_of(run.spec)
        if setting is not None and run.record.val_loss_nats:
            runs.setdefault(setting, {})[run.spec.seed] = run
    return Seen(dict(sorted(runs.items())))


def loss_of(run: Run) -> float:
    """The loss at the end."""
    assert run.record.val_loss_nats is not None, "asked when runs are sorted"
    return run.record.val_loss_nats


def at_compute(seen: Seen, n_ctx: int, flops: float) -> dict[int, float]:
    """The loss at so many FLOPs, by seed: the line between horizons, in logarithms.

    Seeds that were trained at fewer than two horizons, or not to these FLOPs, have none.
    """
    horizons = sorted({s.tokens for s in seen.runs if s.n_ctx == n_ctx and not s.is_short})
    points: dict[int, list[tuple[float, float]]] = {}
    for tokens in horizons:
        for seed, run in seen.at(n_ctx, tokens).items():
            spent = flops_per_token(run.spec.model) * tokens
            points.setdefault(seed, []).append((math.log(spent), math.log(loss_of(run))))
    at, losses = math.log(flops), {}
    for seed, own in points.items():
        for (x0, y0), (x1, y1) in pairwise(own):
            if x0 <= at <= x1 + 1e-9:
                losses[seed] = math.exp(y0 + (at - x0) / (x1 - x0) * (y1 - y0))
    return losses


def common_flops(seen: Seen) -> float | None:
    """The largest compute that every context was trained to; None where there is none."""
    spent = [
        max((flops_per_token(run.spec.model) * seen.tokens for run in runs.values()), default=0.0)
        for n_ctx in seen.contexts
        if (runs := seen.at(n_ctx, seen.tokens))
    ]
    return min(spent) if len(spent) > 1 and len(spent) == len(seen.contexts) else None


def equal_compute(seen: Seen) -> dict[int, dict[int, float]]:
    """The losses by context and seed at the largest compute that all contexts have."""
    flops = common_flops(seen)
    if flops is None:
        return {}
    return {n_ctx: at_compute(seen, n_ctx, flops) for n_ctx in seen.contexts}


def equal_tokens(seen: Seen) -> dict[float, list[float]]:
    """The losses by context after the longest horizon."""
    return {
        float(n_ctx): [loss_of(run) for run in seen.at(n_ctx, seen.tokens).values()]
        for n_ctx in seen.contexts
    }
