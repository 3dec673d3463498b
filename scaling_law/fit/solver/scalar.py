"""Roots and minima of a function of one number.

scipy has them too, but takes longer to load than a forecast takes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

Function = Callable[[float], float]

_SHRINK = (math.sqrt(5) - 1) / 2


def root(
    function: Function,
    low: float,
    high: float,
    *,
    tolerance: float = 1e-12,
    ends: tuple[float, float] | None = None,
) -> float:
    """Where ``function`` is 0, to within ``tolerance``; its signs at the ends must differ.

    ``ends`` are its values at ``low`` and at ``high``, where they are known.

    By inverse quadratic interpolation where that is safe, and else by halving (Chandrupatla 1997,
    "A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear function without
    using derivatives").
    """
    at_low, at_high = ends or (function(low), function(high))
    newest, value = high, at_high
    across, other = low, at_low  # the end where the sign differs
    if value * other > 0:
        raise ValueError(f"the function has one sign at {low} and at {high}")
    share = 0.5
    while True:
        point = newest + share * (across - newest)
        there = function(point)
        if (there > 0) == (value > 0):
            last, previous = newest, value
        else:
            last, previous = across, other
            across, other = newest, value
        newest, value = point, there
        best, least = (across, other) if abs(other) < abs(value) else (newest, value)
        limit = (2 * sys.float_info.epsilon * abs(best) + tolerance) / abs(across - newest)
        if least == 0 or limit > 0.5:
            return best
        place = (newest - across) / (last - across)
        height = (value - other) / (previous - other)
        share = 0.5
        if height**2 < place and (1 - height) ** 2 < 1 - place:
            near = value / (other - value) * previous / (other - previous)
            far = (last - newest) / (across - newest) * value / (previous - value)
            share = near + far * other / (previous - other)
        share = min(max(share, limit), 1 - limit)


def minimum(function: Function, low: float, high: float, *, tolerance: float = 1e-9) -> float:
    """Where ``function``, which has one minimum between the ends, is least: golden section."""
    left, right = high - _SHRINK * (high - low), low + _SHRINK * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > tolerance:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _SHRINK * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _SHRINK * (high - low)
            at_right = function(right)
    return left if at_left <= at_right else right
