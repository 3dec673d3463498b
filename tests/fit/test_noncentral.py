"""Noncentral chi-squared with a measured variance: scipy's where it is exact, draws where not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ncf, ncx2

from scaling_law.fit.solver.noncentral import chance_below


@pytest.mark.parametrize(("squares", "away", "free"), [(8.0, 3.0, 5), (300.0, 250.0, 9)])
def test_a_variance_that_is_well_known_gives_the_plain_chance(squares, away, free):
    exact = ncx2.cdf(squares, free, away)
    assert chance_below(squares, away, free, 10**6) == pytest.approx(exact, abs=2e-3)


def test_large_numbers_are_as_normal():
    assert chance_below(4e4, 4e4, 5, 10**9) == pytest.approx(ncx2.cdf(4e4, 5, 4e4), abs=2e-3)


def test_without_a_shift_it_is_the_f_distribution():
    """The ratio of two measured variances, whose noise the noncentral F of scipy has too."""
    assert chance_below(2.5 * 6, 0.0, 6, 12) == pytest.approx(ncf.cdf(2.5, 6, 12, 0), abs=5e-3)


def test_a_variance_of_few_degrees_of_freedom_is_averaged_over():
    rng = np.random.default_rng(0)
    true = rng.chisquare(4, 4000) / 4
    drawn = np.mean([ncx2.cdf(9.0 * one, 3, 5.0 * one) for one in true])
    assert chance_below(9.0, 5.0, 3, 4) == pytest.approx(drawn, abs=0.01)
