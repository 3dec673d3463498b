"""Akima's interpolation agrees with SciPy's, and gives no value beyond its points."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator

from scaling_law.fit.approaches.akima import akima

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(
    "y",
    [
        GENERATOR.standard_normal((7, 4)),
        GENERATOR.standard_normal(7),
        np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]),  # slopes change on neither side
        np.arange(7.0),
        GENERATOR.standard_normal(3),
    ],
)
def test_it_agrees_with_scipy(y):
    x = np.sort(GENERATOR.standard_normal(len(y)))
    places = np.concatenate([x, np.linspace(x[0], x[-1], 30)])
    assert akima(x, y).at(places) == pytest.approx(Akima1DInterpolator(x, y)(places), abs=1e-12)


def test_beyond_the_ends_there_is_no_value():
    x = np.array([0.0, 1.0, 2.0, 4.0])
    values = akima(x, x**2).at(np.array([-0.1, 0.0, 4.0, 4.1]))
    assert np.isnan(values).tolist() == [True, False, False, True]
