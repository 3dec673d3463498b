"""How steps and tokens trade off to reach a loss, by batch: McCandlish's hyperbola.

To reach a loss with batches of B tokens takes S steps and E = S B tokens, with
(S/S_min - 1) (E/E_min - 1) = 1 (McCandlish 2018, arXiv 1812.06162, equation 2.11), that is
S = S_min (1 + B_crit/B) with B_crit = E_min/S_min.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FEWEST = 4  # batches that a hyperbola is fitted to
ZOOMS = 6  # each is 20 times finer than the one before


@dataclass(frozen=True)
class Tradeoff:
    """The hyperbola of one target.

    ``steps`` is S_min; ``batch`` is B_crit, in tokens; ``misfit`` is the root mean square of log S
    about it.
    """

    steps: float
    batch: float
    misfit: float

    def at(self, batch: float) -> float:
        """The steps that batches of so many tokens take."""
        return self.steps * (1 + self.batch / batch)


def fit_tradeoff(steps: Mapping[int, float]) -> Tradeoff | str:
    """Return the hyperbola of least squares in log S, by steps of each batch, or why none."""
    import numpy as np

    if len(steps) < FEWEST:
        return f"{len(steps)} batches reach it, and a hyperbola takes {FEWEST}"
    batch, log_steps = np.array(list(steps), float), np.log(list(steps.values()))

    def rest(log_critical: float) -> Any:
        return log_steps - np.log1p(math.exp(log_critical) / batch)

    ends = (math.log(batch.min() / 30), math.log(batch.max() * 30))
    tried = np.linspace(*ends, 400)
    best = int(np.argmin([np.var(rest(one)) for one in tried]))
    if best in (0, len(tried) - 1):
        return "the batches lie on one side of the critical one: they do not bound it"
    for _ in range(ZOOMS):  # seeds a grid's step apart would seem equal
        tried = np.linspace(tried[best - 1], tried[best + 1], 41)
        best = int(np.argmin([np.var(rest(one)) for one in tried[1:-1]])) + 1
    critical = float(tried[best])
    return Tradeoff(
        steps=math.exp(float(rest(critical).mean())),
        batch=math.exp(critical),
        misfit=float(rest(critical).std()),
    )


def no_tradeoff(steps: Mapping[int, float]) -> str:
    """Return where a larger batch takes more steps or fewer tokens; "" for nowhere.

    Neither lies on any hyperbola. ``steps`` are those of each batch (tokens).
    """
    for (small, more), (large, fewer) in itertools.pairwise(sorted(steps.items())):
        pair = f"batches of {small:,} and {large:,} tokens take {more:.0f} and {fewer:.0f} steps"
        if fewer >= more:
            return f"{pair}: more tokens a step save no step"
        if fewer * large <= more * small:
            return f"{pair}: the larger batch takes fewer tokens"
    return ""


@dataclass(frozen=True)
class Ramp:
    """What a batch that grows along training would save, by the hyperbolas of the targets.

    ``batches`` are those from the start to the first target and from each to the next, in tokens;
    ``fixed`` is the critical batch of the last target, which takes as many steps; ``saved`` is the
    share of its tokens that the ramp saves.
    """

    batches: tuple[float, ...]
    fixed: float
    saved: float


def fit_ramp(fits: Sequence[Tradeoff | str]) -> Ramp | None:
    """Return the ramp of the fewest tokens in the steps of the last target's critical batch.

    ``fits`` are the hyperbolas of the targets, by falling loss. From one target to the next a batch
    of B takes s + e/B steps and s B + e tokens, where s and e are the differences of S_min and
    E_min. For a given sum of steps, the sum of tokens is least where B goes with the root of e/s.
    None where a target has no hyperbola, or s or e falls.
    """
    known = [fit for fit in fits if isinstance(fit, Tradeoff)]
    steps = [0.0, *(fit.steps for fit in known)]
    tokens = [0.0, *(fit.steps * fit.batch for fit in known)]
    s, e = ([b - a for a, b in itertools.pairwise(ends)] for ends in (steps, tokens))
    if len(known) < len(fits) or min([*s, *e], default=0.0) <= 0:
        return None
    fixed = tokens[-1] / steps[-1]
    roots = sum(math.sqrt(a * b) for a, b in zip(s, e, strict=True))
    scale = fixed * roots / tokens[-1]
    return Ramp(
        batches=tuple(scale * math.sqrt(b / a) for a, b in zip(s, e, strict=True)),
        fixed=fixed,
        saved=(1 - roots**2 / (steps[-1] * tokens[-1])) / 2,
    )
