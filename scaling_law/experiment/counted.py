"""Say how the loss goes with a model's parameters, by which of them are counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.spec.counts import count_params
from scaling_law.spec.model import Model

# The conventions of ``spec.counts``, in words.
COUNTED = {
    "non_embedding": "embeddings and head not counted",
    "matmul": "head counted",
    "total": "embeddings and head counted",
}
FEWEST = 5  # models that a parabola and its scatter are read off


@dataclass(frozen=True, kw_only=True)
class Trend:
    """The loss against the parameters under one convention, one value a seed.

    ``exponents`` are minus the slopes of log loss in log parameters;
    ``curvatures`` are the second derivatives of the parabola through all models;
    ``scatters`` are the root mean squares of the relative distances from it.
    """

    exponents: tuple[float, ...]
    curvatures: tuple[float, ...]
    scatters: tuple[float, ...]


def trend_of(points: Sequence[tuple[Model, Mapping[int, float]]], convention: str) -> Trend | None:
    """Return the trend through models with their log losses by seed, each seed on its own.

    None where there are too few models, or no seed that all have.
    """
    import numpy as np

    seeds = sorted(set.intersection(*(set(levels) for _, levels in points))) if points else []
    if len(points) < FEWEST or not seeds:
        return None
    x = np.log([count_params(model).by(convention) for model, _ in points])
    x -= x.mean()
    exponents, curvatures, scatters = [], [], []
    for seed in seeds:
        y = np.array([levels[seed] for _, levels in points])
        bent = np.polyfit(x, y, 2)
        exponents.append(-float(np.polyfit(x, y, 1)[0]))
        curvatures.append(2 * float(bent[0]))
        scatters.append(math.sqrt(fmean((y - np.polyval(bent, x)) ** 2)))
    return Trend(exponents=tuple(exponents), curvatures=tuple(curvatures), scatters=tuple(scatters))
