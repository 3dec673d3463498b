"""Decision accuracy: how often small runs order recipes as the largest runs do.

It is the share of pairs of recipes that have the same order at a small size as at the largest one
(Magnusson 2025, "DataDecide", arXiv 2504.11393). .5 is guessing. Recipes are compared at the
longest horizon of a size that all of them have: to train for longer makes no recipe better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.errors import FitError
from scaling_law.fit.laws.law import Floats
from scaling_law.forecast.downstream.measured import Measured
from scaling_law.units import count_of

_RESAMPLES = 1000
_LEAST_RECIPES = 3
_CLEARLY = 0.5  # a correlation with the loss


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The decision accuracy of runs of one size.

    ``size`` is its name, ``params`` its parameters and ``tokens`` the horizon that all recipes
    have; ``compute_share`` is the FLOPs of such a run over those of the largest size;
    ``by_metric`` and ``by_loss`` are (accuracy, low, high), recipes ordered by either.
    """

    size: str
    params: float
    tokens: float
    compute_share: float
    by_metric: tuple[float, float, float]
    by_loss: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Recipes in the order of the largest size, with the decisions of all smaller ones.

    ``recipes`` are (name, mean of the metric at the largest size), the best first;
    ``size`` names that size and ``tokens`` is its horizon;
    ``left_out`` are (size, reason) of those that do not compare; ``level`` is that of intervals,
    over recipes;
    ``lower_is_better`` says of a metric that it falls with the loss, as an error rate does.
    """

    recipes: tuple[tuple[str, float], ...]
    size: str
    tokens: float
    decisions: tuple[Decision, ...]
    left_out: tuple[tuple[str, str], ...]
    level: float
    lower_is_better: bool


@dataclass(frozen=True)
class _Means:
    """Means over the seeds of one recipe, size and horizon."""

    metric: float
    loss: float
    params: float
    tokens: float
    flops: float


def rank(recipes: Sequence[Measured], *, level: float = 0.9) -> Ranking:
    """Order recipes, and score each smaller size. Raises ``FitError`` for too few recipes."""
    each = [_horizons(one) for one in recipes]
    shared: dict[str, list[_Means]] = {}
    left_out: list[tuple[str, str]] = []
    for size in dict.fromkeys(size for one in each for size in one):
        own = [one.get(size, {}) for one in each]
        horizons = [tokens for tokens in own[0] if all(tokens in one for one in own)]
        if horizons:
            longest = max(horizons, key=float)
            shared[size] = [one[longest] for one in own]
        else:
            left_out.append((size, "no horizon that every recipe has"))
    if len(recipes) < _LEAST_RECIPES or len(shared) < 2:
        raise FitError(
            f"{count_of(len(recipes), 'recipe')} with {count_of(len(shared), 'size')} at a horizon"
            f" in common; decision accuracy needs {_LEAST_RECIPES} recipes and 2 sizes that all"
            " have"
        )
    sizes = sorted(shared, key=lambda size: shared[size][0].params)
    target = shared[sizes[-1]]
    truth = np.array([one.metric for one in target])
    sign = -1.0 if (falls := _falls_with_loss(recipes)) else 1.0
    order = np.argsort(-sign * truth, kind="stable")
    return Ranking(
        recipes=tuple((recipes[i].name, float(truth[i])) for i in order),
        size=sizes[-1],
        tokens=target[0].tokens,
        decisions=tuple(_decision(size, shared[size], target, sign, level) for size in sizes[:-1]),
        left_out=tuple(left_out),
        level=level,
        lower_is_better=falls,
    )


def _falls_with_loss(recipes: Sequence[Measured]) -> bool:
    """Whether the metric is lower where the loss is, over all runs."""
    values = np.concatenate([one.values for one in recipes])
    losses = np.concatenate([one.points.loss_nats for one in recipes])
    if not (np.ptp(values) > 0 and np.ptp(losses) > 0):
        return False
    return float(np.corrcoef(values, losses)[0, 1]) > _CLEARLY


def _horizons(one: Measured) -> dict[str, dict[str, _Means]]:
    """Size -> horizon, its tokens to three digits -> means over seeds."""
    points = one.points
    rows: dict[str, dict[str, list[int]]] = {}
    for row, size in enumerate(points.size):
        rows.setdefault(size, {}).setdefault(f"{points.tokens[row]:.3g}", []).append(row)
    columns = (one.values, points.loss_nats, points.params, points.tokens, points.flops)
    return {
        size: {
            tokens: _Means(*(float(column[seeds].mean()) for column in columns))
            for tokens, seeds in horizons.items()
        }
        for size, horizons in rows.items()
    }


def _decision(
    size: str, small: Sequence[_Means], large: Sequence[_Means], sign: float, level: float
) -> Decision:
    """How a smaller size decides; ``sign`` is -1 for a metric of which lower is better."""
    truth = sign * np.array([one.metric for one in large])
    metric = sign * np.array([one.metric for one in small])
    loss = np.array([one.loss for one in small])
    shares = [one.flops / other.flops for one, other in zip(small, large, strict=True)]
    return Decision(
        size=size,
        params=float(np.mean([one.params for one in small])),
        tokens=float(np.mean([one.tokens for one in small])),
        compute_share=float(np.mean(shares)),
        by_metric=_accuracy(metric, truth, level),
        by_loss=_accuracy(-loss, truth, level),
    )


def _accuracy(small: Floats, large: Floats, level: float) -> tuple[float, float, float]:
    """The share of pairs in one order, a tie counting half, and its interval over recipes."""
    agree = np.sign(small[:, np.newaxis] - small) * np.sign(large[:, np.newaxis] - large)
    score = (agree + 1) / 2
    upper = np.triu_indices(len(small), 1)
    value = float(score[upper].mean())
    random = np.random.default_rng(0)
    means = []
    for _ in range(_RESAMPLES):
        drawn = random.integers(0, len(small), len(small))
        first, second = drawn[upper[0]], drawn[upper[1]]
        apart = first != second  # a recipe is no pair with itself
        if apart.any():
            means.append(float(score[first[apart], second[apart]].mean()))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return value, float(low), float(high)
