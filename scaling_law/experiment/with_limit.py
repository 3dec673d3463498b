"""Solve ``y = scale * shape + limit`` by least squares, for every shape of a grid at once.

A curve with one exponent is one of many shapes: its scale and limit follow exactly, so that the
search has no start and no local minimum.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def solve(
    shapes: NDArray[Any], y: NDArray[Any], weights: NDArray[Any], least: float = -math.inf
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The sum of weighted squared misses, the scale and the limit of each shape.

    ``shapes`` [K, n] give K shapes at n points, ``y`` and ``weights`` [n] the points. No limit is
    below ``least``. A shape without change has a scale of 0.
    """
    import numpy as np

    share = weights / weights.sum()
    middles, mean = shapes @ share, y @ share
    off = shapes - middles[:, np.newaxis]
    squares = off**2 @ weights
    scales = np.divide(
        off @ (weights * (y - mean)), squares, out=np.zeros(len(off)), where=squares > 1e-12
    )
    limits = mean - scales * middles
    if (low := limits < least).any():
        limits[low] = least
        scales[low] = shapes[low] @ (weights * (y - least)) / (shapes[low] ** 2 @ weights)
    rest = y - scales[:, np.newaxis] * shapes - limits[:, np.newaxis]
    return rest**2 @ weights, scales, limits
