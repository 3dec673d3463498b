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
    from scipy.optimize import minimize_scalar

    if len(steps) < FEWEST:
        return f"{len(steps)} batches reach it, and a hyperbola takes {FEWEST}"
    batch, log_steps = np.array(list(steps), float), np.log(list(steps.values()))
    tried = np.linspace(math.log(batch.min() / 30), math.log(batch.max() * 30), 400)

    def rest(log_critical: float) -> Any:
        return log_steps - np.log1p(math.exp(log_critical) / batch)

    squares = [float(np.var(rest(one))) for one in tried]
    best = int(np.argmin(squares))
    if best in (0, len(tried) - 1):
        return "the batches lie on one side of the critical one: they do not bound it"
    # between the points on either side: seeds a grid's step apart would seem equal
    found = minimize_scalar(
        lambda one: float(np.var(rest(one))),
        bounds=(tried[best - 1], tried[best + 1]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return Tradeoff(
        steps=math.exp(float(rest(found.x).mean())),
        batch=math.exp(float(found.x)),
        misfit=math.sqrt(float(found.fun)),
    )
