"""Pulls a fit towards values that are known before: a quadratic penalty on few quantities.

It is the logarithm of a normal prior, in the units of the objective. A pulled quantity is a product
of parameters, on a logarithmic scale, or the exponential of one parameter (a coefficient).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_law.fit.laws.law import Floats

# Parameters below this count as this: a bound may be at 0, which has no logarithm.
_LEAST = 1e-3


@dataclass(frozen=True)
class Pull:
    """What R members are pulled towards: strength / 2 * sum of ((value - centre) / width)^2.

    ``products``: places of the parameters whose product is pulled, one tuple a quantity.
    ``coefficients``: places of the logarithms of the coefficients that are pulled, after these.
    ``centre``: of the logarithm of each product, and of each coefficient [R, q].
    ``width``: the standard deviation of each, in the same units [R, q].
    ``strength``: in units of the objective [R].
    """

    products: tuple[tuple[int, ...], ...]
    coefficients: tuple[int, ...]
    centre: Floats
    width: Floats
    strength: Floats

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Pull:
        """That of some of the members."""
        some = self.centre[rows], self.width[rows], self.strength[rows]
        return Pull(self.products, self.coefficients, *some)

    def value(self, internal: Floats) -> Floats:
        """The penalty [..., R] of internal vectors [..., R, k]."""
        apart = (self._quantities(internal) - self.centre) / self.width
        return np.asarray(0.5 * self.strength * (apart**2).sum(axis=-1))

    def derivatives(self, internal: Floats) -> tuple[Floats, Floats, Floats]:
        """Its gradient [R, k], Hessian, and the part of that which is never negative [R, k, k]."""
        scale = self.strength[:, None] / self.width**2
        force = scale * (self._quantities(internal) - self.centre)
        slopes = np.zeros((*force.shape, internal.shape[1]))
        bends = np.zeros_like(slopes)  # second derivatives: each by one parameter alone
        for number, places in enumerate(self.products):
            for place in places:
                inverse = 1 / np.maximum(internal[:, place], _LEAST)
                slopes[:, number, place], bends[:, number, place] = inverse, -(inverse**2)
        for number, place in enumerate(self.coefficients, len(self.products)):
            slopes[:, number, place] = bends[:, number, place] = np.exp(internal[:, place])
        gradient = (force[:, None, :] @ slopes)[:, 0]
        major = np.swapaxes(slopes * scale[:, :, None], 1, 2) @ slopes
        hessian = major.copy()
        diagonal = np.arange(internal.shape[1])
        hessian[:, diagonal, diagonal] += (force[:, None, :] @ bends)[:, 0]
        return gradient, hessian, major

    def _quantities(self, internal: Floats) -> Floats:
        logs = np.log(np.maximum(internal, _LEAST))
        columns = [sum(logs[..., place] for place in places) for places in self.products]
        columns += [np.exp(internal[..., place]) for place in self.coefficients]
        return np.stack(columns, axis=-1)
