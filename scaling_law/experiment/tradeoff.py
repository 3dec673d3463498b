"""How steps and tokens trade off to reach a loss, by batch: McCandlish's hyperbola.

To reach a loss with batches of B tokens takes S steps and E = S B tokens, with
(S/S_min - 1) (E/E_min - 1) = 1 (McCandlish 2018, arXiv 1812.06162, equation 2.11), that is
S = S_min (1 + B_crit/B) with B_crit = E_min/S_min.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
