"""Fit a sigmoid whose floor is known, as that of an accuracy is what guessing reaches.

It rises in a weighted sum of what predicts it: a loss, say, or log parameters and log tokens. Its
ceiling is known, as 1 is for an accuracy, or fitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_MOST = 700.0  # exponents of e beyond it overflow
_INSIDE = 0.005  # how far from floor and ceiling a value counts in the first guess


@dataclass(frozen=True, kw_only=True)
class FlooredSigmoid:
    """floor + (ceiling - floor) / (1 + exp(-(w_0 + w_1 x_1 + ...))).

    ``floor`` is the value where nothing is learned;
    ``weights`` are (w_0, w_1, ...);
    ``ceiling`` is the value where everything is.
    """

    floor: float
    weights: tuple[float, ...]
    ceiling: float = 1.0

    def at(self, *x: float) -> float:
        """The value at x."""
        return self.of_sum(self.sum(*x))

    def sum(self, *x: float) -> float:
        """The weighted sum w_0 + w_1 x_1 + ..."""
        return self.weights[0] + sum(w * one for w, one in zip(self.weights[1:], x, strict=True))

    def of_sum(self, total: float) -> float:
        """The value where the weighted sum is ``total``."""
        share = 1 / (1 + math.exp(-min(max(total, -_MOST), _MOST)))
        return self.floor + (self.ceiling - self.floor) * share


def fit_floored_sigmoid(
    x: Sequence[Sequence[float]],
    y: Sequence[float],
    floor: float,
    ceiling: float | None = 1.0,
) -> FlooredSigmoid:
    """Return the least-squares fit through values ``y`` at rows ``x`` of what predicts them.

    A ``ceiling`` of None is fitted too, between the highest value and 1.
    """
    import numpy as np
    from scipy.optimize import least_squares

    values = np.array(y, dtype=float)
    design = np.column_stack([np.ones(len(values)), np.array(x, dtype=float)])
    middle, spread = design.mean(axis=0), design.std(axis=0)
    middle[0], spread[0] = 0.0, 1.0
    spread[spread == 0] = 1.0
    scaled = (design - middle) / spread
    top = 1.0 if ceiling is None else ceiling
    share = np.clip((values - floor) / (top - floor), _INSIDE, 1 - _INSIDE)
    start = np.linalg.lstsq(scaled, np.log(share / (1 - share)), rcond=None)[0]

    def residuals(weights: Any) -> Any:
        total = np.clip(scaled @ weights[: len(start)], -_MOST, _MOST)
        high = weights[-1] if ceiling is None else ceiling
        return floor + (high - floor) / (1 + np.exp(-total)) - values

    if ceiling is None:
        least = min(max(float(values.max()), floor + _INSIDE), 1.0 - _INSIDE)
        bounds = ([-np.inf] * len(start) + [least], [np.inf] * len(start) + [1.0])
        answer = least_squares(residuals, [*start, (least + 1) / 2], bounds=bounds).x
        top = float(answer[-1])
    else:
        answer = least_squares(residuals, start).x
    weights = answer[: len(start)] / spread
    weights[0] -= weights[1:] @ middle[1:]
    return FlooredSigmoid(floor=floor, weights=tuple(map(float, weights)), ceiling=top)


@dataclass(frozen=True, kw_only=True)
class SigmoidFit:
    """A fitted sigmoid with what says how sure it is.

    ``sigmoid`` is the fit; ``scatter`` is the standard deviation of a value around it;
    ``covariances`` are two of its weights: with errors that runs of a trunk share, and with
    independent errors of one size. The first is too small where few trunks decide a weight, the
    second where runs of a trunk are alike: an interval takes the wider one;
    ``free`` are the degrees of freedom of its intervals: independent trunks less one.
    """

    sigmoid: FlooredSigmoid
    scatter: float
    covariances: tuple[tuple[tuple[float, ...], ...], ...]
    free: int

    def interval(self, *x: float, level: float, sum_sd: float = 0.0) -> tuple[float, float]:
        """The interval of a new run's value at x.

        ``sum_sd`` is the standard deviation of the weighted sum that comes from x itself, where x
        is predicted and not known.
        """
        import numpy as np

        from scaling_law.fit.solver.student import t_reach

        row = np.array([1.0, *x])
        variance = max(float(row @ np.array(one) @ row) for one in self.covariances) + sum_sd**2
        reach = t_reach(max(self.free, 1), level)
        middle, total = self.sigmoid.at(*x), self.sigmoid.sum(*x)
        ends = [self.sigmoid.of_sum(total + sign * reach * math.sqrt(variance)) for sign in (-1, 1)]
        low, high = (
            middle + sign * math.hypot(end - middle, reach * self.scatter)
            for sign, end in ((-1, min(ends)), (1, max(ends)))
        )
        return max(low, min(0.0, self.sigmoid.floor)), min(high, max(1.0, self.sigmoid.ceiling))


def fit_sigmoid_with_errors(
    x: Sequence[Sequence[float]],
    y: Sequence[float],
    clusters: Sequence[str],
    floor: float,
    ceiling: float | None = 1.0,
) -> SigmoidFit:
    """Fit a sigmoid, with the covariances of its weights.

    Uncertainty of a fitted ceiling shows in the scatter alone. See Liang 1986, "Longitudinal data
    analysis using generalized linear models", for the covariance with errors that a trunk shares.
    """
    import numpy as np

    fit = fit_floored_sigmoid(x, y, floor, ceiling)
    design = np.column_stack([np.ones(len(y)), np.array(x, dtype=float)])
    middle, spread = design.mean(axis=0), design.std(axis=0)
    middle[0], spread[0] = 0.0, 1.0
    spread[spread == 0] = 1.0
    scaled = (design - middle) / spread
    values = np.array([fit.at(*row) for row in x])
    residuals = np.array(y, dtype=float) - values
    share = (values - floor) / (fit.ceiling - floor)
    slopes = scaled * ((fit.ceiling - floor) * share * (1 - share))[:, np.newaxis]
    groups = list(dict.fromkeys(clusters))
    number = np.array([groups.index(one) for one in clusters])
    scores = np.array([slopes[number == g].T @ residuals[number == g] for g in range(len(groups))])
    bread = np.linalg.pinv(slopes.T @ slopes)
    free = max(len(y) - design.shape[1] - (ceiling is None), 1)
    many = len(groups) / max(len(groups) - 1, 1) * max(len(y) - 1, 1) / free
    variance = float(residuals @ residuals) / free
    inner = [bread @ (scores.T @ scores) @ bread * many, bread * variance]
    # back from centred and scaled columns to those of the weights
    back = np.diag(1 / spread)
    back[0, 1:] = -middle[1:] / spread[1:]
    return SigmoidFit(
        sigmoid=fit,
        scatter=math.sqrt(variance),
        covariances=tuple(
            tuple(tuple(map(float, row)) for row in back @ one @ back.T) for one in inner
        ),
        free=max(len(groups) - design.shape[1], 1),
    )
