"""Fit y = X b + s exp(Z t) by least squares: a part that is linear, and one exponential.

For a given offset of the exponential its logarithm is linear in t. So the start is the best of a
row of offsets, for each sign s, and Gauss and Newton's steps end at the minimum beside it. An
offset far from the numbers gives an exponential that is almost a plane, which is the law's limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# How far from the numbers the offset is tried, in units of their range.
_OFFSETS = np.geomspace(0.02, 100, 40)
_STEPS, _TRIES = 30, 8


@dataclass(frozen=True, kw_only=True)
class Exponential:
    """A fitted y = X b + s exp(Z t).

    ``linear`` is b, ``slopes`` is t, ``sign`` is s;
    ``squares`` is the sum of the squared misses.
    """

    linear: Floats
    slopes: Floats
    sign: float
    squares: float

    def at(self, x: Floats, z: Floats) -> Floats:
        """Return y at rows of X and Z."""
        values: Floats = x @ self.linear + self.sign * np.exp(z @ self.slopes)
        return values


def fit_exponential(x: Floats, z: Floats, y: Floats) -> Exponential:
    """Return the exponential that misses ``y`` [n] the least.

    ``x`` [n, p] is the linear part's design, with a column of ones first; ``z`` [n, q] is the
    exponent's.
    """
    linear = np.linalg.lstsq(x, y)[0]
    # a constant of the linear part belongs to the offsets that are tried
    beside = x[:, 1:] @ linear[1:]
    starts = [_start(z, y - beside, sign) for sign in (1.0, -1.0)]
    sign, offset, slopes = min(starts, key=lambda start: start[3])[:3]
    begin = np.concatenate([[offset], linear[1:], slopes])
    return _descend(x, z, y, sign, begin)


def _start(z: Floats, y: Floats, sign: float) -> tuple[float, float, Floats, float]:
    """The sign, the offset, the slopes and the squares of the best offset on one side."""
    low, high = float(y.min()), float(y.max())
    width = max(high - low, 1e-9)
    offsets = low - _OFFSETS * width if sign > 0 else high + _OFFSETS * width
    apart = sign * (y - offsets[:, np.newaxis])  # [K, n], above 0
    weights = apart**2
    normal = np.einsum("kn,ni,nj->kij", weights, z, z)
    normal += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(z.shape[1])
    right = np.einsum("kn,ni->ki", weights * np.log(apart), z)
    slopes = np.linalg.solve(normal, right[..., np.newaxis])[..., 0]
    misses = offsets[:, np.newaxis] + sign * np.exp(np.clip(slopes @ z.T, -50, 50)) - y
    squares = (misses**2).sum(axis=1)
    best = int(np.argmin(squares))
    return sign, float(offsets[best]), slopes[best], float(squares[best])


def _descend(x: Floats, z: Floats, y: Floats, sign: float, begin: Floats) -> Exponential:
    """Go from the start to the minimum by damped Gauss-Newton steps (Marquardt 1963)."""
    split = x.shape[1]
    at, damping = begin, 1e-3
    misses, jacobian = _linearised(x, z, y, sign, at)
    squares = float(misses @ misses)
    for _ in range(_STEPS):
        normal, downhill = jacobian.T @ jacobian, -jacobian.T @ misses
        before = squares
        for _ in range(_TRIES):
            scaled = normal + damping * np.diag(np.diag(normal) + 1e-12)
            step = np.linalg.solve(scaled, downhill)
            tried, slope = _linearised(x, z, y, sign, at + step)
            if (lower := float(tried @ tried)) < squares:
                at, misses, jacobian, squares = at + step, tried, slope, lower
                damping /= 4
                break
            damping *= 4
        if before - squares <= 1e-10 * before:
            break
    return Exponential(linear=at[:split], slopes=at[split:], sign=sign, squares=squares)


def _linearised(x: Floats, z: Floats, y: Floats, sign: float, at: Floats) -> tuple[Floats, Floats]:
    """The misses at a point, and their derivatives by every parameter."""
    split = x.shape[1]
    rises = sign * np.exp(np.clip(z @ at[split:], -50, 50))
    misses = x @ at[:split] + rises - y
    return misses, np.concatenate([x, rises[:, np.newaxis] * z], axis=1)
