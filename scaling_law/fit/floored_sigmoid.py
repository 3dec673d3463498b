"""Fit a sigmoid whose floor is known, as that of an accuracy is what guessing reaches.

It rises in a weighted sum of what predicts it: a loss, say, or log parameters and log tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_MOST = 700.0  # exponents of e beyond it overflow
_INSIDE = 0.005  # how far from floor and top a value counts in the first guess


@dataclass(frozen=True, kw_only=True)
class FlooredSigmoid:
    """floor + (1 - floor) / (1 + exp(-(w_0 + w_1 x_1 + ...))).

    ``floor`` is the value where nothing is learned;
    ``weights`` are (w_0, w_1, ...).
    """

    floor: float
    weights: tuple[float, ...]

    def at(self, *x: float) -> float:
        """The value at x."""
        total = self.weights[0] + sum(w * one for w, one in zip(self.weights[1:], x, strict=True))
        share = 1 / (1 + math.exp(-min(max(total, -_MOST), _MOST)))
        return self.floor + (1 - self.floor) * share


def fit_floored_sigmoid(
    x: Sequence[Sequence[float]], y: Sequence[float], floor: float
) -> FlooredSigmoid:
    """Return the least-squares fit through values ``y`` at rows ``x`` of what predicts them."""
    import numpy as np
    from scipy.optimize import least_squares

    values = np.array(y, dtype=float)
    design = np.column_stack([np.ones(len(values)), np.array(x, dtype=float)])
    middle, spread = design.mean(axis=0), design.std(axis=0)
    middle[0], spread[0] = 0.0, 1.0
    spread[spread == 0] = 1.0
    scaled = (design - middle) / spread
    share = np.clip((values - floor) / (1 - floor), _INSIDE, 1 - _INSIDE)
    start = np.linalg.lstsq(scaled, np.log(share / (1 - share)), rcond=None)[0]

    def residuals(weights: Any) -> Any:
        total = np.clip(scaled @ weights, -_MOST, _MOST)
        return floor + (1 - floor) / (1 + np.exp(-total)) - values

    weights = least_squares(residuals, start).x / spread
    weights[0] -= weights[1:] @ middle[1:]
    return FlooredSigmoid(floor=floor, weights=tuple(map(float, weights)))
