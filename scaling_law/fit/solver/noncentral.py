"""Noncentral chi-squared of sums of squares whose unit of error is itself measured."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, chndtr, ndtr

_NORMAL = 1e4  # chi-squared beyond which its root is as good as normal
_DRAWS = 40  # values of the noise that stand for what its degrees of freedom leave open


def chance_below(squares: float, away: float, free: int, noise_free: int) -> float:
    """Return the chance that a sum of squares is at most ``squares``.

    The sum has ``free`` degrees of freedom and the noncentrality ``away``, both in units of a
    variance that was measured with ``noise_free`` degrees of freedom. The true variance is not
    known: the chance is the mean over what those leave open of it (fiducial, as in Weerahandi's
    generalized p-values, 1989).
    """
    factors = _factors(noise_free)
    seen, shifted = squares * factors, away * factors
    # a root of a large noncentral chi-squared is normal of variance 1
    roots = np.sqrt(seen) - np.sqrt(shifted + free - 1)
    is_large = np.maximum(seen, shifted) > _NORMAL
    small = chndtr(np.where(is_large, 1.0, seen), free, np.where(is_large, 1.0, shifted))
    return float(np.where(is_large, ndtr(roots), small).mean())


@functools.cache
def _factors(noise_free: int) -> NDArray[Any]:
    """The measured variance over what the true one may be: values of equal chance."""
    chances = (np.arange(_DRAWS) + 0.5) / _DRAWS
    return np.asarray(chdtri(noise_free, chances) / noise_free)
