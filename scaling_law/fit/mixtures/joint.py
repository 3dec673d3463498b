"""One law of size, length and mixture: does scale move a mixture's law, or change its height too?

L_i(N, D, r) = c_i + n_i log N + d_i log D + k_i exp(sum_j t_ij r_j) N^g_i D^h_i. Where g and h are
0, scale moves the offset alone and the mixture counts at every scale as much (as in Kaplan 2020,
section 3.2.2, the loss on other text). N and D are relative to the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.fit.mixtures.exponential import Exponential, Floats, fit_exponential
from scaling_law.fit.mixtures.points import MixCell
from scaling_law.units import count_of


@dataclass(frozen=True, kw_only=True)
class JointLaw:
    """A law of size, length and mixture on every component.

    ``first`` is the smallest size and length, which N and D are relative to;
    ``by`` are the scales that its cells vary: ``params``, ``tokens``;
    ``curves`` are the fitted laws, one for each component; ``free`` says whether the height of the
    mixture's term may change with scale.
    """

    first: tuple[int, int]
    by: tuple[str, ...]
    curves: tuple[Exponential, ...]
    free: bool

    def at(self, cell: MixCell) -> Floats:
        """Return the losses that it gives the mixtures of a cell, a row for each."""
        x, z = _design([cell], self.first, self.by, free=self.free)
        return np.stack([curve.at(x, z) for curve in self.curves], axis=-1)

    def power(self, scale: str) -> tuple[float, ...]:
        """The exponents g (``params``) or h (``tokens``) of the components."""
        place = self.by.index(scale) - len(self.by)
        return tuple(float(curve.slopes[place]) for curve in self.curves)


def fit_joint(cells: Sequence[MixCell], *, free: bool = True) -> JointLaw | str:
    """Return the joint law of cells of one text, or why they give none."""
    params = sorted({cell.params for cell in cells})
    tokens = sorted({cell.tokens for cell in cells})
    by = tuple(n for n, values in (("params", params), ("tokens", tokens)) if len(values) > 1)
    if not by:
        return "one size and one length have runs"
    first = params[0], tokens[0]
    x, z = _design(cells, first, by, free=free)
    count = x.shape[1] + z.shape[1]
    if len(x) <= count:
        return f"{count_of(len(x), 'mixture')} at all scales, and the law has {count} parameters"
    losses = np.concatenate([cell.losses for cell in cells])
    curves = tuple(fit_exponential(x, z, column) for column in losses.T)
    return JointLaw(first=first, by=by, curves=curves, free=free)


def _design(
    cells: Sequence[MixCell], first: tuple[int, int], by: Sequence[str], *, free: bool
) -> tuple[Floats, Floats]:
    """The linear part's and the exponential's design, a row for each mixture of each cell."""
    logs = {
        "params": [math.log(cell.params / first[0]) for cell in cells],
        "tokens": [math.log(cell.tokens / first[1]) for cell in cells],
    }
    counts = [len(cell.mixtures) for cell in cells]
    scales = np.stack([np.repeat(logs[name], counts) for name in by], axis=1)
    shares = np.concatenate([cell.shares for cell in cells])
    x = np.concatenate([np.ones((len(shares), 1)), scales], axis=1)
    return x, np.concatenate([shares, scales], axis=1) if free else shares
