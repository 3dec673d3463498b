"""Intervals by Student's t, for which few independent groups say how wide they are."""

from __future__ import annotations

from scipy.special import ndtri, stdtrit


def t_reach(free: int, level: float) -> float:
    """Return the standard errors from the middle of an interval at ``level`` to its ends.

    ``free`` are the degrees of freedom.
    """
    return float(stdtrit(free, 0.5 + level / 2))


def t_over_normal(free: int, level: float) -> float:
    """Return how many times as wide as the normal's an interval at ``level`` is."""
    return t_reach(free, level) / float(ndtri(0.5 + level / 2))
