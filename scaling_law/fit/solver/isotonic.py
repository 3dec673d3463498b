"""Isotonic regression: the values of least squares that only fall."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def falling_levels(values: Sequence[float]) -> list[tuple[slice, float]]:
    """Return the levels of the falling values nearest to these, with the places of each.

    The levels fall strictly from one to the next; values that rise are joined in one, at their
    mean (pool adjacent violators).
    """
    from scipy.optimize import isotonic_regression

    if not values:
        return []
    fit = isotonic_regression(values, increasing=False)
    ends = [*map(int, fit.blocks)]
    return [(slice(a, b), float(fit.x[a])) for a, b in itertools.pairwise(ends)]
