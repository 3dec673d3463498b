"""The shape that scaling laws of text usually have, as a few runs that every fit counts.

Few sizes and horizons hardly determine an irreducible loss and two exponents, and a fit to them may
find any. Published fits are alike: what is above the irreducible loss falls as params and tokens to
the power -0.2 to -0.4 (Hoffmann 2022 with Besiroglu 2024, Gadre 2024, Muennighoff 2023, Videau
2026), and that loss is 55 to 85% of the least measured one. A fit is pulled towards this shape as
strongly as a few typical runs pull it away: quiet runs of a law decide by themselves, and a
few noisy ones do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scaling_law.fit.laws.law import Floats, Law
from scaling_law.fit.solver.pull import Pull


@dataclass(frozen=True, kw_only=True)
class UsualShape:
    """Where a fit is pulled to, and how strongly.

    ``runs``: as how many typical runs the shape counts; 0: not at all.
    ``exponent``: by which what is above the irreducible loss falls, with params as with tokens.
    ``exponent_spread``: standard deviation of its logarithm among laws.
    ``power``: outer power of a law that has one; 1 is Chinchilla's law.
    ``power_spread``: standard deviation of its logarithm.
    ``floor``: the irreducible loss over the least measured one.
    ``floor_spread``: its standard deviation.
    """

    runs: float = 3.0
    exponent: float = 0.3
    exponent_spread: float = 0.25
    power: float = 1.0
    power_spread: float = 0.7
    floor: float = 0.7
    floor_spread: float = 0.2

    def pull(
        self,
        law: Law,
        least: Floats,
        typical: Floats,
        drawn: np.random.Generator | None = None,
        wider: float = 1.0,
    ) -> Pull | None:
        """The pull on R fits of ``law``; None where nothing is pulled.

        ``least`` [R] is the least loss that each is fitted to, ``typical`` [R] what a run adds to
        its objective. ``drawn`` draws the shape of each from its spread times ``wider``: a resample
        of the usual shape, beside the resamples of the runs.
        """
        names = law.names
        products = tuple(law.slopes_by.values())
        outer = set.intersection(*map(set, products)) if len(products) > 1 else set()
        floors = tuple(names.index(term.coefficient) for term in law.terms if not term.slopes)
        one = np.ones_like(least)
        wanted = [(math.log(self.exponent) * one, self.exponent_spread * one) for _ in products]
        wanted += [(math.log(self.power) * one, self.power_spread * one) for _ in outer]
        wanted += [(self.floor * least, self.floor_spread * least) for _ in floors]
        if not (wanted and self.runs > 0):
            return None
        centre, width = (np.column_stack(columns) for columns in zip(*wanted, strict=True))
        if drawn is not None:
            centre = centre + width * drawn.standard_normal(centre.shape) * wider
        products += tuple((name,) for name in sorted(outer))
        places = tuple(tuple(map(names.index, product)) for product in products)
        return Pull(places, floors, centre, width, self.runs * typical)


USUAL, NO_SHAPE = UsualShape(), UsualShape(runs=0.0)
