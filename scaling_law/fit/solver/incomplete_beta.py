"""The regularised incomplete beta function, which tails of F and of the binomial are values of.

It is computed here, to ten digits: scipy's would take longer to load than most analyses take.
"""

from __future__ import annotations

import math

_SMALL, _TERMS = 1e-30, 2000


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return I_x(a, b), the probability that a beta variable of ``a`` and ``b`` is below ``x``.

    Both are above 0, ``x`` is from 0 to 1. By a continued fraction (Abramowitz 1964, "Handbook of
    Mathematical Functions", 26.5.8) and Lentz's recursion for it.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front += a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) / a * _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """1 / (1 + d_1 / (1 + d_2 / ...)) by Lentz's recursion."""
    upper, lower = 1.0, 1 / _apart(1 - (a + b) * x / (a + 1))
    value = lower
    for k in range(1, _TERMS):
        even = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k))
        odd = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1))
        for term in (even, odd):
            lower = 1 / _apart(1 + term * lower)
            upper = _apart(1 + term / upper)
            value *= upper * lower
        if abs(upper * lower - 1) < 1e-14:
            return value
    raise ArithmeticError(f"I_{x:g}({a:g}, {b:g}) does not converge")


def _apart(value: float) -> float:
    """The value, away from 0 by which it is to be divided."""
    return value if abs(value) > _SMALL else _SMALL


def beta_quantile(share: float, a: float, b: float) -> float:
    """Return the x with ``incomplete_beta(a, b, x)`` equal to ``share``, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if incomplete_beta(a, b, middle) < share:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def f_chance(value: float, free: int, noise_free: int) -> float:
    """Return the probability of a larger F with ``free`` and ``noise_free`` degrees of freedom."""
    return incomplete_beta(noise_free / 2, free / 2, noise_free / (noise_free + free * value))
